//! Threads, cancellation and progress of an analysis.
//!
//! This file runs tasks. It does not know what they compute.

use crate::{AnalysisError, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many threads an analysis may use, how it is cancelled, and who hears of its progress. No result depends on it.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    threads: usize,
    cancelled: &'a (dyn Fn() -> bool + Sync),
    progress: &'a (dyn Fn(f64) + Sync),
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<'a> Work<'a> {
    /// Uses this number of threads, including the caller's (0 counts as 1). It is never cancelled and reports no
    /// progress.
    pub fn threads(threads: usize) -> Self {
        Self { threads: threads.max(1), cancelled: &|| false, progress: &|_| {} }
    }

    /// Calls `cancelled` now and then, from any thread. Once it returns `true` the analysis stops.
    pub fn cancelled(self, cancelled: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { cancelled, ..self }
    }

    /// Calls `progress` with the fraction that is done, 0 to 1, from any thread.
    pub fn progress(self, progress: &'a (dyn Fn(f64) + Sync)) -> Self {
        Self { progress, ..self }
    }

    /// Runs the tasks 0, 1 … on the threads, and returns their results in the order of the tasks.
    ///
    /// `span` is the part of the whole work that these tasks are, for progress.
    ///
    /// # Errors
    /// [`AnalysisError::Cancelled`] if the caller asked to stop.
    pub(crate) fn run<T: Send>(
        &self,
        tasks: usize,
        span: (f64, f64),
        task: impl Fn(usize) -> T + Sync,
    ) -> Result<Vec<T>> {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<T>>> = Mutex::new((0..tasks).map(|_| None).collect());
        let work = || {
            while !(self.cancelled)() {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    break;
                }
                let result = task(index);
                results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                (self.progress)(span.0 + (span.1 - span.0) * (index + 1) as f64 / tasks as f64);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.min(tasks) {
                // Without a thread more, those there are do the work.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().collect::<Option<Vec<T>>>().ok_or(AnalysisError::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results are in the order of the tasks for any number of threads.
    #[test]
    fn run_any_threads_keeps_order() {
        for threads in [0, 1, 2, 7] {
            let squares = Work::threads(threads).run(50, (0.0, 1.0), |index| index * index);
            assert_eq!(squares, Ok((0..50).map(|index| index * index).collect()), "{threads} threads");
        }
        assert_eq!(Work::threads(3).run(0, (0.0, 1.0), |index| index), Ok(vec![]));
    }

    /// A cancelled run is an error, and progress is reported within its span.
    #[test]
    fn run_stops_and_reports_progress() {
        let stop = || true;
        assert_eq!(Work::threads(2).cancelled(&stop).run(9, (0.0, 1.0), |index| index), Err(AnalysisError::Cancelled));
        let reported = Mutex::new(Vec::new());
        let report = |done: f64| reported.lock().unwrap().push(done);
        Work::threads(1).progress(&report).run(4, (0.5, 1.0), |_| ()).unwrap();
        assert_eq!(*reported.lock().unwrap(), [0.625, 0.75, 0.875, 1.0]);
    }
}
