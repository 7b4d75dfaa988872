//! Reads a card, which may be any bytes.

use super::format::{
    kind_name, ApiVersion, CARD_FORMAT, HEADER, MAGIC, MAX_CARD_BYTES, MAX_SCHEMA_BYTES, MAX_TEXT_BYTES,
};
use crate::json::{Object, ParseError};
use crate::{Artifact, ArtifactKind, Json};
use std::collections::HashSet;
use std::fmt;

/// A card as a host reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Card {
    /// The API version that the plugin was built with.
    pub api: ApiVersion,
    /// The lowest API version of a host that can run the plugin.
    pub needs_api: ApiVersion,
    /// Its binary contract, e.g. [`DOOR`](super::DOOR).
    pub door: String,
    /// The version of the library that it was built with; for Rust this crate.
    pub sdk: String,
    /// The compiler that built it.
    pub rustc: String,
    /// The target triple that it was built for.
    pub target: String,
    /// Its indexers; there is at least one.
    pub indexers: Vec<CardIndexer>,
}

/// The part of a card about one indexer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CardIndexer {
    /// Its name, which is that of its table without the prefix.
    pub name: String,
    /// Its analysis version.
    pub analysis_version: String,
    /// The artifact that holds its run marker.
    pub marker: String,
    /// The JSON artifacts that hold its params.
    pub params_artifacts: Vec<String>,
    /// The artifacts that it writes. Kinds that this reader does not know are left out.
    pub writes: Vec<Artifact>,
    /// The artifacts that it reads and another indexer may write.
    pub reads: Vec<String>,
    /// The JSON Schema of its params as text; empty if it declares none.
    pub params_schema: String,
}

/// Why bytes are not a card.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardError {
    /// They do not begin with [`MAGIC`].
    NoMagic,
    /// They end before the card does.
    Truncated {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// The JSON is longer than [`MAX_CARD_BYTES`].
    TooLong {
        /// Its length in bytes.
        found: u32,
    },
    /// The text is not JSON.
    NotJson(ParseError),
    /// The form of the JSON is newer than this reader.
    NewerFormat {
        /// The version of the form.
        found: i64,
    },
    /// A key is missing, or its value is not valid.
    Key {
        /// The key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Two indexers have the same name.
    DuplicateIndexer(String),
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMagic => write!(f, "the card does not begin with the magic bytes KYMCARD"),
            Self::Truncated { expected, found } => {
                write!(f, "the card is cut off: expected {expected} bytes, found {found}")
            }
            Self::TooLong { found } => {
                write!(f, "the card is too long: {found} bytes, at most {MAX_CARD_BYTES} are read")
            }
            Self::NotJson(error) => write!(f, "the card is not JSON: {error}"),
            Self::NewerFormat { found } => {
                write!(f, "the card has format {found}, this kymhost reads up to {CARD_FORMAT}; upgrade kymhost")
            }
            Self::Key { key, expected } => write!(f, "the card's '{key}' should be {expected}"),
            Self::DuplicateIndexer(name) => write!(f, "the card lists the indexer '{name}' twice"),
        }
    }
}

impl std::error::Error for CardError {}

impl Card {
    /// Reads a card from the bytes of its section, which may be anything.
    ///
    /// # Errors
    /// [`CardError`] if they are not a card that this reader understands.
    pub fn parse(section: &[u8]) -> Result<Self, CardError> {
        Self::from_json(json_text(section)?)
    }

    fn from_json(bytes: &[u8]) -> Result<Self, CardError> {
        let json = Json::parse(bytes).map_err(CardError::NotJson)?;
        let Json::Object(card) = json else {
            return Err(CardError::Key { key: "card", expected: "in a JSON object" });
        };
        match card.get("card").and_then(Json::as_i64) {
            Some(CARD_FORMAT) => {}
            Some(found) if found > CARD_FORMAT => return Err(CardError::NewerFormat { found }),
            _ => return Err(CardError::Key { key: "card", expected: "the integer 1" }),
        }
        let entries = card.get("indexers").and_then(Json::as_array).unwrap_or_default();
        if entries.is_empty() {
            return Err(CardError::Key { key: "indexers", expected: "a list of at least one" });
        }
        let indexers = entries.iter().map(indexer).collect::<Result<Vec<_>, _>>()?;
        let mut names = HashSet::new();
        if let Some(twice) = indexers.iter().find(|indexer| !names.insert(indexer.name.as_str())) {
            return Err(CardError::DuplicateIndexer(twice.name.clone()));
        }
        Ok(Self {
            api: version(&card, "api")?,
            needs_api: version(&card, "needs_api")?,
            door: text(&card, "door")?,
            sdk: text(&card, "sdk")?,
            rustc: text(&card, "rustc")?,
            target: text(&card, "target")?,
            indexers,
        })
    }
}

