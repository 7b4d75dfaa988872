//! A run: plan, select, guard, lock, extract, commit.
//! Owns: the order of these, the figures. Never: how images are judged, what a commit writes, how rows are merged.

use crate::artifacts::{self, Known};
use crate::checkpoint::{Checkpoints, held_bytes};
use crate::commit::{self, Committer, Done, RunState};
use crate::error::{IndexError, MassRemoval};
use crate::ledger;
use crate::ledger::Intent;
use crate::locks;
use crate::names::TableName;
use crate::observer::{ImageFailure, Observer};
use crate::options::{Compat, Mode, OnSchemaChange, RunOptions, check_compat};
use crate::plan::{self, Plan, PlanOptions, Planned, SealState};
use crate::rewrite::Widening;
use crate::select;
use crate::staleness::ImageReport;
use crate::staleness::Reason;
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_plugin::{Failure, FailureKind, IndexerInfo, Workforce};
use kymhost_store::LockGuard;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many bytes of freshened markers are written at once.
const MAX_FRESHENED_BYTES: usize = 16 << 20;

/// So many times as many bytes of rows are held where a table is made anew: with its first commit all old rows leave, also
/// those of images that fail later.
const MOST_HELD_ANEW: u64 = 8;

/// The figures of a run; the names are those of `run --json`. They are of the selected images alone (see [`Selection`](crate::Selection)), and
/// `total_images` = `updated` + `skipped_fresh` + `skipped_zero_rows` + `failed` + `not_run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Stats {
    pub updated: u64,
    pub skipped_fresh: u64,
    pub skipped_zero_rows: u64,
    pub stale_missing_marker: u64,
    pub stale_marker_table_mismatch: u64,
    pub total_images: u64,
    pub failed: u64,
    pub not_run: u64,
    pub missing: u64,
}

/// What a run did.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// The indexer's name.
    pub indexer: String,
    /// The mode.
    pub mode: Mode,
    /// The table's key.
    pub table: String,
    /// The figures.
    pub stats: Stats,
    /// The images that failed, in id order.
    pub failures: Vec<ImageFailure>,
    /// What was done or left, and why: one for each image, as judged before the run, in id order.
    pub decisions: Vec<ImageReport>,
    /// Images that are no longer in the dataset and whose rows were removed.
    pub pruned_images: u64,
    /// Markers of fresh images that were written again, because the times of inputs had changed but not their content.
    pub freshened: u64,
    /// Columns of the table that got a wider type.
    pub widened: Vec<Widening>,
    /// Commits that were made, the last one included.
    pub commits: u64,
    /// What those of them took that were checkpoints: made because it was time, not because of what was held in memory.
    pub checkpoint_time: Duration,
    /// Whether all images were extracted anew because a column's type changed.
    pub recomputed: bool,
    /// Whether the run stopped because [`RunOptions::max_failures`] images had failed.
    pub stopped_by_failures: bool,
}

/// What a run would do.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The indexer's name.
    pub indexer: String,
    /// The mode.
    pub mode: Mode,
    /// The table's key.
    pub table: String,
    /// All images, as judged, in id order.
    pub images: Vec<ImageReport>,
    /// The ids of those that would be extracted, in order.
    pub would_update: Vec<String>,
    /// The ids of those that would fail without being tried.
    pub would_fail: Vec<String>,
    /// The ids of those that another indexer of the same run is to do first (see [`order::wait_for`](crate::order::wait_for)).
    pub pending_upstream: Vec<String>,
    /// Images that are no longer in the dataset and whose rows would be removed, with how many rows.
    pub would_prune: Vec<(String, u64)>,
    /// Why the guard would refuse, where it would.
    pub refusal: Option<MassRemoval>,
}

/// What a run works with.
struct Context<'a> {
    dataset: &'a Dataset,
    indexer: &'a IndexerInfo,
    name: TableName,
    options: &'a RunOptions,
}

/// What is to be done, by a plan and the options.
struct Scheme {
    plan: Plan,
    /// The images to be extracted, in order.
    to_extract: Vec<String>,
    /// Those that fail without being tried, and why.
    blocked: Vec<(String, Failure)>,
    /// Images that are selected, and those of them that are to be done.
    selected: usize,
    to_do: usize,
    /// Deleted images whose rows are to be removed, with how many rows.
    orphans: Vec<(String, u64)>,
    /// Why the guard refuses, where it does.
    refusal: Option<MassRemoval>,
}

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

impl Scheme {
    fn check(&self) -> Result<(), IndexError> {
        match &self.refusal {
            Some(refusal) => Err(IndexError::MassRemoval(refusal.clone())),
            None => Ok(()),
        }
    }
}

