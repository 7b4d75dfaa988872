//! What was read of an image, as it is recorded.

use serde::{Deserialize, Serialize};

/// One thing that was read, or looked for, of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// The key below the image's group: `analysis/velocity_events/params.json`, `data`, `.zattrs`, `analysis`.
    pub key: String,
    /// What was found there.
    #[serde(flatten)]
    pub found: InputState,
}

/// What was found under a key. A digest is empty if something was there but could not be read at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum InputState {
    /// Nothing.
    Absent,
    /// A file: a JSON or table artifact.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its times, if they can be trusted.
        #[serde(flatten)]
        times: Option<Times>,
        /// The SHA-256 of its bytes, lower-case hex.
        sha256: String,
    },
    /// An array: its `.zarray` and its chunks.
    Array {
        /// Lengths of all its files in bytes, added up.
        size: u64,
        /// How many chunks there are.
        chunks: u64,
        /// The SHA-256 of names, lengths and times of all its files, and of the axes; `None` if the times cannot be
        /// trusted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stats_sha256: Option<String>,
        /// The SHA-256 of names and contents of all its files, and of the axes handed over.
        sha256: String,
    },
    /// The image's attributes: the SHA-256 of the text that was handed over, which is not that of the file.
    Attributes {
        /// It.
        sha256: String,
    },
    /// The list of artifacts, run markers left out: the SHA-256 of its lines.
    Listing {
        /// It.
        sha256: String,
    },
}

/// The times of a file, in nanoseconds since the Unix epoch, and which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Times {
    /// Of the last change of its content.
    pub mtime_ns: i64,
    /// Of the last change of any sort.
    pub ctime_ns: i64,
    /// The number of the file on its file system: another file may have the same size and times. The number of the
    /// file system is not kept, because each mount may give it another one. `None` if an older kymhost recorded it: such
    /// times equal no others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inode: Option<u64>,
}

/// What looking again at an input found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputCheck {
    /// It is as it was: by size and times, or by what has no times.
    Same,
    /// Its times differ or could not be trusted; its content is the same. The input as it would be recorded now.
    SameContent(Input),
    /// Another content. The input as it is now.
    Changed(Input),
    /// There was nothing, now there is something.
    Appeared(Input),
    /// There was something, now there is nothing.
    Removed,
}

impl InputState {
    /// Whether it is the same content, whatever the times.
    pub(crate) fn is_same_content(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { size, sha256, .. }, Self::File { size: other_size, sha256: other_sha256, .. }) => {
                size == other_size && sha256 == other_sha256
            }
            (
                Self::Array { size, chunks, sha256, .. },
                Self::Array { size: other_size, chunks: other_chunks, sha256: other_sha256, .. },
            ) => size == other_size && chunks == other_chunks && sha256 == other_sha256,
            _ => self == other,
        }
    }

    /// Whether it was there when it was read, but could not be read.
    pub(crate) fn is_unread(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::File { sha256, .. }
            | Self::Array { sha256, .. }
            | Self::Attributes { sha256 }
            | Self::Listing { sha256 } => sha256.is_empty(),
        }
    }

    /// Whether it is something whose times could have been recorded, but were not trusted.
    pub(crate) fn lacks_times(&self) -> bool {
        !self.is_unread() && matches!(self, Self::File { times: None, .. } | Self::Array { stats_sha256: None, .. })
    }
}
