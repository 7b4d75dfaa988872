//! Whether Python's own libraries read what kymhost writes, and the other way round.
//!
//! Makes one half, asks Python for the other, and compares. It uses no code of kymflow: `tests/python/agreement.py`
//! uses zarr, pandas and pyarrow from PyPI, once with pandas 2 and once with pandas 3.
//!
//! Skipped, and reported so, if there is no Python, no venv or no network. If packages cannot be installed for another
//! reason, the tests are skipped too, but fail with `CI=true`.

use arrow::array::{
    Array as _, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, LargeStringArray, NullArray, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use kymhost::dataset::{Dataset, MissingChunks, Problem};
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::{Json, canonical_json};
use kymhost_tests::{Run, TestDir, hex, repository, tiff};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A Python with the packages and this pandas; `None`, reported as skipped, if there cannot be one.
fn python(pandas: &str) -> Option<PathBuf> {
    kymhost_tests::python::interpreter(Path::new(env!("CARGO_TARGET_TMPDIR")), pandas)
}

fn agreement(python: &Path, what: &str, dataset: &Path, expected: &Path) {
    let script = repository().join("tests/python/agreement.py");
    let mut command = Command::new(python);
    let output = command.arg(script).arg(what).arg(dataset).arg(expected).output().expect("the interpreter runs");
    assert!(
        output.status.success(),
        "{what}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

// --- kymhost writes, Python reads

fn array(dtype: DType, shape: &[usize], axes: Vec<String>) -> Array {
    let count: usize = shape.iter().product();
    let bytes: Vec<u8> = match dtype {
        DType::Bool => (0..count).map(|n| (n % 3 == 0) as u8).collect(),
        // Finite numbers of any size, so that no NaN changes its bits on the way.
        DType::Float16 => (0..count).flat_map(|n| (0x3c00u16 + (n % 1000) as u16).to_ne_bytes()).collect(),
        DType::Float32 => (0..count).flat_map(|n| (n as f32 * 0.37 - 5.0).to_ne_bytes()).collect(),
        DType::Float64 => (0..count).flat_map(|n| (n as f64 * 0.37 - 5.0).to_ne_bytes()).collect(),
        DType::Complex64 => (0..2 * count).flat_map(|n| (n as f32 * 0.37).to_ne_bytes()).collect(),
        DType::Complex128 => (0..2 * count).flat_map(|n| (n as f64 * 0.37).to_ne_bytes()).collect(),
        _ => (0..count * dtype.size()).map(|n| (n * 37 % 256) as u8).collect(),
    };
    Array::new(dtype, shape.to_vec(), axes, bytes).expect("an array")
}

fn axes(rank: usize) -> Vec<String> {
    ["y", "x", "t", "z", "c"].iter().take(rank).map(|axis| (*axis).to_owned()).collect()
}

/// kymflow's default chunks.
fn chunks(array: &Array) -> Vec<usize> {
    let lengths = array.shape().iter().zip(array.axes());
    lengths.map(|(&length, axis)| if ["t", "z", "c"].contains(&axis.as_str()) { 1 } else { length.min(512) }).collect()
}

fn described(array: &Array, chunks: Vec<usize>) -> Value {
    json!({
        "dtype": array.dtype().name(), "shape": array.shape(), "axes": array.axes(), "chunks": chunks, "bytes": hex(array.bytes()),
    })
}

/// Rows of every sort of column, and what pandas should make of them: its dtype and the cells.
fn rows() -> (RecordBatch, Value) {
    let columns: Vec<(&str, ArrayRef, &str, Value)> = vec![
        ("image_id", Arc::new(StringArray::from(vec!["a", "b", "c"])), "text", json!(["a", "b", "c"])),
        ("text", Arc::new(StringArray::from(vec![Some("ü"), None, Some("")])), "text", json!(["ü", null, ""])),
        ("large", Arc::new(LargeStringArray::from(vec!["x", "y", "z"])), "text", json!(["x", "y", "z"])),
        ("int", Arc::new(Int64Array::from(vec![1, -2, i64::MAX])), "int64", json!([1, -2, i64::MAX])),
        ("holes", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])), "float64", json!([1.0, null, 3.0])),
        ("uint", Arc::new(UInt64Array::from(vec![0, 1, u64::MAX])), "uint64", json!([0, 1, u64::MAX])),
        ("float", Arc::new(Float64Array::from(vec![0.1, f64::NAN, -1e300])), "float64", json!([0.1, null, -1e300])),
        ("flag", Arc::new(BooleanArray::from(vec![true, false, true])), "bool", json!([true, false, true])),
        ("maybe", Arc::new(BooleanArray::from(vec![Some(true), None, None])), "object", json!([true, null, null])),
        ("nothing", Arc::new(NullArray::new(3)), "object", json!([null, null, null])),
        (
            "time",
            Arc::new(TimestampNanosecondArray::from(vec![Some(1), None, Some(3)]).with_timezone("UTC")),
            "datetime64[ns, UTC]",
            json!([1, null, 3]),
        ),
        ("Nullable", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])), "Int64", json!([1, null, 3])),
    ];
    let expected: Map<String, Value> = columns
        .iter()
        .map(|(name, _, dtype, values)| ((*name).to_owned(), json!({"dtype": dtype, "values": values})))
        .collect();
    let batch = RecordBatch::try_from_iter(columns.into_iter().map(|(name, column, _, _)| (name, column)));
    let batch = batch.expect("columns of one length");
    // As read from a table that pandas wrote: a nullable column stays one.
    let pandas = json!({"index_columns": [], "columns": [
        {"name": "Nullable", "field_name": "Nullable", "pandas_type": "int64", "numpy_type": "Int64", "metadata": null},
        {"name": "int", "field_name": "int", "pandas_type": "categorical", "numpy_type": "int8", "metadata": null},
    ]});
    let metadata = HashMap::from([("pandas".to_owned(), pandas.to_string())]);
    let schema = Arc::new(batch.schema().as_ref().clone().with_metadata(metadata));
    (RecordBatch::try_new(schema, batch.columns().to_vec()).expect("the same columns"), Value::Object(expected))
}

