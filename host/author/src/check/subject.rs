//! The indexer that is checked, and the records that it is checked with.
//!
//! Responsible for opening the records, for asking the indexer, and for what is said if it takes none of them. The checks
//! themselves stand in `checks`.

use crate::check::compare::difference;
use crate::check::report::Outcome;
use crate::check::sandbox::{Sandbox, copy_tree};
use arrow::array::RecordBatch;
use kymhost_dataset::{Dataset, DatasetError, Input, InputState, Record};
use kymhost_plugin::{Failure, FailureCause, FailureKind, Indexer, IndexerInfo};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// What the checks are done with.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub indexer: &'static dyn Indexer,
    pub program: &'a Path,
    pub library: &'a Path,
    pub sandbox: &'a Sandbox,
    pub seed: u64,
    pub timeout: Duration,
    /// Extractions over which memory is to be steady.
    pub calls: u64,
    /// The other indexers of the library.
    pub others: &'a [IndexerInfo],
}

/// An outcome on either side: `?` ends a check early.
pub(crate) type Judged = Result<Outcome, Outcome>;

impl From<DatasetError> for Outcome {
    fn from(error: DatasetError) -> Self {
        Self::skipped(format!("kymhost could not make the check ready: {error}"))
    }
}

impl From<io::Error> for Outcome {
    fn from(error: io::Error) -> Self {
        Self::skipped(format!("kymhost could not make the check ready: {error}"))
    }
}

/// A table that the indexer made of an ordinary record.
pub(crate) struct Ordinary {
    pub record: Record,
    pub rows: RecordBatch,
}

/// What the author can do about records that the indexer does not take.
pub(crate) const GIVE_DATASET: &str = "give records that it takes with --dataset PATH";

impl Subject<'_> {
    pub(crate) fn open(&self) -> Result<Dataset, Outcome> {
        Ok(Dataset::open(&self.sandbox.dataset())?)
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

    /// What hash, params and rows read of an image, or looked for; never its own run marker.
    pub(crate) fn inputs(&self, record: &Record) -> Vec<Input> {
        let watched = record.watched(&self.indexer.info().marker_name);
        let _ = self.hash(&watched);
        let _ = self.indexer.params(&watched);
        let _ = self.rows(&watched);
        watched.inputs().unwrap_or_default()
    }

    /// The ordinary records that rows can be made of, at least one.
    pub(crate) fn ordinary(&self) -> Result<Vec<Ordinary>, Outcome> {
        let mut ordinary = Vec::new();
        let mut why = None;
        for record in self.records()? {
            match self.rows(&record) {
                Ok(rows) => ordinary.push(Ordinary { record, rows }),
                Err(failure) => drop(why.get_or_insert(failure)),
            }
        }
        match why {
            Some(failure) if ordinary.is_empty() => Err(no_rows(&failure)),
            _ => Ok(ordinary),
        }
    }

    /// Ordinary records of which at least one gives rows.
    pub(crate) fn ordinary_with_rows(&self) -> Result<Vec<Ordinary>, Outcome> {
        let ordinary = self.ordinary()?;
        if ordinary.iter().all(|one| one.rows.num_rows() == 0) {
            return Err(Outcome::skipped(format!("no record gives a row; {GIVE_DATASET}")));
        }
        Ok(ordinary)
    }

    /// Ordinary records whose rows are the same when they are extracted once more.
    pub(crate) fn repeating(&self) -> Result<Vec<Ordinary>, Outcome> {
        let ordinary = self.ordinary_with_rows()?;
        for one in &ordinary {
            if !matches!(self.rows(&one.record), Ok(rows) if difference(&one.rows, &rows).is_none()) {
                return Err(Outcome::skipped("rows are not the same twice: see rows_repeat"));
            }
        }
        Ok(ordinary)
    }

    /// Records with their params hashes, at least one.
    pub(crate) fn hashes(&self) -> Result<Vec<(Record, String)>, Outcome> {
        let mut hashes = Vec::new();
        let mut why = None;
        for record in self.records()? {
            match self.hash(&record) {
                Ok(hash) => hashes.push((record, hash)),
                Err(failure) => drop(why.get_or_insert(failure)),
            }
        }
        match why {
            Some(failure) if hashes.is_empty() => Err(no_hash(&failure)),
            _ => Ok(hashes),
        }
    }

    /// Records whose params hashes are the same when they are asked for once more.
    pub(crate) fn repeating_hashes(&self) -> Result<Vec<(Record, String)>, Outcome> {
        let hashes = self.hashes()?;
        if hashes.iter().any(|(record, hash)| self.hash(record).ok().as_ref() != Some(hash)) {
            return Err(Outcome::skipped("params_hash is not the same twice: see hash_repeats"));
        }
        Ok(hashes)
    }
}

pub(crate) fn records(dataset: &Dataset) -> Result<Vec<Record>, Outcome> {
    dataset.image_ids()?.iter().map(|id| Ok(dataset.record(id)?)).collect()
}

pub(crate) fn is_undeclared(failure: &Failure) -> bool {
    matches!(failure.cause, Some(FailureCause::Undeclared { .. }))
}

pub(crate) fn is_bad_hash(failure: &Failure) -> bool {
    matches!(failure.cause, Some(FailureCause::BadHash { .. }))
}

pub(crate) fn no_rows(failure: &Failure) -> Outcome {
    let see = match failure.kind {
        FailureKind::Panic => "see extracts".to_owned(),
        FailureKind::BadTable => "see proper_table".to_owned(),
        _ if is_undeclared(failure) => "see artifacts".to_owned(),
        _ => GIVE_DATASET.to_owned(),
    };
    Outcome::skipped(format!("it takes no record ({}: {}); {see}", failure.kind, failure.message))
}

pub(crate) fn no_hash(failure: &Failure) -> Outcome {
    if is_bad_hash(failure) {
        return Outcome::skipped("it gives no proper params hash: see hash_form");
    }
    let see = if failure.kind == FailureKind::Panic { "see extracts" } else { GIVE_DATASET };
    Outcome::skipped(format!("no record has a params hash ({}: {}); {see}", failure.kind, failure.message))
}

/// The JSON artifacts among inputs, by name.
pub(crate) fn json_artifacts(inputs: &[Input]) -> Vec<String> {
    let there = inputs.iter().filter(|input| matches!(input.found, InputState::File { .. }));
    let name = |key: &str| {
        let name = key.strip_prefix("analysis/")?;
        Some(name.strip_suffix(".json").or_else(|| name.strip_suffix(".json.gz"))?.to_owned())
    };
    there.filter_map(|input| name(&input.key)).collect()
}

pub(crate) fn on_a_thread<T: Send>(work: impl Fn() -> Option<T> + Sync) -> Option<T> {
    thread::scope(|scope| scope.spawn(&work).join()).ok().flatten()
}

/// An image's folder, and a copy of it by which damage is undone.
pub(crate) struct Scratch {
    folder: PathBuf,
    copy: PathBuf,
    pub(crate) record: Record,
}

impl Scratch {
    /// The image of a record of the sandbox's dataset.
    pub(crate) fn new(subject: &Subject<'_>, record: &Record) -> Result<Self, Outcome> {
        let folder = subject.sandbox.dataset().join("images").join(record.image_id());
        let copy = subject.sandbox.out().join("as-it-was");
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
