//! The card: the description of a library that can be read without running its code.
//!
//! This file has the bytes of a card: they are written by const evaluation in a plugin, and parsed in a host. Finding
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

use crate::json::{Object, ParseError};
use crate::{Artifact, ArtifactKind, Indexer, Json, Output};
use std::collections::HashSet;
use std::fmt;

/// The first bytes of a card.
pub const MAGIC: [u8; 8] = *b"KYMCARD\n";
/// The section's name in ELF and PE files.
pub const SECTION: &str = ".kymhost";
/// The names of the segment and section in Mach-O files.
pub const SECTION_MACHO: (&str, &str) = ("__DATA", "__kymhost");
/// The version of the JSON's form. It is raised only if an older reader would misread the new form.
pub const CARD_FORMAT: i64 = 1;
/// The binary contract of plugins that are built with this crate.
pub const DOOR: &str = "abi_stable-0.11";
/// The API version of this crate: its own version without the patch number.
pub const API: ApiVersion =
    ApiVersion { major: number(env!("CARGO_PKG_VERSION_MAJOR")), minor: number(env!("CARGO_PKG_VERSION_MINOR")) };
/// The lowest minor version of a host that a plugin of this crate can run in. It is raised with a method that has no
/// sensible default.
pub const NEEDS_API_MINOR: u32 = 0;
/// The target triple for which this crate was built.
pub const TARGET: &str = env!("KYMHOST_TARGET");
/// The longest JSON of a card that is read, in bytes. It is far above today's cards, because today's readers must
/// take later cards.
pub const MAX_CARD_BYTES: usize = 1024 * 1024;
/// The longest text in a card, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// The longest JSON Schema of an indexer's params, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// The lowest minor version of a host for a plugin that hands it artifacts.
const WRITES_NEED_API_MINOR: u32 = 1;

/// The lowest API of a host for a plugin of these indexers.
const fn needs_api(entries: &[CardEntry]) -> ApiVersion {
    let mut minor = NEEDS_API_MINOR;
    let mut i = 0;
    while i < entries.len() {
        if !entries[i].writes.is_empty() && minor < WRITES_NEED_API_MINOR {
            minor = WRITES_NEED_API_MINOR;
        }
        i += 1;
    }
    ApiVersion { major: API.major, minor }
}

/// The length of [`MAGIC`] and the number after it, in bytes.
const HEADER: usize = MAGIC.len() + 4;

/// A version of the plugin API. A higher minor version has everything of a lower one of the same major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Changes when the contract breaks.
    pub major: u32,
    /// Changes when the contract grows.
    pub minor: u32,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(value) => value,
        Err(_) => panic!("a part of the crate's version is not a number"),
    }
}

/// The artifact that holds an indexer's run marker: its `MARKER`, or `<NAME>_run` if that is empty.
pub(crate) fn marker_name<I: Indexer>() -> String {
    if I::MARKER.is_empty() {
        format!("{}_run", I::NAME)
    } else {
        I::MARKER.to_owned()
    }
}

/// What `export_plugin!` writes into the card for one indexer.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct CardEntry {
    name: &'static str,
    analysis_version: &'static str,
    marker: &'static str,
    params_artifacts: &'static [&'static str],
    writes: &'static [Output],
    reads: &'static [&'static str],
    params_schema: &'static str,
}

