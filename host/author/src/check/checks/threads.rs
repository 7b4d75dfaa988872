//! The check that an extraction uses no more threads than it may.

use crate::check::report::{Judged, Outcome};
use crate::check::subject::Subject;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread may take to end after the extractions.
const TO_BE_GONE: Duration = Duration::from_millis(500);

pub(crate) fn threads(subject: &Subject<'_>) -> Judged {
    let (stop, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    // This starts the threads that kymhost itself needs to read arrays.
    for record in subject.records()? {
        let _ = record.pixels();
    }
    let Some(alone) = thread_count() else {
        return Err(Outcome::skipped("this system does not report how many threads a process has"));
    };
    let ordinary = subject.ordinary()?;
    // One more thread counts them.
    let own = alone + 1;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(thread_count().unwrap_or_default(), Ordering::Relaxed);
            }
        });
        for (record, _) in ordinary.iter().cycle().take(20.max(ordinary.len())) {
            let _ = subject.rows(record);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let deadline = Instant::now() + TO_BE_GONE;
    while thread_count().is_some_and(|now| now > alone) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let left = thread_count().unwrap_or_default().saturating_sub(alone);
    let more = most.load(Ordering::Relaxed).saturating_sub(own);
    if left > 0 {
        Err(Outcome::warned(format!("{left} threads still run after the extractions")))
    } else if more > 0 {
        Err(Outcome::warned(format!("it starts {more} threads although run.threads() is 1")))
    } else {
        Ok("it starts no threads".to_owned())
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn thread_count() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
fn thread_count() -> Option<usize> {
    None
}
