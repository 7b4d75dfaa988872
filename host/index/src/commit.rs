//! One commit: puts images' new rows into the table, writes their markers and the state files.
//!
//! Responsible for what is written in which order. It does not judge images, merge rows or decide when to commit.
//!
//! Intent, artifacts, table, markers, seal, failures, and the intent goes: each is on disk before the next begins. A
//! crash leaves the old table with old markers, or a new one with an intent that names every image whose marker may
//! not be that of its rows. With kymflow's rules only table and markers are written; an indexer that makes artifacts
//! does not run by them.

use crate::artifacts::{self, KnownArtifacts, PreparedArtifacts};
use crate::error::IndexError;
use crate::ledger::{self, Failures, Identity, Intent, PastFailure, Pending, Receipts, Seal};
use crate::merge::Piece;
use crate::names::TableName;
use crate::provenance::ImageRuns;
use crate::receipt::{self, Receipt, RecordedInputs};
use crate::rewrite::{self, Change, Rewritten, Widening};
use crate::rows_digest::rows_digest;
use kymhost_dataset::{Dataset, DatasetError, Input, PreparedArtifact, PreparedJson};
use kymhost_plugin::{Extracted, Failure, FailureKind, IndexerInfo, Made, ParamsReading};
use kymhost_plugin_api::{Artifact, RunMarker};
use kymhost_store::time::epoch_ns;
use kymhost_store::{Key, Stat};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

/// How often a commit is planned again because another program has written the table in the meantime.
const MAX_REWRITES: usize = 5;

/// An image's rows, waiting for a commit.
#[derive(Debug)]
pub(crate) struct ExtractedImage {
    pub image_id: String,
    pub extracted: Extracted,
}

/// What all commits of one run share.
#[derive(Debug)]
pub(crate) struct Committer<'a> {
    dataset: &'a Dataset,
    indexer: &'a IndexerInfo,
    name: &'a TableName,
    /// What is known of the table and its images: the plan's, brought up to date by each commit.
    state: RunState,
    /// Deleted images whose rows were removed.
    gone: BTreeSet<String>,
    /// Images whose rows the next commit removes because the whole table is made again.
    leaving: BTreeSet<String>,
    /// Whether the failures that are kept are not those that are on disk.
    has_new_failures: bool,
    /// Images that failed in this run.
    pub failed: HashMap<String, Failure>,
    /// Images whose rows are in the table and whose markers say so.
    pub updated: HashSet<String>,
    /// Columns that got a wider type.
    pub widened: Vec<Widening>,
    /// Commits made.
    pub commits: u64,
    /// What commits took that were made because it was time.
    pub checkpoint_time: Duration,
    /// Whether an image was refused because a column's type could not be reconciled.
    pub had_conflicts: bool,
}

/// What a [`Committer`] knows before its first commit; each commit brings it up to date.
#[derive(Debug)]
pub(crate) struct RunState {
    /// The table that the plan judged by.
    pub table: Option<Stat>,
    /// Which image's rows stand where in that table, if the plan has read it.
    pub runs: Option<ImageRuns>,
    /// See [`crate::plan::SealState`]: the images known to be altered, if that is known for all.
    pub altered: Option<BTreeSet<String>>,
    /// The receipts that the plan found, by image: see [`Receipts::mark`].
    pub receipts: HashMap<String, u64>,
    /// The images of an intent that a killed commit left, as far as they are still there.
    pub pending: Pending,
    /// The artifacts that images' receipts name, by key; empty if the indexer makes none.
    pub outputs: HashMap<String, Vec<String>>,
    /// Images that `adopt` would take; empty if the indexer makes no artifacts.
    pub adoptable: HashSet<String>,
    /// Whether foreign artifacts are overwritten.
    pub overwrite_artifacts: bool,
    /// Deleted images whose rows leave.
    pub orphans: BTreeSet<String>,
    /// Whether all images are processed, so that a table that cannot be read may be moved away.
    pub may_move_away: bool,
    /// Whether it is known that it cannot be read.
    pub is_broken: bool,
    /// The failures of earlier runs, of images that are still there.
    pub past: Failures,
    /// The library's SHA-256; `None` with kymflow's rules.
    pub library_sha256: Option<String>,
}

