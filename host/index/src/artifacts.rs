//! Artifacts that an indexer makes, on their way into a commit.
//!
//! Responsible for who made an artifact that already exists, and for what is recorded about those that are written. It
//! writes no tables or markers, and does not decide when to commit.
//!
//! An artifact is an indexer's own when its run marker's receipt names it, or when the intent of a commit that was
//! killed says that these very bytes were being written. Any other artifact is foreign: a person or another program
//! made it, and it is only overwritten on request.

use crate::ledger::Pending;
use kymhost_dataset::{
    self, Dataset, DatasetError, Input, InputCheck, InputState, Own, PreparedArtifact, Record, artifact_keys,
    check_input,
};
use kymhost_plugin::{Failure, FailureKind, IndexerInfo};
use kymhost_plugin_api::{Artifact, ArtifactKind};
use kymhost_store::StoreError;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// So long after it was written a file's times can be trusted, on file systems that keep fractions of seconds.
const SETTLE: Duration = Duration::from_millis(21);

/// What is known of one image's artifacts before a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownArtifacts<'a> {
    /// The keys that its marker's receipt names.
    pub recorded: &'a [String],
    /// What a killed commit was writing: see [`crate::ledger::Pending`].
    pub interrupted: Option<&'a BTreeMap<String, String>>,
}

/// The first of the declared artifacts in whose place stands one that is not the indexer's own.
pub(crate) fn foreign(
    dataset: &Dataset,
    image_id: &str,
    declared: &[Artifact],
    known: KnownArtifacts<'_>,
) -> Result<Option<String>, DatasetError> {
    for artifact in declared {
        let keys = artifact_keys(artifact)?;
        // Nobody reads a packed form next to our own artifact.
        if keys.first().is_some_and(|key| known.recorded.contains(key)) {
            continue;
        }
        for key in keys {
            if dataset.has_artifact(image_id, &key)? && !is_interrupted(dataset, image_id, &key, known)? {
                return Ok(Some(key));
            }
        }
    }
    Ok(None)
}

/// Whether it is what a killed commit was writing.
fn is_interrupted(
    dataset: &Dataset,
    image_id: &str,
    key: &str,
    known: KnownArtifacts<'_>,
) -> Result<bool, DatasetError> {
    let Some(expected) = known.interrupted.and_then(|artifacts| artifacts.get(key)) else { return Ok(false) };
    Ok(match now(&dataset.record(image_id)?, key)?.found {
        InputState::File { sha256, .. } => sha256 == *expected,
        // An array that can be read is whole: its `.zarray` comes last.
        InputState::Array { .. } => expected.is_empty(),
        _ => false,
    })
}

/// The failure of an image that has foreign artifacts. `can_adopt`: whether `adopt` would take the image.
pub(crate) fn refusal(dataset: &Dataset, image_id: &str, key: &str, can_adopt: bool) -> Failure {
    let shown = dataset.record(image_id).and_then(|record| record.describe_key(key));
    let shown = shown.unwrap_or_else(|_| format!("{key} of image {image_id}"));
    let otherwise = match can_adopt {
        true => ", `kymhost adopt` makes it and the rows that are there count as this indexer's",
        false => ", or move it away",
    };
    let message = format!(
        "{shown} is there already and was not made by this indexer; `--overwrite-artifacts` replaces it{otherwise}"
    );
    Failure::new(FailureKind::Error, message)
}

/// Which indexers' run markers own artifacts of an image: the artifacts' keys below the image's group, with the
/// indexers' names.
///
/// # Errors
/// If the image cannot be read.
pub fn recorded_artifacts(record: &Record) -> Result<BTreeMap<String, String>, DatasetError> {
    let mut recorded = BTreeMap::new();
    for artifact in record.artifacts()?.into_iter().filter(|artifact| artifact.kind == ArtifactKind::Json) {
        let text = match record.marker_bytes(&artifact.name) {
            // Text that is not JSON is not a marker.
            Err(DatasetError::Unreadable { .. }) => None,
            other => other?,
        };
        let Some(read) = text.and_then(|text| crate::receipt::read(&text)) else { continue };
        let keys = read.receipt.into_iter().flat_map(|receipt| receipt.outputs).map(|output| output.key);
        recorded.extend(keys.map(|key| (key, read.marker.indexer_name.clone())));
    }
    Ok(recorded)
}

/// What stands under a key now.
pub(crate) fn now(record: &Record, key: &str) -> Result<Input, DatasetError> {
    let sought = Input { key: key.to_owned(), found: InputState::Absent };
    kymhost_dataset::look(record, Own { marker_name: "", writes: &[] }, &sought)
}

