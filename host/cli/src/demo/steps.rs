//! The steps of the demo, in their order, and its document.
//!
//! This file must not make recordings (`kymographs`), compare (`truth`) or choose words (`show`).

use super::args::DemoArgs;
use super::folders;
use super::kymographs::{self, COUNT, Kymograph, kymograph};
use super::lab::{Answer, EVENTS, INDEXERS, Lab, VELOCITY, internal};
use super::show::Show;
use crate::commands::run::{self, RunDocument};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::{output, plugins};
use kymhost_index::{Compat, Mode, RunOptions, RunOutcome};
use kymhost_plugin::{PoolOptions, find_plugin, open_pool};
use kymhost_plugin_api::Error;
use serde::Serialize;
use std::time::Instant;

/// The recording whose param changes: the one without a stall, for which only candidates are found.
const CHANGED: usize = 3;

/// The recording that is replaced by a new one.
const REPLACED: usize = 0;

/// `demo --json`
#[derive(Debug, Serialize)]
struct DemoDocument<'a> {
    /// The dataset's folder.
    dataset: String,
    /// How many recordings it has.
    images: usize,
    /// What `velocity_events` did in each step.
    runs: Vec<RunDocument<'a>>,
    /// The folder of the recordings.
    recordings: String,
    /// How far the first result of each recording is from the truth.
    answers: &'a [Answer],
    /// The recording that was replaced.
    replaced: &'a Answer,
    /// What was run after each change.
    steps: Vec<StepBody<'a>>,
}

#[derive(Debug, Serialize)]
struct StepBody<'a> {
    /// `all`, `again`, `param` or `recording`.
    step: &'static str,
    /// The recording that was changed.
    image_id: Option<&'a str>,
    /// What each plugin did: the document of `run`.
    runs: Vec<RunDocument<'a>>,
}

/// The runs after a change.
struct Step {
    name: &'static str,
    /// The recording that was changed.
    image_id: Option<String>,
    outcomes: Vec<RunOutcome>,
}

/// Does `demo`.
pub fn demo(context: &Context, args: &DemoArgs) -> Result<Exit, CliError> {
    let search = plugins::search_path(&args.dirs)?;
    let plugins = INDEXERS.iter().map(|name| find_plugin(name, &search)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    let kymographs = (0..COUNT).map(kymograph).collect::<Result<Vec<_>, _>>().map_err(unmakeable)?;
    let (dataset, recordings) = folders::make(&args.dir)?;
    let lab = Lab { dataset, recordings, plugins };
    let mut show = Show::new(context, args, &lab.recordings);
    for kymograph in &kymographs {
        folders::write(&lab.recordings, kymograph)?;
    }
    show.recordings(&kymographs, begun.elapsed())?;

    let begun = Instant::now();
    let ids = lab.ingest_all(&kymographs)?;
    show.ingested(&kymographs, &ids, begun.elapsed())?;

    let mut steps = Vec::new();
    show.title("Measure velocities, detect events, and write one table of events")?;
    steps.push(run_all(context, &lab, "all", None, &mut show)?);
    let compared = kymographs.iter().zip(&ids).map(|(kymograph, id)| lab.answer(kymograph, id));
    let answers = compared.collect::<Result<Vec<_>, _>>()?;
    show.title("Compare the result with the known velocity")?;
    show.answers(&answers)?;
    show.title("Show the table")?;
    show.table(&lab.dataset)?;

    show.title("Run again: nothing changed, so nothing is computed")?;
    steps.push(run_all(context, &lab, "again", None, &mut show)?);

    let (changed, id) = at(&kymographs, &ids, CHANGED)?;
    show.title(&format!("Change a param of {}: no candidates below the threshold", changed.name))?;
    lab.change_param(id)?;
    show.param_changed(id)?;
    steps.push(run_all(context, &lab, "param", Some(id), &mut show)?);

    let (replaced, id) = at(&kymographs, &ids, REPLACED)?;
    show.title(&format!("Replace {} by a new recording: longer, and the blood flows the other way", replaced.name))?;
    let again = kymographs::again(REPLACED).map_err(unmakeable)?;
    let tiff = folders::write(&lab.recordings, &again)?;
    let begun = Instant::now();
    show.read_again(&lab.ingest()?, &tiff, begun.elapsed())?;
    let mut workforce = open_pool(lab.plugin(VELOCITY)?, &lab.dataset, &PoolOptions::default())?;
    let indexer = &lab.plugin(VELOCITY)?.indexer;
    let explanation = kymhost_index::explain(&lab.dataset, indexer, workforce.as_mut(), id, Compat::default())?;
    show.explanation(id, &explanation)?;
    steps.push(run_all(context, &lab, "recording", Some(id), &mut show)?);
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

fn unmakeable(error: Error) -> CliError {
    internal(format!("cannot make a recording of the demo: {error}"))
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

/// Does what `run` does with all three plugins.
fn run_all(
    context: &Context,
    lab: &Lab,
    name: &'static str,
    image_id: Option<&str>,
    show: &mut Show<'_>,
) -> Result<Step, CliError> {
    show.run_command()?;
    let mut outcomes = Vec::new();
    for plugin in &lab.plugins {
        let begun = Instant::now();
        let (pool, options) = (PoolOptions::default(), RunOptions::new(Mode::Incremental));
        let outcome = run::one(context, &lab.dataset, plugin, &pool, &options, &Interrupt::default())?;
        show.outcome(&outcome, begun.elapsed())?;
        outcomes.push(outcome);
    }
    Ok(Step { name, image_id: image_id.map(str::to_owned), outcomes })
}
