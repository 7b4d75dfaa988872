//! The run marker: what a run leaves for each image.
//! Owns: its fields and the rules by which one is valid. Never: where it is kept.

use crate::Json;

/// A valid run marker's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunMarker {
    /// Whose run it was. No rule looks at it.
    pub indexer_name: String,
    /// The params hash of the run.
    pub params_hash: String,
    /// The indexer's analysis version at the run.
    pub analysis_version: String,
    /// How many rows the run gave for this image.
    pub n_rows: u64,
    /// When, in nanoseconds since the Unix epoch, UTC.
    pub ran_utc_epoch_ns: i64,
    /// `"ok"`; no rule looks at it.
    pub status: String,
}

impl RunMarker {
    /// A marker with status `"ok"`.
    pub fn new(
        indexer_name: impl Into<String>,
        params_hash: impl Into<String>,
        analysis_version: impl Into<String>,
        n_rows: u64,
        ran_utc_epoch_ns: i64,
    ) -> Self {
        Self {
            indexer_name: indexer_name.into(),
            params_hash: params_hash.into(),
            analysis_version: analysis_version.into(),
            n_rows,
            ran_utc_epoch_ns,
            status: "ok".into(),
        }
    }

    /// Reads a marker of version `"1"`; `None` where it is not a valid one.
    pub fn from_json(payload: &Json) -> Option<Self> {
        let _ = payload;
        unimplemented!()
    }

    /// The payload that is kept, in kymflow's order of fields.
    pub fn to_json(&self) -> Json {
        unimplemented!()
    }
}
