//! The options of a run of the suite.

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
    /// Check only this indexer.
    pub indexer: Option<String>,
    /// The seed of the made-up records.
    pub seed: u64,
    /// Do only these checks; all if it is empty. Those of the library are always done, because the others need them.
    pub only: Vec<Check>,
    /// How long one check may take.
    pub timeout: Duration,
    /// The most processes at a time.
    pub jobs: usize,
    /// Extractions for the memory check.
    pub calls: u64,
    /// Use images of this dataset as records. It is read, never written.
    pub dataset: Option<PathBuf>,
    /// The program that serves as the process of a check when it is started with [`CHILD`].
    pub program: PathBuf,
    /// Once true, no check is started any more, and those that run are ended.
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

/// How long one check may take by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Extractions for the memory check by default.
pub const DEFAULT_CALLS: u64 = compare::CALLS;

/// The hidden subcommand that the process of a check is started with.
pub const CHILD: &str = "plugin-check-one";