impl CardEntry {
    /// The entry of an indexer. If a host would refuse one of its constants, the build fails.
    pub const fn of<I: Indexer>() -> Self {
        assert!(
            is_name(I::NAME),
            "an indexer's NAME is 1 to 200 characters of a-z, 0-9 and _ and does not begin with kym_"
        );
        assert!(
            is_text(I::ANALYSIS_VERSION),
            "an indexer's ANALYSIS_VERSION is a text of 1 to 256 bytes without control characters"
        );
        assert!(
            I::MARKER.is_empty() || is_text(I::MARKER),
            "an indexer's MARKER is a text of at most 256 bytes without control characters"
        );
        assert!(
            are_texts(I::PARAMS_ARTIFACTS),
            "each of an indexer's PARAMS_ARTIFACTS is a text of 1 to 256 bytes without control characters"
        );
        assert!(
            are_texts(I::READS),
            "each of an indexer's READS is a text of 1 to 256 bytes without control characters"
        );
        let mut i = 0;
        while i < I::WRITES.len() {
            let name = I::WRITES[i].name();
            assert!(
                is_text(name),
                "each of an indexer's WRITES is a text of 1 to 256 bytes without control characters"
            );
            // The marker is a JSON artifact; another kind of this name is another file.
            let is_json = matches!(I::WRITES[i].kind(), ArtifactKind::Json);
            assert!(!(is_json && is_marker_name::<I>(name)), "an indexer's WRITES may not name its run marker");
            let mut j = i + 1;
            while j < I::WRITES.len() {
                assert!(
                    !are_equal(name, I::WRITES[j].name()) || I::WRITES[i].kind() as u8 != I::WRITES[j].kind() as u8,
                    "an indexer's WRITES names one artifact twice"
                );
                j += 1;
            }
            i += 1;
        }
        assert!(I::PARAMS_SCHEMA.len() <= MAX_SCHEMA_BYTES, "an indexer's PARAMS_SCHEMA has at most 65,536 bytes");
        Self {
            name: I::NAME,
            analysis_version: I::ANALYSIS_VERSION,
            marker: I::MARKER,
            params_artifacts: I::PARAMS_ARTIFACTS,
            writes: I::WRITES,
            reads: I::READS,
            params_schema: I::PARAMS_SCHEMA,
        }
    }
}

/// Whether `name` equals [`marker_name`].
const fn is_marker_name<I: Indexer>(name: &str) -> bool {
    if !I::MARKER.is_empty() {
        return are_equal(name, I::MARKER);
    }
    let (name, own, ending) = (name.as_bytes(), I::NAME.as_bytes(), b"_run");
    if name.len() != own.len() + ending.len() {
        return false;
    }
    let mut i = 0;
    while i < name.len() {
        let expected = if i < own.len() { own[i] } else { ending[i - own.len()] };
        if name[i] != expected {
            return false;
        }
        i += 1;
    }
    true
}

const fn are_texts(texts: &[&str]) -> bool {
    let mut i = 0;
    while i < texts.len() {
        if !is_text(texts[i]) {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether it is `[a-z0-9_]+`, without the prefix that hosts add, and short enough that `<NAME>_run` is a file name.
const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if let [b'k', b'y', b'm', b'_', ..] = bytes {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty() && bytes.len() <= 200
}

/// Whether [`Card::parse`] accepts it as a text.
const fn is_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        // U+0080 to U+009F are control characters as well.
        let second_half = bytes[i] == 0xc2 && i + 1 < bytes.len() && bytes[i + 1] < 0xa0;
        if bytes[i] < 0x20 || bytes[i] == 0x7f || second_half {
            return false;
        }
        i += 1;
    }
    !bytes.is_empty() && bytes.len() <= MAX_TEXT_BYTES
}

const fn are_equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut i = 0;
    while i < one.len() && i < other.len() && one[i] == other[i] {
        i += 1;
    }
    i == one.len() && i == other.len()
}

const fn assert_names_differ(entries: &[CardEntry]) {
    let mut i = 0;
    while i < entries.len() {
        let mut j = i + 1;
        while j < entries.len() {
            assert!(!are_equal(entries[i].name, entries[j].name), "two indexers of one library have the same NAME");
            j += 1;
        }
        i += 1;
    }
}

/// The length of the card of these indexers, in bytes.
#[doc(hidden)]
pub const fn encoded_len(entries: &[CardEntry]) -> usize {
    assert_names_differ(entries);
    HEADER + Writer { bytes: &mut [], len: 0 }.card(entries)
}

/// The card of these indexers.
#[doc(hidden)]
pub const fn encode<const N: usize>(entries: &[CardEntry]) -> [u8; N] {
    let mut card = [0; N];
    let (header, json) = card.split_at_mut(HEADER);
    assert!(json.len() <= MAX_CARD_BYTES, "the indexers' names and versions are too long for a card");
    let length = (json.len() as u32).to_le_bytes();
    let mut i = 0;
    while i < MAGIC.len() {
        header[i] = MAGIC[i];
        i += 1;
    }
    i = 0;
    while i < length.len() {
        header[MAGIC.len() + i] = length[i];
        i += 1;
    }
    let written = Writer { bytes: json, len: 0 }.card(entries);
    assert!(written == N - HEADER, "encode::<N> wants N = encoded_len()");
    card
}

