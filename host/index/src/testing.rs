//! What the tests of this crate share: an indexer without a plugin, an observer that records, and a store that fails.

use crate::observer::Observer;
use arrow::array::RecordBatch;
use kymhost_dataset::{Dataset, Input};
use kymhost_plugin::{Extracted, Failure, ParamsReading, PluginError, Workforce};
use kymhost_plugin_api::{Json, RunMarker};
use kymhost_store::{Entry, Key, LocalStore, LockGuard, Sink, Stat, Store, StoreError, StoredFile, Synced};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a test's indexer answers about one image.
pub(crate) trait FakeIndexer: Send {
    fn params(&mut self, image_id: &str) -> Result<ParamsReading, Failure>;
    fn rows(&mut self, image_id: &str) -> Result<(RecordBatch, Vec<Input>), Failure>;
    fn old_marker(&mut self, _payload: &Json) -> Result<Option<RunMarker>, Failure> {
        Ok(None)
    }
}

type Hook = Box<dyn FnMut() + Send>;

/// A workforce that asks a [`FakeIndexer`] in this process. It records what it is asked.
pub(crate) struct FakeWorkforce<T> {
    pub indexer: T,
    pub library_sha256: String,
    /// Each call, with the images that it is about (an empty text for each old marker).
    pub asked: Vec<(&'static str, Vec<String>)>,
    /// Each image whose extraction began.
    pub extracted: Vec<String>,
    /// Runs when params are asked for.
    pub on_params: Option<Hook>,
    /// Runs when rows are asked for.
    pub on_rows: Option<Hook>,
    /// The call and the image at which all workers are lost.
    pub gives_up_at: Option<(&'static str, &'static str)>,
    /// Whether it returns before it has answered for the last image or old marker.
    pub stops_early: bool,
}

impl<T> FakeWorkforce<T> {
    pub fn new(indexer: T) -> Self {
        Self {
            indexer,
            library_sha256: "0".repeat(64),
            asked: Vec::new(),
            extracted: Vec::new(),
            on_params: None,
            on_rows: None,
            gives_up_at: None,
            stops_early: false,
        }
    }

    pub fn questions(&self) -> Vec<&'static str> {
        self.asked.iter().map(|(question, _)| *question).collect()
    }

    fn check_worker(&self, question: &str, image_id: &str) -> Result<(), PluginError> {
        match self.gives_up_at == Some((question, image_id)) {
            true => Err(PluginError::worker("the library was replaced")),
            false => Ok(()),
        }
    }

    fn answered<'a, Q>(&self, questions: &'a [Q]) -> &'a [Q] {
        &questions[..questions.len() - usize::from(self.stops_early)]
    }
}

impl<T> Deref for FakeWorkforce<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.indexer
    }
}

impl<T> DerefMut for FakeWorkforce<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.indexer
    }
}

impl<T: FakeIndexer> Workforce for FakeWorkforce<T> {
    fn library_sha256(&mut self) -> Result<String, PluginError> {
        Ok(self.library_sha256.clone())
    }
    fn params_hashes(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<ParamsReading, Failure>),
    ) -> Result<(), PluginError> {
        self.asked.push(("params", image_ids.to_vec()));
        self.on_params.iter_mut().for_each(|hook| hook());
        for (index, id) in self.answered(image_ids).iter().enumerate() {
            self.check_worker("params", id)?;
            sink(index, self.indexer.params(id));
        }
        Ok(())
    }
    fn read_old_markers(
        &mut self,
        payloads: &[Vec<u8>],
        sink: &mut dyn FnMut(usize, Result<Option<RunMarker>, Failure>),
    ) -> Result<(), PluginError> {
        self.asked.push(("old markers", vec![String::new(); payloads.len()]));
        for (index, payload) in self.answered(payloads).iter().enumerate() {
            sink(index, self.indexer.old_marker(&Json::parse(payload).unwrap()));
        }
        Ok(())
    }
    fn extract_rows(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<Extracted, Failure>) -> bool,
    ) -> Result<(), PluginError> {
        self.asked.push(("rows", image_ids.to_vec()));
        self.on_rows.iter_mut().for_each(|hook| hook());
        for (index, id) in image_ids.iter().enumerate() {
            self.check_worker("rows", id)?;
            self.extracted.push(id.clone());
            let params = self.indexer.params(id);
            let answer = self
                .indexer
                .rows(id)
                .and_then(|(rows, inputs)| Ok(Extracted { rows, params: params?, inputs, artifacts: Vec::new() }));
            if !sink(index, answer) {
                break;
            }
        }
        Ok(())
    }
}

