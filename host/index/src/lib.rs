//! Keeping one table per indexer up to date: markers, staleness, planning, running, committing.
//!
//! Owns: the rules. Never: parses arguments, prints.

mod adopt;
mod artifacts;
mod checkpoint;
mod commit;
mod explain;
pub mod ledger;
mod locks;
mod markers;
pub mod merge;
pub mod names;
pub mod order;
pub mod params;
mod plan;
pub mod provenance;
pub mod receipt;
pub mod rewrite;
pub mod rows_digest;
mod run;
mod select;
pub mod staleness;
mod verify;
mod verify_artifacts;

use kymhost_dataset::{Dataset, DatasetError, Record};
use kymhost_plugin::{Failure, IndexerInfo, PluginError, Workforce};
pub use kymhost_store::Holder;
use rewrite::Widening;
use staleness::ImageReport;
use staleness::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Which images a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every image.
    Replace,
    /// Stale images only.
    Incremental,
}

impl Mode {
    /// Its name in arguments and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Incremental => "incremental",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        let modes = [Self::Replace, Self::Incremental];
        modes.into_iter().find(|mode| mode.name() == text).ok_or_else(|| IndexError::UnknownMode(text.to_owned()))
    }
}

/// Whose rules decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// Ours: kymflow's, and where those say fresh, what the marker's receipt says of inputs and rows.
    #[default]
    Kymhost,
    /// kymflow's, to the letter; markers, tables and statistics as it writes them.
    Kymflow,
}

/// Which images a run does, of those that its mode does. The others are not looked at: no figure of [`Stats`] counts
/// them, and they keep rows and markers. Their reports are among [`RunOutcome::decisions`] all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Only these; one that the dataset lacks is an error. Rows of deleted images are then left alone.
    pub images: Option<BTreeSet<String>>,
    /// Only images with one of these reasons; empty: with any.
    pub reasons: BTreeSet<Reason>,
    /// Fresh ones too.
    pub force: bool,
}

/// What becomes of rows whose image is no longer in the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orphans {
    /// A run removes them.
    #[default]
    Prune,
    /// They stay.
    Keep,
}

/// What happens when an image's rows have a type that cannot be reconciled with the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSchemaChange {
    /// The image fails, and keeps its old rows.
    #[default]
    Fail,
    /// All images are extracted anew, into a new table.
    Recompute,
}

/// How a run goes about it.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Which images.
    pub mode: Mode,
    /// Whose rules. With [`Compat::Kymflow`], orphans are kept whatever `orphans` says.
    pub compat: Compat,
    /// Which of them.
    pub selection: Selection,
    /// Rows of deleted images.
    pub orphans: Orphans,
    /// Remove rows of deleted images even where the guard would refuse (`--yes`).
    pub allow_mass_removal: bool,
    /// Stop, and commit, after so many images whose extraction failed (at least one). Those that are not tried because
    /// they cannot be judged do not count.
    pub max_failures: Option<u64>,
    /// When a column's type changes.
    pub on_schema_change: OnSchemaChange,
    /// How long to wait for another run to let go of the table.
    pub wait: Duration,
    /// The least time between two commits of one run; the real one grows with what a commit costs.
    pub checkpoint_interval: Duration,
    /// Rows held in memory, in bytes, at which a commit is made in any case: what is in work beside them is bounded by the
    /// pool.
    pub max_held_bytes: u64,
    /// The images of the dataset where they have been listed already; else the run lists them.
    pub listing: Option<Arc<Vec<String>>>,
    /// Artifacts that somebody else made are overwritten by those that the indexer makes; else those images fail.
    pub overwrite_artifacts: bool,
}

impl RunOptions {
    /// All images of the mode, everything else as by default.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            compat: Compat::default(),
            selection: Selection::default(),
            orphans: Orphans::default(),
            allow_mass_removal: false,
            max_failures: None,
            on_schema_change: OnSchemaChange::default(),
            wait: Duration::ZERO,
            checkpoint_interval: Duration::from_secs(30),
            max_held_bytes: 256 << 20,
            listing: None,
            overwrite_artifacts: false,
        }
    }
}

