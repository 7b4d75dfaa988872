//! Parts of JSON documents, and words, that several `plugin` commands share.

use kymhost_index::names::TableName;
use kymhost_plugin::{Locked, LockedIndexer, Origin, Plugin};
use kymhost_plugin_api::card::{API, Card};
use serde::Serialize;
use std::io::{self, Write};

/// A line of `plugin list --json`.
#[derive(Debug, Serialize)]
pub struct PluginDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// Its analysis version.
    analysis_version: &'a str,
    /// The key of its table; null if its name is not allowed.
    table: Option<String>,
    /// The artifact with its run marker.
    marker: &'a str,
    /// The artifacts that may hold its params.
    params_artifacts: &'a [String],
    /// The library's file.
    library: String,
}

impl<'a> PluginDocument<'a> {
    /// The document of an indexer that was found.
    pub fn new(plugin: &'a Plugin) -> Self {
        Self {
            indexer: &plugin.indexer.name,
            analysis_version: &plugin.indexer.analysis_version,
            table: table_key(&plugin.indexer.name),
            marker: &plugin.indexer.marker_name,
            params_artifacts: &plugin.indexer.params_artifacts,
            library: plugin.library.display().to_string(),
        }
    }
}

/// What a library's card says of its build.
#[derive(Debug, Serialize)]
pub struct BuildBody<'a> {
    /// The plugin API that it was built with.
    api: String,
    /// The plugin API that it needs at least.
    needs_api: String,
    /// The binary contract.
    door: &'a str,
    /// The version of plugin-api or of the C header.
    sdk: &'a str,
    /// The compiler.
    rustc: &'a str,
    /// The target triple.
    target: &'a str,
}

impl<'a> BuildBody<'a> {
    /// From the card.
    pub fn new(card: &'a Card) -> Self {
        Self {
            api: card.api.to_string(),
            needs_api: card.needs_api.to_string(),
            door: &card.door,
            sdk: &card.sdk,
            rustc: &card.rustc,
            target: &card.target,
        }
    }

    /// The same for people.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { api, needs_api, door, sdk, rustc, target } = self;
        writeln!(out, "plugin API        {api}, needs at least {needs_api} (this kymhost has {API})")?;
        writeln!(out, "door              {door}")?;
        writeln!(out, "built with        plugin-api {sdk}, {rustc}, for {target}")
    }
}

/// The key of an indexer's table; `None` if the name is not allowed.
pub fn table_key(indexer: &str) -> Option<String> {
    TableName::of(indexer).ok().map(|name| name.key_text())
}

/// An entry of a lock file.
#[derive(Debug, Serialize)]
pub struct EntryBody<'a> {
    /// The library's indexers.
    indexers: Vec<LockedIndexerBody<'a>>,
    /// The library's SHA-256.
    sha256: &'a str,
    /// Where it came from.
    origin: &'a Origin,
    /// When it was installed or trusted.
    locked_utc: &'a str,
}

/// One of its indexers.
#[derive(Debug, Serialize)]
struct LockedIndexerBody<'a> {
    /// The indexer.
    indexer: &'a str,
    /// Its analysis version.
    analysis_version: &'a str,
}

impl<'a> EntryBody<'a> {
    /// From the entry.
    pub fn new(entry: &'a Locked) -> Self {
        let indexer = |indexer: &'a LockedIndexer| LockedIndexerBody {
            indexer: &indexer.name,
            analysis_version: &indexer.analysis_version,
        };
        Self {
            indexers: entry.indexers.iter().map(indexer).collect(),
            sha256: &entry.sha256,
            origin: &entry.origin,
            locked_utc: &entry.locked_utc,
        }
    }
}

/// A library's indexers, each with its version.
pub fn with_versions(entry: &Locked) -> String {
    let one = |indexer: &LockedIndexer| format!("{} ({})", indexer.name, indexer.analysis_version);
    entry.indexers.iter().map(one).collect::<Vec<_>>().join(", ")
}
