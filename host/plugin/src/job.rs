//! The jobs of a pool and their answers, the same for processes and threads.
//!
//! Responsible for how a loaded indexer is asked about one image. It knows nothing of processes, threads and the order of
//! images.

use crate::error::{PluginError, Refusal};
use crate::failure::{Failure, FailureKind, failure_text};
use crate::indexer::{Indexer, Plugin, Produced};
use crate::produced;
use crate::workforce::{Extracted, MAX_PARAMS_BYTES, ParamsReading, Workforce};
use kymhost_dataset::{Dataset, DatasetError, Input, InputCheck, InputsError, Record, check_input, settle};
use kymhost_plugin_api::{Artifact, Json, RunMarker, canonical_json, params_hash};
use kymhost_store::shortages_seen;
use kymhost_store::text::listed;
use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

/// The longest wait at the end of an extraction for files that were written right before it. On a file system with fractions
/// of seconds, times can be trusted after that.
const MOST_WAIT: Duration = Duration::from_millis(20);
/// A message names no more keys.
const NAMED_KEYS: usize = 5;

/// One call to a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job<'a> {
    /// The params hashes of images; with the params themselves if true.
    Params(&'a [String], bool),
    OldMarker(&'a [Vec<u8>]),
    /// The rows of images, for some of them with the params that were just read.
    Extract(&'a [String], &'a Readings),
}

impl<'a> Job<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Params(images, _) | Self::Extract(images, _) => images.len(),
            Self::OldMarker(payloads) => payloads.len(),
        }
    }

    /// The part of it for a batch.
    pub(crate) fn part(&self, range: &Range<usize>) -> Self {
        match self {
            Self::Params(images, with_params) => {
                Self::Params(images.get(range.clone()).unwrap_or_default(), *with_params)
            }
            Self::Extract(images, readings) => Self::Extract(images.get(range.clone()).unwrap_or_default(), readings),
            Self::OldMarker(payloads) => Self::OldMarker(payloads.get(range.clone()).unwrap_or_default()),
        }
    }

    /// What a message calls the item at `index`.
    pub(crate) fn describe(&self, index: usize) -> String {
        match self {
            Self::Params(images, _) | Self::Extract(images, _) => {
                images.get(index).map_or_else(|| format!("image number {index}"), |id| format!("image {id}"))
            }
            Self::OldMarker(_) => format!("run marker number {index}"),
        }
    }
}

/// The answer for one image or payload.
#[derive(Debug)]
pub(crate) enum Answer {
    Params(ParamsReading),
    Rows(Extracted),
    Marker(Option<RunMarker>),
    Failed(Failure),
}

impl Answer {
    /// About how much memory it uses.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Rows(extracted) => {
                extracted.rows.get_array_memory_size()
                    + extracted.artifacts.iter().map(|made| made.payload.bytes()).sum::<usize>()
                    + reading_bytes(&extracted.params)
                    + inputs_bytes(&extracted.inputs)
            }
            Self::Params(reading) => reading_bytes(reading),
            Self::Failed(failure) => failure.message.len() + inputs_bytes(&failure.inputs),
            Self::Marker(_) => 0,
        }
    }
}

fn reading_bytes(reading: &ParamsReading) -> usize {
    reading.value.as_ref().map_or(0, String::len) + inputs_bytes(&reading.inputs)
}

fn inputs_bytes(inputs: &[Input]) -> usize {
    // An input's own fields, its key and two digests.
    inputs.iter().map(|input| size_of::<Input>() + input.key.len() + 128).sum()
}

/// Runs a job: answers each index once, in rising order, until `deliver` returns `false`.
pub(crate) trait Drive: Send {
    /// The artifacts that the indexer may make.
    fn declared(&self) -> &[Artifact];
    /// See [`Workforce::library_sha256`].
    fn library_sha256(&mut self) -> Result<String, PluginError>;
    fn drive(&mut self, job: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError>;
}

/// Known params of images, by image id.
pub(crate) type Readings = HashMap<String, ParamsReading>;

/// How much memory the readings of a plan may use. If a reading does not fit, the extraction asks for the hash again.
const MAX_READING_BYTES: usize = 128 << 20;
/// Readings with more inputs are not passed on: a request to a worker must stay far below the limit of a frame.
const MAX_READING_INPUTS: usize = 500;

/// The [`Workforce`] of anything that runs jobs.
///
/// It passes the params that a plan has read on to the extraction. See [`extract`] for why two evaluations of
/// `params` are enough for a stale image.
pub(crate) struct Pool<D> {
    drive: D,
    readings: Readings,
    held_bytes: usize,
}

impl<D: Drive> Pool<D> {
    pub(crate) fn new(drive: D) -> Self {
        Self { drive, readings: Readings::new(), held_bytes: 0 }
    }

