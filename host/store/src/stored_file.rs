//! What a store holds under a key, and what is known of it.

use std::io::{self, Read, Seek, Write};
use std::time::SystemTime;

/// What is known of a key without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content.
    pub modified: Option<SystemTime>,
    /// Time of the last change of any sort (ctime): no program can set it back, but a clock that is set back can.
    pub changed: Option<SystemTime>,
    /// Identity of the stored object (device and inode on a local file system): another one after every atomic write.
    pub identity: (u64, u64),
}

/// A moment at which every page that any program had written was on disk, as [`crate::Store::sync`] makes it.
///
/// A program that writes to a mapped file moves the file's times once, and not again until the page is on disk. So the
/// times of a file say something about its content only if the file was read after such a moment, and if they are
/// older.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// The time before the wait.
    pub began: SystemTime,
    /// The time after it.
    pub ended: SystemTime,
}

/// A line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last segment of its key.
    pub name: String,
    /// Whether there may be keys below it.
    pub is_dir: bool,
}

/// An open key that can be read at any place.
pub trait StoredFile: Read + Seek + Send {
    /// What is known of it, as it was opened.
    fn stat(&self) -> Stat;
    /// Another handle on the same stored object, at its own position.
    fn try_clone(&self) -> io::Result<Box<dyn StoredFile>>;
}

/// What a streaming write is given to write into.
pub trait Sink: Write + Send {}
impl<T: Write + Send> Sink for T {}
