//! A foreign indexer behind the [`Indexer`] trait, whichever door it came through.
//!
//! Responsible for what a plugin sees of a record and for checking its answers. It does not load libraries, has no `unsafe`,
//! and does not know the door.

use crate::failure::{Failure, FailureCause, FailureKind, failure_of};
use crate::indexer::{Indexer, IndexerInfo, Produced};
use crate::produced::Collector;
use crate::rows::import;
use kymhost_dataset::{DatasetError, Own, Record};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::ffi::{ArrowTable, HostRecord, HostRun};
use kymhost_plugin_api::{Artifact, ArtifactKind, Error, ErrorKind, Json, LogLevel, RunMarker, Table};

/// The longest params hash, in bytes.
const MAX_HASH_BYTES: usize = 1024;

/// One loaded indexer behind its door, with unchecked answers. Any thread may call it.
///
/// Each door implements it; [`Checked`] has what is the same for both.
pub(crate) trait Foreign: Send + Sync {
    /// The params, JSON.
    fn params(&self, record: &dyn HostRecord) -> Result<Vec<u8>, Error>;
    /// The params hash.
    fn params_hash(&self, record: &dyn HostRecord) -> Result<String, Error>;
    /// The image's rows.
    fn extract_rows(&self, record: &dyn HostRecord, run: &dyn HostRun) -> Result<ArrowTable, Error>;
    /// An old marker as the JSON of one with version `"1"`; `None` if it is not a marker.
    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, Error>;
}

/// An indexer behind its door, and what it says about itself.
pub(crate) type Listed = (IndexerInfo, Box<dyn Foreign>);

/// An indexer of either door, with checked answers.
pub(crate) struct Checked {
    info: IndexerInfo,
    foreign: Box<dyn Foreign>,
}

impl Checked {
    pub(crate) fn new(info: IndexerInfo, foreign: Box<dyn Foreign>) -> Self {
        Self { info, foreign }
    }

    fn serve<'a>(&'a self, record: &'a Record) -> RecordHost<'a> {
        RecordHost { record, own: self.info.own() }
    }
}

impl Indexer for Checked {
    fn info(&self) -> &IndexerInfo {
        &self.info
    }

    fn params_hash(&self, record: &Record) -> Result<String, Failure> {
        let hash = self.foreign.params_hash(&self.serve(record)).map_err(failure_of)?;
        if hash.is_empty() || hash.len() > MAX_HASH_BYTES {
            let bytes = hash.len();
            let message =
                format!("the indexer gave a params hash of {bytes} bytes, expected 1 to {MAX_HASH_BYTES} bytes");
            let cause = Some(FailureCause::BadHash { bytes });
            return Err(Failure { cause, ..Failure::new(FailureKind::Error, message) });
        }
        Ok(hash)
    }

    fn params(&self, record: &Record) -> Option<Json> {
        Json::parse(&self.foreign.params(&self.serve(record)).ok()?).ok()
    }

    fn extract(
        &self,
        record: &Record,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Produced, Failure> {
        let made = Collector::new(&self.info.writes);
        let run = ExtractionRun { indexer: &self.info.name, image_id: record.image_id(), threads, cancelled, made };
        let rows = self.foreign.extract_rows(&self.serve(record), &run).map_err(|error| {
            let failure = failure_of(error);
            // The indexer got that error and failed because of it.
            let undeclared = run.made.undeclared().map(|artifact| FailureCause::Undeclared { artifact });
            Failure { cause: undeclared.or(failure.cause), ..failure }
        })?;
        Ok(Produced { rows: import(rows)?, artifacts: run.made.into_made() })
    }

    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<RunMarker>, Failure> {
        let Some(marker) = self.foreign.read_old_marker(payload).map_err(failure_of)? else { return Ok(None) };
        let marker = Json::parse(&marker).map_err(|error| {
            Failure::new(
                FailureKind::Error,
                format!("the indexer read an old marker, but did not return JSON: {error}"),
            )
        })?;
        Ok(RunMarker::from_json(&marker))
    }
}

/// A dataset's record for a plugin.
struct RecordHost<'a> {
    record: &'a Record,
    /// What the indexer itself writes there. It is left out of listings.
    own: Own<'a>,
}

fn record_error(error: DatasetError) -> Error {
    let kind = match error {
        DatasetError::Unreadable { .. } | DatasetError::Store(_) => ErrorKind::Unreadable,
        _ => ErrorKind::Failed,
    };
    Error::new(kind, error)
}

impl HostRecord for RecordHost<'_> {
    fn image_id(&self) -> &str {
        self.record.image_id()
    }

    fn json(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.record.json_bytes(name).map_err(record_error)
    }

    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>, Error> {
        let batch = match kind {
            ArtifactKind::Csv => self.record.csv(name),
            _ => self.record.parquet(name),
        };
        batch.map_err(record_error)?.map(Table::from_batch).transpose()
    }

    fn pixels(&self) -> Result<Option<Array>, Error> {
        self.record.pixels().map_err(record_error)
    }

    fn array(&self, name: &str) -> Result<Option<Array>, Error> {
        self.record.array(name).map_err(record_error)
    }

    fn key(&self, name: &str, kind: ArtifactKind) -> String {
        self.record.describe_artifact(name, kind)
    }

    fn attributes(&self) -> Result<Vec<u8>, Error> {
        self.record.attributes_text().map_err(record_error)
    }

    fn artifacts(&self) -> Result<Vec<Artifact>, Error> {
        self.record.artifacts_of_others(self.own).map_err(record_error)
    }
}

/// One extraction for a plugin.
struct ExtractionRun<'a> {
    indexer: &'a str,
    image_id: &'a str,
    threads: usize,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    made: Collector<'a>,
}

impl HostRun for ExtractionRun<'_> {
    fn cancelled(&self) -> bool {
        (self.cancelled)()
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn log(&self, level: LogLevel, message: &str) {
        let Self { indexer, image_id, .. } = self;
        match level {
            LogLevel::Error => tracing::error!(indexer, image_id, "{message}"),
            LogLevel::Warn => tracing::warn!(indexer, image_id, "{message}"),
            LogLevel::Info => tracing::info!(indexer, image_id, "{message}"),
            _ => tracing::debug!(indexer, image_id, "{message}"),
        }
    }

    // The program shows progress per image.
    fn progress(&self, _fraction: f64) {}

    fn put_json(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        self.made.json(name, text)
    }

    fn put_table(&self, name: &str, table: Table) -> Result<(), Error> {
        self.made.table(name, table)
    }

    fn put_array(&self, name: &str, array: Array) -> Result<(), Error> {
        self.made.array(name, array)
    }
}
