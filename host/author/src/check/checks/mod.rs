//! The checks that need the indexer in hand, by subject.
//!
//! Each looks for one fault only: a check that finds another check's fault is skipped and names that check.

pub(crate) mod artifacts;
pub(crate) mod cancel;
pub(crate) mod hashes;
pub(crate) mod library;
pub(crate) mod memory;
pub(crate) mod params;
pub(crate) mod rows;
pub(crate) mod threads;
