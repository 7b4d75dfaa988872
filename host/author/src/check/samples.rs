//! Made-up records, and copies of real ones.
//!
//! Responsible for their contents, which depend only on the seed. It does not run a plugin. For authors:
//! `docs/authors/plugin-check.md`.
//!
//! Nobody knows in advance which artifacts an indexer reads. So the suite runs it and makes what it did not find
//! ([`Samples::make_missing`]), until it looks for nothing new.

use crate::check::sandbox::copy_tree;
use crate::error::CheckError;
use arrow::array::{ArrayRef, Float64Array, Int64Array, LargeStringArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::array_value_to_string;
use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use kymhost_dataset::{Dataset, DatasetError, Record};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_store::Key;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

/// No more images of a real dataset are copied.
const MAX_REAL_IMAGES: usize = 8;
/// Rows of each made-up table.
const ROWS: usize = 12;

/// The dataset that each check gets a copy of.
pub(crate) struct Samples {
    dataset: Dataset,
    seed: u64,
    images: Vec<String>,
    made: BTreeSet<String>,
    is_real: bool,
}

impl Samples {
    /// A made-up dataset in a new folder.
    pub(crate) fn made_up(folder: &Path, seed: u64) -> Result<Self, CheckError> {
        let dataset = Dataset::create(folder)?;
        let mut rng = Rng::with_seed(seed);
        let shapes =
            [(DType::UInt16, 48, 24), (DType::UInt8, 40, 32), (DType::Float32, 50, 20), (DType::Int16, 33, 17)];
        let mut images = Vec::new();
        for (dtype, lines, places) in shapes {
            let id = image_id(&mut rng);
            let pixels = kymograph(dtype, lines, places, &mut rng).map_err(|why| impossible(&id, why))?;
            let record = dataset.add_image(Some(&id), &pixels, None)?;
            record.put_json("metadata", &metadata(lines, places, &mut rng))?;
            images.push(id);
        }
        images.sort_unstable();
        Ok(Self { dataset, seed, images, made: BTreeSet::new(), is_real: false })
    }

    /// Copies of the first images of a dataset, which is only read.
    pub(crate) fn of_dataset(folder: &Path, real: &Path) -> Result<Self, CheckError> {
        let source = Dataset::open(real)?;
        let mut images = source.image_ids()?;
        images.truncate(MAX_REAL_IMAGES);
        if images.is_empty() {
            return Err(CheckError::NoImages(real.display().to_string()));
        }
        let dataset = Dataset::create(folder)?;
        for id in &images {
            copy_image(real, id, folder, id)?;
        }
        Ok(Self { dataset, seed: 0, images, made: BTreeSet::new(), is_real: true })
    }

    /// Whether artifacts may be added.
    pub(crate) fn are_made_up(&self) -> bool {
        !self.is_real
    }

    /// A second dataset in a new folder: the same image ids, each with the contents of the next one.
    pub(crate) fn rotate_into(&self, folder: &Path) -> Result<(), CheckError> {
        Dataset::create(folder)?;
        for (number, id) in self.images.iter().enumerate() {
            let Some(next) = self.images.get((number + 1) % self.images.len()) else { continue };
            copy_image(&self.dataset.path(), next, folder, id)?;
        }
        Ok(())
    }

    /// Makes artifacts that an indexer looked for and did not find, by their keys below an image's group. Returns whether any
    /// of them is new.
    ///
    /// If a table is looked for as Parquet and as CSV, the last image gets the CSV, the others the Parquet.
    pub(crate) fn make_missing(&mut self, missing: &BTreeSet<String>) -> Result<bool, CheckError> {
        let new: Vec<String> = missing.difference(&self.made).cloned().collect();
        for (number, id) in self.images.iter().enumerate() {
            let is_last = number + 1 == self.images.len();
            let record = self.dataset.record(id)?;
            for key in &new {
                // The contents depend on seed, image and key alone, not on the order of the keys.
                let mut rng = Rng::with_seed(self.seed ^ fold(id) ^ fold(key).rotate_left(17));
                self.make_one(&record, id, key, is_last, missing, &mut rng)?;
            }
        }
        self.made.extend(new.iter().cloned());
        Ok(!new.is_empty())
    }

    /// Puts params into an artifact of every image: those that a schema asks for, or an empty object without a schema.
    pub(crate) fn make_params(&self, name: &str, schema: &str) -> Result<(), CheckError> {
        let params = params_by_schema(schema).unwrap_or_else(|| Json::object::<&str>([]));
        for id in &self.images {
            self.dataset.record(id)?.put_json(name, &params)?;
        }
        Ok(())
    }

    fn make_one(
        &self,
        record: &Record,
        id: &str,
        key: &str,
        is_last: bool,
        missing: &BTreeSet<String>,
        rng: &mut Rng,
    ) -> Result<(), DatasetError> {
        let Some(name) = key.strip_prefix("analysis/") else {
            let array = key.strip_prefix("analysis_arrays/").and_then(|name| name.strip_suffix("/data"));
            return match (array, series(rng)) {
                (Some(name), Ok(series)) => record.put_array(name, &series),
                _ => Ok(()),
            };
        };
        if let Some(name) = name.strip_suffix(".json") {
            return record.put_json(name, &document(rng));
        }
        if let Some(name) = name.strip_suffix(".parquet") {
            let has_csv = missing.contains(&format!("analysis/{name}.csv.gz"));
            return if is_last && has_csv { Ok(()) } else { record.put_parquet(name, &table(rng)) };
        }
        if let Some(name) = name.strip_suffix(".csv.gz") {
            let has_parquet = missing.contains(&format!("analysis/{name}.parquet"));
            if is_last || !has_parquet {
                let csv = gzip(csv(&table(rng)).as_bytes());
                self.dataset.store().put(&Key::new(format!("images/{id}/{key}"))?, &csv)?;
            }
        }
        Ok(())
    }
}

fn copy_image(from: &Path, from_id: &str, to: &Path, to_id: &str) -> Result<(), CheckError> {
    let (from, to) = (from.join("images").join(from_id), to.join("images").join(to_id));
    copy_tree(&from, &to).map_err(|error| CheckError::io(format!("copy {}", from.display()), error))
}

fn impossible(id: &str, why: kymhost_plugin_api::Error) -> CheckError {
    CheckError::io(format!("make up the pixels of {id}"), std::io::Error::other(why.message().to_owned()))
}

/// A number from a text, for seeds (FNV-1a).
fn fold(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn image_id(rng: &mut Rng) -> String {
    let (a, b) = (rng.u64(..), rng.u64(..));
    uuid::Builder::from_random_bytes(((u128::from(a) << 64) | u128::from(b)).to_be_bytes()).into_uuid().to_string()
}

/// Streaks of moving cells with noise: `[time, space]`.
fn kymograph(dtype: DType, lines: usize, places: usize, rng: &mut Rng) -> kymhost_plugin_api::Result<Array> {
    let slope = 0.4 + rng.f64();
    let values: Vec<f64> = (0..lines * places)
        .map(|index| {
            let (line, place) = ((index / places) as f64, (index % places) as f64);
            let phase = (place + slope * line) / 6.0;
            60.0 + 40.0 * (phase * std::f64::consts::TAU).sin() + 8.0 * rng.f64()
        })
        .collect();
    pixels(dtype, vec![lines, places], &values)
}

/// An array of these values, each cast to the dtype.
pub(crate) fn pixels(dtype: DType, shape: Vec<usize>, values: &[f64]) -> kymhost_plugin_api::Result<Array> {
    let axes = ["time", "space", "z", "channel", "trial"].map(str::to_owned);
    let axes: Vec<String> = axes.into_iter().take(shape.len()).collect();
    match dtype {
        DType::UInt8 => Array::from_elements(&values.iter().map(|v| *v as u8).collect::<Vec<_>>(), shape, axes),
        DType::UInt16 => Array::from_elements(&values.iter().map(|v| *v as u16).collect::<Vec<_>>(), shape, axes),
        DType::Int16 => Array::from_elements(&values.iter().map(|v| *v as i16).collect::<Vec<_>>(), shape, axes),
        DType::Float32 => Array::from_elements(&values.iter().map(|v| *v as f32).collect::<Vec<_>>(), shape, axes),
        _ => Array::from_elements(values, shape, axes),
    }
}

/// An array artifact.
fn series(rng: &mut Rng) -> kymhost_plugin_api::Result<Array> {
    let values: Vec<f64> = (0..24).map(|_| 2.0 * rng.f64() - 1.0).collect();
    Array::from_elements(&values, vec![24], vec!["time".to_owned()])
}

/// A document, for plugins that read it as JSON.
fn document_of(value: Value) -> Json {
    Json::parse(value.to_string().as_bytes()).unwrap_or(Json::Null)
}

/// The metadata as kymflow stores it, with two ROIs side by side.
fn metadata(lines: usize, places: usize, rng: &mut Rng) -> Json {
    let roi = |number: u8, left: usize, right: usize| {
        json!({
            "roi_id": number, "roi_type": "rect", "version": "1.0", "name": format!("ROI {number}"), "note": "made up",
            "channel": 1, "z": 0, "data": {"x0": left, "x1": right, "y0": 0, "y1": lines}, "meta": {},
        })
    };
    let middle = places / 2;
    let (seconds_per_line, um_per_pixel) = (0.001 + 0.001 * rng.f64(), 0.1 + 0.2 * rng.f64());
    document_of(json!({
        "version": "2.0",
        "header": {
            "shape": [lines, places],
            "ndim": 2,
            "voxels": [seconds_per_line, um_per_pixel],
            "voxels_units": ["s", "um"],
            "labels": ["time (s)", "space (um)"],
            "physical_size": [lines as f64 * seconds_per_line, places as f64 * um_per_pixel],
            "acquired_local_epoch_ns": 1_700_000_000_000_000_000_i64,
        },
        "experiment_metadata": {"note": "made up by kymhost plugin check"},
        "rois": [roi(1, 1, middle), roi(2, middle, places - 1)],
    }))
}

/// Params by a JSON Schema: each property's default, first example, first of its enum, or a value of its type. `None` if it
/// has no properties.
fn params_by_schema(schema: &str) -> Option<Json> {
    let schema = Json::parse(schema.as_bytes()).ok()?;
    let properties = schema.get("properties")?.as_object()?;
    Some(Json::object(properties.iter().filter_map(|(name, property)| Some((name.clone(), by_schema(property)?)))))
}

fn by_schema(property: &Json) -> Option<Json> {
    let first = |key: &str| property.get(key)?.as_array()?.first().cloned();
    let said = property.get("default").cloned().or_else(|| first("examples")).or_else(|| first("enum"));
    let least = || property.get("minimum").or_else(|| property.get("maximum")).cloned();
    said.or_else(|| match property.get("type")?.as_str()? {
        "number" => Some(least().unwrap_or_else(|| 0.5.into())),
        "integer" => Some(least().unwrap_or_else(|| 1_i64.into())),
        "boolean" => Some(true.into()),
        "string" => Some("made up".into()),
        "array" => Some(Json::Array(Vec::new())),
        "object" => Some(Json::object::<&str>([])),
        _ => None,
    })
}

/// A JSON artifact, if only its name is known.
fn document(rng: &mut Rng) -> Json {
    let numbers = |rng: &mut Rng| (0..6).map(|_| (rng.f64() * 1000.0).round() / 8.0).collect::<Vec<f64>>();
    document_of(json!({
        "threshold": 0.1 + rng.f64(),
        "window": 3 + rng.i64(0..20),
        "window_s": 0.05 + rng.f64(),
        "min_duration_s": 0.01 + 0.1 * rng.f64(),
        "count": rng.i64(1..9),
        "n": rng.i64(1..9),
        "value": rng.f64() * 10.0,
        "method": "made_up",
        "name": "made up",
        "is_enabled": true,
        "roi_id": 1,
        "values": numbers(rng),
        "time": numbers(rng),
        "velocity": numbers(rng),
        "options": {"gain": 1.0 + rng.f64(), "order": rng.i64(1..5)},
    }))
}

/// A table artifact, if only its name is known.
fn table(rng: &mut Rng) -> RecordBatch {
    // Never a whole number, which CSV would read as an integer.
    let mut floats = |from: f64, step: f64| -> ArrayRef {
        let value = |row: usize| from + step * row as f64 + 0.001 + 0.01 * rng.f64();
        Arc::new(Float64Array::from((0..ROWS).map(value).collect::<Vec<f64>>()))
    };
    let ints =
        |of: &dyn Fn(usize) -> i64| -> ArrayRef { Arc::new(Int64Array::from((0..ROWS).map(of).collect::<Vec<i64>>())) };
    // The type that CSV is read with.
    let labels = LargeStringArray::from((0..ROWS).map(|row| format!("label {row}")).collect::<Vec<_>>());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("roi_id", ints(&|row| 1 + (row / (ROWS / 2)) as i64)),
        ("event_id", ints(&|row| row as i64)),
        ("time", floats(0.0, 0.1)),
        ("velocity", floats(-2.0, 0.4)),
        ("t_start_s", floats(0.0, 0.5)),
        ("t_end_s", floats(0.2, 0.5)),
        ("peak_t_s", floats(0.1, 0.5)),
        ("peak_value", floats(1.0, 0.1)),
        ("score", floats(0.3, 0.05)),
        ("label", Arc::new(labels)),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|(_, values)| values).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).unwrap_or_else(|_| RecordBatch::new_empty(schema))
}

