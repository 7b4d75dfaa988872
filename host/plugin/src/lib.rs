//! Finds, checks and loads indexers in dynamic libraries, and runs them in workers.
//!
//! - [`find_plugin`] and [`list_plugins`] only read cards; no code of a plugin runs.
//! - [`open_pool`] gives a [`Workforce`], which runs one indexer in worker processes.
//! - [`load_library`] loads a library into this process; only workers and `plugin check` do that.
//!
//! This crate never touches the dataset's tables and does not decide what is stale.

mod c_door;
mod card_file;
mod card_rules;
mod death;
mod error;
mod failure;
mod foreign;
mod identity;
mod in_process;
mod indexer;
mod job;
mod library;
mod lockfile;
mod names;
mod open_pool;
mod platform;
mod pool;
mod process;
mod produced;
mod protocol;
mod rows;
mod rust_door;
mod schedule;
mod schema;
mod search;
mod trust;
mod worker;
mod workforce;

pub use card_file::{CardFile, read_card, read_card_file};
pub use death::{exit_text, last_words};
pub use error::{CardSummary, LockError, PluginError, Refusal};
pub use failure::{Failure, FailureCause, FailureKind};
pub use identity::library_sha256;
pub use indexer::{Indexer, IndexerInfo, Made, Plugin, Produced};
pub use library::{check_versions, load_library};
pub use lockfile::{LockFile, Locked, LockedIndexer, Origin, Place};
pub use names::{TABLE_PREFIX, fault_of_declared_name, fault_of_name, plain_name};
pub use open_pool::open_pool;
pub use platform::{FileFormat, Platform};
pub use process::MAX_LOG_BYTES;
pub use protocol::{
    MAX_BODY as MAX_FRAME_BODY_BYTES, MAX_HEADER as MAX_FRAME_HEADER_BYTES, MAX_ITEMS as MAX_FRAME_ANSWERS,
};
pub use protocol::{read_rows, write_rows};
pub use schema::{Schema, SchemaError, is_same_value};
pub use search::{SearchPath, find_plugin, libraries_in, list_plugins, locate, missing, refusal_of_file, vet_unpinned};
pub use trust::Trust;
pub use worker::{take_pipes, watch_host, worker_main};
pub use workforce::{Extracted, MAX_PARAMS_BYTES, ParamsReading, PoolOptions, Workforce};
