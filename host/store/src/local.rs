//! The local file system as a store.
//!
//! Owns: where temporary files stand, the order of write, sync and rename. Never: formats.
//!
//! A write is staged in `index/kymhost/tmp/`, or, where that is another file system or not ours to write, beside its
//! target under a name of [`temporary`]. It is synced, renamed, and the folder is synced.
//! A key that is a symbolic link is replaced by a file; what the link leads to is left alone.

mod tree;

pub use tree::StagedTree;

use super::behind::Behind;
use super::beneath::{Refusal, Root};
use super::disk::{self, Writer};
use super::temporary;
use super::time::from_epoch;
use super::{Entry, Key, Sink, Stat, Store, StoreError, StoredFile};
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where writes are staged.
const TEMP_FOLDER: &str = "index/kymhost/tmp";
/// Up to so many keys of one batch are synced one by one; more wait for the whole file system once.
const SMALL_BATCH: usize = 8;
/// How deep a folder that is deleted may nest.
const MAX_FOLDERS: usize = 128;
/// How much a streaming write gathers before it goes to the file.
const WRITE_BUFFER: usize = 256 << 10;

/// Not waiting for a writer where a FIFO stands, nor becoming its terminal where one does.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// A folder of the local file system.
#[derive(Debug)]
pub struct LocalStore {
    root: Root,
    swept: Once,
}

