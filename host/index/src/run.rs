//! A run: plan, select, guard, lock, extract, commit.
//!
//! Responsible for the order of these. It does not know how images are judged, what a commit writes or how rows are
//! merged.

mod context;
mod outcome;
mod round;
mod scheme;

use crate::commit::{self, Committer, RunState};
use crate::error::IndexError;
use crate::ledger;
use crate::locks;
use crate::observer::Observer;
use crate::options::{Mode, OnSchemaChange, RunOptions};
use crate::plan::{self, Plan, SealState};
use crate::select;
use context::Context;
use kymhost_dataset::Dataset;
use kymhost_plugin::{Failure, IndexerInfo, Workforce};
use kymhost_store::LockGuard;
use outcome::Figures;
pub use outcome::{Preview, RunOutcome, Stats};
use round::Round;
use scheme::Scheme;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How many bytes of freshened markers are written at once.
const MAX_FRESHENED_BYTES: usize = 16 << 20;

/// Brings the indexer's table up to date. If there is nothing to do, nothing is written.
///
/// # Errors
/// [`IndexError::ArtifactsByKymflow`], [`IndexError::MassRemoval`], [`IndexError::Locked`] and those of what it uses.
pub fn run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, IndexError> {
    let context = Context::new(dataset, indexer, options)?;
    let mut scheme = context.scheme(workforce)?;
    scheme.check()?;
    let lock = context.lock(&scheme, observer)?;
    // Another run may have ended between the plan and the lock.
    if lock.is_some() && context.has_changed_since(&scheme.plan)? {
        scheme = context.scheme(workforce)?;
        scheme.check()?;
    }
    let outcome = context.carry_out(scheme, workforce, observer, lock.is_some());
    drop(lock);
    outcome
}

/// What [`run`] would do with the same options; writes nothing.
///
/// # Errors
/// As [`run`], except for those of the lock and the guard.
pub fn dry_run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &RunOptions,
) -> Result<Preview, IndexError> {
    let context = Context::new(dataset, indexer, options)?;
    let mut scheme = context.scheme(workforce)?;
    // An image that can be judged may fail all the same.
    let mut why: HashMap<&str, &Failure> = scheme.blocked.iter().map(|(id, failure)| (id.as_str(), failure)).collect();
    for report in scheme.plan.images.iter_mut().map(|image| &mut image.report) {
        if let Some(failure) = why.remove(report.image_id.as_str()) {
            report.error.get_or_insert_with(|| failure.message.clone());
        }
    }
    Ok(Preview {
        indexer: context.name.indexer().to_owned(),
        mode: options.mode,
        table: context.name.key_text(),
        images: scheme.plan.images.into_iter().map(|image| image.report).collect(),
        would_update: scheme.to_extract,
        would_fail: scheme.blocked.into_iter().map(|(image_id, _)| image_id).collect(),
        pending_upstream: Vec::new(),
        would_prune: scheme.orphans,
        refusal: scheme.refusal,
    })
}

impl<'a> Context<'a> {
    /// Takes the table's lock if there is something to write. It does not wait for it just to save later runs some
    /// work.
    fn lock(&self, scheme: &Scheme, observer: &mut dyn Observer) -> Result<Option<LockGuard>, IndexError> {
        let what = format!("{} in mode {}", self.name.indexer(), self.options.mode);
        if !scheme.to_extract.is_empty() || !scheme.orphans.is_empty() {
            return locks::hold(self.dataset, &self.name, &what, self.options.wait, observer).map(Some);
        }
        let plan = &scheme.plan;
        let has_new_failures = scheme.blocked.iter().any(|(image_id, failure)| {
            commit::is_new_failure(&plan.failures, plan.library_sha256.as_deref(), image_id, failure)
        });
        let is_unsealed = matches!(plan.seal, SealState::Recomputed { is_complete: true, .. });
        if !has_new_failures && !is_unsealed && plan.images.iter().all(|image| image.freshen.is_none()) {
            return Ok(None);
        }
        match locks::hold(self.dataset, &self.name, &what, Duration::ZERO, observer) {
            Ok(lock) => Ok(Some(lock)),
            // Another run does it, or the dataset is not ours to write.
            Err(error) => {
                tracing::info!(%error, "the results of the check are not saved");
                Ok(None)
            }
        }
    }

    /// Whether another run has written what the plan judged by.
    fn has_changed_since(&self, plan: &Plan) -> Result<bool, IndexError> {
        if self.dataset.table_stat(self.name.table())? != plan.table.stat {
            return Ok(true);
        }
        if !self.is_ours() {
            return Ok(false);
        }
        let has_other_seal = match &plan.seal {
            SealState::Held { altered } => {
                ledger::read_seal(self.dataset, &self.name)?.is_none_or(|seal| seal.altered != *altered)
            }
            SealState::Unneeded | SealState::Recomputed { .. } => false,
        };
        Ok(has_other_seal || ledger::read_intent(self.dataset, &self.name)? != plan.intent)
    }

