//! `params show`, `set` and `unset`: the params of images.
//! Owns: the text for people and the exit code; that all is judged before anything is written. Never: what an edit or a schema means.

use super::args::{OnePlugin, ParamsCommand, ParamsShowArgs};
use super::documents::{ImageParamsBody, ParamsDocument, ParamsSetDocument};
use super::error::CliError;
use super::exit::Exit;
use super::run::images;
use super::{Context, output, plugin};
use kymhost_dataset::{Dataset, Record, artifact_keys};
use kymhost_index::params::{Edit, ParamsError, artifact, edited};
use kymhost_index::vouched_for;
use kymhost_plugin::Schema;
use kymhost_plugin::{IndexerInfo, Plugin, list_plugins, read_card};
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, canonical_json};
use std::collections::BTreeMap;

/// How many images one line of the text names.
const MAX_SHOWN: usize = 5;

/// Does `params …`.
pub fn params(context: &Context, command: &ParamsCommand) -> Result<Exit, CliError> {
    match command {
        ParamsCommand::Show(args) => show(context, args),
        ParamsCommand::Set(args) => {
            // `--image ID ID KEY=VALUE`: no id has such a sign.
            let (edits, ids): (Vec<&String>, Vec<&String>) = args.image.iter().partition(|word| word.contains('='));
            let ids: Vec<String> = ids.into_iter().cloned().collect();
            let edits: Vec<Edit> =
                edits.into_iter().chain(&args.edit).map(|text| Edit::set(text)).collect::<Result<_, ParamsError>>()?;
            if edits.is_empty() || (ids.is_empty() && !args.all) {
                let what = if edits.is_empty() { "KEY=VALUE" } else { "--image ID or --all" };
                return Err(CliError::usage("usage", format!("{what} is missing")).help("try --help"));
            }
            change(context, &args.choice, &ids, &edits)
        }
        ParamsCommand::Unset(args) => {
            let edits: Result<Vec<Edit>, ParamsError> = args.edit.iter().map(|text| Edit::unset(text)).collect();
            change(context, &args.choice, &args.images.image, &edits?)
        }
    }
}

/// The images asked for, each of which must be there.
fn chosen(dataset: &Dataset, ids: &[String]) -> Result<Vec<Record>, CliError> {
    if ids.is_empty() {
        let all = dataset.image_ids()?;
        return Ok(all.iter().map(|id| dataset.record(id)).collect::<Result<_, _>>()?);
    }
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.iter().map(|id| dataset.find_record(id)).collect::<Result<_, _>>()?)
}

/// An image's params: the artifact that holds them, or would, and what it holds, an object or not.
fn held(record: &Record, indexer: &IndexerInfo) -> Result<(String, Option<Json>), CliError> {
    let mut all = Vec::with_capacity(indexer.params_artifacts.len());
    for name in &indexer.params_artifacts {
        all.push(record.json(name)?);
    }
    let Some(name) = artifact(&indexer.params_artifacts, &all) else {
        let message = format!("the indexer '{}' does not say which artifact holds its params", indexer.name);
        return Err(CliError::usage("no_params", message).help("see the plugin's own documentation"));
    };
    let place = indexer.params_artifacts.iter().position(|other| other == name).unwrap_or_default();
    Ok((name.to_owned(), all.into_iter().nth(place).flatten()))
}

fn show(context: &Context, args: &ParamsShowArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugin::chosen_one(&args.choice)?;
    let indexer = &plugin.indexer;
    let mut bodies = Vec::new();
    for record in chosen(&dataset, &args.image)? {
        let id = record.image_id().to_owned();
        // One that cannot be read is told of, and the others are shown.
        bodies.push(match held(&record, indexer) {
            Ok((artifact, params)) => ImageParamsBody::new(id, artifact, params.as_ref()),
            Err(error) if error.exit == Exit::Usage => return Err(error),
            Err(error) => ImageParamsBody::unreadable(id, &error),
        });
    }
    let is_broken = bodies.iter().any(ImageParamsBody::is_broken);
    let exit = if is_broken { Exit::SomeFailed } else { Exit::Done };
    if context.json {
        output::document(&ParamsDocument::new(indexer, bodies))?;
        return Ok(exit);
    }
    output::to_stdout(|out| {
        let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for body in &bodies {
            alike.entry(body.text()).or_default().push(body.image_id());
        }
        for (text, ids) in &alike {
            let mut named: Vec<&str> = ids.iter().take(MAX_SHOWN).copied().collect();
            let more = format!("and {} more", ids.len().saturating_sub(MAX_SHOWN));
            if ids.len() > MAX_SHOWN {
                named.push(&more);
            }
            writeln!(out, "{} ({}):", images(ids.len() as u64), named.join(", "))?;
            writeln!(out, "  {}", text.replace('\n', "\n  "))?;
        }
        if indexer.params_schema.is_empty() {
            writeln!(out, "the plugin declares no schema of its params")
        } else {
            let schema = Json::parse(indexer.params_schema.as_bytes()).map(|schema| schema.to_file_text());
            let schema = schema.unwrap_or_else(|_| indexer.params_schema.clone());
            writeln!(out, "what may be set (JSON Schema):\n  {}", schema.replace('\n', "\n  "))
        }
    })?;
    Ok(exit)
}