impl LocalStore {
    /// A key's new bytes in a temporary file, on disk.
    fn stage_stream(
        &self,
        key: &Key,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<(Staged, File), StoreError> {
        let folder = Arc::new(self.staging_folder(key)?);
        // Large keys stand in folders of few: what was once staged beside them is worth a look.
        let (parent, _) = folder_of(key)?;
        if let Ok(target) = self.root.open_beneath(parent.as_str(), FOLDER) {
            self.sweep(&parent, &target, SystemTime::now());
        }
        let (staged, file) = self.stage(key, &folder, &mut |file| {
            std::thread::scope(|scope| {
                let label = key.as_str();
                let behind = Behind::new(Writer { file, label }, file, label, scope);
                let mut buffered = BufWriter::with_capacity(WRITE_BUFFER, behind);
                let written = write(&mut buffered).and_then(|()| buffered.flush());
                // What is left in the buffer where writing failed is of no use.
                let (behind, _) = buffered.into_parts();
                written.and(behind.finish())
            })
        })?;
        disk::sync_file(&file, key.as_str()).map_err(|source| self.io("write", key, source))?;
        Ok((staged, file))
    }

    /// What stands directly below an open folder, sorted by name; each with whether it is a folder itself, no link to one.
    fn entries(&self, folder: &Key, fd: &OwnedFd) -> Result<Vec<(Entry, bool)>, StoreError> {
        let failed = |errno: Errno| self.io("list", folder, errno);
        let mut entries = Vec::new();
        let mut lines = Dir::read_from(fd).map_err(failed)?;
        while let Some(line) = lines.read() {
            let line = line.map_err(failed)?;
            let raw = line.file_name();
            if matches!(raw.to_bytes(), b"." | b"..") || raw.to_bytes().starts_with(temporary::PREFIX.as_bytes()) {
                continue;
            }
            let name = match raw.to_str() {
                Ok(name) if !name.contains('\\') => name.to_owned(),
                _ => {
                    tracing::warn!(folder = %self.describe(folder), name = %raw.to_string_lossy(), "left out: no key can have this name");
                    continue;
                }
            };
            let is_dir = match line.file_type() {
                FileType::Directory => true,
                // A link counts as what it leads to; reading below it is what keeps the rule.
                FileType::Symlink | FileType::Unknown => rustix::fs::statat(fd, raw, AtFlags::empty())
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                _ => false,
            };
            entries.push((Entry { name, is_dir }, line.file_type() == FileType::Directory));
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn publish_file(&self, key: &Key, staged: Staged, file: &File) -> Result<Stat, StoreError> {
        let target = self.make_folders(&folder_of(key)?.0, true)?;
        self.publish(key, staged, &target, true)?;
        // Through the handle: what was just written, whoever else has written that key meanwhile.
        Ok(stat_of(&rustix::fs::fstat(file).map_err(|errno| self.io("write", key, errno))?))
    }

    /// Opens a folder that exists.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Io { action: "open", key: root.display().to_string(), source };
        Ok(Self { root: Root::open(root).map_err(open)?, swept: Once::new() })
    }

    /// Makes a folder (its parents too) where there is none, and opens it.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let create = |source| StoreError::Io { action: "create", key: root.display().to_string(), source };
        disk::make_root(root).map_err(create)?;
        Self::open(root)
    }

    fn io(&self, action: &'static str, key: &Key, source: impl Into<io::Error>) -> StoreError {
        StoreError::Io { action, key: self.describe(key), source: source.into() }
    }

    fn refused(&self, action: &'static str, key: &Key, refusal: Refusal) -> StoreError {
        match refusal {
            Refusal::LeadsOut => StoreError::LeadsOut { key: self.describe(key) },
            Refusal::Os(errno) => self.io(action, key, errno),
        }
    }

    /// Opens what stands under a key; `None` where nothing does.
    fn open_key(&self, action: &'static str, key: &Key, flags: OFlags) -> Result<Option<OwnedFd>, StoreError> {
        match self.root.open_beneath(key.as_str(), flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(refusal) if refusal.is_absent() => Ok(None),
            Err(refusal) => Err(self.refused(action, key, refusal)),
        }
    }

    /// What is known of an open key: `None` for a folder, an error for what is neither file nor folder.
    fn file_stat(&self, action: &'static str, key: &Key, fd: &OwnedFd) -> Result<Option<Stat>, StoreError> {
        let stat = rustix::fs::fstat(fd).map_err(|errno| self.io(action, key, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(stat_of(&stat))),
            FileType::Directory => Ok(None),
            other => {
                let what = format!("it is no file but a {other:?}");
                Err(self.io(action, key, io::Error::new(io::ErrorKind::InvalidInput, what)))
            }
        }
    }

    /// Opens a folder, making it and those above it where they are missing. `synced`: each new one is on disk before
    /// anything is put into it.
    fn make_folders(&self, folder: &Key, synced: bool) -> Result<OwnedFd, StoreError> {
        let refused = |refusal| self.refused("create the folder", folder, refusal);
        match self.root.open_beneath(folder.as_str(), FOLDER) {
            Ok(fd) => return Ok(fd),
            Err(Refusal::Os(Errno::NOENT)) => {}
            Err(refusal) => return Err(refused(refusal)),
        }
        let Some((above, name)) = folder.split() else { return Err(refused(Refusal::Os(Errno::NOENT))) };
        let parent = self.make_folders(&above, synced)?;
        let make = |source| self.io("create the folder", folder, source);
        if disk::make_folder(&parent, name, folder.as_str()).map_err(make)? && synced {
            disk::sync_folder(&parent, above.as_str()).map_err(make)?;
        }
        self.root.open_beneath(folder.as_str(), FOLDER).map_err(refused)
    }

    /// The folder that writes of `key` are staged in.
    fn staging_folder(&self, key: &Key) -> Result<OwnedFd, StoreError> {
        if let Ok(fd) = self.root.open_beneath(TEMP_FOLDER, FOLDER)
            && rustix::fs::accessat(&fd, ".", rustix::fs::Access::WRITE_OK, AtFlags::empty()).is_ok()
        {
            let tmp = Key::new(TEMP_FOLDER)?;
            self.swept.call_once(|| self.sweep(&tmp, &fd, SystemTime::now()));
            return Ok(fd);
        }
        match self.make_folders(&Key::new(TEMP_FOLDER)?, false) {
            Ok(fd) if rustix::fs::accessat(&fd, ".", rustix::fs::Access::WRITE_OK, AtFlags::empty()).is_ok() => Ok(fd),
            // A colleague's: stage beside the target, which says itself whether it can be written.
            Ok(_) => self.staging_beside(key),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                self.staging_beside(key)
            }
            Err(StoreError::Io { source, .. }) => Err(self.io("write", key, source)),
            Err(other) => Err(other),
        }
    }

