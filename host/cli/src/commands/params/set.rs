//! `params set` and `params unset`: everything is checked before anything is written.
//!
//! This file must not know what an edit or a schema means: see [`kymhost_index::params`].

use super::images::{HeldToChange, chosen, held, held_to_change};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::OnePlugin;
use crate::words::images;
use crate::{output, plugins, quantity};
use clap::Args;
use kymhost_dataset::{MAX_TRIES, Record, artifact_keys};
use kymhost_index::ParamsError;
use kymhost_index::params::{Edit, edited};
use kymhost_index::recorded_artifacts;
use kymhost_plugin::{IndexerInfo, Plugin, Schema, list_plugins, read_card};
use kymhost_plugin_api::{Artifact, ArtifactKind, canonical_json};
use kymhost_store::Class;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub const EXAMPLES: &str = "\
Examples:
  kymhost params show --plugin radon_velocity
  kymhost params set --plugin radon_velocity --all window_lines=32
  kymhost params set --plugin event_detection --image ID baseline_drop.mad_k=4
  kymhost params unset --plugin event_detection --all baseline_drop.mad_k";

/// Arguments of `params set`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ParamsSetArgs {
    /// Set KEY to VALUE (JSON; anything else is a text). A dot leads into an object: window.lines=32. Put a key that has a dot
    /// itself into quotes: '"a.b"=1'
    #[arg(value_name = "KEY=VALUE")]
    pub edit: Vec<String>,
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Change these recordings; repeatable
    #[arg(long, value_name = "ID", num_args = 1.., required_unless_present = "all", conflicts_with = "all")]
    pub image: Vec<String>,
    /// Change every recording
    #[arg(long)]
    pub all: bool,
    /// Wait up to SECONDS while another command changes params (default: 30)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
}

/// Arguments of `params unset`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ParamsUnsetArgs {
    /// Remove KEY. A dot leads into an object: window.lines. Put a key that has a dot itself into quotes: '"a.b"'
    #[arg(value_name = "KEY", required = true)]
    pub edit: Vec<String>,
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Which recordings.
    #[command(flatten)]
    pub images: ParamsImages,
    /// Wait up to SECONDS while another command changes params (default: 30)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
}

/// Which recordings' params are changed.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ParamsImages {
    /// Change this recording; repeatable
    #[arg(long, value_name = "ID")]
    pub image: Vec<String>,
    /// Change every recording
    #[arg(long)]
    pub all: bool,
}

/// `params set --json`, `params unset --json`
#[derive(Debug, Serialize)]
pub struct ParamsSetDocument<'a> {
    /// The indexer.
    pub indexer: &'a str,
    /// The recordings whose params changed.
    pub changed: &'a [String],
    /// How many recordings had these params already.
    pub unchanged: u64,
}

/// Does `params set`.
pub fn set(context: &Context, args: &ParamsSetArgs) -> Result<Exit, CliError> {
    // In `--image ID ID KEY=VALUE` clap takes all words for ids. No id contains `=`.
    let (edits, ids): (Vec<&String>, Vec<&String>) = args.image.iter().partition(|word| word.contains('='));
    let ids: Vec<String> = ids.into_iter().cloned().collect();
    let edits: Vec<Edit> =
        edits.into_iter().chain(&args.edit).map(|text| Edit::set(text)).collect::<Result<_, ParamsError>>()?;
    if edits.is_empty() || (ids.is_empty() && !args.all) {
        let what = if edits.is_empty() { "KEY=VALUE" } else { "--image ID or --all" };
        return Err(CliError::usage("usage", format!("{what} is missing"), "see `kymhost params set --help`"));
    }
    change(context, &args.choice, &ids, &edits, args.wait)
}

/// Does `params unset`.
pub fn unset(context: &Context, args: &ParamsUnsetArgs) -> Result<Exit, CliError> {
    let edits: Result<Vec<Edit>, ParamsError> = args.edit.iter().map(|text| Edit::unset(text)).collect();
    change(context, &args.choice, &args.images.image, &edits?, args.wait)
}

