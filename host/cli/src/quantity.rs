//! Sizes and durations: how they are typed on the command line, and how they are printed.

use std::time::Duration;

/// A number of bytes: digits, optionally a fraction, optionally `K`, `M`, `G` or `T` (powers of 1024; `KiB` … are the same).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number of bytes, with K, M, G or T for powers of 1024, e.g. 500M or 1.5G".to_owned();
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = number * (1_u64 << shift) as f64;
    if !(1.0..9.0e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// A length of time in seconds, above zero. Fractions are allowed.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "expected seconds above 0, e.g. 30 or 0.5".to_owned();
    let seconds: f64 = text.trim().parse().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}

/// A length of time in seconds, zero or more. Fractions are allowed.
pub fn parse_wait(text: &str) -> Result<Duration, String> {
    let wrong = || "expected seconds, 0 or more, e.g. 60 or 0.5".to_owned();
    let seconds: f64 = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// A length of time for people: `0.12 s`, `3.4 s`, `2 min 5 s`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        let whole = duration.as_secs();
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// A number of bytes for people: `512 B`, `3.4 KiB`.
pub fn show_size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("1", Some(1)),
            ("4096", Some(4096)),
            ("4096B", Some(4096)),
            ("500M", Some(500 << 20)),
            ("500m", Some(500 << 20)),
            ("2G", Some(2 << 30)),
            ("2 GiB", Some(2 << 30)),
            ("1.5G", Some(3 << 29)),
            ("1K", Some(1024)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("0", None),
            ("0.4", None),
            ("-1", None),
            ("G", None),
            ("2GB", None),
            ("2X", None),
            ("1e9", None),
            ("nan", None),
            ("1.2.3", None),
            ("99999999T", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text:?}");
        }
    }

    #[test]
    fn seconds() {
        for (text, millis) in [
            ("1", Some(1000)),
            ("0.5", Some(500)),
            ("1e3", Some(1_000_000)),
            (" 2 ", Some(2000)),
            ("0", None),
            ("-1", None),
            ("1e-12", None),
            ("nan", None),
            ("inf", None),
            ("1e300", None),
            ("2s", None),
            ("", None),
        ] {
            assert_eq!(parse_seconds(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn waits() {
        for (text, millis) in [
            ("0", Some(0)),
            ("0.5", Some(500)),
            ("60", Some(60_000)),
            ("-1", None),
            ("nan", None),
            ("inf", None),
            ("1e300", None),
            ("1m", None),
            ("", None),
        ] {
            assert_eq!(parse_wait(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn for_people() {
        for (millis, text) in
            [(0, "0.00 s"), (123, "0.12 s"), (9_990, "9.99 s"), (12_300, "12 s"), (125_000, "2 min 5 s")]
        {
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 19, "1.5 MiB"), (5 << 40, "5.0 TiB")]
        {
            assert_eq!(show_size(bytes), text);
        }
    }
}
