//! The check that no more threads are used than were given.

use crate::check::report::Outcome;
use crate::check::subject::{Judged, Subject};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long threads that end may take to be gone.
const TO_BE_GONE: Duration = Duration::from_millis(500);

pub(crate) fn threads(subject: &Subject<'_>) -> Judged {
    let (stop, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    // The threads by which kymhost itself reads arrays are not the plugin's.
    for record in subject.records()? {
        let _ = record.pixels();
    }
    let Some(alone) = thread_count() else {
        return Err(Outcome::skipped("this system does not tell how many threads a process has"));
    };
    let ordinary = subject.ordinary()?;
    // The one that counts is not the plugin's.
    let own = alone + 1;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(thread_count().unwrap_or_default(), Ordering::Relaxed);
            }
        });
        for one in ordinary.iter().cycle().take(20.max(ordinary.len())) {
            let _ = subject.rows(&one.record);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let deadline = Instant::now() + TO_BE_GONE;
    while thread_count().is_some_and(|now| now > alone) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let left = thread_count().unwrap_or_default().saturating_sub(alone);
    let more = most.load(Ordering::Relaxed).saturating_sub(own);
    Ok(if left > 0 {
        Outcome::warned(format!("{left} threads are left running after the extractions"))
    } else if more > 0 {
        Outcome::warned(format!("it starts {more} threads where run.threads() is 1"))
    } else {
        Outcome::passed("no thread of its own where run.threads() is 1")
    })
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn thread_count() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
fn thread_count() -> Option<usize> {
    None
}
