//! Which names an indexer may have: a pure rule.

pub use kymhost_dataset::TABLE_PREFIX;

/// The longest name. Tables and other files are named after it.
const MAX_BYTES: usize = 200;

/// A name as tables and markers have it: trimmed and in lower case.
pub fn plain_name(name: &str) -> String {
    name.trim().to_lowercase()
}

/// Why a name that somebody typed cannot be an indexer's; `None` if it can. It is trimmed and put into lower case first.
pub fn fault_of_name(name: &str) -> Option<&'static str> {
    let name = plain_name(name);
    if name.is_empty() {
        Some("it is empty; give a name of a-z, 0-9 and _")
    } else if name.len() > MAX_BYTES {
        Some("it has more than 200 characters")
    } else if name.starts_with(TABLE_PREFIX) {
        Some("it begins with 'kym_', which kymhost itself adds; leave that out")
    } else if name.starts_with("tables/") || name.starts_with("index/") {
        Some("it begins with a folder of the dataset; give the name alone")
    } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Some("it has a character other than a-z, 0-9 and _")
    } else {
        None
    }
}

/// Why a name that a plugin declares cannot be an indexer's: it must be plain already.
pub fn fault_of_declared_name(name: &str) -> Option<&'static str> {
    let not_plain = || (plain_name(name) != name).then_some("it has a character other than a-z, 0-9 and _");
    fault_of_name(name).or_else(not_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_names_may_have_blanks_and_capitals() {
        for (name, typed, declared) in [
            ("radon", true, true),
            ("a_1", true, true),
            (" Radon ", true, false),
            ("", false, false),
            ("../x", false, false),
            ("a b", false, false),
            ("kym_a", false, false),
            (&"x".repeat(200), true, true),
            (&"x".repeat(201), false, false),
        ] {
            let allowed = (fault_of_name(name).is_none(), fault_of_declared_name(name).is_none());
            assert_eq!(allowed, (typed, declared), "{name:?}");
        }
    }
}
