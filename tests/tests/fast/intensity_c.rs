//! The example plugin in C over the real program: rows, params, errors, what is done again and what is not.
//!
//! Tests `plugins/intensity_c` as its users see it. The library itself is tested in `c_door`.

use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, assert_untouched, c, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const TABLE: &str = "tables/kym_intensity_c.parquet";

/// Pixels of 2 lines and as many columns as it takes.
fn set_pixels(data: &Fixture, image: u64, dtype: &str, bytes: &[u8], count: usize) {
    let base = format!("images/{}/data", image_id(image));
    let shape = [2, count / 2];
    let array = json!({
        "chunks": shape, "compressor": null, "dtype": dtype, "fill_value": 0, "filters": null, "order": "C",
        "shape": shape, "zarr_format": 2
    });
    data.put_json(&format!("{base}/.zarray"), &array);
    data.put(&format!("{base}/0.0"), bytes);
}

fn bytes_of<const N: usize, T: Copy>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| to_bytes(*value)).collect()
}

fn run(library: &Path, data: &Fixture, words: &[&str]) -> Run {
    Run::new(words).arg("--json").arg("--plugin").arg(library).dataset(data.path())
}

/// The rows sorted by image: the indexer's own cells.
fn rows(data: &Fixture) -> Vec<(String, Vec<Value>)> {
    let table = Table::read(&data.key(TABLE));
    let own = ["line_count", "pixel_count", "min_intensity", "max_intensity", "mean_intensity", "fraction_above"];
    let mut rows: Vec<(String, Vec<Value>)> =
        table.column("image_id").iter().map(|id| (id.as_str().expect("an id").to_owned(), Vec::new())).collect();
    for name in own {
        for (row, cell) in rows.iter_mut().zip(table.column(name)) {
            row.1.push(cell.clone());
        }
    }
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows
}

/// The plugin in C gives a row for every dtype, and none without pixels.
#[test]
fn c_intensity_reads_every_dtype() {
    let Some(library) = c::intensity_c() else { return };
    let dir = TestDir::new();
    let data = Fixture::new(dir.join("data.zarr"));
    (0..8).for_each(|image| drop(data.add_image(&image_id(image))));
    set_pixels(&data, 0, "|u1", &[0, 255, 10, 15], 4);
    set_pixels(&data, 1, "<u2", &bytes_of(&[0_u16, 65_535, 10, 15], u16::to_le_bytes), 4);
    set_pixels(&data, 2, "<i2", &bytes_of(&[-32_768_i16, 32_767, 10, 15], i16::to_le_bytes), 4);
    set_pixels(&data, 3, "<f4", &bytes_of(&[0.5_f32, -1.5, f32::NAN, 12.0], f32::to_le_bytes), 4);
    set_pixels(&data, 4, "<f8", &bytes_of(&[0.1_f64, 0.2, 0.3, 11.0], f64::to_le_bytes), 4);
    set_pixels(&data, 5, "<f8", &bytes_of(&[f64::NAN; 4], f64::to_le_bytes), 4);
    // No dtype of a kymograph that this indexer measures.
    set_pixels(&data, 6, "<i4", &bytes_of(&[1_i32; 4], i32::to_le_bytes), 4);
    data.remove(&format!("images/{}/data", image_id(7)));
    for image in 0..8 {
        data.image(&image_id(image))
            .json("intensity_c/params", &json!({"threshold": 10, "more": [1, {"threshold": 2}]}));
    }
    let document = run(&library, &data, &["run"]).output().expect_code(3).json();
    assert_eq!(document["failures"].as_array().map(Vec::len), Some(1), "{document}");
    let failure = &document["failures"][0];
    assert_eq!((&failure["image_id"], &failure["kind"]), (&json!(image_id(6)), &json!("error")), "{document}");
    assert!(failure.to_string().contains("dtype number 3; this indexer measures uint8"), "{document}");
    let row = |image: u64, cells: [Value; 6]| (image_id(image), cells.to_vec());
    let mean = |values: &[f64]| json!(values.iter().sum::<f64>() / values.len() as f64);
    assert_eq!(
        rows(&data),
        [
            row(0, [json!(2), json!(4), json!(0.0), json!(255.0), json!(70.0), json!(0.5)]),
            row(1, [json!(2), json!(4), json!(0.0), json!(65_535.0), json!(16_390.0), json!(0.5)]),
            row(2, [json!(2), json!(4), json!(-32_768.0), json!(32_767.0), json!(6.0), json!(0.5)]),
            row(3, [json!(2), json!(4), json!(-1.5), json!(12.0), mean(&[0.5, -1.5, 12.0]), json!(1.0 / 3.0)]),
            row(4, [json!(2), json!(4), json!(0.1), json!(11.0), mean(&[0.1, 0.2, 0.3, 11.0]), json!(0.25)]),
            row(5, [json!(2), json!(4), Value::Null, Value::Null, Value::Null, Value::Null]),
        ]
    );
}

