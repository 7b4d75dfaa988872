//! A workforce of threads of this process: for plugins under a debugger.
//!
//! Responsible for loading the library here and for giving images to threads. It does not protect the program from a plugin
//! that crashes, hangs or uses all memory: worker processes do.

use crate::error::PluginError;
use crate::failure::{Failure, FailureKind};
use crate::identity::Identity;
use crate::indexer::{Indexer, Plugin};
use crate::job::{self, Answer, Drive, Job, check_version, pick, threads_per_extraction};
use crate::library::load_identified;
use crate::schedule::Schedule;
use crate::workforce::PoolOptions;
use kymhost_dataset::Dataset;
use kymhost_plugin_api::Artifact;
use kymhost_store::SHORTAGE_HELP;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many images a thread takes at a time if each is little work.
const PORTION: usize = 64;
/// How often it checks whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Threads for one indexer over one dataset.
pub(crate) struct Threads {
    plugin: Plugin,
    dataset: Dataset,
    options: PoolOptions,
    /// Threads for one extraction. Computed once, because it takes a dozen system calls.
    threads: usize,
    indexer: Option<Box<dyn Indexer>>,
    identity: Identity,
}

impl Threads {
    /// Loads nothing yet.
    pub(crate) fn new(plugin: Plugin, dataset: Dataset, options: PoolOptions) -> Self {
        if options.timeout.is_some() || options.max_memory.is_some() {
            tracing::warn!("--timeout and --max-memory have no effect with --in-process: a thread cannot be ended");
        }
        let dataset = dataset.with_missing_chunks(options.missing_chunks);
        let threads = threads_per_extraction(options.jobs);
        let identity = Identity::of(plugin.pin.as_ref());
        Self { plugin, dataset, options, threads, indexer: None, identity }
    }

    fn load(&mut self) -> Result<(), PluginError> {
        if self.indexer.is_none() {
            let (indexers, file) = load_identified(&self.plugin.library, self.identity.pin().as_ref())?;
            self.identity.check(&self.plugin.library, file)?;
            let indexer = pick(indexers, &self.plugin.library, &self.plugin.indexer.name)?;
            let info = indexer.info();
            check_version(&self.plugin, &info.name, &info.analysis_version)?;
            self.indexer = Some(indexer);
        }
        Ok(())
    }

    fn answer(&self, indexer: &dyn Indexer, job: &Job<'_>, index: usize, cancelled: &AtomicBool) -> Answer {
        let done = catch_unwind(AssertUnwindSafe(|| match job {
            Job::Params(images, with_params) => {
                let read = |image: &String| job::params(indexer, &self.dataset, image, *with_params);
                images.get(index).map(|image| read(image).map(Answer::Params))
            }
            Job::OldMarker(payloads) => {
                payloads.get(index).map(|payload| indexer.read_old_marker(payload).map(Answer::Marker))
            }
            Job::Extract(images, readings) => images.get(index).map(|image| {
                let cancelled = || cancelled.load(Ordering::Relaxed);
                let known = readings.get(image).cloned();
                job::extract(indexer, &self.dataset, image, known, self.threads, &cancelled).map(Answer::Rows)
            }),
        }));
        match done {
            Ok(Some(Ok(answer))) => answer,
            Ok(Some(Err(failure))) => Answer::Failed(failure),
            Ok(None) => {
                Answer::Failed(Failure::new(FailureKind::Error, format!("there is no {}", job.describe(index))))
            }
            // A panic of the plugin is caught on its side, so this is one of the host.
            Err(_) => {
                let message = format!("kymhost itself panicked in {}", job.describe(index));
                Answer::Failed(Failure::new(FailureKind::Panic, message))
            }
        }
    }
}

/// The state that the threads of one call share.
struct Shared {
    ledger: Mutex<Schedule<Answer>>,
    changed: Condvar,
    cancelled: AtomicBool,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Schedule<Answer>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, ledger: MutexGuard<'a, Schedule<Answer>>) -> MutexGuard<'a, Schedule<Answer>> {
        self.changed.wait(ledger).unwrap_or_else(PoisonError::into_inner)
    }

    /// A signal that sets the stop flag wakes no thread.
    fn wait_a_little<'a>(&self, ledger: MutexGuard<'a, Schedule<Answer>>) -> MutexGuard<'a, Schedule<Answer>> {
        self.changed.wait_timeout(ledger, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The part of the calling thread: passes answers on in order, until all are passed on or it has to stop.
    fn deliver(&self, stop: &AtomicBool, deliver: &mut dyn FnMut(usize, Answer) -> bool) {
        let mut ledger = self.ledger();
        while !ledger.is_done() {
            let mut answers: Vec<_> = std::iter::from_fn(|| ledger.next_answer()).collect();
            if stop.load(Ordering::Relaxed) {
                answers.extend(ledger.stop());
            } else if answers.is_empty() {
                ledger = self.wait_a_little(ledger);
                continue;
            }
            drop(ledger);
            // Wakes those that wait because too many answers were held back.
            self.changed.notify_all();
            for (index, answer) in answers {
                if !deliver(index, answer) && !stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            ledger = self.ledger();
        }
    }
}

/// Stops the threads, also if the sink panics.
struct StopOnDrop<'a>(&'a Shared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // Under the lock, so that no thread is between its check and its wait.
        let _ledger = self.0.ledger();
        self.0.cancelled.store(true, Ordering::Relaxed);
        self.0.changed.notify_all();
    }
}

impl Drive for Threads {
    fn declared(&self) -> &[Artifact] {
        &self.plugin.indexer.writes
    }

    fn library_sha256(&mut self) -> Result<String, PluginError> {
        self.identity.sha256(&self.plugin.library)
    }

    fn drive(&mut self, job: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError> {
        if job.len() == 0 {
            return Ok(());
        }
        self.load()?;
        let Some(indexer) = self.indexer.as_deref() else { return Ok(()) };
        let portion = if matches!(job, Job::Extract(..)) { 1 } else { PORTION };
        let shared = Shared {
            ledger: Mutex::new(Schedule::new(job.len())),
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
        };
        let work = || {
            let mut ledger = shared.ledger();
            while !shared.cancelled.load(Ordering::Relaxed) && ledger.remaining() > 0 {
                let Some(batch) = ledger.take(portion, false) else {
                    ledger = shared.wait(ledger);
                    continue;
                };
                drop(ledger);
                let mut answers = Vec::with_capacity(batch.range.len());
                for index in batch.range {
                    if shared.cancelled.load(Ordering::Relaxed) {
                        return;
                    }
                    answers.push((index, self.answer(indexer, &job, index, &shared.cancelled)));
                }
                // All together: waking the other side for each answer costs more than a small image.
                ledger = shared.ledger();
                for (index, answer) in answers {
                    let bytes = answer.bytes();
                    ledger.answer(index, answer, bytes);
                }
                shared.changed.notify_all();
            }
        };

        let count = self.options.jobs.max(1).min(job.len().div_ceil(portion));
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&shared);
            for started in 0..count {
                match std::thread::Builder::new().spawn_scoped(scope, work) {
                    Ok(_) => {}
                    // Those that run do the work.
                    Err(_) if started > 0 => break,
                    Err(error) => {
                        let why = format!("the system refused a thread: {error}");
                        return Err(PluginError::Worker { why, help: Some(SHORTAGE_HELP.to_owned()) });
                    }
                }
            }
            shared.deliver(&self.options.stop, deliver);
            Ok(())
        })
    }
}