#[test]
#[ignore = "slow"]
fn python_reads_what_kymhost_writes() {
    let folder = TestDir::new();
    let root = folder.path().join("rust.zarr");
    let dataset = Dataset::create(&root).unwrap();
    let (mut arrays, mut texts, mut tables) = (Map::new(), Map::new(), Map::new());

    let mut images = Vec::new();
    for (dtype, shape) in [
        (DType::UInt8, vec![7, 9]),
        (DType::UInt16, vec![600, 20]),
        (DType::Int16, vec![3, 4, 2]),
        (DType::Float32, vec![3, 4, 2, 2]),
        (DType::Float64, vec![3, 4, 2, 2, 2]),
    ] {
        let pixels = array(dtype, &shape, axes(shape.len()));
        let record = dataset.add_image(None, &pixels, None).unwrap();
        let key = format!("images/{}/data", record.image_id());
        arrays.insert(key, described(&pixels, chunks(&pixels)));
        images.push(record.image_id().to_owned());
    }
    images.sort();

    let record = dataset.add_image(Some("chosen"), &array(DType::UInt8, &[10, 10], axes(2)), Some(&[4, 10])).unwrap();
    images.insert(images.iter().position(|id| id.as_str() > "chosen").unwrap_or(images.len()), "chosen".to_owned());
    arrays.insert("images/chosen/data".to_owned(), described(&array(DType::UInt8, &[10, 10], axes(2)), vec![4, 10]));
    for &dtype in DType::ALL {
        for rank in 2..=5 {
            let written = array(dtype, &[3, 4, 2, 2, 3][..rank], axes(rank));
            let name = format!("deep/{}_{rank}", dtype.name());
            record.put_array(&name, &written).unwrap();
            arrays.insert(format!("images/chosen/analysis_arrays/{name}/data"), described(&written, chunks(&written)));
        }
    }

    let payload = r#"{"b": [NaN, Infinity, -Infinity, 1.0, 1e16, -0.0, 5e-324, 123456789012345678901234567890], "ä": "ü😀\u2028\"\\\n", "": {}, "e": []}"#;
    let payload = Json::parse(payload.as_bytes()).unwrap();
    record.put_json("velocity_events/params", &payload).unwrap();
    texts.insert("images/chosen/analysis/velocity_events/params.json".to_owned(), canonical_json(&payload).into());

    let (rows, expected) = rows();
    record.put_parquet("radon/results", &rows).unwrap();
    dataset.write_table("kym_radon", &rows).unwrap();
    for key in ["images/chosen/analysis/radon/results.parquet", "tables/kym_radon.parquet"] {
        tables.insert(key.to_owned(), expected.clone());
    }
    dataset.write_table("empty", &rows.slice(0, 0)).unwrap();
    dataset.rebuild_manifest().unwrap();
    let manifest = dataset.read_manifest().unwrap().unwrap();
    texts.insert("index/manifest.json.gz".to_owned(), canonical_json(&manifest).into());
    assert_eq!(dataset.validate(), []);

    let expected = json!({
        "arrays": arrays, "json": texts, "tables": tables, "images": images,
        "attributes": {"": {"format": "kymflow_zarr_v1", "schema_version": 1}, "images/chosen": {"axes": ["y", "x"]}},
    });
    let file = folder.path().join("expected.json");
    fs::write(&file, expected.to_string()).unwrap();
    for pandas in ["<3", ">=3"] {
        if let Some(python) = python(pandas) {
            agreement(&python, "read", &root, &file);
        }
    }
}

