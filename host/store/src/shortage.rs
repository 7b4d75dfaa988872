//! Errors that say nothing about the data: the system has no more threads, descriptors or memory for this process.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

static SEEN: AtomicU64 = AtomicU64::new(0);

/// What to do if the system has too few of something.
pub const SHORTAGE_HELP: &str = "raise the limit (`ulimit -n` for open files, `ulimit -u` for threads and processes, \
                                 `ulimit -v` for memory, or the container's), or use fewer --jobs";

/// Whether an error is the system's shortage: too few descriptors, processes, threads or too little memory.
pub fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::OutOfMemory
        || error.raw_os_error().is_some_and(|code| {
            [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|errno| errno.raw_os_error() == code)
        })
}

/// Notes a shortage that was met.
pub fn note_shortage() {
    SEEN.fetch_add(1, Ordering::Relaxed);
}

/// How often this process met a shortage. What fails between two equal counts did not fail because of one.
pub fn shortages_seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_are_told_from_errors_of_data() {
        for (errno, expected) in [
            (rustix::io::Errno::MFILE, true),
            (rustix::io::Errno::NFILE, true),
            (rustix::io::Errno::AGAIN, true),
            (rustix::io::Errno::NOMEM, true),
            (rustix::io::Errno::NOENT, false),
            (rustix::io::Errno::ACCESS, false),
            (rustix::io::Errno::IO, false),
        ] {
            assert_eq!(is_shortage(&errno.into()), expected, "{errno}");
        }
    }
}
