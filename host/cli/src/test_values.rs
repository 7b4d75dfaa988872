//! Values for the unit tests of this crate.

use kymhost_index::staleness::{ImageReport, Reason};

/// A report of a recording with a run marker and rows.
pub fn report(image_id: &str, reason: Reason) -> ImageReport {
    ImageReport {
        image_id: image_id.to_owned(),
        reason,
        is_stale: reason.is_stale(),
        has_run_marker: true,
        table_rows_present: true,
        marker_n_rows: None,
        params_hash_matches: true,
        analysis_version_matches: false,
        error: None,
        inputs: Vec::new(),
        notes: Vec::new(),
    }
}
