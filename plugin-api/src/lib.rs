//! All that the author of a kymhost indexer needs.
//!
//! An *indexer* turns one image's record (a kymograph with its artifacts) into rows of a
//! dataset-wide table. It is compiled to a dynamic library of its own, and goes on loading in
//! every later kymhost of the same major version.
#![cfg_attr(not(feature = "arrow"), allow(dead_code))]

pub mod array;
pub mod card;
mod error;
#[doc(hidden)]
pub mod ffi;
mod hash;
mod indexer;
pub mod json;
mod marker;
mod record;
mod run;
mod table;

pub use error::{Error, ErrorKind, Result};
pub use hash::{canonical_json, params_hash};
pub use indexer::Indexer;
pub use json::Json;
pub use marker::RunMarker;
pub use record::{Artifact, ArtifactKind, Record};
pub use run::{LogLevel, Run};
pub use table::Table;

/// What an indexer's file begins with: `use kymhost_plugin_api::prelude::*;`.
pub mod prelude {
    pub use crate::array::{Array, DType};
    pub use crate::{
        export_plugin, Artifact, ArtifactKind, Error, Indexer, Json, Record, Result, Run, RunMarker, Table,
    };
}