impl<'a> Committer<'a> {
    pub fn new(dataset: &'a Dataset, indexer: &'a IndexerInfo, name: &'a TableName, state: RunState) -> Self {
        Self {
            dataset,
            indexer,
            name,
            state,
            gone: BTreeSet::new(),
            leaving: BTreeSet::new(),
            has_new_failures: false,
            failed: HashMap::new(),
            updated: HashSet::new(),
            widened: Vec::new(),
            commits: 0,
            checkpoint_time: Duration::ZERO,
            had_conflicts: false,
        }
    }

    /// How many deleted images' rows were removed.
    pub fn pruned(&self) -> u64 {
        self.gone.len() as u64
    }

    /// Whether a commit without rows would change the table.
    pub fn has_removals(&self) -> bool {
        !self.state.orphans.is_empty()
    }

    /// Whether the next commit removes all rows there are.
    pub fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// The next commit removes all rows, and what was done so far no longer counts.
    pub fn begin_recompute(&mut self, images: BTreeSet<String>, orphans: BTreeSet<String>) {
        self.leaving = images;
        self.state.orphans = orphans.difference(&self.gone).cloned().collect();
        self.failed.clear();
        self.updated.clear();
        self.widened.clear();
    }

    /// An image failed.
    pub fn fail(&mut self, image_id: &str, failure: Failure) {
        self.remember(image_id, &failure, true);
        self.keep_rows(image_id);
        self.failed.insert(image_id.to_owned(), failure);
    }

    /// An image failed without being tried. A failure that is already recorded is not recorded again.
    pub fn block(&mut self, image_id: &str, failure: Failure) {
        let is_new = is_new_failure(&self.state.past, self.state.library_sha256.as_deref(), image_id, &failure);
        self.remember(image_id, &failure, is_new);
        self.keep_rows(image_id);
        self.failed.insert(image_id.to_owned(), failure);
    }

    /// A failed image keeps its last good rows, even if all others are made again. A processed one keeps its new rows.
    fn keep_rows(&mut self, image_id: &str) {
        self.leaving.remove(image_id);
    }

    fn remember(&mut self, image_id: &str, failure: &Failure, is_new: bool) {
        // What the system refused says nothing about the image.
        let is_new = is_new && failure.kind != FailureKind::System;
        let Some(library_sha256) = self.state.library_sha256.clone().filter(|_| is_new) else { return };
        let past = PastFailure {
            kind: failure.kind.as_str().to_owned(),
            message: failure.message.clone(),
            library_sha256,
            utc_epoch_ns: now_ns(),
            inputs: failure.inputs.clone(),
        };
        self.state.past.insert(image_id.to_owned(), past);
        self.has_new_failures = true;
    }

    fn forget(&mut self, image_id: &str) {
        self.has_new_failures |= self.state.past.remove(image_id).is_some();
    }

    /// Forgets failures of images that are gone.
    pub fn forget_gone(&mut self, is_there: impl Fn(&str) -> bool) {
        let before = self.state.past.len();
        self.state.past.retain(|image_id, _| is_there(image_id));
        self.has_new_failures |= self.state.past.len() != before;
    }

    /// Writes the failures if they differ from those on disk.
    pub fn write_failures(&mut self) -> Result<(), IndexError> {
        if std::mem::take(&mut self.has_new_failures) {
            ledger::write_failures(self.dataset, self.name, &self.state.past)?;
        }
        Ok(())
    }

