//! The local file system as a store.
//! Owns: openat2 beneath the root, temporary files, syncs, renames. Never: formats.

use super::{Entry, Key, Sink, Stat, Store, StoreError, StoredFile};
use std::io;
use std::path::{Path, PathBuf};

/// A folder of the local file system.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// Opens a folder that exists.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let _ = root;
        unimplemented!()
    }
    /// Makes a folder that does not exist yet (its parents are made too) and opens it.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let _ = root;
        unimplemented!()
    }
}

impl Store for LocalStore {
    fn get(&self, _key: &Key, _limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        unimplemented!()
    }
    fn open(&self, _key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError> {
        unimplemented!()
    }
    fn stat(&self, _key: &Key) -> Result<Option<Stat>, StoreError> {
        unimplemented!()
    }
    fn list(&self, _folder: &Key) -> Result<Option<Vec<Entry>>, StoreError> {
        unimplemented!()
    }
    fn put(&self, _key: &Key, _bytes: &[u8]) -> Result<(), StoreError> {
        unimplemented!()
    }
    fn put_with(
        &self,
        _key: &Key,
        _write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Stat, StoreError> {
        unimplemented!()
    }
    fn put_many(&self, _items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        unimplemented!()
    }
    fn delete(&self, _key: &Key) -> Result<bool, StoreError> {
        unimplemented!()
    }
    fn delete_tree(&self, _folder: &Key) -> Result<bool, StoreError> {
        unimplemented!()
    }
    fn root(&self) -> PathBuf {
        self.root.clone()
    }
}
