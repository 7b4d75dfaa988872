//! `plugin info`.

use super::bodies::{BuildBody, PluginDocument, table_key};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::PluginDirs;
use crate::output;
use crate::plugins::search_path;
use clap::Args;
use kymhost_plugin::{Plugin, find_plugin, read_card};
use kymhost_plugin_api::card::Card;
use kymhost_plugin_api::{Artifact, ArtifactKind, Json};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin info velocity_events
  kymhost plugin info ./libstalls.so:stalls";

/// Arguments of `plugin info`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginInfoArgs {
    /// Describe this indexer: its NAME, the PATH of its library, or PATH:NAME if the library has several
    #[arg(value_name = "NAME|PATH|PATH:NAME")]
    pub plugin: String,
    /// Where to look for plugins first.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// `plugin info --json`: the same as in the list, and what else the library's card says.
#[derive(Debug, Serialize)]
pub struct PluginInfoDocument<'a> {
    #[serde(flatten)]
    plugin: PluginDocument<'a>,
    #[serde(flatten)]
    build: BuildBody<'a>,
    /// All indexers of the library.
    library_indexers: Vec<&'a str>,
    /// The artifacts that it may write.
    writes: Vec<WrittenBody<'a>>,
    /// The artifacts of other indexers that it reads.
    reads: &'a [String],
    /// Null if the plugin declares none, or one that is not JSON.
    params_schema: Option<serde_json::Value>,
}

/// An artifact that an indexer writes.
#[derive(Debug, Serialize)]
struct WrittenBody<'a> {
    /// The artifact.
    name: &'a str,
    /// `json`, `table` or `array`.
    kind: &'static str,
}

fn kind_word(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Json => "json",
        ArtifactKind::Parquet | ArtifactKind::Csv => "table",
        _ => "array",
    }
}

/// An artifact that an indexer writes, for people.
fn artifact_text(artifact: &Artifact) -> String {
    format!("{} ({})", artifact.name, kind_word(artifact.kind))
}

impl<'a> PluginInfoDocument<'a> {
    /// The document of an indexer and its library's card.
    pub fn new(plugin: &'a Plugin, card: &'a Card) -> Self {
        Self {
            plugin: PluginDocument::new(plugin),
            build: BuildBody::new(card),
            library_indexers: card.indexers.iter().map(|indexer| indexer.name.as_str()).collect(),
            writes: plugin
                .indexer
                .writes
                .iter()
                .map(|artifact| WrittenBody { name: &artifact.name, kind: kind_word(artifact.kind) })
                .collect(),
            reads: &plugin.indexer.reads,
            params_schema: serde_json::from_str(&plugin.indexer.params_schema).ok(),
        }
    }
}

/// Does `plugin info`.
pub fn info(context: &Context, args: &PluginInfoArgs) -> Result<Exit, CliError> {
    let plugin = find_plugin(&args.plugin, &search_path(&args.dirs)?)?;
    let card = read_card(&plugin.library)?;
    if context.json {
        output::document(&PluginInfoDocument::new(&plugin, &card))?;
        return Ok(Exit::Done);
    }
    let indexer = &plugin.indexer;
    let table = table_key(&indexer.name).unwrap_or_else(|| "(none: the name is not allowed)".to_owned());
    let params = if indexer.params_artifacts.is_empty() {
        "(not declared)".to_owned()
    } else {
        indexer.params_artifacts.join(", ")
    };
    output::to_stdout(|out| {
        writeln!(out, "indexer           {}", indexer.name)?;
        writeln!(out, "analysis version  {}", indexer.analysis_version)?;
        writeln!(out, "table             {table}")?;
        writeln!(out, "run marker        {}", indexer.marker_name)?;
        writeln!(out, "params artifacts  {params}")?;
        if !indexer.writes.is_empty() {
            let writes: Vec<String> = indexer.writes.iter().map(artifact_text).collect();
            writeln!(out, "writes            {}", writes.join(", "))?;
        }
        if !indexer.reads.is_empty() {
            writeln!(out, "reads             {}", indexer.reads.join(", "))?;
        }
        writeln!(out, "library           {}", plugin.library.display())?;
        let names: Vec<&str> = card.indexers.iter().map(|indexer| indexer.name.as_str()).collect();
        writeln!(out, "its indexers      {}", names.join(", "))?;
        BuildBody::new(&card).write_text(out)?;
        if let Ok(schema) = Json::parse(indexer.params_schema.as_bytes()) {
            writeln!(out, "params schema     {}", schema.to_file_text())?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}