    /// Commits images' rows, in id order, and what is to be removed.
    pub fn commit(&mut self, done: Vec<ExtractedImage>) -> Result<(), IndexError> {
        let mut change = Change { analysis_version: self.indexer.analysis_version.clone(), ..Change::default() };
        let (done, made) = self.prepare_artifacts(done);
        // What must be known as ours after a kill.
        let making: Pending =
            made.iter().map(|(image_id, artifacts)| (image_id.clone(), intended(artifacts))).collect();
        let (mut done, mut outputs) = (done, HashMap::new());
        if !made.is_empty() {
            self.begin_intent(done.iter().map(|done| &done.image_id), &making)?;
            let written = artifacts::write(self.dataset, self.indexer, made, &self.state.outputs, &self.state.pending)?;
            outputs = written.outputs;
            done.retain(|done| !written.differing.contains(&done.image_id));
            for image_id in &written.differing {
                self.fail(image_id, Failure::new(FailureKind::InputChanged, artifacts::CHANGED_MEANWHILE.to_owned()));
            }
        }
        let mut written: HashMap<String, Vec<String>> = outputs
            .iter()
            .map(|(image_id, list)| (image_id.clone(), list.iter().map(|output| output.key.clone()).collect()))
            .collect();
        let markers = self.ready(done, outputs, &mut change);
        if change.pieces.is_empty() && (self.state.orphans.is_empty() || self.state.is_broken) {
            if !making.is_empty() {
                self.end_intent(making)?;
            }
            return self.write_failures();
        }
        change.remove = self.state.orphans.clone();
        change.remove_if_all_fit = self.leaving.clone();
        // They are true of the table that the plan has read; after the first commit it is another.
        change.runs = self.state.runs.take();
        if let Some(library_sha256) = &self.state.library_sha256 {
            change.metadata = vec![
                ("kymhost.indexer".to_owned(), self.name.indexer().to_owned()),
                ("kymhost.analysis_version".to_owned(), self.indexer.analysis_version.clone()),
                ("kymhost.library_sha256".to_owned(), library_sha256.clone()),
            ];
        }

        if making.is_empty() {
            self.begin_intent(change.pieces.iter().map(|piece| &piece.image_id), &making)?;
        }
        let rewritten = self.rewrite(&change, making.is_empty())?;

        // The table first: rows without a marker are judged by what they hold, a marker without rows says that they
        // are there.
        let mut refused: HashMap<usize, String> =
            rewritten.refused.into_iter().map(|refused| (refused.piece, refused.why)).collect();
        let mut accepted = Vec::with_capacity(markers.len());
        for (index, (piece, marker)) in change.pieces.into_iter().zip(markers).enumerate() {
            match refused.remove(&index) {
                Some(message) => {
                    self.had_conflicts = true;
                    self.fail(&piece.image_id, Failure::new(FailureKind::BadTable, message));
                }
                None => {
                    let (marker, receipt) = marker;
                    accepted.push(marker);
                    self.state.receipts.extend(receipt.map(|receipt| (piece.image_id.clone(), receipt)));
                    // The image may be done once more by this run: what it made now is its own then.
                    match written.remove(&piece.image_id) {
                        Some(keys) => self.state.outputs.insert(piece.image_id.clone(), keys),
                        None => self.state.outputs.remove(&piece.image_id),
                    };
                    self.settled(piece.image_id);
                }
            }
        }
        self.commits += u64::from(!accepted.is_empty() || !self.state.orphans.is_empty());
        self.dataset.put_json_many(&mut accepted.into_iter())?;

        for gone in std::mem::take(&mut self.state.orphans) {
            if let Some(altered) = &mut self.state.altered {
                altered.remove(&gone);
            }
            self.gone.insert(gone);
        }
        // Where not all fits, because of the rows of an image that failed, those that are still to be done keep
        // theirs, too.
        if rewritten.made_room {
            self.leaving.clear();
        }
        for widening in rewritten.widened {
            match self.widened.iter_mut().find(|earlier| earlier.column == widening.column) {
                Some(earlier) => earlier.to = widening.to,
                None => self.widened.push(widening),
            }
        }
        if self.state.library_sha256.is_some() {
            self.seal(rewritten.table)?;
            self.write_failures()?;
        }
        self.end_intent(making)
    }

