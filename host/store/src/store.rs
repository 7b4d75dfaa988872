//! The promises of a store. [`crate::contract`] checks each of them.

use crate::local::tree::StagedTree;
use crate::lock::{Holder, LockGuard, MAX_HOLDER_BYTES};
use crate::seen::{GuardedWrite, Seen};
use crate::stored_file::{Entry, Sink, Stat, StoredFile, Synced};
use crate::{Key, StoreError};
use sha2::{Digest, Sha256};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// No JSON document, attribute file or marker of kymhost or kymflow comes near this many bytes.
pub const MAX_DOCUMENT_BYTES: u64 = 256 << 20;

/// A place that keeps bytes under keys.
///
/// Promised: `put*` is atomic for each whole key (a reader sees the old bytes or the new ones), and when it returns
/// the bytes are on disk. Absent keys are `None`, never an error. Nothing leads out of the root.
///
/// Reads may follow symbolic links that stay inside the root. Writes, renames and deletes never go through one: a link
/// on the way is [`StoreError::ThroughLink`], and a link in the very place is itself replaced or removed.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The bytes of a key, at most `limit` of them.
    fn get(&self, key: &Key, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get_with_stat(key, limit)?.map(|(bytes, _)| bytes))
    }
    /// The bytes of a key, at most `limit` of them, and what was known of it right before they were read.
    fn get_with_stat(&self, key: &Key, limit: u64) -> Result<Option<(Vec<u8>, Stat)>, StoreError>;
    /// As [`Store::get`], with what [`Store::replace_many`] needs to see whether the key was written since.
    fn get_seen(&self, key: &Key, limit: u64) -> Result<(Option<Vec<u8>>, Seen), StoreError> {
        let before = SystemTime::now();
        let found = self.get_with_stat(key, limit)?;
        let seen = Seen::new(key.clone(), before, found.as_ref().map(|(bytes, stat)| (bytes.as_slice(), *stat)));
        Ok((found.map(|(bytes, _)| bytes), seen))
    }
    /// What a key is now, as [`Store::get_seen`] says it. Bytes are read only if the times cannot say it.
    fn see(&self, key: &Key) -> Result<Seen, StoreError> {
        let before = SystemTime::now();
        let Some(stat) = self.stat(key)? else { return Ok(Seen::new(key.clone(), before, None)) };
        if Seen::is_young(&stat, before) {
            match self.get_seen(key, MAX_DOCUMENT_BYTES) {
                // Its times must do.
                Err(StoreError::TooLarge { .. }) => {}
                other => return Ok(other?.1),
            }
        }
        Ok(Seen::by_times(key.clone(), stat))
    }
    /// Whether a key is still what it was. Bytes are read only if the times cannot say it.
    fn is_still(&self, seen: &Seen) -> Result<bool, StoreError> {
        if self.glance(seen.key())? != seen.stat() {
            return Ok(false);
        }
        let Some(expected) = seen.young_sha256() else { return Ok(true) };
        match self.get_with_stat(seen.key(), seen.stat().map_or(0, |stat| stat.size)) {
            Ok(found) => Ok(found.is_some_and(|(bytes, stat)| {
                Some(stat) == seen.stat() && <[u8; 32]>::from(Sha256::digest(&bytes)) == expected
            })),
            Err(StoreError::TooLarge { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
    /// Opens a key for reading at any place.
    fn open(&self, key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError>;
    /// What is known of a key without reading it. `None` also for a folder.
    fn stat(&self, key: &Key) -> Result<Option<Stat>, StoreError>;
    /// As [`Store::stat`], at the least cost, to be held against what is recorded of the key, never to read by: a
    /// link on the way may be followed that [`Store::stat`] would refuse.
    fn glance(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        self.stat(key)
    }
    /// Waits until what all programs wrote to the store so far is on disk, also through mapped files, and remembers the
    /// moment; `false` if this system cannot, or the disk fails.
    fn sync(&self) -> bool {
        false
    }
    /// The moment of the last [`Store::sync`] of this process.
    fn synced(&self) -> Option<Synced> {
        None
    }
    /// What is directly below a folder, sorted by name; `None` if there is no such folder.
    /// Our own temporary files are left out.
    fn list(&self, folder: &Key) -> Result<Option<Vec<Entry>>, StoreError>;
    /// The folders directly below a folder that hold a key of this name, sorted; `None` if there is no such folder.
    /// Finds what [`Store::list`] and [`Store::stat`] find, at less cost.
    fn folders_with(&self, folder: &Key, name: &str) -> Result<Option<Vec<String>>, StoreError> {
        let Some(entries) = self.list(folder)? else { return Ok(None) };
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.is_dir && self.stat(&folder.join(&entry.name)?.join(name)?)?.is_some() {
                found.push(entry.name);
            }
        }
        Ok(Some(found))
    }
    /// Writes a key, whole.
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError>;
    /// Writes a key from a stream; nothing is seen of it when `write` fails.
    fn put_with(&self, key: &Key, write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<Stat, StoreError>;
    /// As [`Store::put_with`], but only if the key is still what [`Store::stat`] said, right before it is replaced:
    /// `None`, with nothing changed, if another program has written it in the meantime.
    fn replace_with(
        &self,
        key: &Key,
        expected: Option<Stat>,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, StoreError>;
    /// Writes many keys, each atomically, with one wait for the disk instead of one per key.
    /// All are staged before the first is published. On an error some may have been published.
    fn put_many(&self, items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError>;
    /// As [`Store::put_many`], but each key only if what its write depends on is still what was read: a store that can
    /// looks right before it renames. Returns the keys that were left as they are because another program has written
    /// meanwhile; the caller merges and tries again, or gives up.
    fn replace_many(&self, items: &mut dyn Iterator<Item = GuardedWrite>) -> Result<Vec<Key>, StoreError> {
        let (mut same, mut differing) = (Vec::new(), Vec::new());
        for GuardedWrite { key, bytes, if_still } in items {
            let mut is_same = true;
            for seen in &if_still {
                is_same = is_same && self.is_still(seen)?;
            }
            if is_same { same.push((key, bytes)) } else { differing.push(key) }
        }
        self.put_many(&mut same.into_iter())?;
        Ok(differing)
    }
    /// Checks that no symbolic link is on the way to a key that is to be written or deleted. Each write checks it
    /// itself; this is for whoever needs to know it before the first of many.
    fn check_way(&self, key: &Key) -> Result<(), StoreError> {
        let _ = key;
        Ok(())
    }
    /// Writes a whole folder aside, from keys below it; nobody sees it until it is published.
    fn stage_tree(
        &self,
        folder: &Key,
        items: &mut dyn Iterator<Item = (Key, Vec<u8>)>,
    ) -> Result<StagedTree, StoreError> {
        let _ = items;
        Err(StoreError::unsupported("write", self.describe(folder), "this store cannot write whole folders"))
    }
    /// Puts staged folders into their places, each at once, over what was there (a reader sees the old folder or the
    /// new one), with one wait for the disk. All trees of one call go into one folder. On an error some may have been
    /// published.
    fn publish_trees(&self, trees: Vec<(Key, StagedTree)>) -> Result<(), StoreError> {
        let Some((first, _)) = trees.first() else { return Ok(()) };
        Err(StoreError::unsupported("write", self.describe(first), "this store cannot write whole folders"))
    }
    /// Deletes a key; `false` if there was none.
    fn delete(&self, key: &Key) -> Result<bool, StoreError>;
    /// Deletes a folder with all below it; `false` if there was none.
    fn delete_tree(&self, folder: &Key) -> Result<bool, StoreError>;
    /// Gives a key another name, over what was there; `false` if there was none. The folders of the new name are made.
    fn rename(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        let _ = to;
        Err(StoreError::unsupported("rename", self.describe(from), "this store cannot rename"))
    }
    /// Takes a lock that only one process can hold; `None` if another does. Its file and the folders above are made,
    /// and `holder` (see [`Holder::to_text`]) is written into it for those who wait.
    fn lock(&self, key: &Key, holder: &str) -> Result<Option<LockGuard>, StoreError> {
        let _ = holder;
        Err(StoreError::unsupported("lock", self.describe(key), "this store has no locks"))
    }
    /// What a lock's file says of who holds it, or held it last.
    fn lock_holder(&self, key: &Key) -> Holder {
        let text = self.get(key, MAX_HOLDER_BYTES).ok().flatten();
        text.map(|text| Holder::of_text(&text)).unwrap_or_default()
    }
    /// Names of temporary files directly in a folder that killed processes left. The next write to the folder removes
    /// them.
    fn left_overs(&self, folder: &Key) -> Result<Vec<String>, StoreError> {
        let _ = folder;
        Ok(Vec::new())
    }
    /// Where it is, for messages and for workers that open it again.
    fn root(&self) -> PathBuf;
    /// How a key is called in messages: the root joined with the key.
    fn describe(&self, key: &Key) -> String {
        self.root().join(key.as_str()).display().to_string()
    }
}
