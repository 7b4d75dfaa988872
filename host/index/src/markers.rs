//! Reading the run markers of many images, and looking again at the inputs that they record.
//!
//! Responsible for what counts as a marker, as no marker, or as an unreadable one, and for which inputs are
//! unchanged. It writes nothing.

use crate::error::IndexError;
use crate::ledger::Receipts;
use crate::receipt::{self, Freshening, ReadMarker, Receipt};
use crate::staleness::InputChanges;
use kymhost_dataset::limits::MAX_SMALL_VALUE_BYTES;
use kymhost_dataset::{Dataset, DatasetError, Input, InputCheck, Own, Record, check_input, settle};
use kymhost_plugin::{Failure, FailureKind, ParamsReading, Workforce};
use kymhost_plugin_api::{Json, RunMarker};
use kymhost_store::threads::on_threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Threads that look at images, at most: what they wait for is the disk and the system's locks, which more threads do
/// not speed up.
const MAX_THREADS: usize = 4;
/// How many images a thread takes at a time.
const BLOCK: usize = 64;

/// One image's marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Marker {
    /// There is none, or it is invalid.
    None,
    /// A valid one.
    Valid(RunMarker),
    /// There is one, but whether it is valid is not known.
    Unreadable(Failure),
}

/// What was found of one image.
#[derive(Debug)]
pub(crate) struct FoundMarker {
    pub marker: Marker,
    /// What the marker's receipt says, if it has one.
    pub receipt: Option<CachedReceipt>,
    /// Text that is not a current marker, but may have an older format that the indexer knows.
    other: Option<Vec<u8>>,
}

/// The part of a receipt that stays in memory: there may be very many.
#[derive(Debug)]
pub(crate) struct CachedReceipt {
    pub library_sha256: Arc<str>,
    pub rows_sha256: String,
    /// The image with it, as a seal knows it.
    pub mark: u64,
    pub is_adopted: bool,
    /// All inputs of the params are known and unchanged.
    pub params_hold: bool,
    /// The inputs of the rows are known.
    pub has_rows_inputs: bool,
    /// The keys of the artifacts that were made.
    pub outputs: Vec<String>,
    /// What is not exactly as recorded.
    pub drift: Option<Box<InputDrift>>,
}

/// Inputs that are not exactly as recorded.
#[derive(Debug, Default)]
pub(crate) struct InputDrift {
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub appeared: Vec<String>,
    /// Artifacts that were made, and are gone or have other content.
    pub outputs: Vec<String>,
    /// Lists with what is known about inputs now, if their content is the same.
    pub freshening: Freshening,
    /// Why an input of the rows cannot be looked at.
    pub failure: Option<Failure>,
}

impl FoundMarker {
    /// The image with its receipt, as a seal knows it; `None` if it has no receipt.
    pub fn mark(&self) -> Option<u64> {
        self.receipt.as_ref().map(|kept| kept.mark)
    }

    /// The marker's params hash, if nothing that decides it has changed.
    pub fn known_hash(&self, library_sha256: &str) -> Option<String> {
        match (&self.marker, &self.receipt) {
            (Marker::Valid(marker), Some(kept)) if kept.params_hold && *kept.library_sha256 == *library_sha256 => {
                Some(marker.params_hash.clone())
            }
            _ => None,
        }
    }

    /// Notes what the params were made from if the answer is the marker's, so that it need not be asked for again.
    pub fn learn_params(&mut self, hashed: &ParamsReading, library_sha256: &str) {
        let (Marker::Valid(marker), Some(kept)) = (&self.marker, &mut self.receipt) else { return };
        // An answer without inputs may just as well be one whose inputs are not known.
        if *kept.library_sha256 == *library_sha256 && marker.params_hash == hashed.hash && !hashed.inputs.is_empty() {
            kept.drift.get_or_insert_default().freshening.inputs.params = Some(hashed.inputs.clone());
        }
    }
}

impl InputDrift {
    pub fn changes(&self) -> InputChanges<'_> {
        InputChanges {
            changed: &self.changed,
            removed: &self.removed,
            appeared: &self.appeared,
            outputs: &self.outputs,
        }
    }
}

