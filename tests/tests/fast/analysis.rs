//! The analyses against kymflow's answers for real recordings.
//! Decides what counts as equal.

use kymhost_analysis::radon::{self, Image, Velocities};
use kymhost_analysis::roi::{Roi, Voxels};
use kymhost_analysis::{Work, events};
use kymhost_plugin_api::Json;
use kymhost_tests::linescans::{self, Answer, LineScan};
use std::fs;

/// The ROIs of a recording with their velocities.
fn velocities(scan: &LineScan) -> Vec<(Roi, Velocities)> {
    let pixels: Vec<f32> = scan.pixels.iter().copied().map(f32::from).collect();
    let image = Image::new(&pixels, scan.lines, scan.width).unwrap();
    let voxels = Voxels::of_metadata(Some(&scan.metadata)).unwrap();
    let of_roi = |roi: Roi| {
        let found = radon::velocities(&image, &roi, voxels, &radon::RadonParams::default(), &Work::threads(2)).unwrap();
        (roi, found)
    };
    Roi::of_metadata(Some(&scan.metadata)).unwrap().into_iter().map(of_roi).collect()
}

fn answers(scan: &LineScan, roi_id: i64) -> Vec<Answer> {
    scan.answers.iter().copied().filter(|answer| answer.roi_id == roi_id).collect()
}

fn close(found: f64, expected: f64, relative: f64) -> bool {
    found.is_nan() && expected.is_nan() || (found - expected).abs() <= relative * expected.abs()
}

/// Velocities of real recordings equal those that kymflow recorded.
#[test]
fn velocity_matches_kymflow_on_recordings() {
    let Some(scans) = linescans::all() else { return };
    let mut windows = 0;
    for scan in &scans {
        let found = velocities(scan);
        assert!(!found.is_empty(), "{}: no ROIs", scan.name);
        for (roi, found) in found {
            let (expected, place) = (answers(scan, roi.id), format!("{} ROI {}", scan.name, roi.id));
            assert_eq!(found.len(), expected.len(), "{place}");
            let mut off = 0;
            for (at, answer) in expected.iter().enumerate() {
                let theta = found.theta_deg[at];
                assert!(close(found.time_sec[at], answer.time, 1e-6), "{place}, window {at}: {}", found.time_sec[at]);
                if theta != answer.theta_deg {
                    assert_eq!((theta - answer.theta_deg).abs(), 0.25, "{place}, window {at}: {theta}");
                    off += 1;
                    continue;
                }
                for (found, expected) in
                    [(found.raw_mm_s[at], answer.velocity_raw), (found.velocity_mm_s[at], answer.velocity)]
                {
                    assert!(close(found, expected, 1e-5), "{place}, window {at}: {found}, expected {expected}");
                }
            }
            assert!(off * 1000 <= expected.len(), "{place}: {off} angles differ");
            windows += expected.len();
        }
    }
    assert!(windows > 50_000, "{windows}");
}

/// One event in the form of the expected answers, null if a field has no value.
fn fields(event: &events::Event) -> Vec<(&'static str, Json)> {
    let number = |value: Option<f64>| value.map_or(Json::Null, Json::Float);
    let count = |value: Option<usize>| value.map_or(Json::Null, |value| Json::from(i64::try_from(value).unwrap()));
    vec![
        ("event_type", Json::String(event.event_type.name().to_owned())),
        ("machine_type", Json::String(event.machine_type.name().to_owned())),
        ("i_start", count(Some(event.i_start))),
        ("i_peak", count(event.i_peak)),
        ("i_end", count(event.i_end)),
        ("t_start", number(Some(event.t_start_sec))),
        ("t_peak", number(event.t_peak_sec)),
        ("t_end", number(event.t_end_sec)),
        ("score_peak", number(event.score_peak)),
        ("baseline_before", number(event.baseline_before)),
        ("baseline_after", number(event.baseline_after)),
        ("strength", number(Some(event.strength))),
        ("nan_fraction_in_event", number(event.nan_fraction_in_event)),
        ("n_valid_in_event", count(event.n_valid_in_event)),
        ("duration_sec", number(event.duration_sec)),
    ]
}

/// Events of real traces equal those that kymflow recorded.
#[test]
fn events_match_kymflow_on_traces() {
    let Some(scans) = linescans::all() else { return };
    let text = fs::read(linescans::folder().unwrap().join("expected_events.json")).unwrap();
    let cases = Json::parse(&text).unwrap();
    let cases = cases.as_array().unwrap();
    let mut compared = 0;
    for case in cases {
        let field = |name: &str| case.get(name).unwrap();
        let trace = field("trace").as_str().unwrap().trim_end_matches(".radon.csv.gz");
        let roi_id = field("roi_id").as_i64().unwrap();
        let scan = scans.iter().find(|scan| scan.name == trace).unwrap();
        let place = format!("{trace} ROI {roi_id}, {:?}", field("params"));
        let params = events::EventParams::of_json(field("params")).unwrap();
        let (times, velocities): (Vec<f64>, Vec<f64>) =
            answers(scan, roi_id).iter().map(|answer| (answer.time, answer.velocity)).unzip();
        assert_eq!(Some(times.len() as u64), field("n_samples").as_u64(), "{place}");
        let found = events::detect(&times, &velocities, &params).unwrap();
        let threshold = field("threshold").as_f64().unwrap();
        assert!(close(found.threshold_mm_s.unwrap(), threshold, 1e-9), "{place}: {:?}", found.threshold_mm_s);
        let expected = field("events").as_array().unwrap();
        assert_eq!(found.events.len(), expected.len(), "{place}");
        for (at, (found, expected)) in found.events.iter().zip(expected).enumerate() {
            let found = fields(found);
            assert_eq!(expected.as_object().unwrap().iter().count(), found.len(), "{place}: other fields are expected");
            for (name, value) in found {
                let expected = expected.get(name).unwrap();
                let same = match (&value, expected) {
                    (Json::Float(value), expected) if !expected.is_null() => {
                        close(*value, expected.as_f64().unwrap(), 1e-9)
                    }
                    _ => value == *expected,
                };
                assert!(same, "{place}, event {at}: {name} is {value:?}, expected {expected:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2000, "{compared}");
}

/// The whole way: events of our velocities are those of kymflow's.
#[test]
fn events_match_kymflow_on_our_velocities() {
    let Some(scans) = linescans::all() else { return };
    for scan in &scans {
        for (roi, found) in velocities(scan) {
            let params = events::EventParams::default();
            let ours = events::detect(&found.time_sec, &found.velocity_mm_s, &params).unwrap();
            let (times, velocities): (Vec<f64>, Vec<f64>) =
                answers(scan, roi.id).iter().map(|answer| (answer.time, answer.velocity)).unzip();
            let theirs = events::detect(&times, &velocities, &params).unwrap();
            let what = |event: &events::Event| (event.event_type, event.i_start, event.i_peak, event.i_end);
            let list = |events: &[events::Event]| events.iter().map(what).collect::<Vec<_>>();
            assert_eq!(list(&ours.events), list(&theirs.events), "{} ROI {}", scan.name, roi.id);
            for (ours, theirs) in ours.events.iter().zip(&theirs.events) {
                // Our times are not rounded to float32.
                assert!(close(ours.strength, theirs.strength, 1e-6), "{} ROI {}: {ours:?}", scan.name, roi.id);
            }
        }
    }
}
