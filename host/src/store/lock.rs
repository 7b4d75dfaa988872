//! Kernel locks on keys: held by one process at a time, and gone when it dies.
//! Owns: the lock's file. Never: waits.

use super::disk;
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

/// Takes the lock on a file of a folder, and writes into it who holds it; `None` where another holds it.
/// The file stays afterwards: to delete it would let two processes lock two files of one name.
pub(super) fn take(folder: &OwnedFd, name: &str) -> io::Result<Option<LockGuard>> {
    let file = match disk::open_lock(folder, name) {
        // A colleague's: it can be locked, if not written.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => disk::open_lock_of_another(folder, name),
        other => other,
    }?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // For messages only: the lock holds without it.
    if let Err(error) = disk::overwrite(&file, format!("process {}", std::process::id()).as_bytes()) {
        tracing::debug!(name, %error, "the lock does not say who holds it");
    }
    Ok(Some(LockGuard { _file: file }))
}
