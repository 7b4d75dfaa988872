//! Times: of files, in nanoseconds, and of documents, as text.
//!
//! Responsible for: every conversion between them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970; `None` if they do not fit (years before 1678 and after 2262).
pub fn checked_epoch_ns(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok().and_then(i64::checked_neg),
    }
}

/// As [`checked_epoch_ns`]; a time that does not fit becomes the nearest one that does.
pub fn epoch_ns(time: SystemTime) -> i64 {
    checked_epoch_ns(time).unwrap_or(if time < UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// The time that is this many seconds and nanoseconds after 1970; `None` if the system cannot express it.
pub(crate) fn from_epoch(seconds: i64, nanoseconds: u64) -> Option<SystemTime> {
    let whole = match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    };
    whole?.checked_add(Duration::from_nanos(nanoseconds))
}

/// Now, in whole seconds of UTC, as `2026-11-22T06:48:18Z`.
pub fn now_utc() -> String {
    let seconds = jiff::Timestamp::now().as_second();
    // The clock of a running program is always in range.
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_ns_counts_both_ways_and_saturates() {
        for (seconds, nanoseconds, expected) in [
            (0, 0, Some(0)),
            (1, 5, Some(1_000_000_005)),
            (-1, 5, Some(-999_999_995)),
            (20_000_000_000, 0, None),
            (-20_000_000_000, 0, None),
        ] {
            let time = from_epoch(seconds, nanoseconds).unwrap();
            assert_eq!(checked_epoch_ns(time), expected);
            assert_eq!(epoch_ns(time), expected.unwrap_or(if seconds < 0 { i64::MIN } else { i64::MAX }));
        }
    }

    #[test]
    fn now_utc_has_whole_seconds() {
        let now = now_utc();
        assert!(now.len() == 20 && now.ends_with('Z') && now.parse::<jiff::Timestamp>().is_ok(), "{now}");
    }
}