fn json_text(section: &[u8]) -> Result<&[u8], CardError> {
    let truncated = |expected| CardError::Truncated { expected, found: section.len() };
    let Some((magic, rest)) = section.split_at_checked(MAGIC.len()) else {
        return Err(truncated(HEADER));
    };
    if magic != MAGIC {
        return Err(CardError::NoMagic);
    }
    let Some((length, rest)) = rest.split_first_chunk::<4>() else {
        return Err(truncated(HEADER));
    };
    let found = u32::from_le_bytes(*length);
    let length = found as usize;
    if length > MAX_CARD_BYTES {
        return Err(CardError::TooLong { found });
    }
    rest.get(..length).ok_or_else(|| truncated(HEADER + length))
}

fn indexer(entry: &Json) -> Result<CardIndexer, CardError> {
    let Json::Object(entry) = entry else {
        return Err(CardError::Key { key: "indexers", expected: "a list of objects" });
    };
    let params_schema = match entry.get("params_schema") {
        None => String::new(),
        Some(schema) => schema_of(schema).ok_or(CardError::Key {
            key: "params_schema",
            expected: "a JSON object, or its text, of at most 65,536 bytes",
        })?,
    };
    Ok(CardIndexer {
        name: text(entry, "name")?,
        analysis_version: text(entry, "analysis_version")?,
        marker: text(entry, "marker")?,
        params_artifacts: texts(entry, "params_artifacts")?,
        writes: entry.get("writes").map_or_else(|| Ok(Vec::new()), writes_of)?,
        reads: texts(entry, "reads")?,
        params_schema,
    })
}

fn texts(entry: &Object, key: &'static str) -> Result<Vec<String>, CardError> {
    let wrong = || CardError::Key { key, expected: TEXTS };
    match entry.get(key) {
        None => Ok(Vec::new()),
        Some(Json::Array(names)) => names.iter().map(|name| checked(Some(name)).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// The schema of an indexer in a card, as text. A text is taken as it is. An object becomes canonical JSON: the C
/// preprocessor can write an object, but cannot escape a text. An empty object is an empty text. `None` if it is
/// neither, or too long.
#[doc(hidden)]
pub fn schema_of(schema: &Json) -> Option<String> {
    let text = match schema {
        Json::String(text) => text.clone(),
        Json::Object(members) if members.is_empty() => String::new(),
        Json::Object(_) => crate::canonical_json(schema),
        _ => return None,
    };
    (text.len() <= MAX_SCHEMA_BYTES).then_some(text)
}

/// The artifacts in a card's list `writes`. Kinds that this reader does not know are left out.
///
/// # Errors
/// If it is not a list of objects, each with a name and a kind.
#[doc(hidden)]
pub fn writes_of(list: &Json) -> Result<Vec<Artifact>, CardError> {
    let wrong = || CardError::Key { key: "writes", expected: "a list of objects with a name and a kind" };
    let mut writes = Vec::new();
    for output in list.as_array().ok_or_else(wrong)? {
        let name = checked(output.get("name")).ok_or_else(wrong)?;
        let kind = output.get("kind").and_then(Json::as_str).ok_or_else(wrong)?;
        writes.extend(kind_of(kind).map(|kind| Artifact::new(name, kind)));
    }
    Ok(writes)
}

fn kind_of(name: &str) -> Option<ArtifactKind> {
    [ArtifactKind::Json, ArtifactKind::Parquet, ArtifactKind::Array].into_iter().find(|kind| kind_name(*kind) == name)
}

const TEXTS: &str = "a list of texts of 1 to 256 bytes without control characters";

fn text(object: &Object, key: &'static str) -> Result<String, CardError> {
    checked(object.get(key))
        .ok_or(CardError::Key { key, expected: "a text of 1 to 256 bytes without control characters" })
}

/// Texts of a card appear in messages, so control characters and long texts are refused.
fn checked(value: Option<&Json>) -> Option<String> {
    let text = value?.as_str()?;
    (!text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn version(object: &Object, key: &'static str) -> Result<ApiVersion, CardError> {
    let digits = |part: &str| {
        (!part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse().ok())
            .flatten()
    };
    object
        .get(key)
        .and_then(Json::as_str)
        .and_then(|text| text.split_once('.'))
        .and_then(|(major, minor)| Some(ApiVersion { major: digits(major)?, minor: digits(minor)? }))
        .ok_or(CardError::Key { key, expected: "a version such as \"1.0\"" })
}
