//! Keeping one table per indexer up to date: markers, staleness, planning, running, committing.
//!
//! Owns: the rules. Never: parses arguments, prints.

mod markers;
pub mod merge;
pub mod names;
mod plan;
pub mod provenance;
mod run;
pub mod staleness;

use crate::dataset::{Dataset, DatasetError};
use crate::plugin::{Failure, IndexerInfo, PluginError, Workforce};
use staleness::ImageReport;
use std::fmt;
use std::str::FromStr;

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
#[non_exhaustive]
pub enum Compat {
    /// kymflow's, to the letter.
    #[default]
    Kymflow,
}

/// Why a run or a status could not be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The name may not be an indexer's.
    #[error("'{name}' cannot name an indexer: {why}")]
    BadName {
        /// The name.
        name: String,
        /// The rule.
        why: &'static str,
    },
    /// There is no such mode.
    #[error("there is no mode '{0}'; it is 'replace' (every image) or 'incremental' (stale images only)")]
    UnknownMode(String),
    /// Another run holds the table.
    #[error("another run holds {table}: {holder}")]
    Locked {
        /// The table.
        table: String,
        /// Who.
        holder: String,
    },
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
}

/// The figures of a run; the names are those of `run --json`.
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
    /// Whether to stop: asked after each image. What is done by then is committed.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Judges every image; writes nothing.
pub fn status(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    compat: Compat,
) -> Result<Status, IndexError> {
    let Compat::Kymflow = compat;
    let name = names::TableName::of(&indexer.name)?;
    let plan = plan::plan(dataset, indexer, &name, workforce)?;
    Ok(Status {
        indexer: name.indexer().to_owned(),
        table: name.key_text(),
        images: plan.images.into_iter().map(|image| image.report).collect(),
    })
}

/// Brings the indexer's table up to date. Where nothing is to be done, nothing is written.
pub fn run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    mode: Mode,
    compat: Compat,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, IndexError> {
    let Compat::Kymflow = compat;
    run::run(dataset, indexer, workforce, mode, observer)
}

#[cfg(test)]
mod tests;
