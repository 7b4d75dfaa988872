//! Imports recordings of other formats into a dataset, and exports them again.
//!
//! Responsible for: which files are recordings and which files belong to them; TIFF, NPY, the Olympus header and
//! kymflow's JSON; the metadata payload; `tables/sources.parquet`; the folder of an export. Never touches an
//! indexer's table.
//!
//! The files come from strangers: every length is checked before anything is allocated for it, and a decoder that
//! panics fails its file alone. The rules in words: `docs/reference/recordings.md`.

mod directory;
mod error;
mod export;
mod files;
mod find;
mod listing;
mod metadata;
mod npy;
mod olympus;
mod outcome;
mod place;
mod plan;
mod prepare;
mod publish;
mod run;
mod sidecar;
mod sources;
mod tiff;

pub use error::{FileError, FileErrorKind, IngestError};
pub use export::{ExportOptions, ExportOutcome, export, write_tiff};
pub use files::FileStamp;
pub use find::{FoundRecordings, Recording, SidecarFile, SidecarRole, find};
pub use outcome::{FileOutcome, FileStatus, IngestObserver, IngestOutcome};
pub use plan::Vanished;
pub use run::{IngestOptions, ingest};
pub use sidecar::SidecarForm;
