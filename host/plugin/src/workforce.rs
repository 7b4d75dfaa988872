//! The trait for running an indexer over images, and its types. `pool` and `in_process` implement it.

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
    /// The most workers (or threads).
    pub jobs: usize,
    /// The limit for one image; none by default.
    pub timeout: Option<Duration>,
    /// The limit of resident memory per worker, in bytes.
    pub max_memory: Option<u64>,
    /// What plugins get for missing chunks of an array.
    pub missing_chunks: MissingChunks,
    /// Run the plugin without worker processes, for debuggers.
    pub in_process: bool,
    /// The program that serves as worker when started with the argument `worker` (see [`crate::worker_main`]); this program by default.
    pub program: Option<PathBuf>,
    /// Once true, the pool stops: running work is cancelled, and its calls give the answers so far and return `Ok`.
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
    /// This many workers, without limits.
    pub fn new(jobs: usize) -> Self {
        Self { jobs, ..Self::default() }
    }
}

/// Runs an indexer over images. The pools of this crate implement it; tests of `index` have their own.
///
/// Each call answers every index exactly once through its sink, in rising order, unless it returns an error or the sink or
/// [`PoolOptions::stop`] stops it. Early results wait, up to a limit.
pub trait Workforce: Send {
    /// The SHA-256 (lower-case hex) of the library that is, or will be, loaded. Starts no worker. After this call, a worker
    /// that finds another file in place of the library is refused ([`PluginError::Refused`], code `changed`).
    fn library_sha256(&mut self) -> Result<String, PluginError>;
    /// The current params hash of each image and its inputs. The params themselves may be left out.
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
    /// What the indexer reads in the JSON texts of old markers.
    fn read_old_markers(
        &mut self,
        payloads: &[Vec<u8>],
        sink: &mut dyn FnMut(usize, Result<Option<RunMarker>, Failure>),
    ) -> Result<(), PluginError>;
    /// The rows of each image, with the params hash during their extraction. If the sink returns `false`, no more image is
    /// begun, running work is cancelled, and the call returns `Ok`.
    fn extract_rows(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<Extracted, Failure>) -> bool,
    ) -> Result<(), PluginError>;
}

/// One image's rows from the indexer. They are a table: no ragged, duplicate or unnamed columns.
///
/// No input changed from the first read to the end of the extraction. If one does, the image is tried a second time and then
/// fails with [`FailureKind::InputChanged`](crate::FailureKind::InputChanged).
#[derive(Debug, Clone)]
pub struct Extracted {
    /// The rows, without the host's provenance columns unless the indexer gave them.
    pub rows: RecordBatch,
    /// The image's params. Their hash was the same before the extraction and after it.
    pub params: ParamsReading,
    /// What `extract_rows` read of the image, sorted by key; never what the indexer itself writes there.
    pub inputs: Vec<Input>,
    /// The artifacts that it wrote: all declared, each once, in the order of the declaration.
    pub artifacts: Vec<Made>,
}

/// An image's params at one moment.
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
    /// A hash without known inputs.
    pub fn of(hash: impl Into<String>) -> Self {
        Self { hash: hash.into(), value: None, inputs: Vec::new() }
    }
}

/// Longer params are not kept, in bytes of canonical JSON text.
pub const MAX_PARAMS_BYTES: usize = 64 << 10;
