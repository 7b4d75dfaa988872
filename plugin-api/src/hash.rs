//! Canonical JSON and the params hash, shared by plugins and host.
//! Owns: the one text form that is hashed. Never: parsing (see `json`), I/O.

use crate::Json;

/// The text of Python's `json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
pub fn canonical_json(value: &Json) -> String {
    let _ = value;
    unimplemented!()
}

/// Lower-case hex SHA-256 of the UTF-8 of [`canonical_json`].
pub fn params_hash(value: &Json) -> String {
    let _ = value;
    unimplemented!()
}
