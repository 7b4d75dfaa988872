//! The JSON documents that `--json` puts on standard output.
//! Owns: their fields, which are only ever added to. In words: `docs/user-guide.md`. Never: prints.

use super::error::CliError;
use crate::index::names::TableName;
use crate::index::staleness::{ImageReport, Reason};
use crate::index::{ImageFailure, RunOutcome, Stats, Status};
use crate::plugin::Plugin;
use kymhost_plugin_api::card::Card;
use serde::Serialize;

/// An error before there is another document.
#[derive(Debug, Serialize)]
pub struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

/// What went wrong.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

impl<'a> ErrorBody<'a> {
    fn new(error: &'a CliError) -> Self {
        Self { code: error.code, message: &error.message, help: error.help.as_deref() }
    }
}

impl<'a> ErrorDocument<'a> {
    /// The document of an error.
    pub fn new(error: &'a CliError) -> Self {
        Self { error: ErrorBody::new(error) }
    }
}

/// In a list of several plugins, what one gave: its document, or its error.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum OneOf<'a, T> {
    /// Its document.
    Document(T),
    /// Its error.
    Error {
        /// The indexer.
        indexer: &'a str,
        /// What went wrong.
        error: ErrorBody<'a>,
    },
}

impl<'a, T> OneOf<'a, T> {
    /// From what the indexer gave.
    pub fn new<R>(indexer: &'a str, result: &'a Result<R, CliError>, document: impl FnOnce(&'a R) -> T) -> Self {
        match result {
            Ok(value) => Self::Document(document(value)),
            Err(error) => Self::Error { indexer, error: ErrorBody::new(error) },
        }
    }
}

/// `run --json` with several plugins.
#[derive(Debug, Serialize)]
pub struct RunsDocument<'a> {
    /// One each, in the order of the arguments.
    pub runs: Vec<OneOf<'a, RunDocument<'a>>>,
}

/// `run --json`
#[derive(Debug, Serialize)]
pub struct RunDocument<'a> {
    indexer: &'a str,
    mode: &'static str,
    table: &'a str,
    stats: StatsBody,
    failures: Vec<FailureBody<'a>>,
}

#[derive(Debug, Serialize)]
struct StatsBody {
    updated: u64,
    skipped_fresh: u64,
    skipped_zero_rows: u64,
    stale_missing_marker: u64,
    stale_marker_table_mismatch: u64,
    total_images: u64,
    failed: u64,
    not_run: u64,
    skipped: u64,
    missing: u64,
}

#[derive(Debug, Serialize)]
struct FailureBody<'a> {
    image_id: &'a str,
    kind: &'static str,
    message: &'a str,
}

impl<'a> RunDocument<'a> {
    /// The document of a run.
    pub fn new(outcome: &'a RunOutcome) -> Self {
        let Stats {
            updated,
            skipped_fresh,
            skipped_zero_rows,
            stale_missing_marker,
            stale_marker_table_mismatch,
            total_images,
            failed,
            not_run,
            missing,
        } = outcome.stats;
        Self {
            indexer: &outcome.indexer,
            mode: outcome.mode.name(),
            table: &outcome.table,
            stats: StatsBody {
                updated,
                skipped_fresh,
                skipped_zero_rows,
                stale_missing_marker,
                stale_marker_table_mismatch,
                total_images,
                failed,
                not_run,
                skipped: skipped(&outcome.stats),
                missing,
            },
            failures: outcome.failures.iter().map(FailureBody::new).collect(),
        }
    }
}

impl<'a> FailureBody<'a> {
    fn new(failure: &'a ImageFailure) -> Self {
        Self { image_id: &failure.image_id, kind: failure.failure.kind.as_str(), message: &failure.failure.message }
    }
}

/// Images that were left because they are fresh.
pub fn skipped(stats: &Stats) -> u64 {
    stats.skipped_fresh + stats.skipped_zero_rows
}

/// `status --json` with several plugins.
#[derive(Debug, Serialize)]
pub struct StatusesDocument<'a> {
    /// One each, in the order of the arguments.
    pub statuses: Vec<OneOf<'a, StatusDocument<'a>>>,
}

