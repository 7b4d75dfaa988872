//! The demo's dataset, recordings and plugins, and what can be asked of them.
//!
//! This file must not print: see [`super::show`].

use super::kymographs::Kymograph;
use super::truth::{Comparison, Drop, Window, compare};
use crate::error::CliError;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use kymhost_dataset::Dataset;
use kymhost_index::params::{Edit, edited};
use kymhost_ingest::{FileOutcome, FileStatus, IngestOptions};
use kymhost_plugin::Plugin;
use kymhost_store::Class;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Turn pixels into velocities, velocities into events, and events into one table, in this order.
pub const INDEXERS: [&str; 3] = [VELOCITY, DETECTION, EVENTS];

pub const VELOCITY: &str = "radon_velocity";

pub const DETECTION: &str = "event_detection";

pub const EVENTS: &str = "velocity_events";

/// The changed param: no candidates.
pub const EDIT: &str = "baseline_drop.top_k_total=0";

/// A recording's result, compared with the truth.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The name of the recording.
    pub recording: String,
    /// The id of the recording.
    pub image_id: String,
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// The dataset, its recordings and the plugins.
pub struct Lab {
    pub dataset: Dataset,
    pub recordings: PathBuf,
    pub plugins: Vec<Plugin>,
}

/// Unreachable unless there is a bug.
pub fn internal(message: impl Into<String>) -> CliError {
    CliError::internal(message.into())
}

impl Lab {
    /// One of its plugins.
    pub fn plugin(&self, name: &str) -> Result<&Plugin, CliError> {
        let plugin = self.plugins.iter().find(|plugin| plugin.indexer.name == name);
        plugin.ok_or_else(|| internal(format!("the demo has no plugin {name}")))
    }

    /// Does what `dataset ingest` does.
    pub fn ingest(&self) -> Result<Vec<FileOutcome>, CliError> {
        let found = kymhost_ingest::find(std::slice::from_ref(&self.recordings), &self.dataset.path())?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let options = IngestOptions { jobs, reingest: true, dry_run: false, stop: Arc::default() };
        Ok(kymhost_ingest::ingest(Some(&self.dataset), found, &options, &mut Unwatched)?.files)
    }

    /// Imports all recordings. Returns the id of each.
    pub fn ingest_all(&self, kymographs: &[Kymograph]) -> Result<Vec<String>, CliError> {
        let files = self.ingest()?;
        let image_of = |kymograph: &Kymograph| {
            let is_it = |file: &&FileOutcome| file.path.file_stem().is_some_and(|stem| stem == kymograph.name.as_str());
            let file = files.iter().find(is_it).ok_or_else(|| internal(format!("{} was not found", kymograph.name)))?;
            if let FileStatus::Failed(error) = &file.what {
                return Err(cannot_import(&file.path, error.kind.code(), &error.message));
            }
            file.image_id.clone().ok_or_else(|| internal(format!("{} has no recording", kymograph.name)))
        };
        kymographs.iter().map(image_of).collect()
    }

    /// Does what `params set` does.
    pub fn change_param(&self, image_id: &str) -> Result<(), CliError> {
        let record = self.dataset.find_record(image_id)?;
        let artifact = format!("{DETECTION}/params");
        let params = edited(record.json(&artifact)?.as_ref(), &[Edit::set(EDIT)?])?;
        Ok(record.put_json(&artifact, &params)?)
    }

    /// Compares the dataset's result for a recording with the truth.
    pub fn answer(&self, kymograph: &Kymograph, image_id: &str) -> Result<Answer, CliError> {
        let velocities = self.dataset.find_record(image_id)?.parquet("radon_velocity/velocity")?;
        let windows = velocities.as_ref().map(windows).unwrap_or_default();
        let events = self.dataset.read_table(&format!("kym_{EVENTS}"), None)?;
        let drops = events.as_ref().map(|events| drops(events, image_id)).unwrap_or_default();
        let comparison = compare(&kymograph.truth, &windows, &drops);
        Ok(Answer { recording: kymograph.name.clone(), image_id: image_id.to_owned(), comparison })
    }
}

/// A column's numbers; none if there is no such column.
fn floats(rows: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    let floats = rows.column_by_name(column).and_then(|column| arrow::compute::cast(column, &DataType::Float64).ok());
    floats.map(|floats| floats.as_primitive::<Float64Type>().iter().collect()).unwrap_or_default()
}

/// The same for texts.
fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let texts = rows.column_by_name(column).and_then(|column| arrow::compute::cast(column, &DataType::Utf8).ok());
    let owned = |texts: Arc<dyn Array>| texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
    texts.map(owned).unwrap_or_default()
}

fn windows(rows: &RecordBatch) -> Vec<Window> {
    let pairs = floats(rows, "time").into_iter().zip(floats(rows, "velocity"));
    pairs.filter_map(|(time_sec, velocity_mm_s)| Some(Window { time_sec: time_sec?, velocity_mm_s })).collect()
}

/// The stalls among a recording's events.
fn drops(rows: &RecordBatch, image_id: &str) -> Vec<Drop> {
    let is_drop = texts(rows, "image_id").into_iter().zip(texts(rows, "event_type")).map(|(image, event_type)| {
        image.as_deref() == Some(image_id) && event_type.as_deref() == Some("baseline_drop")
    });
    let events = floats(rows, "t_start_s").into_iter().zip(floats(rows, "score")).zip(is_drop);
    let drop = |((start_sec, score), is_drop): ((Option<f64>, Option<f64>), bool)| {
        is_drop.then_some(Drop { start_sec: start_sec?, score: score? })
    };
    events.filter_map(drop).collect()
}

/// An observer that shows nothing.
struct Unwatched;

impl kymhost_ingest::IngestObserver for Unwatched {}

/// A recording's file name.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The error of a recording that cannot be imported.
pub fn cannot_import(file: &Path, code: &'static str, why: &str) -> CliError {
    let help = "delete the demo's two folders and try again";
    CliError::new(Class::Unusable, code, format!("cannot import {}", file.display()), help).why(why)
}
