//! When a long run commits what it has.
//!
//! Responsible for the rule. It does no I/O and does not read the clock.
//!
//! A killed run loses what it has not committed, but each commit costs: it may rewrite much of the table. So the time
//! between two of them grows with what they cost, and all of them together take at most a twentieth of the run. Only
//! rows that would fill the memory are committed whatever it costs.

use arrow::array::{Array, RecordBatch};
use kymhost_plugin::Extracted;
use std::time::{Duration, Instant};

/// Commits take at most one part in 20 of a run's time.
const SHARE: u32 = 20;
/// What is held for an image besides its cells: ids, hashes, what it was made from.
const IMAGE_BYTES: u64 = 512;
/// What an input costs: its key, a digest, times.
const INPUT_BYTES: u64 = 256;
/// What a column costs in each image's batch besides its cells.
const COLUMN_BYTES: u64 = 256;

/// The commits of one run so far.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    interval: Duration,
    max_held_bytes: u64,
    start: Instant,
    last_end: Instant,
    last_cost: Option<Duration>,
    /// By how much the last cost more than the one before it: 1 to 2.
    growth: f64,
    spent: Duration,
}

impl Checkpoints {
    /// `interval`: the least time between two commits.
    pub fn new(interval: Duration, max_held_bytes: u64, now: Instant) -> Self {
        Self {
            interval,
            max_held_bytes,
            start: now,
            last_end: now,
            last_cost: None,
            growth: 2.0,
            spent: Duration::ZERO,
        }
    }

    /// Whether to commit now, with so many bytes of rows held.
    pub fn due(&self, now: Instant, held_bytes: u64) -> bool {
        if self.is_forced(held_bytes) {
            return true;
        }
        let since = now.saturating_duration_since(self.last_end);
        let last = self.last_cost.unwrap_or_default();
        if since < self.interval.max(last.saturating_mul(SHARE - 1)) {
            return false;
        }
        // Commits of a growing table cost more each time: the next must fit as well, together with all before it.
        let next = Duration::try_from_secs_f64(last.as_secs_f64() * self.growth).unwrap_or(Duration::MAX);
        let run = now.saturating_duration_since(self.start).saturating_add(next);
        self.spent.saturating_add(next).saturating_mul(SHARE) <= run
    }

    /// Whether so many bytes of rows are committed whatever it costs.
    pub fn is_forced(&self, held_bytes: u64) -> bool {
        held_bytes >= self.max_held_bytes
    }

    /// A commit was made.
    pub fn made(&mut self, begin: Instant, end: Instant) {
        let cost = end.saturating_duration_since(begin);
        if let Some(last) = self.last_cost {
            let growth = cost.as_secs_f64() / last.as_secs_f64();
            self.growth = if growth.is_finite() { growth.clamp(1.0, 2.0) } else { 2.0 };
        }
        self.spent = self.spent.saturating_add(cost);
        self.last_cost = Some(cost);
        self.last_end = end;
    }
}

/// About how many bytes an image's rows take while they wait for a commit, with what goes into its marker.
pub(crate) fn held_bytes(extracted: &Extracted) -> u64 {
    let inputs = extracted.inputs.len().saturating_add(extracted.params.inputs.len()) as u64;
    let params = extracted.params.value.as_ref().map_or(0, String::len) as u64;
    let artifacts = extracted.artifacts.iter().map(|made| made.payload.bytes() as u64).fold(0, u64::saturating_add);
    rows_bytes(&extracted.rows).saturating_add(inputs * INPUT_BYTES).saturating_add(params).saturating_add(artifacts)
}