/// What an ingest writes, and then what an export writes.
#[test]
#[ignore = "slow"]
fn python_reads_ingested_and_exported() {
    let folder = TestDir::new();
    let (files, root, out) = (folder.join("files"), folder.join("lab.zarr"), folder.join("out"));
    fs::create_dir(&files).unwrap();
    let pixels = tiff::page(1100, 20, 2, tiff::Kind::Uint, 3);
    fs::write(files.join("a.tif"), tiff::Tiff::new(pixels.clone()).bytes()).unwrap();
    fs::write(files.join("a.radon.csv"), "roi_id,time,note\n1,0.5,x\n2,,\"NA\"\n").unwrap();
    Run::new(["dataset", "ingest"]).arg(&files).dataset(&root).output().expect_code(0);
    let dataset = Dataset::open(&root).unwrap();
    let id = dataset.image_ids().unwrap().remove(0);
    let record = dataset.find_record(&id).unwrap();
    let array = Array::new(DType::UInt16, vec![1100, 20], vec!["y".into(), "x".into()], pixels.bytes).unwrap();
    record.put_array("deep/f", &array).unwrap();
    let text = |name: &str| {
        (format!("images/{id}/analysis/{name}.json"), canonical_json(&record.json(name).unwrap().unwrap()))
    };
    let path = fs::canonicalize(files.join("a.tif")).unwrap();
    let column = |dtype: &str, values: Value| json!({"dtype": dtype, "values": values});
    let sources = dataset.read_table("sources", None).unwrap().unwrap();
    let int = |name: &str| json!([cell(sources.column_by_name(name).unwrap(), 0)]);
    let expected = json!({
        "arrays": {format!("images/{id}/data"): described(&array, vec![512, 20])},
        "json": Map::from_iter([text("metadata"), text("provenance")].map(|(key, text)| (key, Value::from(text)))),
        "tables": {
            format!("images/{id}/analysis/radon.parquet"): {
                "roi_id": column("int64", json!([1, 2])), "time": column("float64", json!([0.5, null])),
                "note": column("text", json!(["x", null])),
            },
            "tables/sources.parquet": {
                "source_primary_path": column("text", json!([path])), "image_id": column("text", json!([id])),
                "source_mtime_ns": column("int64", int("source_mtime_ns")),
                "source_size_bytes": column("int64", int("source_size_bytes")),
                "ingested_epoch_ns": column("int64", int("ingested_epoch_ns")),
            },
        },
        "images": [id],
        "attributes": {"": {"format": "kymflow_zarr_v1", "schema_version": 1}, format!("images/{id}"): {"axes": ["y", "x"]}},
    });
    let file = folder.path().join("expected.json");
    fs::write(&file, expected.to_string()).unwrap();
    Run::new(["dataset", "export"]).arg(&out).dataset(&root).output().expect_code(0);
    let exported = json!({
        "arrays": {format!("images/{id}/array_artifacts/deep/f.npy"): described(&array, vec![])},
        "json": {format!("images/{id}/metadata.json"): text("metadata").1},
        "csv": {
            format!("images/{id}/radon.csv"): {"roi_id": [1, 2], "time": [0.5, null], "note": ["x", null]},
            "tables/sources.csv": {"image_id": [id], "source_mtime_ns": int("source_mtime_ns")},
        },
    });
    let files = folder.path().join("exported.json");
    fs::write(&files, exported.to_string()).unwrap();
    for pandas in ["<3", ">=3"] {
        if let Some(python) = python(pandas) {
            agreement(&python, "read", &root, &file);
            agreement(&python, "exported", &out, &files);
        }
    }
}

// --- Python writes, kymhost reads

