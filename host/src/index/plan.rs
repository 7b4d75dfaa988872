//! Judging every image of a dataset: what `status`, a dry run and a run share.
//! Owns: what is read for it, once each. Never: writes.

use super::ledger::{Failures, Intent};
use super::markers::{self, Marker};
use super::names::TableName;
use super::provenance::{self, TableFacts, group_rows};
use super::receipt::{self, Freshening};
use super::staleness::{Current, ImageReport, Reason, RowFacts, judge};
use super::{Compat, IndexError, Mode};
use crate::dataset::Dataset;
use crate::plugin::{Failure, IndexerInfo, PluginError, Workforce};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a plan is made with.
#[derive(Debug, Clone, Default)]
pub(super) struct PlanOptions<'a> {
    /// Whose rules.
    pub compat: Compat,
    /// The images of the dataset where they have been listed already.
    pub listing: Option<Arc<Vec<String>>>,
    /// Only these images are judged; those that the dataset lacks are left out.
    pub only: Option<&'a BTreeSet<String>>,
    /// A table that cannot be read counts as none (see [`Plan::broken_table`]): for a run that makes all of it anew.
    pub table_may_be_broken: bool,
}

/// Every image, judged, in id order.
#[derive(Debug)]
pub(super) struct Plan {
    pub images: Vec<Planned>,
    /// The table that was judged by; its `images` are those of the plan, in the same order.
    pub table: TableFacts,
    /// Why the table cannot be read, where it may be broken; `table` is then that of no table.
    pub broken_table: Option<String>,
    /// How far the table's rows are trusted.
    pub seal: SealState,
    /// The intent that a killed commit left. With [`Compat::Kymflow`] it is not read: `None`.
    pub intent: Option<Intent>,
    /// The failures of earlier runs, those of images that are not in the plan included. Not read with [`Compat::Kymflow`].
    pub failures: Failures,
    /// The library's SHA-256. Not asked for with [`Compat::Kymflow`].
    pub library_sha256: Option<String>,
}

/// How far a table's rows are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SealState {
    /// No marker that was read has a receipt of ours (or there is no table, or ours are not the rules): nothing to compare.
    Unneeded,
    /// The seal's identity is the table's: rows are trusted, less these images' (which may be of any image of the table).
    Held {
        /// See [`super::ledger::Seal::altered`].
        altered: BTreeSet<String>,
    },
    /// The seal is missing or broken. All digests were computed and compared with the markers.
    Recomputed {
        /// The images whose rows are not those of their markers.
        altered: BTreeSet<String>,
        /// Whether all images were compared; with [`PlanOptions::only`] they were not: such a plan's `altered` is no
        /// ground for a new seal.
        is_complete: bool,
    },
}

/// One image, judged.
#[derive(Debug)]
pub(super) struct Planned {
    pub report: ImageReport,
    /// Its rows in the table.
    pub rows: u64,
    /// Every reason that holds, that of the report first; none where it is fresh.
    pub reasons: Vec<Reason>,
    /// The inputs to be written into the marker of a fresh image: their content held, but more is known of them now.
    /// See [`freshened_marker`].
    pub freshen: Option<Box<Freshening>>,
    /// Why it cannot be judged.
    failure: Option<Failure>,
    /// Its params themselves cannot be had: then its rows cannot either.
    params_failed: bool,
}

impl Planned {
    /// Whether the mode does this image.
    pub fn to_do(&self, mode: Mode) -> bool {
        mode == Mode::Replace || self.report.is_stale
    }

    /// Why it fails without being tried: what cannot be judged is not updated, but replacing needs no marker.
    pub fn blocked(&self, mode: Mode) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.params_failed || mode == Mode::Incremental)
    }
}

/// The text of an image's marker with what is known of its inputs now, as [`Planned::freshen`] says; `None` where the
/// marker no longer has a receipt. Read anew: what another program wrote meanwhile stays.
pub(super) fn freshened_marker(
    dataset: &Dataset,
    marker_name: &str,
    image_id: &str,
    with: &Freshening,
) -> Result<Option<Vec<u8>>, IndexError> {
    let text = dataset.record(image_id)?.json_bytes(marker_name)?;
    Ok(text.and_then(|text| receipt::freshened(&text, with)))
}

