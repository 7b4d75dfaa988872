//! From velocities to events: what is read, what is refused, and which columns there are.

use super::*;
use kymhost_plugin_api::testing::{TestHost, TestRecord};

/// Rows of one ROI: 800 samples at 200 Hz, fast, with a slow stretch in the middle and then an unknown one.
fn rows(roi_id: i64) -> String {
    let velocity = |at: usize| match at {
        300..400 => "0.05",
        500..600 => "",
        _ => "1.5",
    };
    (0..800).map(|at| format!("{roi_id},{:.3},{}\n", at as f64 * 0.005, velocity(at))).collect()
}

fn record() -> TestRecord {
    TestRecord::new().csv(VELOCITY, format!("roi_id,time,velocity\n{}{}", rows(4), rows(2)))
}

fn host() -> TestHost {
    TestHost::new(EventDetection)
}

const EVENT_COLUMNS: [&str; 17] = [
    "roi_id",
    "event_id",
    "t_start_s",
    "t_end_s",
    "peak_t_s",
    "peak_value",
    "score",
    "event_type",
    "machine_type",
    "i_start",
    "i_peak",
    "i_end",
    "baseline_before",
    "baseline_after",
    "nan_fraction_in_event",
    "n_valid_in_event",
    "duration_sec",
];
const COLUMNS: [&str; 12] = [
    "roi_id",
    "n_samples",
    "sampling_rate_hz",
    "threshold_mm_s",
    "n_events",
    "n_baseline_drop",
    "n_baseline_rise",
    "n_nan_gap",
    "n_zero_gap",
    "n_stall_candidate",
    "nan_gap_sec",
    "zero_gap_sec",
];

/// Each ROI has its events in the artifact, and one row whose counts match them.
#[test]
fn extract_each_roi_has_events_and_one_row() {
    let outcome = host().extract(&record());
    let events = outcome.table(EVENTS);
    assert_eq!(events.columns(), EVENT_COLUMNS);
    let half = events.len() / 2;
    assert_eq!(events.len() % 2, 0);
    let text = |column: &str| events.text(column).into_iter().map(Option::unwrap).collect::<Vec<_>>();
    // The same velocities give the same events, in the order of the rows.
    assert_eq!(text("event_type")[..half], text("event_type")[half..]);
    let ids: Vec<String> = ["4", "2"].iter().flat_map(|roi| (0..half).map(move |k| format!("{roi}-{k}"))).collect();
    assert_eq!(text("event_id"), ids);
    let gap = text("event_type").iter().position(|kind| *kind == "nan_gap").unwrap();
    assert_eq!(text("machine_type")[gap], "nan_gap");
    assert_eq!(
        (events.f64("peak_t_s")[gap], events.f64("peak_value")[gap], events.i64("i_peak")[gap]),
        (None, None, None)
    );
    let span = events.f64("t_end_s")[gap].unwrap() - events.f64("t_start_s")[gap].unwrap();
    assert_eq!(events.f64("duration_sec")[gap], Some(span));
    let drop = text("event_type").iter().position(|kind| *kind == "baseline_drop").unwrap();
    assert_eq!(
        (events.f64("t_end_s")[drop], events.i64("i_end")[drop], events.f64("duration_sec")[drop]),
        (None, None, None)
    );

    let rows = outcome.rows();
    assert_eq!(rows.columns(), COLUMNS);
    assert_eq!((rows.i64("roi_id"), rows.i64("n_samples")), (vec![Some(4), Some(2)], vec![Some(800); 2]));
    assert_eq!(rows.i64("n_events")[0], Some(half as i64));
    let counted: i64 = ["n_baseline_drop", "n_baseline_rise", "n_nan_gap", "n_zero_gap"]
        .iter()
        .map(|name| rows.i64(name)[0].unwrap())
        .sum();
    assert_eq!(counted, half as i64);
    assert_eq!((rows.i64("n_nan_gap")[0], rows.f64("nan_gap_sec")[0]), (Some(1), Some(span)));
    assert_eq!(rows.i64("n_stall_candidate"), rows.i64("n_baseline_drop"));
    assert!((rows.f64("sampling_rate_hz")[0].unwrap() - 200.0).abs() < 1e-6);
    assert_eq!(outcome.json(USED), &EventParams::default().to_json());
}

