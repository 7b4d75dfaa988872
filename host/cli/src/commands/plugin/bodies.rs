//! Parts of JSON documents, and words, that several `plugin` commands share.

use kymhost_index::names::TableName;
use kymhost_plugin::{Locked, LockedIndexer, Origin, Plugin};
use serde::Serialize;

/// A line of `plugin list --json`.
#[derive(Debug, Serialize)]
pub struct PluginDocument<'a> {
    indexer: &'a str,
    analysis_version: &'a str,
    table: Option<String>,
    marker: &'a str,
    params_artifacts: &'a [String],
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

/// The key of an indexer's table; none where the name may not be an indexer's.
pub fn table_key(indexer: &str) -> Option<String> {
    TableName::of(indexer).ok().map(|name| name.key_text())
}

/// An entry of a lock file.
#[derive(Debug, Serialize)]
pub struct EntryBody<'a> {
    indexers: Vec<LockedIndexerBody<'a>>,
    sha256: &'a str,
    origin: &'a Origin,
    locked_utc: &'a str,
}

/// One of its indexers.
#[derive(Debug, Serialize)]
struct LockedIndexerBody<'a> {
    indexer: &'a str,
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
