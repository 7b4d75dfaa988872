//! The check that memory does not grow.

use crate::check::compare::{CALLS, Memory, growth};
use crate::check::report::{Judged, Outcome};
use crate::check::subject::Subject;
use std::time::Instant;

/// Fewer extractions prove nothing.
const LEAST_CALLS: u64 = 100;

/// At this growth the check ends: others need the machine, too.
const ENOUGH_BYTES: u64 = 512 << 20;

pub(crate) fn memory_steady(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary()?;
    let Some(first) = resident_bytes() else {
        return Err(Outcome::skipped("this system does not report how much memory a process uses"));
    };
    let limit = subject.order.timeout / 2;
    let deadline = Instant::now() + limit;
    let mut measured = Vec::new();
    let mut calls = 0;
    let wanted = subject.order.calls;
    for (record, _) in ordinary.iter().cycle() {
        if calls >= wanted || Instant::now() >= deadline {
            break;
        }
        let _ = subject.hash(record);
        let _ = subject.rows(record);
        calls += 1;
        measured.extend(resident_bytes());
        let grown = measured.last().map_or(0, |now| now.saturating_sub(first));
        if calls >= LEAST_CALLS && grown > ENOUGH_BYTES {
            return Err(Outcome::failed(format!("it keeps memory: {} MiB after {calls} extractions", grown >> 20)));
        }
    }
    let cut_short = match calls < wanted {
        true => format!(" of {wanted} (stopped after {} s, half of --timeout)", limit.as_secs_f64()),
        false => String::new(),
    };
    if calls < LEAST_CALLS.min(wanted) {
        return Err(Outcome::skipped(format!(
            "{calls} extractions{cut_short}: give smaller records with --dataset PATH, or a longer --timeout"
        )));
    }
    let Some(growth) = growth(&measured, calls) else { return Err(Outcome::skipped("too few measurements")) };
    let message = format!(
        "{calls} extractions{cut_short}, {} KiB more per {CALLS}, {} bytes each",
        growth.of_all_bytes >> 10,
        growth.of_all_bytes / CALLS
    );
    match growth.verdict() {
        Memory::Leaks => Err(Outcome::failed(format!("it keeps memory: {message}"))),
        Memory::Drifts => Err(Outcome::warned(format!("it may keep memory: {message}"))),
        Memory::Steady => Ok(message),
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable")))]
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
fn resident_bytes() -> Option<u64> {
    None
}
