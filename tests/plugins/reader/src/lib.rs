//! A test fixture: an indexer that reads what its params say, and whose rows depend on what it found there.
//!
//! The rows are a function of everything that was read and of nothing else, so extracting again shows whether
//! something changed. It reads nothing else of the record.
//!
//! The artifact `reader/params` (default: `{}`) has:
//!
//! - `read`: a list of `["json", NAME]`, `["table", NAME]`, `["parquet", NAME]`, `["csv", NAME]`, `["array", NAME]`,
//!   `["pixels"]`, `["attributes"]` (without `updated_utc`, which each run sets) and `["list"]`, read in this order
//! - `rows`: the number of rows (default: 3); a JSON artifact that is read and has `rows` overrides it
//! - `scale`: if true, the params hash also covers the artifact `reader/scale`, which the extraction does not read
//! - `float`: if true, the column `value` has floats; `extra`: if true, there is one more column
//! - `fail`: if true, the extraction fails, as it does if a JSON artifact that is read has a true `fail`
//! - `sleep_ms`: extra time that the extraction takes, in milliseconds
//! - `hold`: a path; the extraction waits until this file exists, or until it is killed. While it waits, the file of
//!   the same name with `.holder` appended has the id of its process
//!
//! Each extraction appends its image's id as a line to the file that the environment variable `KYMHOST_READER_LOG`
//! names.

use arrow::array::{Array as _, ArrayRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kymhost_plugin_api::canonical_json;
use kymhost_plugin_api::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Reads what its params say.
struct Reader;

export_plugin!(Reader);

impl Indexer for Reader {
    const NAME: &'static str = "reader";
    const ANALYSIS_VERSION: &'static str = "tests.reader@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["reader/params"];

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let params = given_params(record)?;
        let scale = if flag(&params, "scale") { record.json("reader/scale")? } else { None };
        Ok(Json::object([("params", params), ("scale", scale.unwrap_or(Json::Null))]))
    }

    fn extract_rows(&self, record: &Record<'_>, _run: &Run<'_>) -> Result<Table> {
        log(record.image_id())?;
        let params = given_params(record)?;
        if let Some(pause) = params.get("sleep_ms").and_then(Json::as_u64) {
            std::thread::sleep(Duration::from_millis(pause));
        }
        if let Some(gate) = params.get("hold").and_then(Json::as_str) {
            hold(gate)?;
        }
        if flag(&params, "fail") {
            return Err(Error::msg("the params say: fail"));
        }
        let mut rows = params.get("rows").and_then(Json::as_u64).unwrap_or(3);
        let mut seen = Sha256::new();
        let orders = params.get("read").and_then(Json::as_array).unwrap_or_default();
        for order in orders {
            let word = |place: usize| order.as_array().and_then(|words| words.get(place)).and_then(Json::as_str);
            let name = word(1).unwrap_or_default();
            let text = match word(0).unwrap_or_default() {
                "json" => {
                    let value = record.json(name)?;
                    if let Some(value) = &value {
                        if flag(value, "fail") {
                            return Err(Error::msg(format!("the artifact {name} says: fail")));
                        }
                        rows = value.get("rows").and_then(Json::as_u64).unwrap_or(rows);
                    }
                    value.map(|value| canonical_json(&value))
                }
                "table" => record.table(name)?.map(cells).transpose()?,
                "parquet" => record.parquet(name)?.map(cells).transpose()?,
                "csv" => record.csv(name)?.map(cells).transpose()?,
                "array" => record.array(name)?.map(|array| elements(&array)),
                "pixels" => record.pixels()?.map(|array| elements(&array)),
                "attributes" => {
                    let mut attributes = record.attributes()?;
                    if let Json::Object(members) = &mut attributes {
                        members.shift_remove("updated_utc");
                    }
                    Some(canonical_json(&attributes))
                }
                "list" => Some(list(record)?),
                unknown => return Err(Error::msg(format!("the params say to read something unknown: {unknown}"))),
            };
            seen.update(canonical_json(order));
            seen.update(text.as_deref().unwrap_or("\0absent"));
            seen.update("\0");
        }
        let seen = seen.finalize();
        let digest: String = seen.iter().map(|byte| format!("{byte:02x}")).collect();
        let number = seen.iter().take(4).fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
        table(&params, rows, &digest, number)
    }
}

/// Waits until the file `gate` exists.
fn hold(gate: &str) -> Result<()> {
    // The rename makes the whole file appear at once.
    let half = format!("{gate}.{}", std::process::id());
    std::fs::write(&half, std::process::id().to_string())?;
    std::fs::rename(half, format!("{gate}.holder"))?;
    while !Path::new(gate).exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn given_params(record: &Record<'_>) -> Result<Json> {
    Ok(record.json("reader/params")?.unwrap_or_else(|| Json::object::<String>([])))
}

fn flag(value: &Json, key: &str) -> bool {
    value.get(key).and_then(Json::as_bool).unwrap_or(false)
}

/// The rows: their numbers, the digest in each, a number derived from it, and a text that is missing in every second
/// row.
fn table(params: &Json, rows: u64, digest: &str, number: i64) -> Result<Table> {
    let places: Vec<i64> = (0..rows.min(1 << 20) as i64).collect();
    let builder = Table::builder()
        .column("place", places.clone())?
        .column("digest", vec![digest.to_owned(); places.len()])?
        .column("note", places.iter().map(|n| (n % 2 == 0).then(|| format!("note {n}"))).collect::<Vec<_>>())?;
    let builder = if flag(params, "float") {
        builder.column("value", places.iter().map(|n| (number + n) as f64 + 0.5).collect::<Vec<_>>())?
    } else {
        builder.column("value", places.iter().map(|n| number + n).collect::<Vec<_>>())?
    };
    if flag(params, "extra") {
        return builder.column("extra", places.iter().map(|n| n % 3 == 0).collect::<Vec<_>>())?.build();
    }
    builder.build()
}

/// All cells of a table as text, with the names of the columns.
fn cells(table: Table) -> Result<String> {
    let batch = table.into_batch()?;
    let options = FormatOptions::default().with_null("\0null");
    let mut text = String::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column: &ArrayRef = column;
        let formatter = ArrayFormatter::try_new(column, &options)?;
        text.push_str(field.name());
        for row in 0..column.len() {
            text.push('\0');
            text.push_str(&formatter.value(row).try_to_string()?);
        }
        text.push('\0');
    }
    Ok(text)
}

fn elements(array: &Array) -> String {
    let sum: String = Sha256::digest(array.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} {:?} {:?} {sum}", array.dtype(), array.shape(), array.axes())
}

/// The artifacts without the run marker, which each run leaves.
fn list(record: &Record<'_>) -> Result<String> {
    let artifacts = record.artifacts()?.into_iter().filter(|artifact| artifact.name != "reader_run");
    Ok(artifacts.map(|artifact| format!("{} {:?}\n", artifact.name, artifact.kind)).collect())
}

fn log(image_id: &str) -> Result<()> {
    let Some(path) = std::env::var_os("KYMHOST_READER_LOG") else { return Ok(()) };
    // One write for the whole line, because several workers write to this file.
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(format!("{image_id}\n").as_bytes())?)
}
