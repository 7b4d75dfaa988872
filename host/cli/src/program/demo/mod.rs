//! `demo`: the whole way from recordings of known velocity to a table of events, and what is done again when something changes.
//! Owns: the steps, in their order, and their document. Never: the recordings (`kymographs`), the comparison (`truth`), the words (`show`).

mod folders;
pub mod kymographs;
mod show;
pub mod truth;

use super::args::DemoArgs;
use super::documents::RunDocument;
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::{Context, output, plugin, run};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use kymhost_dataset::Dataset;
use kymhost_index::params::{Edit, edited};
use kymhost_index::{Compat, Mode, RunOptions, RunOutcome};
use kymhost_ingest::{FileOutcome, IngestOptions, What};
use kymhost_plugin::{Plugin, PoolOptions, find_plugin, open_pool};
use kymhost_plugin_api::Error;
use kymographs::{COUNT, Kymograph, kymograph};
use serde::Serialize;
use show::Show;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use truth::{Comparison, Drop, Window, compare};

/// The dataset that is made where none is named.
pub const FOLDER: &str = "kymhost-demo.zarr";
/// What turns pixels into velocities, these into events, and these into one table; in this order.
const INDEXERS: [&str; 3] = [VELOCITY, DETECTION, EVENTS];
const VELOCITY: &str = "radon_velocity";
const DETECTION: &str = "event_detection";
const EVENTS: &str = "velocity_events";
/// The recording of which a param changes: the one without a stall, of which only candidates are put forward.
const CHANGED: usize = 3;
/// The param: no candidates.
const EDIT: &str = "baseline_drop.top_k_total=0";
/// The one that is recorded again.
const REPLACED: usize = 0;

/// `demo --json`
#[derive(Debug, Serialize)]
struct DemoDocument<'a> {
    dataset: String,
    images: usize,
    /// Of each step, what `velocity_events` did.
    runs: Vec<RunDocument<'a>>,
    recordings: String,
    /// Of each recording, how far its first answer is from what was put in.
    answers: &'a [Answer],
    /// The one that was recorded again.
    replaced: &'a Answer,
    steps: Vec<StepBody<'a>>,
}

#[derive(Debug, Serialize)]
struct StepBody<'a> {
    step: &'static str,
    image_id: Option<&'a str>,
    runs: Vec<RunDocument<'a>>,
}

/// A recording's answer.
#[derive(Debug, Serialize)]
struct Answer {
    recording: String,
    image_id: String,
    #[serde(flatten)]
    comparison: Comparison,
}

/// What was run after something was done.
struct Step {
    name: &'static str,
    /// The image that something was done to.
    image_id: Option<String>,
    outcomes: Vec<RunOutcome>,
}

/// The dataset, and what is needed to bring its tables up to date.
struct Lab<'a> {
    context: &'a Context,
    dataset: Dataset,
    recordings: PathBuf,
    plugins: Vec<Plugin>,
}

