//! An open file of a local store: what is known of it, and bounded reads.

use crate::stored_file::{Stat, StoredFile};
use crate::time::from_epoch;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

// The widths of these fields differ from system to system.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
pub(crate) fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified: from_epoch(i64::from(stat.st_mtime), u64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        changed: from_epoch(i64::from(stat.st_ctime), u64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        identity: (stat.st_dev as u64, stat.st_ino as u64),
    }
}

/// Reads a file of about `size` bytes to its end, but no more than `limit`; `None` if it has more.
/// A file that still has the size of its `fstat` takes one read.
pub(crate) fn read_bounded(fd: impl AsFd, size: u64, limit: u64) -> io::Result<Option<Vec<u8>>> {
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

/// An open file with a position of its own.
#[derive(Debug)]
pub(crate) struct LocalFile {
    file: Arc<File>,
    stat: Stat,
    position: u64,
}

impl LocalFile {
    pub(crate) fn new(fd: OwnedFd, stat: Stat) -> Self {
        Self { file: Arc::new(File::from(fd)), stat, position: 0 }
    }
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
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "a position before the start of the file")),
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