/// Judges every image. The indexer computes params hashes while the table and the markers are read.
pub(super) fn plan(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    name: &TableName,
    workforce: &mut dyn Workforce,
    options: &PlanOptions<'_>,
) -> Result<Plan, IndexError> {
    let _ = options;
    let image_ids = dataset.image_ids()?;
    let (hashes, table, stat, markers) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let hashes = params_hashes(workforce, &image_ids);
            (hashes, workforce)
        });
        let markers = markers::read(dataset, &image_ids, &indexer.marker_name);
        let stat = dataset.table_stat(name.table());
        let table = dataset.read_table(name.table(), Some(&provenance::COLUMNS));
        // A panic over there is one over here.
        let (hashes, workforce) = asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (hashes, table, stat, markers.settle(workforce))
    });
    let (hashes, table, stat, markers) = (hashes?, table?, stat?, markers?);

    let ids: Vec<&str> = image_ids.iter().map(String::as_str).collect();
    let rows = group_rows(table.as_ref(), &ids);
    let mut images = Vec::with_capacity(ids.len());
    for (((image_id, hash), marker), rows) in image_ids.iter().zip(hashes).zip(markers).zip(rows) {
        let (hash, params_failure) = match hash {
            Some(Ok(hash)) => (Some(hash), None),
            Some(Err(failure)) => (None, Some(failure)),
            None => return Err(IndexError::Interrupted),
        };
        let (marker, marker_failure) = match marker {
            Marker::None => (None, None),
            Marker::Valid(marker) => (Some(marker), None),
            Marker::Unreadable(failure) => (None, Some(failure)),
        };
        let facts = RowFacts {
            present: rows.rows > 0,
            match_params: hash.is_some() && rows.params_hash == hash.as_deref(),
            match_version: rows.analysis_version == Some(indexer.analysis_version.as_str()),
        };
        let current =
            Current { params_hash: hash.as_deref().unwrap_or(""), analysis_version: &indexer.analysis_version };
        let judged = judge(current, facts, marker.as_ref());
        let params_failed = params_failure.is_some();
        let failure = params_failure.or(marker_failure);
        let reason = if failure.is_some() { Reason::StaleUnreadable } else { judged.reason };
        images.push(Planned {
            report: ImageReport {
                image_id: image_id.clone(),
                reason,
                is_stale: reason.is_stale(),
                has_run_marker: marker.is_some(),
                table_rows_present: facts.present,
                marker_n_rows: marker.map(|marker| marker.n_rows),
                params_hash_matches: !params_failed && judged.params_agree,
                analysis_version_matches: judged.version_agrees,
                error: failure.as_ref().map(|failure| failure.message.clone()),
                inputs: Vec::new(),
                notes: Vec::new(),
            },
            rows: rows.rows,
            reasons: if reason.is_stale() { vec![reason] } else { Vec::new() },
            freshen: None,
            failure,
            params_failed,
        });
    }
    Ok(Plan {
        images,
        table: TableFacts { stat, ..TableFacts::default() },
        broken_table: None,
        seal: SealState::Unneeded,
        intent: None,
        failures: Failures::new(),
        library_sha256: None,
    })
}

type Hashes = Vec<Option<Result<String, Failure>>>;

fn params_hashes(workforce: &mut dyn Workforce, image_ids: &[String]) -> Result<Hashes, PluginError> {
    let mut hashes: Hashes = image_ids.iter().map(|_| None).collect();
    if !image_ids.is_empty() {
        workforce.params_hashes(image_ids, &mut |index, answer| {
            if let Some(place) = hashes.get_mut(index) {
                *place = Some(answer.map(|hashed| hashed.params_hash));
            }
        })?;
    }
    Ok(hashes)
}