    fn read(
        &mut self,
        image_ids: &[String],
        with_params: bool,
        sink: &mut dyn FnMut(usize, Result<ParamsReading, Failure>),
    ) -> Result<(), PluginError> {
        let Self { drive, readings, held_bytes } = self;
        drive.drive(Job::Params(image_ids, with_params), &mut |index, answer| {
            let answer = match answer {
                Answer::Params(reading) => Ok(reading),
                Answer::Failed(failure) => Err(failure),
                other => Err(unexpected(&other)),
            };
            if let (Ok(reading), Some(image)) = (&answer, image_ids.get(index)) {
                let bytes = image.len() + reading.hash.len() + reading_bytes(reading);
                if reading.inputs.len() <= MAX_READING_INPUTS && *held_bytes + bytes <= MAX_READING_BYTES {
                    *held_bytes += bytes;
                    readings.insert(image.clone(), reading.clone());
                } else {
                    readings.remove(image);
                }
            }
            sink(index, answer);
            true
        })
    }
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::new(FailureKind::Error, format!("the worker answered another question: {answer:?}"))
}

impl<D: Drive> Workforce for Pool<D> {
    fn library_sha256(&mut self) -> Result<String, PluginError> {
        self.drive.library_sha256()
    }

    fn params_hashes(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<ParamsReading, Failure>),
    ) -> Result<(), PluginError> {
        self.read(image_ids, false, sink)
    }

    fn params_readings(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<ParamsReading, Failure>),
    ) -> Result<(), PluginError> {
        self.read(image_ids, true, sink)
    }

    fn read_old_markers(
        &mut self,
        payloads: &[Vec<u8>],
        sink: &mut dyn FnMut(usize, Result<Option<RunMarker>, Failure>),
    ) -> Result<(), PluginError> {
        self.drive.drive(Job::OldMarker(payloads), &mut |index, answer| {
            let answer = match answer {
                Answer::Marker(marker) => Ok(marker),
                Answer::Failed(failure) => Err(failure),
                other => Err(unexpected(&other)),
            };
            sink(index, answer);
            true
        })
    }

    fn extract_rows(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<Extracted, Failure>) -> bool,
    ) -> Result<(), PluginError> {
        let declared = self.drive.declared().to_vec();
        // Used once: what is extracted later has readings of its own.
        self.held_bytes = 0;
        let readings = std::mem::take(&mut self.readings);
        self.drive.drive(Job::Extract(image_ids, &readings), &mut |index, answer| {
            let answer = match answer {
                Answer::Rows(extracted) => match produced::check(&declared, &extracted.artifacts) {
                    Ok(()) => Ok(extracted),
                    Err(failure) => {
                        let inputs = union(&extracted.params.inputs, &extracted.inputs);
                        Err(Failure { inputs, ..failure })
                    }
                },
                Answer::Failed(failure) => Err(failure),
                other => Err(unexpected(&other)),
            };
            sink(index, answer)
        })
    }
}

/// Threads for one extraction if `jobs` of them run at a time.
pub(crate) fn threads_per_extraction(jobs: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / jobs.max(1)).max(1)
}

/// The indexer with this name among those of a library.
pub(crate) fn pick(
    indexers: Vec<Box<dyn Indexer>>,
    library: &std::path::Path,
    name: &str,
) -> Result<Box<dyn Indexer>, PluginError> {
    indexers.into_iter().find(|indexer| indexer.info().name == name).ok_or_else(|| {
        let why = format!("the loaded library has no indexer '{name}': it was replaced after its card was read");
        Refusal::new("no_indexer", why, "run again").of(library)
    })
}

/// Refuses a library that is not the one whose card was read when the indexer was found.
pub(crate) fn check_version(plugin: &Plugin, name: &str, analysis_version: &str) -> Result<(), PluginError> {
    if plugin.indexer.name == name && plugin.indexer.analysis_version == analysis_version {
        return Ok(());
    }
    let why = format!(
        "its card said {} {}, the loaded library says {name} {analysis_version}: it was replaced in between",
        plugin.indexer.name, plugin.indexer.analysis_version
    );
    Err(Refusal::new("changed", why, "run again").of(&plugin.library).with_card(&plugin.card))
}