/// Counts the bytes that it writes, and writes those for which there is room. A pass without room gives the length.
struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    const fn card(mut self, entries: &[CardEntry]) -> usize {
        self.raw("{\"card\":");
        self.integer(CARD_FORMAT as u32);
        self.raw(",\"api\":");
        self.version(API);
        self.raw(",\"needs_api\":");
        self.version(needs_api(entries));
        self.raw(",\"door\":");
        self.text(DOOR, "");
        self.raw(",\"sdk\":");
        self.text(env!("CARGO_PKG_VERSION"), "");
        self.raw(",\"rustc\":");
        self.text(env!("KYMHOST_RUSTC"), "");
        self.raw(",\"target\":");
        self.text(TARGET, "");
        self.raw(",\"indexers\":[");
        let mut i = 0;
        while i < entries.len() {
            if i > 0 {
                self.raw(",");
            }
            self.entry(&entries[i]);
            i += 1;
        }
        self.raw("]}");
        self.len
    }

    const fn entry(&mut self, entry: &CardEntry) {
        self.raw("{\"name\":");
        self.text(entry.name, "");
        self.raw(",\"analysis_version\":");
        self.text(entry.analysis_version, "");
        self.raw(",\"marker\":");
        if entry.marker.is_empty() {
            self.text(entry.name, "_run");
        } else {
            self.text(entry.marker, "");
        }
        self.raw(",\"params_artifacts\":[");
        self.texts(entry.params_artifacts);
        self.raw("]");
        // Keys without a value are left out, so that the card of a plugin that uses nothing new stays as in 1.0.
        if !entry.writes.is_empty() {
            self.raw(",\"writes\":[");
            let mut i = 0;
            while i < entry.writes.len() {
                if i > 0 {
                    self.raw(",");
                }
                self.raw("{\"name\":");
                self.text(entry.writes[i].name(), "");
                self.raw(",\"kind\":");
                self.text(kind_name(entry.writes[i].kind()), "");
                self.raw("}");
                i += 1;
            }
            self.raw("]");
        }
        if !entry.reads.is_empty() {
            self.raw(",\"reads\":[");
            self.texts(entry.reads);
            self.raw("]");
        }
        if !entry.params_schema.is_empty() {
            self.raw(",\"params_schema\":");
            self.text(entry.params_schema, "");
        }
        self.raw("}");
    }

    const fn texts(&mut self, texts: &[&str]) {
        let mut i = 0;
        while i < texts.len() {
            if i > 0 {
                self.raw(",");
            }
            self.text(texts[i], "");
            i += 1;
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.len < self.bytes.len() {
            self.bytes[self.len] = byte;
        }
        self.len += 1;
    }

    const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    const fn integer(&mut self, value: u32) {
        if value >= 10 {
            self.integer(value / 10);
        }
        self.byte(b'0' + (value % 10) as u8);
    }

    const fn version(&mut self, version: ApiVersion) {
        self.byte(b'"');
        self.integer(version.major);
        self.byte(b'.');
        self.integer(version.minor);
        self.byte(b'"');
    }

    const fn text(&mut self, text: &str, suffix: &str) {
        self.byte(b'"');
        self.escaped(text);
        self.escaped(suffix);
        self.byte(b'"');
    }

    const fn escaped(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(bytes[i]);
                }
                control @ 0..=0x1f => {
                    self.raw("\\u00");
                    self.byte(HEX[(control >> 4) as usize]);
                    self.byte(HEX[(control & 15) as usize]);
                }
                byte => self.byte(byte),
            }
            i += 1;
        }
    }
}

/// A card as a host reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Card {
    /// The API version that the plugin was built with.
    pub api: ApiVersion,
    /// The lowest API version of a host that can run the plugin.
    pub needs_api: ApiVersion,
    /// Its binary contract, e.g. [`DOOR`].
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

/// The name of a kind of artifact in a card. CSV is never written.
const fn kind_name(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Json => "json",
        ArtifactKind::Parquet | ArtifactKind::Csv => "table",
        ArtifactKind::Array => "array",
    }
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

#[cfg(test)]
mod tests;
