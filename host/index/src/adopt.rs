//! `adopt`: rows that are there count as fresh, because a person says so.
//!
//! Responsible for which images can be adopted and for what their markers then say. It extracts no rows.
//!
//! Only the rows' provenance columns are rewritten, and the markers. The order is that of a run: intent, table,
//! markers, seal, failures, and the intent goes.

use crate::artifacts;
use crate::commit;
use crate::error::IndexError;
use crate::ledger::{self, Identity, Receipts, Seal};
use crate::locks;
use crate::names::TableName;
use crate::observer::{ImageFailure, Observer};
use crate::plan::{self, Plan, PlanOptions, PlannedImage};
use crate::receipt::{self, Adoption, Receipt, RecordedInputs};
use crate::rewrite::{self, Change};
use crate::rows_digest;
use crate::select;
use kymhost_dataset::{Dataset, DatasetError, Input, Own, PreparedJson, Record};
use kymhost_plugin::{Failure, FailureKind, IndexerInfo, ParamsReading, Workforce};
use kymhost_plugin_api::RunMarker;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How often all is read again because another program has written the table in the meantime.
const MAX_TRIES: usize = 5;

/// What `adopt` does.
#[derive(Debug, Clone)]
pub struct AdoptOptions {
    /// Only these images; default: all that have rows, or a marker of a run without rows.
    pub images: Option<BTreeSet<String>>,
    /// Why, for the markers.
    pub reason: String,
    /// How long to wait for another run to release the table.
    pub wait: Duration,
}

impl AdoptOptions {
    /// All images that can be adopted.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { images: None, reason: reason.into(), wait: Duration::ZERO }
    }
}

/// What `adopt` did.
#[derive(Debug, Clone)]
pub struct AdoptOutcome {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key.
    pub table: String,
    /// Images that are fresh from now on.
    pub adopted: u64,
    /// Images that were fresh already.
    pub already_fresh: u64,
    /// Images without rows and without a marker of a run that found none: they have nothing to adopt.
    pub nothing_to_adopt: u64,
    /// Images that could not be adopted, in id order.
    pub failures: Vec<ImageFailure>,
}

/// Marks existing rows as up to date: their provenance columns get the current values, and the markers keep the old
/// values and the reason.
pub fn adopt(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &AdoptOptions,
    observer: &mut dyn Observer,
) -> Result<AdoptOutcome, IndexError> {
    let name = TableName::of(&indexer.name)?;
    let listing = Arc::new(dataset.image_ids()?);
    select::check_images(options.images.as_ref(), &listing)?;
    let library_sha256 = workforce.library_sha256()?;
    // All images, even if few are adopted: a seal is about the whole table.
    let plan_options = PlanOptions { listing: Some(listing), ..PlanOptions::default() };
    let mut work = Adopter { dataset, indexer, name: &name, library_sha256, options };
    let plan = plan::plan(dataset, indexer, &name, workforce, &plan_options)?;
    if !plan.images.iter().any(|image| work.is_selected(image) && image.can_be_adopted()) {
        return Ok(work.outcome(&plan));
    }
    let what = format!("adopting rows of {}", name.indexer());
    let _lock = locks::hold(dataset, &name, &what, options.wait, observer)?;
    for _ in 0..MAX_TRIES {
        // Plan again: another run may have ended between the plan and the lock, or Python may have written the table.
        let plan = plan::plan(dataset, indexer, &name, workforce, &plan_options)?;
        if let Some(outcome) = work.adopt(plan, workforce)? {
            return Ok(outcome);
        }
        tracing::info!(
            table = name.key_text(),
            "another program has changed the table in the meantime; adopting again"
        );
    }
    Err(IndexError::BusyTable { table: name.key_text(), tries: MAX_TRIES })
}

struct Adopter<'a> {
    dataset: &'a Dataset,
    indexer: &'a IndexerInfo,
    name: &'a TableName,
    library_sha256: String,
    options: &'a AdoptOptions,
}

/// An image that is ready to be adopted.
struct PreparedAdoption {
    image_id: String,
    params_hash: String,
    /// Whether its rows do not say so yet.
    is_to_relabel: bool,
    marker: PreparedJson,
    /// Its receipt, as a seal knows it.
    mark: u64,
}

