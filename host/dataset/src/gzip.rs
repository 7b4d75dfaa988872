//! gzip in both directions, within a limit.

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{Read, Write};

/// Unpacks at most `limit` bytes; more is an error.
pub fn decompress(packed: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut bounded = MultiGzDecoder::new(packed).take(limit.saturating_add(1));
    bounded.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("it unpacks to more than {limit} bytes, kymhost's limit"));
    }
    Ok(bytes)
}

/// Packs, without a time or a name: the same bytes give the same file.
pub(crate) fn compress(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gunzip_round_trips_within_limit() {
        let text = vec![b'a'; 100_000];
        let packed = compress(&text).unwrap();
        assert_eq!(decompress(&packed, 100_000).unwrap(), text);
        assert!(decompress(&packed, 99_999).unwrap_err().contains("99999"));
        let twice = [packed.clone(), packed.clone()].concat();
        assert_eq!(decompress(&twice, 1 << 20).unwrap().len(), 200_000);
        assert!(decompress(&packed[..packed.len() - 3], 1 << 20).is_err(), "truncated");
        assert!(decompress(b"not gzip", 1 << 20).is_err());
    }
}
