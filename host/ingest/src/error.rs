//! What can go wrong with a whole ingest or export, and with one file of it.

use kymhost_dataset::DatasetError;
use kymhost_store::{Class, Diagnose, Diagnosis, Holder};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What stops a whole ingest or export.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A folder or file that was named cannot be read.
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that was named is not a recording.
    NoRecording {
        /// Which.
        path: PathBuf,
    },
    /// There are more files than any lab has.
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Another ingest is running.
    Locked {
        /// Who.
        holder: Holder,
    },
    /// An export would mix with other files.
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// What is read and what is written overlap.
    Overlaps {
        /// What was named.
        path: PathBuf,
        /// The dataset.
        dataset: PathBuf,
    },
    /// A file of an export could not be written.
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The dataset failed.
    Dataset(#[from] DatasetError),
}

impl Diagnose for IngestError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::Path { path, source } => {
                Diagnosis::new(Class::Usage, "unreadable_path", format!("cannot read {}", path.display()))
                    .why(source)
                    .help("give a folder or a TIFF file that you may read")
            }
            Self::NoRecording { path } => {
                Diagnosis::new(Class::Usage, "no_recording", format!("{} is not a TIFF file", path.display()))
                    .why("expected a name that ends in .tif or .tiff")
                    .help("give the TIFF file; kymhost finds the files next to it by their names")
            }
            Self::TooMany { path, limit } => Diagnosis::new(
                Class::Usage,
                "too_many",
                format!("{} holds more than {limit} recordings, the limit of one ingest", path.display()),
            )
            .help("ingest its folders one by one"),
            Self::Locked { holder } => {
                Diagnosis::new(Class::Locked, "locked", "another process ingests into this dataset")
                    .why(holder)
                    .help("try again when the other process has ended")
            }
            Self::NotEmpty { path } => {
                Diagnosis::new(Class::Refused, "not_empty", format!("{} is not empty", path.display()))
                    .why("an export needs a folder of its own")
                    .help("give another folder, or --overwrite to write over its files")
            }
            Self::Overlaps { path, dataset } => Diagnosis::new(
                Class::Refused,
                "overlaps_dataset",
                format!("{} and the dataset {} overlap", path.display(), dataset.display()),
            )
            .why("they would have files in common")
            .help("give a folder that is neither the dataset, nor in it, nor (for an export) above it"),
            Self::Write { path, why } => {
                Diagnosis::new(Class::Unusable, "io", format!("cannot write {}", path.display()))
                    .why(why)
                    .help("give a folder that you may write to, with enough space")
            }
            Self::Dataset(error) => error.diagnose(),
        }
    }
}

impl fmt::Display for IngestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnose().message())
    }
}

/// What is wrong with one file; the rest are imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// What sort of fault it is.
    pub kind: FileErrorKind,
    /// What was found, and in which file if it is not the recording itself.
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
    /// The header or JSON next to it cannot be used.
    Metadata,
    /// A file next to it that is to become an artifact cannot be used.
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
    pub(crate) fn new(kind: FileErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::new(FileErrorKind::Io, format!("cannot read {}: {error}", path.display()))
    }

    /// A fault of a file next to the recording.
    pub(crate) fn in_sidecar(kind: FileErrorKind, path: &Path, why: impl fmt::Display) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::new(kind, format!("{name}: {why}"))
    }
}

impl From<DatasetError> for FileError {
    fn from(error: DatasetError) -> Self {
        Self::new(FileErrorKind::Dataset, error.to_string())
    }
}
