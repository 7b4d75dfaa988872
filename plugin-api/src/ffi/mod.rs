//! The binary contract between a plugin and its host. Only files of this module contain `unsafe`.
//!
//! - [`contract`]: the `abi_stable` module and traits; [`arrow_c`]: tables as Arrow C data.
//! - `export`: what `export_plugin!` expands to; `serve`: how a host serves records and runs to Rust plugins.
//! - [`c_door`]: the structs of C plugins; `c_serve`: how a host serves records and runs to them.
//! - `convert`: values of this crate to and from those that cross; `guard`: panics become errors.
//!
//! It promises no source stability: authors do not use it by name, only kymhost does. The contract in words is
//! `docs/authors/plugin-abi.md`.
#![allow(unsafe_code)]

pub mod arrow_c;
pub mod c_door;
mod c_serve;
pub mod contract;
mod convert;
mod export;
mod guard;
mod serve;

pub use arrow_c::{ArrowArray, ArrowSchema, ArrowTable};
pub use c_serve::{given_text, COut, CRecord, CRun, MAX_GIVEN_BYTES};
pub use contract::{IndexerObject, ModuleRef, RecordRef, RunRef};
pub use convert::artifact_kind;
pub use export::{indexer_object, lib_header, Export, Registration};
pub use serve::{HostRecord, HostRun, ServedRecord, ServedRun};

/// `export_plugin!` uses it through this crate, so that authors need not depend on `abi_stable`.
pub use abi_stable::library::LibHeader;
/// `export_plugin!` uses it through this crate to collect a library's indexers.
pub use inventory;

#[cfg(test)]
mod tests;
