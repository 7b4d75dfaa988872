//! The indexer that is checked, and the records that it is checked with.
//!
//! Responsible for opening the records, for asking the indexer, and for the message if it accepts none of them. The checks
//! themselves stand in `checks` and `damage`.

use crate::check::compare::difference;
use crate::check::report::{Judged, Outcome};
use crate::check::sandbox::copy_tree;
use crate::check::task::Order;
use arrow::array::RecordBatch;
use kymhost_dataset::{Dataset, DatasetError, Input, InputState, Record};
use kymhost_plugin::{Failure, FailureCause, FailureKind, Indexer, IndexerInfo};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;

/// What the checks work with.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub indexer: &'static dyn Indexer,
    pub order: &'a Order,
    /// The other indexers of the library.
    pub others: &'a [IndexerInfo],
}

impl From<DatasetError> for Outcome {
    fn from(error: DatasetError) -> Self {
        Self::skipped(format!("kymhost could not prepare the check: {error}"))
    }
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Self {
        Self::skipped(format!("kymhost could not prepare the check: {error}"))
    }
}

/// What the author can do if the indexer does not accept the records.
pub(crate) const GIVE_DATASET: &str = "give records that it accepts with --dataset PATH";

/// The marker name of no indexer: a record that is watched with it shows every read.
const NO_MARKER: &str = "kymhost-check/none";

/// What an indexer answers for one record.
pub(crate) struct Answers {
    pub hash: Result<String, Failure>,
    pub rows: Result<RecordBatch, Failure>,
}

impl Answers {
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.hash.as_ref().err().into_iter().chain(self.rows.as_ref().err())
    }
}

impl Subject<'_> {
    pub(crate) fn open(&self) -> Result<Dataset, Outcome> {
        Ok(Dataset::open(&self.order.sandbox.dataset())?)
    }

    pub(crate) fn records(&self) -> Result<Vec<Record>, Outcome> {
        records(&self.open()?)
    }

    pub(crate) fn hash(&self, record: &Record) -> Result<String, Failure> {
        self.indexer.params_hash(record)
    }

    pub(crate) fn rows(&self, record: &Record) -> Result<RecordBatch, Failure> {
        self.indexer.extract_rows(record, 1, &|| false)
    }

    /// Asks for all that an indexer has to say about a record.
    pub(crate) fn ask(&self, record: &Record) -> Answers {
        let hash = self.hash(record);
        let _ = self.indexer.params(record);
        Answers { hash, rows: self.rows(record) }
    }

    /// What the indexer reads of an image, or looks for; never its own run marker.
    pub(crate) fn inputs(&self, record: &Record) -> Vec<Input> {
        let watched = record.watched(&self.indexer.info().marker_name);
        self.ask(&watched);
        watched.inputs().unwrap_or_default()
    }

    /// As [`Subject::inputs`], with what the indexer itself writes; and its answers.
    pub(crate) fn all_inputs(&self, record: &Record) -> (Vec<Input>, Answers) {
        let watched = record.watched(NO_MARKER);
        let answers = self.ask(&watched);
        (watched.inputs().unwrap_or_default(), answers)
    }

    /// The answers for all records that the indexer accepts, at least one. The check fails at a failure that is its `fault`.
    pub(crate) fn accepted<T>(
        &self,
        is_fault: impl Fn(&Failure) -> bool,
        ask: impl Fn(&Record) -> Result<T, Failure>,
    ) -> Result<Vec<(Record, T)>, Outcome> {
        let mut accepted = Vec::new();
        let mut first_failure = None;
        for record in self.records()? {
            match ask(&record) {
                Ok(answer) => accepted.push((record, answer)),
                Err(failure) if is_fault(&failure) => {
                    return Err(Outcome::failed(format!("image {}: {}", record.image_id(), failure.message)));
                }
                Err(failure) => drop(first_failure.get_or_insert(failure)),
            }
        }
        match first_failure {
            Some(failure) if accepted.is_empty() => Err(none_accepted(&failure)),
            _ => Ok(accepted),
        }
    }

    /// The records that the indexer accepts, with their rows; at least one.
    pub(crate) fn ordinary(&self) -> Result<Vec<(Record, RecordBatch)>, Outcome> {
        self.accepted(|_| false, |record| self.rows(record))
    }

    /// As [`Subject::ordinary`]; at least one record has a row.
    pub(crate) fn ordinary_with_rows(&self) -> Result<Vec<(Record, RecordBatch)>, Outcome> {
        let ordinary = self.ordinary()?;
        if ordinary.iter().all(|(_, rows)| rows.num_rows() == 0) {
            return Err(Outcome::skipped(format!("no record gives a row; {GIVE_DATASET}")));
        }
        Ok(ordinary)
    }

    /// As [`Subject::ordinary_with_rows`]; the rows are the same when they are extracted again.
    pub(crate) fn repeating(&self) -> Result<Vec<(Record, RecordBatch)>, Outcome> {
        let ordinary = self.ordinary_with_rows()?;
        if ordinary.iter().any(|one| self.rows_change(one).is_some()) {
            return Err(Outcome::skipped("rows differ when they are extracted twice: see rows_repeat"));
        }
        Ok(ordinary)
    }

    /// The records that the indexer accepts, with their params hashes; at least one.
    pub(crate) fn hashes(&self) -> Result<Vec<(Record, String)>, Outcome> {
        self.accepted(|_| false, |record| self.hash(record))
    }

    /// As [`Subject::hashes`]; the hashes are the same when they are asked for again.
    pub(crate) fn repeating_hashes(&self) -> Result<Vec<(Record, String)>, Outcome> {
        let hashes = self.hashes()?;
        if hashes.iter().any(|one| self.hash_change(one).is_some()) {
            return Err(Outcome::skipped("params_hash differs when it is asked for twice: see hash_repeats"));
        }
        Ok(hashes)
    }

    /// How the rows of a record differ now.
    pub(crate) fn rows_change(&self, (record, before): &(Record, RecordBatch)) -> Option<String> {
        let why = match self.rows(record) {
            Ok(rows) => difference(before, &rows)?,
            Err(failure) => format!("rows, then {}: {}", failure.kind, failure.message),
        };
        Some(format!("image {}: {why}", record.image_id()))
    }

    /// How the params hash of a record differs now.
    pub(crate) fn hash_change(&self, (record, before): &(Record, String)) -> Option<String> {
        let now = self.hash(record).unwrap_or_else(|failure| failure.message);
        (now != *before).then(|| format!("image {}: {before}, then {now}", record.image_id()))
    }
}

