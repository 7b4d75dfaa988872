//! What a pool is asked to do, and what comes back: the same for processes and threads.
//!
//! Owns: the questions, their answers, how one image is done with an indexer in hand. Never: processes, threads, order.

use super::made;
use super::refusal::Refusal;
use super::{Extracted, Failure, FailureKind, Hashed, Indexer, Plugin, PluginError, Produced, Workforce, failure_text};
use kymhost_dataset::{Dataset, DatasetError, Held, Input, InputsError, Record, check_input, settles_in};
use kymhost_plugin_api::{Artifact, RunMarker};
use std::ops::Range;
use std::time::Duration;

/// How long the end of an extraction waits, at most, for files that were written right before it: as long as the times
/// of a file system that keeps fractions of seconds need to be trusted.
const MOST_WAIT: Duration = Duration::from_millis(20);
/// So many keys are named in a message.
const NAMED_KEYS: usize = 5;

/// One call to a pool.
#[derive(Debug, Clone, Copy)]
pub(super) enum Job<'a> {
    ParamsHash(&'a [String]),
    OldMarker(&'a [Vec<u8>]),
    Extract(&'a [String]),
}

impl<'a> Job<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::ParamsHash(images) | Self::Extract(images) => images.len(),
            Self::OldMarker(payloads) => payloads.len(),
        }
    }

    /// The part of it that a batch covers.
    pub(super) fn part(&self, range: &Range<usize>) -> Self {
        match self {
            Self::ParamsHash(images) => Self::ParamsHash(images.get(range.clone()).unwrap_or_default()),
            Self::Extract(images) => Self::Extract(images.get(range.clone()).unwrap_or_default()),
            Self::OldMarker(payloads) => Self::OldMarker(payloads.get(range.clone()).unwrap_or_default()),
        }
    }

    /// What a failure message calls the thing at `index`.
    pub(super) fn describe(&self, index: usize) -> String {
        match self {
            Self::ParamsHash(images) | Self::Extract(images) => {
                images.get(index).map_or_else(|| format!("image number {index}"), |id| format!("image {id}"))
            }
            Self::OldMarker(_) => format!("run marker number {index}"),
        }
    }
}

/// The answer for one image or payload.
#[derive(Debug)]
pub(super) enum Answer {
    Hash(Hashed),
    Rows(Extracted),
    Marker(Option<RunMarker>),
    Failed(Failure),
}

impl Answer {
    /// Roughly how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rows(extracted) => {
                extracted.rows.get_array_memory_size()
                    + extracted.artifacts.iter().map(|made| made.payload.bytes()).sum::<usize>()
                    + hashed_bytes(&extracted.params)
                    + inputs_bytes(&extracted.inputs)
            }
            Self::Hash(hashed) => hashed_bytes(hashed),
            Self::Failed(failure) => failure.message.len() + inputs_bytes(&failure.inputs),
            Self::Marker(_) => 0,
        }
    }
}

fn hashed_bytes(hashed: &Hashed) -> usize {
    hashed.params.as_ref().map_or(0, String::len) + inputs_bytes(&hashed.inputs)
}

fn inputs_bytes(inputs: &[Input]) -> usize {
    // An input's own fields, its key and two digests.
    inputs.iter().map(|input| size_of::<Input>() + input.key.len() + 128).sum()
}

/// What runs a job: answers each index once, in rising order, until it is told to stop (`false`).
pub(super) trait Drive: Send {
    /// The artifacts that the indexer may make.
    fn declared(&self) -> &[Artifact];
    /// See [`Workforce::library_sha256`].
    fn library_sha256(&mut self) -> Result<String, PluginError>;
    fn drive(&mut self, job: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError>;
}

/// The face that the engine sees of anything that runs jobs.
pub(super) struct Pool<D>(pub(super) D);

fn unexpected(answer: &Answer) -> Failure {
    Failure::new(FailureKind::Error, format!("the worker answered another question: {answer:?}"))
}

impl<D: Drive> Workforce for Pool<D> {
    fn library_sha256(&mut self) -> Result<String, PluginError> {
        self.0.library_sha256()
    }

    fn params_hashes(
        &mut self,
        image_ids: &[String],
        sink: &mut dyn FnMut(usize, Result<Hashed, Failure>),
    ) -> Result<(), PluginError> {
        self.0.drive(Job::ParamsHash(image_ids), &mut |index, answer| {
            let answer = match answer {
                Answer::Hash(hash) => Ok(hash),
                Answer::Failed(failure) => Err(failure),
                other => Err(unexpected(&other)),
            };
            sink(index, answer);
            true
        })
    }