/// Changes the params of these recordings, or of all recordings if there are none.
fn change(
    context: &Context,
    choice: &OnePlugin,
    ids: &[String],
    edits: &[Edit],
    wait: Option<Duration>,
) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugins::chosen_one(choice)?;
    let indexer = &plugin.indexer;
    let schema = Schema::parse(&indexer.params_schema)?;
    let writers = writers(choice, &plugin)?;
    let mut to_do = chosen(&dataset, ids)?;
    let mut lock = None;
    let (mut changed, mut unchanged) = (BTreeSet::new(), 0);
    for _ in 0..MAX_TRIES {
        let mut prepared = Vec::new();
        let mut waiting = Vec::new();
        for record in to_do {
            let HeldToChange { name, params: before, seen } = held_to_change(&record, indexer)?;
            let key = key_of(&name);
            // An indexer that is not installed here may have written it.
            let recorded = recorded_artifacts(&record)?;
            if let Some(writer) = writers.get(&key).or_else(|| recorded.get(&key)) {
                return Err(written_by(writer, &name));
            }
            let after = edited(before.as_ref(), edits).map_err(|error| no_params(error, &record, &name))?;
            if let Some(schema) = &schema {
                schema.check(&after)?;
            }
            if before.as_ref().is_some_and(|before| canonical_json(before) == canonical_json(&after)) {
                unchanged += 1;
                continue;
            }
            prepared.push(dataset.prepare_changed_json(record.image_id(), &name, &after, seen)?);
            waiting.push(record);
        }
        if lock.is_none() && !prepared.is_empty() {
            // What another command wrote before it let go of the lock is seen by the write.
            lock = Some(dataset.lock_params(&format!("params of {}", indexer.name), wait)?);
        }
        let differing = dataset.put_json_many(&mut prepared.into_iter())?;
        // What another program has put there meanwhile is read, and changed as well.
        let (again, done): (Vec<Record>, Vec<Record>) =
            waiting.into_iter().partition(|record| differing.contains(record.image_id()));
        changed.extend(done.iter().map(|record| record.image_id().to_owned()));
        to_do = again;
        if to_do.is_empty() {
            break;
        }
    }
    if let Some(record) = to_do.first() {
        let (name, _) = held(record, indexer)?;
        return Err(never_still(&record.describe_artifact(&name, ArtifactKind::Json)));
    }
    let changed: Vec<String> = changed.into_iter().collect();
    if context.json {
        output::document(&ParamsSetDocument { indexer: &indexer.name, changed: &changed, unchanged })?;
    }
    if !context.quiet {
        let count = images(changed.len() as u64);
        output::say(format_args!("{}: changed the params of {count}, {unchanged} unchanged", indexer.name));
        if !changed.is_empty() {
            output::say(format_args!("these recordings are stale now; next: kymhost run --plugin {}", choice.plugin));
        }
    }
    Ok(Exit::Done)
}

/// Names the file if an artifact that should hold params holds something else.
fn no_params(error: ParamsError, record: &Record, name: &str) -> CliError {
    if !matches!(error, ParamsError::NoParams { .. }) {
        return error.into();
    }
    not_params(name, &record.describe_artifact(name, ArtifactKind::Json), &error)
}

/// The error of an artifact that another program never stops writing.
fn never_still(file: &str) -> CliError {
    let help = "try again when the other program has ended; the other recordings are done";
    CliError::new(Class::Unusable, "unwritable", format!("cannot write {file}"), help)
        .why(format!("another program wrote it during each of {MAX_TRIES} tries"))
}

/// The error of an artifact that another indexer writes.
pub fn written_by(writer: &str, artifact: &str) -> CliError {
    CliError::new(
        Class::Refused,
        "written_by_plugin",
        format!("the indexer '{writer}' writes the artifact '{artifact}': its next run would overwrite a change"),
        format!("set the params of '{writer}': kymhost params set --plugin {writer} ..."),
    )
}

/// The error of an artifact that holds something else than params.
pub fn not_params(artifact: &str, file: &str, why: &ParamsError) -> CliError {
    let what = format!("the artifact '{artifact}' ({file}) does not hold params; nothing was written");
    let help = "see its content with `kymhost params show`, then make it a JSON object or move the file away";
    CliError::new(Class::Refused, "params_no_object", what, help).why(why)
}

fn key_of(name: &str) -> String {
    let keys = artifact_keys(&Artifact::new(name, ArtifactKind::Json));
    keys.ok().and_then(|keys| keys.into_iter().next()).unwrap_or_else(|| name.to_owned())
}

/// Which indexer writes which JSON artifact, among all indexers that can be found, including this one.
fn writers(choice: &OnePlugin, plugin: &Plugin) -> Result<BTreeMap<String, String>, CliError> {
    let search = plugins::search_path(&choice.dirs)?;
    let found = list_plugins(&search).into_iter().filter_map(|(_, plugins)| plugins.ok()).flatten();
    let mut writers = BTreeMap::new();
    // Its own library may be outside the search path.
    let own: Vec<IndexerInfo> = read_card(&plugin.library)?.indexers.iter().map(IndexerInfo::from).collect();
    for indexer in found.map(|plugin| plugin.indexer).chain(own) {
        for artifact in indexer.writes.iter().filter(|artifact| artifact.kind == ArtifactKind::Json) {
            writers.insert(key_of(&artifact.name), indexer.name.clone());
        }
    }
    Ok(writers)
}