fn unreadable(error: &DatasetError) -> Failure {
    let kind = if error.is_shortage() { FailureKind::System } else { FailureKind::Unreadable };
    Failure::new(kind, error.to_string())
}

fn record(dataset: &Dataset, image: &str) -> Result<Record, Failure> {
    dataset.record(image).map_err(|error| unreadable(&error))
}

/// Why an image has no answer.
enum Halt {
    /// It failed.
    Failed(Failure),
    /// These keys changed meanwhile, so it may be tried again.
    Moved(Vec<String>, Vec<Input>),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One image's params hash, with the params themselves if `with_params`.
pub(crate) fn params(
    indexer: &dyn Indexer,
    dataset: &Dataset,
    image: &str,
    with_params: bool,
) -> Result<ParamsReading, Failure> {
    blaming_shortages(|| {
        let record = record(dataset, image)?;
        steadily(&|| false, || {
            read(indexer, &record, |watched| {
                let hash = indexer.params_hash(watched)?;
                let value = if with_params { indexer.params(watched).and_then(|params| kept(&params)) } else { None };
                Ok((hash, value))
            })
        })
    })
}

/// A failure for which the system was short of something is the system's, whatever the plugin made of it.
fn blaming_shortages<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let before = shortages_seen();
    work().map_err(
        |failure| {
            if shortages_seen() == before { failure } else { Failure { kind: FailureKind::System, ..failure } }
        },
    )
}

