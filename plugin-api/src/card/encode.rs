//! Writes the card of a library by const evaluation.

use super::format::{
    kind_name, ApiVersion, API, CARD_FORMAT, DOOR, HEADER, MAGIC, MAX_CARD_BYTES, MAX_SCHEMA_BYTES, MAX_TEXT_BYTES,
    NEEDS_API_MINOR, TARGET,
};
use crate::{ArtifactKind, Indexer, Output};

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
    pub(super) name: &'static str,
    pub(super) analysis_version: &'static str,
    pub(super) marker: &'static str,
    pub(super) params_artifacts: &'static [&'static str],
    pub(super) writes: &'static [Output],
    pub(super) reads: &'static [&'static str],
    pub(super) params_schema: &'static str,
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