/// What is recorded of the declared artifacts that an image has now, sorted by key.
pub(crate) fn present(record: &Record, declared: &[Artifact]) -> Result<Vec<Input>, DatasetError> {
    let mut outputs = Vec::new();
    for artifact in declared {
        let Some(key) = artifact_keys(artifact)?.into_iter().next() else { continue };
        outputs.push(now(record, &key)?);
    }
    outputs.retain(|output| output.found != InputState::Absent);
    outputs.sort_unstable();
    outputs.dedup_by(|later, earlier| later.key == earlier.key);
    Ok(outputs)
}

/// Why an image fails if somebody else has changed an artifact since it was decided to replace it.
pub(crate) const CHANGED_MEANWHILE: &str =
    "another program changed an artifact while this run was about to replace it; it was left, run again";

/// What became of artifacts.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// What is to be recorded of them, by image.
    pub outputs: HashMap<String, Vec<Input>>,
    /// Images of which not all were written, because another program has changed what stood in their place.
    pub differing: BTreeSet<String>,
}

/// Images with the artifacts that are to be written for them.
pub(crate) type PreparedArtifacts = BTreeMap<String, Vec<PreparedArtifact>>;

/// Writes artifacts of images, removes earlier ones that are no longer made, and returns what is to be recorded
/// about them, by image. `recorded`: what the images' receipts name; `interrupted`: what a killed commit was writing.
pub(crate) fn write(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    prepared: PreparedArtifacts,
    recorded: &HashMap<String, Vec<String>>,
    interrupted: &Pending,
) -> Result<Written, DatasetError> {
    let mut written: Vec<(String, Vec<(String, String)>)> = prepared
        .iter()
        .map(|(image_id, artifacts)| {
            let keys = artifacts.iter().map(|one| (one.key().to_owned(), one.sha256().to_owned()));
            (image_id.clone(), keys.collect())
        })
        .collect();
    let differing = dataset.put_artifacts(prepared.into_values().flatten().collect())?;
    written.retain(|(image_id, _)| !differing.contains(image_id));
    for (image_id, keys) in &written {
        for old in recorded.get(image_id).into_iter().flatten() {
            if keys.iter().all(|(key, _)| key != old) {
                remove(dataset, indexer, image_id, old)?;
            }
        }
        // Once the image is done, nothing says any more that they are its indexer's.
        let known = KnownArtifacts { recorded: &[], interrupted: interrupted.get(image_id) };
        for old in known.interrupted.into_iter().flatten().map(|(key, _)| key) {
            if keys.iter().all(|(key, _)| key != old) && is_interrupted(dataset, image_id, old, known)? {
                remove_unlinked(dataset, image_id, old)?;
            }
        }
    }
    if written.iter().all(|(_, keys)| keys.is_empty()) {
        return Ok(Written { outputs: HashMap::new(), differing });
    }
    std::thread::sleep(SETTLE);
    // All of it is on disk already, so that this takes no time.
    dataset.store().sync();
    let mut outputs = HashMap::with_capacity(written.len());
    for (image_id, keys) in written {
        let record = dataset.record(&image_id)?;
        let mut list = Vec::with_capacity(keys.len());
        for (key, sha256) in keys {
            let output = now(&record, &key)?;
            list.push(match output.found {
                // Another program has replaced it in the meantime. Ours is recorded, so that the change is noticed.
                InputState::File { size, sha256: ref found, .. } if *found != sha256 => {
                    Input { key, found: InputState::File { size, times: None, sha256 } }
                }
                _ => output,
            });
        }
        list.sort_unstable();
        outputs.insert(image_id, list);
    }
    Ok(Written { outputs, differing })
}

/// Removes an artifact, but nothing through a link.
fn remove_unlinked(dataset: &Dataset, image_id: &str, key: &str) -> Result<(), DatasetError> {
    match dataset.remove_artifact(image_id, key) {
        Err(DatasetError::Store(error @ StoreError::ThroughLink { .. })) => {
            tracing::warn!(image_id, key, %error, "is made no more; it is left");
            Ok(())
        }
        other => other,
    }
}

/// Removes earlier artifacts that are no longer made, if they are unchanged.
fn remove(dataset: &Dataset, indexer: &IndexerInfo, image_id: &str, key: &str) -> Result<(), DatasetError> {
    let record = dataset.record(image_id)?;
    let Some(text) = record.marker_bytes(&indexer.marker_name)? else { return Ok(()) };
    let receipt = crate::receipt::read(&text).and_then(|marker| marker.receipt);
    let output = receipt.and_then(|receipt| receipt.outputs.into_iter().find(|output| output.key == key));
    match output.map(|output| check_input(&record, indexer.own(), &output)) {
        Some(Ok(InputCheck::Same | InputCheck::SameContent(_))) => remove_unlinked(dataset, image_id, key),
        Some(Ok(InputCheck::Removed)) | None => Ok(()),
        _ => {
            tracing::warn!(image_id, key, "was changed by somebody else and is made no more; it is left");
            Ok(())
        }
    }
}