/// Does `demo`.
pub(super) fn demo(context: &Context, args: &DemoArgs) -> Result<Exit, CliError> {
    let search = plugin::search_path(&args.dirs)?;
    let plugins = INDEXERS.iter().map(|name| find_plugin(name, &search)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let kymographs = (0..COUNT).map(kymograph).collect::<Result<Vec<_>, _>>().map_err(unmakeable)?;
    let (dataset, recordings) = folders::make(&args.dir)?;
    let lab = Lab { context, dataset, recordings, plugins };
    let mut show = Show::new(context, args, &lab);
    for kymograph in &kymographs {
        folders::write(&lab.recordings, kymograph)?;
    }
    show.recordings(&kymographs, begun.elapsed())?;

    let begun = Instant::now();
    let ids = lab.ingest_all(&kymographs)?;
    show.ingested(&kymographs, &ids, begun.elapsed())?;

    let mut steps = Vec::new();
    show.title("From pixels to velocities, from velocities to events, and to one table of them")?;
    steps.push(lab.run("all", None, &mut show)?);
    let compared = kymographs.iter().zip(&ids).map(|(kymograph, id)| lab.answer(kymograph, id));
    let answers = compared.collect::<Result<Vec<_>, _>>()?;
    show.title("Is the answer right?")?;
    show.answers(&answers)?;
    show.title("The table")?;
    show.table(&lab.dataset)?;

    show.title("Nothing has changed, so there is nothing to do")?;
    steps.push(lab.run("again", None, &mut show)?);

    let (changed, id) = at(&kymographs, &ids, CHANGED)?;
    show.title(&format!("A param of {} changes: no candidates below the threshold, please", changed.name))?;
    lab.change_param(id)?;
    show.param_changed(id)?;
    steps.push(lab.run("param", Some(id), &mut show)?);

    let (replaced, id) = at(&kymographs, &ids, REPLACED)?;
    show.title(&format!("{} is recorded again: longer, and the blood flows the other way", replaced.name))?;
    let again = kymographs::again(REPLACED).map_err(unmakeable)?;
    let tiff = folders::write(&lab.recordings, &again)?;
    let begun = Instant::now();
    show.read_again(&lab.ingest()?, &tiff, begun.elapsed())?;
    let mut workforce = open_pool(lab.plugin(VELOCITY)?, &lab.dataset, &PoolOptions::default())?;
    let indexer = &lab.plugin(VELOCITY)?.indexer;
    let explanation = kymhost_index::explain(&lab.dataset, indexer, workforce.as_mut(), id, Compat::default())?;
    show.explanation(id, &explanation)?;
    steps.push(lab.run("recording", Some(id), &mut show)?);
    let replaced = lab.answer(&again, id)?;
    show.answers(std::slice::from_ref(&replaced))?;
    show.next(id)?;

    let exit = Exit::combine(steps.iter().flat_map(|step| &step.outcomes).map(run::exit_of));
    if context.json {
        let is_last = |outcome: &&RunOutcome| outcome.indexer == EVENTS;
        output::document(&DemoDocument {
            dataset: args.dir.display().to_string(),
            images: COUNT,
            runs: steps.iter().flat_map(|step| &step.outcomes).filter(is_last).map(RunDocument::new).collect(),
            recordings: lab.recordings.display().to_string(),
            answers: &answers,
            replaced: &replaced,
            steps: steps.iter().map(StepBody::new).collect(),
        })?;
    }
    Ok(exit)
}

/// Never so, unless the code is wrong.
fn internal(message: impl Into<String>) -> CliError {
    CliError::new(Exit::Internal, "internal", message)
}

fn unmakeable(error: Error) -> CliError {
    internal(format!("a recording of the demo could not be made: {error}"))
}

fn at<'a>(kymographs: &'a [Kymograph], ids: &'a [String], number: usize) -> Result<(&'a Kymograph, &'a str), CliError> {
    let found = kymographs.get(number).zip(ids.get(number).map(String::as_str));
    found.ok_or_else(|| internal(format!("the demo has no recording {number}")))
}

impl<'a> StepBody<'a> {
    fn new(step: &'a Step) -> Self {
        Self {
            step: step.name,
            image_id: step.image_id.as_deref(),
            runs: step.outcomes.iter().map(RunDocument::new).collect(),
        }
    }
}

