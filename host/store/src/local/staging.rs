//! Files written aside and put into their place: the order of write, sync and rename.
//!
//! Responsible for: a reader sees the old file or the new one. Never decides where files are staged.

use super::file::stat_of;
use super::folders::{Folders, folder_of};
use crate::background_sync::BackgroundSync;
use crate::disk::{self, Writer};
use crate::stored_file::{Sink, Stat};
use crate::{Key, StoreError, temporary};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

/// How much a streaming write gathers before it goes to the file.
pub(crate) const WRITE_BUFFER: usize = 256 << 10;

/// Asked right before a rename: whether the file is still to be put into its place.
pub(crate) type IsDue<'a> = &'a dyn Fn() -> Result<bool, StoreError>;

/// A temporary file; it is removed unless it was published.
#[derive(Debug)]
pub(crate) struct Staged {
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

impl Folders {
    /// A key's new bytes in a temporary file, on disk.
    pub(crate) fn stage_stream(
        &self,
        key: &Key,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<(Staged, File), StoreError> {
        let folder = Arc::new(self.staging_folder(key)?);
        // Large keys are in folders with few entries, so looking for left-over files next to them is cheap.
        let (parent, _) = folder_of(key)?;
        if let Ok(target) = self.root.open_to_change(parent.as_str()) {
            self.sweep(&parent, &target, SystemTime::now());
        }
        let (staged, file) = self.stage(key, &folder, &mut |file| {
            std::thread::scope(|scope| {
                let label = key.as_str();
                let sync = BackgroundSync::new(Writer { file, label }, file, label, scope);
                let mut buffered = BufWriter::with_capacity(WRITE_BUFFER, sync);
                let written = write(&mut buffered).and_then(|()| buffered.flush());
                // If writing failed, what is left in the buffer is useless.
                let (sync, _) = buffered.into_parts();
                written.and(sync.finish())
            })
        })?;
        disk::sync_file(&file, key.as_str()).map_err(|source| self.io("write", key, source))?;
        Ok((staged, file))
    }

    /// Writes a new temporary file into a folder.
    pub(crate) fn stage(
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

    /// Puts a staged file into its place, and everything on disk; `None` if `is_due` says no.
    pub(crate) fn publish_file(
        &self,
        key: &Key,
        staged: Staged,
        file: &File,
        is_due: IsDue<'_>,
    ) -> Result<Option<Stat>, StoreError> {
        let target = self.make_folders(&folder_of(key)?.0, true)?;
        if !self.publish(key, staged, &target, true, is_due)? {
            return Ok(None);
        }
        // Through the handle: what was just written, whoever else has written that key in the meantime.
        Ok(Some(stat_of(&rustix::fs::fstat(file).map_err(|errno| self.io("write", key, errno))?)))
    }

    /// Puts a staged file into its place; `false`, with nothing changed, if `is_due` says no. `synced`: both the folder's
    /// entry and whatever was made for it are on disk when it returns.
    pub(crate) fn publish(
        &self,
        key: &Key,
        mut staged: Staged,
        target: &OwnedFd,
        synced: bool,
        is_due: IsDue<'_>,
    ) -> Result<bool, StoreError> {
        let failed = |source| self.io("write", key, source);
        let (parent, name) = folder_of(key)?;
        // Programs that take no lock are seen up to here; nothing waits for a disk between this and the rename.
        if !is_due()? {
            return Ok(false);
        }
        match disk::rename(&staged.folder, &staged.name, target, name, key.as_str()) {
            Ok(()) => staged.published = true,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => {
                return self.publish_across(key, &staged, target, is_due);
            }
            Err(error) => return Err(failed(error)),
        }
        if synced {
            disk::sync_folder(target, parent.as_str()).map_err(failed)?;
        }
        Ok(true)
    }

    /// The target's folder is another file system (a mount inside the dataset): stage once more, next to the target.
    pub(crate) fn publish_across(
        &self,
        key: &Key,
        staged: &Staged,
        target: &OwnedFd,
        is_due: IsDue<'_>,
    ) -> Result<bool, StoreError> {
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
        if !is_due()? {
            return Ok(false);
        }
        disk::rename(target, &copy.name, target, name, key.as_str()).map_err(failed)?;
        copy.published = true;
        disk::sync_folder(target, parent.as_str()).map_err(failed)?;
        Ok(true)
    }
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
