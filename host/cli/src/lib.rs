//! kymhost keeps one table per analysis in sync with a dataset of kymographs.
//!
//! A *dataset* is a Zarr v2 store of recordings, shared with the Python program kymflow. An
//! *indexer*, loaded from a dynamic library, turns one recording into rows. kymhost decides which
//! recordings are stale, runs the indexer on those in worker processes, and replaces their rows in
//! one Parquet table per indexer, atomically.
//!
//! This crate is the facade of the host. It re-exports one crate per layer, in an order that Cargo
//! enforces: each uses only those above it in the list below.
//!
//! - Open a dataset: [`dataset::Dataset::open`].
//! - Find an indexer: [`plugin::find_plugin`], and start what runs it: [`plugin::open_pool`].
//! - List stale recordings: [`index::status`]. Bring a table up to date: [`index::run`].
//! - Import recordings: [`ingest::find`] and [`ingest::ingest`].
//!
//! `examples/status.rs` does the first three. Every error implements [`store::Diagnose`], which says
//! what failed, why, and what to do.
//!
//! The feature `program` (on by default) adds the program `kymhost` with its dependencies. A library
//! user can leave it out: `default-features = false`.

pub use kymhost_store as store;

pub use kymhost_dataset as dataset;

pub use kymhost_plugin as plugin;

pub use kymhost_ingest as ingest;

pub use kymhost_index as index;

pub use kymhost_author as author;

#[cfg(feature = "program")]
mod cli;
#[cfg(feature = "program")]
mod commands;
#[cfg(feature = "program")]
mod context;
#[cfg(feature = "program")]
mod dataset_choice;
#[cfg(feature = "program")]
mod demo;
#[cfg(feature = "program")]
mod error;
#[cfg(feature = "program")]
mod exit;
#[cfg(feature = "program")]
mod interrupt;
#[cfg(feature = "program")]
mod logging;
#[cfg(feature = "program")]
mod options;
#[cfg(feature = "program")]
mod output;
#[cfg(feature = "program")]
mod plugins;
#[cfg(feature = "program")]
pub mod program;
#[cfg(feature = "program")]
mod progress;
#[cfg(feature = "program")]
mod quantity;
#[cfg(all(test, feature = "program"))]
mod reference;
#[cfg(feature = "program")]
mod shell_quote;
#[cfg(all(test, feature = "program"))]
mod test_values;
#[cfg(feature = "program")]
mod words;