impl Lab<'_> {
    fn plugin(&self, name: &str) -> Result<&Plugin, CliError> {
        let plugin = self.plugins.iter().find(|plugin| plugin.indexer.name == name);
        plugin.ok_or_else(|| internal(format!("the demo has no plugin {name}")))
    }

    /// What `dataset ingest` does.
    fn ingest(&self) -> Result<Vec<FileOutcome>, CliError> {
        let found = kymhost_ingest::find(std::slice::from_ref(&self.recordings), &self.dataset.path())?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let options = IngestOptions { jobs, reingest: true, dry_run: false, stop: Arc::default() };
        Ok(kymhost_ingest::ingest(Some(&self.dataset), found, &options, &mut Unwatched)?.files)
    }

    /// Ingests all; each one's image.
    fn ingest_all(&self, kymographs: &[Kymograph]) -> Result<Vec<String>, CliError> {
        let files = self.ingest()?;
        let image_of = |kymograph: &Kymograph| {
            let is_it = |file: &&FileOutcome| file.path.file_stem().is_some_and(|stem| stem == kymograph.name.as_str());
            let file = files.iter().find(is_it).ok_or_else(|| internal(format!("{} was not found", kymograph.name)))?;
            if let What::Failed(error) = &file.what {
                let message = format!("{} was not taken: {}", file.path.display(), error.message);
                return Err(CliError::new(Exit::Unusable, error.kind.code(), message));
            }
            file.image_id.clone().ok_or_else(|| internal(format!("{} has no image", kymograph.name)))
        };
        kymographs.iter().map(image_of).collect()
    }

    /// What `run` with all three plugins does.
    fn run(&self, name: &'static str, image_id: Option<&str>, show: &mut Show<'_>) -> Result<Step, CliError> {
        show.run_command()?;
        let mut outcomes = Vec::new();
        for plugin in &self.plugins {
            let begun = Instant::now();
            let (pool, options) = (PoolOptions::default(), RunOptions::new(Mode::Incremental));
            let outcome = run::one(self.context, &self.dataset, plugin, &pool, &options, &Interrupt::default())?;
            show.outcome(&outcome, begun.elapsed())?;
            outcomes.push(outcome);
        }
        Ok(Step { name, image_id: image_id.map(str::to_owned), outcomes })
    }

    /// What `params set` does.
    fn change_param(&self, image_id: &str) -> Result<(), CliError> {
        let record = self.dataset.find_record(image_id)?;
        let artifact = format!("{DETECTION}/params");
        let params = edited(record.json(&artifact)?.as_ref(), &[Edit::set(EDIT)?])?;
        Ok(record.put_json(&artifact, &params)?)
    }

    /// What the dataset now says of a recording, held against what was put in.
    fn answer(&self, kymograph: &Kymograph, image_id: &str) -> Result<Answer, CliError> {
        let velocities = self.dataset.find_record(image_id)?.parquet("radon_velocity/velocity")?;
        let windows = velocities.as_ref().map(windows).unwrap_or_default();
        let events = self.dataset.read_table(&format!("kym_{EVENTS}"), None)?;
        let drops = events.as_ref().map(|events| drops(events, image_id)).unwrap_or_default();
        let comparison = compare(&kymograph.truth, &windows, &drops);
        Ok(Answer { recording: kymograph.name.clone(), image_id: image_id.to_owned(), comparison })
    }
}

/// A column's numbers; none where there is no such column.
fn floats(rows: &RecordBatch, column: &str) -> Vec<Option<f64>> {
    let floats = rows.column_by_name(column).and_then(|column| arrow::compute::cast(column, &DataType::Float64).ok());
    floats.map(|floats| floats.as_primitive::<Float64Type>().iter().collect()).unwrap_or_default()
}

/// The same of texts.
fn texts(rows: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let texts = rows.column_by_name(column).and_then(|column| arrow::compute::cast(column, &DataType::Utf8).ok());
    let owned = |texts: Arc<dyn Array>| texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
    texts.map(owned).unwrap_or_default()
}

fn windows(rows: &RecordBatch) -> Vec<Window> {
    let pairs = floats(rows, "time").into_iter().zip(floats(rows, "velocity"));
    pairs.filter_map(|(time_sec, velocity_mm_s)| Some(Window { time_sec: time_sec?, velocity_mm_s })).collect()
}

/// The stalls among an image's events.
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

/// Nobody who watches an ingest.
struct Unwatched;

impl kymhost_ingest::Observer for Unwatched {}

/// A recording's name for people.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