/// No events is a result with an artifact; no velocities gives neither rows nor artifacts.
#[test]
fn extract_without_velocities_has_no_artifact() {
    let quiet = TestRecord::new().csv(VELOCITY, "roi_id,time,velocity\n1,0.0,1.5\n1,0.1,1.5\n");
    let outcome = host().extract(&quiet);
    assert_eq!((outcome.table(EVENTS).len(), outcome.rows().i64("n_events")), (0, vec![Some(0)]));
    assert_eq!(outcome.table(EVENTS).columns(), EVENT_COLUMNS);
    let full = host().extract(&record());
    assert_eq!(outcome.table(EVENTS).batch().schema(), full.table(EVENTS).batch().schema());
    assert_eq!(outcome.rows().batch().schema(), full.rows().batch().schema());

    let empty = host().extract(&TestRecord::new().csv(VELOCITY, "roi_id,time,velocity\n"));
    assert_eq!((empty.table(EVENTS).len(), empty.rows().len()), (0, 0));
    let absent = host().extract(&TestRecord::new());
    assert_eq!(absent.rows().columns(), COLUMNS);
    assert!(absent.rows().is_empty());
    assert!(absent.artifacts().is_empty(), "{:?}", absent.artifacts());
    assert_eq!(
        absent.missed(),
        ["csv radon_velocity/velocity", "json event_detection/params", "parquet radon_velocity/velocity"]
    );
}

/// A wrong table of velocities is an error that names the artifact and the fault.
#[test]
fn extract_bad_velocities_are_refused() {
    for (csv, words) in [
        ("roi_id,time\n1,0.0\n", "velocity"),
        ("roi_id,time,velocity\n,0.0,1.0\n", "row 0 has no roi_id"),
        ("roi_id,time,velocity\n1,0.0,fast\n", "velocity"),
    ] {
        let outcome = host().extract(&TestRecord::new().csv(VELOCITY, csv));
        let text = outcome.error().message().to_owned();
        assert!(text.contains(words) && text.contains("radon_velocity/velocity"), "{csv}: {text}");
    }
    assert_eq!(host().cancelled().extract(&record()).error().kind(), ErrorKind::Cancelled);
}

/// Missing params have defaults; unknown and wrong ones are errors that name the file.
#[test]
fn params_wrong_value_is_refused() {
    let with = |text: &str| record().json_text(PARAMS, text);
    for same in ["{}", r#"{"baseline_drop": {"mad_k": 3}}"#, r#"{"nan_gap": {"enter_frac": 0.4}, "zero_gap": {}}"#] {
        host().assert_params_hash_stays(&record(), &with(same));
    }
    let changed = with(r#"{"baseline_drop": {"mad_k": 1.5, "top_k_total": 0}}"#);
    host().assert_params_hash_changes(&record(), &changed);
    let outcome = host().extract(&changed);
    assert_eq!(outcome.json(USED).get("baseline_drop").and_then(|group| group.get("mad_k")), Some(&Json::Float(1.5)));
    for (text, words) in [
        (r#"{"nan_gap": {"enter_frac": 2}}"#, "nan_gap.enter_frac is 2; expected a number from 0 to 1"),
        (r#"{"stall": {}}"#, "there is no param 'stall'; expected one of baseline_drop"),
        ("3", "expected an object"),
    ] {
        let error = host().params(&with(text)).unwrap_err();
        assert!(
            error.message().contains(words) && error.message().contains("event_detection/params"),
            "{text}: {error}"
        );
    }
}

/// The schema has the names and defaults of the code, and a description of each param.
#[test]
fn schema_has_all_params() {
    let schema = Json::parse(EventDetection::PARAMS_SCHEMA.as_bytes()).unwrap();
    let defaults = EventParams::default().to_json();
    let members = |json: &Json| -> Vec<(String, Json)> {
        json.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut count = 0;
    let groups = schema.get("properties").unwrap();
    for (group, params) in members(&defaults) {
        let properties = groups.get(&group).and_then(|group| group.get("properties")).unwrap();
        assert_eq!(members(properties).len(), members(&params).len(), "{group}");
        for (name, default) in members(&params) {
            let property = properties.get(&name).unwrap_or_else(|| panic!("{group}.{name} is not in the schema"));
            let in_schema = property.get("default").unwrap();
            assert!(
                *in_schema == default || in_schema.as_f64().is_some() && in_schema.as_f64() == default.as_f64(),
                "{group}.{name}: {in_schema}"
            );
            assert!(property.get("description").is_some(), "{group}.{name}");
            count += 1;
        }
    }
    assert_eq!((count, members(groups).len()), (19, 3));
}

/// The same input gives the same output, and the order of ROIs in the table does not matter.
#[test]
fn extract_is_deterministic() {
    host().assert_deterministic(&record());
    // ROIs may be interleaved: only the order within each matters.
    let (first, second) = (rows(4), rows(2));
    let mixed: String = first.lines().zip(second.lines()).map(|(one, other)| format!("{one}\n{other}\n")).collect();
    let outcome = host().extract(&TestRecord::new().csv(VELOCITY, format!("roi_id,time,velocity\n{mixed}")));
    assert_eq!(outcome.table(EVENTS).batch(), host().extract(&record()).table(EVENTS).batch());
}