/// `ids`: the images; none: all of them.
fn change(context: &Context, choice: &OnePlugin, ids: &[String], edits: &[Edit]) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugin::chosen_one(choice)?;
    let indexer = &plugin.indexer;
    let schema = Schema::parse(&indexer.params_schema)?;
    let writers = writers(choice, &plugin)?;
    let mut prepared = Vec::new();
    let (mut changed, mut unchanged) = (Vec::new(), 0);
    for record in chosen(&dataset, ids)? {
        let (name, before) = held(&record, indexer)?;
        let key = key_of(&name);
        // An indexer that is not installed here may have made it.
        let vouched = vouched_for(&record)?;
        if let Some(writer) = writers.get(&key).or_else(|| vouched.get(&key)) {
            let message =
                format!("the artifact '{name}' is written by the indexer '{writer}'; what is set here would be lost");
            return Err(CliError::new(Exit::Refused, "written_by_plugin", message)
                .help(format!("set the params of '{writer}': kymhost params set --plugin {writer} ...")));
        }
        let after = edited(before.as_ref(), edits).map_err(|error| no_params(error, &record, &name))?;
        if let Some(schema) = &schema {
            schema.check(&after)?;
        }
        if before.as_ref().is_some_and(|before| canonical_json(before) == canonical_json(&after)) {
            unchanged += 1;
            continue;
        }
        prepared.push(dataset.prepare_json(record.image_id(), &name, &after)?);
        changed.push(record.image_id().to_owned());
    }
    dataset.put_json_many(&mut prepared.into_iter())?;
    if context.json {
        output::document(&ParamsSetDocument { indexer: &indexer.name, changed: &changed, unchanged })?;
    }
    if !context.quiet {
        let count = images(changed.len() as u64);
        output::say(format_args!("{}: changed the params of {count}, {unchanged} had them already", indexer.name));
        if !changed.is_empty() {
            output::say(format_args!("they are stale now: kymhost run --plugin {}", choice.plugin));
        }
    }
    Ok(Exit::Done)
}

/// What is in the place of an image's params is not theirs: says where.
fn no_params(error: ParamsError, record: &Record, name: &str) -> CliError {
    if !matches!(error, ParamsError::NoParams { .. }) {
        return error.into();
    }
    let file = record.describe_artifact(name, ArtifactKind::Json);
    CliError::new(
        Exit::Refused,
        "params_no_object",
        format!("the artifact '{name}' ({file}): {error}; nothing was written"),
    )
    .help("see what it holds with `kymhost params show`; then make it an object, or move the file away")
}

fn key_of(name: &str) -> String {
    let keys = artifact_keys(&Artifact::new(name, ArtifactKind::Json));
    keys.ok().and_then(|keys| keys.into_iter().next()).unwrap_or_else(|| name.to_owned())
}

/// Which indexer writes which JSON artifact, among all that can be found, this one included.
fn writers(choice: &OnePlugin, plugin: &Plugin) -> Result<BTreeMap<String, String>, CliError> {
    let search = plugin::search_path(&choice.dirs)?;
    let found = list_plugins(&search).into_iter().filter_map(|(_, plugins)| plugins.ok()).flatten();
    let mut writers = BTreeMap::new();
    // Those of its own library as well, which may stand anywhere.
    let own: Vec<IndexerInfo> = read_card(&plugin.library)?.indexers.iter().map(IndexerInfo::from).collect();
    for indexer in found.map(|plugin| plugin.indexer).chain(own) {
        for artifact in indexer.writes.iter().filter(|artifact| artifact.kind == ArtifactKind::Json) {
            writers.insert(key_of(&artifact.name), indexer.name.clone());
        }
    }
    Ok(writers)
}
