//! A run: plan, extract what is stale, commit once.
//! Owns: the order of what is written, the figures. Never: how images are judged or rows merged.

use super::locks;
use super::merge::{self, MergeError, Piece};
use super::names::TableName;
use super::plan::{Plan, plan};
use super::staleness::Reason;
use super::{ImageFailure, IndexError, Mode, Observer, RunOutcome, Stats};
use crate::dataset::{Dataset, DatasetError};
use crate::plugin::{Failure, FailureKind, IndexerInfo, Workforce};
use kymhost_plugin_api::RunMarker;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often rows are merged again because another program has written the table meanwhile.
const MAX_MERGES: usize = 5;

pub(super) fn run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    mode: Mode,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, IndexError> {
    let name = TableName::of(&indexer.name)?;
    let mut judged = plan(dataset, indexer, &name, workforce)?;
    let mut lock = None;
    if !to_extract(&judged, mode).is_empty() {
        let what = format!("{} in mode {mode}", name.indexer());
        lock = Some(locks::hold(dataset, &name, &what, Duration::ZERO, observer)?);
        // Another run may have ended between the plan and the lock.
        if dataset.table_stat(name.table())? != judged.table {
            judged = plan(dataset, indexer, &name, workforce)?;
        }
    }
    let outcome = carry_out(dataset, indexer, &name, workforce, mode, judged, observer);
    drop(lock);
    outcome
}

/// The images that the mode does and that can be tried.
fn to_extract(plan: &Plan, mode: Mode) -> Vec<String> {
    let images = plan.images.iter().filter(|image| image.to_do(mode) && image.blocked(mode).is_none());
    images.map(|image| image.report.image_id.clone()).collect()
}

