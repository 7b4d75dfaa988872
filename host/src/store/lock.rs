//! Kernel locks on keys: held by one process at a time, and gone when it dies.
//! Owns: the lock's file. Never: waits.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

/// Takes the lock on a file of a folder, and writes into it who holds it; `None` where another holds it.
/// The file stays afterwards: to delete it would let two processes lock two files of one name.
pub(super) fn take(folder: impl AsFd, name: &str) -> io::Result<Option<LockGuard>> {
    let open = |flags: OFlags| {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666))
    };
    let fd = match open(OFlags::RDWR | OFlags::CREATE) {
        // A colleague's: it can be locked, if not written.
        Err(Errno::ACCESS) => open(OFlags::RDONLY),
        other => other,
    }?;
    let file = File::from(fd);
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // For messages only: the lock holds without it.
    let _ = file.set_len(0).and_then(|()| (&file).write_all(format!("process {}", std::process::id()).as_bytes()));
    Ok(Some(LockGuard { _file: file }))
}