/// Why a run or a status could not be.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The name may not be an indexer's.
    #[error("'{name}' cannot name an indexer: {why}")]
    BadName {
        /// The name.
        name: String,
        /// The rule.
        why: &'static str,
    },
    /// Two of the indexers that are to run write one artifact.
    #[error("the indexers '{first}' and '{second}' both write the artifact {key} of each image; run one of them")]
    TwoWriters {
        /// The artifact's key below an image's group.
        key: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The indexers that are to run wait for each other: each reads what the next one writes.
    #[error("the indexers wait for each other: {} (each reads what the next one writes)", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// The indexer makes artifacts, and is to run by kymflow's rules.
    #[error(
        "the indexer '{0}' makes artifacts, which --compat kymflow knows nothing of: nobody would know whose they are"
    )]
    ArtifactsByKymflow(String),
    /// There is no such mode.
    #[error("there is no mode '{0}'; it is 'replace' (every image) or 'incremental' (stale images only)")]
    UnknownMode(String),
    /// Another run holds the table.
    #[error("another run holds {table}: {holder}")]
    Locked {
        /// The table.
        table: String,
        /// Who.
        holder: Holder,
    },
    /// Images were asked for that the dataset does not have.
    #[error("the dataset has no image {}", .0.join(", "))]
    UnknownImages(Vec<String>),
    /// A safety guard; nothing was written.
    #[error("{0}")]
    Guarded(String),
    /// The workforce was told to stop before it had answered for every image.
    #[error("stopped before every image was judged; nothing was written")]
    Interrupted,
    /// The dataset cannot be used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The plugin cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// An image that cannot be judged, or that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFailure {
    /// The image.
    pub image_id: String,
    /// Why.
    pub failure: Failure,
}

/// What `status` tells.
#[derive(Debug, Clone)]
pub struct Status {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key (`tables/kym_….parquet`).
    pub table: String,
    /// One for each image, in id order.
    pub images: Vec<ImageReport>,
    /// Images that have rows in the table but are no longer in the dataset, and how many rows.
    pub orphans: Vec<(String, u64)>,
}

/// The figures of a run; the names are those of `run --json`. They are of the selected images alone (see [`Selection`]), and
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
    /// The ids of those that another indexer of the same run is to do first (see [`order::wait_for`]).
    pub pending_upstream: Vec<String>,
    /// Images that are no longer in the dataset and whose rows would be removed, with how many rows.
    pub would_prune: Vec<(String, u64)>,
    /// Why the guard would refuse, where it would.
    pub refusal: Option<String>,
}

/// Why one image is fresh or stale: every reason that holds, not only the first.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key.
    pub table: String,
    /// The image, as `status` reports it.
    pub report: ImageReport,
    /// Every reason that holds, the one of the report first; none where the image is fresh.
    pub causes: Vec<Cause>,
}

/// One reason, with what was and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The reason.
    pub reason: Reason,
    /// What was, in words: a version, a hash, a count of rows; none where nothing was.
    pub before: Option<String>,
    /// What is.
    pub after: Option<String>,
    /// For [`Reason::StaleParamsChanged`]: where the params differ, as JSON pointers with the JSON texts of before and after.
    pub params: Vec<Difference>,
    /// For reasons about inputs: each key with what was found before and after, in words.
    pub inputs: Vec<Difference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A key, or a JSON pointer.
    pub at: String,
    /// What was; `None`: nothing.
    pub before: Option<String>,
    /// What is; `None`: nothing.
    pub after: Option<String>,
}

/// What `verify` looks at.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// So many fresh images, drawn evenly; all where none is given.
    pub sample: Option<u64>,
    /// Also compute the digests of the rows in the table, though its seal holds.
    pub rows: bool,
}

/// What `verify` found; nothing was written.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key.
    pub table: String,
    /// Fresh images, and how many of them were extracted again.
    pub fresh: u64,
    /// See `fresh`.
    pub checked: u64,
    /// What was found wrong, in id order.
    pub findings: Vec<VerifyFinding>,
}

/// An image of which not all is what a new extraction gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyFinding {
    /// The image.
    pub image_id: String,
    /// What.
    pub kind: VerifyKind,
    /// The artifact's key below the image's group, where it is about one.
    pub artifact: Option<String>,
    /// For people.
    pub message: String,
}

/// What `verify` can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerifyKind {
    /// `not_deterministic`: two extractions of the same inputs gave different rows or artifacts.
    NotDeterministic,
    /// `version_bump_forgotten`: both extractions agree, but not with the rows that were recorded, under the same
    /// analysis version and inputs.
    VersionBumpForgotten,
    /// `rows_changed`: the rows in the table are not those that were recorded.
    RowsChanged,
    /// `artifact_differs`: both extractions agree, but not with an artifact that is kept.
    ArtifactDiffers,
    /// `failed`: the extraction failed.
    Failed,
}