/// Records what it is told, and says when to stop.
#[derive(Default)]
pub(crate) struct RecordingObserver {
    pub planned: Vec<(usize, usize)>,
    /// Each image, and whether it succeeded.
    pub done: Vec<(String, bool)>,
    pub committing: usize,
    /// How many images are done before the run is told to stop.
    pub stop_after: Option<usize>,
}

impl Observer for RecordingObserver {
    fn planned(&mut self, to_do: usize, total: usize) {
        self.planned.push((to_do, total));
    }
    fn image_done(&mut self, image_id: &str, failure: Option<&Failure>) {
        self.done.push((image_id.to_owned(), failure.is_none()));
    }
    fn committing(&mut self) {
        self.committing += 1;
    }
    fn interrupted(&mut self) -> bool {
        self.stop_after.is_some_and(|limit| self.done.len() >= limit)
    }
}

/// A store whose changes fail after a number of them, as if the process were killed or the disk full, and in which
/// another program can write between our changes.
pub(crate) struct FailingStore {
    store: LocalStore,
    /// `None`: no change fails.
    changes_left: Option<AtomicUsize>,
    refused: AtomicUsize,
    /// Each runs right before one of our replacements of a key: the last one first. Python takes no lock.
    pub before_replace: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl FailingStore {
    pub fn open(path: &Path, changes_left: Option<usize>) -> Self {
        Self {
            store: LocalStore::open(path).unwrap(),
            changes_left: changes_left.map(AtomicUsize::new),
            refused: AtomicUsize::new(0),
            before_replace: Mutex::default(),
        }
    }

    pub fn dataset(path: &Path, changes_left: Option<usize>) -> (Dataset, Arc<Self>) {
        let store = Arc::new(Self::open(path, changes_left));
        (Dataset::open_store(Arc::clone(&store) as Arc<dyn Store>).unwrap(), store)
    }

    pub fn has_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > 0
    }

    fn change(&self, key: &Key) -> Result<(), StoreError> {
        let Some(left) = &self.changes_left else { return Ok(()) };
        let left = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| {
            self.refused.fetch_add(1, Ordering::SeqCst);
            StoreError::Io { action: "write", key: key.to_string(), source: io::ErrorKind::StorageFull.into() }
        })
    }
}

impl fmt::Debug for FailingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that fails")
    }
}

impl Store for FailingStore {
    fn get_with_stat(&self, key: &Key, limit: u64) -> Result<Option<(Vec<u8>, Stat)>, StoreError> {
        self.store.get_with_stat(key, limit)
    }
    fn open(&self, key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError> {
        self.store.open(key)
    }
    fn stat(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.store.stat(key)
    }
    fn sync(&self) -> bool {
        self.store.sync()
    }
    fn synced(&self) -> Option<Synced> {
        self.store.synced()
    }
    fn list(&self, folder: &Key) -> Result<Option<Vec<Entry>>, StoreError> {
        self.store.list(folder)
    }
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.change(key)?;
        self.store.put(key, bytes)
    }
    fn put_with(&self, key: &Key, write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<Stat, StoreError> {
        self.change(key)?;
        self.store.put_with(key, write)
    }
    fn replace_with(
        &self,
        key: &Key,
        expected: Option<Stat>,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, StoreError> {
        if let Some(before) = self.before_replace.lock().unwrap().pop() {
            before();
        }
        self.change(key)?;
        self.store.replace_with(key, expected, write)
    }
    fn put_many(&self, items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        if self.changes_left.is_none() {
            return self.store.put_many(items);
        }
        // One by one, so that it can fail between any two.
        for (key, bytes) in items {
            self.put(&key, &bytes)?;
        }
        Ok(())
    }
    fn check_way(&self, key: &Key) -> Result<(), StoreError> {
        self.store.check_way(key)
    }
    fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.change(key)?;
        self.store.delete(key)
    }
    fn delete_tree(&self, folder: &Key) -> Result<bool, StoreError> {
        self.change(folder)?;
        self.store.delete_tree(folder)
    }
    fn rename(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        self.store.rename(from, to)
    }
    fn lock(&self, key: &Key, holder: &str) -> Result<Option<LockGuard>, StoreError> {
        self.store.lock(key, holder)
    }
    fn root(&self) -> PathBuf {
        self.store.root()
    }
}
