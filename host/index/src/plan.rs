//! Judging every image of a dataset: what `status`, a dry run and a run share.
//!
//! It reads each thing that this needs once, and writes nothing.

mod image;
mod table;

use crate::error::IndexError;
use crate::ledger::{self, Failures, Intent};
use crate::markers::{self, FoundMarker, InputDrift};
use crate::names::TableName;
use crate::options::Compat;
use crate::provenance::TableFacts;
use crate::receipt::{self, Freshening};
use crate::staleness::{self, Facts, MarkerFacts, Reason, ReceiptFacts, RowsState};
use image::JudgedImage;
pub(crate) use image::PlannedImage;
use kymhost_dataset::Dataset;
use kymhost_plugin::{Failure, IndexerInfo, ParamsReading, Workforce};
use kymhost_store::Seen;
use kymhost_store::threads::beside;
use std::collections::BTreeSet;
use std::sync::Arc;
pub(crate) use table::SealState;
use table::{ChosenImages, broken, compare_rows, read_table};

/// What a plan is made with.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanOptions<'a> {
    /// Whose rules.
    pub compat: Compat,
    /// The images of the dataset, if they are listed already.
    pub listing: Option<Arc<Vec<String>>>,
    /// Only these images are judged; those that the dataset lacks are left out.
    pub only: Option<&'a BTreeSet<String>>,
    /// A table that cannot be read counts as none (see [`Plan::broken_table`]): for a run that makes the whole table
    /// again.
    pub table_may_be_broken: bool,
}

/// Every image, judged, in id order.
#[derive(Debug)]
pub(crate) struct Plan {
    pub images: Vec<PlannedImage>,
    /// The table that was judged by; its `images` are those of the plan, in the same order.
    pub table: TableFacts,
    /// Why the table cannot be read, if it may be broken; `table` then describes no table.
    pub broken_table: Option<IndexError>,
    /// How far the table's rows are trusted.
    pub seal: SealState,
    /// The intent that a killed commit left. With [`Compat::Kymflow`] it is not read: `None`.
    pub intent: Option<Intent>,
    /// The failures of earlier runs, those of images that are not in the plan included. Not read with
    /// [`Compat::Kymflow`].
    pub failures: Failures,
    /// The library's SHA-256. Not asked for with [`Compat::Kymflow`].
    pub library_sha256: Option<String>,
}

/// A marker's new text, and what was seen of the files that it depends on.
pub(crate) type MarkerText = (Vec<u8>, Vec<Seen>);

/// The text of an image's marker with what is known about its inputs now, as [`PlannedImage::freshen`] says; `None`
/// if the marker no longer has a receipt. It is read again, so that what another program wrote in the meantime stays.
pub(crate) fn freshened_marker(
    dataset: &Dataset,
    marker_name: &str,
    image_id: &str,
    with: &Freshening,
) -> Result<Option<MarkerText>, IndexError> {
    let (text, seen) = dataset.record(image_id)?.marker_bytes_to_change(marker_name)?;
    Ok(text.and_then(|text| receipt::freshened(&text, with)).map(|text| (text, seen)))
}

