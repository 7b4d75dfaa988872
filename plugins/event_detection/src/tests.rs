//! What is read and written, in which columns. The events themselves are tested in `kymhost_analysis`.

use super::*;
use kymhost_plugin_api::testing::{TestHost, TestRecord};

/// A trace of ROI 1 with a stall and one of ROI 2 that is steady.
fn record() -> TestRecord {
    let table = || {
        let steps = 0..2000_i64;
        let time = |step: i64| step as f64 * 0.004;
        let speed = |step: i64| if (800..1200).contains(&step) { None } else { Some(1.0 + 0.01 * (step % 7) as f64) };
        let ids: Vec<i64> = steps.clone().map(|_| 1).chain(steps.clone().map(|_| 2)).collect();
        let times: Vec<f64> = steps.clone().chain(steps.clone()).map(time).collect();
        let velocities: Vec<Option<f64>> = steps.clone().map(speed).chain(steps.map(|_| Some(0.7))).collect();
        Table::builder().column("roi_id", ids)?.column("time", times)?.column("velocity", velocities)?.build()
    };
    TestRecord::new().table_from(VELOCITY, table)
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

#[test]
fn events_are_written_as_velocity_events_reads_them() {
    let outcome = TestHost::new(EventDetection).extract(&record());
    let events = outcome.table(EVENTS);
    assert_eq!(
        events.columns(),
        [
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
            "duration_sec"
        ]
    );
    let kinds = events.text("event_type");
    let at = kinds.iter().position(|kind| *kind == Some("nan_gap")).expect("the stall");
    let duration = events.f64("duration_sec")[at].unwrap();
    assert!((duration - 1.6).abs() < 0.1, "{duration}");
    assert_eq!(events.text("event_id")[0], Some("1-0"));
    assert_eq!(outcome.json(USED), &Params::default().to_json());
    let rows = outcome.rows();
    assert_eq!((rows.i64("roi_id"), rows.i64("n_nan_gap")), (vec![Some(1), Some(2)], vec![Some(1), Some(0)]));
    assert_eq!(rows.f64("sampling_rate_hz")[0].map(f64::round), Some(250.0));
    assert_eq!(rows.f64("nan_gap_sec")[0], Some(duration));
    // Of ROI 2 the ids begin anew.
    let second = events.i64("roi_id").iter().position(|roi| *roi == Some(2));
    assert!(second.is_none_or(|second| events.text("event_id")[second] == Some("2-0")));
}

#[test]
fn without_velocities_nothing_is_written() {
    let outcome = TestHost::new(EventDetection).extract(&TestRecord::new());
    assert_eq!((outcome.rows().len(), outcome.rows().columns().len(), outcome.artifacts().len()), (0, 10, 0));
    // Without windows there are no events, but they were looked for.
    let empty = TestRecord::new().table_from(VELOCITY, || {
        let builder = Table::builder().column("roi_id", Vec::<i64>::new())?.column("time", Vec::<f64>::new())?;
        builder.column("velocity", Vec::<f64>::new())?.build()
    });
    let outcome = TestHost::new(EventDetection).extract(&empty);
    assert_eq!((outcome.table(EVENTS).len(), outcome.table(EVENTS).columns().len()), (0, 17));
}

#[test]
fn params_have_defaults_and_are_checked() {
    let host = TestHost::new(EventDetection);
    host.assert_params_hash_stays(&record(), &record().json(PARAMS, json("{\"nan_gap\": {\"exit_frac\": 0.2}}")));
    let other = record().json(PARAMS, json("{\"nan_gap\": {\"min_duration_sec\": 5}}"));
    host.assert_params_hash_changes(&record(), &other);
    assert_eq!(host.extract(&other).rows().i64("n_nan_gap"), [Some(0), Some(0)]);
    for bad in ["{\"top_k\": 1}", "{\"nan_gap\": {\"enter_frac\": 2}}", "7"] {
        assert!(host.extract(&record().json(PARAMS, json(bad))).error().message().starts_with("params:"), "{bad}");
    }
}

/// Every param with its default, and no other.
#[test]
fn the_schema_says_what_the_code_does() {
    let schema = json(EventDetection::PARAMS_SCHEMA);
    let defaults = Params::default().to_json();
    let groups = schema.get("properties").and_then(Json::as_object).unwrap();
    let names: Vec<&String> = groups.keys().collect();
    assert_eq!(names, defaults.as_object().unwrap().keys().collect::<Vec<_>>());
    for (group, of) in groups {
        let fields = of.get("properties").and_then(Json::as_object).unwrap();
        let expected = defaults.get(group).and_then(Json::as_object).unwrap();
        assert_eq!(fields.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{group}");
        for (name, field) in fields {
            let (found, expected) = (field.get("default").unwrap(), expected.get(name).unwrap());
            assert!(found == expected || found.as_f64() == expected.as_f64(), "{group}.{name}: {found} {expected}");
        }
    }
}

#[test]
fn the_same_comes_out_twice() {
    TestHost::new(EventDetection).assert_deterministic(&record());
    assert_eq!(TestHost::new(EventDetection).cancelled().extract(&record()).error().kind(), ErrorKind::Cancelled);
}