fn carry_out(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    name: &TableName,
    workforce: &mut dyn Workforce,
    mode: Mode,
    plan: Plan,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, IndexError> {
    let to_do = plan.images.iter().filter(|image| image.to_do(mode)).count();
    observer.planned(to_do, plan.images.len());
    let mut failures: HashMap<String, Failure> = HashMap::new();
    for image in &plan.images {
        if let Some(failure) = image.blocked(mode).filter(|_| image.to_do(mode)) {
            observer.image_done(&image.report.image_id, Some(failure));
            failures.insert(image.report.image_id.clone(), failure.clone());
        }
    }

    let image_ids = to_extract(&plan, mode);
    let pieces = extract(workforce, &image_ids, &mut failures, observer)?;
    let updated = commit(dataset, indexer, name, pieces, &mut failures, observer)?;

    let mut stats = Stats { total_images: plan.images.len() as u64, ..Stats::default() };
    for image in &plan.images {
        let (id, reason) = (image.report.image_id.as_str(), image.report.reason);
        if !image.to_do(mode) {
            match reason {
                Reason::FreshZeroRows => stats.skipped_zero_rows += 1,
                _ => stats.skipped_fresh += 1,
            }
            continue;
        }
        stats.missing += u64::from(image.rows == 0);
        if failures.contains_key(id) {
            stats.failed += 1;
        } else if updated.contains(id) {
            stats.updated += 1;
            match reason {
                Reason::StaleMissingMarker if mode == Mode::Incremental => stats.stale_missing_marker += 1,
                Reason::StaleMarkerTableMismatch if mode == Mode::Incremental => {
                    stats.stale_marker_table_mismatch += 1;
                }
                _ => {}
            }
        } else {
            stats.not_run += 1;
        }
    }
    let failures = plan
        .images
        .iter()
        .filter_map(|image| {
            let (image_id, failure) = failures.remove_entry(&image.report.image_id)?;
            Some(ImageFailure { image_id, failure })
        })
        .collect();
    Ok(RunOutcome {
        indexer: name.indexer().to_owned(),
        mode,
        table: name.key_text(),
        stats,
        failures,
        decisions: plan.images.into_iter().map(|image| image.report).collect(),
        pruned_images: 0,
        freshened: 0,
        widened: Vec::new(),
        commits: 0,
        recomputed: false,
    })
}

/// The rows of each image, in id order; those that fail or are not begun are left out.
fn extract(
    workforce: &mut dyn Workforce,
    image_ids: &[String],
    failures: &mut HashMap<String, Failure>,
    observer: &mut dyn Observer,
) -> Result<Vec<Piece>, IndexError> {
    let mut pieces = Vec::with_capacity(image_ids.len());
    if image_ids.is_empty() {
        return Ok(pieces);
    }
    workforce.extract_rows(image_ids, &mut |index, answer| {
        if let Some(image_id) = image_ids.get(index) {
            observer.image_done(image_id, answer.as_ref().err());
            match answer {
                Ok(extracted) => pieces.push(Piece {
                    image_id: image_id.clone(),
                    params_hash: extracted.params.params_hash,
                    rows: extracted.rows,
                }),
                Err(failure) => {
                    failures.insert(image_id.clone(), failure);
                }
            }
        }
        !observer.interrupted()
    })?;
    Ok(pieces)
}

/// Writes the table, then the markers. Gives the images whose rows are now in the table.
fn commit(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    name: &TableName,
    pieces: Vec<Piece>,
    failures: &mut HashMap<String, Failure>,
    observer: &mut dyn Observer,
) -> Result<HashSet<String>, IndexError> {
    if pieces.is_empty() {
        return Ok(HashSet::new());
    }
    observer.committing();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let now = i64::try_from(now).unwrap_or(i64::MAX).max(1);
    // Markers are made ready before the table is written: an image that cannot take its marker keeps its old rows.
    let mut ready = Vec::with_capacity(pieces.len());
    let mut markers = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let n_rows = piece.rows.num_rows() as u64;
        let marker = RunMarker::new(name.indexer(), piece.params_hash.as_str(), &indexer.analysis_version, n_rows, now);
        match dataset.prepare_json(&piece.image_id, &indexer.marker_name, &marker.to_json()) {
            Ok(marker) => {
                markers.push((piece.image_id.clone(), marker));
                ready.push(piece);
            }
            Err(error) => {
                let kind = match error {
                    DatasetError::UnknownImage { .. } => FailureKind::InputChanged,
                    _ => FailureKind::Unreadable,
                };
                failures.insert(piece.image_id, Failure::new(kind, error.to_string()));
            }
        }
    }
    if ready.is_empty() {
        return Ok(HashSet::new());
    }
    let mut refused = write_rows(dataset, indexer, name, &ready)?;

    // The table first: rows without a marker are judged by what they hold, a marker without rows says that they are there.
    let mut updated = HashSet::with_capacity(markers.len());
    let mut accepted = Vec::with_capacity(markers.len());
    for (index, (image_id, marker)) in markers.into_iter().enumerate() {
        match refused.remove(&index) {
            Some(message) => {
                failures.insert(image_id, Failure::new(FailureKind::BadTable, message));
            }
            None => {
                accepted.push(marker);
                updated.insert(image_id);
            }
        }
    }
    dataset.put_json_many(&mut accepted.into_iter())?;
    Ok(updated)
}

/// Puts the pieces into the table that is there when it is replaced; gives those that do not fit it, and why.
///
/// Python takes no lock: where it has written the table between our reading and our rename, its rows are merged again.
fn write_rows(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    name: &TableName,
    pieces: &[Piece],
) -> Result<HashMap<usize, String>, IndexError> {
    for _ in 0..MAX_MERGES {
        let seen = dataset.table_stat(name.table())?;
        let old = dataset.read_table(name.table(), None)?;
        let merged =
            merge::merge(old, &indexer.analysis_version, pieces.to_vec()).map_err(|error| unwritable(name, &error))?;
        let is_written = match merged.table {
            Some(table) => dataset.replace_table(name.table(), seen, &table)?,
            None => true,
        };
        if is_written {
            return Ok(merged.refused.into_iter().map(|refused| (refused.piece, refused.why)).collect());
        }
        tracing::info!(table = name.key_text(), "another program has written the table meanwhile; merging again");
    }
    let why = format!("another program wrote it {MAX_MERGES} times while this run merged its rows; try again later");
    Err(DatasetError::Unwritable { key: name.key_text(), why }.into())
}

fn unwritable(name: &TableName, error: &MergeError) -> DatasetError {
    DatasetError::Unwritable { key: name.key_text(), why: error.to_string() }
}
