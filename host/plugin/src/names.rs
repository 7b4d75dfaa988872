//! Which names an indexer may have. Owns: that rule. Never: I/O.

pub use kymhost_dataset::TABLE_PREFIX;

/// The longest name: with what stands around it, it is the name of a file.
const MAX_BYTES: usize = 200;

/// A name as rules, tables and markers know it: trimmed and lower-cased.
pub fn plain_name(name: &str) -> String {
    name.trim().to_lowercase()
}

/// What forbids a name; `None` where it may be an indexer's. It is trimmed and lower-cased first.
pub fn fault_of_name(name: &str) -> Option<&'static str> {
    let name = plain_name(name);
    if name.is_empty() {
        Some("it is empty; give a name of a-z, 0-9 and _")
    } else if name.len() > MAX_BYTES {
        Some("it has more than 200 characters")
    } else if name.starts_with(TABLE_PREFIX) {
        Some("it begins with 'kym_', which kymhost puts before it; leave that off")
    } else if name.starts_with("tables/") || name.starts_with("index/") {
        Some("it begins with a folder of the dataset; give the name alone")
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Some("it has a character other than a-z, 0-9 and _")
    } else {
        None
    }
}
