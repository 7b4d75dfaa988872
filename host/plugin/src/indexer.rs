//! An indexer: what its card says of it, and what a loaded one can be asked.
//!
//! Holds types only. How an indexer is found, loaded and run stands in other files.

use crate::error::CardSummary;
use crate::failure::Failure;
use crate::identity::Pin;
use arrow::array::RecordBatch;
use kymhost_dataset::{Own, Payload, Record};
use kymhost_plugin_api::card::CardIndexer;
use kymhost_plugin_api::{Artifact, Json, RunMarker};
use std::path::PathBuf;

/// What a library says of one of its indexers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexerInfo {
    /// Its name: `[a-z0-9_]+`.
    pub name: String,
    /// Its analysis version.
    pub analysis_version: String,
    /// The artifact that holds its run marker.
    pub marker_name: String,
    /// The JSON artifacts that hold its params.
    pub params_artifacts: Vec<String>,
    /// The artifacts that it may hand to the host, by name and kind.
    pub writes: Vec<Artifact>,
    /// The artifacts that it reads and another indexer may write.
    pub reads: Vec<String>,
    /// The JSON Schema of its params, as text; empty where it declares none.
    pub params_schema: String,
}

impl IndexerInfo {
    /// What it leaves in a record itself.
    pub fn own(&self) -> Own<'_> {
        Own { marker_name: &self.marker_name, writes: &self.writes }
    }
}

impl From<&CardIndexer> for IndexerInfo {
    fn from(card: &CardIndexer) -> Self {
        Self {
            name: card.name.clone(),
            analysis_version: card.analysis_version.clone(),
            marker_name: card.marker.clone(),
            params_artifacts: card.params_artifacts.clone(),
            writes: card.writes.clone(),
            reads: card.reads.clone(),
            params_schema: card.params_schema.clone(),
        }
    }
}

/// An indexer that was found: which library, and what its card says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The library's file.
    pub library: PathBuf,
    /// The indexer in it.
    pub indexer: IndexerInfo,
    /// The digest that was seen when it was found, where it had to be known: no other file is loaded.
    pub pin: Option<Pin>,
    /// What the library's card says, for errors.
    pub card: CardSummary,
}

/// One loaded indexer, whichever door it came through. Called from any thread.
pub trait Indexer: Send + Sync {
    /// What it says of itself.
    fn info(&self) -> &IndexerInfo;
    /// The image's params hash.
    fn params_hash(&self, record: &Record) -> Result<String, Failure>;
    /// The image's params; `None` if the indexer gives none, or no JSON.
    fn params(&self, record: &Record) -> Option<Json>;
    /// The image's rows, and the artifacts handed over on the way; `cancelled` is asked by the plugin now and then.
    fn extract(
        &self,
        record: &Record,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Produced, Failure>;
    /// The image's rows alone.
    fn extract_rows(
        &self,
        record: &Record,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<RecordBatch, Failure> {
        self.extract(record, threads, cancelled).map(|produced| produced.rows)
    }
    /// An old marker's fields.
    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<RunMarker>, Failure>;
}

/// An artifact that an extraction handed over.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its name, as the indexer said it.
    pub name: String,
    /// What it is.
    pub payload: Payload,
}

/// What an extraction gave.
#[derive(Debug, Clone)]
pub struct Produced {
    /// The rows.
    pub rows: RecordBatch,
    /// The artifacts.
    pub artifacts: Vec<Made>,
}
