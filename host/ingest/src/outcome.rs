//! What became of the recordings of an ingest, and who follows it.

use crate::error::FileError;
use crate::plan::Vanished;
use kymhost_plugin_api::array::DType;
use std::path::PathBuf;

/// What became of a recording (or would become of it, in a dry run).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileStatus {
    /// It is a new image.
    Added,
    /// Its image has its new pixels and metadata.
    Reingested,
    /// It is known and has not changed.
    Unchanged,
    /// It has changed, and changed recordings are skipped.
    SkippedChanged,
    /// It failed; nothing of it was written.
    Failed(FileError),
    /// The ingest was stopped before it.
    NotDone,
}

/// A recording and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutcome {
    /// The file.
    pub path: PathBuf,
    /// Its image.
    pub image_id: Option<String>,
    /// What became of it.
    pub what: FileStatus,
    /// Why it counts as changed.
    pub why: Option<String>,
    /// The pixels' lengths and type, if they were read.
    pub pixels: Option<(Vec<usize>, DType)>,
    /// Notes for people.
    pub notes: Vec<String>,
}

/// What became of all.
#[derive(Debug)]
pub struct IngestOutcome {
    /// Each recording, by path; then what could not be read.
    pub files: Vec<FileOutcome>,
    /// Files that images were read from and that are gone.
    pub vanished: Vec<Vanished>,
    /// Notes for people.
    pub notes: Vec<String>,
}

/// Follows the progress of an ingest.
pub trait IngestObserver {
    /// This many recordings are to be read.
    fn planned(&mut self, _to_do: usize) {}
    /// One of them is done.
    fn file_done(&mut self, _failed: bool) {}
    /// A batch is being published.
    fn committing(&mut self) {}
}
