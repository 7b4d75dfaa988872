//! Judging every image of a dataset: what `status`, a dry run and a run share.
//! Owns: what is read for it, once each. Never: writes.

use crate::error::IndexError;
use crate::ledger::{self, Failures, Intent};
use crate::markers::{self, Looked, Marker, Moved};
use crate::names::TableName;
use crate::options::{Compat, Mode};
use crate::provenance::{self, ImageFacts, TableFacts};
use crate::receipt::{self, Freshening};
use crate::rows_digest;
use crate::staleness::{
    self, Current, Facts, ImageReport, Judgement, MarkerFacts, Reason, ReceiptFacts, RowFacts, RowsState, judge,
};
use kymhost_dataset::Dataset;
use kymhost_plugin::{Failure, IndexerInfo, ParamsReading, Workforce};
use kymhost_plugin_api::RunMarker;
use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;

/// What a plan is made with.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlanOptions<'a> {
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
pub(crate) struct Plan {
    pub images: Vec<Planned>,
    /// The table that was judged by; its `images` are those of the plan, in the same order.
    pub table: TableFacts,
    /// Why the table cannot be read, where it may be broken; `table` is then that of no table.
    pub broken_table: Option<IndexError>,
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
pub(crate) enum SealState {
    /// There is no table, or none of its images' markers has a receipt of ours, or ours are not the rules: there is nothing to
    /// compare.
    Unneeded,
    /// The seal's identity is the table's, and it knows all receipts: rows are trusted, less these images' (which may be of
    /// any image of the table).
    Held {
        /// See [`crate::ledger::Seal::altered`].
        altered: BTreeSet<String>,
    },
    /// The seal is missing or broken, or there is a receipt that it does not know. All digests were computed and compared with the markers.
    Recomputed {
        /// The images whose rows are not those of their markers.
        altered: BTreeSet<String>,
        /// Whether all images were compared. With [`PlanOptions::only`] they were not, nor where a marker cannot be read: then
        /// `altered` is no ground for a new seal.
        is_complete: bool,
    },
}

/// One image, judged.
#[derive(Debug)]
pub(crate) struct Planned {
    pub report: ImageReport,
    /// Its rows in the table.
    pub rows: u64,
    /// Every reason that holds, that of the report first; none where it is fresh.
    pub reasons: Vec<Reason>,
    /// Its marker's receipt, as a seal knows it.
    pub mark: Option<u64>,
    /// The inputs to be written into the marker of a fresh image: their content held, but more is known of them now.
    /// See [`freshened_marker`].
    pub freshen: Option<Box<Freshening>>,
    /// The keys of the artifacts that its marker's receipt says were made.
    pub outputs: Vec<String>,
    /// Why it cannot be judged.
    failure: Option<Failure>,
    /// Its params themselves cannot be had: then its rows cannot either.
    params_failed: bool,
}

impl Planned {
    /// Why it fails without being tried: what cannot be judged is not updated, but replacing needs no marker.
    pub fn blocked(&self, mode: Mode) -> Option<&Failure> {
        self.failure.as_ref().filter(|_| self.params_failed || mode == Mode::Incremental)
    }

    /// Whether `adopt` would take it: it has rows, or a run found none and there are none.
    pub fn can_be_adopted(&self) -> bool {
        self.report.is_stale && (self.rows > 0 || self.report.marker_n_rows == Some(0))
    }
}

/// The text of an image's marker with what is known of its inputs now, as [`Planned::freshen`] says; `None` where the
/// marker no longer has a receipt. Read anew: what another program wrote meanwhile stays.
pub(crate) fn freshened_marker(
    dataset: &Dataset,
    marker_name: &str,
    image_id: &str,
    with: &Freshening,
) -> Result<Option<Vec<u8>>, IndexError> {
    let text = dataset.record(image_id)?.json_bytes(marker_name)?;
    Ok(text.and_then(|text| receipt::freshened(&text, with)))
}

/// Judges every image. Under our rules the indexer is asked only where its answer is not known already: where it is known
/// for all images, no worker is started.
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
    let chosen = Chosen::of(&all, options.only);
    let is_ours = options.compat == Compat::Kymhost;
    // Before the table: what a commit that ends meanwhile leaves is then judged too strictly, never too kindly.
    let (intent, failures, seal) = match options.compat {
        Compat::Kymhost => (
            ledger::read_intent(dataset, name)?,
            ledger::read_failures(dataset, name)?,
            ledger::read_seal(dataset, name)?,
        ),
        Compat::Kymflow => (None, Failures::new(), None),
    };
    let mut hashes: Hashes = chosen.ids.iter().map(|_| None).collect();
    let (asked, mut looked, table) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_table(dataset, name, &all, options));
        let asking = scope.spawn(|| match options.compat {
            Compat::Kymhost => workforce.library_sha256().map(Some).map_err(IndexError::from),
            Compat::Kymflow => ask(workforce, &chosen.ids, &mut hashes, |_, _| {}).map(|()| None),
        });
        let looked = match options.compat {
            Compat::Kymhost => markers::look(dataset, &chosen.ids, indexer.own()),
            Compat::Kymflow => markers::read(dataset, &chosen.ids, &indexer.marker_name),
        };
        // Propagate panics from the other threads.
        let asked = asking.join().unwrap_or_else(|panic| resume_unwind(panic));
        let table = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
        (asked, looked, table)
    });
    let (library_sha256, (mut table, mut broken_table)) = (asked?, table?);

    let mut state = SealState::Unneeded;
    if is_ours && broken_table.is_none() && table.identity.is_some() {
        match seal {
            Some(seal)
                if table.identity.as_ref() == Some(&seal.table)
                    && looked.iter().filter_map(Looked::mark).all(|mark| seal.receipts.has(mark)) =>
            {
                state = SealState::Held { altered: seal.altered };
            }
            _ => match compare_rows(dataset, name, &all, &chosen, &mut table, &looked) {
                Ok(found) => state = found,
                Err(error) => (table, broken_table) = broken(dataset, name, &all, error, options)?,
            },
        }
    }
    chosen.narrow(&mut table);

    markers::settle(&mut looked, workforce)?;
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
        let Looked { marker, mut receipt, .. } = looked;
        let mut judged = Judged::of(indexer, hash.ok_or(IndexError::Interrupted)?, marker, rows);
        let mut moved = receipt.as_mut().and_then(|kept| kept.moved.take());
        let is_judged = judged.failure.is_none();
        if let Some(failure) = moved.as_mut().and_then(|moved| moved.failure.take()) {
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
            inputs: moved.as_deref().map(Moved::changes).unwrap_or_default(),
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
                moved.map(|moved| moved.freshening).filter(|with| *with != Freshening::default()).map(Box::new);
        }
        images.push(planned);
    }
    Ok(Plan { images, table, broken_table, seal: state, intent, failures, library_sha256 })
}

