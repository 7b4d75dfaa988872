//! The dataset format shared with kymflow: groups, records, artifacts, arrays, tables, manifest.
//!
//! Responsible for: where each thing is kept and in what form. Never decides what is stale or what is to be done.
//! The format in words: `docs/reference/dataset-format.md`.

mod array_layout;
mod arrays;
mod artifact_keys;
mod attributes;
pub mod cells;
mod dataset;
mod dataset_tables;
mod draft;
mod dtype;
mod error;
mod guarded;
mod gzip;
mod hex;
mod info;
mod input;
mod input_check;
mod input_digest;
pub mod limits;
mod manifest;
mod missing_chunks;
mod names;
mod produced;
mod record;
mod structure;
mod table_file;
mod table_writer;
mod tables;
mod validate;
mod view;
mod watch;
mod well_known;
mod zstd_pages;

pub use artifact_keys::{Own, artifact_keys};
pub use dataset::{Dataset, FORMAT, PreparedJson, SCHEMA_VERSION};
pub use draft::{ArrayInfo, ImageDraft, StagedImage, StagedPixels, default_axes, safe_artifact_name};
pub use draft::{check_array, check_pixels, check_rows};
pub use dtype::{dtype_text, parse_dtype};
pub use error::DatasetError;
pub use guarded::MAX_TRIES;
pub use gzip::decompress as gunzip;
pub use hex::hex;
pub use info::{Info, TableInfo};
pub use input::{Input, InputCheck, InputState, Times};
pub use input_check::{check_input, look, settle};
pub use manifest::ManifestDifference;
pub use missing_chunks::MissingChunks;
pub use produced::{Payload, PreparedArtifact};
pub use record::Record;
pub use structure::DatasetLock;
pub use table_file::TableFile;
pub use table_writer::{TableWriter, copyable_groups, kept_schema};
pub use tables::parse_parquet;
pub use validate::{Findings, Problem, validate};
pub use view::{View, epoch_ns};
pub use watch::InputsError;
pub use well_known::{IMAGE_ID, METADATA, PROVENANCE, TABLE_PREFIX};
