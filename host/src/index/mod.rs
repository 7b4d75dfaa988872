//! Keeping one table per indexer up to date: markers, staleness, planning, running, committing.
//!
//! Owns: the rules. Never: parses arguments, prints.

pub mod merge;
pub mod names;
pub mod provenance;
pub mod staleness;

use crate::dataset::{Dataset, DatasetError};
use crate::plugin::{Failure, IndexerInfo, PluginError, Workforce};
use staleness::{ImageReport, Reason};

/// Which images a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every image.
    Replace,
    /// Stale images only.
    Incremental,
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
    /// Another run holds the table.
    #[error("another run holds {table}: {holder}")]
    Locked {
        /// The table.
        table: String,
        /// Who.
        holder: String,
    },
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
}

/// Judges every image; writes nothing.
pub fn status(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    compat: Compat,
) -> Result<Status, IndexError> {
    let _ = (dataset, indexer, workforce, compat);
    unimplemented!()
}

/// Brings the indexer's table up to date.
pub fn run(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    mode: Mode,
    compat: Compat,
    observer: &mut dyn Observer,
) -> Result<RunOutcome, IndexError> {
    let _ = (dataset, indexer, workforce, mode, compat, observer, Reason::FreshRows);
    unimplemented!()
}
