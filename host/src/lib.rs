//! kymhost keeps tables over a whole dataset of kymographs up to date.
//!
//! A *dataset* is a Zarr v2 store of recordings, shared with the Python program kymflow. An
//! *indexer*, loaded from a dynamic library, turns one image's record into rows. kymhost decides which
//! images are stale, has the indexer extract their rows in worker processes, and replaces those
//! rows in one Parquet table per indexer, atomically.
//!
//! The rooms, lowest first, each using only those above it in this list:
//! [`store`] (keys and bytes), [`dataset`] (records, artifacts, tables), [`plugin`] (libraries and
//! workers), [`author`] (what serves those who write or install plugins), [`index`] (staleness, planning, running,
//! committing), [`ingest`] (files of other formats in and out), and `cli` (the program).

pub mod author;
pub mod cli;
pub mod dataset;
pub mod index;
pub mod ingest;
pub mod plugin;
pub mod store;
