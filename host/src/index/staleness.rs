//! Whether an image is stale, and why: a pure function over values.
//! Owns: the seven reasons and their order. Never: I/O.

/// Why an image is fresh or stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// `FRESH_ROWS`
    FreshRows,
    /// `FRESH_ZERO_ROWS`
    FreshZeroRows,
    /// `STALE_MISSING_MARKER`
    StaleMissingMarker,
    /// `STALE_MARKER_TABLE_MISMATCH`
    StaleMarkerTableMismatch,
    /// `STALE_VERSION_CHANGED`
    StaleVersionChanged,
    /// `STALE_PARAMS_CHANGED`
    StaleParamsChanged,
    /// `STALE_UNKNOWN`
    StaleUnknown,
    /// `STALE_UNREADABLE`: the image cannot be judged. Ours, not kymflow's.
    StaleUnreadable,
}

/// The report for one image; the names are those of `status --json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct ImageReport {
    pub image_id: String,
    pub reason: Reason,
    pub is_stale: bool,
    pub has_run_marker: bool,
    pub table_rows_present: bool,
    pub marker_n_rows: Option<u64>,
    pub params_hash_matches: bool,
    pub analysis_version_matches: bool,
    /// Why it cannot be judged, with [`Reason::StaleUnreadable`].
    pub error: Option<String>,
}