    /// Prepares artifacts before anything is written. An image whose artifacts cannot be written, or would replace
    /// foreign ones, fails.
    fn prepare_artifacts(&mut self, done: Vec<ExtractedImage>) -> (Vec<ExtractedImage>, PreparedArtifacts) {
        if self.indexer.writes.is_empty() {
            return (done, PreparedArtifacts::new());
        }
        let (mut kept, mut prepared) = (Vec::with_capacity(done.len()), PreparedArtifacts::new());
        for mut done in done {
            let made = std::mem::take(&mut done.extracted.artifacts);
            match self.prepare_artifacts_of(&done.image_id, &made) {
                Ok(artifacts) => {
                    prepared.insert(done.image_id.clone(), artifacts);
                    kept.push(done);
                }
                Err(failure) => self.fail(&done.image_id, failure),
            }
        }
        (kept, prepared)
    }

    fn prepare_artifacts_of(&self, image_id: &str, made: &[Made]) -> Result<Vec<PreparedArtifact>, Failure> {
        let failed = |error: DatasetError| Failure::new(FailureKind::Error, error.to_string());
        let record = self.dataset.record(image_id).map_err(failed)?;
        // Before it is asked whose they are: what another program puts there from now on is seen by the write.
        let mut seen = Vec::with_capacity(made.len());
        for made in made {
            seen.push(record.see_artifact(&made.name, made.payload.kind()).map_err(failed)?);
        }
        if !self.state.overwrite_artifacts {
            let declared: Vec<Artifact> =
                made.iter().map(|made| Artifact::new(made.name.as_str(), made.payload.kind())).collect();
            // FoundMarker at before the run began, too; but that is a while ago.
            let known = KnownArtifacts {
                recorded: self.state.outputs.get(image_id).map(Vec::as_slice).unwrap_or_default(),
                interrupted: self.state.pending.get(image_id),
            };
            if let Some(key) = artifacts::foreign(self.dataset, image_id, &declared, known).map_err(failed)? {
                return Err(artifacts::refusal(self.dataset, image_id, &key, self.state.adoptable.contains(image_id)));
            }
        }
        made.iter()
            .zip(seen)
            .map(|(made, seen)| {
                self.dataset.prepare_artifact(image_id, &made.name, &made.payload, seen).map_err(failed)
            })
            .collect()
    }

    /// Prepares markers, each with its receipt as a seal knows it, before anything is written: an image that cannot
    /// take its marker keeps its old rows.
    fn ready(
        &mut self,
        done: Vec<ExtractedImage>,
        mut outputs: HashMap<String, Vec<Input>>,
        change: &mut Change,
    ) -> Vec<(PreparedJson, Option<u64>)> {
        let now = now_ns();
        let mut markers = Vec::with_capacity(done.len());
        for ExtractedImage { image_id, extracted: Extracted { rows, params, inputs, .. } } in done {
            let ParamsReading { hash: params_hash, value: params, inputs: params_inputs } = params;
            let version = &self.indexer.analysis_version;
            let marker =
                RunMarker::new(self.name.indexer(), params_hash.as_str(), version, rows.num_rows() as u64, now);
            let (payload, mark) = match &self.state.library_sha256 {
                None => (marker.to_json(), None),
                Some(library_sha256) => {
                    let receipt = Receipt {
                        format: receipt::FORMAT,
                        library_sha256: library_sha256.clone(),
                        rows_sha256: rows_digest(&rows),
                        params,
                        inputs: RecordedInputs { params: Some(params_inputs), rows: Some(inputs) },
                        outputs: outputs.remove(&image_id).unwrap_or_default(),
                        adopted: None,
                    };
                    let mark = Receipts::mark(&image_id, &receipt.rows_sha256);
                    (receipt::to_json(&marker, receipt), Some(mark))
                }
            };
            let marker_name = &self.indexer.marker_name;
            let prepared = match &self.state.library_sha256 {
                // kymflow saves a marker as it saves any artifact.
                None => self.dataset.prepare_json(&image_id, marker_name, &payload),
                Some(_) => self.dataset.prepare_marker(&image_id, marker_name, &payload),
            };
            match prepared {
                Ok(marker) => {
                    markers.push((marker, mark));
                    change.pieces.push(Piece { image_id, params_hash, rows });
                }
                Err(error @ DatasetError::UnknownImage { .. }) => {
                    // Deleted in the meantime: no run should try it again.
                    self.forget(&image_id);
                    self.state.pending.remove(&image_id);
                    self.failed.insert(image_id, Failure::new(FailureKind::InputChanged, error.to_string()));
                }
                Err(error) => self.fail(&image_id, crate::markers::unreadable(&error)),
            }
        }
        markers
    }

