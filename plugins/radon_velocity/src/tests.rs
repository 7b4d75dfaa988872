//! From records to tables: what is read, what is refused, and which columns there are.

use super::*;
use kymhost_plugin_api::testing::{Roi as RecordRoi, TestHost, TestRecord};

const WIDTH: usize = 12;
const LINES: usize = 160;

/// Streaks that move by half a pixel per line.
fn pixels() -> Vec<u16> {
    let value = |line: usize, pixel: usize| {
        let place = (2 * pixel + 10_000 - line) * 7919 % 641;
        (place * place % 251) as u16 + 100
    };
    (0..LINES * WIDTH).map(|at| value(at / WIDTH, at % WIDTH)).collect()
}

fn record() -> TestRecord {
    TestRecord::new().pixels(&pixels(), [LINES, WIDTH]).voxels(0.001, 0.5)
}

fn two_rois() -> TestRecord {
    let first = RecordRoi::rect(7).lines(0, LINES as i64).pixels(0, WIDTH as i64).channel(1);
    record().roi(first).roi(RecordRoi::rect(9).lines(120, 20).pixels(-3, 6).channel(2))
}

fn host() -> TestHost {
    TestHost::new(RadonVelocity)
}

const COLUMNS: [&str; 16] = [
    "roi_id",
    "channel",
    "window",
    "time",
    "theta_deg",
    "velocity_raw",
    "velocity",
    "cleanVelocity",
    "absVelocity",
    "algorithm",
    "delx",
    "delt",
    "numLines",
    "pntsPerLine",
    "parentFolder",
    "file",
];
const SUMMARY: [&str; 14] = [
    "roi_id",
    "vel_min",
    "vel_max",
    "vel_mean",
    "vel_std",
    "vel_se",
    "vel_cv",
    "vel_n_nan",
    "vel_n_zero",
    "vel_n_big",
    "img_min",
    "img_max",
    "img_mean",
    "img_std",
];

/// Each ROI has its windows in the artifact, and one summary row that matches them.
#[test]
fn extract_each_roi_has_windows_and_summary() {
    let provenance = Json::object([("original_path", Json::from("/lab/2025/day 3/a.tif"))]);
    let outcome = host().extract(&two_rois().json("provenance", provenance));
    let windows = outcome.table(VELOCITY);
    assert_eq!(windows.columns(), COLUMNS);
    assert_eq!(outcome.rows().columns(), SUMMARY);
    // (160 / 4) − 3 windows in the first, (100 / 4) − 3 in lines 20 to 120.
    let (first, second) = (37, 22);
    assert_eq!(windows.len(), first + second);
    let ids: Vec<_> = (0..first + second).map(|row| Some(if row < first { 7 } else { 9 })).collect();
    assert_eq!(windows.i64("roi_id"), ids);
    assert_eq!((windows.i64("channel")[0], windows.i64("channel")[first]), (Some(1), Some(2)));
    assert_eq!((windows.i64("window")[first - 1], windows.i64("window")[first]), (Some(36), Some(0)));
    assert_eq!((windows.f64("time")[1], windows.f64("time")[first]), (Some(0.012), Some(0.028)));
    for (column, expected) in [("numLines", LINES as i64), ("pntsPerLine", WIDTH as i64)] {
        assert!(windows.i64(column).iter().all(|value| *value == Some(expected)), "{column}");
    }
    assert!(windows.f64("delx").iter().all(|value| *value == Some(0.5)));
    assert!(windows.f64("delt").iter().all(|value| *value == Some(0.001)));
    for (column, expected) in [("algorithm", "mpRadon"), ("parentFolder", "day 3"), ("file", "a.tif")] {
        assert!(windows.text(column).iter().all(|value| *value == Some(expected)), "{column}");
    }
    let clean = windows.f64("cleanVelocity");
    for (row, speed) in windows.f64("absVelocity").into_iter().enumerate() {
        assert_eq!(speed, clean[row].map(f64::abs), "row {row}");
    }
    let rows = outcome.rows();
    assert_eq!(rows.i64("roi_id"), [Some(7), Some(9)]);
    let known: Vec<f64> = windows.f64("velocity")[..first].iter().copied().flatten().collect();
    assert_eq!(rows.i64("vel_n_nan")[0], Some((first - known.len()) as i64));
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    assert!((rows.f64("vel_mean")[0].unwrap() - mean).abs() < 1e-12);
    let brightest = pixels().into_iter().max().map(f64::from);
    assert_eq!(rows.f64("img_max")[0], brightest);
}

