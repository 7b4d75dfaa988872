//! Which names a new plugin may have: its indexer, crate and library share it.
//!
//! Pure rules, and the suggestion of another name.

use super::carried;
use crate::error::NameError;
use kymhost_plugin::TABLE_PREFIX;
use std::fmt;

/// The longest name. Templates stay well formatted with it.
pub const MAX_CHARS: usize = 40;

/// Words that Rust reserves.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Crates that come with Rust.
const RUSTS_OWN: [&str; 5] = ["alloc", "core", "proc_macro", "std", "test"];

/// Names of cargo's own folders and of a file of the templates.
const TAKEN: [&str; 4] = ["build", "deps", "examples", "incremental"];

/// Types of the template that a new type of the same name would hide.
const TYPES: [&str; 20] = [
    "Array",
    "Artifact",
    "ArtifactKind",
    "Box",
    "DType",
    "Error",
    "ErrorKind",
    "Indexer",
    "Json",
    "LogLevel",
    "Option",
    "Output",
    "Record",
    "Result",
    "Run",
    "RunMarker",
    "Self",
    "String",
    "Table",
    "Vec",
];

/// The name of a new plugin, of its indexer, its crate and its library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginName(String);

impl PluginName {
    /// A name that an indexer, a crate and a library can have: a letter, then letters, digits and single `_`, all in lower case.
    ///
    /// # Errors
    /// [`NameError`], with a name that is allowed.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match fault(name) {
            None => Ok(Self(name.to_owned())),
            Some(why) => Err(NameError { name: name.to_owned(), why, suggestion: suggestion(name) }),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the indexer's type in Rust: `MyStalls` for `my_stalls`.
    pub fn type_name(&self) -> String {
        let mut name: String = self.0.split('_').map(capitalised).collect();
        if TYPES.contains(&name.as_str()) {
            name.push_str("Rows");
        }
        name
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

/// Why a name is not allowed.
fn fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let why = if name.is_empty() {
        "it is empty"
    } else if let Some(other) = name.chars().find(|c| !plain(*c)) {
        return Some(format!("it has the character {other:?}; only a-z, 0-9 and _ are allowed"));
    } else if name.starts_with(TABLE_PREFIX) {
        "it begins with 'kym_', which kymhost itself adds to name the indexer's table"
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "it does not begin with a letter"
    } else if name.contains("__") || name.ends_with('_') {
        "it ends with '_' or has two of them in a row"
    } else if name.len() > MAX_CHARS {
        return Some(format!("it has {} characters; at most {MAX_CHARS} are allowed", name.len()));
    } else if KEYWORDS.contains(&name) {
        "it is a Rust keyword"
    } else if RUSTS_OWN.contains(&name) {
        "Rust has a crate of this name"
    } else if TAKEN.contains(&name) {
        "cargo has a folder of this name"
    } else if carried::LOCKED.iter().any(|(locked, _)| locked.replace('-', "_") == name) {
        "a crate that every plugin is built with has this name"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The nearest name that is allowed.
fn suggestion(name: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            words.push('_');
        }
        words.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        before = c;
    }
    let mut words: Vec<&str> = words.split('_').filter(|word| !word.is_empty()).collect();
    while words.len() > 1 && words[0] == "kym" {
        words.remove(0);
    }
    let mut name = words.join("_");
    name.truncate(MAX_CHARS - 3);
    let name = name.trim_end_matches('_');
    if name.is_empty() {
        "my_indexer".to_owned()
    } else if fault(name).is_none() {
        name.to_owned()
    } else {
        format!("my_{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_accepted_or_another_is_suggested() {
        let longest = "a".repeat(MAX_CHARS);
        for good in
            ["a", "stalls", "my_stalls", "velocity_2", "a_1_b", "kymograph", "kym", "testing", "static_noise", &longest]
        {
            assert_eq!(PluginName::new(good).as_ref().map(PluginName::as_str), Ok(good));
        }
        let long = "a".repeat(MAX_CHARS + 1);
        // (name, words of the reason, suggestion)
        let bad = [
            ("", "empty", "my_indexer"),
            ("My-Stalls", "'M'", "my_stalls"),
            ("MyStalls", "'M'", "my_stalls"),
            ("my-stalls", "'-'", "my_stalls"),
            ("my stalls", "' '", "my_stalls"),
            ("Roi2Velocity", "'R'", "roi2_velocity"),
            ("PSD", "'P'", "psd"),
            ("größe", "'ö'", "gr_e"),
            ("../x", "'.'", "x"),
            ("a/b", "'/'", "a_b"),
            ("a\nb", "'\\n'", "a_b"),
            ("--", "'-'", "my_indexer"),
            ("kym_stalls", "'kym_'", "stalls"),
            ("kym_kym_stalls", "'kym_'", "stalls"),
            ("2p_stalls", "letter", "my_2p_stalls"),
            ("_", "letter", "my_indexer"),
            ("_a", "letter", "a"),
            ("a_", "ends with '_'", "a"),
            ("a__b", "in a row", "a_b"),
            ("fn", "keyword", "my_fn"),
            ("self", "keyword", "my_self"),
            ("Type", "'T'", "my_type"),
            ("test", "crate", "my_test"),
            ("std", "crate", "my_std"),
            ("core", "crate", "my_core"),
            ("proc-macro", "'-'", "my_proc_macro"),
            ("deps", "cargo", "my_deps"),
            ("kymhost_plugin_api", "built with", "my_kymhost_plugin_api"),
            ("arrow", "built with", "my_arrow"),
            ("abi_stable", "built with", "my_abi_stable"),
            (&long, "41 characters", &long[..MAX_CHARS - 3]),
        ];
        for (name, says, suggestion) in bad {
            let error = PluginName::new(name).expect_err(name);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.suggestion, suggestion, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn suggestion_is_accepted(name in ".{0,60}") {
            if let Err(error) = PluginName::new(&name) {
                let taken = PluginName::new(&error.suggestion).map(|name| name.to_string());
                prop_assert_eq!(taken, Ok(error.suggestion));
            }
        }
    }

    #[test]
    fn type_names_are_camel_case_and_hide_nothing() {
        for (name, expected) in [
            ("stalls", "Stalls"),
            ("my_stalls", "MyStalls"),
            ("velocity_2", "Velocity2"),
            ("table", "TableRows"),
            ("run_marker", "RunMarkerRows"),
        ] {
            assert_eq!(PluginName::new(name).expect(name).type_name(), expected);
        }
        // Whatever the prelude brings in.
        let (_, source) = carried::FILES.iter().find(|(path, _)| *path == "src/lib.rs").expect("it is carried");
        let source = std::str::from_utf8(source).expect("it is text");
        let (_, prelude) = source.split_once("pub mod prelude {").expect("it has a prelude");
        let (prelude, _) = prelude.split_once("\n}\n").expect("it ends");
        let mut types = 0;
        for word in prelude.split(|c: char| !c.is_ascii_alphanumeric()) {
            if word.starts_with(|c: char| c.is_ascii_uppercase()) {
                assert!(TYPES.contains(&word), "TYPES lacks {word}");
                types += 1;
            }
        }
        assert!(types > 10, "{prelude}");
    }
}
