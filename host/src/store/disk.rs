//! The calls that change a disk: create, write, sync, rename, remove. Every change that the program makes passes here.
//!
//! Owns: nothing but the calls. Never: decides what is written where.
//!
//! Each call first asks [`before`], where a test makes it fail.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// A change of the disk, for fault injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Write,
    Sync,
    SyncAll,
    Rename,
    MakeFolder,
    Remove,
}

#[cfg(not(test))]
#[inline(always)]
fn before(_change: Change) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use faults::before;

/// Makes a new file that nobody else has; as readable for others as the umask allows, like any file a user makes.
pub(super) fn create(folder: &OwnedFd, name: &str) -> io::Result<File> {
    before(Change::Create)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?))
}

/// How a lock's file is opened: no link is followed, and a FIFO or terminal in its place is not waited for.
const LOCK: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Opens a lock's file, made where there is none.
pub(super) fn open_lock(folder: &OwnedFd, name: &str) -> io::Result<File> {
    before(Change::Create)?;
    let flags = OFlags::RDWR | OFlags::CREATE | LOCK;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?))
}

/// Opens a lock's file that we may only read.
pub(super) fn open_lock_of_another(folder: &OwnedFd, name: &str) -> io::Result<File> {
    Ok(File::from(rustix::fs::openat(folder, name, OFlags::RDONLY | LOCK, Mode::empty())?))
}

/// Replaces a file's bytes in place: for what only people read, and nobody while we hold it.
pub(super) fn overwrite(file: &File, bytes: &[u8]) -> io::Result<()> {
    before(Change::Write)?;
    // The new text first: who reads in between finds it, with the end of the old one behind it.
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)
}

/// Makes a folder; one that exists is fine. Tells whether it is new.
pub(super) fn make_folder(parent: &OwnedFd, name: &str) -> io::Result<bool> {
    before(Change::MakeFolder)?;
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A file that is written through [`before`].
#[derive(Debug)]
pub(super) struct Writer<'a>(pub(super) &'a File);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        before(Change::Write)?;
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until a file's bytes are on disk.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    before(Change::Sync)?;
    file.sync_all()
}

/// Waits until a folder's entries are on disk. Some network file systems know no such thing; there the rename is all there is.
pub(super) fn sync_folder(folder: &OwnedFd) -> io::Result<()> {
    before(Change::Sync)?;
    match rustix::fs::fsync(folder) {
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until all that was written to a file system is on disk.
#[cfg(target_os = "linux")]
pub(super) fn sync_all(on: &OwnedFd) -> io::Result<()> {
    before(Change::SyncAll)?;
    Ok(rustix::fs::syncfs(on)?)
}

/// Puts `name` of one folder into the place `new_name` of another, over what was there.
pub(super) fn rename(folder: &OwnedFd, name: &str, new_folder: &OwnedFd, new_name: &str) -> io::Result<()> {
    before(Change::Rename)?;
    Ok(rustix::fs::renameat(folder, name, new_folder, new_name)?)
}

/// Removes a file or a link (not what it leads to).
pub(super) fn remove(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
    before(Change::Remove)?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Removes an empty folder.
pub(super) fn remove_folder(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<()> {
    before(Change::Remove)?;
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Faults, one thread's own: the n-th change from now on fails, and all after it where so asked.
#[cfg(test)]
pub(super) mod faults {
    use super::{Change, Errno};
    use std::cell::{Cell, RefCell};
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
        static SEEN: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
    }

    /// Lets `left` changes pass and fails the next one with "no space left on device".
    pub(in crate::store) fn fail_after(left: Option<usize>) {
        LEFT.set(left);
        SEEN.take();
    }

    /// The changes asked for since [`fail_after`].
    pub(in crate::store) fn seen() -> Vec<Change> {
        SEEN.with_borrow(Clone::clone)
    }

    pub(super) fn before(change: Change) -> io::Result<()> {
        SEEN.with_borrow_mut(|seen| seen.push(change));
        match LEFT.get() {
            None => Ok(()),
            // Only one fails: tidying up afterwards works, as it does on a full disk.
            Some(0) => {
                LEFT.set(None);
                Err(Errno::NOSPC.into())
            }
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }
}
