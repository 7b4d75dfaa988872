//! Each fallback and each rule of columns.

use super::*;
use arrow::array::{Float64Array, Int64Array, StringArray};

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

#[test]
fn params_are_the_first_object() {
    // What each of the three artifacts holds, `-` where absent; then the params, or none where reading must fail.
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
        let names = Radon::PARAMS_ARTIFACTS;
        let read = |name: &str| match artifacts[names.iter().position(|known| *known == name).unwrap()] {
            "-" => Ok(None),
            text => Ok(Some(Json::parse(text.as_bytes())?)),
        };
        assert_eq!(first_object(names, read).ok(), expected.map(json), "{artifacts:?}");
    }
}

#[test]
fn rois_are_the_objects_of_the_metadata() {
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
        assert_eq!(rois(metadata.map(json)), json(expected), "{metadata:?}");
    }
}

#[test]
fn results_are_the_first_that_exist() {
    // Which artifacts there are, `!` before broken ones; then the one that is taken, or `!` for an error.
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
        let read = |name: &str, form: &str| {
            let file = format!("{name}.{form}");
            match artifacts.iter().find(|artifact| artifact.trim_start_matches('!') == file) {
                Some(artifact) if artifact.starts_with('!') => Err(Error::msg("broken")),
                found => Ok(found.map(|artifact| (*artifact).to_owned())),
            }
        };
        let found = first_table(|name| read(name, "parquet"), |name| read(name, "csv"));
        let found = found.map_or("!".to_owned(), |found| found.unwrap_or("-".to_owned()));
        assert_eq!(found, *expected, "{artifacts:?}");
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

#[test]
fn columns_are_arranged() {
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
            let table = Table::from_batch(arrange(&given).unwrap()).unwrap();
            let arranged = table.into_batch().unwrap();
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
