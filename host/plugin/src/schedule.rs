//! Which images are sent next, which are sent again after a worker died, and the order of answers.
//!
//! The bookkeeping of one call to a pool, as a value without I/O, processes or time.
//!
//! Why a call ends: if a worker dies, its batch comes back as single images. If it dies in a single image, that comes back
//! once, for a fresh worker, and then fails. There is no other retry.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// How many images may be sent or answered ahead of the first one without an answer.
const MAX_AHEAD_IMAGES: usize = 1 << 14;
/// How many bytes of answers may wait for an earlier answer.
const MAX_AHEAD_BYTES: usize = 64 << 20;

/// A range of images for one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Their indexes.
    pub range: Range<usize>,
    /// Only a worker that has answered nothing yet may get it.
    pub fresh: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// As it was, because its worker died before it began.
    Whole,
    /// One image at a time, because its worker died in it.
    Singly,
    /// One image, in a fresh worker.
    Fresh,
}

/// The state of one call.
#[derive(Debug)]
pub(crate) struct Schedule<A> {
    total: usize,
    next: usize,
    /// Ranges to run again, by their first index: the end, and how.
    again: BTreeMap<usize, (usize, Again)>,
    /// Answers from index `delivered` on, with their sizes.
    waiting: VecDeque<Option<(A, usize)>>,
    delivered: usize,
    held: usize,
}