/// The table as CSV.
fn csv(rows: &RecordBatch) -> String {
    let names = rows.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(",");
    let cell = |column: &ArrayRef, row| array_value_to_string(column, row).unwrap_or_default();
    let line = |row| rows.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join(",");
    [names].into_iter().chain((0..rows.num_rows()).map(line)).map(|line| line + "\n").collect()
}

/// Packs bytes with gzip, as CSV artifacts are stored.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files below a folder with their bytes.
    fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(contents(&path));
            } else if path.file_name().is_some_and(|name| name != ".zattrs") {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    }

    fn missing(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn samples_depend_on_the_seed_only() {
        let folder = tempfile::tempdir().unwrap();
        let keys = ["analysis/p.json", "analysis/a/t.parquet", "analysis/a/t.csv.gz", "analysis_arrays/s/data"];
        let make = |name: &str, seed: u64, steps: &[&[&str]]| {
            let path = folder.path().join(name);
            let mut samples = Samples::made_up(&path, seed).unwrap();
            for step in steps {
                assert!(samples.make_missing(&missing(step)).unwrap());
            }
            let all = contents(&path.join("images"));
            all.into_iter()
                .map(|(file, bytes)| (file.strip_prefix(&path).unwrap().to_owned(), bytes))
                .collect::<Vec<_>>()
        };
        let once = make("once", 7, &[&keys]);
        let slowly = make("slowly", 7, &[&keys[..1], &keys]);
        assert_eq!(once, slowly);
        assert_ne!(once, make("another", 8, &[&keys]));
    }

    #[test]
    fn params_by_schema_uses_defaults_and_types() {
        let schema = r#"{"properties": {"a": {"type": "number", "default": 2.5}, "b": {"enum": ["up", "down"]},
            "c": {"type": "integer", "minimum": 3}, "d": {"type": "string"}, "e": {}, "f": {"type": "number", "examples": [7]}}}"#;
        let params = params_by_schema(schema).map(|params| params.to_string());
        assert_eq!(params.as_deref(), Some(r#"{"a":2.5,"b":"up","c":3,"d":"made up","f":7}"#));
        for none in ["", "{", "5", "{}", r#"{"properties": 5}"#] {
            assert_eq!(params_by_schema(none), None, "{none}");
        }
    }

    #[test]
    fn csv_and_parquet_tables_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let mut samples = Samples::made_up(&folder.path().join("d"), 3).unwrap();
        let keys = missing(&["analysis/t.csv.gz", "analysis/t.parquet"]);
        assert!(samples.make_missing(&keys).unwrap());
        assert!(!samples.make_missing(&keys).unwrap(), "nothing is new the second time");
        let mut schemas = BTreeSet::new();
        let mut forms = [0, 0];
        for id in &samples.images {
            let record = samples.dataset.record(id).unwrap();
            let (parquet, csv) = (record.parquet("t").unwrap(), record.csv("t").unwrap());
            forms[0] += usize::from(parquet.is_some());
            forms[1] += usize::from(csv.is_some());
            let table = parquet.or(csv).unwrap();
            assert_eq!(table.num_rows(), ROWS);
            let types = |field: &Arc<Field>| format!("{} {}", field.name(), field.data_type());
            schemas.insert(table.schema().fields().iter().map(types).collect::<Vec<_>>());
        }
        assert_eq!(forms, [3, 1]);
        assert_eq!(schemas.len(), 1, "{schemas:?}");
    }
}
