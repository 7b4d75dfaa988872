//! Each fallback of the artifacts and each rule of the columns.

use super::*;
use arrow_array::{Float64Array, Int64Array, StringArray};
use kymhost_plugin_api::testing::{TestHost, TestRecord};

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

/// One member of the params of a record.
fn params(record: &TestRecord, member: &str) -> Option<Json> {
    let params = TestHost::new(Radon).params(record).ok()?;
    assert_eq!(params.as_object().unwrap().keys().collect::<Vec<_>>(), ["params", "rois"]);
    params.get(member).cloned()
}

/// The first params artifact that is an object is used; an unreadable one before it is an error.
#[test]
fn params_are_first_object() {
    // The contents of the three artifacts, `-` if absent; then the params, or none if reading must fail.
    let cases: &[([&str; 3], Option<&str>)] = &[
        (["-", "-", "-"], Some("{}")),
        ([r#"{"a":1}"#, r#"{"a":2}"#, "-"], Some(r#"{"a":1}"#)),
        (["-", r#"{"a":2}"#, r#"{"a":3}"#], Some(r#"{"a":2}"#)),
        (["[1]", "null", r#"{"a":3}"#], Some(r#"{"a":3}"#)),
        (["[1]", "5", "\"x\""], Some("{}")),
        (["{", r#"{"a":2}"#, "-"], None),
        ([r#"{"a":1}"#, "{", "-"], Some(r#"{"a":1}"#)),
    ];
    for (artifacts, expected) in cases {
        let named = Radon::PARAMS_ARTIFACTS.iter().zip(artifacts).filter(|(_, text)| **text != "-");
        let record = named.fold(TestRecord::new(), |record, (name, text)| record.json_text(*name, text));
        assert_eq!(params(&record, "params"), expected.map(json), "{artifacts:?}");
    }
}

/// The params contain the ROIs that are objects.
#[test]
fn params_have_rois_of_metadata() {
    let cases: &[(Option<&str>, &str)] = &[
        (None, "[]"),
        (Some("{}"), "[]"),
        (Some("[1]"), "[]"),
        (Some(r#"{"rois":null}"#), "[]"),
        (Some(r#"{"rois":{"roi_id":1}}"#), "[]"),
        (Some(r#"{"rois":[]}"#), "[]"),
        (Some(r#"{"version":1,"rois":[{"b":1,"a":2},5,null,[{}],{}],"header":{}}"#), r#"[{"b":1,"a":2},{}]"#),
    ];
    for (metadata, expected) in cases {
        let record = metadata.iter().fold(TestRecord::new(), |record, text| record.json_text("metadata", text));
        assert_eq!(params(&record, "rois"), Some(json(expected)), "{metadata:?}");
    }
    let broken = TestRecord::new().json_text("metadata", "{");
    assert_eq!(params(&broken, "rois"), None);
}

/// A record with these table artifacts, by file name, with `!` before unreadable ones. Each holds its name as
/// `velocity`.
fn with_tables(files: &[&str]) -> TestRecord {
    files.iter().fold(TestRecord::new(), |record, file| {
        let (name, form) = file.trim_start_matches('!').rsplit_once('.').unwrap();
        match (file.starts_with('!'), form) {
            (true, "csv") => record.unreadable(name, ArtifactKind::Csv),
            (true, _) => record.unreadable(name, ArtifactKind::Parquet),
            (false, "csv") => record.csv(name, format!("velocity\n{file}\n")),
            (false, _) => {
                let table = Table::builder().column("velocity", vec![*file]).and_then(|table| table.build());
                record.table(name, table.unwrap())
            }
        }
    })
}

/// Parquet is used before CSV, in the documented order of names.
#[test]
fn results_are_first_that_exist() {
    // The artifacts that exist, `!` before unreadable ones; then the one that is used, or `!` for an error.
    let cases: &[(&[&str], &str)] = &[
        (&[], "-"),
        (&["radon.parquet", "radon_report.parquet", "radon/results.parquet"], "radon/results.parquet"),
        (&["radon.parquet", "radon_report.parquet", "radon/results.csv"], "radon_report.parquet"),
        (&["radon.parquet", "radon/results.csv"], "radon.parquet"),
        (&["radon.csv", "radon/results.csv"], "radon/results.csv"),
        (&["radon.csv", "radon_report.csv"], "radon.csv"),
        (&["radon_report.csv"], "-"),
        (&["radon/results.csv", "!radon.parquet"], "!"),
    ];
    for (artifacts, expected) in cases {
        let outcome = TestHost::new(Radon).extract(&with_tables(artifacts));
        let found = outcome.result().map_or(vec!["!"], |rows| match rows.is_empty() {
            true => vec!["-"],
            false => rows.text("velocity").into_iter().flatten().collect(),
        });
        assert_eq!(found, [*expected], "{artifacts:?}");
    }
}

fn batch(names: &[&str], rows: usize) -> RecordBatch {
    let column = |name: &&str| -> (String, ArrayRef) {
        let values: ArrayRef = match *name {
            "image_id" | "params_hash" => Arc::new(StringArray::from(vec!["x"; rows])),
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

/// Columns keep their order, without those of the host; `roi_id` is always there.
#[test]
fn columns_host_ones_removed_roi_id_added() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["roi_id"]),
        (&["roi_id", "velocity"], &["roi_id", "velocity"]),
        (&["velocity", "n_nan"], &["velocity", "n_nan", "roi_id"]),
        (&["extra", "image_id", "velocity", "params_hash"], &["extra", "velocity", "roi_id"]),
        (
            &["extra", "image_id", "n_nan", "velocity", "roi_id", "params_hash"],
            &["extra", "n_nan", "velocity", "roi_id"],
        ),
        (&["analysis_version"], &["roi_id"]),
    ];
    for (columns, expected) in cases {
        for rows in [0, 2] {
            let given = batch(columns, rows);
            let record = TestRecord::new().table(PARQUET[0], Table::from_batch(given.clone()).unwrap());
            let outcome = TestHost::new(Radon).extract(&record);
            let arranged = outcome.rows().batch();
            assert_eq!(arranged.num_rows(), rows);
            let schema = arranged.schema();
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            assert_eq!(names, *expected, "{columns:?}");
            for (name, values) in names.iter().zip(arranged.columns()) {
                match given.column_by_name(name) {
                    Some(kept) => assert_eq!(values, kept, "{name} of {columns:?}"),
                    None => assert_eq!(values.data_type(), &DataType::Null, "{name} of {columns:?}"),
                }
            }
        }
    }
}