    fn begin_intent<'i>(&self, images: impl Iterator<Item = &'i String>, making: &Pending) -> Result<(), IndexError> {
        let mut intended = self.state.pending.clone();
        let mut has_any = false;
        for image_id in images {
            has_any = true;
            // What an older commit was writing may still stand there.
            let artifacts = intended.entry(image_id.clone()).or_default();
            artifacts
                .extend(making.get(image_id).into_iter().flatten().map(|(key, sha256)| (key.clone(), sha256.clone())));
        }
        if self.state.library_sha256.is_none() || !has_any {
            return Ok(());
        }
        ledger::write_intent(self.dataset, self.name, &intended)
    }

    /// The commit is over: its intent is removed, or reduced to the images that are not done. Among these are images
    /// whose artifacts were written, but neither rows nor marker.
    fn end_intent(&mut self, making: Pending) -> Result<(), IndexError> {
        if self.state.library_sha256.is_none() {
            return Ok(());
        }
        for (image_id, artifacts) in making {
            if self.failed.contains_key(&image_id) {
                self.state.pending.entry(image_id).or_default().extend(artifacts);
            }
        }
        ledger::write_intent(self.dataset, self.name, &self.state.pending)
    }

    /// If the table is certainly unchanged, nothing was interrupted.
    fn take_back_intent(&self, change: &Change) {
        if self.state.library_sha256.is_none() || change.pieces.is_empty() {
            return;
        }
        let is_as_it_was = self.dataset.table_stat(self.name.table()).is_ok_and(|stat| stat == self.state.table);
        if is_as_it_was && let Err(error) = ledger::write_intent(self.dataset, self.name, &self.state.pending) {
            tracing::warn!(%error, table = self.name.key_text(), "images stay marked as interrupted");
        }
    }

    /// Rewrites the table. Python takes no lock: if it has written the table in the meantime, the change is planned
    /// again on top of what is there. `may_take_back`: nothing but the intent was written so far.
    fn rewrite(&mut self, change: &Change, may_take_back: bool) -> Result<Rewritten, IndexError> {
        for _ in 0..MAX_REWRITES {
            if std::mem::take(&mut self.state.is_broken) {
                self.move_away()?;
            }
            let seen = self.dataset.table_stat(self.name.table())?;
            if seen != self.state.table {
                // No plan has seen these rows, so nothing is known about them.
                self.state.altered = None;
                self.state.table = seen;
            }
            match rewrite::rewrite(self.dataset, self.name, seen, change) {
                Ok(Some(rewritten)) => {
                    self.state.table = self.dataset.table_stat(self.name.table())?;
                    return Ok(rewritten);
                }
                Ok(None) => {
                    self.state.altered = None;
                    let table = self.name.key_text();
                    tracing::info!(
                        table,
                        "another program has changed the table in the meantime; planning the commit again"
                    );
                }
                Err(error) if self.state.may_move_away && error.is_broken_table() => {
                    tracing::warn!(%error, "the table is made again");
                    self.state.is_broken = true;
                }
                Err(error) => {
                    if may_take_back {
                        self.take_back_intent(change);
                    }
                    return Err(error);
                }
            }
        }
        self.state.table = self.dataset.table_stat(self.name.table())?;
        if may_take_back {
            self.take_back_intent(change);
        }
        Err(IndexError::BusyTable { table: self.name.key_text(), tries: MAX_REWRITES })
    }

    /// Moves a table that cannot be read away, so that a person can still look at it.
    fn move_away(&mut self) -> Result<(), IndexError> {
        let now = jiff::Timestamp::now();
        let aside = format!(
            "index/kymhost/aside/{}-{}.{:09}.parquet",
            self.name.table(),
            now.strftime("%Y%m%dT%H%M%S"),
            now.subsec_nanosecond()
        );
        let aside = Key::new(aside).map_err(DatasetError::from)?;
        let store = self.dataset.store();
        if store.rename(&self.name.key()?, &aside).map_err(DatasetError::from)? {
            tracing::warn!(table = self.name.key_text(), aside = %store.describe(&aside), "moved a table that cannot be read away");
        }
        self.state.table = None;
        self.state.may_move_away = false;
        // All its rows are gone; a marker that counts some is stale by their number.
        self.state.altered = Some(BTreeSet::new());
        Ok(())
    }

    fn settled(&mut self, image_id: String) {
        self.state.pending.remove(&image_id);
        if let Some(altered) = &mut self.state.altered {
            altered.remove(&image_id);
        }
        self.forget(&image_id);
        self.failed.remove(&image_id);
        self.keep_rows(&image_id);
        self.updated.insert(image_id);
    }

    /// Seals the table if its rows are known to be those of the markers.
    fn seal(&mut self, table: Option<Identity>) -> Result<(), IndexError> {
        let is_ours = match (&table, &self.state.table) {
            (Some(identity), Some(stat)) => *identity == Identity::of(stat, &identity.footer_sha256),
            (None, None) => true,
            _ => false,
        };
        if !is_ours {
            self.state.altered = None;
        }
        match (table, &self.state.altered) {
            (Some(table), Some(altered)) => {
                let receipts = self.state.receipts.values().copied().collect();
                ledger::write_seal(self.dataset, self.name, &Seal { table, altered: altered.clone(), receipts })
            }
            _ => ledger::remove_seal(self.dataset, self.name),
        }
    }

    /// Writes a seal for a table whose digests the plan has computed, if no commit was needed.
    pub fn seal_what_was_verified(&mut self, identity: Option<Identity>) -> Result<(), IndexError> {
        if self.commits == 0 && identity.is_some() && self.dataset.table_stat(self.name.table())? == self.state.table {
            self.seal(identity)?;
        }
        Ok(())
    }
}

