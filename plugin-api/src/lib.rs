//! Everything that the author of a kymhost indexer needs.
//!
//! An *indexer* turns one image's record (a kymograph with its artifacts) into rows of a table over the whole
//! dataset. It is compiled to a dynamic library of its own, which every later kymhost of the same major version can
//! load.
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
//! Build the crate with `crate-type = ["cdylib"]`.
//!
//! The feature `arrow` (on by default) has `tables`, and Arrow itself as [`arrow`]. With the feature `tables` alone,
//! tables can be built, read column by column, made of Arrow batches and turned into them; it needs only the small
//! component crates of Arrow, which builds faster. Use Arrow through this crate: its version is not part of the binary
//! contract, and a minor version of this crate may bring a later Arrow. If you need a particular version, switch the
//! features off and use [`c_data`].
//!
//! The author guide (`docs/authors/guide.md` in kymhost's repository) explains everything from the first plugin to a
//! published one. `examples/` has a cookbook.
//!
//! The feature `testing` (off by default, meant for `[dev-dependencies]`) has records in memory and a host for tests,
//! so that `cargo test` needs no program and no dataset.

/// The plugin of the authors' tutorial compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/authors/tutorial.md")]
mod tutorial {}

/// The snippets of the author guide compile and run.
#[cfg(all(doctest, feature = "arrow"))]
#[doc = include_str!("../../docs/authors/guide.md")]
mod author_guide {}

pub mod array;
pub mod card;
#[cfg(feature = "tables")]
mod columns;
#[cfg(any(feature = "host", all(feature = "_cast", feature = "testing")))]
#[doc(hidden)]
pub mod csv;
mod error;
#[doc(hidden)]
pub mod ffi;
mod hash;
mod indexer;
pub mod json;
mod macros;
mod marker;
mod record;
mod run;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "tables")]
pub use columns::Columns;
pub use error::{Error, ErrorKind, Result};
pub use hash::{canonical_json, params_hash};
pub use indexer::Indexer;
pub use json::Json;
pub use marker::RunMarker;
pub use record::{Artifact, ArtifactKind, Output, Record};
pub use run::{LogLevel, Run};
pub use table::Table;
#[cfg(feature = "tables")]
pub use table::{IntoColumn, TableBuilder};

#[cfg(feature = "arrow")]
pub use arrow;

/// The Arrow C Data Interface, for plugins that use another Arrow library or none: see [`Table::from_c_data`].
///
/// ```
/// use kymhost_plugin_api::Table;
///
/// # #[cfg(feature = "tables")] {
/// let table = Table::builder().column("velocity", vec![1.5, 2.5])?.build()?;
/// let (array, schema) = table.into_c_data();
/// assert_eq!((array.length, array.n_children, schema.n_children), (2, 1, 1));
/// // SAFETY: both were just given by a table.
/// let table = unsafe { Table::from_c_data(array, schema) };
/// assert_eq!(table.num_rows(), 2);
/// # }
/// # Ok::<(), kymhost_plugin_api::Error>(())
/// ```
pub mod c_data {
    pub use crate::ffi::{ArrowArray, ArrowSchema};
}

/// Everything that an indexer's file usually needs.
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
