//! The check that a cancelled extraction returns soon.

use crate::check::report::{Judged, Outcome};
use crate::check::subject::Subject;
use kymhost_dataset::Record;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// A cancelled extraction that goes on for longer is too slow to stop, unless it saves more than half of the time left.
const TO_STOP: Duration = Duration::from_secs(1);

/// How long the check waits for one, at least.
const PATIENCE: Duration = Duration::from_secs(3);

/// When an extraction is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Before it begins.
    Start,
    /// After half of its time, or when it has asked half as often as it does otherwise.
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
    for (record, _) in subject.ordinary()? {
        let asked = AtomicU64::new(0);
        let start = Instant::now();
        let never = || {
            asked.fetch_add(1, Ordering::Relaxed);
            false
        };
        let _ = subject.indexer.extract_rows(&record, 1, &never);
        let took = start.elapsed();
        if longest.as_ref().is_none_or(|(most, _, _)| took > *most) {
            longest = Some((took, asked.into_inner(), record));
        }
    }
    let Some((took, asks, record)) = longest else { return Err(Outcome::skipped("there is no record")) };
    let patience = PATIENCE.max(took * 2).min(subject.order.timeout / 3);
    let mut message = format!("it takes {} s and asks {asks} times", seconds(took));
    let mut is_slow = false;
    for moment in [Moment::Start, Moment::Middle] {
        let left = if moment == Moment::Start { took } else { took / 2 };
        let words = moment.words();
        match cancelled(subject, record.clone(), moment, took, asks, patience) {
            Some(after) if after > TO_STOP && after > left / 2 => {
                return Err(Outcome::failed(format!(
                    "{message}; cancelled {words} it goes on for {} s: call run.cancelled() more often",
                    seconds(after)
                )));
            }
            Some(after) => {
                message = format!("{message}; cancelled {words} it goes on for {} s", seconds(after));
                is_slow |= after > TO_STOP;
            }
            None => {
                return Err(Outcome::failed(format!(
                    "{message}; cancelled {words} it did not return within {} s: call run.cancelled() more often",
                    seconds(patience)
                )));
            }
        }
    }
    if is_slow { Err(Outcome::warned(message)) } else { Ok(message) }
}

/// How long an extraction goes on after it is cancelled; `None` if it does not return in time.
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
    // Nobody joins this thread: it may never return, and this process ends soon.
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
        // It is cancelled at this moment also if it does not ask.
        let since = since.get().copied().unwrap_or(start + half).min(start + half);
        let _ = sender.send(since.elapsed());
    });
    receiver.recv_timeout(patience + half).ok()
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