/// Reads each image's marker by kymflow's rules: text that is not JSON counts as unreadable.
pub(crate) fn read(dataset: &Dataset, image_ids: &[&str], marker_name: &str) -> Vec<FoundMarker> {
    let mut looked = Vec::with_capacity(image_ids.len());
    for id in image_ids {
        let payload = dataset.record(id).and_then(|record| record.json_with_bytes(marker_name));
        let (marker, other) = match payload {
            Ok(None) => (Marker::None, None),
            Ok(Some((bytes, json))) => match RunMarker::from_json(&json) {
                Some(marker) => (Marker::Valid(marker), None),
                None => (Marker::None, json.as_object().map(|_| bytes)),
            },
            Err(error) => (Marker::Unreadable(unreadable(&error)), None),
        };
        looked.push(FoundMarker { marker, receipt: None, other });
    }
    looked
}

/// Reads each image's marker by our rules, and looks again at the inputs that its receipt names.
///
/// A torn marker counts as no marker: the image is processed again. One that the system does not let us read is
/// unreadable.
pub(crate) fn read_and_check(dataset: &Dataset, image_ids: &[&str], own: Own<'_>) -> Vec<FoundMarker> {
    let parallel = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let threads = parallel.min(image_ids.len().div_ceil(BLOCK));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut library: Arc<str> = Arc::from("");
        let mut done = Vec::new();
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            let Some(ids) = image_ids.chunks(BLOCK).nth(block) else { return done };
            let looked: Vec<FoundMarker> =
                ids.iter().map(|id| read_and_check_one(dataset, id, own, &mut library)).collect();
            done.push((block, looked));
        }
    };
    let mut blocks: Vec<_> = on_threads(threads.saturating_sub(1), work).into_iter().flatten().collect();
    blocks.sort_unstable_by_key(|(block, _)| *block);
    blocks.into_iter().flat_map(|(_, looked)| looked).collect()
}

fn read_and_check_one(dataset: &Dataset, image_id: &str, own: Own<'_>, library: &mut Arc<str>) -> FoundMarker {
    let read = dataset.record(image_id).and_then(|record| Ok((record.marker_bytes(own.marker_name)?, record)));
    let (text, record) = match read {
        Ok((Some(text), record)) => (text, record),
        // A file that is not valid gzip is torn too.
        Ok((None, _)) | Err(DatasetError::Unreadable { .. }) => {
            return FoundMarker { marker: Marker::None, receipt: None, other: None };
        }
        Err(error) => {
            return FoundMarker { marker: Marker::Unreadable(unreadable(&error)), receipt: None, other: None };
        }
    };
    match receipt::read(&text) {
        Some(ReadMarker { marker, receipt }) => {
            let receipt = receipt.map(|receipt| check_receipt(&record, own, receipt, library));
            FoundMarker { marker: Marker::Valid(marker), receipt, other: None }
        }
        None => {
            let is_object =
                Json::parse_within(&text, MAX_SMALL_VALUE_BYTES).is_ok_and(|payload| payload.as_object().is_some());
            FoundMarker { marker: Marker::None, receipt: None, other: is_object.then_some(text) }
        }
    }
}