/// One image's rows, and its params, whose hash held all the time.
///
/// `known` is what was read of the params before, by the plan. It is used if nothing that it was made from has changed
/// since; otherwise the hash is asked for now.
///
/// For a stale image an indexer whose params hash is the hash of its params is asked for its params only twice: once by
/// the plan for the hash, once here, after the extraction, for the params themselves. Two are enough:
///
/// - The first one must come before the extraction, since the plan decides by it.
/// - The second one must come after it. It finds a hash that depends on more than the record, and it gives the value that
///   is kept. The host hashes that value itself. It asks the indexer for a hash only if the two hashes differ, because the
///   indexer may compute its own.
/// - A change in between is found without the indexer: at the end all inputs of both answers and of the rows are checked
///   again. If an input has the same content as when it was read, the answers still hold.
pub(crate) fn extract(
    indexer: &dyn Indexer,
    dataset: &Dataset,
    image: &str,
    known: Option<ParamsReading>,
    threads: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Extracted, Failure> {
    blaming_shortages(|| {
        let record = record(dataset, image)?;
        let mut known = known;
        steadily(cancelled, || {
            // If something moves during the first attempt, the second one asks for everything again.
            let held = known.take().and_then(|mut known| {
                let moved = look_again(indexer, &record, &mut known.inputs);
                moved.is_empty().then_some(known)
            });
            extract_once(indexer, &record, held, threads, cancelled)
        })
    })
}

/// Tries a second time if an input changed.
fn steadily<T>(
    cancelled: &(dyn Fn() -> bool + Sync),
    mut attempt: impl FnMut() -> Result<T, Halt>,
) -> Result<T, Failure> {
    let first = attempt();
    let second = match first {
        Err(Halt::Moved(..)) if !cancelled() => attempt(),
        other => other,
    };
    second.map_err(|halt| match halt {
        Halt::Failed(failure) => failure,
        Halt::Moved(keys, inputs) => {
            let message = format!(
                "{} changed during the extraction, twice; run again when no other program writes to the dataset",
                listed(&keys, NAMED_KEYS)
            );
            Failure { inputs, ..Failure::new(FailureKind::InputChanged, message) }
        }
    })
}

/// Asks the indexer for a hash and params, and records what it reads for them.
fn read(
    indexer: &dyn Indexer,
    record: &Record,
    ask: impl FnOnce(&Record) -> Result<(String, Option<String>), Failure>,
) -> Result<ParamsReading, Halt> {
    let watched = record.watched(indexer.info().own());
    let answer = ask(&watched);
    let inputs = inputs_of(&watched)?;
    match answer {
        Ok((hash, value)) => Ok(ParamsReading { hash, value, inputs }),
        Err(failure) => Err(blame(indexer, record, Failure { inputs, ..failure })),
    }
}

/// Params as text, if they are not too long to be kept.
fn kept(params: &Json) -> Option<String> {
    let text = canonical_json(params);
    (text.len() <= MAX_PARAMS_BYTES).then_some(text)
}

fn inputs_of(watched: &Record) -> Result<Vec<Input>, Halt> {
    watched.inputs().map_err(|error| match error {
        InputsError::Moved(keys) => Halt::Moved(keys, Vec::new()),
        other => Halt::Failed(Failure::new(FailureKind::Error, other.to_string())),
    })
}

/// Decides whether a failure may come from inputs that changed.
fn blame(indexer: &dyn Indexer, record: &Record, failure: Failure) -> Halt {
    let mut now = failure.inputs.clone();
    match look_again(indexer, record, &mut now) {
        moved if moved.is_empty() => Halt::Failed(failure),
        moved => Halt::Moved(moved, failure.inputs),
    }
}

fn extract_once(
    indexer: &dyn Indexer,
    record: &Record,
    known: Option<ParamsReading>,
    threads: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Extracted, Halt> {
    let before = match known {
        Some(known) => known,
        None => read(indexer, record, |watched| Ok((indexer.params_hash(watched)?, None)))?,
    };
    let watched = record.watched(indexer.info().own());
    let produced = indexer.extract(&watched, threads, cancelled);
    let mut inputs = inputs_of(&watched)?;
    let Produced { rows, artifacts } = match produced {
        Ok(produced) => produced,
        Err(failure) => {
            return Err(blame(indexer, record, Failure { inputs: union(&before.inputs, &inputs), ..failure }));
        }
    };
    let after = read(indexer, record, |watched| {
        let params = indexer.params(watched);
        let hash = match params.as_ref().map(params_hash) {
            Some(hash) if hash == before.hash => hash,
            _ => indexer.params_hash(watched)?,
        };
        Ok((hash, params.as_ref().and_then(kept)))
    });
    let after = match after {
        Ok(after) => after,
        // Perhaps only the inputs of the first answer show a change.
        Err(Halt::Failed(failure)) => {
            let read = union(&union(&before.inputs, &inputs), &failure.inputs);
            return Err(blame(indexer, record, Failure { inputs: read, ..failure }));
        }
        Err(moved) => return Err(moved),
    };
    // The inputs of both answers are compared with the files as they are now. If both are the same as now, they are the same
    // as each other.
    let (mut earlier, mut later) = (before.inputs, after.inputs);
    let mut moved = look_again(indexer, record, &mut earlier);
    moved.extend(look_again(indexer, record, &mut inputs));
    moved.extend(look_again(indexer, record, &mut later));
    if moved.is_empty() && settle(record, earlier.iter().chain(&inputs), MOST_WAIT) {
        moved.extend(look_again(indexer, record, &mut earlier));
        moved.extend(look_again(indexer, record, &mut inputs));
    }
    if !moved.is_empty() {
        moved.sort_unstable();
        moved.dedup();
        return Err(Halt::Moved(moved, union(&earlier, &inputs)));
    }
    let params_inputs = union(&earlier, &later);
    if after.hash != before.hash {
        let message = format!(
            "params_hash gave two answers for the same inputs: {}, then {}; it must depend only on the record",
            before.hash, after.hash
        );
        let failure = Failure::new(FailureKind::Error, failure_text(&message));
        return Err(Halt::Failed(Failure { inputs: union(&params_inputs, &inputs), ..failure }));
    }
    let params = ParamsReading { hash: after.hash, value: after.value, inputs: params_inputs };
    Ok(Extracted { rows, params, inputs, artifacts })
}

/// Merges two lists that are sorted by key. If both have a key, the first one counts.
pub(crate) fn union(first: &[Input], second: &[Input]) -> Vec<Input> {
    let more = |input: &&Input| first.binary_search_by(|known| known.key.cmp(&input.key)).is_err();
    let mut all: Vec<Input> = first.iter().chain(second.iter().filter(more)).cloned().collect();
    all.sort_unstable();
    all
}

/// Checks inputs again. Returns the keys with other content now, and updates the record of the others.
fn look_again(indexer: &dyn Indexer, record: &Record, inputs: &mut [Input]) -> Vec<String> {
    let mut moved = Vec::new();
    for input in inputs {
        match check_input(record, indexer.info().own(), input) {
            Ok(InputCheck::Same) => {}
            Ok(InputCheck::SameContent(now)) => *input = now,
            Ok(_) | Err(_) => moved.push(input.key.clone()),
        }
    }
    moved
}

#[cfg(test)]
mod tests;