/// Only what changed is extracted again.
#[test]
fn c_intensity_redoes_only_changes() {
    let Some(library) = c::intensity_c() else { return };
    let dir = TestDir::new();
    let data = Fixture::new(dir.join("data.zarr"));
    (0..4).for_each(|image| drop(data.add_image(&image_id(image))));
    let updated = |expected: u64| {
        let document = run(&library, &data, &["run"]).output().expect_code(0).json();
        assert_eq!(document["stats"]["updated"], expected, "{document}");
    };
    let reasons = || -> Vec<String> {
        let document = run(&library, &data, &["status"]).output().expect_code(0).json();
        let images = document["images"].as_array().cloned().unwrap_or_default();
        images.iter().map(|image| image["reason"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(reasons(), ["STALE_MISSING_MARKER"; 4]);
    updated(4);
    assert_eq!(reasons(), ["FRESH_ROWS"; 4]);
    // Pixels 0 to 11, no threshold.
    assert_eq!(rows(&data)[0].1, [json!(4), json!(12), json!(0.0), json!(11.0), json!(5.5), Value::Null]);
    let before = snapshot(data.path());
    updated(0);
    assert_untouched(&before, &snapshot(data.path()));

    // Params that come, pixels that change, and a file that the rows do not depend on.
    data.image(&image_id(1)).json("intensity_c/params", &json!({"threshold": 8.5}));
    data.put(&format!("images/{}/data/0.0", image_id(2)), [7_u8, 0].repeat(12));
    data.image(&image_id(3)).json("another/thing", &json!({"x": 1}));
    assert_eq!(reasons(), ["FRESH_ROWS", "STALE_PARAMS_CHANGED", "STALE_INPUT_CHANGED", "FRESH_ROWS"]);
    updated(2);
    let found = rows(&data);
    assert_eq!(found[1].1[5], json!(0.25), "three of twelve are above 8.5");
    assert_eq!(found[2].1[2..5], [json!(7.0), json!(7.0), json!(7.0)]);
    // The same params in other words are the same params; but extract_rows read that file too, so it is done again.
    data.image(&image_id(1)).json("intensity_c/params", &json!({"note": "as before", "threshold": 8.50}));
    assert_eq!(reasons()[1], "STALE_INPUT_CHANGED");
    updated(1);
    data.image(&image_id(1)).json("intensity_c/params", &json!({"threshold": 8}));
    assert_eq!(reasons()[1], "STALE_PARAMS_CHANGED");
    updated(1);
    assert_eq!(reasons(), ["FRESH_ROWS"; 4]);
}

/// Errors about bad params name the file.
#[test]
fn c_intensity_bad_params_name_the_file() {
    let Some(library) = c::intensity_c() else { return };
    let dir = TestDir::new();
    let data = Fixture::new(dir.join("data.zarr"));
    let cases: [(&str, &str, &str); 6] = [
        ("{\"threshold\": \"high\"}", "error", "should be a number, found \"high\""),
        ("{\"threshold\": NaN}", "error", "should be a number, found NaN"),
        ("{\"threshold\": {\"value\": 3}}", "error", "should be a number"),
        ("[40]", "error", "should be a JSON object such as"),
        ("{\"threshold\": 4", "unreadable", "as JSON"),
        ("", "unreadable", "as JSON"),
    ];
    for (number, (text, ..)) in cases.iter().enumerate() {
        let image = data.add_image(&image_id(number as u64));
        data.put(&image.key("intensity_c/params.json"), text);
    }
    let fine = data.add_image(&image_id(99));
    data.put(&fine.key("intensity_c/params.json"), "{\"threshold\": -Infinity}");
    let document = run(&library, &data, &["run"]).output().expect_code(3).json();
    let failures = document["failures"].as_array().expect("failures");
    assert_eq!(failures.len(), cases.len(), "{document}");
    for (number, (text, kind, words)) in cases.iter().enumerate() {
        let id = image_id(number as u64);
        let failure = failures.iter().find(|failure| failure["image_id"] == id.as_str()).expect("the failure");
        let message = failure.to_string().replace("\\\"", "\"");
        assert_eq!(failure["kind"], *kind, "{text}: {failure}");
        assert!(
            message.contains(words) && message.contains(&format!("{id}/analysis/intensity_c/params.json")),
            "{message}"
        );
    }
    assert_eq!(rows(&data).len(), 1);
    assert_eq!(rows(&data)[0].1[5], json!(1.0), "all are above -Infinity");
}

/// `plugin info` shows that the plugin uses the C contract.
#[test]
fn plugin_info_shows_c_door() {
    let Some(library) = c::intensity_c() else { return };
    let folder = TestDir::new();
    let copy: PathBuf = folder.join(library.file_name().expect("a name"));
    fs::copy(&library, &copy).expect("a copied library");
    let info = |more: &[&str]| {
        Run::new(["plugin", "info", "intensity_c", "--plugin-dir"])
            .arg(folder.path())
            .args(more)
            .output()
            .expect_code(0)
    };
    let document = info(&["--json"]).json();
    for (key, expected) in [
        ("indexer", json!("intensity_c")),
        ("analysis_version", json!("kymhost.intensity_c@1")),
        ("marker", json!("intensity_c_run")),
        ("params_artifacts", json!(["intensity_c/params"])),
        ("door", json!("c-1")),
        ("needs_api", json!("1.0")),
    ] {
        assert_eq!(document[key], expected, "{document}");
    }
    info(&[]).expect_stdout(&["intensity_c", "c-1"]);
    let list = Run::new(["plugin", "list", "--json", "--plugin-dir"]).arg(folder.path()).output().expect_code(0).json();
    let found = list["plugins"].as_array().cloned().unwrap_or_default();
    let ours: Vec<_> = found.iter().filter(|plugin| plugin["indexer"] == "intensity_c").collect();
    assert_eq!(ours.len(), 1, "{list}");
}
