//! What we keep in a run marker beside the predecessor's fields, under the one field `kymhost`.
//!
//! Owns: its form, reading markers with it (fast) and writing them. Never: I/O, what follows from it.

use crate::dataset::Input;
use kymhost_plugin_api::{Json, RunMarker};

/// The field of a marker that is ours.
pub const FIELD: &str = "kymhost";
/// The form of what is under it. Another one counts as no receipt at all: the marker is judged by the old rules.
pub const FORMAT: u64 = 1;

/// What a run recorded of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The SHA-256 of the library that made the rows.
    pub library_sha256: String,
    /// The digest of the image's rows (see [`super::rows_digest`]).
    pub rows_sha256: String,
    /// The params as canonical JSON text, for people and for `explain`; `None` where they are too long to be kept.
    pub params: Option<String>,
    /// What the params were made from; `None` where that is not known.
    pub params_inputs: Option<Vec<Input>>,
    /// What the rows were made from; `None` where that is not known: then a change of it goes unseen.
    pub rows_inputs: Option<Vec<Input>>,
    /// Set where a person said that rows made otherwise count.
    pub adopted: Option<Adoption>,
}

/// What `adopt` keeps of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The params hash that the rows had; `None` where they had several or none.
    pub params_hash: Option<String>,
    /// The analysis version that the rows had; `None` where they had several or none.
    pub analysis_version: Option<String>,
    /// Why, in the words of who did it.
    pub reason: String,
    /// When, in nanoseconds since the Unix epoch, UTC.
    pub utc_epoch_ns: i64,
}

/// A marker with what is ours in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMarker {
    /// The predecessor's fields.
    pub marker: RunMarker,
    /// Ours; `None` where there is none, or of another form.
    pub receipt: Option<Receipt>,
}

/// The marker's payload: the predecessor's fields in their order, then ours.
pub fn to_json(marker: &RunMarker, receipt: &Receipt) -> Json {
    let _ = (marker, receipt);
    todo!("engine")
}

/// Reads a marker: `None` where it is not a valid one. As [`RunMarker::from_json`] over the parsed text decides, at a
/// fraction of its cost for markers of ours.
pub fn read(text: &[u8]) -> Option<ReadMarker> {
    let _ = text;
    todo!("engine")
}
