//! Kernel locks on keys: held by one process at a time, and gone when it dies. Never waits.

use crate::{disk, text, time};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;

/// What a lock's file says is for people: more bytes than this are not ours.
pub const MAX_HOLDER_BYTES: u64 = 4096;
/// The most characters that one field of it shows.
const MAX_FIELD: usize = 200;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct LockGuard {
    _file: File,
}

/// Who holds a lock, as its file says; for messages. What the file does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// The host's name.
    pub host: Option<String>,
    /// The process there.
    pub pid: Option<u32>,
    /// What it does: the indexer, mostly.
    pub plugin: Option<String>,
    /// Since when it holds the lock: whole seconds, as `2026-11-22T06:48:18Z`.
    pub started_utc: Option<String>,
}

impl Holder {
    /// This process, from now on.
    pub fn this_process(plugin: &str) -> Self {
        Self {
            host: Some(rustix::system::uname().nodename().to_string_lossy().into_owned()),
            pid: Some(std::process::id()),
            plugin: Some(plugin.to_owned()),
            started_utc: Some(time::now_utc()),
        }
    }

    /// What [`crate::Store::lock`] takes.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a lock's file. What cannot be read says nothing.
    pub fn of_text(bytes: &[u8]) -> Self {
        // Only the first value: while the text is being replaced, the end of a longer one may follow.
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<Self>();
        let Some(Ok(mut holder)) = values.next() else { return Self::default() };
        for field in [&mut holder.host, &mut holder.plugin, &mut holder.started_utc].into_iter().flatten() {
            // Anybody may have written it, and it is printed on a terminal.
            *field = text::one_line_start(field, MAX_FIELD);
        }
        holder
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("a process that its lock file does not name");
        }
        write!(f, "kymhost on {}, process ", self.host.as_deref().unwrap_or("an unnamed host"))?;
        match self.pid {
            Some(pid) => write!(f, "{pid}")?,
            None => f.write_str("unknown")?,
        }
        if let Some(plugin) = &self.plugin {
            write!(f, ", {plugin}")?;
        }
        match &self.started_utc {
            Some(started) => write!(f, ", since {started}"),
            None => Ok(()),
        }
    }
}

/// Takes the lock on a file of a folder, and writes into it who holds it; `None` if another holds it.
/// The file stays afterwards: to delete it would let two processes lock two files of one name.
pub(crate) fn take(folder: &OwnedFd, name: &str, label: &str, holder: &str) -> io::Result<Option<LockGuard>> {
    let file = match disk::open_lock(folder, name, label) {
        // Another user's file: it can be locked, even if not written.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => disk::open_lock_of_another(folder, name),
        other => other,
    }?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // For messages only: the lock holds without it.
    if let Err(error) = disk::overwrite(&file, holder.as_bytes(), label) {
        tracing::debug!(name, %error, "the lock does not say who holds it");
    }
    Ok(Some(LockGuard { _file: file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_holder_shows_what_its_file_says() {
        let whole = r#"{"host": "lab", "pid": 7, "plugin": "radon", "started_utc": "2026-11-22T06:48:18Z"}"#;
        let said = "kymhost on lab, process 7, radon, since 2026-11-22T06:48:18Z";
        let unnamed = "a process that its lock file does not name";
        for (text, expected) in [
            (whole.to_owned(), said),
            // A shorter text over a longer one.
            (format!("{whole}23Z\"}}"), said),
            (format!("{whole}\0\0"), said),
            (r#"{"host": "lab", "more": []}"#.to_owned(), "kymhost on lab, process unknown"),
            (r#"{"pid": 7}"#.to_owned(), "kymhost on an unnamed host, process 7"),
            ("{\"host\": \"l\\u001b[2Jab\", \"pid\": 7}".to_owned(), "kymhost on l\u{fffd}[2Jab, process 7"),
            (String::new(), unnamed),
            ("process 7".to_owned(), unnamed),
            (r#"{"pid": "seven"}"#.to_owned(), unnamed),
            ("{}".to_owned(), unnamed),
            (r#"{"host": "la"#.to_owned(), unnamed),
        ] {
            assert_eq!(Holder::of_text(text.as_bytes()).to_string(), expected, "{text}");
        }
        let us = Holder::this_process("radon");
        assert_eq!(Holder::of_text(us.to_text().as_bytes()), us);
        assert!(us.pid == Some(std::process::id()) && us.host.is_some() && us.started_utc.is_some(), "{us:?}");
    }
}