    /// The folder that a key stands in, less what killed processes left there.
    fn staging_beside(&self, key: &Key) -> Result<OwnedFd, StoreError> {
        let (parent, _) = folder_of(key)?;
        let folder = self.make_folders(&parent, true)?;
        self.sweep(&parent, &folder, SystemTime::now());
        Ok(folder)
    }

    /// Names in an open folder of what killed processes left there, sorted.
    fn left_overs_in(folder: &OwnedFd, now: SystemTime) -> io::Result<Vec<std::ffi::CString>> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut found = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().ok().filter(|name| name.starts_with(temporary::PREFIX)) else {
                continue;
            };
            // The time of the last change of any sort: a folder that was just moved here to be deleted is young by it.
            let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let age = now.saturating_sub(u64::try_from(stat.st_ctime).unwrap_or(now));
            if temporary::is_left_over(name, Duration::from_secs(age)) {
                found.push(entry.file_name().to_owned());
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes what killed processes left in a folder. What cannot be removed stays; nothing reads it.
    fn sweep(&self, key: &Key, folder: &OwnedFd, now: SystemTime) {
        for name in Self::left_overs_in(folder, now).unwrap_or_default() {
            if let Err(error) = remove_tree(folder, &name, key.as_str(), MAX_FOLDERS) {
                tracing::debug!(?name, %error, "a left-over temporary file stays");
            }
        }
    }

    /// Writes a new temporary file into a folder.
    fn stage(
        &self,
        key: &Key,
        folder: &Arc<OwnedFd>,
        write: &mut dyn FnMut(&File) -> io::Result<()>,
    ) -> Result<(Staged, File), StoreError> {
        let failed = |source| self.io("write", key, source);
        let (name, file) = create_temporary(folder, key.as_str()).map_err(failed)?;
        let staged = Staged { folder: Arc::clone(folder), name, label: key.as_str().to_owned(), published: false };
        write(&file).map_err(failed)?;
        Ok((staged, file))
    }

    /// Puts a staged file into its place. `synced`: both the folder's entry and whatever was made for it are on disk when it returns.
    fn publish(&self, key: &Key, mut staged: Staged, target: &OwnedFd, synced: bool) -> Result<(), StoreError> {
        let failed = |source| self.io("write", key, source);
        let (parent, name) = folder_of(key)?;
        match disk::rename(&staged.folder, &staged.name, target, name, key.as_str()) {
            Ok(()) => staged.published = true,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => {
                return self.publish_across(key, &staged, target);
            }
            Err(error) => return Err(failed(error)),
        }
        if synced {
            disk::sync_folder(target, parent.as_str()).map_err(failed)?;
        }
        Ok(())
    }

    /// The target's folder is another file system (a mount inside the dataset): stage once more, beside the target.
    fn publish_across(&self, key: &Key, staged: &Staged, target: &OwnedFd) -> Result<(), StoreError> {
        let failed = |source| self.io("write", key, source);
        let (parent, name) = folder_of(key)?;
        let mut from = File::from(
            rustix::fs::openat(
                &*staged.folder,
                &*staged.name,
                OFlags::RDONLY | OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .map_err(|errno| failed(errno.into()))?,
        );
        let beside = Arc::new(target.try_clone().map_err(failed)?);
        let (mut copy, file) = self.stage(key, &beside, &mut |file| {
            io::copy(&mut from, &mut Writer { file, label: key.as_str() }).map(|_| ())
        })?;
        disk::sync_file(&file, key.as_str()).map_err(failed)?;
        disk::rename(target, &copy.name, target, name, key.as_str()).map_err(failed)?;
        copy.published = true;
        disk::sync_folder(target, parent.as_str()).map_err(failed)
    }
}

/// Removes what stands under a name: a file or link, or a folder with all below it.
fn remove_tree(parent: &OwnedFd, name: &std::ffi::CStr, label: &str, depth: usize) -> io::Result<()> {
    let flags = FOLDER | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return disk::remove(parent, name, label),
        Err(errno) => return Err(errno.into()),
    };
    if depth == 0 {
        return Err(io::Error::other(format!("its folders nest deeper than {MAX_FOLDERS}")));
    }
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    // In an order of its own, not in that of the folder: two runs that do the same do it alike.
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (below, kind) in names {
        match kind {
            FileType::Directory | FileType::Unknown => remove_tree(&folder, &below, label, depth - 1)?,
            _ => disk::remove(&folder, below.as_c_str(), label)?,
        }
    }
    disk::remove_folder(parent, name, label)
}

/// A temporary file; it is removed unless it was published.
#[derive(Debug)]
struct Staged {
    folder: Arc<OwnedFd>,
    name: String,
    /// The key that it is to become.
    label: String,
    published: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = disk::remove(&*self.folder, &*self.name, &self.label)
        {
            tracing::warn!(name = %self.name, %error, "a temporary file could not be removed");
        }
    }
}