fn rows_bytes(rows: &RecordBatch) -> u64 {
    let cells: usize = rows
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()))
        .sum();
    cells as u64 + IMAGE_BYTES + COLUMN_BYTES * rows.num_columns() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Works for `seconds`, an image each `step`; gives the commits' share at its worst right before a commit, the
    /// share after all of them, and how many there were.
    fn simulate(seconds: f64, step: f64, interval: f64, cost: &dyn Fn(u32) -> f64) -> (f64, f64, u32) {
        let start = Instant::now();
        let at = |time: f64| start + Duration::from_secs_f64(time);
        let mut checkpoints = Checkpoints::new(Duration::from_secs_f64(interval), u64::MAX, start);
        let (mut now, mut spent, mut worst, mut count) = (0.0, 0.0, 0.0f64, 0);
        while now < seconds {
            now += step;
            if checkpoints.due(at(now), 0) {
                worst = worst.max(spent / now);
                let cost = cost(count);
                checkpoints.made(at(now), at(now + cost));
                now += cost;
                spent += cost;
                count += 1;
            }
        }
        (worst, spent / now, count)
    }

    #[test]
    fn commits_take_at_most_5_percent_of_run() {
        type Cost = Box<dyn Fn(u32) -> f64>;
        let day = 86400.0;
        // (what, cost of each commit in seconds, least count of commits in a day)
        let cases: Vec<(&str, Cost, u32)> = vec![
            ("nothing", Box::new(|_| 0.0), 2800),
            ("little", Box::new(|_| 0.05), 2800),
            ("a second", Box::new(|_| 1.0), 2700),
            ("ten seconds", Box::new(|_| 10.0), 400),
            ("an hour", Box::new(|_| 3600.0), 1),
            ("more each time", Box::new(|count| 0.5 * f64::from(count + 1)), 80),
            ("twice as much each time", Box::new(|count| 0.1 * 2f64.powi(count as i32)), 10),
            ("up and down", Box::new(|count| f64::from(count % 3 + 1)), 1000),
            ("less each time", Box::new(|count| 100.0 / f64::from(count + 1)), 300),
        ];
        for (what, cost, least) in cases {
            let (worst, share, count) = simulate(day, 0.5, 30.0, &*cost);
            assert!(worst <= 0.05, "{what}: {worst} before a commit");
            assert!(share <= 0.05, "{what}: {share} of the run");
            assert!(count >= least, "{what}: {count} commits");
        }
    }

    proptest! {
        /// Whatever commits cost: none is begun while those before it took more than their share.
        #[test]
        fn commits_never_start_too_early(costs in prop::collection::vec(0.0..50.0f64, 1..30), interval in 0.0..60.0f64) {
            let (worst, _, _) = simulate(20_000.0, 1.0, interval, &|count| costs[count as usize % costs.len()]);
            prop_assert!(worst <= 0.05, "{worst}");
        }
    }

    #[test]
    fn commit_due_cases() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut checkpoints = Checkpoints::new(Duration::from_secs(30), 100, start);
        assert!(!checkpoints.due(at(29), 99));
        assert!(checkpoints.due(at(30), 0), "the first is due after the interval");
        assert!(checkpoints.due(at(0), 100), "rows fill the memory");
        checkpoints.made(at(30), at(31));
        assert!(!checkpoints.due(at(60), 99));
        assert!(checkpoints.due(at(31), 101));
        // The next may cost twice as much.
        assert!(checkpoints.due(at(61), 0));
        checkpoints.made(at(61), at(63));
        assert!(!checkpoints.due(at(63 + 37), 0), "nineteen times what the last cost");
        // A clock that stands still or goes back is no reason to commit.
        assert!(!checkpoints.due(start, 0));
    }

    #[test]
    fn held_rows_counted_by_own_cells() {
        let batch = |x: ArrayRef| RecordBatch::try_from_iter([("x", x)]).unwrap();
        let all: ArrayRef = Arc::new(Int64Array::from(vec![1; 1 << 20]));
        assert!(rows_bytes(&batch(Arc::clone(&all))) >= 8 << 20);
        // A piece of a large buffer, as workers' rows may be, counts for itself.
        assert!(rows_bytes(&batch(all.slice(5, 10))) < 4096);
        assert!(rows_bytes(&RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()))) > 0);
    }
}
