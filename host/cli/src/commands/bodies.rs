//! Parts of JSON documents that several commands share. Fields are only ever added.

use kymhost_index::ImageFailure;
use kymhost_index::staleness::ImageReport;
use serde::Serialize;

/// An image that failed.
#[derive(Debug, Serialize)]
pub struct FailureBody<'a> {
    image_id: &'a str,
    kind: &'static str,
    message: &'a str,
}

impl<'a> FailureBody<'a> {
    /// From the failure.
    pub fn new(failure: &'a ImageFailure) -> Self {
        Self { image_id: &failure.image_id, kind: failure.failure.kind.as_str(), message: &failure.failure.message }
    }
}

/// An image that is no longer in the dataset.
#[derive(Debug, Serialize)]
pub struct OrphanBody<'a> {
    image_id: &'a str,
    rows: u64,
}

impl<'a> OrphanBody<'a> {
    /// From recording ids and their numbers of rows.
    pub fn all(orphans: &'a [(String, u64)]) -> Vec<Self> {
        orphans.iter().map(|(image_id, rows)| Self { image_id, rows: *rows }).collect()
    }
}

/// What was judged of one image.
#[derive(Debug, Serialize)]
pub struct ImageBody<'a> {
    image_id: &'a str,
    reason: &'static str,
    is_stale: bool,
    has_run_marker: bool,
    table_rows_present: bool,
    marker_n_rows: Option<u64>,
    params_hash_matches: bool,
    analysis_version_matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    inputs: &'a [String],
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
    pub table: String,
    pub rows: Option<u64>,
    /// Left out by commands that do not count them; null if they cannot be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Option<u64>>,
    pub size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
