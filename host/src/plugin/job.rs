//! What a pool is asked to do, and what comes back: the same for processes and threads.
//!
//! Owns: the questions, their answers, how one image is done with an indexer in hand. Never: processes, threads, order.

use super::{Extracted, Failure, FailureKind, Hashed, Indexer, Plugin, PluginError, Workforce};
use crate::dataset::{Dataset, DatasetError, Record};
use kymhost_plugin_api::RunMarker;
use std::ops::Range;

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
            Self::Rows(extracted) => extracted.rows.get_array_memory_size(),
            Self::Failed(failure) => failure.message.len(),
            Self::Hash(_) | Self::Marker(_) => 0,
        }
    }
}

/// What runs a job: answers each index once, in rising order, until it is told to stop (`false`).
pub(super) trait Drive: Send {
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
        self.0.drive(Job::Extract(image_ids), &mut |index, answer| {
            let answer = match answer {
                Answer::Rows(extracted) => Ok(extracted),
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
    indexers.into_iter().find(|indexer| indexer.info().name == name).ok_or_else(|| PluginError::Refused {
        library: library.display().to_string(),
        code: "no_indexer",
        why: format!("it has no indexer '{name}' once loaded; it was replaced since its card was read: run again"),
    })
}

/// The error for a library that is another one than its card was when the indexer was found.
pub(super) fn check_version(plugin: &Plugin, name: &str, analysis_version: &str) -> Result<(), PluginError> {
    if plugin.indexer.name == name && plugin.indexer.analysis_version == analysis_version {
        return Ok(());
    }
    Err(PluginError::Refused {
        library: plugin.library.display().to_string(),
        code: "changed",
        why: format!(
            "its card said {} {}, the loaded library says {name} {analysis_version}; it was replaced meanwhile: run again",
            plugin.indexer.name, plugin.indexer.analysis_version
        ),
    })
}

fn unreadable(error: &DatasetError) -> Failure {
    Failure::new(FailureKind::Unreadable, error.to_string())
}

fn record(dataset: &Dataset, image: &str) -> Result<Record, Failure> {
    dataset.record(image).map_err(|error| unreadable(&error))
}

/// One image's params hash.
pub(super) fn params_hash(indexer: &dyn Indexer, dataset: &Dataset, image: &str) -> Result<Hashed, Failure> {
    Ok(Hashed::of(indexer.params_hash(&record(dataset, image)?)?))
}

/// One image's rows, and the params hash that held right before.
pub(super) fn extract(
    indexer: &dyn Indexer,
    dataset: &Dataset,
    image: &str,
    threads: usize,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Extracted, Failure> {
    let record = record(dataset, image)?;
    let params_hash = indexer.params_hash(&record)?;
    let rows = indexer.extract_rows(&record, threads, cancelled)?;
    Ok(Extracted { rows, params: Hashed::of(params_hash), inputs: Vec::new() })
}
