//! A store that remembers what was read through it: for each read the clock before it, and the bytes' digest,
//! nothing, or an error.
//!
//! Never writes, and refuses what it could not remember (listings, open files).

use crate::store::Store;
use crate::stored_file::{Entry, Sink, Stat, StoredFile, Synced};
use crate::{Key, StoreError};
use sha2::{Digest, Sha256};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// One read through a [`Watched`] store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What was read.
    pub key: Key,
    /// The time before anything of it was read.
    pub before: SystemTime,
    /// What was there.
    pub outcome: ReadOutcome,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Bytes.
    Bytes {
        /// What was known of the key right before they were read.
        stat: Stat,
        /// How many were read: another number than in `stat` if the key was written in the meantime.
        length: u64,
        /// The SHA-256 of what was read.
        sha256: [u8; 32],
    },
    /// Nothing.
    Absent,
    /// An error: there is something, but it was not read.
    Unread,
}

/// A view of another store through which whole keys are read, and which remembers each read.
///
/// It returns bytes of whole keys only: what it cannot remember (listings, stats, files opened for reading in parts)
/// it refuses, and writes with it. So nothing that is read through it can be missing from what it remembers.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Store>,
    readings: Mutex<Vec<Reading>>,
}

impl Watched {
    /// Nothing was read yet.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, readings: Mutex::new(Vec::new()) }
    }

    /// All reads so far, in their order; they are forgotten here.
    pub fn take_readings(&self) -> Vec<Reading> {
        std::mem::take(&mut *self.readings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn refuse<T>(&self, action: &'static str, key: &Key) -> Result<T, StoreError> {
        Err(StoreError::unsupported(action, self.describe(key), "this view of the store only reads whole keys"))
    }
}

impl Store for Watched {
    fn get_with_stat(&self, key: &Key, limit: u64) -> Result<Option<(Vec<u8>, Stat)>, StoreError> {
        let before = SystemTime::now();
        let result = self.inner.get_with_stat(key, limit);
        let outcome = match &result {
            Ok(Some((bytes, stat))) => {
                ReadOutcome::Bytes { stat: *stat, length: bytes.len() as u64, sha256: Sha256::digest(bytes).into() }
            }
            Ok(None) => ReadOutcome::Absent,
            Err(_) => ReadOutcome::Unread,
        };
        let reading = Reading { key: key.clone(), before, outcome };
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).push(reading);
        result
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError> {
        self.refuse("open", key)
    }
    fn stat(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.refuse("look at", key)
    }
    fn synced(&self) -> Option<Synced> {
        self.inner.synced()
    }
    fn list(&self, folder: &Key) -> Result<Option<Vec<Entry>>, StoreError> {
        self.refuse("list", folder)
    }
    fn put(&self, key: &Key, _bytes: &[u8]) -> Result<(), StoreError> {
        self.refuse("write", key)
    }
    fn put_with(&self, key: &Key, _: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<Stat, StoreError> {
        self.refuse("write", key)
    }
    fn replace_with(
        &self,
        key: &Key,
        _: Option<Stat>,
        _: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, StoreError> {
        self.refuse("write", key)
    }
    fn put_many(&self, items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        match items.next() {
            Some((key, _)) => self.refuse("write", &key),
            None => Ok(()),
        }
    }
    fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.refuse("delete", key)
    }
    fn delete_tree(&self, folder: &Key) -> Result<bool, StoreError> {
        self.refuse("delete", folder)
    }
    fn root(&self) -> PathBuf {
        self.inner.root()
    }
    fn describe(&self, key: &Key) -> String {
        self.inner.describe(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LocalStore;

    #[test]
    fn watched_store_records_reads_and_refuses_all_else() {
        let folder = tempfile::tempdir().unwrap();
        let inner = LocalStore::open(folder.path()).unwrap();
        let key = |text: &str| Key::new(text).unwrap();
        inner.put(&key("a/b"), b"abc").unwrap();
        let watched = Watched::new(Arc::new(inner));
        assert_eq!(watched.get(&key("a/b"), 10).unwrap().as_deref(), Some(b"abc".as_slice()));
        assert_eq!(watched.get(&key("a/c"), 10).unwrap(), None);
        watched.get(&key("a/b"), 2).unwrap_err();

        let refused = [
            watched.open(&key("a/b")).err(),
            watched.stat(&key("a/b")).err(),
            watched.list(&key("a")).err(),
            watched.folders_with(&Key::root(), "b").err(),
            watched.put(&key("a/b"), b"x").err(),
            watched.put_with(&key("a/b"), &mut |_| Ok(())).err(),
            watched.replace_with(&key("a/b"), None, &mut |_| Ok(())).err(),
            watched.put_many(&mut [(key("a/b"), Vec::new())].into_iter()).err(),
            watched.replace_many(&mut [(key("a/b"), Vec::new()).into()].into_iter()).err(),
            watched.delete(&key("a/b")).err(),
            watched.delete_tree(&key("a")).err(),
            watched.lock(&key("a/lock"), "").err(),
        ];
        assert!(refused.iter().all(Option::is_some), "{refused:?}");

        let readings = watched.take_readings();
        let digest: [u8; 32] = Sha256::digest(b"abc").into();
        let found: Vec<_> = readings
            .iter()
            .map(|reading| match &reading.outcome {
                ReadOutcome::Bytes { stat, length, sha256 } => {
                    assert_eq!((stat.size, *length, *sha256), (3, 3, digest));
                    assert!(reading.before >= stat.changed.unwrap() - std::time::Duration::from_secs(1));
                    "bytes"
                }
                ReadOutcome::Absent => "absent",
                ReadOutcome::Unread => "unread",
            })
            .collect();
        assert_eq!(found, ["bytes", "absent", "unread"]);
        assert!(watched.take_readings().is_empty(), "each is returned once");
        assert_eq!(std::fs::read(folder.path().join("a/b")).unwrap(), b"abc");
    }
}
