//! Tests of an indexer without a host: a record in memory, and a host for tests.
//!
//! This module has what a test adds to a record ([`TestRecord`], [`Roi`]), calls an indexer as kymhost does
//! ([`TestHost`]), and gives the result ([`Outcome`], [`Rows`]). It reads no files, and is not part of the binary
//! contract.
//!
//! It is behind the feature `testing`:
//!
//! ```toml
//! [dev-dependencies]
//! kymhost-plugin-api = { version = "1", features = ["testing"] }
//! ```
//!
//! A [`TestRecord`] has the contents of an image, a [`TestHost`] runs an indexer on it, and the [`Outcome`] has the
//! rows and what the indexer read:
//!
//! ```
//! use kymhost_plugin_api::prelude::*;
//! use kymhost_plugin_api::testing::{TestHost, TestRecord};
//!
//! /// How many velocities are slow.
//! struct Slow;
//!
//! impl Indexer for Slow {
//!     const NAME: &'static str = "slow";
//!     const ANALYSIS_VERSION: &'static str = "mylab.slow@1";
//!
//!     fn params(&self, record: &Record) -> Result<Json> {
//!         Ok(record.json("slow/params")?.unwrap_or(Json::Null))
//!     }
//!
//!     fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
//!         let params = self.params(record)?;
//!         let limit = params.get("limit_mm_s").and_then(Json::as_f64).unwrap_or(0.1);
//!         let velocities = record.array("velocity")?.and_then(|array| array.to_f64_vec()).unwrap_or_default();
//!         let slow = velocities.iter().filter(|velocity| velocity.abs() < limit).count();
//!         Table::builder().column("n_slow", vec![slow as i64])?.build()
//!     }
//! }
//!
//! # #[cfg(feature = "arrow")] {
//! let record = TestRecord::new()
//!     .json("slow/params", Json::object([("limit_mm_s", 1.0.into())]))
//!     .array("velocity", &[0.5, 2.0, -0.5], [3]);
//!
//! let outcome = TestHost::new(Slow).extract(&record);
//! assert_eq!(outcome.rows().i64("n_slow"), [Some(2)]);
//! assert_eq!(outcome.read(), ["array velocity", "json slow/params"]);
//!
//! // Without params the default applies, and the host learns that they were looked up.
//! let outcome = TestHost::new(Slow).extract(&record.clone().without("slow/params"));
//! assert_eq!(outcome.rows().i64("n_slow"), [Some(0)]);
//! assert_eq!(outcome.missed(), ["json slow/params"]);
//!
//! // A broken artifact is an error that names it, not a panic.
//! let outcome = TestHost::new(Slow).extract(&record.clone().json_text("slow/params", "{"));
//! assert_eq!(outcome.error().kind(), ErrorKind::Unreadable);
//!
//! TestHost::new(Slow).assert_deterministic(&record);
//! # }
//! ```
//!
//! All calls go through the same binary contract as in a real host, so a test sees what the host would see: a panic
//! is an error of kind [`Panicked`](crate::ErrorKind::Panicked), rows are checked, and `params_hash` is called before
//! and after the extraction. Files, workers, and limits of time and memory need the real host: `kymhost plugin
//! check`.
//!
//! Nearly everything works without the feature `arrow`. Only methods that read cells need it; if a plugin does not have
//! it, `[dev-dependencies]` can add it.

mod host;
mod outcome;
mod record;
mod roi;

pub use host::TestHost;
pub use outcome::{Outcome, Rows};
pub use record::TestRecord;
pub use roi::Roi;

#[cfg(test)]
mod tests;
