//! How large what a dataset holds may be. `docs/reference/limits.md` is generated from these.
//!
//! Each bound is on what is made in memory as well as on what is read: a small file can make much.

/// The text of a small document: attributes, groups, params, metadata, run markers.
pub const MAX_SMALL_TEXT_BYTES: u64 = 16 << 20;
/// What such a text may make in memory.
pub const MAX_SMALL_VALUE_BYTES: usize = 64 << 20;
/// The text of a JSON artifact that is ingested.
pub const MAX_INGESTED_TEXT_BYTES: u64 = 64 << 20;
/// What a JSON artifact may make in memory while it is ingested.
pub const MAX_INGESTED_VALUE_BYTES: usize = 256 << 20;
/// The text of a manifest.
pub const MAX_MANIFEST_TEXT_BYTES: u64 = 128 << 20;
/// What a manifest may make in memory.
pub const MAX_MANIFEST_VALUE_BYTES: usize = 256 << 20;
/// What kymhost notes about a table: seals, intents, failures.
pub const MAX_LEDGER_BYTES: u64 = 64 << 20;
/// How many things one indexer may read of one image for its params, and as many for its rows: all of them are in the
/// run marker.
pub const MAX_INPUTS: usize = 16_000;
/// The names of those things in all.
pub const MAX_INPUT_KEY_BYTES: usize = 1 << 20;
/// An array, decoded.
pub const MAX_ARRAY_BYTES: u64 = 8 << 30;
/// One chunk of an array, decoded: Blosc's own bound.
pub const MAX_CHUNK_BYTES: u64 = (1 << 31) - 17;
/// The chunks of an array: each is a file.
pub const MAX_CHUNKS: u64 = 1 << 22;
/// A `.zarray`, which has a few hundred bytes.
pub const MAX_LAYOUT_BYTES: u64 = 1 << 20;
/// A table in memory, packed or unpacked.
pub const MAX_TABLE_BYTES: u64 = 8 << 30;
/// The rows of a table.
pub const MAX_TABLE_ROWS: i64 = 1 << 32;
/// How deep the folders of artifacts may nest.
pub const MAX_FOLDERS: usize = 32;