fn check_receipt(record: &Record, own: Own<'_>, receipt: Receipt, library: &mut Arc<str>) -> CachedReceipt {
    if **library != *receipt.library_sha256 {
        *library = Arc::from(receipt.library_sha256);
    }
    let mut drift = InputDrift::default();
    let params_hold = receipt.inputs.params.as_deref().is_some_and(|inputs| {
        // If an input cannot be read, the indexer is asked: it then says what is wrong.
        let Ok(changes) = check(record, own, inputs) else { return false };
        drift.freshening.inputs.params = changes.freshening;
        changes.changed.is_empty() && changes.removed.is_empty() && changes.appeared.is_empty()
    });
    if let Some(inputs) = &receipt.inputs.rows {
        match check(record, own, inputs) {
            Ok(changes) => {
                drift.freshening.inputs.rows = changes.freshening;
                (drift.changed, drift.removed, drift.appeared) = (changes.changed, changes.removed, changes.appeared);
            }
            Err(error) => drift.failure = Some(unreadable(&error)),
        }
    }
    if !receipt.outputs.is_empty() {
        match check(record, own, &receipt.outputs) {
            Ok(changes) => {
                drift.freshening.outputs = changes.freshening;
                // An output cannot appear: it existed.
                drift.outputs = [changes.changed, changes.removed].concat();
            }
            // An array of which a chunk is missing, for example: it is made again, not read.
            Err(DatasetError::Unreadable { .. }) => {
                let is_as_made = |output: &&Input| {
                    matches!(check_input(record, own, output), Ok(InputCheck::Same | InputCheck::SameContent(_)))
                };
                let others = receipt.outputs.iter().filter(|output| !is_as_made(output));
                drift.outputs = others.map(|output| output.key.clone()).collect();
            }
            Err(error) => drift.failure = Some(unreadable(&error)),
        }
    }
    let is_still = drift.failure.is_none()
        && drift.freshening == Freshening::default()
        && drift.changes() == InputChanges::default();
    CachedReceipt {
        library_sha256: Arc::clone(library),
        mark: Receipts::mark(record.image_id(), &receipt.rows_sha256),
        rows_sha256: receipt.rows_sha256,
        is_adopted: receipt.adopted.is_some(),
        params_hold,
        has_rows_inputs: receipt.inputs.rows.is_some(),
        outputs: receipt.outputs.into_iter().map(|output| output.key).collect(),
        drift: (!is_still).then(|| Box::new(drift)),
    }
}

#[derive(Default)]
struct Changes {
    changed: Vec<String>,
    removed: Vec<String>,
    appeared: Vec<String>,
    /// The inputs with what is known about them now, if that is more and all of them are unchanged.
    freshening: Option<Vec<Input>>,
}

fn check(record: &Record, own: Own<'_>, inputs: &[Input]) -> Result<Changes, DatasetError> {
    let mut changes = Changes::default();
    let mut now: Option<Vec<Input>> = None;
    for (place, input) in inputs.iter().enumerate() {
        let mut found = check_input(record, own, input)?;
        // Files that were written in the last minutes, such as a fresh copy: once they are on disk, their times count, and
        // the next look need not read them. The first such file waits for the disk, for all of them.
        let unchanged = match &found {
            InputCheck::Same => Some(input),
            InputCheck::SameContent(known) => Some(known),
            _ => None,
        };
        if settle(record, unchanged, Duration::ZERO) {
            found = check_input(record, own, input)?;
        }
        match found {
            InputCheck::Same => {}
            InputCheck::SameContent(known) => {
                // Times that are still too young to be trusted add nothing.
                if known != *input
                    && let Some(slot) = now.get_or_insert_with(|| inputs.to_vec()).get_mut(place)
                {
                    *slot = known;
                }
            }
            InputCheck::Changed(_) => changes.changed.push(input.key.clone()),
            InputCheck::Appeared(_) => changes.appeared.push(input.key.clone()),
            InputCheck::Removed => changes.removed.push(input.key.clone()),
        }
    }
    if changes.changed.is_empty() && changes.removed.is_empty() && changes.appeared.is_empty() {
        changes.freshening = now;
    }
    Ok(changes)
}

pub(crate) fn unreadable(error: &DatasetError) -> Failure {
    let kind = if error.is_shortage() { FailureKind::System } else { FailureKind::Unreadable };
    Failure::new(kind, error.to_string())
}

/// Asks the indexer about markers of an older form, all in one call. Where there are none, it is not asked.
pub(crate) fn ask_about_old(looked: &mut [FoundMarker], workforce: &mut dyn Workforce) -> Result<(), IndexError> {
    let (mut places, mut payloads) = (Vec::new(), Vec::new());
    for (place, image) in looked.iter_mut().enumerate() {
        if let Some(payload) = image.other.take() {
            places.push(place);
            payloads.push(payload);
        }
    }
    if payloads.is_empty() {
        return Ok(());
    }
    let mut answered = 0;
    workforce.read_old_markers(&payloads, &mut |index, answer| {
        answered += 1;
        let Some(image) = places.get(index).and_then(|&place| looked.get_mut(place)) else { return };
        image.marker = match answer {
            Ok(None) => Marker::None,
            Ok(Some(read)) => Marker::Valid(read),
            Err(failure) => Marker::Unreadable(failure),
        };
    })?;
    if answered < payloads.len() { Err(IndexError::Interrupted) } else { Ok(()) }
}
