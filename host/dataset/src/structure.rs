//! The locks of a dataset: of its structure (which images there are, the manifest, and the root's attributes), and of
//! its params.
//!
//! Without the first, two processes could read the root's attributes at the same time and each write back only its own change.
//! A run takes the lock of its table first and this one second, never the other way round.

use crate::attributes;
use crate::attributes::PreparedWrite;
use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::guarded;
use kymhost_store::{Key, LockFailure, LockGuard, lock_if_possible};
use std::time::Duration;

/// Its key.
const LOCK: &str = "index/kymhost/locks/dataset.lock";
/// The key of the lock of all params: commands that change them exclude each other. No other lock is taken while it is
/// held.
const PARAMS_LOCK: &str = "index/kymhost/locks/params.lock";
/// How long another process is waited for. Only listing the images of a large dataset for its manifest takes seconds.
const WAIT: Duration = Duration::from_secs(30);

/// A lock, or nothing if the dataset can be written but has no place for locks.
#[derive(Debug)]
pub struct DatasetLock {
    _guard: Option<LockGuard>,
}

impl Dataset {
    /// Takes the lock. `what` is done, for those who wait.
    pub(crate) fn lock_structure(&self, what: &str) -> Result<DatasetLock, DatasetError> {
        self.lock_structure_for(what, WAIT)
    }

    pub(crate) fn lock_structure_for(&self, what: &str, wait: Duration) -> Result<DatasetLock, DatasetError> {
        self.take_lock(LOCK, what, wait)
    }

    /// Takes the lock of all params, waiting for another command for `wait` (30 s if it is not given). `what` is done, for
    /// those who wait.
    pub fn lock_params(&self, what: &str, wait: Option<Duration>) -> Result<DatasetLock, DatasetError> {
        self.take_lock(PARAMS_LOCK, what, wait.unwrap_or(WAIT))
    }

    fn take_lock(&self, key: &str, what: &str, wait: Duration) -> Result<DatasetLock, DatasetError> {
        match lock_if_possible(&**self.store(), &Key::new(key)?, what, wait) {
            Ok(guard) => Ok(DatasetLock { _guard: guard }),
            Err(LockFailure::Busy(holder)) => Err(DatasetError::Locked { holder, seconds: wait.as_secs() }),
            Err(LockFailure::Store(error)) => Err(error.into()),
        }
    }

    /// Sets the root's `updated_utc`, after a change that does not itself need the lock.
    pub(crate) fn touch_root(&self, what: &str) -> Result<(), DatasetError> {
        let _structure = match self.lock_structure(what) {
            Ok(structure) => structure,
            // The data itself is written; the time is only a hint.
            Err(error @ DatasetError::Locked { .. }) => {
                tracing::warn!(%error, "the dataset's updated_utc stays as it is");
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        self.write_root(attributes::touched(&**self.store(), &Key::root())?)
    }

    /// Writes the root's attributes, merged with what another program has written meanwhile.
    pub(crate) fn write_root(&self, root: PreparedWrite) -> Result<(), DatasetError> {
        guarded::write(&**self.store(), &mut std::iter::once(root)).map(drop)
    }

    /// Checks that the root's attributes can be set, before anything is written.
    pub(crate) fn check_root(&self) -> Result<(), DatasetError> {
        attributes::touched(&**self.store(), &Key::root()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::array::Array;
    use std::fs;

    fn fixture() -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Dataset::create(&folder.path().join("d.zarr")).unwrap();
        (folder, dataset)
    }

    fn pixels() -> Array {
        Array::from_elements(&[1u8, 2, 3, 4], vec![2, 2], vec!["time".to_owned(), "space".to_owned()]).unwrap()
    }

    #[test]
    fn structure_lock_is_exclusive() {
        let (_folder, dataset) = fixture();
        dataset.add_image(Some("a"), &pixels(), None).unwrap();
        let held = dataset.lock_structure("holding it").unwrap();
        let error = dataset.lock_structure_for("another", Duration::from_millis(20)).unwrap_err();
        assert!(matches!(&error, DatasetError::Locked { .. }), "{error}");
        assert!(error.to_string().contains("holding it, since 2"), "{error}");
        // Each of these waits; none reads the root's attributes before it has the lock.
        std::thread::scope(|scope| {
            let waiting = [
                scope.spawn(|| dataset.add_image(Some("b"), &pixels(), None).map(drop)),
                scope.spawn(|| dataset.delete_image("a").map(drop)),
                scope.spawn(|| dataset.rebuild_manifest().map(drop)),
            ];
            std::thread::sleep(Duration::from_millis(100));
            assert!(waiting.iter().all(|work| !work.is_finished()));
            assert_eq!(dataset.image_ids().unwrap(), ["a"]);
            let path = dataset.path().join(".zattrs");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replacen('{', "{\"theirs\": 1, ", 1)).unwrap();
            drop(held);
            for work in waiting {
                work.join().unwrap().unwrap();
            }
        });
        assert_eq!(dataset.image_ids().unwrap(), ["b"]);
        assert!(dataset.attributes().unwrap().get("theirs").is_some(), "another's change of the attributes is lost");
    }

    #[test]
    fn readers_take_no_lock() {
        let (_folder, dataset) = fixture();
        dataset.add_image(Some("a"), &pixels(), None).unwrap();
        let _held = dataset.lock_structure("holding it").unwrap();
        dataset.image_ids().unwrap();
        dataset.attributes().unwrap();
        dataset.check_manifest().unwrap();
        assert_eq!(dataset.validate(), []);
    }
}
