//! The local file system as a store.
//!
//! Responsible for: what each operation of [`Store`] does with files and folders. Never knows formats.
//!
//! A write is staged in `index/kymhost/tmp/`. If that is another file system, or not ours to write, it is staged next
//! to its target under a name of [`crate::temporary`]. It is synced and renamed, and then the folder is synced. A key
//! that is a symbolic link is replaced by a file; what the link points to stays as it is. A link among the folders
//! above a key is never written or deleted through.

mod file;
mod folders;
mod staging;
pub(crate) mod tree;

pub use tree::StagedTree;

use crate::disk::{self, Writer};
use crate::lock::{self, LockGuard};
use crate::rooted_path::Root;
use crate::seen::GuardedWrite;
use crate::store::Store;
use crate::stored_file::{Entry, Sink, Stat, StoredFile, Synced};
use crate::{Key, StoreError, temporary};
use file::{LocalFile, read_bounded, stat_of};
use folders::{FOLDER, Folders, folder_of, remove_tree};
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Up to this many keys of one batch are synced one by one; for more, the whole file system is synced once.
const SMALL_BATCH: usize = 8;

/// Opening must not wait for the writer of a FIFO, nor make a terminal the process's own.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// A folder of the local file system.
#[derive(Debug)]
pub struct LocalStore {
    folders: Folders,
    synced: Mutex<Option<Synced>>,
}

impl LocalStore {
    /// Opens a folder that exists.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Io { action: "open", key: root.display().to_string(), source };
        Ok(Self { folders: Folders::new(Root::open(root).map_err(open)?), synced: Mutex::default() })
    }

    /// Makes a folder (its parents too) if there is none, and opens it.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let create = |source| StoreError::Io { action: "create", key: root.display().to_string(), source };
        disk::make_root(root).map_err(create)?;
        Self::open(root)
    }
}

