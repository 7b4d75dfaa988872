//! Files of other formats into records, and out again.
//!
//! Owns: which files are recordings and what stands beside them; TIFF, NPY, the Olympus header and kymflow's JSON; the
//! metadata payload; `tables/sources.parquet`; the folder that an export makes. Never: touches a table of an indexer, prints.
//!
//! What is read here was written by strangers: every length is checked before anything is set aside for it, and a decoder that panics fails
//! its file alone. The rules in words: `docs/reference/recordings.md`.

mod directory;
mod error;
mod export;
mod find;
mod listing;
mod metadata;
mod npy;
mod olympus;
mod place;
mod plan;
mod run;
mod sidecar;
mod sources;
mod tiff;

pub use error::{FileError, FileErrorKind, IngestError};
pub use export::{ExportOptions, Exported, export, write_tiff};
pub use find::{Beside, Found, Recording, Role, find};
pub use plan::{Action, Plan, Vanished, plan};
pub use run::{FileOutcome, IngestOptions, Observer, Outcome, What, ingest};
pub use sidecar::Form;

use kymhost_store::time::epoch_ns;
use std::path::Path;

/// The most bytes that one recording may have, decoded: as much as an array of a dataset.
pub const MAX_PIXEL_BYTES: u64 = 8 << 30;
/// The most bytes of a header in text.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// The most bytes of a document beside a recording.
const MAX_SIDECAR_BYTES: u64 = 256 << 20;

/// Size and time of a file: what it is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change of the content, nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl Stamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let mtime_ns = metadata.modified().map(epoch_ns).unwrap_or_default();
        Self { size: metadata.len(), mtime_ns }
    }
}

/// Reads a file of at most `limit` bytes, a regular one. Never waits for a FIFO.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file =
        std::fs::File::options().read(true).custom_flags(nonblocking).open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let too_large = || format!("it has more than {limit} bytes, the most that kymhost reads of such a file");
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let expected = usize::try_from(metadata.len()).map_err(|_| too_large())?;
    bytes.try_reserve_exact(expected.saturating_add(1)).map_err(|error| error.to_string())?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}
