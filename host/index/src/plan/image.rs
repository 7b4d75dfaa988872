//! One image: judged by kymflow's rules, and as a plan has it.

use crate::markers::Marker;
use crate::options::Mode;
use crate::provenance::ImageFacts;
use crate::receipt::Freshening;
use crate::staleness::{Current, ImageReport, Judgement, Reason, RowFacts, judge};
use kymhost_plugin::{Failure, IndexerInfo};
use kymhost_plugin_api::RunMarker;

/// One image, judged.
#[derive(Debug)]
pub(crate) struct PlannedImage {
    pub report: ImageReport,
    /// Its rows in the table.
    pub rows: u64,
    /// Every reason that holds, that of the report first; empty if it is fresh.
    pub reasons: Vec<Reason>,
    /// Its marker's receipt, as a seal knows it.
    pub mark: Option<u64>,
    /// The inputs to be written into the marker of a fresh image: their content is unchanged, but more is known about
    /// them now. See [`freshened_marker`](super::freshened_marker).
    pub freshen: Option<Box<Freshening>>,
    /// The keys of the artifacts that its marker's receipt says were made.
    pub outputs: Vec<String>,
    /// Why it cannot be judged.
    failure: Option<Failure>,
    /// Its params themselves cannot be had: then its rows cannot either.
    params_failed: bool,
}

impl PlannedImage {
    /// Why it fails without being tried: what cannot be judged is not updated, but replacing needs no marker.
    pub fn blocked(&self, mode: Mode) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.params_failed || mode == Mode::Incremental)
    }

    /// Whether `adopt` would take it: it has rows, or a run found none and there are none.
    pub fn can_be_adopted(&self) -> bool {
        self.report.is_stale && (self.rows > 0 || self.report.marker_n_rows == Some(0))
    }
}

/// One image by kymflow's rules.
pub(super) struct JudgedImage {
    pub by_kymflow: Judgement,
    pub marker: Option<RunMarker>,
    pub marker_is_current: bool,
    pub rows_present: bool,
    pub failure: Option<Failure>,
    pub params_failed: bool,
}

impl JudgedImage {
    pub fn of(indexer: &IndexerInfo, hash: Result<String, Failure>, marker: Marker, rows: &ImageFacts) -> Self {
        let (hash, params_failure) = match hash {
            Ok(hash) => (Some(hash), None),
            Err(failure) => (None, Some(failure)),
        };
        let (marker, marker_failure) = match marker {
            Marker::None => (None, None),
            Marker::Valid(marker) => (Some(marker), None),
            Marker::Unreadable(failure) => (None, Some(failure)),
        };
        let version = indexer.analysis_version.as_str();
        let facts = RowFacts {
            present: rows.rows > 0,
            match_params: hash.is_some() && rows.params_hash.as_deref() == hash.as_deref(),
            match_version: rows.analysis_version.as_deref() == Some(version),
        };
        let current = Current { params_hash: hash.as_deref().unwrap_or(""), analysis_version: version };
        let by_kymflow = judge(current, facts, marker.as_ref());
        let is_current = |marker: &RunMarker| {
            Some(&marker.params_hash) == hash.as_ref() && marker.analysis_version == indexer.analysis_version
        };
        Self {
            by_kymflow,
            marker_is_current: marker.as_ref().is_some_and(is_current),
            marker,
            rows_present: facts.present,
            params_failed: params_failure.is_some(),
            failure: params_failure.or(marker_failure),
        }
    }

    pub fn planned(self, image_id: &str, rows: u64, reasons: Vec<Reason>) -> PlannedImage {
        let reason = reasons.first().copied().unwrap_or(self.by_kymflow.reason);
        PlannedImage {
            report: ImageReport {
                image_id: image_id.to_owned(),
                reason,
                is_stale: reason.is_stale(),
                has_run_marker: self.marker.is_some(),
                table_rows_present: self.rows_present,
                marker_n_rows: self.marker.map(|marker| marker.n_rows),
                params_hash_matches: !self.params_failed && self.by_kymflow.params_agree,
                analysis_version_matches: self.by_kymflow.version_agrees,
                error: self.failure.as_ref().map(|failure| failure.message.clone()),
                inputs: Vec::new(),
                notes: Vec::new(),
            },
            rows,
            reasons,
            mark: None,
            freshen: None,
            outputs: Vec::new(),
            failure: self.failure,
            params_failed: self.params_failed,
        }
    }
}
