//! What was read of an image, and whether it is still so.
//!
//! Owns: the forms of what can be read (a file, an array, attributes, a listing, or that there was nothing), and looking
//! again at each. Never: decides what follows from a change.

use serde::{Deserialize, Serialize};

/// One thing that was read, or looked for, of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// The key below the image's group: `analysis/velocity_events/params.json`, `data`, `.zattrs`, `analysis`.
    pub key: String,
    /// What was found there.
    #[serde(flatten)]
    pub found: Found,
}

/// What was found under a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Found {
    /// Nothing.
    Absent,
    /// A file: a JSON or table artifact.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its times, where they can be trusted.
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
        /// The SHA-256 of names, lengths and times of all its files; `None` where the times cannot be trusted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stats_sha256: Option<String>,
        /// The SHA-256 of names and bytes of all its files, and of the axes handed over.
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

/// The times of a file, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Times {
    /// Of the last change of its content.
    pub mtime_ns: i64,
    /// Of the last change of any sort.
    pub ctime_ns: i64,
}

/// What looking again at an input found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Held {
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