/// What `adopt` does.
#[derive(Debug, Clone)]
pub struct AdoptOptions {
    /// Only these images; all that have rows, or a marker of a run without rows, where none are given.
    pub images: Option<BTreeSet<String>>,
    /// Why, for the markers.
    pub reason: String,
    /// How long to wait for another run to let go of the table.
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
    /// Images that count as fresh from now on.
    pub adopted: u64,
    /// Images that were fresh already.
    pub already_fresh: u64,
    /// Images without rows and without a marker of a run that found none: there is nothing to adopt.
    pub nothing_to_adopt: u64,
    /// Images that could not be adopted, in id order.
    pub failures: Vec<ImageFailure>,
}
/// What a run tells while it works, for progress bars. Called from the run's own thread.
pub trait Observer {
    /// All images are judged; so many are to be done.
    fn planned(&mut self, to_do: usize, total: usize) {
        let _ = (to_do, total);
    }
    /// One more image is done (or failed).
    fn image_done(&mut self, image_id: &str, failure: Option<&Failure>) {
        let _ = (image_id, failure);
    }
    /// Rows are being committed.
    fn committing(&mut self) {}
    /// Another run holds the table, and this one waits for it. Called once.
    fn waiting(&mut self, holder: &Holder) {
        let _ = holder;
    }
    /// Whether to stop: asked after each image, and while waiting for another run. What is done by then is committed.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Judges every image; writes nothing. `listing`: the dataset's images where they have been listed already.
pub fn status(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    compat: Compat,
    listing: Option<Arc<Vec<String>>>,
) -> Result<Status, IndexError> {
    let name = names::TableName::of(&indexer.name)?;
    let options = plan::PlanOptions { compat, listing, ..plan::PlanOptions::default() };
    let plan = plan::plan(dataset, indexer, &name, workforce, &options)?;
    Ok(Status {
        indexer: name.indexer().to_owned(),
        table: name.key_text(),
        images: plan.images.into_iter().map(|image| image.report).collect(),
        orphans: plan.table.orphans,
    })
}

/// Whether an indexer can run by these rules: kymflow's have no intents and receipts, which say whose an artifact is.
///
/// # Errors
/// [`IndexError::ArtifactsByKymflow`] for an indexer that makes artifacts.
pub fn check_compat(indexer: &IndexerInfo, compat: Compat) -> Result<(), IndexError> {
    match compat {
        Compat::Kymflow if !indexer.writes.is_empty() => Err(IndexError::ArtifactsByKymflow(indexer.name.clone())),
        Compat::Kymflow | Compat::Kymhost => Ok(()),
    }
}

/// Brings the indexer's table up to date. Where nothing is to be done, nothing is written.
///
/// # Errors
/// Also those of [`check_compat`].
pub fn run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &RunOptions,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, IndexError> {
    check_compat(indexer, options.compat)?;
    run::run(dataset, indexer, workforce, options, observer)
}

/// What [`run`] would do with the same options; writes nothing.
///
/// # Errors
/// Also those of [`check_compat`].
pub fn dry_run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &RunOptions,
) -> Result<Preview, IndexError> {
    check_compat(indexer, options.compat)?;
    run::dry_run(dataset, indexer, workforce, options)
}

/// Which indexers' run markers vouch for artifacts of an image: the artifacts' keys below the image's group, with the indexers' names.
///
/// # Errors
/// Where the image cannot be read.
pub fn vouched_for(record: &Record) -> Result<BTreeMap<String, String>, DatasetError> {
    artifacts::vouched_for(record)
}

/// Every reason that holds for one image; writes nothing.
///
/// # Errors
/// [`IndexError::UnknownImages`] where the dataset lacks it.
pub fn explain(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    image_id: &str,
    compat: Compat,
) -> Result<Explanation, IndexError> {
    explain::explain(dataset, indexer, workforce, image_id, compat)
}

/// Extracts fresh images again, twice, and compares rows and artifacts; writes nothing.
pub fn verify(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<Verification, IndexError> {
    verify::verify(dataset, indexer, workforce, options, observer)
}

/// Makes rows that are there count as fresh: their provenance columns become those of now, and the markers keep the old
/// values and the reason.
pub fn adopt(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &AdoptOptions,
    observer: &mut dyn Observer,
) -> Result<AdoptOutcome, IndexError> {
    adopt::adopt(dataset, indexer, workforce, options, observer)
}

/// Deletes an indexer's table, which nobody else changes meanwhile; `false` where there is none. The run markers stay: they
/// do not agree with a table without rows, so the next run makes it again.
pub fn drop_table(
    dataset: &Dataset,
    name: &names::TableName,
    wait: Duration,
    observer: &mut dyn Observer,
) -> Result<bool, IndexError> {
    let _lock = locks::hold(dataset, name, &format!("{}, table drop", name.indexer()), wait, observer)?;
    Ok(dataset.delete_table(name.table())?)
}

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;

#[cfg(test)]
mod trust_tests;
