//! The checks that use the loaded indexer, by subject.
//!
//! Each looks for one fault only. A check that meets the fault of another check is skipped and names that check.

pub(crate) mod artifacts;
pub(crate) mod cancel;
pub(crate) mod hashes;
pub(crate) mod library;
pub(crate) mod memory;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod threads;