/// A cell as `agreement.py` gives it.
fn cell(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    let to = |kind: DataType| cast(column, &kind).expect("a cast");
    match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Timestamp(_, zone) => {
            let nanos = to(DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, zone.clone()));
            cast(&nanos, &DataType::Int64).expect("a cast").as_primitive::<Int64Type>().value(row).into()
        }
        kind if kind.is_integer() => to(DataType::Int64).as_primitive::<Int64Type>().value(row).into(),
        kind if kind.is_floating() => to(DataType::Float64).as_primitive::<Float64Type>().value(row).into(),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            (0..items.len()).map(|at| cell(&items, at)).collect()
        }
        DataType::LargeList(_) => {
            let items = column.as_list::<i64>().value(row);
            (0..items.len()).map(|at| cell(&items, at)).collect()
        }
        _ => to(DataType::Utf8).as_string::<i32>().value(row).into(),
    }
}

/// Numbers are compared as numbers: Python's 1.0 is our 1.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            found == expected || (found.as_f64() == expected.as_f64() && (found.is_f64() || expected.is_f64()))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(found, expected)| same(found, expected))
        }
        _ => found == expected,
    }
}

fn check_table(what: &str, found: &RecordBatch, expected: &Value) {
    let expected = expected.as_object().expect("columns");
    let names: Vec<String> = found.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut sorted = (names.clone(), expected.keys().cloned().collect::<Vec<_>>());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "{what}");
    for (name, column) in names.iter().zip(found.columns()) {
        let cells: Value = (0..column.len()).map(|row| cell(column, row)).collect();
        assert!(same(&cells, &expected[name]), "{what} {name}: {cells} is not {}", expected[name]);
        assert!(!matches!(column.data_type(), DataType::Dictionary(..)), "{what} {name}");
    }
}

fn check_array(what: &str, found: &Array, expected: &Value) {
    let case = &expected["case"];
    assert_eq!(found.dtype().name(), expected["dtype"], "{what} {case}");
    assert_eq!(json!(found.shape()), expected["shape"], "{what} {case}");
    assert_eq!(json!(found.axes()), expected["axes"], "{what} {case}");
    assert_eq!(hex(found.bytes()), expected["bytes"].as_str().unwrap_or_default(), "{what} {case}");
}

#[test]
#[ignore = "slow"]
fn kymhost_reads_and_rewrites_python_files() {
    for pandas in ["<3", ">=3"] {
        let Some(python) = python(pandas) else { continue };
        let folder = TestDir::new();
        let (root, file) = (folder.path().join("python.zarr"), folder.path().join("expected.json"));
        agreement(&python, "write", &root, &file);
        let expected: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let cases = |name: &str| expected[name].as_object().unwrap_or_else(|| panic!("no {name}")).clone();

        // Python left out chunks of some arrays. Whether they are lost cannot be seen, so that is all that is wrong.
        let strict = Dataset::open(&root).unwrap();
        let is_hole = |problem: &Problem| {
            problem.key.contains("/analysis_arrays/")
                && problem.key.ends_with("/data")
                && problem.message.contains("chunks are missing")
        };
        let problems = strict.validate();
        assert!(!problems.is_empty() && problems.iter().all(is_hole), "{problems:?}");
        // To Python they are fill values.
        let dataset = strict.with_missing_chunks(MissingChunks::Filled);
        let id = dataset.image_ids().unwrap().pop().unwrap();
        let record = dataset.find_record(&id).unwrap();
        check_array("pixels", &record.pixels().unwrap().unwrap(), &expected["pixels"]);
        assert_eq!(canonical_json(&record.attributes().unwrap()), expected["attributes"].as_str().unwrap());
        assert!(matches!(dataset.attributes().unwrap().get("scale"), Some(Json::Float(scale)) if scale.is_nan()));
        let arrays = cases("arrays");
        assert!(arrays.len() > 200, "{} arrays", arrays.len());
        for (name, case) in arrays {
            check_array(&name, &record.array(&name).unwrap().unwrap(), &case);
        }
        for (name, text) in cases("json") {
            assert_eq!(canonical_json(&record.json(&name).unwrap().unwrap()), text.as_str().unwrap(), "{name}");
        }
        for (name, columns) in cases("tables") {
            check_table(&name, &record.parquet(&name).unwrap().unwrap(), &columns);
        }
        for (name, columns) in cases("csv") {
            check_table(&name, &record.csv(&name).unwrap().unwrap(), &columns);
        }

        // What is read and written again is to pandas what it was, but for categories, which become what they hold.
        let mut again = Map::new();
        for (name, columns) in cases("dataset_tables") {
            let rows = dataset.read_table(&name, None).unwrap().unwrap();
            check_table(&name, &rows, &columns);
            dataset.write_table(&name, &rows).unwrap();
            if rows.num_rows() == 0 {
                continue;
            }
            let names = rows.schema();
            let described: Map<String, Value> = names
                .fields()
                .iter()
                .map(|field| {
                    let dtype = match field.name().as_str() {
                        "text" | "category" => "text",
                        "integer" | "number" => "int64",
                        "unsigned" => "uint64",
                        "small" => "int8",
                        "double" => "float64",
                        "single" => "float32",
                        "flag" => "bool",
                        "nullable" => "Int64",
                        "yesno" => "boolean",
                        "time" => "datetime64[ns, UTC]",
                        _ => "object",
                    };
                    (field.name().clone(), json!({"dtype": dtype, "values": columns[field.name()]}))
                })
                .collect();
            again.insert(format!("tables/{name}.parquet"), Value::Object(described));
        }
        record.put_json("added", &Json::parse(b"[1.5]").unwrap()).unwrap();
        let expected = json!({
            "arrays": {}, "attributes": {}, "images": [id], "tables": again,
            "json": {format!("images/{id}/analysis/added.json"): "[1.5]"},
        });
        fs::write(&file, expected.to_string()).unwrap();
        agreement(&python, "read", &root, &file);
    }
}

