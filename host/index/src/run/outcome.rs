//! What a run or a dry run reports, and the figures of a run.

use super::context::Context;
use super::scheme::Scheme;
use crate::commit::Committer;
use crate::error::MassRemoval;
use crate::observer::ImageFailure;
use crate::options::Mode;
use crate::rewrite::Widening;
use crate::select;
use crate::staleness::{ImageReport, Reason};
use std::time::Duration;

/// The figures of a run; the names are those of `run --json`. They are of the selected images alone (see
/// [`Selection`](crate::Selection)), and `total_images` = `updated` + `skipped_fresh` + `skipped_zero_rows` +
/// `failed` + `not_run`.
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
    /// The time of the checkpoints among them: commits made because it was time, not because memory was full.
    pub checkpoint_time: Duration,
    /// Whether all images were extracted again because a column's type changed.
    pub recomputed: bool,
    /// Whether the run stopped because `max_failures` images had failed.
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
    /// The ids of those that another indexer of the same run is to do first (see
    /// [`order::wait_for`](crate::order::wait_for)).
    pub pending_upstream: Vec<String>,
    /// Images that are no longer in the dataset and whose rows would be removed, with how many rows.
    pub would_prune: Vec<(String, u64)>,
    /// Why the guard would refuse, if it would.
    pub refusal: Option<MassRemoval>,
}

/// What the outcome reports in addition to what the committer counts.
pub(super) struct Figures {
    pub(super) freshened: u64,
    pub(super) is_recompute: bool,
    pub(super) stopped_by_failures: bool,
}

impl Context<'_> {
    pub(super) fn outcome(&self, scheme: Scheme, mut committer: Committer<'_>, figures: Figures) -> RunOutcome {
        let Figures { freshened, is_recompute, stopped_by_failures } = figures;
        let options = self.options;
        let mut stats = Stats::default();
        for image in &scheme.plan.images {
            let (id, reason) = (image.report.image_id.as_str(), image.report.reason);
            if !is_recompute && !select::is_selected(&options.selection, id, reason) {
                continue;
            }
            stats.total_images += 1;
            if !is_recompute && !select::is_to_do(options, &image.report) {
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
            recomputed: is_recompute && !committer.is_leaving(),
            stopped_by_failures,
        }
    }
}
