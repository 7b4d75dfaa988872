//! How much of the machine an analysis may use, and when it must stop.
//! Owns: threads, the stop sign, progress. Never: what is computed.

use crate::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a caller allows an analysis, and wants to hear of it. No answer depends on it.
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
    /// So many threads, the caller's included (0 counts as 1); never stopped, nothing told.
    pub fn threads(threads: usize) -> Self {
        Self { threads: threads.max(1), cancelled: &|| false, progress: &|_| {} }
    }

    /// Asks this now and then, from any thread; once it is true the analysis gives up.
    pub fn cancelled(self, cancelled: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { cancelled, ..self }
    }

    /// Tells this how much is done, 0 to 1, from any thread.
    pub fn progress(self, progress: &'a (dyn Fn(f64) + Sync)) -> Self {
        Self { progress, ..self }
    }

    /// Does the tasks 0, 1 … on the threads; their results in the order of the tasks.
    ///
    /// `span` is the part of the whole that they are, for progress.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the caller asked to stop.
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
                scope.spawn(work);
            }
            work();
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().collect::<Option<Vec<T>>>().ok_or(Error::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in [0, 1, 2, 7] {
            let squares = Work::threads(threads).run(50, (0.0, 1.0), |index| index * index);
            assert_eq!(squares, Ok((0..50).map(|index| index * index).collect()), "{threads} threads");
        }
        assert_eq!(Work::threads(3).run(0, (0.0, 1.0), |index| index), Ok(vec![]));
    }

    #[test]
    fn a_stop_is_heard_and_progress_told() {
        let stop = || true;
        assert_eq!(Work::threads(2).cancelled(&stop).run(9, (0.0, 1.0), |index| index), Err(Error::Cancelled));
        let told = Mutex::new(Vec::new());
        let tell = |done: f64| told.lock().unwrap().push(done);
        Work::threads(1).progress(&tell).run(4, (0.5, 1.0), |_| ()).unwrap();
        assert_eq!(*told.lock().unwrap(), [0.625, 0.75, 0.875, 1.0]);
    }
}
