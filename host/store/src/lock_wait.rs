//! Taking a lock that another process may hold: how long to wait, and when to go on without one.
//!
//! Never decides what a lock protects, or in which order locks are taken.

use crate::{Holder, Key, LockGuard, Store, StoreError};
use std::io;
use std::time::{Duration, Instant};

/// The first pause between two tries. Each pause is longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockFailure {
    /// Another process still holds it.
    Busy(Holder),
    /// The store failed, or it has no place for locks.
    Store(StoreError),
}

impl From<StoreError> for LockFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Takes a lock, and waits for it for `wait` at most. `doing` says to other processes what this one does meanwhile.
/// `goes_on` is asked before each pause, with the process that holds the lock; `false` ends the wait.
///
/// # Errors
/// [`LockFailure::Busy`] if another process still holds the lock at the end of the wait.
pub fn lock_waiting(
    store: &dyn Store,
    key: &Key,
    doing: &str,
    wait: Duration,
    goes_on: &mut dyn FnMut(&Holder) -> bool,
) -> Result<LockGuard, LockFailure> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(guard) = store.lock(key, &Holder::this_process(doing).to_text())? {
            return Ok(guard);
        }
        let left = wait.saturating_sub(begun.elapsed());
        let holder = store.lock_holder(key);
        if left.is_zero() || !goes_on(&holder) {
            return Err(LockFailure::Busy(holder));
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`lock_waiting`], but gives `None` if the store has no place for locks: it may have none at all, or we may write
/// images into a colleague's dataset, but not next to them.
///
/// # Errors
/// As [`lock_waiting`].
pub fn lock_if_possible(
    store: &dyn Store,
    key: &Key,
    doing: &str,
    wait: Duration,
) -> Result<Option<LockGuard>, LockFailure> {
    match lock_waiting(store, key, doing, wait, &mut |_| true) {
        Err(LockFailure::Store(StoreError::Io { source, .. }))
            if matches!(source.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            tracing::warn!(%source, "the dataset has no place for locks; going on without one");
            Ok(None)
        }
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LocalStore, Watched};
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(60);

    fn fixture() -> (tempfile::TempDir, LocalStore, Key) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        (folder, store, Key::new("locks/a.lock").unwrap())
    }

    #[test]
    fn lock_waiting_takes_lock_once_free() {
        let (_folder, store, key) = fixture();
        let mut held = Some(lock_waiting(&store, &key, "first", Duration::ZERO, &mut |_| true).unwrap());
        let mut holders = Vec::new();
        let guard = lock_waiting(&store, &key, "second", LONG, &mut |holder| {
            holders.push(holder.plugin.clone());
            // Lets go at the second try.
            if holders.len() == 2 {
                held = None;
            }
            true
        });
        guard.unwrap();
        assert_eq!(holders, [Some("first".to_owned()), Some("first".to_owned())]);
        assert_eq!(store.lock_holder(&key).plugin.as_deref(), Some("second"));
    }

    #[test]
    fn lock_waiting_ends_after_wait_or_if_told() {
        let (_folder, store, key) = fixture();
        let _held = lock_waiting(&store, &key, "first", Duration::ZERO, &mut |_| true).unwrap();
        for (wait, goes_on, expected) in [(Duration::ZERO, true, 0), (LONG, false, 1), (Duration::MAX, false, 1)] {
            let mut asked = 0;
            let result = lock_waiting(&store, &key, "second", wait, &mut |_| {
                asked += 1;
                goes_on
            });
            let Err(LockFailure::Busy(holder)) = result else { panic!("{result:?}") };
            assert_eq!((holder.plugin.as_deref(), asked), (Some("first"), expected));
        }
        let (wait, begun) = (Duration::from_millis(30), Instant::now());
        let result = lock_if_possible(&store, &key, "second", wait);
        assert!(matches!(result, Err(LockFailure::Busy(_))) && begun.elapsed() >= wait, "{result:?}");
    }

    #[test]
    fn lock_if_possible_goes_on_without_place() {
        let (_folder, store, key) = fixture();
        let watched = Watched::new(Arc::new(store));
        assert!(lock_if_possible(&watched, &key, "", Duration::ZERO).unwrap().is_none());
        let result = lock_waiting(&watched, &key, "", Duration::ZERO, &mut |_| true);
        assert!(matches!(result, Err(LockFailure::Store(_))), "{result:?}");
    }
}
