//! The recordings whose params are shown or changed, and the artifact that holds them.

use crate::error::CliError;
use kymhost_dataset::{Dataset, Record};
use kymhost_index::params::artifact;
use kymhost_plugin::IndexerInfo;
use kymhost_plugin_api::Json;
use kymhost_store::Seen;

/// The requested recordings, each of which must exist, or all recordings.
pub fn chosen(dataset: &Dataset, ids: &[String]) -> Result<Vec<Record>, CliError> {
    if ids.is_empty() {
        let all = dataset.image_ids()?;
        return Ok(all.iter().map(|id| dataset.record(id)).collect::<Result<_, _>>()?);
    }
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids.iter().map(|id| dataset.find_record(id)).collect::<Result<_, _>>()?)
}

/// A recording's params: the artifact that holds them (or would hold them), and its content, an object or not.
pub fn held(record: &Record, indexer: &IndexerInfo) -> Result<(String, Option<Json>), CliError> {
    let mut all = Vec::with_capacity(indexer.params_artifacts.len());
    for name in &indexer.params_artifacts {
        all.push(record.json(name)?);
    }
    let Some(name) = artifact(&indexer.params_artifacts, &all) else {
        return Err(undeclared(&indexer.name));
    };
    let place = indexer.params_artifacts.iter().position(|other| other == name).unwrap_or_default();
    Ok((name.to_owned(), all.into_iter().nth(place).flatten()))
}

/// As [`held`], to be changed: with what was seen of the artifact.
pub fn held_to_change(record: &Record, indexer: &IndexerInfo) -> Result<HeldToChange, CliError> {
    let (mut all, mut seen) = (Vec::new(), Vec::new());
    for name in &indexer.params_artifacts {
        let (found, seen_now) = record.json_to_change(name)?;
        all.push(found.map(|(_, params)| params));
        seen.push(seen_now);
    }
    let Some(name) = artifact(&indexer.params_artifacts, &all).map(str::to_owned) else {
        return Err(undeclared(&indexer.name));
    };
    let place = indexer.params_artifacts.iter().position(|other| *other == name).unwrap_or_default();
    let params = all.into_iter().nth(place).flatten();
    Ok(HeldToChange { name, params, seen: seen.into_iter().nth(place).unwrap_or_default() })
}

/// An image's params that are to be changed.
pub struct HeldToChange {
    /// The artifact that holds them, or would.
    pub name: String,
    /// Its content, an object or not.
    pub params: Option<Json>,
    /// What the artifact was when it was read.
    pub seen: Vec<Seen>,
}

/// The error of an indexer that does not declare where its params are.
pub fn undeclared(indexer: &str) -> CliError {
    CliError::usage(
        "no_params",
        format!("the indexer '{indexer}' does not declare which artifact holds its params"),
        "see the plugin's own documentation",
    )
}
