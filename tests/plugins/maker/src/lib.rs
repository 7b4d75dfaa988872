//! A test fixture: indexers that make artifacts, read each other's artifacts, or conflict with each other.
//!
//! Artifacts and rows depend only on what was read. The host decides what is kept.
//!
//! `maker` does what the artifact `maker/params` says (default: `{}`):
//!
//! - `value`: the value in everything that it makes (default: 0)
//! - `make`: which of `json`, `table`, `array` it makes, in this order (default: all)
//! - `counts`: if true, the JSON artifact has the number of calls, so that it differs each time
//! - `fail`: if true, it fails after it has made them
//! - `text`: if true, the column `value` of its rows has texts
//!
//! The params of `written` are an artifact that `maker` writes. `doubler` reads the table `maker/table` and makes
//! `doubler/table`. `rival` writes the same artifact as `maker`. `hen` and `egg` wait for each other.

use kymhost_plugin_api::prelude::*;
use std::sync::atomic::{AtomicI64, Ordering};

static CALLS: AtomicI64 = AtomicI64::new(0);

struct Maker;
struct Doubler;
struct Rival;
struct Written;
struct Hen;
struct Egg;

export_plugin!(Maker, Doubler, Written, Rival, Hen, Egg);

fn given_params(record: &Record<'_>) -> Result<Json> {
    Ok(record.json("maker/params")?.unwrap_or_else(|| Json::object::<String>([])))
}

fn flag(value: &Json, key: &str) -> bool {
    value.get(key).and_then(Json::as_bool).unwrap_or(false)
}

impl Indexer for Maker {
    const NAME: &'static str = "maker";
    const ANALYSIS_VERSION: &'static str = "tests.maker@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["maker/params"];
    const WRITES: &'static [Output] =
        &[Output::json("maker/json"), Output::table("maker/table"), Output::array("maker/array")];
    const PARAMS_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "value": {"type": "integer", "minimum": 0, "default": 0, "description": "The value in everything that it makes"},
            "make": {"type": "array", "items": {"type": "string"}},
            "fail": {"type": "boolean"},
            "counts": {"type": "boolean"},
            "text": {"type": "boolean"},
            "nested": {"type": "object", "properties": {"deep": {"type": "number"}}}
        },
        "additionalProperties": false
    }"#;

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        given_params(record)
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let params = given_params(record)?;
        let value = params.get("value").and_then(Json::as_i64).unwrap_or(0);
        let all = Json::from(vec!["json", "table", "array"]);
        let make = params.get("make").unwrap_or(&all).as_array().unwrap_or_default();
        for what in make.iter().filter_map(Json::as_str) {
            match what {
                "json" if flag(&params, "counts") => {
                    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
                    run.put_json("maker/json", &Json::object([("value", value.into()), ("calls", calls.into())]))?;
                }
                "json" => run.put_json("maker/json", &Json::object([("value", value.into())]))?,
                "table" => run.put_table("maker/table", Table::builder().column("value", vec![value; 3])?.build()?)?,
                "array" => {
                    let array = Array::from_elements(&[value as f32; 6], vec![2, 3], vec!["t".into(), "x".into()])?;
                    run.put_array("maker/array", array)?;
                }
                // Its own artifacts are not inputs, also not in a list.
                "listed" => drop(record.artifacts()?),
                "own" => drop((record.json("maker/json")?, record.table("maker/table")?, record.array("maker/array")?)),
                other => run.put_json(other, &Json::Null)?,
            }
        }
        if flag(&params, "fail") {
            return Err(Error::msg("the params say: fail"));
        }
        if flag(&params, "text") {
            return Table::builder().column("value", vec![value.to_string()])?.build();
        }
        Table::builder().column("value", vec![value])?.build()
    }
}

impl Indexer for Doubler {
    const NAME: &'static str = "doubler";
    const ANALYSIS_VERSION: &'static str = "tests.doubler@1";
    const READS: &'static [&'static str] = &["maker/table"];
    const WRITES: &'static [Output] = &[Output::table("doubler/table")];

    fn params(&self, _record: &Record<'_>) -> Result<Json> {
        Ok(Json::Null)
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let rows = match record.table("maker/table")? {
            Some(table) => table.into_batch()?,
            None => return Table::builder().column("double", Vec::<i64>::new())?.build(),
        };
        let values = rows.column_by_name("value").ok_or_else(|| Error::msg("no column 'value'"))?;
        let values = values.as_any().downcast_ref::<kymhost_plugin_api::arrow::array::Int64Array>();
        let values = values.ok_or_else(|| Error::msg("'value' has no integers"))?;
        let doubles: Vec<i64> = values.iter().flatten().map(|value| 2 * value).collect();
        run.put_table("doubler/table", Table::builder().column("double", doubles.clone())?.build()?)?;
        Table::builder().column("double", doubles)?.build()
    }
}

impl Indexer for Written {
    const NAME: &'static str = "written";
    const ANALYSIS_VERSION: &'static str = "tests.written@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["maker/json"];

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(record.json("maker/json")?.unwrap_or_default())
    }

    fn extract_rows(&self, _record: &Record<'_>, _run: &Run<'_>) -> Result<Table> {
        Table::builder().column("value", Vec::<i64>::new())?.build()
    }
}

/// Defines an indexer without rows.
macro_rules! idle {
    ($type:ty, $name:literal, $writes:literal, $reads:expr) => {
        impl Indexer for $type {
            const NAME: &'static str = $name;
            const ANALYSIS_VERSION: &'static str = "tests.idle@1";
            const WRITES: &'static [Output] = &[Output::table($writes)];
            const READS: &'static [&'static str] = $reads;

            fn params(&self, _record: &Record<'_>) -> Result<Json> {
                Ok(Json::Null)
            }

            fn extract_rows(&self, _record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
                run.put_table($writes, Table::builder().column("from", vec![$name])?.build()?)?;
                Table::builder().column("from", Vec::<&str>::new())?.build()
            }
        }
    };
}

idle!(Rival, "rival", "maker/table", &[]);
idle!(Hen, "hen", "hen/table", &["egg/table"]);
idle!(Egg, "egg", "egg/table", &["hen/table"]);
