//! What we keep of a table beside it, in `index/kymhost/`: its seal, the intent of a commit, the failures of the last run.
//!
//! Owns: their forms and keys, reading and writing them. Never: decides what follows from them.
//!
//! All three are documents of `serde_json`. One that cannot be read is treated as the safest thing that it could be: a
//! seal as broken, an intent as naming every image, failures as none; and it is said so in the log.

use super::IndexError;
use super::names::TableName;
use crate::dataset::{Dataset, Input};
use std::collections::{BTreeMap, BTreeSet};

/// What identifies a table's file: while it holds, its rows are those that markers describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Bytes.
    pub size: u64,
    /// Time of the last change of the content, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Time of the last change of any sort.
    pub ctime_ns: i64,
    /// The SHA-256 of the Parquet footer, lower-case hex.
    pub footer_sha256: String,
}

/// The seal of a table: `index/kymhost/seals/<table>.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The table as it was sealed.
    pub table: Identity,
    /// Images whose rows were not those of their markers when it was sealed, and have not been done since.
    pub altered: BTreeSet<String>,
}

/// The images that a commit is about to change: `index/kymhost/intents/<table>.json`. On disk before the table's rename,
/// gone after the last marker is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// These.
    Images(BTreeSet<String>),
    /// It cannot be read: any image.
    Unreadable,
}

/// One image's failure in the last run that tried it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastFailure {
    /// A name of [`crate::plugin::FailureKind`].
    pub kind: String,
    /// For people.
    pub message: String,
    /// The library that failed.
    pub library_sha256: String,
    /// When, in nanoseconds since the Unix epoch, UTC.
    pub utc_epoch_ns: i64,
    /// What it had read by then.
    pub inputs: Vec<Input>,
}

/// The failures of a table by image: `index/kymhost/failures/<table>.json`; absent where there are none.
pub type Failures = BTreeMap<String, PastFailure>;

/// The seal; `None` where there is none or it cannot be read.
pub fn read_seal(dataset: &Dataset, name: &TableName) -> Result<Option<Seal>, IndexError> {
    let _ = (dataset, name);
    todo!("ledger")
}

/// Writes the seal.
pub fn write_seal(dataset: &Dataset, name: &TableName, seal: &Seal) -> Result<(), IndexError> {
    let _ = (dataset, name, seal);
    todo!("ledger")
}

/// The intent that a killed commit left.
pub fn read_intent(dataset: &Dataset, name: &TableName) -> Result<Option<Intent>, IndexError> {
    let _ = (dataset, name);
    todo!("ledger")
}

/// Writes the intent; no images: removes it.
pub fn write_intent(dataset: &Dataset, name: &TableName, images: &BTreeSet<String>) -> Result<(), IndexError> {
    let _ = (dataset, name, images);
    todo!("ledger")
}

/// The failures.
pub fn read_failures(dataset: &Dataset, name: &TableName) -> Result<Failures, IndexError> {
    let _ = (dataset, name);
    todo!("ledger")
}

/// Writes the failures; none: removes the file.
pub fn write_failures(dataset: &Dataset, name: &TableName, failures: &Failures) -> Result<(), IndexError> {
    let _ = (dataset, name, failures);
    todo!("ledger")
}
