//! The types of an indexer: what its card says, and what a loaded one can be asked.

use crate::error::CardSummary;
use crate::failure::Failure;
use crate::identity::Pin;
use arrow::array::RecordBatch;
use kymhost_dataset::{Own, Payload, Record};
use kymhost_plugin_api::card::CardIndexer;
use kymhost_plugin_api::{Artifact, Json, RunMarker};
use std::path::PathBuf;

/// What a library says about one of its indexers.
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
    /// The artifacts that it may write, by name and kind.
    pub writes: Vec<Artifact>,
    /// The artifacts of other indexers that it reads.
    pub reads: Vec<String>,
    /// The JSON Schema of its params; empty if it declares none.
    pub params_schema: String,
}

impl IndexerInfo {
    /// What it writes into a record itself.
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

/// An indexer that was found: its library and what the card says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The library's file.
    pub library: PathBuf,
    /// The indexer in it.
    pub indexer: IndexerInfo,
    /// The library's digest when it was found, if the rules needed it. No other file is loaded then.
    pub pin: Option<Pin>,
    /// The library's card, for errors.
    pub card: CardSummary,
}

/// One loaded indexer of either door. Any thread may call it.
pub trait Indexer: Send + Sync {
    /// What it says about itself.
    fn info(&self) -> &IndexerInfo;
    /// The image's params hash.
    fn params_hash(&self, record: &Record) -> Result<String, Failure>;
    /// The image's params; `None` if the indexer gives an error or no JSON.
    fn params(&self, record: &Record) -> Option<Json>;
    /// The image's rows and artifacts. The plugin calls `cancelled` now and then.
    fn extract(
        &self,
        record: &Record,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Produced, Failure>;
    /// Only the image's rows.
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

/// An artifact that an extraction made.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its name, as the indexer gave it.
    pub name: String,
    /// Its content.
    pub payload: Payload,
}

/// The result of an extraction.
#[derive(Debug, Clone)]
pub struct Produced {
    /// The rows.
    pub rows: RecordBatch,
    /// The artifacts.
    pub artifacts: Vec<Made>,
}
