//! All that the author of a kymhost indexer needs.
//!
//! An *indexer* turns one image's record (a kymograph with its artifacts) into rows of a
//! dataset-wide table. It is compiled to a dynamic library of its own, and goes on loading in
//! every later kymhost of the same major version.
//!
//! ```no_run
//! use kymhost_plugin_api::prelude::*;
//!
//! struct Stalls;
//!
//! impl Indexer for Stalls {
//!     const NAME: &'static str = "stalls";
//!     const ANALYSIS_VERSION: &'static str = "mylab.stalls@1";
//!     const PARAMS_ARTIFACTS: &'static [&'static str] = &["stalls/params"];
//!
//!     fn params(&self, record: &Record) -> Result<Json> {
//!         Ok(record.json("stalls/params")?.unwrap_or(Json::Null))
//!     }
//!
//!     fn extract_rows(&self, _record: &Record, _run: &Run) -> Result<Table> {
//!         Table::builder().column("t_start_s", vec![0.5, 1.25])?.column("cause", vec!["clot", "pinch"])?.build()
//!     }
//! }
//!
//! export_plugin!(Stalls);
//! # fn main() {}
//! ```
//!
//! The crate is built as `crate-type = ["cdylib"]`. The `arrow` feature (on by default) gives tables from
//! and to Arrow batches, and Arrow itself as [`arrow`]; it is no part of the binary contract, nor is its version of
//! this crate's promise: name it through this crate, and a minor version that brings a later Arrow harms nobody. Those who
//! need a certain version switch the feature off and go through [`c_data`].
//!
//! The author guide (`docs/authors/guide.md` in kymhost's repository) goes through all of it, from the first plugin to a published one; `examples/` has
//! a cookbook.
//!
//! The `testing` feature (off by default, meant for `[dev-dependencies]`) gives records in memory and a host made for tests, so that
//! `cargo test` needs no program and no dataset.

/// The plugin in the authors' tutorial, compiled as it stands.
#[cfg(doctest)]
#[doc = include_str!("../../docs/authors/tutorial.md")]
mod tutorial {}

/// The author guide's snippets, compiled and run as they stand.
#[cfg(all(doctest, feature = "arrow"))]
#[doc = include_str!("../../docs/authors/guide.md")]
mod author_guide {}

pub mod array;
pub mod card;
#[cfg(feature = "arrow")]
mod columns;
#[cfg(feature = "arrow")]
#[doc(hidden)]
pub mod csv;
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
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "arrow")]
pub use columns::Columns;
pub use error::{Error, ErrorKind, Result};
pub use hash::{canonical_json, params_hash};
pub use indexer::Indexer;
pub use json::Json;
pub use marker::RunMarker;
pub use record::{Artifact, ArtifactKind, Output, Record};
pub use run::{LogLevel, Run};
pub use table::Table;
#[cfg(feature = "arrow")]
pub use table::{IntoColumn, TableBuilder};

#[cfg(feature = "arrow")]
pub use arrow;

/// The Arrow C Data Interface, for those who bring an Arrow of their own, or none: see [`Table::from_c_data`].
///
/// ```
/// use kymhost_plugin_api::Table;
///
/// # #[cfg(feature = "arrow")] {
/// let table = Table::builder().column("velocity", vec![1.5, 2.5])?.build()?;
/// let (array, schema) = table.into_c_data();
/// assert_eq!((array.length, array.n_children, schema.n_children), (2, 1, 1));
/// // SAFETY: the two are what a table has just given.
/// let table = unsafe { Table::from_c_data(array, schema) };
/// assert_eq!(table.num_rows(), 2);
/// # }
/// # Ok::<(), kymhost_plugin_api::Error>(())
/// ```
pub mod c_data {
    pub use crate::ffi::{ArrowArray, ArrowSchema};
}

/// What an indexer's file begins with.
///
/// ```
/// use kymhost_plugin_api::prelude::*;
///
/// fn threshold(record: &Record) -> Result<f64> {
///     let params = record.json("stalls/params")?.unwrap_or_default();
///     params.get("threshold").and_then(Json::as_f64).ok_or_else(|| Error::msg("no threshold"))
/// }
/// ```
pub mod prelude {
    pub use crate::array::{Array, DType};
    pub use crate::{
        export_plugin, Artifact, ArtifactKind, Error, ErrorKind, Indexer, Json, LogLevel, Output, Record, Result, Run,
        RunMarker, Table,
    };
}