/// Whether the recorded failures do not have this one.
pub(crate) fn is_new_failure(past: &Failures, library_sha256: Option<&str>, image_id: &str, failure: &Failure) -> bool {
    library_sha256.is_some_and(|library_sha256| {
        past.get(image_id).is_none_or(|past| {
            past.kind != failure.kind.as_str()
                || past.message != failure.message
                || past.library_sha256 != library_sha256
        })
    })
}

/// Now, in nanoseconds since the Unix epoch: at least 1, as markers must have it.
pub(crate) fn now_ns() -> i64 {
    epoch_ns(SystemTime::now()).max(1)
}

/// The images of an intent that are still there.
pub(crate) fn pending(intent: Option<&Intent>, images: &[&str]) -> Pending {
    let named = |image: &&str| match intent {
        None => None,
        Some(Intent::Unreadable) => Some(((*image).to_owned(), BTreeMap::new())),
        Some(Intent::Images(named)) => named.get_key_value(*image).map(|(image, made)| (image.clone(), made.clone())),
    };
    images.iter().filter_map(named).collect()
}

/// What an intent says of artifacts that are to be written.
fn intended(artifacts: &[PreparedArtifact]) -> BTreeMap<String, String> {
    artifacts.iter().map(|artifact| (artifact.key().to_owned(), artifact.sha256().to_owned())).collect()
}
