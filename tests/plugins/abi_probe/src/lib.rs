//! A plugin that uses everything that a plugin can use, for the tests of the binary contract.
//!
//! It has two indexers; `abi_probe` does what the JSON artifact `probe/params` says under `do`. It is never
//! installed.

use kymhost_plugin_api::arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray, StringViewArray,
};
use kymhost_plugin_api::arrow::datatypes::{DataType, Field, Int32Type, Schema};
use kymhost_plugin_api::prelude::*;
use std::fmt::Debug;
use std::sync::Arc;

struct AbiProbe;

impl Indexer for AbiProbe {
    const NAME: &'static str = "abi_probe";
    const ANALYSIS_VERSION: &'static str = "probe@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["probe/params", "probe.params"];

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let params = record.json("probe/params")?.unwrap_or(Json::Null);
        match what_to_do(&params) {
            "params_panic" => panic!("no params for {}", record.image_id()),
            "params_error" => Err(Error::msg("no params today")),
            _ => Ok(params),
        }
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let params = record.json("probe/params")?.unwrap_or(Json::Null);
        match what_to_do(&params) {
            "panic" => panic!("the probe panics for {}", record.image_id()),
            "panic_in_thread" => {
                std::thread::scope(|scope| {
                    scope.spawn(|| assert!(record.image_id().is_empty(), "a thread's panic"));
                });
                Table::builder().build()
            }
            "error" => Err(Error::msg("the probe gives up")),
            "unreadable" => record.json("probe/broken").map(drop).and_then(|()| Table::builder().build()),
            "cancelled" if run.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the probe was asked to stop")),
            "print" => print(),
            "ragged" => ragged(),
            "duplicate" => columns(&[("a", numbers()), ("a", numbers())]),
            "unnamed" => columns(&[("a", numbers()), ("", numbers())]),
            "foreign_types" => foreign_types(),
            "no_rows" => Table::builder().column("a", Vec::<f64>::new())?.build(),
            "cut_to_no_rows" => Table::from_batch(columns(&[("a", texts())])?.into_batch()?.slice(2, 0)),
            "put" => put(run),
            #[cfg(feature = "later")]
            "later" => later(record, run),
            #[cfg(feature = "later")]
            "later_or_fail" => Table::builder().column("answer", vec![record.later()?])?.build(),
            _ => report(record, run),
        }
    }
}

fn what_to_do(params: &Json) -> &str {
    params.get("do").and_then(Json::as_str).unwrap_or_default()
}

/// One row for each question to a record or run, with the answer.
fn report(record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
    let mut asked = Vec::new();
    let mut answers = Vec::new();
    let mut add = |what: &str, answer: String| {
        asked.push(what.to_owned());
        answers.push(answer);
    };
    let shape = |array: Option<Array>| {
        array.map(|array| (array.dtype(), array.shape().to_vec(), array.axes().to_vec(), array.into_bytes()))
    };
    add("image_id", record.image_id().to_owned());
    add("json", text(record.json("probe/params")));
    add("json_absent", text(record.json("probe/absent")));
    add("json_broken", text(record.json("probe/broken")));
    add("metadata", text(record.metadata()));
    add("attributes", text(record.attributes()));
    add("table", text(record.table("probe/table").and_then(rows)));
    add("parquet_absent", text(record.parquet("probe/absent").and_then(rows)));
    add("csv", text(record.csv("probe/csv").and_then(rows)));
    add("table_from_csv", text(record.table("probe/csv").and_then(rows)));
    add("pixels", text(record.pixels().map(shape)));
    add("array", text(record.array("probe/array").map(shape)));
    add("artifacts", text(record.artifacts()));
    add("threads", run.threads().to_string());
    add("cancelled", run.cancelled().to_string());
    run.log(LogLevel::Info, "the probe reports");
    run.progress(1.0);
    Table::builder().column("asked", asked)?.column("answer", answers)?.build()
}

fn text<T: Debug>(result: Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn rows(table: Option<Table>) -> Result<Option<(usize, Vec<String>)>> {
    table
        .map(|table| {
            let names = table.column_names();
            Ok((table.into_batch()?.num_rows(), names))
        })
        .transpose()
}

#[expect(clippy::print_stdout, reason = "plugins do")]
fn print() -> Result<Table> {
    println!("the probe prints to standard output");
    eprintln!("the probe prints to standard error");
    Table::builder().column("a", vec![1.0])?.build()
}

fn numbers() -> ArrayRef {
    Arc::new(Float64Array::from(vec![1.0, 2.0]))
}

fn texts() -> ArrayRef {
    Arc::new(StringArray::from(vec!["one", "two"]))
}

fn columns(columns: &[(&str, ArrayRef)]) -> Result<Table> {
    let fields: Vec<_> =
        columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true)).collect();
    let values = columns.iter().map(|(_, values)| Arc::clone(values)).collect();
    Table::from_batch(RecordBatch::try_new(Arc::new(Schema::new(fields)), values)?)
}

fn foreign_types() -> Result<Table> {
    let dictionary: DictionaryArray<Int32Type> = [Some("a"), None, Some("a")].into_iter().collect();
    assert!(matches!(dictionary.data_type(), DataType::Dictionary(..)));
    columns(&[
        ("dictionary", Arc::new(dictionary)),
        ("view", Arc::new(StringViewArray::from(vec!["a text that does not fit into a view", "b", "c"]))),
    ])
}

use kymhost_plugin_api::arrow::array::Array as _;

#[expect(unsafe_code, reason = "no safe way leads to a ragged table")]
fn ragged() -> Result<Table> {
    let (array, schema) = columns(&[("a", numbers()), ("b", numbers())])?.into_c_data();
    // SAFETY: the array has two children, made above; a shorter length stays within their buffers.
    unsafe {
        (**array.children.add(1)).length = 1;
        Ok(Table::from_c_data(array, schema))
    }
}

/// How a host answers if it is handed artifacts that the card does not declare. A host of 1.0 knows no artifacts at
/// all.
fn put(run: &Run<'_>) -> Result<Table> {
    let array = Array::from_elements(&[1.0_f64], vec![1], vec!["t".to_owned()])?;
    let table = Table::builder().column("a", vec![1.0])?.build()?;
    let answers = [run.put_json("p/x", &Json::Null), run.put_table("p/x", table), run.put_array("p/x", array)];
    let answers: Vec<_> = answers.into_iter().map(|answer| format!("{answer:?}")).collect();
    Table::builder().column("answer", answers)?.build()
}

#[cfg(feature = "later")]
fn later(record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
    let answers = vec![format!("{:?}", record.later()), format!("{:?}", run.later())];
    Table::builder().column("answer", answers)?.build()
}

mod second {
    use super::*;

    pub(super) struct Second;

    impl Indexer for Second {
        const NAME: &'static str = "abi_second";
        const ANALYSIS_VERSION: &'static str = "second \"quoted\" @ä";
        const MARKER: &'static str = "second/summary";

        fn params(&self, _: &Record<'_>) -> Result<Json> {
            Ok(Json::Null)
        }

        fn params_hash(&self, record: &Record<'_>) -> Result<String> {
            Ok(format!("own hash of {}", record.image_id()))
        }

        fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> {
            Table::builder().column("version", vec![AbiProbe::ANALYSIS_VERSION])?.build()
        }

        fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
            let n_events = payload.get("n_events")?.as_u64()?;
            assert!(n_events != 13, "unlucky");
            Some(RunMarker::new("abi_second", "old hash", "old version", n_events, 1))
        }
    }
}

export_plugin!(AbiProbe, second::Second);
