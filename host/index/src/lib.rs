//! Keeps one table per indexer up to date: decides which images are stale, runs the indexer on those, and commits rows.
//!
//! Responsible for the rules. It never parses arguments and never prints.
//!
//! [`status`], [`dry_run`], [`explain`] and [`verify`] only read. [`run`], [`adopt`] and [`drop_table`] write, under the
//! table's lock. What decides is in [`staleness`]: pure functions over values.

mod adopt;
mod artifacts;
mod checkpoint;
mod commit;
mod drop_table;
mod error;
mod explain;
mod json_diff;
pub mod ledger;
mod locks;
mod markers;
pub mod merge;
pub mod names;
mod observer;
mod options;
pub mod order;
pub mod params;
mod plan;
pub mod provenance;
mod reason;
pub mod receipt;
pub mod rewrite;
pub mod rows_digest;
mod run;
mod select;
pub mod staleness;
mod status;
mod verify;
mod verify_artifacts;

pub use adopt::{AdoptOptions, AdoptOutcome, adopt};
pub use artifacts::recorded_artifacts;
pub use drop_table::drop_table;
pub use error::{IndexError, MassRemoval, ParamsError};
pub use explain::{Cause, Explanation, explain};
pub use json_diff::Difference;
pub use kymhost_store::Holder;
pub use observer::{ImageFailure, Observer};
pub use options::{Compat, Mode, OnSchemaChange, Orphans, RunOptions, Selection};
pub use run::{Preview, RunOutcome, Stats, dry_run, run};
pub use status::{Status, status};
pub use verify::{Verification, VerifyFinding, VerifyKind, VerifyOptions, verify};

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