pub(crate) fn records(dataset: &Dataset) -> Result<Vec<Record>, Outcome> {
    dataset.image_ids()?.iter().map(|id| Ok(dataset.record(id)?)).collect()
}

pub(crate) fn is_panic(failure: &Failure) -> bool {
    failure.kind == FailureKind::Panic
}

pub(crate) fn is_bad_table(failure: &Failure) -> bool {
    failure.kind == FailureKind::BadTable
}

pub(crate) fn is_undeclared(failure: &Failure) -> bool {
    matches!(failure.cause, Some(FailureCause::Undeclared { .. }))
}

pub(crate) fn is_bad_hash(failure: &Failure) -> bool {
    matches!(failure.cause, Some(FailureCause::BadHash { .. }))
}

/// Why nothing can be checked, and which check looks for that.
fn none_accepted(failure: &Failure) -> Outcome {
    let help = match failure {
        _ if is_panic(failure) => "see extracts",
        _ if is_bad_table(failure) => "see proper_table",
        _ if is_undeclared(failure) => "see artifacts",
        _ if is_bad_hash(failure) => "see hash_form",
        _ => GIVE_DATASET,
    };
    Outcome::skipped(format!("it accepts none of the records ({}: {}); {help}", failure.kind, failure.message))
}

/// The names of the JSON artifacts among inputs.
pub(crate) fn json_artifacts(inputs: &[Input]) -> Vec<String> {
    let there = inputs.iter().filter(|input| matches!(input.found, InputState::File { .. }));
    let name = |key: &str| {
        let name = key.strip_prefix("analysis/")?;
        Some(name.strip_suffix(".json").or_else(|| name.strip_suffix(".json.gz"))?.to_owned())
    };
    there.filter_map(|input| name(&input.key)).collect()
}

/// Looks for a change in every record, in reverse order: here, and on another thread.
pub(crate) fn repeats<T: Sync>(records: &[T], change: impl Fn(&T) -> Option<String> + Sync) -> Judged {
    let again = || records.iter().rev().find_map(&change);
    if let Some(why) = again() {
        return Err(Outcome::failed(why));
    }
    match thread::scope(|scope| scope.spawn(again).join()) {
        Ok(Some(why)) => Err(Outcome::failed(format!("on another thread: {why}"))),
        _ => Ok(format!("{} records, three times", records.len())),
    }
}

/// An image's folder, and a copy of it to undo damage.
pub(crate) struct Scratch {
    folder: PathBuf,
    copy: PathBuf,
    pub(crate) record: Record,
}

impl Scratch {
    /// The image of a record of the sandbox's dataset.
    pub(crate) fn new(subject: &Subject<'_>, record: &Record) -> Result<Self, Outcome> {
        let sandbox = &subject.order.sandbox;
        let folder = sandbox.dataset().join("images").join(record.image_id());
        let copy = sandbox.out().join("as-it-was");
        let _ = fs::remove_dir_all(&copy);
        copy_tree(&folder, &copy)?;
        Ok(Self { folder, copy, record: record.clone() })
    }

    /// The file of a key below the image's group.
    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.folder.join(key)
    }

    /// Undoes damage to one file.
    pub(crate) fn restore_file(&self, key: &str) -> Result<(), Outcome> {
        fs::copy(self.copy.join(key), self.folder.join(key))?;
        Ok(())
    }

    /// Undoes all damage.
    pub(crate) fn restore(&self) -> Result<(), Outcome> {
        fs::remove_dir_all(&self.folder)?;
        copy_tree(&self.copy, &self.folder)?;
        Ok(())
    }
}