/// An image without ROIs is analysed as one ROI over all pixels.
#[test]
fn extract_without_rois_uses_whole_image() {
    let whole = RecordRoi::rect(1).lines(0, LINES as i64).pixels(0, WIDTH as i64).channel(1);
    let (none, one) = (host().extract(&record()), host().extract(&record().roi(whole)));
    assert_eq!(none.table(VELOCITY).batch(), one.table(VELOCITY).batch());
    assert_eq!(none.rows().batch(), one.rows().batch());
    assert_eq!(none.rows().i64("roi_id"), [Some(1)]);
}

/// The error says what is missing or wrong; an image without pixels has no rows.
#[test]
fn extract_missing_or_bad_input_is_reported() {
    let no_voxels = TestRecord::new().pixels(&pixels(), [LINES, WIDTH]);
    for record in [no_voxels.clone(), no_voxels.clone().json("metadata", Json::object([("header", Json::Null)]))] {
        let outcome = host().extract(&record);
        let text = outcome.error().message();
        assert!(text.contains("metadata") && text.contains("\"voxels\": [seconds_per_line, um_per_pixel]"), "{text}");
    }
    let cases: Vec<(TestRecord, &str)> = vec![
        (record().roi(RecordRoi::mask(3).name("vessel")), "ROI 3 'vessel': its roi_type is 'mask'"),
        (record().pixels(&[1_u16; 4 * 4 * 4], [4, 4, 4]), "expected a kymograph"),
        (record().pixels(&[1_u16; 16], [4, 4]).unreadable_pixels(), ""),
        (record().json_text("metadata", "{"), "metadata"),
    ];
    for (record, words) in cases {
        let outcome = host().extract(&record);
        assert!(outcome.error().message().contains(words), "{}", outcome.error());
        assert!(outcome.artifacts().is_empty());
    }
    // Without pixels there is nothing to do, and no artifact.
    let empty = host().extract(&TestRecord::new());
    assert_eq!(empty.rows().columns(), SUMMARY);
    assert_eq!((empty.rows().len(), empty.artifacts().len()), (0, 0));
    // An ROI that is too short has no windows, and an empty summary.
    let short = host().extract(&record().roi(RecordRoi::rect(4).lines(0, 15).pixels(0, 5)));
    assert_eq!((short.rows().i64("roi_id"), short.table(VELOCITY).len()), (vec![Some(4)], 0));
    assert_eq!((short.rows().f64("vel_mean"), short.rows().i64("vel_n_nan")), (vec![None], vec![Some(0)]));
}

/// A blank image has windows, but no velocities, and pixel statistics.
#[test]
fn extract_blank_image_has_no_velocity() {
    let outcome = host().extract(&record().pixels(&[7_u16; LINES * WIDTH], [LINES, WIDTH]));
    let windows = outcome.table(VELOCITY);
    assert_eq!(windows.len(), 37);
    for column in ["theta_deg", "velocity_raw", "velocity", "cleanVelocity", "absVelocity"] {
        assert!(windows.f64(column).iter().all(Option::is_none), "{column}");
    }
    assert_eq!((outcome.rows().i64("vel_n_nan"), outcome.rows().f64("vel_cv")), (vec![Some(37)], vec![None]));
    assert_eq!((outcome.rows().f64("img_mean"), outcome.rows().f64("img_std")), (vec![Some(7.0)], vec![Some(0.0)]));
}

