//! Work on several threads, as many as the system gives: where it gives none, the calling thread does all.
//!
//! This file must not know what the work is. A panic of any thread is one of the caller.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, ScopedJoinHandle, scope};

/// Runs `work` on the calling thread and on up to `others` more, and gives what each of them made. `work` shares out
/// what there is to do among its calls.
pub fn on_threads<T: Send>(others: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    scope(|scope| {
        let mut started: Vec<ScopedJoinHandle<'_, T>> = Vec::with_capacity(others);
        for _ in 0..others {
            match Builder::new().spawn_scoped(scope, &work) {
                Ok(thread) => started.push(thread),
                Err(error) => {
                    tracing::debug!("{} of {others} threads started: {error}", started.len());
                    break;
                }
            }
        }
        let mut made = vec![work()];
        made.extend(started.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))));
        made
    })
}

/// Runs `there` on a thread of its own while `here` runs on the calling one; one after the other without a thread.
pub fn beside<A: Send, B>(there: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    // Kept here, because a thread that cannot be started drops its work.
    let kept = Mutex::new(Some(there));
    let take = || kept.lock().unwrap_or_else(PoisonError::into_inner).take();
    scope(|scope| {
        let started = Builder::new().spawn_scoped(scope, || take().map(|there| there()));
        let b = here();
        let a = match started {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => {
                tracing::debug!("a thread could not be started: {error}");
                take().map(|there| there())
            }
        };
        match a {
            Some(a) => (a, b),
            // It is taken once: by the thread, or here if there is no thread.
            None => unreachable!("work is taken once"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn on_threads_shares_all_work() {
        for others in [0, 1, 5] {
            let next = AtomicUsize::new(0);
            let work = || std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < 100));
            let mut done: Vec<usize> = on_threads(others, || work().collect::<Vec<_>>()).concat();
            done.sort_unstable();
            assert_eq!(done, (0..100).collect::<Vec<_>>(), "{others}");
        }
    }

    #[test]
    fn beside_gives_both_results() {
        assert_eq!(beside(|| "there", || 1), ("there", 1));
        let panicked = std::panic::catch_unwind(|| beside(|| panic!("over there"), || 1));
        assert!(panicked.is_err());
    }
}
