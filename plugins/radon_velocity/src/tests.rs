//! What is read, what is refused, which columns come out. The numbers themselves are tested in `kymhost_analysis`.

use super::*;
use kymhost_plugin_api::testing::{Roi as TestRoi, TestHost, TestRecord};

/// Streaks that move `shift` pixels a line, in `lines` lines of `width` pixels.
fn streaks(lines: usize, width: usize, shift: f64) -> Vec<u16> {
    let value = |line: usize, pixel: usize| {
        let phase = (pixel as f64 - shift * line as f64).rem_euclid(9.0);
        if phase < 3.0 { 200 } else { 1000 }
    };
    (0..lines).flat_map(|line| (0..width).map(move |pixel| value(line, pixel))).collect()
}

fn record() -> TestRecord {
    TestRecord::new().pixels(&streaks(200, 30, 1.0), [200, 30]).voxels(0.001, 0.5)
}

#[test]
fn a_row_a_window_and_one_an_roi() {
    let record = record()
        .roi(TestRoi::rect(3).lines(0, 100).pixels(0, 30).channel(2))
        .roi(TestRoi::rect(1).lines(40, 12).pixels(5, 99))
        .json("provenance", Json::object([("original_path", Json::from("C:\\lab\\day 1\\a.tif"))]));
    let outcome = TestHost::new(RadonVelocity).threads(2).extract(&record);
    let rows = outcome.rows();
    assert_eq!(
        rows.columns(),
        [
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
            "img_std"
        ]
    );
    assert_eq!(rows.i64("roi_id"), [Some(3), Some(1)]);
    // 1 pixel a line: 0.5 um / 1 ms = 0.5 mm/s, whichever sign the slope has by the method.
    for mean in rows.f64("vel_mean") {
        assert!(mean.is_some_and(|mean| (mean.abs() - 0.5).abs() < 0.05), "{mean:?}");
    }
    let velocity = outcome.table(VELOCITY);
    assert_eq!(
        velocity.columns(),
        [
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
            "file"
        ]
    );
    // 100 lines and 28 lines in steps of 4.
    assert_eq!(velocity.len(), 22 + 4);
    assert_eq!((velocity.i64("channel")[0], velocity.i64("window")[22]), (Some(2), Some(0)));
    assert!((velocity.f64("time")[22].unwrap() - (12.0 + 8.0) * 0.001).abs() < 1e-12);
    assert_eq!((velocity.text("parentFolder")[0], velocity.text("file")[0]), (Some("day 1"), Some("a.tif")));
    assert_eq!((velocity.i64("numLines")[0], velocity.f64("delx")[0]), (Some(200), Some(0.5)));
}

#[test]
fn without_rois_there_is_one_over_all() {
    let outcome = TestHost::new(RadonVelocity).extract(&record());
    assert_eq!((outcome.rows().i64("roi_id"), outcome.table(VELOCITY).len()), (vec![Some(1)], 47));
    assert_eq!(outcome.table(VELOCITY).text("file")[0], None);
}

#[test]
fn params_have_defaults_and_are_checked() {
    let host = TestHost::new(RadonVelocity);
    let with = |params: &str| record().json(PARAMS, Json::parse(params.as_bytes()).unwrap());
    assert_eq!(
        host.params(&record()).unwrap().to_string(),
        host.params(&with("{\"window_lines\": 16}")).unwrap().to_string()
    );
    host.assert_params_hash_changes(&record(), &with("{\"window_lines\": 32}"));
    assert_eq!(host.extract(&with("{\"window_lines\": 32}")).table(VELOCITY).len(), 22);
    for (params, words) in [
        ("[]", "expected an object"),
        ("{\"window\": 16}", "'window' is unknown"),
        ("{\"window_lines\": 10}", "multiple of 4"),
        ("{\"window_lines\": 0}", "multiple of 4"),
        ("{\"window_lines\": -4}", "multiple of 4"),
        ("{\"window_lines\": \"16\"}", "multiple of 4"),
        ("{\"window_lines\": 8192}", "multiple of 4"),
    ] {
        let error = host.params(&with(params)).expect_err(params);
        assert!(error.message().contains(words), "{params}: {error}");
        assert!(host.extract(&with(params)).error().message().contains(words), "{params}");
    }
}

#[test]
fn what_is_no_line_scan_is_refused() {
    let host = TestHost::new(RadonVelocity);
    let cases = [
        (TestRecord::new().pixels(&[0_u8; 8], [2, 2, 2]).voxels(0.001, 0.5), "two axes"),
        (TestRecord::new().pixels(&streaks(200, 30, 1.0), [200, 30]), "header"),
        (record().roi(TestRoi::mask(7)), "ROI 7"),
        (record().unreadable_pixels(), ""),
    ];
    for (record, words) in cases {
        let outcome = host.extract(&record);
        assert!(outcome.error().message().contains(words), "{}", outcome.error());
        assert!(outcome.artifacts().is_empty());
    }
    // No pixels, no rows, and nothing is made.
    let outcome = host.extract(&TestRecord::new().voxels(0.001, 0.5));
    assert_eq!((outcome.rows().len(), outcome.rows().columns().len(), outcome.artifacts().len()), (0, 14, 0));
    assert_eq!(host.cancelled().extract(&record()).error().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_short_or_blank_roi_has_no_velocity() {
    let blank = TestRecord::new().pixels(&[5_u8; 400 * 8], [400, 8]).voxels(0.001, 0.5);
    let outcome = TestHost::new(RadonVelocity).extract(&blank);
    assert!(outcome.table(VELOCITY).f64("velocity").iter().all(Option::is_none));
    assert_eq!((outcome.rows().f64("vel_mean"), outcome.rows().i64("vel_n_nan")), (vec![None], vec![Some(97)]));
    let short = record().roi(TestRoi::rect(1).lines(0, 15).pixels(0, 30));
    let outcome = TestHost::new(RadonVelocity).extract(&short);
    assert_eq!((outcome.table(VELOCITY).len(), outcome.rows().len()), (0, 1));
}