/// Missing params have defaults; unknown and wrong ones are errors that name the file.
#[test]
fn params_wrong_value_is_refused() {
    let with = |text: &str| record().json_text(PARAMS, text);
    assert_eq!(host().params(&record()).unwrap(), Json::object([("window_lines", Json::from(16))]));
    for same in ["{}", r#"{"window_lines": 16}"#, r#"{"window_lines": 16.0}"#] {
        host().assert_params_hash_stays(&record(), &with(same));
    }
    host().assert_params_hash_changes(&record(), &with(r#"{"window_lines": 32}"#));
    let outcome = host().extract(&with(r#"{"window_lines": 32}"#));
    assert_eq!(outcome.table(VELOCITY).len(), 160 / 8 - 3);
    for (text, words) in [
        ("[]", "expected an object"),
        (r#"{"window": 16}"#, "there is no param 'window'; expected one of window_lines"),
        (r#"{"window_lines": 18}"#, "window_lines is 18; expected a multiple of 4"),
        (r#"{"window_lines": 0}"#, "window_lines is 0; expected a multiple of 4"),
        (r#"{"window_lines": -4}"#, "window_lines is -4; expected a multiple of 4"),
        (r#"{"window_lines": 16.5}"#, "window_lines is 16.5; expected a multiple of 4"),
        (r#"{"window_lines": "16"}"#, "window_lines is \"16\"; expected a multiple of 4"),
        (r#"{"window_lines": 1e300}"#, "window_lines is 1e+300; expected a multiple of 4"),
        ("{", "radon_velocity/params"),
    ] {
        let error = host().params(&with(text)).unwrap_err();
        assert!(
            error.message().contains(words) && error.message().contains("radon_velocity/params"),
            "{text}: {error}"
        );
        assert!(host().extract(&with(text)).error().message().contains(words), "{text}");
    }
    let schema = Json::parse(RadonVelocity::PARAMS_SCHEMA.as_bytes()).unwrap();
    let default = schema.get("properties").and_then(|all| all.get("window_lines")).and_then(|one| one.get("default"));
    assert_eq!(default, host().params(&record()).unwrap().get("window_lines"));
}

/// The same pixels with another dtype, axis order or page axis give the same result.
#[test]
fn extract_other_dtype_or_axes_is_equal() {
    let expected = host().extract(&record());
    let floats: Vec<f64> = pixels().iter().copied().map(f64::from).collect();
    let turned: Vec<u16> =
        (0..WIDTH).flat_map(|x| (0..LINES).map(move |y| (x, y))).map(|(x, y)| pixels()[y * WIDTH + x]).collect();
    let array = |shape: Vec<usize>, axes: &[&str], values: &[u16]| {
        Array::from_elements(values, shape, axes.iter().map(|axis| (*axis).to_owned()).collect()).unwrap()
    };
    let cases = [
        ("f64", record().pixels(&floats, [LINES, WIDTH])),
        ("x t", record().pixels_from(array(vec![WIDTH, LINES], &["x", "t"], &turned))),
        ("t x", record().pixels_from(array(vec![LINES, WIDTH], &["t", "x"], &pixels()))),
        ("one page", record().pixels_from(array(vec![1, LINES, WIDTH], &["z", "y", "x"], &pixels()))),
    ];
    for (what, record) in cases {
        let found = host().extract(&record);
        assert_eq!(found.table(VELOCITY).batch(), expected.table(VELOCITY).batch(), "{what}");
        assert_eq!(found.rows().batch(), expected.rows().batch(), "{what}");
    }
}

/// The number of threads does not change the result, inputs are recorded, and a cancelled run stops.
#[test]
fn extract_any_threads_is_equal_and_stops() {
    let outcome = host().extract(&two_rois());
    assert_eq!(outcome.read(), ["json metadata", "pixels"]);
    assert_eq!(outcome.missed(), ["json provenance", "json radon_velocity/params"]);
    assert_eq!(outcome.progress().last(), Some(&1.0));
    host().assert_deterministic(&two_rois());
    let many = host().threads(4).extract(&two_rois());
    assert_eq!(many.table(VELOCITY).batch(), outcome.table(VELOCITY).batch());
    assert_eq!(host().cancelled().extract(&two_rois()).error().kind(), ErrorKind::Cancelled);
    assert_eq!(host().cancelled_after(3).extract(&two_rois()).error().kind(), ErrorKind::Cancelled);
}

/// Folder and file are taken from paths of Unix and Windows.
#[test]
fn origin_of_paths() {
    for (path, folder, file) in [
        ("/lab/day/a.tif", Some("day"), Some("a.tif")),
        ("D:\\lab\\day\\a.tif", Some("day"), Some("a.tif")),
        ("a.tif", None, Some("a.tif")),
        ("/a.tif", None, Some("a.tif")),
        ("", None, None),
    ] {
        let origin = Origin::of_path(path);
        assert_eq!((origin.folder.as_deref(), origin.file.as_deref()), (folder, file), "{path}");
    }
}
