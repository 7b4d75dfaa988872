//! Parts of JSON documents that several commands share. Fields are only ever added.

use kymhost_index::ImageFailure;
use kymhost_index::staleness::ImageReport;
use serde::Serialize;

/// A recording that failed.
#[derive(Debug, Serialize)]
pub struct FailureBody<'a> {
    /// The id of the recording.
    image_id: &'a str,
    /// `error`, `panic`, `abort`, `signal`, `exit`, `timeout`, `memory`, `bad_table`, `input_changed`, `unreadable` or `system`.
    kind: &'static str,
    /// What went wrong.
    message: &'a str,
}

impl<'a> FailureBody<'a> {
    /// From the failure.
    pub fn new(failure: &'a ImageFailure) -> Self {
        Self { image_id: &failure.image_id, kind: failure.failure.kind.as_str(), message: &failure.failure.message }
    }
}

/// A recording that is no longer in the dataset.
#[derive(Debug, Serialize)]
pub struct OrphanBody<'a> {
    /// The id of the recording.
    image_id: &'a str,
    /// How many rows the table has of it.
    rows: u64,
}

impl<'a> OrphanBody<'a> {
    /// From recording ids and their numbers of rows.
    pub fn all(orphans: &'a [(String, u64)]) -> Vec<Self> {
        orphans.iter().map(|(image_id, rows)| Self { image_id, rows: *rows }).collect()
    }
}

/// What was judged of one recording.
#[derive(Debug, Serialize)]
pub struct ImageBody<'a> {
    /// The id of the recording.
    image_id: &'a str,
    /// Why it is stale or fresh.
    reason: &'static str,
    /// Whether an incremental run would compute it.
    is_stale: bool,
    /// Whether it has a valid run marker.
    has_run_marker: bool,
    /// Whether the table has rows of it.
    table_rows_present: bool,
    /// How many rows the run marker records.
    marker_n_rows: Option<u64>,
    /// Whether its rows or run marker have the current params hash.
    params_hash_matches: bool,
    /// Whether its rows or run marker have the current analysis version.
    analysis_version_matches: bool,
    /// Why it cannot be checked. Only with `STALE_UNREADABLE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The keys in the recording's group that the reason is about.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    inputs: &'a [String],
    /// Notes, which decide nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
}

impl<'a> ImageBody<'a> {
    /// From the report.
    pub fn new(report: &'a ImageReport) -> Self {
        Self {
            image_id: &report.image_id,
            reason: report.reason.code(),
            is_stale: report.is_stale,
            has_run_marker: report.has_run_marker,
            table_rows_present: report.table_rows_present,
            marker_n_rows: report.marker_n_rows,
            params_hash_matches: report.params_hash_matches,
            analysis_version_matches: report.analysis_version_matches,
            error: report.error.as_deref(),
            inputs: &report.inputs,
            notes: report.notes.iter().map(|note| note.code()).collect(),
        }
    }
}

/// A table of the dataset.
#[derive(Debug, Serialize)]
pub struct TableBody {
    /// As `table show` takes it.
    pub name: String,
    /// The table's key in the dataset.
    pub table: String,
    /// How many rows it has.
    pub rows: Option<u64>,
    /// Left out by commands that do not count them; null if they cannot be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Option<u64>>,
    /// The file's size.
    pub size_bytes: Option<u64>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
