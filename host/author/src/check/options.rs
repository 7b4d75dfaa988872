//! What is checked, and how: the options of a run of the suite.

use crate::check::check_list::Check;
use crate::check::compare;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What is checked, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The library's file.
    pub library: PathBuf,
    /// This indexer alone.
    pub indexer: Option<String>,
    /// The seed of the made-up records.
    pub seed: u64,
    /// These checks alone; all where there is none. Those of the library are always done, for the others need them.
    pub only: Vec<Check>,
    /// The longest that one check may take.
    pub timeout: Duration,
    /// Processes at most.
    pub jobs: usize,
    /// Extractions over which memory is to be steady.
    pub calls: u64,
    /// Images of this dataset instead of made-up records; it is read, never written.
    pub dataset: Option<PathBuf>,
    /// The program that serves as child when started with [`CHILD`].
    pub program: PathBuf,
    /// Once true, no more checks are begun, and those that run are ended.
    pub stop: Arc<AtomicBool>,
}

impl Options {
    /// All checks of all indexers of a library.
    pub fn new(library: PathBuf, program: PathBuf, seed: u64) -> Self {
        Self {
            library,
            indexer: None,
            seed,
            only: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            calls: DEFAULT_CALLS,
            dataset: None,
            program,
            stop: Arc::default(),
        }
    }
}

/// The longest that one check may take, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Extractions over which memory is to be steady, unless told otherwise.
pub const DEFAULT_CALLS: u64 = compare::CALLS;

/// The hidden subcommand that a check's process is started with.
pub const CHILD: &str = "plugin-check-one";
