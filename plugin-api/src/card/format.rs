//! What writer and reader of a card share: names, limits and versions.

use crate::ArtifactKind;
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
pub(super) const MAX_TEXT_BYTES: usize = 256;
/// The longest JSON Schema of an indexer's params, in bytes.
pub(super) const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// The length of [`MAGIC`] and the number after it, in bytes.
pub(super) const HEADER: usize = MAGIC.len() + 4;

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

/// The name of a kind of artifact in a card. CSV is never written.
pub(super) const fn kind_name(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Json => "json",
        ArtifactKind::Parquet | ArtifactKind::Csv => "table",
        ArtifactKind::Array => "array",
    }
}