// --- Python writes a table of kymhost's again

/// Values stay what they are where pandas reads and writes a table: so do digests, and rows can be replaced in
/// its file.
#[test]
#[ignore = "slow"]
fn row_digests_survive_pandas_rewrite() {
    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array, Int8Array, ListArray,
        StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int32Type};
    use kymhost::index::merge::Piece;
    use kymhost::index::names::TableName;
    use kymhost::index::rewrite::{Change, rewrite};
    use kymhost::index::rows_digest::{rows_digest, table_digests};

    let (rows, _) = rows();
    let list = |items: Vec<Option<i32>>| Some(items);
    let more: Vec<(&str, ArrayRef)> = vec![
        ("small", Arc::new(Int8Array::from(vec![Some(1), None, Some(-3)]))),
        ("single", Arc::new(Float32Array::from(vec![0.1, f32::NAN, 1e30]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\xff\0"[..]), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(1), None, Some(20_000)]))),
        ("clock", Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(86_399_999_999)]))),
        ("moment", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1 << 50)]))),
        ("span", Arc::new(DurationMicrosecondArray::from(vec![Some(-1), None, Some(7)]))),
        (
            "decimal",
            Arc::new(Decimal128Array::from(vec![Some(150), None, Some(-5)]).with_precision_and_scale(9, 2).unwrap()),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
                list(vec![Some(1), None]),
                None,
                list(vec![]),
            ])),
        ),
        (
            "structure",
            Arc::new(StructArray::from(vec![(
                Arc::new(Field::new("part", DataType::Int64, true)),
                Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef,
            )])),
        ),
    ];
    let schema = rows.schema();
    let columns = schema.fields().iter().map(|field| field.name().as_str()).zip(rows.columns().iter().cloned());
    let columns: Vec<(&str, ArrayRef, bool)> = columns.chain(more).map(|(name, column)| (name, column, true)).collect();
    let rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let name = TableName::of("t").unwrap();
    for pandas in ["<3", ">=3"] {
        let Some(python) = python(pandas) else { continue };
        let folder = TestDir::new();
        let root = folder.path().join("d.zarr");
        let dataset = Dataset::create(&root).unwrap();
        dataset.write_table(name.table(), &rows).unwrap();
        let mut expected = table_digests(&dataset, &name).unwrap();
        assert_eq!(expected.len(), 3);
        let rewritten = |dataset: &Dataset| {
            let file = root.join(name.key_text());
            let script = "import pandas, sys; pandas.read_parquet(sys.argv[1]).to_parquet(sys.argv[1])";
            let output = Command::new(&python).args(["-c", script]).arg(file).output().expect("the interpreter runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            table_digests(dataset, &name).unwrap()
        };
        assert_eq!(rewritten(&dataset), expected, "pandas {pandas}");

        let new = rows.slice(0, 1);
        let piece = Piece { image_id: "b".to_owned(), params_hash: "h".to_owned(), rows: new.clone() };
        let change = Change { pieces: vec![piece], analysis_version: "v".to_owned(), ..Change::default() };
        let seen = dataset.table_stat(name.table()).unwrap();
        let done = rewrite(&dataset, &name, seen, &change).unwrap().unwrap();
        assert_eq!(done.refused, [], "pandas {pandas}");
        expected.insert("b".to_owned(), rows_digest(&new));
        assert_eq!(table_digests(&dataset, &name).unwrap(), expected, "pandas {pandas}");
        assert_eq!(rewritten(&dataset), expected, "pandas {pandas}, the second time");
    }
}
