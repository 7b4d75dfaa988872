//! The folders of a local store: opened below its root, made, listed and swept.
//!
//! Responsible for: where temporary files are, which folder a write goes into, and removing what killed processes left.
//! Never writes a file's content.

use super::file::stat_of;
use crate::rooted_path::{Refusal, Root};
use crate::shortage::{is_shortage, note_shortage};
use crate::stored_file::{Entry, Stat};
use crate::{Key, StoreError, disk, temporary};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where writes are staged.
pub(crate) const TEMP_FOLDER: &str = "index/kymhost/tmp";
/// How deep a folder that is deleted, or written, may nest.
const MAX_FOLDERS: usize = 128;

pub(crate) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// The root of a local store, and the folders below it.
#[derive(Debug)]
pub(crate) struct Folders {
    pub(crate) root: Root,
    swept: Once,
}

impl Folders {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, swept: Once::new() }
    }

    /// How a key is named in messages.
    pub(crate) fn describe(&self, key: &Key) -> String {
        self.root.path().join(key.as_str()).display().to_string()
    }

    pub(crate) fn io(&self, action: &'static str, key: &Key, source: impl Into<io::Error>) -> StoreError {
        let source = source.into();
        if is_shortage(&source) {
            note_shortage();
        }
        StoreError::Io { action, key: self.describe(key), source }
    }

    pub(crate) fn refused(&self, action: &'static str, key: &Key, refusal: Refusal) -> StoreError {
        match refusal {
            Refusal::LeadsOut => StoreError::LeadsOut { key: self.describe(key) },
            Refusal::ThroughLink(end) => {
                let link = key.as_str().get(..end).unwrap_or_default();
                let link = self.root.path().join(link).display().to_string();
                StoreError::ThroughLink { key: self.describe(key), link }
            }
            Refusal::Os(errno) => self.io(action, key, errno),
        }
    }

    /// Opens what is at a key; `None` if nothing is.
    pub(crate) fn open_key(
        &self,
        action: &'static str,
        key: &Key,
        flags: OFlags,
    ) -> Result<Option<OwnedFd>, StoreError> {
        match self.root.open_beneath(key.as_str(), flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(refusal) if refusal.is_absent() => Ok(None),
            Err(refusal) => Err(self.refused(action, key, refusal)),
        }
    }

    /// Opens a folder in which something is to be changed; `None` if there is none. No link is followed.
    pub(crate) fn open_to_change(&self, action: &'static str, folder: &Key) -> Result<Option<OwnedFd>, StoreError> {
        match self.root.open_to_change(folder.as_str()) {
            Ok(fd) => Ok(Some(fd)),
            Err(refusal) if refusal.is_absent() => Ok(None),
            Err(refusal) => Err(self.refused(action, folder, refusal)),
        }
    }

    /// What is known of an open key: `None` for a folder, an error for what is neither file nor folder.
    pub(crate) fn file_stat(&self, action: &'static str, key: &Key, fd: &OwnedFd) -> Result<Option<Stat>, StoreError> {
        let stat = rustix::fs::fstat(fd).map_err(|errno| self.io(action, key, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(stat_of(&stat))),
            FileType::Directory => Ok(None),
            other => {
                let what = format!("expected a file, found a {other:?}");
                Err(self.io(action, key, io::Error::new(io::ErrorKind::InvalidInput, what)))
            }
        }
    }

    /// Opens a folder to change it; it and those above it are made if they are missing. `synced`: each new one is on disk before
    /// anything is put into it.
    pub(crate) fn make_folders(&self, folder: &Key, synced: bool) -> Result<OwnedFd, StoreError> {
        let refused = |refusal| self.refused("create the folder", folder, refusal);
        match self.root.open_to_change(folder.as_str()) {
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
        self.root.open_to_change(folder.as_str()).map_err(refused)
    }

    /// The folder that writes of `key` are staged in.
    pub(crate) fn staging_folder(&self, key: &Key) -> Result<OwnedFd, StoreError> {
        if let Ok(fd) = self.root.open_to_change(TEMP_FOLDER)
            && rustix::fs::accessat(&fd, ".", rustix::fs::Access::WRITE_OK, AtFlags::empty()).is_ok()
        {
            let tmp = Key::new(TEMP_FOLDER)?;
            self.swept.call_once(|| self.sweep(&tmp, &fd, SystemTime::now()));
            return Ok(fd);
        }
        match self.make_folders(&Key::new(TEMP_FOLDER)?, false) {
            Ok(fd) if rustix::fs::accessat(&fd, ".", rustix::fs::Access::WRITE_OK, AtFlags::empty()).is_ok() => Ok(fd),
            // Another user's folder: stage next to the target, which shows whether it can be written.
            Ok(_) => self.staging_next_to(key),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                self.staging_next_to(key)
            }
            Err(StoreError::Io { source, .. }) => Err(self.io("write", key, source)),
            Err(other) => Err(other),
        }
    }

    /// The folder of a key, after removing what killed processes left there.
    fn staging_next_to(&self, key: &Key) -> Result<OwnedFd, StoreError> {
        let (parent, _) = folder_of(key)?;
        let folder = self.make_folders(&parent, true)?;
        self.sweep(&parent, &folder, SystemTime::now());
        Ok(folder)
    }

    /// What is directly below an open folder, sorted by name; each with whether it is a folder itself and not a link
    /// to one.
    pub(crate) fn entries(&self, folder: &Key, fd: &OwnedFd) -> Result<Vec<(Entry, bool)>, StoreError> {
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

    /// Names in an open folder of what killed processes left there, sorted.
    pub(crate) fn left_overs_in(folder: &OwnedFd, now: SystemTime) -> io::Result<Vec<CString>> {
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
    pub(crate) fn sweep(&self, key: &Key, folder: &OwnedFd, now: SystemTime) {
        for name in Self::left_overs_in(folder, now).unwrap_or_default() {
            if let Err(error) = remove_tree(folder, &name, key.as_str()) {
                tracing::debug!(?name, %error, "a left-over temporary file stays");
            }
        }
    }
}

/// Removes what is at a name: a file or link, or a folder with all below it.
pub(crate) fn remove_tree(parent: &OwnedFd, name: &CStr, label: &str) -> io::Result<()> {
    remove_tree_to(parent, name, label, MAX_FOLDERS)
}

fn remove_tree_to(parent: &OwnedFd, name: &CStr, label: &str, depth: usize) -> io::Result<()> {
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
    // Sorted, so that two equal runs do the same in the same order.
    names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (below, kind) in names {
        match kind {
            FileType::Directory | FileType::Unknown => remove_tree_to(&folder, &below, label, depth - 1)?,
            _ => disk::remove(&folder, below.as_c_str(), label)?,
        }
    }
    disk::remove_folder(parent, name, label)
}

/// A key's folder and last segment; the root is not a key that can be written.
pub(crate) fn folder_of(key: &Key) -> Result<(Key, &str), StoreError> {
    key.split().ok_or(StoreError::BadKey { key: String::new(), why: "it is the dataset's own folder" })
}
