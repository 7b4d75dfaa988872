//! kymhost keeps one table per analysis in sync with a dataset of kymographs.
//!
//! A *dataset* is a Zarr v2 store of recordings, shared with the Python program kymflow. An
//! *indexer*, loaded from a dynamic library, turns one recording into rows. kymhost decides which
//! recordings are stale, runs the indexer on those in worker processes, and replaces their rows in
//! one Parquet table per indexer, atomically.
//!
//! This crate is the facade: it re-exports the crates of the host, one per layer, and holds the
//! program `kymhost` ([`program`]). Each layer uses only those above it in this list, and Cargo
//! enforces the order.

pub use kymhost_store as store;

pub use kymhost_dataset as dataset;

pub use kymhost_plugin as plugin;

pub use kymhost_ingest as ingest;

pub use kymhost_index as index;

pub use kymhost_author as author;

pub mod program;
