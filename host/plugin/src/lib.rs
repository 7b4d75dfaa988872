//! Indexers from dynamic libraries: finding, checking, loading, and the workers that run them.
//!
//! Owns: library search, cards, doors (binary contracts), worker processes and their protocol.
//! Never: touches the dataset's tables or decides what is stale.

mod c_door;
mod card_file;
mod door;
mod error;
mod in_process;
mod job;
mod library;
mod lockfile;
mod made;
mod names;
mod platform;
mod pool;
mod process;
mod protocol;
mod refusal;
mod rust_door;
mod schedule;
mod schema;
mod search;
mod trust;
mod worker;

pub use card_file::{CardFile, read_card, read_card_file};
pub use error::{HOST_API, LockError, PluginError};
pub use library::check_versions;
pub use library::library_sha256;
pub use library::load_library;
pub use lockfile::{LockFile, Locked, LockedIndexer, Origin, Place};
pub use names::{TABLE_PREFIX, fault_of_name, plain_name};
pub use platform::{FileFormat, Platform};
pub use refusal::{CardSummary, Refusal};
pub use schema::{Schema, SchemaError, is_same_value};
pub use search::{SearchPath, find_plugin, list_plugins};
pub use search::{locate, missing, refusal_of_file, vet_unpinned};
pub use trust::Trust;
pub use worker::worker_main;
pub use worker::{take_pipes, watch_host};

use arrow::array::RecordBatch;
use kymhost_dataset::{Dataset, Input, Own, Payload, Record};
use kymhost_plugin_api::card::CardIndexer;
use kymhost_plugin_api::{Artifact, Json, RunMarker};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a library says of one of its indexers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexerInfo {
    /// Its name: `[a-z0-9_]+`.
    pub name: String,
    /// Its analysis version.
    pub analysis_version: String,
    /// The artifact that holds its run marker.
    pub marker_name: String,
    /// The JSON artifacts that hold its params.
    pub params_artifacts: Vec<String>,
    /// The artifacts that it may hand to the host, by name and kind.
    pub writes: Vec<Artifact>,
    /// The artifacts that it reads and another indexer may write.
    pub reads: Vec<String>,
    /// The JSON Schema of its params, as text; empty where it declares none.
    pub params_schema: String,
}

impl IndexerInfo {
    /// What it leaves in a record itself.
    pub fn own(&self) -> Own<'_> {
        Own { marker_name: &self.marker_name, writes: &self.writes }
    }
}

impl From<&CardIndexer> for IndexerInfo {
    fn from(card: &CardIndexer) -> Self {
        Self {
            name: card.name.clone(),
            analysis_version: card.analysis_version.clone(),
            marker_name: card.marker.clone(),
            params_artifacts: card.params_artifacts.clone(),
            writes: card.writes.clone(),
            reads: card.reads.clone(),
            params_schema: card.params_schema.clone(),
        }
    }
}

/// An indexer that was found: which library, and what its card says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The library's file.
    pub library: PathBuf,
    /// The indexer in it.
    pub indexer: IndexerInfo,
    /// The digest that was seen when it was found, where it had to be known: no other file is loaded.
    pub pin: Option<trust::Pin>,
    /// What the library's card says, for errors.
    pub card: CardSummary,
}

/// Why an image failed; the names are those of `run --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// `error`: the indexer returned one.
    Error,
    /// `panic`
    Panic,
    /// `abort`
    Abort,
    /// `signal`
    Signal,
    /// `exit`
    Exit,
    /// `timeout`
    Timeout,
    /// `memory`
    Memory,
    /// `bad_table`
    BadTable,
    /// `input_changed`
    InputChanged,
    /// `unreadable`: an artifact is there but broken.
    Unreadable,
}

impl FailureKind {
    const ALL: [Self; 10] = [
        Self::Error,
        Self::Panic,
        Self::Abort,
        Self::Signal,
        Self::Exit,
        Self::Timeout,
        Self::Memory,
        Self::BadTable,
        Self::InputChanged,
        Self::Unreadable,
    ];

