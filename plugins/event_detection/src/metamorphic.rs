//! Relations between the events of transformed traces, which hold for any trace.

use super::*;
use kymhost_plugin_api::testing::{Outcome, TestHost, TestRecord};
use proptest::prelude::*;

/// Seconds between samples: a power of two, so that scaling by another power of two does not round.
const STEP_SEC: f64 = 0.0078125;
/// Columns in samples and fractions, not in seconds or mm/s.
const SAME: [&str; 6] = ["i_start", "i_peak", "i_end", "nan_fraction_in_event", "n_valid_in_event", "roi_id"];
const TIMES: [&str; 4] = ["t_start_s", "t_end_s", "peak_t_s", "duration_sec"];
const SPEEDS: [&str; 3] = ["peak_value", "baseline_before", "baseline_after"];

/// Stretches of flow with noise, of stalls, and of unknown velocities.
fn trace() -> impl Strategy<Value = Vec<Option<f64>>> {
    let stretch = prop_oneof![
        3 => (0.3..3.0_f64, any::<bool>(), proptest::collection::vec(-0.2..0.2_f64, 20..160)).prop_map(|(level, forth, noise)| {
            noise.into_iter().map(|noise| Some(if forth { level + noise } else { -level - noise })).collect::<Vec<_>>()
        }),
        1 => (20_usize..90).prop_map(|count| vec![Some(0.0); count]),
        1 => (1_usize..60).prop_map(|count| vec![None; count]),
    ];
    proptest::collection::vec(stretch, 1..7).prop_map(|stretches| stretches.concat())
}

fn record(trace: &[Option<f64>], step_sec: f64, factor: f64) -> TestRecord {
    let row = |(at, velocity): (usize, &Option<f64>)| {
        let velocity = velocity.map_or_else(String::new, |velocity| format!("{:?}", velocity * factor));
        format!("1,{:?},{velocity}\n", at as f64 * step_sec)
    };
    let rows: String = trace.iter().enumerate().map(row).collect();
    TestRecord::new().csv(VELOCITY, format!("roi_id,time,velocity\n{rows}"))
}

fn extract(record: &TestRecord) -> Outcome {
    TestHost::new(EventDetection).extract(record)
}

/// All columns of the events except `score`: times are multiplied by `times`, speeds by `speeds`.
fn columns(outcome: &Outcome, times: f64, speeds: f64) -> Vec<(&'static str, Vec<Option<f64>>)> {
    let events = outcome.table(EVENTS);
    let of = |name: &'static str, factor: f64| {
        let column: Vec<Option<f64>> =
            events.f64(name).into_iter().map(|value| value.map(|value| value * factor)).collect();
        (name, column)
    };
    let integers = |name: &'static str| {
        (name, events.i64(name).into_iter().map(|value| value.map(|value| value as f64)).collect())
    };
    let same = SAME.map(|name| if name == "nan_fraction_in_event" { of(name, 1.0) } else { integers(name) });
    same.into_iter().chain(TIMES.map(|name| of(name, times))).chain(SPEEDS.map(|name| of(name, speeds))).collect()
}

fn types(outcome: &Outcome) -> Vec<String> {
    outcome.table(EVENTS).text("event_type").into_iter().flatten().map(str::to_owned).collect()
}

/// The default params, with all times and all speeds multiplied by a factor.
fn params(times: f64, speeds: f64) -> String {
    let (time, speed) = (|value: f64| value * times, |value: f64| value * speeds);
    format!(
        r#"{{"baseline_drop": {{"win_cmp_sec": {:?}, "smooth_sec": {:?}, "abs_score_floor": {:?}, "merge_gap_sec": {:?}, "min_sep_sec": {:?}}},
        "nan_gap": {{"nan_win_sec": {:?}, "min_duration_sec": {:?}, "merge_gap_sec": {:?}}},
        "zero_gap": {{"zero_win_sec": {:?}, "min_duration_sec": {:?}, "merge_gap_sec": {:?}}}}}"#,
        time(0.25),
        time(0.1),
        speed(0.25),
        time(0.1),
        time(0.75),
        time(0.1),
        time(0.2),
        time(0.05),
        time(0.1),
        time(0.2),
        time(0.05)
    )
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(48))]

    /// The direction of flow does not change the events.
    #[test]
    fn events_reversed_flow_is_equal(trace in trace()) {
        let (forth, back) = (extract(&record(&trace, STEP_SEC, 1.0)), extract(&record(&trace, STEP_SEC, -1.0)));
        prop_assert_eq!(back.table(EVENTS).batch(), forth.table(EVENTS).batch());
        prop_assert_eq!(back.rows().batch(), forth.rows().batch());
    }

    /// Other units of time and length give the same events in those units, if the params have them too.
    #[test]
    fn events_scale_with_units(trace in trace(), slow in -3..4_i32, wide in -3..4_i32) {
        let (slow, wide) = (2_f64.powi(slow), 2_f64.powi(wide));
        let base = extract(&record(&trace, STEP_SEC, 1.0));
        let scaled = record(&trace, STEP_SEC * slow, wide).json_text(PARAMS, params(slow, wide));
        let found = extract(&scaled);
        prop_assert_eq!(types(&found), types(&base));
        prop_assert_eq!(columns(&found, 1.0, 1.0), columns(&base, slow, wide));
        // The score of a shift has no unit, the score of a gap is a time.
        let scores = found.table(EVENTS).f64("score").into_iter().zip(base.table(EVENTS).f64("score")).zip(types(&base));
        for ((found, base), event_type) in scores {
            let factor = if event_type.ends_with("_gap") { slow } else { 1.0 };
            prop_assert_eq!(found, base.map(|score| score * factor), "{}", event_type);
        }
    }

    /// A trace without known velocities has no shifts, whatever its length.
    #[test]
    fn events_unknown_trace_has_no_shifts(count in 0_usize..900) {
        let outcome = extract(&record(&vec![None; count], STEP_SEC, 1.0));
        let is_long = count > 1 && (count - 1) as f64 * STEP_SEC >= 0.2;
        prop_assert_eq!(types(&outcome), if is_long { vec!["nan_gap".to_owned()] } else { Vec::new() });
    }

    /// The number of threads does not change the events.
    #[test]
    fn events_any_threads_are_equal(trace in trace(), threads in 2_usize..9) {
        let record = record(&trace, STEP_SEC, 1.0);
        let (base, found) = (extract(&record), TestHost::new(EventDetection).threads(threads).extract(&record));
        prop_assert_eq!(found.table(EVENTS).batch(), base.table(EVENTS).batch());
    }
}
