//! An ingest: several threads decode and encode recordings, one puts them into the dataset.
//!
//! Each thread decodes a recording, encodes its chunks and writes the image's whole folder aside. The caller's thread
//! publishes them in batches, one rename for each with one wait for the disk, and then adds them to the sources
//! table. A kill at any moment leaves whole images or none. Images that the table lacks are recognized by their
//! provenance.

use crate::error::IngestError;
use crate::find::FoundRecordings;
use crate::outcome::{FileOutcome, FileStatus, IngestObserver, IngestOutcome};
use crate::plan::{self, Action, Vanished};
use crate::prepare::{Prepared, prepare};
use crate::publish::Publisher;
use crate::tiff::Budget;
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_store::{Key, LockFailure, LockGuard, StoreError, lock_if_possible};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps a second ingest out.
const LOCK: &str = "index/kymhost/locks/ingest.lock";

/// Decoded pixels that all threads may hold at once; a larger recording is decoded alone.
const PIXEL_MEMORY: u64 = 2 << 30;

/// Recordings that may wait to be published: they are on disk, not in memory.
const RUN_AHEAD: usize = 64;

/// How an ingest is done.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Threads.
    pub jobs: usize,
    /// Whether changed recordings are read again.
    pub reingest: bool,
    /// Everything is read as usual, and nothing is written.
    pub dry_run: bool,
    /// Becomes true if it is to stop: what is done is published.
    pub stop: Arc<AtomicBool>,
}

/// Imports recordings into a dataset (`None` is only for a dry run: it does not exist yet).
///
/// # Errors
/// If the dataset cannot be read or written. What was published until then stays, and the next ingest goes on from
/// there.
pub fn ingest(
    dataset: Option<&Dataset>,
    found: FoundRecordings,
    options: &IngestOptions,
    observer: &mut dyn IngestObserver,
) -> Result<IngestOutcome, IngestError> {
    let _lock = match dataset {
        Some(dataset) if !options.dry_run => lock(dataset)?,
        _ => None,
    };
    let plan = plan::plan(dataset, &found)?;
    let mut files: Vec<FileOutcome> = found
        .recordings
        .iter()
        .zip(plan.actions.iter().zip(&plan.moved))
        .map(|(recording, (action, moved))| {
            let (image_id, what, why) = match action {
                Action::New => (None, FileStatus::NotDone, None),
                Action::Unchanged { image_id } => (Some(image_id), FileStatus::Unchanged, None),
                Action::Changed { image_id, why } => {
                    let what = if options.reingest { FileStatus::NotDone } else { FileStatus::SkippedChanged };
                    (Some(image_id), what, Some(why))
                }
            };
            let moved = moved.as_ref().map(|Vanished { path, image_id }| {
                format!(
                    "it has the size and time of {path}, which is gone and whose recording is {image_id}; if it was moved, \
                     the dataset has it twice"
                )
            });
            FileOutcome {
                path: recording.path.clone(),
                image_id: image_id.cloned(),
                what,
                why: why.cloned(),
                pixels: None,
                notes: moved.into_iter().collect(),
            }
        })
        .collect();
    let to_do: Vec<usize> =
        (0..files.len()).filter(|&at| files.get(at).is_some_and(|f| f.what == FileStatus::NotDone)).collect();
    observer.planned(to_do.len());
    let work = Work { dataset, found: &found, actions: &plan.actions, to_do: &to_do };
    match dataset.filter(|_| !options.dry_run) {
        Some(dataset) => {
            let mut publisher = Publisher::new(dataset, plan.unlisted);
            work.run(options, &mut |receiver| publisher.receive(receiver, observer, &mut files))?;
        }
        None => work.run(options, &mut |receiver| {
            looked_at(receiver, observer, &plan.actions, &mut files);
            Ok(())
        })?,
    }
    files.extend(found.failures.into_iter().map(|(path, error)| FileOutcome {
        path,
        image_id: None,
        what: FileStatus::Failed(error),
        why: None,
        pixels: None,
        notes: Vec::new(),
    }));
    Ok(IngestOutcome { files, vanished: plan.vanished, notes: found.notes })
}

fn lock(dataset: &Dataset) -> Result<Option<LockGuard>, IngestError> {
    let key = Key::new(LOCK).map_err(DatasetError::from)?;
    lock_if_possible(&**dataset.store(), &key, "ingesting", Duration::ZERO).map_err(|failure| match failure {
        LockFailure::Busy(holder) => IngestError::Locked { holder },
        LockFailure::Store(error) => DatasetError::from(error).into(),
    })
}

/// What the threads share.
struct Work<'a> {
    /// `None` if nothing is to be written, and there is none yet.
    dataset: Option<&'a Dataset>,
    found: &'a FoundRecordings,
    actions: &'a [Action],
    to_do: &'a [usize],
}

impl Work<'_> {
    /// Has the threads read; `receive` takes what they have.
    fn run(
        &self,
        options: &IngestOptions,
        receive: &mut dyn FnMut(&mpsc::Receiver<Prepared>) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        let jobs = options.jobs.clamp(1, self.to_do.len().max(1));
        let budget = Budget::new(PIXEL_MEMORY);
        let next = AtomicUsize::new(0);
        let ids = Mutex::new(HashSet::new());
        // Set if publishing failed: nobody needs what is still being read.
        let given_up = AtomicBool::new(false);
        let (sender, receiver) = mpsc::sync_channel::<Prepared>(RUN_AHEAD);
        std::thread::scope(|scope| {
            for started in 0..jobs {
                let (sender, budget, next, ids, given_up) = (sender.clone(), &budget, &next, &ids, &given_up);
                let work = move || {
                    while !options.stop.load(Ordering::Relaxed) && !given_up.load(Ordering::Relaxed) {
                        let Some(&at) = self.to_do.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let (Some(recording), Some(action)) = (self.found.recordings.get(at), self.actions.get(at))
                        else {
                            return;
                        };
                        let to = self.dataset.filter(|_| !options.dry_run);
                        let ready = prepare(self.dataset, to, recording, action, ids, budget);
                        if sender.send((at, ready)).is_err() {
                            return;
                        }
                    }
                };
                match std::thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(_) => {}
                    // Those that run do the work.
                    Err(_) if started > 0 => break,
                    Err(source) => {
                        let key = "a thread".to_owned();
                        return Err(DatasetError::from(StoreError::Io { action: "start", key, source }).into());
                    }
                }
            }
            drop(sender);
            let result = receive(&receiver);
            given_up.store(true, Ordering::Relaxed);
            // Releases threads that wait to send.
            drop(receiver);
            result
        })
    }
}

/// Takes what was read without being written.
fn looked_at(
    receiver: &mpsc::Receiver<Prepared>,
    observer: &mut dyn IngestObserver,
    actions: &[Action],
    files: &mut [FileOutcome],
) {
    for (at, ready) in receiver {
        observer.file_done(ready.is_err());
        let (Some(file), Some(action)) = (files.get_mut(at), actions.get(at)) else { continue };
        file.what = match ready {
            Err(error) => FileStatus::Failed(error),
            Ok(ready) => {
                file.pixels = Some(ready.pixels);
                file.notes.extend(ready.notes);
                if *action == Action::New { FileStatus::Added } else { FileStatus::Reingested }
            }
        };
    }
}