impl<'a> Context<'a> {
    fn new(dataset: &'a Dataset, indexer: &'a IndexerInfo, options: &'a RunOptions) -> Result<Self, IndexError> {
        check_compat(indexer, options.compat)?;
        Ok(Self { dataset, indexer, name: TableName::of(&indexer.name)?, options })
    }

    fn is_ours(&self) -> bool {
        self.options.compat == Compat::Kymhost
    }

    /// Why the image fails without being tried: what cannot be judged is not updated, but replacing needs no marker.
    fn blocked<'p>(&self, image: &'p Planned) -> Option<&'p Failure> {
        image.blocked(if select::does_fresh(self.options) { Mode::Replace } else { Mode::Incremental })
    }

    fn scheme(&self, workforce: &mut dyn Workforce) -> Result<Scheme, IndexError> {
        let mut listing = self.options.listing.clone();
        if self.options.selection.images.is_some() {
            // Before the plugin is asked for anything.
            let images = match &listing {
                Some(images) => images,
                None => listing.insert(Arc::new(self.dataset.image_ids()?)),
            };
            select::check_images(self.options.selection.images.as_ref(), images)?;
        }
        let plan_options = PlanOptions {
            compat: self.options.compat,
            listing,
            only: None,
            table_may_be_broken: self.is_ours() && select::does_all(self.options),
        };
        let plan = plan::plan(self.dataset, self.indexer, &self.name, workforce, &plan_options)?;

        let mut scheme = Scheme {
            to_extract: Vec::new(),
            blocked: Vec::new(),
            selected: 0,
            to_do: 0,
            orphans: self.orphans(&plan)?,
            refusal: None,
            plan,
        };
        for image in &scheme.plan.images {
            let report = &image.report;
            scheme.selected +=
                usize::from(select::is_selected(&self.options.selection, &report.image_id, report.reason));
            if select::is_to_do(self.options, report) {
                scheme.to_do += 1;
                let failure = match self.blocked(image) {
                    None => self.blocked_by_artifacts(image, scheme.plan.intent.as_ref()),
                    Some(failure) => Some(failure.clone()),
                };
                match failure {
                    None => scheme.to_extract.push(report.image_id.clone()),
                    Some(failure) => scheme.blocked.push((report.image_id.clone(), failure)),
                }
            }
        }
        scheme.refusal = self.refusal(&scheme.plan, &scheme.orphans);
        // There is nothing to make it anew from.
        if let Some(error) = scheme.plan.broken_table.take_if(|_| scheme.to_extract.is_empty()) {
            return Err(error);
        }
        Ok(scheme)
    }

    /// Before hours are spent on an image: the artifacts that it is to get may be somebody else's.
    fn blocked_by_artifacts(&self, image: &Planned, intent: Option<&Intent>) -> Option<Failure> {
        if self.indexer.writes.is_empty() || self.options.overwrite_artifacts {
            return None;
        }
        let image_id = &image.report.image_id;
        let interrupted = match intent {
            Some(Intent::Images(images)) => images.get(image_id),
            Some(Intent::Unreadable) | None => None,
        };
        let known = Known { recorded: &image.outputs, interrupted };
        match artifacts::foreign(self.dataset, image_id, &self.indexer.writes, known) {
            Ok(None) => None,
            Ok(Some(key)) => Some(artifacts::refusal(self.dataset, image_id, &key, image.can_be_adopted())),
            Err(error) => Some(Failure::new(FailureKind::Unreadable, error.to_string())),
        }
    }

    /// The deleted images whose rows a run removes. The listing may be older than the table: each is looked for again.
    fn orphans(&self, plan: &Plan) -> Result<Vec<(String, u64)>, IndexError> {
        if !select::prunes(self.options) {
            return Ok(Vec::new());
        }
        let mut orphans = Vec::new();
        for (image_id, rows) in &plan.table.orphans {
            match self.dataset.find_record(image_id) {
                Ok(_) => {}
                Err(DatasetError::UnknownImage { .. }) => orphans.push((image_id.clone(), *rows)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(orphans)
    }

    fn refusal(&self, plan: &Plan, orphans: &[(String, u64)]) -> Option<MassRemoval> {
        let with_rows = plan.images.iter().filter(|image| image.rows > 0).count();
        let table = self.name.key_text();
        select::refusal(&table, plan.images.len(), with_rows, orphans, self.options.allow_mass_removal)
    }

    /// Takes the table's lock where there is something to write. What only spares later runs some work is not worth waiting for.
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
                tracing::info!(%error, "what was found out is not kept");
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
        let altered = match &plan.seal {
            SealState::Unneeded => Some(BTreeSet::new()),
            SealState::Held { altered } => Some(altered.clone()),
            SealState::Recomputed { altered, is_complete } => Some(altered.clone()).filter(|_| *is_complete),
        };
        let receipts = plan.images.iter().filter_map(|image| Some((image.report.image_id.clone(), image.mark?)));
        let library_sha256 = plan.library_sha256.clone().filter(|_| self.is_ours());
        let state = RunState {
            table: plan.table.stat,
            runs: plan.table.runs.clone(),
            altered,
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
            may_set_aside: self.is_ours() && select::does_all(self.options),
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
        let may_start_anew = self.may_start_anew(&scheme.plan);
        let first = Round { context: self, committer: &mut committer, may_start_anew, is_anew: false, failed: 0 };
        let mut stopped_by_failures = first.carry_out(&scheme.to_extract, &scheme.blocked, workforce, observer)?;

        let is_anew = committer.had_conflicts && may_start_anew;
        if is_anew {
            let images = &scheme.plan.images;
            let orphans = scheme.plan.table.orphans.iter().map(|(image_id, _)| image_id.clone()).collect();
            committer.start_anew(images.iter().map(|image| image.report.image_id.clone()).collect(), orphans);
            observer.planned(images.len(), images.len());
            let (mut to_extract, mut blocked) = (Vec::with_capacity(images.len()), Vec::new());
            for image in images {
                let image_id = image.report.image_id.clone();
                match image.blocked(Mode::Replace) {
                    None => to_extract.push(image_id),
                    Some(failure) => blocked.push((image_id, failure.clone())),
                }
            }
            let anew = Round { context: self, committer: &mut committer, may_start_anew: false, is_anew, failed: 0 };
            stopped_by_failures = anew.carry_out(&to_extract, &blocked, workforce, observer)?;
        }

        if is_held && self.is_ours() {
            let there: HashSet<&str> = scheme.plan.images.iter().map(|image| image.report.image_id.as_str()).collect();
            committer.forget_gone(|image_id| there.contains(image_id));
            committer.write_failures()?;
            if matches!(scheme.plan.seal, SealState::Recomputed { is_complete: true, .. }) {
                committer.seal_what_was_verified(scheme.plan.table.identity.clone())?;
            }
        }
        Ok(self.outcome(scheme, committer, Figures { freshened, is_anew, stopped_by_failures }))
    }

    /// Whether all is made anew where a column's type cannot be reconciled.
    fn may_start_anew(&self, plan: &Plan) -> bool {
        if !self.is_ours() || self.options.on_schema_change != OnSchemaChange::Recompute {
            return false;
        }
        // Then the rows of deleted images leave too, whatever the options say of them: the guard is asked.
        match self.refusal(plan, &plan.table.orphans) {
            None => true,
            Some(refusal) => {
                tracing::warn!(%refusal, "the table will not be made anew, whatever types it has");
                false
            }
        }
    }

    /// Writes markers of fresh images again, of whose inputs more is known now. Gives how many.
    fn freshen(&self, scheme: &Scheme) -> Result<u64, IndexError> {
        let extracted: HashSet<&str> = scheme.to_extract.iter().map(String::as_str).collect();
        let marker_name = &self.indexer.marker_name;
        let mut freshened = 0;
        let (mut texts, mut bytes) = (Vec::new(), 0usize);
        for image in &scheme.plan.images {
            let image_id = &image.report.image_id;
            if let Some(with) = image.freshen.as_ref().filter(|_| !extracted.contains(image_id.as_str()))
                && let Some(text) = plan::freshened_marker(self.dataset, marker_name, image_id, with)?
            {
                bytes = bytes.saturating_add(text.len());
                texts.push((image_id.clone(), text));
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

    fn outcome(&self, scheme: Scheme, mut committer: Committer<'_>, figures: Figures) -> RunOutcome {
        let Figures { freshened, is_anew, stopped_by_failures } = figures;
        let options = self.options;
        let mut stats = Stats::default();
        for image in &scheme.plan.images {
            let (id, reason) = (image.report.image_id.as_str(), image.report.reason);
            if !is_anew && !select::is_selected(&options.selection, id, reason) {
                continue;
            }
            stats.total_images += 1;
            if !is_anew && !select::is_to_do(options, &image.report) {
                match reason {
                    Reason::FreshZeroRows => stats.skipped_zero_rows += 1,
                    _ => stats.skipped_fresh += 1,
                }
                continue;
            }
            stats.missing += u64::from(image.rows == 0);
            if committer.failed.contains_key(id) {
                stats.failed += 1;
            } else if committer.updated.contains(id) {
                stats.updated += 1;
                match reason {
                    Reason::StaleMissingMarker if options.mode == Mode::Incremental => stats.stale_missing_marker += 1,
                    Reason::StaleMarkerTableMismatch if options.mode == Mode::Incremental => {
                        stats.stale_marker_table_mismatch += 1;
                    }
                    _ => {}
                }
            } else {
                stats.not_run += 1;
            }
        }
        let failures = scheme
            .plan
            .images
            .iter()
            .filter_map(|image| {
                let (image_id, failure) = committer.failed.remove_entry(&image.report.image_id)?;
                Some(ImageFailure { image_id, failure })
            })
            .collect();
        RunOutcome {
            indexer: self.name.indexer().to_owned(),
            mode: options.mode,
            table: self.name.key_text(),
            stats,
            failures,
            decisions: scheme.plan.images.into_iter().map(|image| image.report).collect(),
            pruned_images: committer.pruned(),
            freshened,
            widened: std::mem::take(&mut committer.widened),
            commits: committer.commits,
            checkpoint_time: committer.checkpoint_time,
            recomputed: is_anew && !committer.is_leaving(),
            stopped_by_failures,
        }
    }
}

/// What the outcome tells beside what the committer counts.
struct Figures {
    freshened: u64,
    is_anew: bool,
    stopped_by_failures: bool,
}

/// One extraction over a list of images, with its commits.
struct Round<'r, 'a> {
    context: &'r Context<'a>,
    committer: &'r mut Committer<'a>,
    /// Whether a conflict of types ends the round, because all is made anew then.
    may_start_anew: bool,
    /// The table is made anew: with the first commit all old rows leave, so there is only one where memory allows it.
    is_anew: bool,
    /// Images that failed in the extraction.
    failed: u64,
}

impl Round<'_, '_> {
    fn is_too_many(&self) -> bool {
        self.context.options.max_failures.is_some_and(|most| self.failed >= most.max(1))
    }

    /// Whether what is left of the round would be done again.
    fn is_in_vain(&self) -> bool {
        self.may_start_anew && self.committer.had_conflicts
    }

    /// Reports blocked images as failed, extracts and commits the others. Gives whether it ended because too many failed.
    fn carry_out(
        mut self,
        image_ids: &[String],
        blocked: &[(String, Failure)],
        workforce: &mut dyn Workforce,
        observer: &mut dyn Observer,
    ) -> Result<bool, IndexError> {
        for (image_id, failure) in blocked {
            observer.image_done(image_id, Some(failure));
            self.committer.block(image_id, failure.clone());
        }
        self.extract(image_ids, workforce, observer)?;
        Ok(self.is_too_many())
    }

    fn extract(
        &mut self,
        image_ids: &[String],
        workforce: &mut dyn Workforce,
        observer: &mut dyn Observer,
    ) -> Result<(), IndexError> {
        let options = self.context.options;
        let (interval, max_held_bytes) = match self.is_anew {
            true => (Duration::MAX, options.max_held_bytes.saturating_mul(MOST_HELD_ANEW)),
            false => (options.checkpoint_interval, options.max_held_bytes),
        };
        let mut checkpoints = Checkpoints::new(interval, max_held_bytes, Instant::now());
        let mut held: Vec<Done> = Vec::new();
        let mut bytes = 0u64;
        let mut left = image_ids.len();
        let mut error = None;
        let mut is_stopped = false;
        let mut ended = Ok(());
        if !image_ids.is_empty() {
            ended = workforce.extract_rows(image_ids, &mut |index, answer| {
                if error.is_some() {
                    return false;
                }
                if let Some(image_id) = image_ids.get(index) {
                    left = left.saturating_sub(1);
                    observer.image_done(image_id, answer.as_ref().err());
                    match answer {
                        Ok(extracted) => {
                            bytes = bytes.saturating_add(held_bytes(&extracted));
                            held.push(Done { image_id: image_id.clone(), extracted });
                        }
                        Err(failure) => {
                            self.failed += 1;
                            self.committer.fail(image_id, failure);
                        }
                    }
                }
                is_stopped = observer.interrupted() || self.is_too_many();
                // The last commit is made below, with all that is left.
                if !is_stopped && left > 0 && !held.is_empty() && checkpoints.due(Instant::now(), bytes) {
                    let is_forced = checkpoints.is_forced(bytes);
                    observer.committing();
                    let begin = Instant::now();
                    if let Err(failed) = self.committer.commit(std::mem::take(&mut held)) {
                        error = Some(failed);
                        return false;
                    }
                    let end = Instant::now();
                    checkpoints.made(begin, end);
                    if !is_forced {
                        self.committer.checkpoint_time += end.saturating_duration_since(begin);
                    }
                    bytes = 0;
                    return !self.is_in_vain();
                }
                !is_stopped
            });
            if let Some(error) = error {
                return Err(error);
            }
        }
        // An old table is not given up for a part of a new one.
        let is_part = self.is_anew && (left > 0 || is_stopped) && self.committer.is_leaving();
        if self.is_in_vain() || is_part {
            return Ok(ended?);
        }
        // Also where the workforce gave up: what it has done by then is done.
        if !held.is_empty() || self.committer.has_removals() && !self.is_anew {
            observer.committing();
            self.committer.commit(held)?;
        }
        Ok(ended?)
    }
}