    /// Its name in `run --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Abort => "abort",
            Self::Signal => "signal",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::BadTable => "bad_table",
            Self::InputChanged => "input_changed",
            Self::Unreadable => "unreadable",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault of an indexer that kymhost itself found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FailureCause {
    /// It tried to hand over an artifact that it does not declare, and then failed.
    Undeclared {
        /// The artifact's name.
        artifact: String,
    },
    /// It gave a params hash of a length that is not allowed.
    BadHash {
        /// The length, in bytes.
        bytes: usize,
    },
    /// It failed without saying why.
    NoReason,
}

/// Why one image could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What sort.
    pub kind: FailureKind,
    /// For people.
    pub message: String,
    /// More about it, if kymhost itself found the fault.
    pub cause: Option<FailureCause>,
    /// What had been read of the image by then; empty where that is not known (the worker died).
    pub inputs: Vec<Input>,
}

impl Failure {
    /// A failure without a known cause or inputs.
    pub fn new(kind: FailureKind, message: String) -> Self {
        Self { kind, message, cause: None, inputs: Vec::new() }
    }
}

/// How long a failure's text may be, in bytes.
const MAX_FAILURE_BYTES: usize = 4 << 10;

/// A plugin's own text as a failure's: of bounded length, and nothing in it that a terminal would obey.
fn failure_text(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_FAILURE_BYTES);
    let mut kept: String = text
        .get(..end)
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect();
    if end < text.len() {
        kept.push_str(&format!("… ({} bytes in all)", text.len()));
    }
    kept
}

/// How a plugin is run.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Workers (or threads) at most.
    pub jobs: usize,
    /// For one image; none by default.
    pub timeout: Option<Duration>,
    /// Bytes of resident memory a worker.
    pub max_memory: Option<u64>,
    /// No worker processes: for debuggers.
    pub in_process: bool,
    /// The program that serves as worker when started with the argument `worker` (see [`worker_main`]); this program by default.
    pub program: Option<PathBuf>,
    /// Once true, the pool stops: what runs is cancelled, and its calls give what is done by then and return `Ok`.
    pub stop: Arc<AtomicBool>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        Self { jobs, timeout: None, max_memory: None, in_process: false, program: None, stop: Arc::default() }
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
/// was tried once more, and then failed with [`FailureKind::InputChanged`].
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

/// An artifact that an extraction handed over.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its name, as the indexer said it.
    pub name: String,
    /// What it is.
    pub payload: Payload,
}

/// What an extraction gave.
#[derive(Debug, Clone)]
pub struct Produced {
    /// The rows.
    pub rows: RecordBatch,
    /// The artifacts.
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

/// Starts the pool that the options ask for. Workers are started lazily, at the first call that needs them.
///
/// # Errors
/// [`PluginError::Worker`] where the program that serves as worker cannot be told; [`PluginError::Refused`] where the
/// dataset's lock file asks for another library (code `digest_changed`) or is broken (`bad_lock`).
pub fn open_pool(plugin: &Plugin, dataset: &Dataset, options: &PoolOptions) -> Result<Box<dyn Workforce>, PluginError> {
    let plugin = &trust::for_dataset(plugin, dataset)?;
    if options.in_process {
        return Ok(Box::new(job::Pool::new(in_process::Threads::new(
            plugin.clone(),
            dataset.clone(),
            options.clone(),
        ))));
    }
    if std::env::var_os(process::INSIDE).is_some() {
        return Err(PluginError::worker("this process is a worker itself; workers do not start workers"));
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|error| PluginError::worker(format!("cannot find this program's own file: {error}")))?,
    };
    let dataset = dataset.store().root();
    let dataset = std::path::absolute(&dataset)
        .map_err(|error| PluginError::worker(format!("{}: {error}", dataset.display())))?;
    Ok(Box::new(job::Pool::new(pool::Processes::new(plugin.clone(), dataset, program, options.clone()))))
}

/// One loaded indexer, whichever door it came through. Called from any thread.
pub trait Indexer: Send + Sync {
    /// What it says of itself.
    fn info(&self) -> &IndexerInfo;
    /// The image's params hash.
    fn params_hash(&self, record: &Record) -> Result<String, Failure>;
    /// The image's params; `None` if the indexer gives none, or no JSON.
    fn params(&self, record: &Record) -> Option<Json>;
    /// The image's rows, and the artifacts handed over on the way; `cancelled` is asked by the plugin now and then.
    fn extract(
        &self,
        record: &Record,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Produced, Failure>;
    /// The image's rows alone.
    fn extract_rows(
        &self,
        record: &Record,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<RecordBatch, Failure> {
        self.extract(record, threads, cancelled).map(|produced| produced.rows)
    }
    /// An old marker's fields.
    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<RunMarker>, Failure>;
}