    fn committer(&'a self, scheme: &Scheme, is_held: bool) -> Result<Committer<'a>, IndexError> {
        let plan = &scheme.plan;
        let ids: Vec<&str> = plan.images.iter().map(|image| image.report.image_id.as_str()).collect();
        let receipts = plan.images.iter().filter_map(|image| Some((image.report.image_id.clone(), image.mark?)));
        let library_sha256 = plan.library_sha256.clone().filter(|_| self.is_ours());
        let state = RunState {
            table: plan.table.stat,
            runs: plan.table.runs.clone(),
            altered: plan.seal.all_altered(),
            // Without the lock nothing is sealed.
            receipts: if is_held { receipts.collect() } else { HashMap::new() },
            pending: commit::pending(plan.intent.as_ref(), &ids),
            outputs: plan
                .images
                .iter()
                .filter(|image| !image.outputs.is_empty())
                .map(|image| (image.report.image_id.clone(), image.outputs.clone()))
                .collect(),
            adoptable: plan
                .images
                .iter()
                .filter(|image| !self.indexer.writes.is_empty() && image.can_be_adopted())
                .map(|image| image.report.image_id.clone())
                .collect(),
            overwrite_artifacts: self.options.overwrite_artifacts,
            orphans: scheme.orphans.iter().map(|(image_id, _)| image_id.clone()).collect(),
            may_move_away: self.is_ours() && select::does_all(self.options),
            is_broken: plan.broken_table.is_some(),
            past: if self.is_ours() { ledger::read_failures(self.dataset, &self.name)? } else { Default::default() },
            library_sha256,
        };
        Ok(Committer::new(self.dataset, self.indexer, &self.name, state))
    }

    fn carry_out(
        &self,
        scheme: Scheme,
        workforce: &mut dyn Workforce,
        observer: &mut dyn Observer,
        is_held: bool,
    ) -> Result<RunOutcome, IndexError> {
        observer.planned(scheme.to_do, scheme.selected);
        let mut committer = self.committer(&scheme, is_held)?;
        let mut freshened = 0;
        if is_held && self.is_ours() && !observer.interrupted() {
            freshened = self.freshen(&scheme)?;
        }
        let may_recompute = self.may_recompute(&scheme.plan);
        let first = Round { context: self, committer: &mut committer, may_recompute, is_recompute: false, failed: 0 };
        let mut stopped_by_failures = first.carry_out(&scheme.to_extract, &scheme.blocked, workforce, observer)?;

        let is_recompute = committer.had_conflicts && may_recompute;
        if is_recompute {
            let images = &scheme.plan.images;
            let orphans = scheme.plan.table.orphans.iter().map(|(image_id, _)| image_id.clone()).collect();
            committer.begin_recompute(images.iter().map(|image| image.report.image_id.clone()).collect(), orphans);
            observer.planned(images.len(), images.len());
            let (mut to_extract, mut blocked) = (Vec::with_capacity(images.len()), Vec::new());
            for image in images {
                let image_id = image.report.image_id.clone();
                match image.blocked(Mode::Replace) {
                    None => to_extract.push(image_id),
                    Some(failure) => blocked.push((image_id, failure.clone())),
                }
            }
            let again =
                Round { context: self, committer: &mut committer, may_recompute: false, is_recompute, failed: 0 };
            stopped_by_failures = again.carry_out(&to_extract, &blocked, workforce, observer)?;
        }

        if is_held && self.is_ours() {
            let there: HashSet<&str> = scheme.plan.images.iter().map(|image| image.report.image_id.as_str()).collect();
            committer.forget_gone(|image_id| there.contains(image_id));
            committer.write_failures()?;
            if matches!(scheme.plan.seal, SealState::Recomputed { is_complete: true, .. }) {
                committer.seal_what_was_verified(scheme.plan.table.identity.clone())?;
            }
        }
        Ok(self.outcome(scheme, committer, Figures { freshened, is_recompute, stopped_by_failures }))
    }

    /// Whether the whole table is made again if a column's type cannot be reconciled.
    fn may_recompute(&self, plan: &Plan) -> bool {
        if !self.is_ours() || self.options.on_schema_change != OnSchemaChange::Recompute {
            return false;
        }
        // Then the rows of deleted images are removed too, whatever the options say, so the guard is asked.
        match self.refusal(plan, &plan.table.orphans) {
            None => true,
            Some(refusal) => {
                tracing::warn!(%refusal, "the table will not be made again, even if column types change");
                false
            }
        }
    }

    /// Writes markers of fresh images again if more is known about their inputs now. Returns how many.
    fn freshen(&self, scheme: &Scheme) -> Result<u64, IndexError> {
        let extracted: HashSet<&str> = scheme.to_extract.iter().map(String::as_str).collect();
        let marker_name = &self.indexer.marker_name;
        let mut freshened = 0;
        let (mut texts, mut bytes) = (Vec::new(), 0usize);
        for image in &scheme.plan.images {
            let image_id = &image.report.image_id;
            if let Some(with) = image.freshen.as_ref().filter(|_| !extracted.contains(image_id.as_str()))
                && let Some((text, seen)) = plan::freshened_marker(self.dataset, marker_name, image_id, with)?
            {
                bytes = bytes.saturating_add(text.len());
                texts.push((image_id.clone(), text, seen));
                freshened += 1;
            }
            if bytes >= MAX_FRESHENED_BYTES {
                self.dataset.put_json_texts(marker_name, &mut std::mem::take(&mut texts).into_iter())?;
                bytes = 0;
            }
        }
        self.dataset.put_json_texts(marker_name, &mut texts.into_iter())?;
        Ok(freshened)
    }
}