    fn read_old_markers(
        &mut self,
        payloads: &[Vec<u8>],
        sink: &mut dyn FnMut(usize, Result<Option<RunMarker>, Failure>),
    ) -> Result<(), PluginError> {
        self.0.drive(Job::OldMarker(payloads), &mut |index, answer| {
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
        let declared = self.0.declared().to_vec();
        self.0.drive(Job::Extract(image_ids), &mut |index, answer| {
            let answer = match answer {
                Answer::Rows(extracted) => match made::check(&declared, &extracted.artifacts) {
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

/// Threads that one extraction may use when so many run at once.
pub(super) fn threads_per_extraction(jobs: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / jobs.max(1)).max(1)
}

/// The indexer that was asked for among those that a library holds.
pub(super) fn pick(
    indexers: Vec<Box<dyn Indexer>>,
    library: &std::path::Path,
    name: &str,
) -> Result<Box<dyn Indexer>, PluginError> {
    indexers.into_iter().find(|indexer| indexer.info().name == name).ok_or_else(|| {
        let why = format!("it has no indexer '{name}' when loaded: it was replaced after its card was read");
        Refusal::new("no_indexer", why, "run again").of(library)
    })
}

/// The error for a library that is another one than its card was when the indexer was found.
pub(super) fn check_version(plugin: &Plugin, name: &str, analysis_version: &str) -> Result<(), PluginError> {
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
    Failure::new(FailureKind::Unreadable, error.to_string())
}

fn record(dataset: &Dataset, image: &str) -> Result<Record, Failure> {
    dataset.record(image).map_err(|error| unreadable(&error))
}

/// Why an image has no answer yet.
enum Halt {
    /// For good.
    Failed(Failure),
    /// What is read of it changed meanwhile: these keys. It may be tried again.
    Moved(Vec<String>, Vec<Input>),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One image's params hash.
pub(super) fn params_hash(indexer: &dyn Indexer, dataset: &Dataset, image: &str) -> Result<Hashed, Failure> {
    let record = record(dataset, image)?;
    steadily(&|| false, || hash(indexer, &record, true))
}

/// One image's rows, and the params hash that held all the time.
pub(super) fn extract(
    indexer: &dyn Indexer,
    dataset: &Dataset,
    image: &str,
    threads: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Extracted, Failure> {
    let record = record(dataset, image)?;
    steadily(cancelled, || extract_once(indexer, &record, threads, cancelled))
}

/// Tries once more what failed because something moved.
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
                "{} changed while the image was done, and again when it was tried once more; run again when no other program writes to it",
                some_of(&keys)
            );
            Failure { inputs, ..Failure::new(FailureKind::InputChanged, message) }
        }
    })
}

/// The first few keys, for a message.
fn some_of(keys: &[String]) -> String {
    let named = keys.get(..keys.len().min(NAMED_KEYS)).unwrap_or_default().join(", ");
    match keys.len().saturating_sub(NAMED_KEYS) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// One image's params hash as the indexer gives it; `with_params`: and its params.
fn hash(indexer: &dyn Indexer, record: &Record, with_params: bool) -> Result<Hashed, Halt> {
    let watched = record.watched(indexer.info().own());
    let params_hash = indexer.params_hash(&watched);
    let params = if with_params && params_hash.is_ok() { indexer.params(&watched) } else { None };
    let inputs = inputs_of(&watched)?;
    match params_hash {
        Ok(params_hash) => Ok(Hashed { params_hash, params, inputs }),
        Err(failure) => Err(blame(indexer, record, Failure { inputs, ..failure })),
    }
}

fn inputs_of(watched: &Record) -> Result<Vec<Input>, Halt> {
    watched.inputs().map_err(|error| match error {
        InputsError::Moved(keys) => Halt::Moved(keys, Vec::new()),
        other => Halt::Failed(Failure::new(FailureKind::Error, other.to_string())),
    })
}

/// A failure is the inputs' where they did not hold still.
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
    threads: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Extracted, Halt> {
    let mut params = hash(indexer, record, true)?;
    let watched = record.watched(indexer.info().own());
    let produced = indexer.extract(&watched, threads, cancelled);
    let mut inputs = inputs_of(&watched)?;
    let Produced { rows, artifacts } = match produced {
        Ok(produced) => produced,
        Err(failure) => {
            return Err(blame(indexer, record, Failure { inputs: union(&params.inputs, &inputs), ..failure }));
        }
    };
    let again = match hash(indexer, record, false) {
        Ok(again) => again,
        // What moved may be seen in the first answer only.
        Err(Halt::Failed(failure)) => {
            let read = union(&union(&params.inputs, &inputs), &failure.inputs);
            return Err(blame(indexer, record, Failure { inputs: read, ..failure }));
        }
        Err(moved) => return Err(moved),
    };
    // What the second answer was made from is compared with the first one by looking at both now: two that are as
    // they are now are alike.
    let mut known = std::mem::take(&mut params.inputs);
    let mut later = again.inputs;
    let mut moved = look_again(indexer, record, &mut known);
    moved.extend(look_again(indexer, record, &mut inputs));
    moved.extend(look_again(indexer, record, &mut later));
    if moved.is_empty() && wait_for_young(record, [&known, &inputs]) {
        moved.extend(look_again(indexer, record, &mut known));
        moved.extend(look_again(indexer, record, &mut inputs));
    }
    if !moved.is_empty() {
        moved.sort_unstable();
        moved.dedup();
        return Err(Halt::Moved(moved, union(&known, &inputs)));
    }
    params.inputs = union(&known, &later);
    if again.params_hash != params.params_hash {
        let message = format!(
            "params_hash gave two answers over the same inputs: {}, then {}; it must depend on nothing but the record",
            params.params_hash, again.params_hash
        );
        let failure = Failure::new(FailureKind::Error, failure_text(&message));
        return Err(Halt::Failed(Failure { inputs: union(&params.inputs, &inputs), ..failure }));
    }
    Ok(Extracted { rows, params, inputs, artifacts })
}

/// Two lists sorted by key as one; where both have a key, the first one's.
pub(super) fn union(first: &[Input], second: &[Input]) -> Vec<Input> {
    let more = |input: &&Input| first.binary_search_by(|known| known.key.cmp(&input.key)).is_err();
    let mut all: Vec<Input> = first.iter().chain(second.iter().filter(more)).cloned().collect();
    all.sort_unstable();
    all
}

/// Looks at inputs again: which have another content now. The others are as they would be recorded now.
fn look_again(indexer: &dyn Indexer, record: &Record, inputs: &mut [Input]) -> Vec<String> {
    let mut moved = Vec::new();
    for input in inputs {
        match check_input(record, indexer.info().own(), input) {
            Ok(Held::Same) => {}
            Ok(Held::SameContent(now)) => *input = now,
            Ok(_) | Err(_) => moved.push(input.key.clone()),
        }
    }
    moved
}

/// Waits until the times of what was written a moment ago can be trusted, if that is soon; whether there was any such thing.
fn wait_for_young(record: &Record, inputs: [&Vec<Input>; 2]) -> bool {
    let young = inputs.into_iter().flatten().filter_map(|input| settles_in(record, input));
    match young.filter(|wait| *wait <= MOST_WAIT).max() {
        Some(wait) => {
            std::thread::sleep(wait);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Made;
    use super::*;
    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use kymhost_dataset::Payload;
    use kymhost_plugin_api::ArtifactKind;
    use std::sync::Arc;

    /// Workers that answer whatever they like, for an indexer that declares one artifact.
    struct Spoilt {
        declared: [Artifact; 1],
        answers: Vec<Vec<&'static str>>,
    }

    impl Drive for Spoilt {
        fn declared(&self) -> &[Artifact] {
            &self.declared
        }

        fn library_sha256(&mut self) -> Result<String, PluginError> {
            Ok(String::new())
        }

        fn drive(&mut self, _: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError> {
            for (index, names) in self.answers.iter().enumerate() {
                let made = |name: &&str| Made { name: (*name).to_owned(), payload: Payload::Json(b"1".to_vec()) };
                let extracted = Extracted {
                    rows: RecordBatch::new_empty(Arc::new(Schema::empty())),
                    params: Hashed::of("h"),
                    inputs: Vec::new(),
                    artifacts: names.iter().map(made).collect(),
                };
                deliver(index, Answer::Rows(extracted));
            }
            Ok(())
        }
    }

    /// Whatever a spoilt worker names, the host takes what the indexer declares.
    #[test]
    fn artifacts_of_a_spoilt_worker_are_refused_by_the_host() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&["own/json"], None),
            (&["somebody/params"], Some("the JSON artifact 'somebody/params', which its WRITES does not name")),
            (&["own/json", "maker_run"], Some("'maker_run'")),
            (&["own/json", "/own/json"], Some("'/own/json' twice")),
        ];
        let declared = [Artifact::new("own/json", ArtifactKind::Json)];
        let answers = cases.iter().map(|(names, _)| names.to_vec()).collect();
        let mut found = Vec::new();
        let images = vec![String::new(); cases.len()];
        Pool(Spoilt { declared, answers })
            .extract_rows(&images, &mut |_, answer| {
                found.push(answer);
                true
            })
            .unwrap();
        assert_eq!(found.len(), cases.len());
        for (found, (names, expected)) in found.iter().zip(cases) {
            match (found, expected) {
                (Ok(_), None) => {}
                (Err(failure), Some(words)) => {
                    assert_eq!(failure.kind, FailureKind::Error);
                    assert!(failure.message.contains(words), "{}", failure.message);
                }
                (found, _) => panic!("{names:?}: {found:?}"),
            }
        }
    }
}
