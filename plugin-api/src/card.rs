//! The card: the description of a library that can be read without running its code.
//!
//! This module has the bytes of a card: they are written by const evaluation in a plugin, and parsed in a host. Finding
//! them in a library's file, and deciding what may be loaded, is the host's task.
//!
//! The bytes are [`MAGIC`], the length of the JSON as little-endian `u32`, then the JSON as UTF-8. Anything after it
//! is ignored. They stand in the section [`SECTION`] (on Apple's systems `__DATA,__kymhost`). Readers ignore unknown
//! keys.
//!
//! ```
//! use kymhost_plugin_api::card::{Card, MAGIC};
//!
//! let json = r#"{"card": 1, "api": "1.0", "needs_api": "1.0", "door": "abi_stable-0.11", "sdk": "1.0.0",
//!     "rustc": "rustc 1.95.0", "target": "x86_64-unknown-linux-gnu",
//!     "indexers": [{"name": "stalls", "analysis_version": "mylab.stalls@1", "marker": "stalls_run"}]}"#;
//! let section = [&MAGIC[..], &(json.len() as u32).to_le_bytes(), json.as_bytes()].concat();
//! let card = Card::parse(&section)?;
//! assert_eq!((card.api.major, card.indexers[0].name.as_str()), (1, "stalls"));
//! # Ok::<(), kymhost_plugin_api::card::CardError>(())
//! ```

mod encode;
mod format;
mod parse;

pub(crate) use encode::marker_name;
#[doc(hidden)]
pub use encode::{encode, encoded_len, CardEntry};
pub use format::{
    ApiVersion, API, CARD_FORMAT, DOOR, MAGIC, MAX_CARD_BYTES, NEEDS_API_MINOR, SECTION, SECTION_MACHO, TARGET,
};
#[doc(hidden)]
pub use parse::{schema_of, writes_of};
pub use parse::{Card, CardError, CardIndexer};

#[cfg(test)]
mod tests;
