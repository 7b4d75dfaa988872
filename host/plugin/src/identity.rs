//! The identity of a library's file: its size, times and inode, and the digest of its bytes.
//!
//! It does not load libraries and does not decide which digest is trusted.

use crate::error::{PluginError, Refusal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How many bytes of a library are hashed at a time.
const HASH_BUFFER: usize = 256 << 10;

/// Identifies a library's file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LibraryFile {
    pub size: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub dev: u64,
    pub ino: u64,
}

impl LibraryFile {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let time = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: metadata.len(),
            mtime_ns: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: time(metadata.ctime(), metadata.ctime_nsec()),
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }

    pub(crate) fn at(library: &Path) -> Result<Self, PluginError> {
        std::fs::metadata(library)
            .map(|metadata| Self::of(&metadata))
            .map_err(|error| Refusal::unreadable(&error).of(library))
    }

    /// Whether it can be the same file with another link: that changes the ctime only.
    pub(crate) fn is_linked_anew(&self, other: &Self) -> bool {
        Self { ctime_ns: other.ctime_ns, ..*self } == *other
    }
}

pub(crate) fn replaced(library: &Path, when: &str) -> PluginError {
    let why = format!("it was replaced by another file {when}");
    Refusal::new("changed", why, "run again when the file is complete").of(library)
}

/// A library's file and digest when it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub(crate) file: LibraryFile,
    pub(crate) sha256: String,
}

/// Which library a pool runs: always the one that it saw first.
#[derive(Debug)]
pub(crate) struct Identity {
    file: Option<LibraryFile>,
    sha256: Option<String>,
}

impl Identity {
    /// Of a library whose digest may be known already.
    pub(crate) fn of(pin: Option<&Pin>) -> Self {
        Self { file: pin.map(|pin| pin.file), sha256: pin.map(|pin| pin.sha256.clone()) }
    }

    /// The file and digest, if both are known.
    pub(crate) fn pin(&self) -> Option<Pin> {
        Some(Pin { file: self.file?, sha256: self.sha256.clone()? })
    }

    /// The SHA-256 of the file, lower-case hex. The file is read once.
    pub(crate) fn sha256(&mut self, library: &Path) -> Result<String, PluginError> {
        if let Some(sha256) = &self.sha256 {
            return Ok(sha256.clone());
        }
        let (file, sha256) = hash(library)?;
        if self.file.is_some_and(|known| known != file && !known.is_linked_anew(&file)) {
            return Err(replaced(library, "since it was loaded"));
        }
        self.file = Some(file);
        self.sha256 = Some(sha256.clone());
        Ok(sha256)
    }

    /// Refuses a loaded library if it is not the one that was hashed or loaded before.
    pub(crate) fn check(&mut self, library: &Path, loaded: LibraryFile) -> Result<(), PluginError> {
        let is_known = match (self.file, &self.sha256) {
            (None, _) => true,
            (Some(known), _) if known == loaded || known.is_linked_anew(&loaded) => true,
            // Another file with the same bytes is the same library.
            (Some(_), Some(sha256)) => hash(library)? == (loaded, sha256.clone()),
            (Some(_), None) => false,
        };
        if !is_known {
            return Err(replaced(library, "during this run"));
        }
        self.file = Some(loaded);
        Ok(())
    }
}

/// The SHA-256 of a library's file, lower-case hex, and its size in bytes.
pub fn library_sha256(library: &Path) -> Result<(String, u64), PluginError> {
    hash(library).map(|(file, sha256)| (sha256, file.size))
}

/// A file and the SHA-256 of its bytes. It must not change meanwhile.
pub(crate) fn hash(library: &Path) -> Result<(LibraryFile, String), PluginError> {
    let failed = |error: std::io::Error| Refusal::unreadable(&error).of(library);
    let mut file = std::fs::File::open(library).map_err(failed)?;
    let before = LibraryFile::of(&file.metadata().map_err(failed)?);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; HASH_BUFFER];
    let mut left = before.size;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                // A file that grows as fast as it is read would never end.
                let Some(rest) = left.checked_sub(count as u64) else { break };
                left = rest;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let after = LibraryFile::at(library)?;
    if before != after && !before.is_linked_anew(&after) {
        return Err(replaced(library, "while it was read"));
    }
    Ok((after, kymhost_dataset::hex(&hasher.finalize())))
}