/// Judges every image. By our rules the indexer is only asked about images whose answer is not known: if all answers
/// are known, no worker is started.
pub(crate) fn plan(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    name: &TableName,
    workforce: &mut dyn Workforce,
    options: &PlanOptions<'_>,
) -> Result<Plan, IndexError> {
    let listing = match &options.listing {
        Some(listing) => Arc::clone(listing),
        None => Arc::new(dataset.image_ids()?),
    };
    let all: Vec<&str> = listing.iter().map(String::as_str).collect();
    let chosen = ChosenImages::of(&all, options.only);
    let is_ours = options.compat == Compat::Kymhost;
    // Before the table: if a commit ends in between, images are then judged too strictly, never too leniently.
    let (intent, failures, seal) = match options.compat {
        Compat::Kymhost => (
            ledger::read_intent(dataset, name)?,
            ledger::read_failures(dataset, name)?,
            ledger::read_seal(dataset, name)?,
        ),
        Compat::Kymflow => (None, Failures::new(), None),
    };
    let mut hashes: Hashes = chosen.ids.iter().map(|_| None).collect();
    let ask_workers = || match options.compat {
        Compat::Kymhost => workforce.library_sha256().map(Some).map_err(IndexError::from),
        Compat::Kymflow => ask(workforce, &chosen.ids, &mut hashes, |_, _| {}).map(|()| None),
    };
    let look_at_markers = || match options.compat {
        Compat::Kymhost => markers::read_and_check(dataset, &chosen.ids, indexer.own()),
        Compat::Kymflow => markers::read(dataset, &chosen.ids, &indexer.marker_name),
    };
    let (table, (asked, mut looked)) = beside(
        || read_table(dataset, name, &all, options.table_may_be_broken),
        || beside(ask_workers, look_at_markers),
    );
    let (library_sha256, (mut table, mut broken_table)) = (asked?, table?);

    let mut state = SealState::Unneeded;
    if is_ours && broken_table.is_none() && table.identity.is_some() {
        match seal {
            Some(seal)
                if table.identity.as_ref() == Some(&seal.table)
                    && looked.iter().filter_map(FoundMarker::mark).all(|mark| seal.receipts.has(mark)) =>
            {
                state = SealState::Held { altered: seal.altered };
            }
            _ => match compare_rows(dataset, name, &all, &chosen, &mut table, &looked) {
                Ok(found) => state = found,
                Err(error) => (table, broken_table) = broken(dataset, name, &all, error, options.table_may_be_broken)?,
            },
        }
    }
    chosen.narrow(&mut table);

    markers::ask_about_old(&mut looked, workforce)?;
    if let Some(library) = &library_sha256 {
        // Images whose marker's hash cannot have changed need not be asked about.
        for (hash, image) in hashes.iter_mut().zip(&looked) {
            *hash = image.known_hash(library).map(Ok);
        }
        ask(workforce, &chosen.ids, &mut hashes, |place, reading| {
            if let Some(image) = looked.get_mut(place) {
                image.learn_params(reading, library);
            }
        })?;
    }

    let nothing = BTreeSet::new();
    let (altered, otherwise) = match &state {
        SealState::Unneeded => (&nothing, RowsState::Trusted),
        SealState::Held { altered } => (altered, RowsState::Trusted),
        SealState::Recomputed { altered, .. } => (altered, RowsState::Match),
    };
    let mut images = Vec::with_capacity(chosen.ids.len());
    for (((&image_id, hash), looked), rows) in chosen.ids.iter().zip(hashes).zip(looked).zip(&table.images) {
        let mark = looked.mark();
        let FoundMarker { marker, mut receipt, .. } = looked;
        let mut judged = JudgedImage::of(indexer, hash.ok_or(IndexError::Interrupted)?, marker, rows);
        let mut drift = receipt.as_mut().and_then(|kept| kept.drift.take());
        let is_judged = judged.failure.is_none();
        if let Some(failure) = drift.as_mut().and_then(|drift| drift.failure.take()) {
            judged.failure.get_or_insert(failure);
        }
        let facts = Facts {
            kymflow: is_judged.then_some(judged.by_kymflow),
            rows: rows.rows,
            marker: judged.marker.as_ref().map(|marker| MarkerFacts {
                is_current: judged.marker_is_current,
                n_rows: marker.n_rows,
                has_receipt: receipt.is_some(),
            }),
            rows_state: if altered.contains(image_id) { RowsState::Differ } else { otherwise },
            inputs: drift.as_deref().map(InputDrift::changes).unwrap_or_default(),
            in_intent: match &intent {
                None => false,
                Some(Intent::Unreadable) => true,
                Some(Intent::Images(images)) => images.contains_key(image_id),
            },
            last_run_failed: failures.contains_key(image_id),
            is_unreadable: judged.failure.is_some(),
        };
        let reasons = match (options.compat, facts.kymflow) {
            (Compat::Kymhost, _) => staleness::reasons(&facts),
            (Compat::Kymflow, Some(judgement)) => staleness::reasons_by_kymflow(judgement),
            (Compat::Kymflow, None) => vec![Reason::StaleUnreadable],
        };
        let keys = reasons.first().map(|first| staleness::keys_of(*first, facts.inputs).to_vec());
        let mut planned = judged.planned(image_id, rows.rows, reasons);
        planned.report.inputs = keys.unwrap_or_default();
        planned.mark = mark;
        planned.outputs = receipt.as_mut().map(|kept| std::mem::take(&mut kept.outputs)).unwrap_or_default();
        if let Some(library) = library_sha256.as_deref().filter(|_| !planned.report.is_stale) {
            planned.report.notes = staleness::notes(receipt.as_ref().map(|kept| ReceiptFacts {
                same_library: *kept.library_sha256 == *library,
                has_inputs: kept.has_rows_inputs,
                is_adopted: kept.is_adopted,
            }));
            planned.freshen =
                drift.map(|drift| drift.freshening).filter(|with| *with != Freshening::default()).map(Box::new);
        }
        images.push(planned);
    }
    Ok(Plan { images, table, broken_table, seal: state, intent, failures, library_sha256 })
}

type Hashes = Vec<Option<Result<String, Failure>>>;

/// Asks the indexer for the params hashes that are missing, in one call; `learn` sees each answer by its place. If
/// none is missing, no worker is started.
fn ask(
    workforce: &mut dyn Workforce,
    ids: &[&str],
    hashes: &mut Hashes,
    mut learn: impl FnMut(usize, &ParamsReading),
) -> Result<(), IndexError> {
    let missing = hashes.iter().zip(ids).enumerate().filter(|(_, (hash, _))| hash.is_none());
    let (places, asked): (Vec<usize>, Vec<String>) = missing.map(|(place, (_, id))| (place, (*id).to_owned())).unzip();
    if asked.is_empty() {
        return Ok(());
    }
    workforce.params_hashes(&asked, &mut |index, answer| {
        let Some(&place) = places.get(index) else { return };
        let Some(hash) = hashes.get_mut(place) else { return };
        *hash = Some(answer.map(|reading| {
            learn(place, &reading);
            reading.hash
        }));
    })?;
    if hashes.iter().any(Option::is_none) { Err(IndexError::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