impl Adopter<'_> {
    fn is_selected(&self, image: &PlannedImage) -> bool {
        self.options.images.as_ref().is_none_or(|images| images.contains(&image.report.image_id))
    }

    fn outcome(&self, plan: &Plan) -> AdoptOutcome {
        let selected = || plan.images.iter().filter(|image| self.is_selected(image));
        let already_fresh = selected().filter(|image| !image.report.is_stale).count() as u64;
        let can = selected().filter(|image| image.can_be_adopted()).count() as u64;
        AdoptOutcome {
            indexer: self.name.indexer().to_owned(),
            table: self.name.key_text(),
            adopted: 0,
            already_fresh,
            nothing_to_adopt: selected().count() as u64 - already_fresh - can,
            failures: Vec::new(),
        }
    }

    /// `None`: the table is no longer the one that was planned with, and nothing was written.
    fn adopt(&mut self, plan: Plan, workforce: &mut dyn Workforce) -> Result<Option<AdoptOutcome>, IndexError> {
        let mut outcome = self.outcome(&plan);
        let (candidates, facts): (Vec<_>, Vec<_>) = plan
            .images
            .iter()
            .zip(&plan.table.images)
            .filter(|(image, _)| self.is_selected(image) && image.can_be_adopted())
            .unzip();
        let ids: Vec<String> = candidates.iter().map(|image| image.report.image_id.clone()).collect();
        let mut hashes = hashes(workforce, &ids)?;
        let digests = match candidates.iter().any(|image| image.rows > 0) {
            true => rows_digest::table_digests(self.dataset, self.name)?,
            false => HashMap::new(),
        };
        if self.dataset.table_stat(self.name.table())? != plan.table.stat {
            return Ok(None);
        }

        let now = commit::now_ns();
        let version = self.indexer.analysis_version.as_str();
        let mut failures = BTreeMap::new();
        let mut ready = Vec::with_capacity(ids.len());
        for (image, facts) in candidates.into_iter().zip(facts) {
            let id = image.report.image_id.as_str();
            let hashed = match hashes.remove(id) {
                Some(Ok(hashed)) => hashed,
                Some(Err(failure)) => {
                    failures.insert(id.to_owned(), failure);
                    continue;
                }
                None => return Err(IndexError::Interrupted),
            };
            let rows_sha256 = match (image.rows, digests.get(id)) {
                (0, _) => rows_digest::no_rows_digest(),
                (_, Some(digest)) => digest.clone(),
                (_, None) => return Ok(None),
            };
            let is_to_relabel = image.rows > 0
                && (facts.params_hash.as_deref() != Some(hashed.hash.as_str())
                    || facts.analysis_version.as_deref() != Some(version));
            let params_hash = hashed.hash.clone();
            let mark = Receipts::mark(id, &rows_sha256);
            let old = (facts.params_hash.as_deref(), facts.analysis_version.as_deref());
            match self.marker(id, image.rows, rows_sha256, hashed, old, now) {
                Ok(marker) => {
                    ready.push(PreparedAdoption { image_id: id.to_owned(), params_hash, is_to_relabel, marker, mark })
                }
                Err(error) => {
                    let kind = match error {
                        DatasetError::UnknownImage { .. } => FailureKind::InputChanged,
                        _ => FailureKind::Unreadable,
                    };
                    failures.insert(id.to_owned(), Failure::new(kind, error.to_string()));
                }
            }
        }
        outcome.adopted = ready.len() as u64;
        outcome.failures = failures.into_iter().map(|(image_id, failure)| ImageFailure { image_id, failure }).collect();
        Ok(self.commit(plan, ready)?.then_some(outcome))
    }

    /// The marker that says what is there, that it was adopted, and what it was before.
    fn marker(
        &self,
        id: &str,
        rows: u64,
        rows_sha256: String,
        hashed: ParamsReading,
        (old_hash, old_version): (Option<&str>, Option<&str>),
        now: i64,
    ) -> Result<PreparedJson, DatasetError> {
        let record = self.dataset.find_record(id)?;
        let marker_name = self.indexer.marker_name.as_str();
        // A torn marker counts as no marker.
        let old = match record.marker_bytes(marker_name) {
            Err(DatasetError::Unreadable { .. }) => None,
            other => other?.and_then(|text| receipt::read(&text)),
        };
        let version = self.indexer.analysis_version.as_str();
        // Only the marker knows about a run without rows.
        let of_marker = old.as_ref().filter(|_| rows == 0).map(|old| &old.marker);
        let adopted = Adoption {
            params_hash: old_hash.or(of_marker.map(|marker| marker.params_hash.as_str())).map(str::to_owned),
            analysis_version: old_version
                .or(of_marker.map(|marker| marker.analysis_version.as_str()))
                .map(str::to_owned),
            reason: self.options.reason.clone(),
            utc_epoch_ns: now,
        };
        let rows_inputs = match old.and_then(|old| old.receipt).and_then(|receipt| receipt.inputs.rows) {
            Some(inputs) => Some(look_again(&record, self.indexer.own(), &inputs)?),
            None => None,
        };
        let marker = RunMarker::new(self.name.indexer(), hashed.hash.as_str(), version, rows, now);
        let receipt = Receipt {
            format: receipt::FORMAT,
            library_sha256: self.library_sha256.clone(),
            rows_sha256,
            params: hashed.value,
            inputs: RecordedInputs { params: Some(hashed.inputs), rows: rows_inputs },
            // The existing ones count too, whoever made them.
            outputs: artifacts::present(&record, &self.indexer.writes)?,
            adopted: Some(adopted),
        };
        self.dataset.prepare_marker(id, marker_name, &receipt::to_json(&marker, receipt))
    }

    /// Writes it all. `false` if the table is no longer the one that was planned with: then only an intent was
    /// written, and removed again.
    fn commit(&self, plan: Plan, ready: Vec<PreparedAdoption>) -> Result<bool, IndexError> {
        if ready.is_empty() {
            return Ok(true);
        }
        let (dataset, name) = (self.dataset, self.name);
        let adopted: BTreeSet<String> = ready.iter().map(|ready| ready.image_id.clone()).collect();
        let images: Vec<&str> = plan.images.iter().map(|image| image.report.image_id.as_str()).collect();
        let before = commit::pending(plan.intent.as_ref(), &images);
        let mut left = before.clone();
        left.retain(|image, _| !adopted.contains(image));
        let mut both = ledger::without_artifacts(adopted.iter().cloned());
        both.extend(before.clone());
        ledger::write_intent(dataset, name, &both)?;

        let mut change = Change { analysis_version: self.indexer.analysis_version.clone(), ..Change::default() };
        let mut markers = Vec::with_capacity(ready.len());
        let others = plan.images.iter().filter(|image| !adopted.contains(&image.report.image_id));
        let receipts = others.filter_map(|image| image.mark).chain(ready.iter().map(|ready| ready.mark)).collect();
        for PreparedAdoption { image_id, params_hash, is_to_relabel, marker, .. } in ready {
            if is_to_relabel {
                change.relabel.push((image_id, params_hash));
            }
            markers.push(marker);
        }
        let identity = if change.relabel.is_empty() {
            plan.table.identity
        } else {
            match rewrite::rewrite(dataset, name, plan.table.stat, &change) {
                Ok(Some(rewritten)) => rewritten.table,
                Ok(None) => {
                    ledger::write_intent(dataset, name, &before)?;
                    return Ok(false);
                }
                Err(error) => {
                    // If the table is certainly unchanged, nothing was interrupted.
                    let is_as_it_was = dataset.table_stat(name.table()).is_ok_and(|stat| stat == plan.table.stat);
                    if is_as_it_was && let Err(error) = ledger::write_intent(dataset, name, &before) {
                        tracing::warn!(%error, table = name.key_text(), "images stay marked as interrupted");
                    }
                    return Err(error);
                }
            }
        };
        dataset.put_json_many(&mut markers.into_iter())?;

        self.seal(
            identity,
            plan.seal.all_altered().map(|altered| altered.difference(&adopted).cloned().collect()),
            receipts,
        )?;
        let mut failures = plan.failures;
        let count = failures.len();
        failures.retain(|id, _| !adopted.contains(id));
        if failures.len() != count {
            ledger::write_failures(dataset, name, &failures)?;
        }
        ledger::write_intent(dataset, name, &left)?;
        Ok(true)
    }

    fn seal(
        &self,
        identity: Option<Identity>,
        altered: Option<BTreeSet<String>>,
        receipts: Receipts,
    ) -> Result<(), IndexError> {
        match identity.zip(altered) {
            // If another program has replaced it in the meantime, nothing is known about it.
            Some((table, altered)) if rewrite::identity(self.dataset, self.name)?.as_ref() == Some(&table) => {
                ledger::write_seal(self.dataset, self.name, &Seal { table, altered, receipts })
            }
            _ => ledger::remove_seal(self.dataset, self.name),
        }
    }
}

/// What was recorded, as it would be recorded now.
fn look_again(record: &Record, own: Own<'_>, inputs: &[Input]) -> Result<Vec<Input>, DatasetError> {
    inputs.iter().map(|input| kymhost_dataset::look(record, own, input)).collect()
}

fn hashes(
    workforce: &mut dyn Workforce,
    ids: &[String],
) -> Result<HashMap<String, Result<ParamsReading, Failure>>, IndexError> {
    let mut hashes = HashMap::with_capacity(ids.len());
    if !ids.is_empty() {
        workforce.params_readings(ids, &mut |index, answer| {
            if let Some(id) = ids.get(index) {
                hashes.insert(id.clone(), answer);
            }
        })?;
    }
    Ok(hashes)
}