/// The images that are judged.
struct Chosen<'a> {
    ids: Vec<&'a str>,
    /// Their places among all images; `None`: they are all.
    places: Option<Vec<usize>>,
}

impl<'a> Chosen<'a> {
    fn of(all: &[&'a str], only: Option<&BTreeSet<String>>) -> Self {
        let Some(only) = only else { return Self { ids: all.to_vec(), places: None } };
        let (places, ids) =
            all.iter().enumerate().filter(|(_, id)| only.contains(**id)).map(|(at, id)| (at, *id)).unzip();
        Self { ids, places: Some(places) }
    }

    /// Leaves of what was read of the table what is about them.
    fn narrow(&self, table: &mut TableFacts) {
        if let Some(places) = &self.places {
            table.images = places.iter().map(|&at| table.images.get(at).cloned().unwrap_or_default()).collect();
        }
    }
}

/// The table's facts, or why it cannot be read, where it may be broken.
fn read_table(
    dataset: &Dataset,
    name: &TableName,
    all: &[&str],
    options: &PlanOptions<'_>,
) -> Result<(TableFacts, Option<IndexError>), IndexError> {
    match provenance::read(dataset, name, all) {
        Ok(facts) => Ok((facts, None)),
        Err(error) => broken(dataset, name, all, error, options),
    }
}

fn broken(
    dataset: &Dataset,
    name: &TableName,
    all: &[&str],
    error: IndexError,
    options: &PlanOptions<'_>,
) -> Result<(TableFacts, Option<IndexError>), IndexError> {
    match error {
        error if options.table_may_be_broken && error.is_broken_table() => {
            let stat = dataset.table_stat(name.table())?;
            let images = vec![ImageFacts::default(); all.len()];
            Ok((TableFacts { stat, images, ..TableFacts::default() }, Some(error)))
        }
        error => Err(error),
    }
}

/// How often the table is read again because another program has written it between two looks at it.
const MAX_LOOKS: usize = 5;

/// Compares the rows of a table whose seal does not hold with the receipts. `table` is read again where its digests are those
/// of a newer table.
fn compare_rows(
    dataset: &Dataset,
    name: &TableName,
    all: &[&str],
    chosen: &Chosen<'_>,
    table: &mut TableFacts,
    looked: &[Looked],
) -> Result<SealState, IndexError> {
    // A marker that was not read may have a receipt, as may those of images that were not looked at.
    let is_unread = |image: &Looked| matches!(image.marker, Marker::Unreadable(_));
    let is_complete = chosen.places.is_none() && !looked.iter().any(is_unread);
    if !looked.iter().any(|image| image.receipt.is_some()) {
        return Ok(match is_complete {
            true => SealState::Unneeded,
            false => SealState::Recomputed { altered: BTreeSet::new(), is_complete },
        });
    }
    let mut digests = rows_digest::table_digests(dataset, name)?;
    for _ in 0..MAX_LOOKS {
        if dataset.table_stat(name.table())? == table.stat {
            break;
        }
        *table = provenance::read(dataset, name, all)?;
        digests = rows_digest::table_digests(dataset, name)?;
    }
    // An image without rows has no digest, but it is counted.
    let differs = |(id, image): (&&str, &Looked)| {
        let receipt = image.receipt.as_ref()?;
        let digest = digests.get(*id)?;
        (*digest != receipt.rows_sha256).then(|| (*id).to_owned())
    };
    let altered = chosen.ids.iter().zip(looked).filter_map(differs).collect();
    Ok(SealState::Recomputed { altered, is_complete })
}

type Hashes = Vec<Option<Result<String, Failure>>>;

/// Asks the indexer for the params hashes that are missing, in one call; `learn` sees each answer by its place. If none is
/// missing, no worker is started.
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

/// One image by kymflow's rules.
struct Judged {
    by_kymflow: Judgement,
    marker: Option<RunMarker>,
    marker_is_current: bool,
    rows_present: bool,
    failure: Option<Failure>,
    params_failed: bool,
}

impl Judged {
    fn of(indexer: &IndexerInfo, hash: Result<String, Failure>, marker: Marker, rows: &ImageFacts) -> Self {
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

    fn planned(self, image_id: &str, rows: u64, reasons: Vec<Reason>) -> Planned {
        let reason = reasons.first().copied().unwrap_or(self.by_kymflow.reason);
        Planned {
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
