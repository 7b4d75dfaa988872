//! `plugin inspect`: what a library's file says and whether this host would load it. None of its code runs.
//!
//! Responsible for what is reported about a file, also for keys of the card that this host does not know. It does not load
//! or change anything.

use kymhost_plugin::{CardFile, PluginError, Trust, library_sha256, read_card_file, refusal_of_file};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The keys of a card and of one of its indexers that have their own fields in our documents.
const CARD_KEYS: [&str; 8] = ["card", "api", "needs_api", "door", "sdk", "rustc", "target", "indexers"];
const INDEXER_KEYS: [&str; 7] =
    ["name", "analysis_version", "marker", "params_artifacts", "writes", "reads", "params_schema"];

/// What was found in a library's file.
#[derive(Debug)]
pub struct Inspection {
    /// The file, without links.
    pub library: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Its platforms and card.
    pub file: CardFile,
    /// What its card has beyond API 1.0.
    pub extra: ExtraKeys,
    /// Why this host would not load it; `None` if it would.
    pub refusal: Option<PluginError>,
}

/// What a card has beyond API 1.0, as it is in the card.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtraKeys {
    /// Keys of the card that this version does not know, sorted.
    pub other_keys: Vec<String>,
    /// Each indexer's, in the card's order.
    pub indexers: Vec<ExtraIndexerKeys>,
}

/// What a card has about one indexer beyond API 1.0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtraIndexerKeys {
    /// The artifacts that it writes, if the card has them.
    pub writes: Option<Value>,
    /// The artifacts that it reads, if the card has them.
    pub reads: Option<Value>,
    /// The JSON Schema of its params, if the card has one.
    pub params_schema: Option<Value>,
    /// Keys that this version does not know, sorted.
    pub other_keys: Vec<String>,
}

impl ExtraKeys {
    /// Those of a card's JSON text; none if it is not a card.
    pub fn of(card_json: &str) -> Self {
        let Ok(Value::Object(card)) = serde_json::from_str(card_json) else { return Self::default() };
        let indexers = card.get("indexers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let indexer = |value: &Value| {
            let Value::Object(keys) = value else { return ExtraIndexerKeys::default() };
            let get = |key| keys.get(key).filter(|value: &&Value| !value.is_null()).cloned();
            ExtraIndexerKeys {
                writes: get("writes"),
                reads: get("reads"),
                params_schema: get("params_schema"),
                other_keys: others(keys, &INDEXER_KEYS),
            }
        };
        Self { other_keys: others(&card, &CARD_KEYS), indexers: indexers.iter().map(indexer).collect() }
    }
}

fn others(keys: &Map<String, Value>, known: &[&str]) -> Vec<String> {
    let mut others: Vec<String> = keys.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
    others.sort_unstable();
    others
}

/// Looks at a library's file. `trust`: the user's lock file, or why it cannot be used.
///
/// # Errors
/// [`PluginError::Refused`] if the file has no card (`unreadable`, `no_library`, `truncated`, `no_card`, `bad_card`), or if it
/// changes meanwhile (`changed`).
pub fn inspect(path: &Path, trust: Result<Trust, PluginError>) -> Result<Inspection, PluginError> {
    let library = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = read_card_file(&library)?;
    let (sha256, size_bytes) = library_sha256(&library)?;
    let extra = ExtraKeys::of(&file.card_json);
    let refusal = match trust {
        Ok(trust) => refusal_of_file(&library, &file, &trust),
        Err(broken) => Some(broken),
    };
    Ok(Inspection { library, size_bytes, sha256, file, extra, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn extra_keys_have_what_api_1_0_lacks() {
        let card = json!({
            "card": 1, "api": "1.9", "licence": "MIT", "author": {"name": "x"},
            "indexers": [
                {"name": "a", "writes": ["a_events"], "params_schema": {"type": "object"}, "reads": null, "zebra": 1},
                {"name": "b", "reads": ["a_events"]},
                7
            ]
        });
        let extra = ExtraKeys::of(&card.to_string());
        assert_eq!(extra.other_keys, ["author", "licence"]);
        let [a, b, c] = extra.indexers.as_slice() else { panic!("{extra:?}") };
        assert_eq!((&a.writes, &a.reads), (&Some(json!(["a_events"])), &None));
        assert_eq!(
            (&a.params_schema, a.other_keys.as_slice()),
            (&Some(json!({"type": "object"})), &["zebra".to_owned()][..])
        );
        assert_eq!((&b.reads, &b.writes), (&Some(json!(["a_events"])), &None));
        assert_eq!(*c, ExtraIndexerKeys::default());
    }

    #[test]
    fn extra_keys_are_empty_without_a_card() {
        for text in ["", "[]", "{", "{}", r#"{"indexers": 3}"#] {
            assert_eq!(ExtraKeys::of(text), ExtraKeys::default(), "{text}");
        }
    }
}
