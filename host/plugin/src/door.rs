//! What both doors share: a plugin's indexer behind the room's [`Indexer`] trait, over a dataset's record.
//!
//! Owns: what a plugin is shown and the checks of what comes back. Never: loads libraries, has `unsafe`, knows which door
//! it is.

use super::made::Collector;
use super::{Failure, FailureCause, FailureKind, Indexer, IndexerInfo, Produced, failure_text};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use kymhost_dataset::{DatasetError, Own, Record};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::ffi::{ArrowTable, HostRecord, HostRun};
use kymhost_plugin_api::{Artifact, ArtifactKind, Error, ErrorKind, Json, LogLevel, RunMarker, Table};
use std::collections::HashSet;
use std::sync::Arc;

/// How long a params hash may be, in bytes.
const MAX_HASH_BYTES: usize = 1024;
/// How deep a column's type may nest.
const MAX_TYPE_DEPTH: usize = 32;

/// One loaded indexer as its door hands it over: its answers are not judged yet. Called from any thread.
///
/// Each door implements it; what holds for both is in [`Checked`].
pub(super) trait Foreign: Send + Sync {
    /// The params, JSON.
    fn params(&self, record: &dyn HostRecord) -> Result<Vec<u8>, Error>;
    /// The params hash.
    fn params_hash(&self, record: &dyn HostRecord) -> Result<String, Error>;
    /// The image's rows.
    fn extract_rows(&self, record: &dyn HostRecord, run: &dyn HostRun) -> Result<ArrowTable, Error>;
    /// An old marker as one of version `"1"`, JSON; none where it is no such marker.
    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, Error>;
}

/// An indexer of either door, whose answers are judged.
pub(super) struct Checked {
    info: IndexerInfo,
    foreign: Box<dyn Foreign>,
}

impl Checked {
    pub(super) fn new(info: IndexerInfo, foreign: Box<dyn Foreign>) -> Self {
        Self { info, foreign }
    }

    fn serve<'a>(&'a self, record: &'a Record) -> DatasetRecord<'a> {
        DatasetRecord { record, own: self.info.own() }
    }
}

impl Indexer for Checked {
    fn info(&self) -> &IndexerInfo {
        &self.info
    }

    fn params_hash(&self, record: &Record) -> Result<String, Failure> {
        let hash = self.foreign.params_hash(&self.serve(record)).map_err(failure)?;
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
        let run = ExtractionRun::new(&self.info, record, threads, cancelled);
        let rows = self.foreign.extract_rows(&self.serve(record), &run).map_err(|error| {
            let failure = failure(error);
            // The indexer was told, and gave up.
            let undeclared = run.made.undeclared().map(|artifact| FailureCause::Undeclared { artifact });
            Failure { cause: undeclared.or(failure.cause), ..failure }
        })?;
        Ok(Produced { rows: import(rows)?, artifacts: run.made.into_made() })
    }

    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<RunMarker>, Failure> {
        let Some(marker) = self.foreign.read_old_marker(payload).map_err(failure)? else { return Ok(None) };
        let marker = Json::parse(&marker).map_err(|error| {
            Failure::new(FailureKind::Error, format!("the indexer made no JSON of an old marker: {error}"))
        })?;
        Ok(RunMarker::from_json(&marker))
    }
}

fn failure(error: Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::Panicked => FailureKind::Panic,
        ErrorKind::Unreadable => FailureKind::Unreadable,
        ErrorKind::BadTable => FailureKind::BadTable,
        _ => FailureKind::Error,
    };
    match error.message() {
        "" => Failure {
            cause: Some(FailureCause::NoReason),
            ..Failure::new(kind, "the indexer gave no reason".to_owned())
        },
        text => Failure::new(kind, failure_text(text)),
    }
}

fn bad_table(message: String) -> Failure {
    Failure::new(FailureKind::BadTable, failure_text(&message))
}

/// Takes a plugin's rows: checked in full, columns plain and named.
pub(super) fn import(table: ArrowTable) -> Result<RecordBatch, Failure> {
    let batch = table.into_batch().map_err(failure)?;
    let schema = batch.schema();
    let mut names = HashSet::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if field.name().is_empty() {
            return Err(bad_table(format!("column {} of {} has no name", index + 1, batch.num_columns())));
        }
        if !names.insert(field.name().as_str()) {
            return Err(bad_table(format!("there are two columns '{}'", field.name())));
        }
    }
    let mut fields: Vec<FieldRef> = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let plain = plain_type(field.data_type(), 0)
            .ok_or_else(|| bad_table(format!("column '{}' nests more than {MAX_TYPE_DEPTH} types", field.name())))?;
        // Rows of other images may lack a cell.
        fields.push(Arc::new(Field::new(field.name(), plain.clone(), true)));
        columns.push(if plain == *field.data_type() {
            Arc::clone(column)
        } else {
            cast(column, &plain)
                .map_err(|error| bad_table(format!("column '{}' cannot be made plain: {error}", field.name())))?
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| bad_table(format!("the rows are no table: {error}")))
}

/// The type without dictionaries, run ends and views, which tables are not kept in.
fn plain_type(data_type: &DataType, depth: usize) -> Option<DataType> {
    if depth > MAX_TYPE_DEPTH {
        return None;
    }
    let plain_field = |field: &FieldRef| -> Option<FieldRef> {
        let plain = plain_type(field.data_type(), depth + 1)?;
        Some(Arc::new(field.as_ref().clone().with_data_type(plain)))
    };
    Some(match data_type {
        DataType::Dictionary(_, values) => plain_type(values, depth + 1)?,
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type(), depth + 1)?,
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain_field(field)?),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(plain_field(field)?),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field)?, *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect::<Option<_>>()?),
        other => other.clone(),
    })
}

/// A dataset's record as plugins see it.
struct DatasetRecord<'a> {
    record: &'a Record,
    /// What the indexer itself leaves there, which no listing shows it.
    own: Own<'a>,
}

fn record_error(error: DatasetError) -> Error {
    let kind = match error {
        DatasetError::Unreadable { .. } | DatasetError::Store(_) => ErrorKind::Unreadable,
        _ => ErrorKind::Failed,
    };
    Error::new(kind, error)
}

impl HostRecord for DatasetRecord<'_> {
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

/// One extraction as plugins see it.
struct ExtractionRun<'a> {
    indexer: &'a str,
    image_id: &'a str,
    threads: usize,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    made: Collector<'a>,
}

impl<'a> ExtractionRun<'a> {
    fn new(
        indexer: &'a IndexerInfo,
        record: &'a Record,
        threads: usize,
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let made = Collector::new(&indexer.writes);
        Self { indexer: &indexer.name, image_id: record.image_id(), threads, cancelled, made }
    }
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

    // Progress is shown by images.
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