/// A key's folder and last segment; the root is no key that can be written.
fn folder_of(key: &Key) -> Result<(Key, &str), StoreError> {
    key.split().ok_or(StoreError::BadKey { key: String::new(), why: "it is the dataset's own folder" })
}

fn create_temporary(folder: &OwnedFd, label: &str) -> io::Result<(String, File)> {
    for _ in 0..64 {
        let name = temporary::name();
        match disk::create(folder, &name, label) {
            Ok(file) => return Ok((name, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name was free for a temporary file"))
}

// The widths of these fields differ from system to system.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: from_epoch(i64::from(stat.st_mtime), u64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        changed: from_epoch(i64::from(stat.st_ctime), u64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        identity: (stat.st_dev as u64, stat.st_ino as u64),
    }
}

/// Reads a file of about `size` bytes to its end, but no more than `limit`; `None` where it has more.
/// A file that still has the size of its `fstat` takes one read.
fn read_bounded(fd: impl AsFd, size: u64, limit: u64) -> io::Result<Option<Vec<u8>>> {
    if size > limit {
        return Ok(None);
    }
    // A single read stops short of what a file of 2 GiB holds, so its end is seen by an empty read only.
    let one_read = 1usize << 30;
    let expected = usize::try_from(size).map_err(|_| Errno::FBIG)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(expected.saturating_add(1)).map_err(|_| Errno::NOMEM)?;
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        }
        let count = match rustix::io::read(&fd, spare_capacity(&mut bytes)) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if bytes.len() as u64 > limit {
            return Ok(None);
        }
        if count == 0 || (bytes.len() == expected && expected < one_read) {
            return Ok(Some(bytes));
        }
    }
}

impl Store for LocalStore {
    fn get_with_stat(&self, key: &Key, limit: u64) -> Result<Option<(Vec<u8>, Stat)>, StoreError> {
        let Some(fd) = self.open_key("read", key, READ)? else { return Ok(None) };
        let Some(stat) = self.file_stat("read", key, &fd)? else { return Ok(None) };
        match read_bounded(&fd, stat.size, limit) {
            Ok(Some(bytes)) => Ok(Some((bytes, stat))),
            Ok(None) => Err(StoreError::TooLarge { key: self.describe(key), limit }),
            Err(source) => Err(self.io("read", key, source)),
        }
    }

    fn open(&self, key: &Key) -> Result<Option<Box<dyn StoredFile>>, StoreError> {
        let Some(fd) = self.open_key("read", key, READ)? else { return Ok(None) };
        let Some(stat) = self.file_stat("read", key, &fd)? else { return Ok(None) };
        Ok(Some(Box::new(LocalFile { file: Arc::new(File::from(fd)), stat, position: 0 })))
    }

    fn stat(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        #[cfg(target_os = "linux")]
        let flags = OFlags::PATH;
        #[cfg(not(target_os = "linux"))]
        let flags = READ;
        let Some(fd) = self.open_key("look at", key, flags)? else { return Ok(None) };
        self.file_stat("look at", key, &fd)
    }

    /// One call in place of three (open, fstat, close). The kernel follows links on the way here, also out of the root, but
    /// not the last one. That is safe for what it is for: who holds the answer against a recorded size, mtime and ctime finds them
    /// equal only where it is the very file that was read, for every way of making another one leave its mark in the
    /// ctime, which no program can set; two file systems with clocks of their own are why the device must be the root's. All
    /// that is not a plain file there is left to `stat`, which keeps the rule about links.
    fn glance(&self, key: &Key) -> Result<Option<Stat>, StoreError> {
        match rustix::fs::statat(self.root.fd(), key.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                let stat = stat_of(&stat);
                if stat.identity.0 == self.root.device() { Ok(Some(stat)) } else { self.stat(key) }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            _ => self.stat(key),
        }
    }

