//! What a run is asked to do: its mode, whose rules, which images, and its limits.

use crate::error::IndexError;
use crate::staleness::Reason;
use kymhost_plugin::IndexerInfo;
use std::collections::BTreeSet;
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
    /// Ours: kymflow's, and if those say fresh, what the marker's receipt says of inputs and rows.
    #[default]
    Kymhost,
    /// kymflow's, to the letter; markers, tables and statistics as it writes them.
    Kymflow,
}

/// Which images a run does, of those that its mode does. The others are ignored: no figure of [`Stats`](crate::Stats)
/// counts them, and they keep rows and markers. Their reports are among
/// [`RunOutcome::decisions`](crate::RunOutcome::decisions) all the same.
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
    /// All images are extracted again, into a new table.
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
    /// Remove rows of deleted images even if the guard would refuse (`--yes`).
    pub allow_mass_removal: bool,
    /// Stop, and commit, after so many images whose extraction failed (at least one). Those that are not tried because
    /// they cannot be judged do not count.
    pub max_failures: Option<u64>,
    /// When a column's type changes.
    pub on_schema_change: OnSchemaChange,
    /// How long to wait for another run to release the table.
    pub wait: Duration,
    /// The least time between two commits of one run; the real one grows with what a commit costs.
    pub checkpoint_interval: Duration,
    /// Rows held in memory, in bytes, at which a commit is made in any case: the pool limits what is being extracted
    /// at the same time.
    pub max_held_bytes: u64,
    /// The images of the dataset, if they are listed already; otherwise the run lists them.
    pub listing: Option<Arc<Vec<String>>>,
    /// Overwrite foreign artifacts with those that the indexer makes; otherwise those images fail.
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

/// Whether an indexer can run by these rules: kymflow's have no intents and receipts, which say whose an artifact is.
///
/// # Errors
/// [`IndexError::ArtifactsByKymflow`] for an indexer that makes artifacts.
pub(crate) fn check_compat(indexer: &IndexerInfo, compat: Compat) -> Result<(), IndexError> {
    match compat {
        Compat::Kymflow if !indexer.writes.is_empty() => Err(IndexError::ArtifactsByKymflow(indexer.name.clone())),
        Compat::Kymflow | Compat::Kymhost => Ok(()),
    }
}
