//! Keys and bytes: every read, write, sync, rename and delete of the program goes through here.
//!
//! Responsible for: the [`Store`] trait and its contract, keys, atomic writes of whole keys, limits on reads, locks;
//! the errors and the words that all crates of the host share. Never knows images, tables or formats.

mod background_sync;
pub mod contract;
mod diagnosis;
mod disk;
mod error;
mod key;
mod local;
mod lock;
mod lock_wait;
mod rooted_path;
mod seen;
mod shortage;
mod store;
mod stored_file;
pub mod temporary;
pub mod text;
pub mod threads;
pub mod time;
mod watched;

pub use diagnosis::{Class, Diagnose, Diagnosis};
pub use error::StoreError;
pub use key::Key;
pub use local::{LocalStore, StagedTree};
pub use lock::{Holder, LockGuard, MAX_HOLDER_BYTES};
pub use lock_wait::{LockFailure, lock_if_possible, lock_waiting};
pub use seen::{GuardedWrite, Seen};
pub use shortage::{SHORTAGE_HELP, is_shortage, note_shortage, shortages_seen};
pub use store::{MAX_DOCUMENT_BYTES, Store};
pub use stored_file::{Entry, Sink, Stat, StoredFile, Synced};
pub use watched::{ReadOutcome, Reading, Watched};
