//! Files of other formats into records, and out again.
//!
//! Owns: which files are recordings and what stands beside them; TIFF, NPY, the Olympus header and kymflow's JSON; the
//! metadata payload; `tables/sources.parquet`; the folder that an export makes. Never: touches a table of an indexer, prints.
//!
//! What is read here was written by strangers: every length is checked before anything is set aside for it, and a decoder that panics fails
//! its file alone. The rules in words: `docs/reference/recordings.md`.

mod directory;
mod export;
mod find;
mod listing;
mod metadata;
mod npy;
mod olympus;
mod place;
mod plan;
mod run;
mod sidecar;
mod sources;
mod tiff;

pub use export::{ExportOptions, Exported, export, write_tiff};
pub use find::{Beside, Found, Recording, Role, find};
pub use plan::{Action, Plan, Vanished, plan};
pub use run::{FileOutcome, IngestOptions, Observer, Outcome, What, ingest};
pub use sidecar::Form;

use kymhost_dataset::DatasetError;
use kymhost_store::time::epoch_ns;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The most bytes that one recording may have, decoded: as much as an array of a dataset.
pub const MAX_PIXEL_BYTES: u64 = 8 << 30;
/// The most bytes of a header in text.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// The most bytes of a document beside a recording.
const MAX_SIDECAR_BYTES: u64 = 256 << 20;

/// What keeps a whole ingest or export from being done.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A folder or file that was named cannot be looked at.
    #[error("cannot read {path}: {source}")]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that was named is no recording.
    #[error("{path} is no TIFF: its name ends neither in .tif nor in .tiff")]
    NoRecording {
        /// Which.
        path: PathBuf,
    },
    /// There are more files than any lab has.
    #[error("{path} holds more than {limit} recordings, the most that one ingest takes; ingest its folders one by one")]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// Another ingest is at work.
    #[error("another process ingests into this dataset: {holder}")]
    Locked {
        /// Who.
        holder: kymhost_store::Holder,
    },
    /// An export would mix with what is there.
    #[error("{path} is not empty; an export needs a folder of its own")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// What is read and what is written would be one.
    #[error(
        "{path} and the dataset {dataset} have files in common, or would have; a dataset holds nothing but what is its own"
    )]
    Overlaps {
        /// What was named.
        path: PathBuf,
        /// The dataset.
        dataset: PathBuf,
    },
    /// A file of an export could not be written.
    #[error("cannot write {path}: {why}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The dataset refused.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

/// What is wrong with one file; the others go in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// What sort of fault it is.
    pub kind: FileErrorKind,
    /// What was found, and where it is not the recording itself, in which file.
    pub message: String,
}

/// Sorts of faults of files. The codes are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileErrorKind {
    /// The system would not give the bytes.
    Io,
    /// It is not what a TIFF should be.
    Broken,
    /// It is a TIFF, of a sort that no kymograph has.
    Unsupported,
    /// It is, or says that it is, larger than what is taken.
    TooLarge,
    /// The header or JSON beside it cannot be used.
    Metadata,
    /// A file beside it that is to become an artifact cannot be used.
    Sidecar,
    /// It changed while it was read.
    Changed,
    /// The dataset would not take it.
    Dataset,
}

impl FileErrorKind {
    /// A stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Broken => "broken_tiff",
            Self::Unsupported => "unsupported_tiff",
            Self::TooLarge => "too_large",
            Self::Metadata => "metadata",
            Self::Sidecar => "sidecar",
            Self::Changed => "changed_while_read",
            Self::Dataset => "dataset",
        }
    }
}

impl FileError {
    fn new(kind: FileErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn io(path: &Path, error: &io::Error) -> Self {
        Self::new(FileErrorKind::Io, format!("cannot read {}: {error}", path.display()))
    }

    /// A fault of a file beside the recording.
    fn beside(kind: FileErrorKind, path: &Path, why: impl fmt::Display) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::new(kind, format!("{name}: {why}"))
    }
}

impl From<DatasetError> for FileError {
    fn from(error: DatasetError) -> Self {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(&error).map(ToString::to_string).filter(|c| !text.contains(c)) {
            text = format!("{text}: {cause}");
        }
        Self::new(FileErrorKind::Dataset, text)
    }
}

/// Size and time of a file: what it is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let mtime_ns = metadata.modified().map(epoch_ns).unwrap_or_default();
        Self { size: metadata.len(), mtime_ns }
    }
}

/// Reads a file of at most `limit` bytes, a regular one. Never waits for a FIFO.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file =
        std::fs::File::options().read(true).custom_flags(nonblocking).open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let too_large = || format!("it has more than {limit} bytes, the most that kymhost reads of such a file");
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let expected = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    bytes.try_reserve_exact(expected.saturating_add(1)).map_err(|error| error.to_string())?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}
