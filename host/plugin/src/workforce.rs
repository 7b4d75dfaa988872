//! What runs an indexer over images, as the engine sees it.
//!
//! Holds the trait and its types only; `pool` and `in_process` implement it.

use crate::error::PluginError;
use crate::failure::Failure;
use crate::indexer::Made;
use arrow::array::RecordBatch;
use kymhost_dataset::{Input, MissingChunks};
use kymhost_plugin_api::RunMarker;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How a plugin is run.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Workers (or threads) at most.
    pub jobs: usize,
    /// For one image; none by default.
    pub timeout: Option<Duration>,
    /// Bytes of resident memory a worker.
    pub max_memory: Option<u64>,
    /// What missing chunks of an array are to plugins.
    pub missing_chunks: MissingChunks,
    /// No worker processes: for debuggers.
    pub in_process: bool,
    /// The program that serves as worker when started with the argument `worker` (see [`crate::worker_main`]); this program by default.
    pub program: Option<PathBuf>,
    /// Once true, the pool stops: what runs is cancelled, and its calls give what is done by then and return `Ok`.
    pub stop: Arc<AtomicBool>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            jobs,
            timeout: None,
            max_memory: None,
            missing_chunks: MissingChunks::default(),
            in_process: false,
            program: None,
            stop: Arc::default(),
        }
    }
}

impl PoolOptions {
    /// So many workers, without limits.
    pub fn new(jobs: usize) -> Self {
        Self { jobs, ..Self::default() }
    }
}

/// What runs an indexer over images. The pools of this room implement it; tests of `index` bring their own.
///
/// Each call answers every index exactly once through its sink, in rising order of the index (results that come
/// early wait, bounded), unless it returns an error, or the sink or [`PoolOptions::stop`] says to stop.
pub trait Workforce: Send {
    /// The SHA-256 (lower-case hex) of the library that is, or will be, loaded. Starts no worker. Once it was told, a
    /// worker that finds another file in the library's place is refused ([`PluginError::Refused`], code `changed`).
    fn library_sha256(&mut self) -> Result<String, PluginError>;
    /// The current params hash of each image, and what it was made from. The params themselves may be left out.
    fn params_hashes(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<ParamsReading, Failure>),
    ) -> Result<(), PluginError>;
    /// As [`Workforce::params_hashes`], with the params themselves.
    fn params_readings(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<ParamsReading, Failure>),
    ) -> Result<(), PluginError> {
        self.params_hashes(image_ids, sink)
    }
    /// What the indexer makes of old markers' JSON texts.
    fn read_old_markers(
        &mut self,
        payloads: &[Vec<u8>],
        sink: &mut dyn FnMut(usize, Result<Option<RunMarker>, Failure>),
    ) -> Result<(), PluginError>;
    /// The rows of each image, with the params hash that held when they were extracted. The sink returns `false` to stop: nothing more is begun,
    /// what runs is cancelled, and the call returns `Ok`.
    fn extract_rows(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<Extracted, Failure>) -> bool,
    ) -> Result<(), PluginError>;
}

/// One image's rows as the indexer gave them, checked to be a table (no ragged, duplicate or unnamed columns).
///
/// All that it was made from held still from the first read to the end of the extraction: where it did not, the image
/// was tried once more, and then failed with [`FailureKind::InputChanged`](crate::FailureKind::InputChanged).
#[derive(Debug, Clone)]
pub struct Extracted {
    /// The rows, without the host's provenance columns unless the indexer had them.
    pub rows: RecordBatch,
    /// The image's params. Their hash was the same before the extraction and after it.
    pub params: ParamsReading,
    /// What `extract_rows` read of the image, sorted by key; never what the indexer itself leaves there.
    pub inputs: Vec<Input>,
    /// The artifacts that it handed over, all of them declared, each once, in the order of the declaration.
    pub artifacts: Vec<Made>,
}

/// An image's params as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamsReading {
    /// The params hash.
    pub hash: String,
    /// The params as canonical JSON text. `None` if they were not asked for, are too long to be kept
    /// ([`MAX_PARAMS_BYTES`]), or the indexer gives none.
    #[serde(rename = "params")]
    pub value: Option<String>,
    /// What the indexer read of the image for it, sorted by key.
    pub inputs: Vec<Input>,
}

impl ParamsReading {
    /// A hash of which it is not known what it was made from.
    pub fn of(hash: impl Into<String>) -> Self {
        Self { hash: hash.into(), value: None, inputs: Vec::new() }
    }
}

/// How long params may be to be kept, in bytes of canonical JSON text.
pub const MAX_PARAMS_BYTES: usize = 64 << 10;
