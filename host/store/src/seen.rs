//! What a key was when it was read, and a write that holds only as long as it still is that.
//!
//! Other programs take no lock. Whoever reads a file, changes it and puts it back states what was read; a store looks
//! again right before the rename. Never decides what is to be done if the file differs.

use crate::key::Key;
use crate::stored_file::Stat;
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far a clock of files may lag behind: a kernel sets times once per tick, at most 10 ms long.
const TICK: Duration = Duration::from_millis(20);
/// The same for file systems that keep whole seconds, or every second one.
const COARSE_TICK: Duration = Duration::from_millis(2_020);

/// What a key was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    key: Key,
    stat: Option<Stat>,
    /// The SHA-256 of its bytes, if it was so young that another write could leave the same times.
    young_sha256: Option<[u8; 32]>,
}

impl Seen {
    /// A key that was read after `before`: what was known of it, and its bytes; `None` if there was nothing.
    pub fn new(key: Key, before: SystemTime, found: Option<(&[u8], Stat)>) -> Self {
        let young_sha256 =
            found.filter(|(_, stat)| Self::is_young(stat, before)).map(|(bytes, _)| Sha256::digest(bytes).into());
        Self { key, stat: found.map(|(_, stat)| stat), young_sha256 }
    }

    /// A key of which only its times are known.
    pub fn by_times(key: Key, stat: Stat) -> Self {
        Self { key, stat: Some(stat), young_sha256: None }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What was known of it; `None` if there was nothing.
    pub fn stat(&self) -> Option<Stat> {
        self.stat
    }

    /// The SHA-256 that its bytes must still have; `None` if its times are enough.
    pub fn young_sha256(&self) -> Option<[u8; 32]> {
        self.young_sha256
    }

    /// Whether a write after `now` could leave the same times as are there.
    pub fn is_young(stat: &Stat, now: SystemTime) -> bool {
        let has_fraction =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() != 0);
        let (Some(modified), Some(changed)) = (stat.modified, stat.changed) else { return true };
        let tick = if has_fraction(modified) || has_fraction(changed) { TICK } else { COARSE_TICK };
        // Times in the future are no older than the clock either.
        now.duration_since(modified.max(changed)).map_or(true, |age| age <= tick)
    }
}

/// A key's new bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedWrite {
    /// The key.
    pub key: Key,
    /// What it is to be.
    pub bytes: Vec<u8>,
    /// It is written only if all of these are still what they were. Mostly it is the key itself; nothing: always.
    pub if_still: Vec<Seen>,
}

impl From<(Key, Vec<u8>)> for GuardedWrite {
    fn from((key, bytes): (Key, Vec<u8>)) -> Self {
        Self { key, bytes, if_still: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_keeps_digest_of_young_files_only() {
        let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
        let now = at(1_000_000_000_500);
        for (modified, changed, is_young) in [
            (Some(at(1_000_000_000_001)), Some(at(1_000_000_000_001)), false),
            (Some(at(1_000_000_000_001)), Some(at(1_000_000_000_490)), true),
            (Some(at(1_000_000_000_490)), Some(at(1_000_000_000_001)), true),
            (Some(at(1_000_000_000_900)), Some(at(1_000_000_000_001)), true),
            // Whole seconds.
            (Some(at(1_000_000_000_000)), Some(at(999_999_999_000)), true),
            (Some(at(999_999_997_000)), Some(at(999_999_997_000)), false),
            (None, Some(at(1)), true),
            (Some(at(1)), None, true),
        ] {
            let stat = Stat { size: 1, modified, changed, identity: (1, 1) };
            let seen = Seen::new(Key::root(), now, Some((b"x", stat)));
            assert_eq!(seen.young_sha256().is_some(), is_young, "{modified:?} {changed:?}");
        }
        assert_eq!(Seen::new(Key::root(), now, None).stat(), None);
    }
}
