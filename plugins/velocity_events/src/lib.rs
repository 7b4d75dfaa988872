//! The indexer `velocity_events`: one row per event that was found in an image's velocities.
//!
//! This file knows where params and events are kept, the order of the columns, and the old form of the run marker. It
//! does not compute events.

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use kymhost_plugin_api::prelude::*;
use std::sync::Arc;

/// The columns that come first. Those that the artifact lacks are empty.
const COLUMNS: [&str; 7] = ["roi_id", "event_id", "t_start_s", "t_end_s", "peak_t_s", "peak_value", "score"];
/// The host adds these columns to every table.
const PROVENANCE: [&str; 3] = ["image_id", "analysis_version", "params_hash"];
/// The table artifacts that hold events, Parquet or CSV.
const EVENTS: [&str; 2] = ["velocity_events/events", "velocity_events"];

struct VelocityEvents;

impl Indexer for VelocityEvents {
    const NAME: &'static str = "velocity_events";
    const ANALYSIS_VERSION: &'static str = "kymflow.velocity_events@0.1";
    const MARKER: &'static str = "velocity_events/summary";
    const PARAMS_ARTIFACTS: &'static [&'static str] =
        &["velocity_events/params", "velocity_events_params", "velocity_events.params"];

    /// The first params artifact that is an object; an empty object if there is none.
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        for name in Self::PARAMS_ARTIFACTS {
            if let Some(params @ Json::Object(_)) = record.json(name)? {
                return Ok(params);
            }
        }
        Ok(Json::object::<&str>([]))
    }

    fn extract_rows(&self, record: &Record<'_>, _run: &Run<'_>) -> Result<Table> {
        let rows = match events(record)? {
            Some(table) => table.into_batch()?,
            None => RecordBatch::new_empty(Arc::new(Schema::empty())),
        };
        Table::from_batch(arrange(&rows)?)
    }

    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        old_marker(payload)
    }
}

export_plugin!(VelocityEvents);

/// The first events that exist: Parquet under either name, then CSV.
fn events(record: &Record<'_>) -> Result<Option<Table>> {
    let parquet = EVENTS.iter().map(|name| record.parquet(name));
    let csv = EVENTS.iter().map(|name| record.csv(name));
    parquet.chain(csv).find_map(Result::transpose).transpose()
}

/// The event columns first (null if absent), then the other columns without those of the host.
fn arrange(rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema_ref();
    let column = |(field, values): (&FieldRef, &ArrayRef)| (field.clone(), values.clone());
    let all = || schema.fields().iter().zip(rows.columns());
    let events = COLUMNS.iter().map(|&name| match all().find(|(field, _)| field.name() == name) {
        Some(found) => column(found),
        None => (Arc::new(Field::new(name, DataType::Null, true)), new_null_array(&DataType::Null, rows.num_rows())),
    });
    let is_other = |name: &str| !COLUMNS.contains(&name) && !PROVENANCE.contains(&name);
    let others = all().filter(|(field, _)| is_other(field.name())).map(column);
    let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = events.chain(others).unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// Reads a marker from before markers had a version: a summary with the number of events.
fn old_marker(payload: &Json) -> Option<RunMarker> {
    let fields = payload.as_object()?;
    if fields.contains_key("marker_version") {
        return None;
    }
    let n_rows = python_int(fields.get("n_events")?)?;
    let text = |name| fields.get(name)?.as_str();
    let time = match fields.get("computed_utc_epoch_ns") {
        None | Some(Json::Bool(true)) => 1,
        Some(Json::Int(time)) if !time.is_negative() => time.as_i64().unwrap_or(i64::MAX),
        Some(_) => return None,
    };
    if time == 0 {
        return None;
    }
    let mut marker =
        RunMarker::new(VelocityEvents::NAME, text("params_hash")?, text("analysis_version")?, n_rows, time);
    if let Some(status) = fields.get("status") {
        marker.status = status.as_str()?.to_owned();
    }
    Some(marker)
}

/// The result of Python's `int(value)` if it is at least 0. `None` if it is negative or Python raises an exception.
fn python_int(value: &Json) -> Option<u64> {
    match value {
        Json::Bool(value) => Some(u64::from(*value)),
        Json::Int(value) if !value.is_negative() => Some(value.as_u64().unwrap_or(u64::MAX)),
        Json::Float(value) if value.is_finite() && *value > -1.0 => Some(*value as u64),
        Json::String(text) => python_int_of_text(text),
        _ => None,
    }
}

/// Python's `int` of a text: digits with single underscores between them, an optional sign, and white space around
/// them.
fn python_int_of_text(text: &str) -> Option<u64> {
    let is_space = |character: char| character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character);
    let number = text.trim_matches(is_space);
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let is_group = |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.split('_').all(is_group) {
        return None;
    }
    let digits = digits.replace('_', "");
    if digits.len() > kymhost_plugin_api::json::MAX_INT_DIGITS {
        return None;
    }
    let value = digits.parse().unwrap_or(u64::MAX);
    (!is_negative || value == 0).then_some(value)
}

#[cfg(test)]
mod tests;