impl<A> Schedule<A> {
    /// A call with this many images.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, next: 0, again: BTreeMap::new(), waiting: VecDeque::new(), delivered: 0, held: 0 }
    }

    /// Whether all answers are passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.delivered >= self.total
    }

    /// How many images are not sent.
    pub(crate) fn remaining(&self) -> usize {
        self.total - self.next + self.again.iter().map(|(from, (to, _))| to - from).sum::<usize>()
    }

    /// The next batch of at most `limit` images for a worker. `fresh`: it has answered nothing yet.
    pub(crate) fn take(&mut self, limit: usize, fresh: bool) -> Option<Batch> {
        let limit = limit.max(1);
        let found = self.again.iter().find(|(_, (_, how))| fresh || *how != Again::Fresh);
        if let Some((&from, &(to, how))) = found {
            let end = match how {
                Again::Whole => to.min(from.saturating_add(limit)),
                Again::Singly | Again::Fresh => from + 1,
            };
            self.again.remove(&from);
            if end < to {
                self.again.insert(end, (to, how));
            }
            return Some(Batch { range: from..end, fresh: how == Again::Fresh });
        }
        let ahead = self.next - self.delivered;
        if self.next >= self.total || ahead >= MAX_AHEAD_IMAGES || self.held >= MAX_AHEAD_BYTES {
            return None;
        }
        let end = self.total.min(self.next.saturating_add(limit.min(MAX_AHEAD_IMAGES - ahead)));
        let range = self.next..end;
        self.next = end;
        Some(Batch { range, fresh: false })
    }

    /// Whether there is work for another worker.
    pub(crate) fn has_work(&self) -> bool {
        !self.again.is_empty()
            || (self.next < self.total && self.next - self.delivered < MAX_AHEAD_IMAGES && self.held < MAX_AHEAD_BYTES)
    }

    /// Whether an image waits for a fresh worker.
    pub(crate) fn wants_fresh(&self) -> bool {
        self.again.values().any(|(_, how)| *how == Again::Fresh)
    }

    /// Takes back a batch whose worker died before it began.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        if !batch.range.is_empty() {
            let how = if batch.fresh { Again::Fresh } else { Again::Whole };
            self.again.insert(batch.range.start, (batch.range.end, how));
        }
    }

    /// Takes back the rest of a batch whose worker died in it. `blame`: a single image is to blame, whatever its worker did
    /// before. Returns the image that fails, if one does.
    pub(crate) fn died(&mut self, batch: Batch, blame: bool) -> Option<usize> {
        match batch.range.len() {
            0 => None,
            1 if blame || batch.fresh => Some(batch.range.start),
            1 => {
                self.again.insert(batch.range.start, (batch.range.end, Again::Fresh));
                None
            }
            _ => {
                self.again.insert(batch.range.start, (batch.range.end, Again::Singly));
                None
            }
        }
    }

    /// Takes an answer and its size. An index keeps its first answer.
    pub(crate) fn answer(&mut self, index: usize, answer: A, bytes: usize) {
        let Some(place) = index.checked_sub(self.delivered).filter(|_| index < self.next) else { return };
        if self.waiting.len() <= place {
            self.waiting.resize_with(place + 1, || None);
        }
        if let Some(slot @ None) = self.waiting.get_mut(place) {
            *slot = Some((answer, bytes));
            self.held += bytes;
        }
    }

    /// The next answer in order, if it has come.
    pub(crate) fn next_answer(&mut self) -> Option<(usize, A)> {
        let (answer, bytes) = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.held -= bytes;
        let index = self.delivered;
        self.delivered += 1;
        Some((index, answer))
    }

    /// Ends the call. Returns all answers that have come, in order, also after one that is missing.
    pub(crate) fn stop(&mut self) -> Vec<(usize, A)> {
        let first = std::mem::replace(&mut self.delivered, self.total);
        let waiting = std::mem::take(&mut self.waiting).into_iter().enumerate();
        waiting.filter_map(|(place, answer)| Some((first + place, answer?.0))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs `total` images with workers that die in each of `guilty`. Returns the answers and how many workers died.
    fn work(total: usize, guilty: &[usize], limit: usize, workers: usize, ahead: bool) -> (Vec<(usize, bool)>, usize) {
        let mut schedule = Schedule::new(total);
        // For each worker: whether it has answered anything, and its queue.
        let mut crew: Vec<(bool, VecDeque<Batch>)> = vec![(false, VecDeque::new()); workers];
        let (mut out, mut deaths) = (Vec::new(), 0);
        while !schedule.is_done() {
            for worker in &mut crew {
                if worker.1.is_empty() && schedule.wants_fresh() {
                    worker.0 = false;
                }
                while worker.1.len() < if ahead { 2 } else { 1 } {
                    let fresh = !worker.0 && worker.1.is_empty();
                    let Some(batch) = schedule.take(limit, fresh) else { break };
                    assert!(fresh || !batch.fresh);
                    worker.1.push_back(batch);
                }
            }
            for worker in &mut crew {
                let Some(mut batch) = worker.1.pop_front() else { continue };
                while !batch.range.is_empty() && !guilty.contains(&batch.range.start) {
                    schedule.answer(batch.range.start, true, 1);
                    batch.range.start += 1;
                    worker.0 = true;
                }
                if !batch.range.is_empty() {
                    deaths += 1;
                    if let Some(index) = schedule.died(batch, !worker.0) {
                        schedule.answer(index, false, 1);
                    }
                    worker.1.drain(..).for_each(|batch| schedule.put_back(batch));
                    worker.0 = false;
                }
            }
            out.extend(std::iter::from_fn(|| schedule.next_answer()));
        }
        assert_eq!((schedule.remaining(), schedule.held), (0, 0));
        (out, deaths)
    }

    #[test]
    fn take_bounds_what_is_ahead() {
        let mut schedule = Schedule::new(10 * MAX_AHEAD_IMAGES);
        let first = schedule.take(1, true).unwrap();
        let mut given = 1;
        while let Some(batch) = schedule.take(256, false) {
            given += batch.range.len();
            batch.range.for_each(|index| schedule.answer(index, (), 1));
        }
        assert_eq!(given, MAX_AHEAD_IMAGES);
        schedule.answer(first.range.start, (), MAX_AHEAD_BYTES);
        assert!(schedule.take(1, false).is_none(), "too many bytes are held");
        while schedule.next_answer().is_some() {}
        assert!(schedule.take(1, false).is_some());
    }

    #[test]
    fn stop_gives_answers_after_a_missing_one() {
        let mut schedule = Schedule::new(9);
        assert_eq!(schedule.take(6, true).map(|batch| batch.range), Some(0..6));
        for index in [0, 2, 5] {
            schedule.answer(index, index, 1);
        }
        assert_eq!(schedule.next_answer(), Some((0, 0)));
        assert_eq!(schedule.stop(), [(2, 2), (5, 5)]);
        assert!(schedule.is_done());
    }

    proptest! {
        #![proptest_config(kymhost_test_cases::cases(50))]
        #[test]
        fn each_image_gets_one_answer_and_only_guilty_fail(
            total in 0usize..120,
            guilty in prop::collection::btree_set(0usize..120, 0..12),
            limit in 1usize..40,
            workers in 1usize..5,
            ahead: bool,
        ) {
            let guilty: Vec<usize> = guilty.into_iter().filter(|index| *index < total).collect();
            let (out, deaths) = work(total, &guilty, limit, workers, ahead);
            let expected: Vec<_> = (0..total).map(|index| (index, !guilty.contains(&index))).collect();
            prop_assert_eq!(out, expected);
            prop_assert!(deaths <= 3 * guilty.len(), "{} deaths for {} guilty", deaths, guilty.len());
        }
    }
}