impl Store for LocalStore {
    fn get_with_stat(&self, key: &Key, limit: u64) -> Result<Option<(Vec<u8>, Stat)>, StoreError> {
        let Some(fd) = self.folders.open_key("read", key, READ)? else { return Ok(None) };
        let Some(stat) = self.folders.file_stat("read", key, &fd)? else { return Ok(None) };
        match read_bounded(&fd, stat.size, limit) {
            Ok(Some(bytes)) => Ok(Some((bytes, stat))),
            Ok(None) => Err(StoreError::TooLarge { key: self.describe(key), limit }),
            Err(source) => Err(self.folders.io("read", key, source)),
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError> {
        let Some(fd) = self.folders.open_key("read", key, READ)? else { return Ok(None) };
        let Some(stat) = self.folders.file_stat("read", key, &fd)? else { return Ok(None) };
        Ok(Some(Box::new(LocalFile::new(fd, stat))))
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        let Some(fd) = self.folders.open_key("look at", key, disk::LOOK)? else { return Ok(None) };
        self.folders.file_stat("look at", key, &fd)
    }

    /// One call in place of three (open, fstat, close). The kernel follows links on the way here, also out of the
    /// root, but not the last one. That is safe for what it is for: who holds the answer against a recorded size,
    /// mtime and ctime finds them equal only where it is the very file that was read, for every way of making another
    /// one leave its mark in the ctime, which no program can set; two file systems with clocks of their own are why
    /// the device must be the root's. All that is not a plain file there is left to `stat`, which keeps the rule
    /// about links.
    fn glance(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        match rustix::fs::statat(self.folders.root.fd(), key.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                let stat = stat_of(&stat);
                if stat.identity.0 == self.folders.root.device() { Ok(Some(stat)) } else { self.stat(key) }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            _ => self.stat(key),
        }
    }

    fn sync(&self) -> bool {
        let began = SystemTime::now();
        let is_done = disk::sync_mapped(self.folders.root.fd()).is_ok();
        if is_done {
            let moment = Synced { began, ended: SystemTime::now() };
            *self.synced.lock().unwrap_or_else(PoisonError::into_inner) = Some(moment);
        }
        is_done
    }

    fn synced(&self) -> Option<Synced> {
        *self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, folder: &Key) -> Result<Option<Vec<Entry>>, StoreError> {
        let Some(fd) = self.folders.open_key("list", folder, FOLDER)? else { return Ok(None) };
        Ok(Some(self.folders.entries(folder, &fd)?.into_iter().map(|(entry, _)| entry).collect()))
    }

    fn folders_with(&self, folder: &Key, name: &str) -> Result<Option<Vec<String>>, StoreError> {
        let Some(fd) = self.folders.open_key("list", folder, FOLDER)? else { return Ok(None) };
        let mut found = Vec::new();
        for (entry, is_itself) in self.folders.entries(folder, &fd)?.into_iter().filter(|(entry, _)| entry.is_dir) {
            let key = folder.join(&entry.name)?.join(name)?;
            // One call if there is no link on the way, which is nearly always; `stat` keeps the rule about links.
            let below = format!("{}/{name}", entry.name);
            let plain = is_itself
                .then(|| rustix::fs::statat(&fd, below, AtFlags::SYMLINK_NOFOLLOW))
                .map(|stat| stat.map(|stat| FileType::from_raw_mode(stat.st_mode)));
            let is_there = match plain {
                Some(Ok(FileType::RegularFile)) => true,
                Some(Err(Errno::NOENT)) => false,
                _ => self.stat(&key)?.is_some(),
            };
            if is_there {
                found.push(entry.name);
            }
        }
        Ok(Some(found))
    }

    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let folder = Arc::new(self.folders.staging_folder(key)?);
        let (staged, file) =
            self.folders.stage(key, &folder, &mut |file| Writer { file, label: key.as_str() }.write_all(bytes))?;
        disk::sync_file(&file, key.as_str()).map_err(|source| self.folders.io("write", key, source))?;
        let target = self.folders.make_folders(&folder_of(key)?.0, true)?;
        self.folders.publish(key, staged, &target, true, &|| Ok(true)).map(drop)
    }

    fn put_with(&self, key: &Key, write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<Stat, StoreError> {
        let (staged, file) = self.folders.stage_stream(key, write)?;
        match self.folders.publish_file(key, staged, &file, &|| Ok(true))? {
            Some(stat) => Ok(stat),
            None => Err(self.folders.io("write", key, io::Error::other("it was not written"))),
        }
    }

    fn replace_with(
        &self,
        key: &Key,
        expected: Option<Stat>,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, StoreError> {
        let (staged, file) = self.folders.stage_stream(key, write)?;
        self.folders.publish_file(key, staged, &file, &|| Ok(self.glance(key)? == expected))
    }

    fn put_many(&self, items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        self.replace_many(&mut items.map(GuardedWrite::from)).map(drop)
    }

    fn replace_many(&self, items: &mut dyn Iterator<Item = GuardedWrite>) -> Result<Vec<Key>, StoreError> {
        let mut folder: Option<Arc<OwnedFd>> = None;
        let mut staged = Vec::new();
        let mut open_files = Vec::new();
        for GuardedWrite { key, bytes, if_still } in items {
            let folder = match &folder {
                Some(folder) => folder,
                None => folder.insert(Arc::new(self.folders.staging_folder(&key)?)),
            };
            let (item, file) =
                self.folders.stage(&key, folder, &mut |file| Writer { file, label: key.as_str() }.write_all(&bytes))?;
            if staged.len() < SMALL_BATCH {
                open_files.push(file);
            } else if !disk::CAN_SYNC_ALL {
                disk::sync_file(&file, key.as_str()).map_err(|source| self.folders.io("write", &key, source))?;
            }
            staged.push((key, item, if_still));
        }
        let (Some(folder), Some((first, ..))) = (folder, staged.first()) else { return Ok(Vec::new()) };
        let first = first.clone();
        let at_once = disk::CAN_SYNC_ALL && staged.len() > SMALL_BATCH;
        let sync_all =
            || disk::sync_all(&folder, first.as_str()).map_err(|source| self.folders.io("write", &first, source));
        if at_once {
            drop(open_files);
            sync_all()?;
        } else {
            for (file, (key, ..)) in open_files.iter().zip(&staged) {
                disk::sync_file(file, key.as_str()).map_err(|source| self.folders.io("write", key, source))?;
            }
        }
        // Keys of one folder mostly follow each other: its handle is kept, and it is synced once.
        let mut target: Option<(Key, OwnedFd)> = None;
        let sync_target = |target: &Option<(Key, OwnedFd)>| match target {
            Some((key, fd)) if !at_once => {
                disk::sync_folder(fd, key.as_str()).map_err(|source| self.folders.io("write", key, source))
            }
            _ => Ok(()),
        };
        let mut differing = Vec::new();
        for (key, item, if_still) in staged {
            let (parent, _) = folder_of(&key)?;
            if target.as_ref().is_none_or(|(open, _)| *open != parent) {
                sync_target(&target)?;
                let fd = self.folders.make_folders(&parent, !at_once)?;
                target = Some((parent, fd));
            }
            let Some((_, fd)) = &target else { continue };
            let is_due = || {
                for seen in &if_still {
                    if !self.is_still(seen)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            };
            if !self.folders.publish(&key, item, fd, false, &is_due)? {
                differing.push(key);
            }
        }
        sync_target(&target)?;
        if at_once {
            sync_all()?;
        }
        Ok(differing)
    }

    fn check_way(&self, key: &Key) -> Result<(), StoreError> {
        let (parent, _) = folder_of(key)?;
        self.folders.open_to_change("write", &parent).map(drop)
    }

    fn stage_tree(
        &self,
        folder: &Key,
        items: &mut dyn Iterator<Item = (Key, Vec<u8>)>,
    ) -> Result<StagedTree, StoreError> {
        self.folders.stage_folder(folder, items)
    }

    fn publish_trees(&self, trees: Vec<(Key, StagedTree)>) -> Result<(), StoreError> {
        self.folders.publish_folders(trees)
    }

    fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let (parent, name) = folder_of(key)?;
        let Some(folder) = self.folders.open_to_change("delete", &parent)? else { return Ok(false) };
        let failed = |source| self.folders.io("delete", key, source);
        match disk::remove(&folder, name, key.as_str()) {
            Ok(()) => disk::sync_folder(&folder, parent.as_str()).map(|()| true).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn delete_tree(&self, folder: &Key) -> Result<bool, StoreError> {
        let (parent, name) = folder_of(folder)?;
        let Some(above) = self.folders.open_to_change("delete", &parent)? else { return Ok(false) };
        let failed = |source| self.folders.io("delete", folder, source);
        match rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(failed(errno.into())),
        }
        // Renamed first, so that it disappears atomically, however long the removal takes.
        let aside = self.folders.staging_folder(folder)?;
        let temporary = temporary::name();
        let (holder, doomed) = match disk::rename(&above, name, &aside, &temporary, folder.as_str()) {
            Ok(()) => (&aside, temporary.as_str()),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => (&above, name),
            Err(error) => return Err(failed(error)),
        };
        disk::sync_folder(&above, parent.as_str()).map_err(failed)?;
        let doomed = std::ffi::CString::new(doomed).map_err(|error| failed(error.into()))?;
        remove_tree(holder, &doomed, folder.as_str()).map_err(failed)?;
        Ok(true)
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        let ((parent, name), (new_parent, new_name)) = (folder_of(from)?, folder_of(to)?);
        let failed = |source| self.folders.io("rename", from, source);
        let Some(folder) = self.folders.open_to_change("rename", &parent)? else { return Ok(false) };
        let target = self.folders.make_folders(&new_parent, true)?;
        match disk::rename(&folder, name, &target, new_name, to.as_str()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        // The new name first: a crash between the two leaves both, rather than neither.
        disk::sync_folder(&target, new_parent.as_str()).map_err(failed)?;
        disk::sync_folder(&folder, parent.as_str()).map(|()| true).map_err(failed)
    }

    fn lock(&self, key: &Key, holder: &str) -> Result<Option<LockGuard>, StoreError> {
        let (folder, name) = folder_of(key)?;
        let folder = self.folders.make_folders(&folder, false)?;
        lock::take(&folder, name, key.as_str(), holder).map_err(|source| self.folders.io("lock", key, source))
    }

    fn left_overs(&self, folder: &Key) -> Result<Vec<String>, StoreError> {
        let Some(fd) = self.folders.open_key("list", folder, FOLDER)? else { return Ok(Vec::new()) };
        let found =
            Folders::left_overs_in(&fd, SystemTime::now()).map_err(|source| self.folders.io("list", folder, source))?;
        Ok(found.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn root(&self) -> PathBuf {
        self.folders.root.path().to_owned()
    }
}

#[cfg(test)]
mod tests;
