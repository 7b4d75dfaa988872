//! Writes a large file to disk while more of it is still being made.
//!
//! Otherwise the final sync of a large table would find all of it waiting, after the disk was idle the whole time.

use crate::disk;
use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// This much is written before the disk is asked to begin, and between two times that it is asked.
const STRIDE: usize = 32 << 20;

/// A writer into a file, whose bytes go to the disk while it is written. [`BackgroundSync::finish`] returns the errors.
pub(crate) struct BackgroundSync<'scope, 'env, W> {
    inner: W,
    file: &'env File,
    label: &'env str,
    scope: &'scope Scope<'scope, 'env>,
    since: usize,
    syncing: Option<(SyncSender<()>, ScopedJoinHandle<'scope, io::Result<()>>)>,
}

impl<'scope, 'env, W: Write> BackgroundSync<'scope, 'env, W> {
    /// `inner` writes into `file`.
    pub fn new(inner: W, file: &'env File, label: &'env str, scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { inner, file, label, scope, since: 0, syncing: None }
    }

    /// Waits for the last sync. Its error is only returned here, because the system reports it once.
    pub fn finish(self) -> io::Result<()> {
        let Some((ask, syncing)) = self.syncing else { return Ok(()) };
        drop(ask);
        syncing.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the file panicked")))
    }

    fn ask(&mut self) {
        let (file, label) = (self.file, self.label);
        if self.syncing.is_none() {
            let (ask, asked) = sync_channel(1);
            let work = move || {
                // After an error nothing more is tried; what is asked for then is not waited for.
                while asked.recv().is_ok() {
                    disk::sync_file(file, label)?;
                }
                Ok(())
            };
            // Without a thread all is synced at the end.
            self.syncing = Builder::new().spawn_scoped(self.scope, work).ok().map(|thread| (ask, thread));
        }
        // If the last sync still runs, the next stride asks again.
        if let Some((ask, _)) = &self.syncing {
            let _ = ask.try_send(());
        }
    }
}

impl<W: Write> Write for BackgroundSync<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.since = self.since.saturating_add(count);
        if self.since >= STRIDE {
            self.since = 0;
            self.ask();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes this many pieces of a quarter of a stride each, to a file whose disk is full for each write of `fails`.
    fn write(pieces: usize, fails: bool) -> (io::Result<()>, u64) {
        struct Failing<'a>(&'a File, bool);
        impl Write for Failing<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.1 { Err(io::ErrorKind::StorageFull.into()) } else { self.0.write(bytes) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let file = tempfile::tempfile().unwrap();
        let piece = vec![7; STRIDE / 4];
        let done = std::thread::scope(|scope| {
            let mut sync = BackgroundSync::new(Failing(&file, fails), &file, "a", scope);
            let written = (0..pieces).try_for_each(|_| sync.write_all(&piece));
            assert_eq!(sync.syncing.is_some(), pieces >= 4 && !fails, "{pieces}");
            written.and(sync.finish())
        });
        (done, file.metadata().unwrap().len())
    }

    #[test]
    fn background_sync_runs_for_large_files_only() {
        for pieces in [0, 1, 3, 4, 9] {
            let (done, length) = write(pieces, false);
            done.unwrap();
            assert_eq!(length, (pieces * (STRIDE / 4)) as u64);
        }
        let (done, length) = write(9, true);
        assert_eq!((done.unwrap_err().kind(), length), (io::ErrorKind::StorageFull, 0));
    }
}
