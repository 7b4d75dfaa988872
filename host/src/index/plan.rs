//! Judging every image of a dataset: what `status`, a dry run and a run share.
//! Owns: what is read for it, once each. Never: writes.

use super::markers::{self, Marker};
use super::names::TableName;
use super::provenance::{self, group_rows};
use super::staleness::{Current, ImageReport, Reason, RowFacts, judge};
use super::{IndexError, Mode};
use crate::dataset::Dataset;
use crate::plugin::{Failure, IndexerInfo, PluginError, Workforce};
use crate::store::Stat;

/// Every image, judged, in id order.
pub(super) struct Plan {
    pub images: Vec<Planned>,
    /// The table that was judged by; `None` where there was none.
    pub table: Option<Stat>,
}

/// One image, judged.
pub(super) struct Planned {
    pub report: ImageReport,
    /// Its rows in the table.
    pub rows: u64,
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

/// Judges every image. The indexer computes params hashes while the table and the markers are read.
pub(super) fn plan(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    name: &TableName,
    workforce: &mut dyn Workforce,
) -> Result<Plan, IndexError> {
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
            failure,
            params_failed,
        });
    }
    Ok(Plan { images, table: stat })
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
