//! `params show`: the params of recordings.

use super::images::{chosen, held};
use super::set::EXAMPLES;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::OnePlugin;
use crate::words::images;
use crate::{output, plugins};
use clap::Args;
use kymhost_plugin::IndexerInfo;
use kymhost_plugin_api::{Json, canonical_json};
use kymhost_store::text::listed;
use serde::Serialize;
use std::collections::BTreeMap;

/// Arguments of `params show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ParamsShowArgs {
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Show only these recordings; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
}

/// How many recordings one line of the text names.
const MAX_SHOWN: usize = 5;

/// `params show --json`
#[derive(Debug, Serialize)]
pub struct ParamsDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// The artifacts that may hold its params.
    params_artifacts: &'a [String],
    /// The JSON Schema that the plugin declares; null if it declares none.
    schema: Option<serde_json::Value>,
    /// The recordings.
    images: Vec<ImageParamsBody>,
}

impl<'a> ParamsDocument<'a> {
    /// The params of these recordings.
    pub fn new(indexer: &'a IndexerInfo, images: Vec<ImageParamsBody>) -> Self {
        let schema = serde_json::from_str(&indexer.params_schema).ok();
        Self { indexer: &indexer.name, params_artifacts: &indexer.params_artifacts, schema, images }
    }
}

/// One recording's params.
#[derive(Debug, Serialize)]
pub struct ImageParamsBody {
    /// The id of the recording.
    image_id: String,
    /// The artifact that holds its params, or would hold them.
    artifact: Option<String>,
    /// What the artifact holds; null if there is none, or if it holds what JSON cannot say (`NaN`).
    params: Option<serde_json::Value>,
    /// What the artifact holds, as canonical JSON text.
    params_text: Option<String>,
    /// Why they cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// For people.
    #[serde(skip)]
    shown: String,
}

impl ImageParamsBody {
    /// A recording, the artifact that holds its params or would, and them.
    pub fn new(image_id: String, artifact: String, params: Option<&Json>) -> Self {
        let shown = match params {
            None => "none (the defaults apply)".to_owned(),
            Some(Json::Object(_)) => params.map(Json::to_file_text).unwrap_or_default(),
            Some(other) => format!("not a JSON object: {}", other.to_file_text()),
        };
        let params_text = params.map(canonical_json);
        let params = params_text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { image_id, artifact: Some(artifact), params, params_text, error: None, shown }
    }

    /// A recording whose params cannot be read.
    pub fn unreadable(image_id: String, error: &CliError) -> Self {
        let shown = format!("unreadable: {}", error.message());
        Self { image_id, artifact: None, params: None, params_text: None, error: Some(error.message()), shown }
    }
}

/// Does `params show`.
pub fn show(context: &Context, args: &ParamsShowArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugins::chosen_one(&args.choice)?;
    let indexer = &plugin.indexer;
    let mut bodies = Vec::new();
    for record in chosen(&dataset, &args.image)? {
        let id = record.image_id().to_owned();
        // Report an artifact that cannot be read, and show the others.
        bodies.push(match held(&record, indexer) {
            Ok((artifact, params)) => ImageParamsBody::new(id, artifact, params.as_ref()),
            Err(error) if error.exit == Exit::Usage => return Err(error),
            Err(error) => ImageParamsBody::unreadable(id, &error),
        });
    }
    let is_broken = bodies.iter().any(|body| body.error.is_some());
    let exit = if is_broken { Exit::SomeFailed } else { Exit::Done };
    if context.json {
        output::document(&ParamsDocument::new(indexer, bodies))?;
        return Ok(exit);
    }
    output::to_stdout(|out| {
        let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for body in &bodies {
            alike.entry(&body.shown).or_default().push(&body.image_id);
        }
        for (text, ids) in &alike {
            writeln!(out, "{} ({}):", images(ids.len() as u64), listed(ids, MAX_SHOWN))?;
            writeln!(out, "  {}", text.replace('\n', "\n  "))?;
        }
        if indexer.params_schema.is_empty() {
            writeln!(out, "the plugin declares no schema for its params")
        } else {
            let schema = Json::parse(indexer.params_schema.as_bytes()).map(|schema| schema.to_file_text());
            let schema = schema.unwrap_or_else(|_| indexer.params_schema.clone());
            writeln!(out, "params that can be set (JSON Schema):\n  {}", schema.replace('\n', "\n  "))
        }
    })?;
    Ok(exit)
}
