//! Datasets made for tests by code of their own: a second opinion on the format, not the host's.
//!
//! Writes groups, attributes, pixels, artifacts, markers and tables as kymflow does, and breaks them. It uses
//! no code of the host or the plugin API for that, so that both sides are tested.

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The analysis version of the indexer `velocity_events`.
pub const VELOCITY_EVENTS: &str = "kymflow.velocity_events@0.1";
/// The key of its table.
pub const TABLE: &str = "tables/kym_velocity_events.parquet";
/// Where one of its runs leaves its marker, below `analysis/` and without the ending.
pub const MARKER: &str = "velocity_events/summary";

const TIME: &str = "2026-01-02T03:04:05Z";

/// A valid image id for a number; ids sort as their numbers do.
pub fn image_id(number: u64) -> String {
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

/// A dataset's folder.
#[derive(Debug, Clone)]
pub struct Fixture {
    root: PathBuf,
}

impl Fixture {
    /// Makes an empty dataset.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let fixture = Self { root: root.into() };
        let attributes = json!({
            "created_utc": TIME, "format": "kymflow_zarr_v1", "schema_version": 1, "updated_utc": TIME
        });
        fixture.put_json(".zgroup", &json!({"zarr_format": 2}));
        fixture.put_json(".zattrs", &attributes);
        fixture.put_json("images/.zgroup", &json!({"zarr_format": 2}));
        fixture.put_json("index/.zgroup", &json!({"zarr_format": 2}));
        fixture
    }

    /// A dataset that is there already.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Makes a dataset of images 0 to `images` - 1, each with pixels, params and `events` events.
    pub fn with_images(root: impl Into<PathBuf>, images: u64, events: usize) -> Self {
        let fixture = Self::new(root);
        for number in 0..images {
            let image = fixture.add_image(&image_id(number));
            image.params(&json!({"threshold": number}));
            image.events(events, number as f64);
        }
        fixture
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The file of a key.
    pub fn key(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Writes a key's bytes, its folders made as needed.
    pub fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.key(key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).unwrap_or_else(|error| panic!("make {}: {error}", folder.display()));
        }
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }

    /// Writes JSON as Python's `indent=2` does (for the values that tests use).
    pub fn put_json(&self, key: &str, value: &Value) {
        self.put(key, serde_json::to_string_pretty(value).expect("JSON text"));
    }

    /// Writes a dataset table.
    pub fn put_table(&self, name: &str, rows: &RecordBatch) {
        self.put(&format!("tables/{name}.parquet"), parquet_bytes(rows, Compression::SNAPPY));
    }

    /// Removes a key or a folder.
    pub fn remove(&self, key: &str) {
        let path = self.key(key);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("remove {}: {error}", path.display()));
    }

    /// Keeps only the first half of a key's bytes.
    pub fn cut(&self, key: &str) {
        let bytes = fs::read(self.key(key)).unwrap_or_else(|error| panic!("read {key}: {error}"));
        self.put(key, &bytes[..bytes.len() / 2]);
    }

    /// Turns every bit in a key's middle third.
    pub fn garble(&self, key: &str) {
        let mut bytes = fs::read(self.key(key)).unwrap_or_else(|error| panic!("read {key}: {error}"));
        let third = bytes.len() / 3;
        for byte in bytes.iter_mut().skip(third).take(third.max(1)) {
            *byte = !*byte;
        }
        self.put(key, bytes);
    }

    /// Puts a symbolic link at a key.
    pub fn link(&self, key: &str, target: &Path) {
        let path = self.key(key);
        std::os::unix::fs::symlink(target, &path).unwrap_or_else(|error| panic!("link {}: {error}", path.display()));
    }

    /// Adds an image: its group, attributes and 4 × 3 pixels.
    pub fn add_image(&self, id: &str) -> Image<'_> {
        let image = self.image(id);
        let base = format!("images/{id}");
        self.put_json(&format!("{base}/.zgroup"), &json!({"zarr_format": 2}));
        let attributes = json!({"axes": ["y", "x"], "created_utc": TIME, "updated_utc": TIME});
        self.put_json(&format!("{base}/.zattrs"), &attributes);
        let array = json!({
            "chunks": [4, 3], "compressor": null, "dtype": "<u2", "fill_value": 0, "filters": null, "order": "C",
            "shape": [4, 3], "zarr_format": 2
        });
        self.put_json(&format!("{base}/data/.zarray"), &array);
        let pixels: Vec<u8> = (0u16..12).flat_map(u16::to_le_bytes).collect();
        self.put(&format!("{base}/data/0.0"), pixels);
        image
    }

    /// An image that is there (or is to be made by hand).
    pub fn image(&self, id: &str) -> Image<'_> {
        Image { fixture: self, id: id.to_owned() }
    }
}

/// One image of a [`Fixture`].
#[derive(Debug)]
pub struct Image<'a> {
    fixture: &'a Fixture,
    id: String,
}

