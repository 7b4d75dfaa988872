//! JSON as Python reads and writes it: a value, a parser and a printer.
//!
//! This module implements Python's dialect: `NaN` and infinities, integers of any size, and the last of duplicate keys
//! wins. It does no I/O and no hashing.
//!
//! serde_json cannot be used: it refuses `NaN`, stops at depth 128, and its feature `arbitrary_precision` would
//! change every other crate of the build.
//!
//! ```
//! use kymhost_plugin_api::json::{Json, ParseError};
//!
//! let params = Json::parse(br#"{"window": 16, "limits": [0.5, NaN]}"#)?;
//! assert_eq!(params.get("window").and_then(Json::as_i64), Some(16));
//! let limits = params.get("limits").and_then(Json::as_array).unwrap_or_default();
//! assert!(limits[1].as_f64().is_some_and(f64::is_nan));
//! # Ok::<(), ParseError>(())
//! ```

mod parse;
mod print;
mod value;

pub use parse::{ParseError, MAX_DEPTH, MAX_INT_DIGITS, MAX_VALUE_BYTES};
pub(crate) use print::Style;
pub use value::{Int, Json, Object};

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
