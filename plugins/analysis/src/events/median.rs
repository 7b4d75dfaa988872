//! Medians of a window that slides over a trace.
//!
//! Each stretch of the trace is sorted once. A set of bits, one per rank, says which of its samples are in the
//! window. A sample that enters or leaves changes one bit, and moves the median by a few bits at most. So the cost of
//! a step does not grow with the window.

use crate::stats;

/// The medians of the windows `[end − width, end)` over a trace, for each `end` from 0 to `len + width − 1`. Windows
/// are cut at the ends of the trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Medians {
    /// NaN if no sample of the window is known.
    pub(super) medians: Vec<f64>,
    /// The number of known samples in the window.
    pub(super) counts: Vec<usize>,
}

/// Medians of values that are at least 0, or NaN if unknown. `width` is at least 1.
pub(super) fn sliding(values: &[f64], width: usize) -> Medians {
    let ends = values.len() + width;
    let mut found = Medians { medians: Vec::with_capacity(ends), counts: Vec::with_capacity(ends) };
    let stretch = width.max(256);
    let mut sorted: Vec<(u64, u32)> = Vec::new();
    let mut ranks: Vec<u32> = Vec::new();
    for start in (0..ends).step_by(stretch) {
        let stop = ends.min(start + stretch);
        let first = start.saturating_sub(width);
        let samples = &values[first.min(values.len())..stop.min(values.len())];
        sorted.clear();
        // The bits of floats that are at least 0 sort like the floats.
        sorted.extend((0..).zip(samples).filter(|(_, value)| !value.is_nan()).map(|(at, value)| (value.to_bits(), at)));
        sorted.sort_unstable();
        ranks.clear();
        ranks.resize(samples.len(), u32::MAX);
        (0..).zip(&sorted).for_each(|(rank, (_, at))| ranks[*at as usize] = rank);
        let mut window = Window::new(sorted.len());
        let rank = |at: usize| ranks.get(at - first).filter(|rank| **rank != u32::MAX).map(|rank| *rank as usize);
        (first..start).filter_map(rank).for_each(|rank| window.insert(rank));
        for end in start..stop {
            let value = |rank: usize| f64::from_bits(sorted[rank].0);
            found.counts.push(window.count);
            found.medians.push(match window.middle() {
                None => f64::NAN,
                Some((lower, None)) => value(lower),
                Some((lower, Some(upper))) => stats::middle(value(lower), value(upper)),
            });
            if let Some(rank) = rank(end) {
                window.insert(rank);
            }
            if let Some(rank) = end.checked_sub(width).and_then(rank) {
                window.remove(rank);
            }
        }
    }
    found
}

/// A set of ranks that finds its middle quickly.
struct Window {
    bits: Vec<u64>,
    count: usize,
    /// A rank, and the number of ranks in the set that are lower.
    at: usize,
    below: usize,
}

impl Window {
    fn new(ranks: usize) -> Self {
        Self { bits: vec![0; ranks / 64 + 1], count: 0, at: 0, below: 0 }
    }

    fn insert(&mut self, rank: usize) {
        self.bits[rank / 64] |= 1 << (rank % 64);
        self.count += 1;
        self.below += usize::from(rank < self.at);
    }

    fn remove(&mut self, rank: usize) {
        self.bits[rank / 64] &= !(1 << (rank % 64));
        self.count -= 1;
        self.below -= usize::from(rank < self.at);
    }

    /// The middle rank, or the middle two; `None` if the set is empty.
    fn middle(&mut self) -> Option<(usize, Option<usize>)> {
        let wanted = self.count.checked_sub(1)? / 2;
        while self.below > wanted {
            self.at = self.before(self.at);
            self.below -= 1;
        }
        self.at = self.from(self.at);
        while self.below < wanted {
            self.at = self.from(self.at + 1);
            self.below += 1;
        }
        Some((self.at, self.count.is_multiple_of(2).then(|| self.from(self.at + 1))))
    }

    /// The lowest rank of the set that is at least `rank`. It must exist.
    fn from(&self, rank: usize) -> usize {
        let mut word = rank / 64;
        let mut bits = self.bits[word] & (u64::MAX << (rank % 64));
        while bits == 0 {
            word += 1;
            bits = self.bits[word];
        }
        word * 64 + bits.trailing_zeros() as usize
    }

    /// The highest rank of the set that is less than `rank`. It must exist.
    fn before(&self, rank: usize) -> usize {
        let mut word = rank / 64;
        let mut bits = self.bits[word] & !(u64::MAX << (rank % 64));
        while bits == 0 {
            word -= 1;
            bits = self.bits[word];
        }
        word * 64 + 63 - bits.leading_zeros() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(kymhost_test_cases::cases(32))]

        /// Each sliding median equals the median of its window.
        #[test]
        fn sliding_median_equals_median_of_window(
            values in proptest::collection::vec(
                prop_oneof![2 => Just(f64::NAN), 6 => 0.0..3.0_f64, 4 => (0..4_u8).prop_map(f64::from)], 0..900),
            width in prop_oneof![1_usize..8, 8_usize..400],
        ) {
            let found = sliding(&values, width);
            prop_assert_eq!(found.medians.len(), values.len() + width);
            for (end, median) in found.medians.iter().enumerate() {
                let window = end.saturating_sub(width).min(values.len())..end.min(values.len());
                let mut known: Vec<f64> = values[window].iter().copied().filter(|value| !value.is_nan()).collect();
                prop_assert_eq!(found.counts[end], known.len());
                let expected = stats::median(&mut known);
                prop_assert!(*median == expected || median.is_nan() && expected.is_nan(), "end {}: {} {}", end, median, expected);
            }
        }
    }
}