/// `status --json`
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    indexer: &'a str,
    table: &'a str,
    images: Vec<ImageBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ImageBody<'a> {
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
}

impl<'a> StatusDocument<'a> {
    /// The document of a status.
    pub fn new(status: &'a Status) -> Self {
        Self {
            indexer: &status.indexer,
            table: &status.table,
            images: status.images.iter().map(ImageBody::new).collect(),
        }
    }
}

impl<'a> ImageBody<'a> {
    fn new(report: &'a ImageReport) -> Self {
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
        }
    }
}

/// A line of `plugin list --json`.
#[derive(Debug, Serialize)]
pub struct PluginDocument<'a> {
    indexer: &'a str,
    analysis_version: &'a str,
    table: Option<String>,
    marker: &'a str,
    params_artifacts: &'a [String],
    library: String,
}

impl<'a> PluginDocument<'a> {
    /// The document of an indexer that was found.
    pub fn new(plugin: &'a Plugin) -> Self {
        Self {
            indexer: &plugin.indexer.name,
            analysis_version: &plugin.indexer.analysis_version,
            table: table_key(&plugin.indexer.name),
            marker: &plugin.indexer.marker_name,
            params_artifacts: &plugin.indexer.params_artifacts,
            library: plugin.library.display().to_string(),
        }
    }
}

/// `plugin info --json`: that, and all else that the library's card says.
#[derive(Debug, Serialize)]
pub struct PluginInfoDocument<'a> {
    #[serde(flatten)]
    plugin: PluginDocument<'a>,
    api: String,
    needs_api: String,
    door: &'a str,
    sdk: &'a str,
    rustc: &'a str,
    target: &'a str,
    library_indexers: Vec<&'a str>,
}

impl<'a> PluginInfoDocument<'a> {
    /// The document of an indexer and its library's card.
    pub fn new(plugin: &'a Plugin, card: &'a Card) -> Self {
        Self {
            plugin: PluginDocument::new(plugin),
            api: card.api.to_string(),
            needs_api: card.needs_api.to_string(),
            door: &card.door,
            sdk: &card.sdk,
            rustc: &card.rustc,
            target: &card.target,
            library_indexers: card.indexers.iter().map(|indexer| indexer.name.as_str()).collect(),
        }
    }
}

/// The key of an indexer's table; none where the name may not be an indexer's.
pub fn table_key(indexer: &str) -> Option<String> {
    TableName::of(indexer).ok().map(|name| name.key_text())
}

/// `plugin list --json`
#[derive(Debug, Serialize)]
pub struct PluginsDocument<'a> {
    /// The search path.
    pub folders: Vec<String>,
    /// What can be used.
    pub plugins: Vec<PluginDocument<'a>>,
    /// What cannot.
    pub unusable: Vec<UnusableBody<'a>>,
}

/// A library that cannot be used.
#[derive(Debug, Serialize)]
pub struct UnusableBody<'a> {
    library: String,
    code: &'a str,
    message: &'a str,
}

impl<'a> UnusableBody<'a> {
    /// A library and why.
    pub fn new(library: &std::path::Path, error: &'a CliError) -> Self {
        Self { library: library.display().to_string(), code: error.code, message: &error.message }
    }
}

