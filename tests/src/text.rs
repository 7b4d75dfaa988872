//! Small conversions to text, and the seed of random tests.

use sha2::{Digest as _, Sha256};

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of bytes, in hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// The seed of a random test: `KYMHOST_SEED`, else any. A failure must print it.
pub fn seed() -> u64 {
    std::env::var("KYMHOST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..1 << 40))
}

/// The words of a command line in which `#N` is the id of image N, and `@NAME` is the indexer NAME of this plugin's library.
pub fn words(line: &str, plugin: &str) -> Vec<String> {
    let word =
        |word: &str| match (word.strip_prefix('@'), word.strip_prefix('#').and_then(|number| number.parse().ok())) {
            (Some(indexer), _) => format!("{}:{indexer}", crate::library(plugin).display()),
            (_, Some(number)) => crate::fixture::image_id(number),
            _ => word.to_owned(),
        };
    line.split_whitespace().map(word).collect()
}
