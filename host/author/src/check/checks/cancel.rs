//! The check that a cancelled extraction returns soon.

use crate::check::report::Outcome;
use crate::check::subject::{Judged, Subject};
use kymhost_dataset::Record;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A cancelled extraction that goes on for longer is too slow to stop, unless it takes less than half of the time that was left.
const TO_STOP: Duration = Duration::from_secs(1);

/// It is waited at least so long for one.
const PATIENCE: Duration = Duration::from_secs(3);

/// When an extraction is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before it begins.
    Start,
    /// When half of its time is over, or it has asked half as often as it does.
    Middle,
}

impl Moment {
    fn words(self) -> &'static str {
        match self {
            Self::Start => "from the start",
            Self::Middle => "in the middle",
        }
    }
}

pub(crate) fn cancel(subject: &Subject<'_>) -> Judged {
    let mut longest: Option<(Duration, u64, Record)> = None;
    for one in subject.ordinary()? {
        let asked = AtomicU64::new(0);
        let start = Instant::now();
        let never = || {
            asked.fetch_add(1, Ordering::Relaxed);
            false
        };
        let _ = subject.indexer.extract_rows(&one.record, 1, &never);
        let took = start.elapsed();
        if longest.as_ref().is_none_or(|(most, _, _)| took > *most) {
            longest = Some((took, asked.into_inner(), one.record));
        }
    }
    let Some((took, asks, record)) = longest else { return Err(Outcome::skipped("there is no record")) };
    let patience = PATIENCE.max(took * 2).min(subject.timeout / 3);
    let mut says = format!("it takes {} s and asks {asks} times", seconds(took));
    let mut slow = None;
    for moment in [Moment::Start, Moment::Middle] {
        let left = if moment == Moment::Start { took } else { took / 2 };
        let words = moment.words();
        match cancelled(subject, record.clone(), moment, took, asks, patience) {
            Some(after) if after > TO_STOP && after > left / 2 => {
                return Ok(Outcome::failed(format!(
                    "{says}; cancelled {words} it goes on for {} s: ask run.cancelled() now and then",
                    seconds(after)
                )));
            }
            Some(after) => {
                says = format!("{says}; cancelled {words} it goes on for {} s", seconds(after));
                slow = slow.or((after > TO_STOP).then_some(moment));
            }
            None => {
                return Ok(Outcome::failed(format!(
                    "{says}; cancelled {words} it did not return within {} s",
                    seconds(patience)
                )));
            }
        }
    }
    Ok(if slow.is_some() { Outcome::warned(says) } else { Outcome::passed(says) })
}

/// How long an extraction goes on after it is cancelled; `None` where it does not return in time.
fn cancelled(
    subject: &Subject<'_>,
    record: Record,
    moment: Moment,
    took: Duration,
    asks: u64,
    patience: Duration,
) -> Option<Duration> {
    let (sender, receiver) = mpsc::channel();
    let indexer = subject.indexer;
    let (half, half_asks) = match moment {
        Moment::Start => (Duration::ZERO, 0),
        Moment::Middle => (took / 2, (asks / 2).max(1)),
    };
    // Not waited for: it may never return, and this process ends soon.
    thread::spawn(move || {
        let (asked, since) = (AtomicU64::new(0), OnceLock::new());
        let start = Instant::now();
        let is_cancelled = || {
            let is_time = asked.fetch_add(1, Ordering::Relaxed) >= half_asks || start.elapsed() >= half;
            if is_time {
                since.get_or_init(Instant::now);
            }
            is_time
        };
        let _ = indexer.extract_rows(&record, 1, &is_cancelled);
        // One that does not ask is cancelled all the same.
        let since = since.get().copied().unwrap_or(start + half).min(start + half);
        let _ = sender.send(since.elapsed());
    });
    receiver.recv_timeout(patience + half).ok()
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