impl Image<'_> {
    /// The key of a file among its artifacts.
    pub fn key(&self, name: &str) -> String {
        format!("images/{}/analysis/{name}", self.id)
    }

    /// A JSON artifact.
    pub fn json(&self, name: &str, value: &Value) {
        self.fixture.put_json(&self.key(&format!("{name}.json")), value);
    }

    /// A gzipped JSON artifact, as older data has it.
    pub fn json_gz(&self, name: &str, value: &Value) {
        self.fixture.put(&self.key(&format!("{name}.json.gz")), gzip(value.to_string().as_bytes()));
    }

    /// A Parquet artifact.
    pub fn parquet(&self, name: &str, rows: &RecordBatch) {
        let bytes = parquet_bytes(rows, Compression::ZSTD(ZstdLevel::default()));
        self.fixture.put(&self.key(&format!("{name}.parquet")), bytes);
    }

    /// A CSV artifact.
    pub fn csv(&self, name: &str, text: &str) {
        self.fixture.put(&self.key(&format!("{name}.csv.gz")), gzip(text.as_bytes()));
    }

    /// The params of `velocity_events`.
    pub fn params(&self, value: &Value) {
        self.json("velocity_events/params", value);
    }

    /// `count` events, with values that depend on `seed`.
    pub fn events(&self, count: usize, seed: f64) {
        self.parquet("velocity_events/events", &events(count, seed));
    }

    /// The run marker of `velocity_events`, with these params and this number of rows.
    pub fn marker(&self, params: &Value, rows: u64) {
        let marker = json!({
            "marker_version": "1", "indexer_name": "velocity_events", "params_hash": params_hash(params),
            "analysis_version": VELOCITY_EVENTS, "n_rows": rows, "ran_utc_epoch_ns": 1_700_000_000_000_000_000_i64,
            "status": "ok"
        });
        self.json(MARKER, &marker);
    }
}

/// So many events as the artifact `velocity_events/events` has them.
pub fn events(count: usize, seed: f64) -> RecordBatch {
    let numbers: Vec<i64> = (0..count as i64).collect();
    let times: Vec<f64> = numbers.iter().map(|&number| seed + number as f64 * 0.5).collect();
    let later = |by: f64| floats(times.iter().map(|time| time + by));
    batch([
        ("roi_id", ints(numbers.iter().map(|_| 1))),
        ("event_id", ints(numbers.iter().copied())),
        ("t_start_s", later(0.0)),
        ("t_end_s", later(0.25)),
        ("peak_t_s", later(0.125)),
        ("peak_value", later(100.0)),
        ("score", later(0.0625)),
    ])
}

/// The params hash of a value, for the plain values that tests use (no exponents, no non-ASCII text).
pub fn params_hash(value: &Value) -> String {
    fn canonical(value: &Value, text: &mut String) {
        match value {
            Value::Object(members) => {
                let mut keys: Vec<&String> = members.keys().collect();
                keys.sort();
                text.push('{');
                for (place, key) in keys.into_iter().enumerate() {
                    text.push_str(if place == 0 { "" } else { "," });
                    text.push_str(&Value::from(key.as_str()).to_string());
                    text.push(':');
                    canonical(&members[key], text);
                }
                text.push('}');
            }
            Value::Array(items) => {
                text.push('[');
                for (place, item) in items.iter().enumerate() {
                    text.push_str(if place == 0 { "" } else { "," });
                    canonical(item, text);
                }
                text.push(']');
            }
            plain => text.push_str(&plain.to_string()),
        }
    }
    let mut text = String::new();
    canonical(value, &mut text);
    crate::sha256(text)
}

/// A batch of named columns, all nullable.
pub fn batch<'a>(columns: impl IntoIterator<Item = (&'a str, ArrayRef)>) -> RecordBatch {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// A column of integers.
pub fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// A column of floats.
pub fn floats(values: impl IntoIterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

/// A column of texts.
pub fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A Parquet file's bytes.
pub fn parquet_bytes(rows: &RecordBatch, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).expect("a Parquet writer");
    writer.write(rows).expect("rows as Parquet");
    writer.into_inner().expect("a Parquet file")
}

/// Bytes as gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("gzip in memory")
}

/// A gzip stream of about a thousandth of the bytes that it unpacks to: this many MiB, all of them `byte`.
pub fn gzip_bomb(mebibytes: u32, byte: u8) -> Vec<u8> {
    // A block that is flushed fully refers to nothing before it, so it can be repeated as it is.
    let plain = vec![byte; 1 << 20];
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    let mut block = Vec::with_capacity(1 << 16);
    compress.compress_vec(&plain, &mut block, flate2::FlushCompress::Full).expect("deflate in memory");
    let mut one = flate2::Crc::new();
    one.update(&plain);
    let mut sum = flate2::Crc::new();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for _ in 0..mebibytes {
        bytes.extend_from_slice(&block);
        sum.combine(&one);
    }
    bytes.extend_from_slice(&[3, 0]);
    bytes.extend_from_slice(&sum.sum().to_le_bytes());
    bytes.extend_from_slice(&(mebibytes << 20).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn gzip_bomb_unpacks_to_its_size() {
        let bomb = gzip_bomb(3, b' ');
        assert!(bomb.len() < 20_000, "{} bytes", bomb.len());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bomb.as_slice()).read_to_end(&mut plain).expect("sum and length are right");
        assert_eq!(plain, vec![b' '; 3 << 20]);
    }

    #[test]
    fn params_hashes_are_those_of_python() {
        // hashlib.sha256(b'{"a":[1,null],"b":{"c":"x","d":0.5}}').hexdigest() and so on.
        for (value, expected) in [
            (json!({}), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
            (
                json!({"b": {"d": 0.5, "c": "x"}, "a": [1, null]}),
                "b740365035ee89889fc5a161a96bb026e27b9b2f1ff76efe9b413b874c1667d9",
            ),
        ] {
            assert_eq!(params_hash(&value), expected, "{value}");
        }
    }
}
