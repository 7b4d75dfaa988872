//! Each fallback of the artifacts, and each rule of the columns and of old markers.

use super::*;
use arrow_array::{Float64Array, Int64Array, StringArray};
use kymhost_plugin_api::testing::{TestHost, TestRecord};

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

/// A record with these texts as its params artifacts, `-` if absent.
fn with_params(texts: &[&str; 3]) -> TestRecord {
    let artifacts = VelocityEvents::PARAMS_ARTIFACTS.iter().zip(texts).filter(|(_, text)| **text != "-");
    artifacts.fold(TestRecord::new(), |record, (name, text)| record.json_text(*name, text))
}

/// The first params artifact that is an object is used; an unreadable one before it is an error.
#[test]
fn params_are_first_object() {
    // The contents of the three artifacts, `-` if absent; then the params, or none if reading must fail.
    let cases: &[([&str; 3], Option<&str>)] = &[
        (["-", "-", "-"], Some("{}")),
        ([r#"{"a":1}"#, r#"{"a":2}"#, "-"], Some(r#"{"a":1}"#)),
        (["-", r#"{"a":2}"#, r#"{"a":3}"#], Some(r#"{"a":2}"#)),
        (["-", "-", r#"{"a":3}"#], Some(r#"{"a":3}"#)),
        (["[1]", "null", r#"{"a":3}"#], Some(r#"{"a":3}"#)),
        (["[1]", "5", "\"x\""], Some("{}")),
        (["{}", r#"{"a":2}"#, "-"], Some("{}")),
        (["{", r#"{"a":2}"#, "-"], None),
        (["[]", "{", "-"], None),
        ([r#"{"a":1}"#, "{", "-"], Some(r#"{"a":1}"#)),
    ];
    for (artifacts, expected) in cases {
        let params = TestHost::new(VelocityEvents).params(&with_params(artifacts));
        assert_eq!(params.ok(), expected.map(json), "{artifacts:?}");
    }
}

/// A record with these table artifacts, by file name, with `!` before unreadable ones. Each holds its name as
/// `event_id`.
fn with_tables(files: &[&str]) -> TestRecord {
    files.iter().fold(TestRecord::new(), |record, file| {
        let (name, form) = file.trim_start_matches('!').rsplit_once('.').unwrap();
        match (file.starts_with('!'), form) {
            (true, "csv") => record.unreadable(name, ArtifactKind::Csv),
            (true, _) => record.unreadable(name, ArtifactKind::Parquet),
            (false, "csv") => record.csv(name, format!("event_id\n{file}\n")),
            (false, _) => {
                let table = Table::builder().column("event_id", vec![*file]).and_then(|table| table.build());
                record.table(name, table.unwrap())
            }
        }
    })
}

/// Parquet is used before CSV, in the documented order of names.
#[test]
fn events_are_first_that_exist() {
    // The artifacts that exist, `!` before unreadable ones; then the one that is used, or `!` for an error.
    let cases: &[(&[&str], &str)] = &[
        (&[], "-"),
        (&["velocity_events/events.parquet", "velocity_events.parquet"], "velocity_events/events.parquet"),
        (&["velocity_events.parquet", "velocity_events/events.csv"], "velocity_events.parquet"),
        (&["velocity_events/events.csv", "velocity_events.csv"], "velocity_events/events.csv"),
        (&["velocity_events.csv"], "velocity_events.csv"),
        (&["!velocity_events/events.parquet", "velocity_events.csv"], "!"),
        (&["velocity_events/events.parquet", "!velocity_events.parquet"], "velocity_events/events.parquet"),
    ];
    for (artifacts, expected) in cases {
        let outcome = TestHost::new(VelocityEvents).extract(&with_tables(artifacts));
        let found = outcome.result().map_or(vec!["!"], |rows| match rows.is_empty() {
            true => vec!["-"],
            false => rows.text("event_id").into_iter().flatten().collect(),
        });
        assert_eq!(found, [*expected], "{artifacts:?}");
    }
}

fn batch(names: &[&str], rows: usize) -> RecordBatch {
    let column = |name: &&str| -> (String, ArrayRef) {
        let values: ArrayRef = match *name {
            "event_id" | "image_id" | "params_hash" => Arc::new(StringArray::from(vec!["x"; rows])),
            "roi_id" => Arc::new(Int64Array::from(vec![7; rows])),
            _ => Arc::new(Float64Array::from(vec![0.5; rows])),
        };
        ((*name).to_owned(), values)
    };
    let (names, columns): (Vec<_>, Vec<_>) = names.iter().map(column).unzip();
    let fields: Vec<Field> =
        names.iter().zip(&columns).map(|(name, values)| Field::new(name, values.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

/// The event columns come first, then all others except those of the host.
#[test]
fn columns_event_ones_first_host_ones_removed() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&COLUMNS, &[]),
        (&["score", "extra", "roi_id", "note"], &["extra", "note"]),
        (
            &["extra", "image_id", "machine_type", "score", "event_id", "roi_id", "params_hash"],
            &["extra", "machine_type"],
        ),
        (&["analysis_version", "image_id", "params_hash"], &[]),
    ];
    for (columns, others) in cases {
        for rows in [0, 2] {
            let given = batch(columns, rows);
            let record = TestRecord::new().table(EVENTS[0], Table::from_batch(given.clone()).unwrap());
            let outcome = TestHost::new(VelocityEvents).extract(&record);
            let arranged = outcome.rows().batch();
            assert_eq!(arranged.num_rows(), rows);
            let schema = arranged.schema();
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let expected: Vec<&str> = COLUMNS.iter().chain(*others).copied().collect();
            assert_eq!(names, expected, "{columns:?}");
            for (name, values) in names.iter().zip(arranged.columns()) {
                match given.column_by_name(name) {
                    Some(kept) => assert_eq!(values, kept, "{name} of {columns:?}"),
                    None => assert_eq!(values.data_type(), &DataType::Null, "{name} of {columns:?}"),
                }
            }
        }
    }
}

/// An old marker in which one field has this value, or is left out.
fn old(field: &str, value: Option<&str>) -> Option<RunMarker> {
    let mut payload =
        json(r#"{"analysis_version": "v", "params_hash": "h", "n_events": 2, "computed_utc_epoch_ns": 9}"#);
    if let Json::Object(fields) = &mut payload {
        fields.shift_remove(field);
        fields.extend(value.map(|value| (field.to_owned(), json(value))));
    }
    read(&payload)
}

fn read(payload: &Json) -> Option<RunMarker> {
    TestHost::new(VelocityEvents).read_old_marker(payload).unwrap()
}

/// An old marker with a missing or wrong field is not valid.
#[test]
fn old_marker_fields_are_validated() {
    let marker = old("extra", Some("[1]")).unwrap();
    assert_eq!(marker, RunMarker::new("velocity_events", "h", "v", 2, 9));
    let named = old("indexer_name", Some("\"other\"")).unwrap();
    assert_eq!(named.indexer_name, "velocity_events");
    assert_eq!(old("indexer_name", Some("5")).unwrap().indexer_name, "velocity_events");
    assert_eq!(old("status", Some("\"partial\"")).unwrap().status, "partial");

    let invalid: &[(&str, Option<&str>)] = &[
        ("marker_version", Some("\"1\"")),
        ("marker_version", Some("null")),
        ("n_events", None),
        ("params_hash", None),
        ("params_hash", Some("1")),
        ("analysis_version", None),
        ("analysis_version", Some("null")),
        ("status", Some("1")),
        ("status", Some("null")),
    ];
    for (field, value) in invalid {
        assert_eq!(old(field, *value), None, "{field} {value:?}");
    }
    for payload in ["null", "[1]", "2", "\"n_events\"", "{}"] {
        assert_eq!(read(&json(payload)), None, "{payload}");
    }
}

/// The time of an old marker may be absent, but not 0 or another type.
#[test]
fn old_marker_time_is_validated() {
    let cases: &[(Option<&str>, Option<i64>)] = &[
        (None, Some(1)),
        (Some("9"), Some(9)),
        (Some("true"), Some(1)),
        (Some("99999999999999999999"), Some(i64::MAX)),
        (Some("0"), None),
        (Some("false"), None),
        (Some("-5"), None),
        (Some("-99999999999999999999"), None),
        (Some("9.0"), None),
        (Some("\"9\""), None),
        (Some("null"), None),
    ];
    for (value, expected) in cases {
        let found = old("computed_utc_epoch_ns", *value).map(|marker| marker.ran_utc_epoch_ns);
        assert_eq!(found, *expected, "{value:?}");
    }
}

/// Python's `int` of each value; `None` if it is negative or Python raises an exception.
#[test]
fn old_marker_count_equals_python_int() {
    let cases: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("5", Some(5)),
        ("-1", None),
        ("18446744073709551616", Some(u64::MAX)),
        ("-18446744073709551616", None),
        ("true", Some(1)),
        ("false", Some(0)),
        ("0.0", Some(0)),
        ("2.9", Some(2)),
        ("-0.9", Some(0)),
        ("-0.0", Some(0)),
        ("-1.0", None),
        ("1e300", Some(u64::MAX)),
        ("NaN", None),
        ("Infinity", None),
        ("-Infinity", None),
        ("null", None),
        ("[]", None),
        ("{}", None),
        (r#""5""#, Some(5)),
        (r#"" \t+1_000\u001c\u00a0""#, Some(1000)),
        (r#""007""#, Some(7)),
        (r#""-0""#, Some(0)),
        (r#""-1""#, None),
        (r#""99999999999999999999""#, Some(u64::MAX)),
        (r#""-99999999999999999999""#, None),
        (r#""""#, None),
        (r#"" ""#, None),
        (r#""5.0""#, None),
        (r#""5x""#, None),
        (r#""_5""#, None),
        (r#""5_""#, None),
        (r#""1__0""#, None),
        (r#""+ 5""#, None),
        (r#""--5""#, None),
        (r#""0x5""#, None),
    ];
    for (value, expected) in cases {
        assert_eq!(python_int(&json(value)), *expected, "{value}");
        assert_eq!(old("n_events", Some(value)).map(|marker| marker.n_rows), *expected, "{value}");
    }
    assert_eq!(python_int(&"0".repeat(4301).into()), None);
}
