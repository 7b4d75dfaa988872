//! Canonical JSON and the params hash, shared by plugins and host.
//!
//! This file defines the one text that is hashed. Parsing is the subject of the module `json`; it does no I/O.

use crate::json::Style;
use crate::Json;
use sha2::{Digest, Sha256};

/// The text that Python's `json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)` gives.
pub fn canonical_json(value: &Json) -> String {
    value.print(Style { indent: false, ascii: false, sorted: true })
}

/// The SHA-256 of the UTF-8 text of [`canonical_json`], as 64 lower-case hexadecimal digits.
pub fn params_hash(value: &Json) -> String {
    let digest = Sha256::digest(canonical_json(value));
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    nibbles.map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0')).collect()
}

#[cfg(test)]
mod tests;
