//! The results of checks, and the report that they make.

use crate::check::check_list::Check;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The indexer does what the check demands.
    Passed,
    /// It does not do so.
    Failed,
    /// It does so, but somebody should look at something.
    Warned,
    /// The check could not be done; the message says why.
    Skipped,
    /// The process of the check died or did not end.
    Crashed,
}

impl Status {
    /// Its name in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Warned => "warned",
            Self::Skipped => "skipped",
            Self::Crashed => "crashed",
        }
    }

    /// Whether the plugin is at fault.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Crashed)
    }
}

/// The result of a check: the message of one that passed, or another outcome. So `?` ends a check early.
pub(crate) type Judged = Result<String, Outcome>;

/// The result of a check, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// One line or a few, for people.
    pub message: String,
}

impl Outcome {
    pub(crate) fn passed(message: impl Into<String>) -> Self {
        Self { status: Status::Passed, message: message.into() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { status: Status::Failed, message: message.into() }
    }

    pub(crate) fn warned(message: impl Into<String>) -> Self {
        Self { status: Status::Warned, message: message.into() }
    }

    pub(crate) fn skipped(message: impl Into<String>) -> Self {
        Self { status: Status::Skipped, message: message.into() }
    }

    /// For a library that kymhost refuses.
    pub(crate) fn refused(code: &str, why: &str, help: &str) -> Self {
        Self::failed(format!("{why} [{code}]\n{help}"))
    }

    pub(crate) fn crashed(message: impl Into<String>) -> Self {
        Self { status: Status::Crashed, message: message.into() }
    }
}

/// A check that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Which check.
    pub check: Check,
    /// Its result.
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The checks of one indexer.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexerReport {
    /// Its name.
    pub indexer: String,
    /// In the order of [`Check::ALL`].
    pub checks: Vec<Checked>,
}

/// The results of all checks of a library.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its file.
    pub library: PathBuf,
    /// The seed of the made-up records.
    pub seed: u64,
    /// Whether it can be loaded.
    pub is_loaded: bool,
    /// Checks of the library as a whole.
    pub checks: Vec<Checked>,
    /// Checks of its indexers; empty if it cannot be loaded.
    pub indexers: Vec<IndexerReport>,
}

impl Report {
    /// Every check that was done.
    pub fn all(&self) -> impl Iterator<Item = &Checked> {
        self.checks.iter().chain(self.indexers.iter().flat_map(|indexer| &indexer.checks))
    }

    /// How many checks ended with this status.
    pub fn count(&self, status: Status) -> usize {
        self.all().filter(|checked| checked.outcome.status == status).count()
    }
}