/// A reason in plain words.
pub fn reason_meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::FreshRows => "its rows are up to date",
        Reason::FreshZeroRows => "it was run and has no rows",
        Reason::StaleMissingMarker => "it has no run marker: it was never run",
        Reason::StaleMarkerTableMismatch => "its run marker and the table's rows do not agree",
        Reason::StaleVersionChanged => "its rows were made by another version of the indexer",
        Reason::StaleParamsChanged => "its params have changed since its rows were made",
        Reason::StaleUnknown => "its rows cannot be told to be up to date",
        Reason::StaleUnreadable => "it cannot be judged",
        Reason::StaleInterrupted => "a run was killed while it wrote this image's rows",
        Reason::StaleLastRunFailed => "the last run tried it and failed; its rows are of before",
        Reason::StaleNoReceipt => "it has rows, but no run marker that vouches for them",
        Reason::StaleRowsChanged => "its rows in the table are not those that the run wrote",
        Reason::StaleInputChanged => "something that its rows were made from has changed",
        Reason::StaleInputAppeared => "something that its rows were made without is there now",
        Reason::StaleInputRemoved => "something that its rows were made from is gone",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;
    use crate::index::Mode;
    use crate::plugin::{Failure, FailureKind};
    use serde_json::json;

    fn value(document: &impl Serialize) -> serde_json::Value {
        serde_json::to_value(document).unwrap()
    }

    fn outcome() -> RunOutcome {
        RunOutcome {
            indexer: "velocity_events".into(),
            mode: Mode::Incremental,
            table: "tables/kym_velocity_events.parquet".into(),
            stats: Stats {
                updated: 1,
                skipped_fresh: 2,
                skipped_zero_rows: 3,
                stale_missing_marker: 4,
                stale_marker_table_mismatch: 5,
                total_images: 6,
                failed: 7,
                not_run: 8,
                missing: 9,
            },
            failures: vec![ImageFailure {
                image_id: "i".into(),
                failure: Failure::new(FailureKind::BadTable, "m".into()),
            }],
            decisions: Vec::new(),
            pruned_images: 0,
            freshened: 0,
            widened: Vec::new(),
            commits: 1,
            recomputed: false,
            stopped_by_failures: false,
        }
    }

    fn run_value() -> serde_json::Value {
        json!({
            "indexer": "velocity_events",
            "mode": "incremental",
            "table": "tables/kym_velocity_events.parquet",
            "stats": {
                "updated": 1, "skipped_fresh": 2, "skipped_zero_rows": 3, "stale_missing_marker": 4,
                "stale_marker_table_mismatch": 5, "total_images": 6, "failed": 7, "not_run": 8, "skipped": 5,
                "missing": 9,
            },
            "failures": [{"image_id": "i", "kind": "bad_table", "message": "m"}],
        })
    }

    #[test]
    fn the_document_of_a_run() {
        assert_eq!(value(&RunDocument::new(&outcome())), run_value());
    }

    #[test]
    fn the_documents_of_several_runs() {
        let good = Ok(outcome());
        let bad = Err(CliError::new(Exit::Locked, "locked", "m").help("h"));
        let runs =
            vec![OneOf::new("velocity_events", &good, RunDocument::new), OneOf::new("radon", &bad, RunDocument::new)];
        assert_eq!(
            value(&RunsDocument { runs }),
            json!({"runs": [
                run_value(),
                {"indexer": "radon", "error": {"code": "locked", "message": "m", "help": "h"}},
            ]})
        );
    }

    #[test]
    fn the_document_of_a_status() {
        let report = |error: Option<&str>, n_rows| ImageReport {
            image_id: "i".into(),
            reason: if error.is_some() { Reason::StaleUnreadable } else { Reason::FreshRows },
            is_stale: error.is_some(),
            has_run_marker: true,
            table_rows_present: true,
            marker_n_rows: n_rows,
            params_hash_matches: true,
            analysis_version_matches: false,
            error: error.map(Into::into),
            inputs: Vec::new(),
            notes: Vec::new(),
        };
        let status = Status {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            images: vec![report(None, Some(2)), report(Some("bad"), None)],
            orphans: Vec::new(),
        };
        assert_eq!(
            value(&StatusDocument::new(&status)),
            json!({"indexer": "radon", "table": "tables/kym_radon.parquet", "images": [
                {"image_id": "i", "reason": "FRESH_ROWS", "is_stale": false, "has_run_marker": true,
                 "table_rows_present": true, "marker_n_rows": 2, "params_hash_matches": true,
                 "analysis_version_matches": false},
                {"image_id": "i", "reason": "STALE_UNREADABLE", "is_stale": true, "has_run_marker": true,
                 "table_rows_present": true, "marker_n_rows": null, "params_hash_matches": true,
                 "analysis_version_matches": false, "error": "bad"},
            ]})
        );
    }

    #[test]
    fn the_document_of_an_error() {
        let error = CliError::usage("usage", "m");
        assert_eq!(
            value(&ErrorDocument::new(&error)),
            json!({"error": {"code": "usage", "message": "m", "help": null}})
        );
    }
}