    fn list(&self, folder: &Key) -> Result<Option<Vec<Entry>>, StoreError> {
        let Some(fd) = self.open_key("list", folder, FOLDER)? else { return Ok(None) };
        Ok(Some(self.entries(folder, &fd)?.into_iter().map(|(entry, _)| entry).collect()))
    }

    fn folders_with(&self, folder: &Key, name: &str) -> Result<Option<Vec<String>>, StoreError> {
        let Some(fd) = self.open_key("list", folder, FOLDER)? else { return Ok(None) };
        let mut found = Vec::new();
        for (entry, is_itself) in self.entries(folder, &fd)?.into_iter().filter(|(entry, _)| entry.is_dir) {
            let key = folder.join(&entry.name)?.join(name)?;
            // One call where there is no link on the way, which is nearly always; `stat` keeps the rule about links.
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
        let folder = Arc::new(self.staging_folder(key)?);
        let (staged, file) =
            self.stage(key, &folder, &mut |file| Writer { file, label: key.as_str() }.write_all(bytes))?;
        disk::sync_file(&file, key.as_str()).map_err(|source| self.io("write", key, source))?;
        let target = self.make_folders(&folder_of(key)?.0, true)?;
        self.publish(key, staged, &target, true)
    }

    fn put_with(&self, key: &Key, write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<Stat, StoreError> {
        let (staged, file) = self.stage_stream(key, write)?;
        self.publish_file(key, staged, &file)
    }

    fn replace_with(
        &self,
        key: &Key,
        expected: Option<Stat>,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, StoreError> {
        let (staged, file) = self.stage_stream(key, write)?;
        // Programs that take no lock are seen up to here; between this look and the rename there is no wait for a disk.
        if self.stat(key)? != expected {
            return Ok(None);
        }
        self.publish_file(key, staged, &file).map(Some)
    }

    fn put_many(&self, items: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<(), StoreError> {
        let mut folder: Option<Arc<OwnedFd>> = None;
        let mut staged = Vec::new();
        let mut open_files = Vec::new();
        for (key, bytes) in items {
            let folder = match &folder {
                Some(folder) => folder,
                None => folder.insert(Arc::new(self.staging_folder(&key)?)),
            };
            let (item, file) =
                self.stage(&key, folder, &mut |file| Writer { file, label: key.as_str() }.write_all(&bytes))?;
            if staged.len() < SMALL_BATCH {
                open_files.push(file);
            } else {
                #[cfg(not(target_os = "linux"))]
                disk::sync_file(&file, key.as_str()).map_err(|source| self.io("write", &key, source))?;
            }
            staged.push((key, item));
        }
        let (Some(folder), Some((first, _))) = (folder, staged.first()) else { return Ok(()) };
        let first = first.clone();
        let at_once = cfg!(target_os = "linux") && staged.len() > SMALL_BATCH;
        let sync_all = || -> Result<(), StoreError> {
            #[cfg(target_os = "linux")]
            disk::sync_all(&folder, first.as_str()).map_err(|source| self.io("write", &first, source))?;
            Ok(())
        };
        if at_once {
            drop(open_files);
            sync_all()?;
        } else {
            for (file, (key, _)) in open_files.iter().zip(&staged) {
                disk::sync_file(file, key.as_str()).map_err(|source| self.io("write", key, source))?;
            }
        }
        // Keys of one folder mostly follow each other: its handle is kept, and it is synced once.
        let mut target: Option<(Key, OwnedFd)> = None;
        let sync_target = |target: &Option<(Key, OwnedFd)>| match target {
            Some((key, fd)) if !at_once => {
                disk::sync_folder(fd, key.as_str()).map_err(|source| self.io("write", key, source))
            }
            _ => Ok(()),
        };
        for (key, item) in staged {
            let (parent, _) = folder_of(&key)?;
            if target.as_ref().is_none_or(|(open, _)| *open != parent) {
                sync_target(&target)?;
                let fd = self.make_folders(&parent, !at_once)?;
                target = Some((parent, fd));
            }
            if let Some((_, fd)) = &target {
                self.publish(&key, item, fd, false)?;
            }
        }
        sync_target(&target)?;
        if at_once { sync_all() } else { Ok(()) }
    }

    fn stage_tree(
        &self,
        folder: &Key,
        items: &mut dyn Iterator<Item = (Key, Vec<u8>)>,
    ) -> Result<StagedTree, StoreError> {
        self.stage_folder(folder, items)
    }

    fn publish_trees(&self, trees: Vec<(Key, StagedTree)>) -> Result<(), StoreError> {
        self.publish_folders(trees)
    }

    fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let (parent, name) = folder_of(key)?;
        let Some(folder) = self.open_key("delete", &parent, FOLDER)? else { return Ok(false) };
        let failed = |source| self.io("delete", key, source);
        match disk::remove(&folder, name, key.as_str()) {
            Ok(()) => disk::sync_folder(&folder, parent.as_str()).map(|()| true).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn delete_tree(&self, folder: &Key) -> Result<bool, StoreError> {
        let (parent, name) = folder_of(folder)?;
        let Some(above) = self.open_key("delete", &parent, FOLDER)? else { return Ok(false) };
        let failed = |source| self.io("delete", folder, source);
        match rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(failed(errno.into())),
        }
        // Renamed away first: it is gone at once and whole, however long the removal takes.
        let aside = self.staging_folder(folder)?;
        let temporary = temporary::name();
        let (holder, doomed) = match disk::rename(&above, name, &aside, &temporary, folder.as_str()) {
            Ok(()) => (&aside, temporary.as_str()),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => (&above, name),
            Err(error) => return Err(failed(error)),
        };
        disk::sync_folder(&above, parent.as_str()).map_err(failed)?;
        let doomed = std::ffi::CString::new(doomed).map_err(|error| failed(error.into()))?;
        remove_tree(holder, &doomed, folder.as_str(), MAX_FOLDERS).map_err(failed)?;
        Ok(true)
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        let ((parent, name), (new_parent, new_name)) = (folder_of(from)?, folder_of(to)?);
        let failed = |source| self.io("rename", from, source);
        let Some(folder) = self.open_key("rename", &parent, FOLDER)? else { return Ok(false) };
        let target = self.make_folders(&new_parent, true)?;
        match disk::rename(&folder, name, &target, new_name, to.as_str()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        // The new name first: a crash between the two leaves both, rather than neither.
        disk::sync_folder(&target, new_parent.as_str()).map_err(failed)?;
        disk::sync_folder(&folder, parent.as_str()).map(|()| true).map_err(failed)
    }

    fn lock(&self, key: &Key, holder: &str) -> Result<Option<super::LockGuard>, StoreError> {
        let (folder, name) = folder_of(key)?;
        let folder = self.make_folders(&folder, false)?;
        super::lock::take(&folder, name, key.as_str(), holder).map_err(|source| self.io("lock", key, source))
    }

    fn left_overs(&self, folder: &Key) -> Result<Vec<String>, StoreError> {
        let Some(fd) = self.open_key("list", folder, FOLDER)? else { return Ok(Vec::new()) };
        let found = Self::left_overs_in(&fd, SystemTime::now()).map_err(|source| self.io("list", folder, source))?;
        Ok(found.iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn root(&self) -> PathBuf {
        self.root.path().to_owned()
    }
}

/// An open file with a position of its own.
#[derive(Debug)]
struct LocalFile {
    file: Arc<File>,
    stat: Stat,
    position: u64,
}

impl Read for LocalFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for LocalFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.stat.size.checked_add_signed(offset),
        };
        match target {
            Some(position) => {
                self.position = position;
                Ok(position)
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "a position before the file's beginning")),
        }
    }
}

impl StoredFile for LocalFile {
    fn stat(&self) -> Stat {
        self.stat
    }
    fn try_clone(&self) -> io::Result<Box<dyn StoredFile>> {
        Ok(Box::new(Self { file: Arc::clone(&self.file), stat: self.stat, position: 0 }))
    }
}

#[cfg(test)]
mod tests;
