//! Gaps: stretches in which velocities are unknown or zero.
//!
//! This file decides where gaps begin and end, joins them, and computes their figures. It does not detect shifts.

use super::event::{Event, EventType, MachineType};
use super::params::{NanGapParams, ZeroGapParams};
use super::trace::{Trace, merged, odd};

/// The stretches in which velocities are not finite.
pub(super) fn nan_gaps(trace: &Trace<'_>, params: &NanGapParams) -> Vec<Event> {
    let NanGapParams { nan_win_sec, enter_frac, exit_frac, min_duration_sec, merge_gap_sec } = *params;
    let gaps = Gaps { win_sec: nan_win_sec, enter_frac, exit_frac, min_duration_sec, merge_gap_sec };
    let event = |gap: Gap| Event {
        nan_fraction_in_event: Some(gap.fraction),
        ..gap.event(trace, EventType::NanGap, MachineType::NanGap)
    };
    gaps.detect(trace, |at| trace.speeds[at].is_nan()).into_iter().map(event).collect()
}

/// The stretches in which velocities are zero.
pub(super) fn zero_gaps(trace: &Trace<'_>, params: &ZeroGapParams) -> Vec<Event> {
    let ZeroGapParams { eps0, zero_win_sec, enter_frac, exit_frac, min_duration_sec, merge_gap_sec } = *params;
    let gaps = Gaps { win_sec: zero_win_sec, enter_frac, exit_frac, min_duration_sec, merge_gap_sec };
    let event = |gap: Gap| gap.event(trace, EventType::ZeroGap, MachineType::Other);
    gaps.detect(trace, |at| trace.speeds[at] <= eps0).into_iter().map(event).collect()
}

/// The params that both kinds of gaps share.
struct Gaps {
    win_sec: f64,
    enter_frac: f64,
    exit_frac: f64,
    min_duration_sec: f64,
    merge_gap_sec: f64,
}

/// A gap: its first and last sample, and the fraction of its samples that are unknown (or zero).
struct Gap {
    first: usize,
    last: usize,
    fraction: f64,
    duration_sec: f64,
}

impl Gap {
    fn event(&self, trace: &Trace<'_>, event_type: EventType, machine_type: MachineType) -> Event {
        let valid = trace.speeds[self.first..=self.last].iter().filter(|speed| !speed.is_nan()).count();
        Event {
            i_end: Some(self.last),
            t_end_sec: Some(trace.times[self.last]),
            n_valid_in_event: Some(valid),
            duration_sec: Some(self.duration_sec),
            ..Event::new(trace, event_type, machine_type, self.first, self.fraction * self.duration_sec)
        }
    }
}

impl Gaps {
    fn detect(&self, trace: &Trace<'_>, belongs: impl Fn(usize) -> bool) -> Vec<Gap> {
        let count = trace.len();
        // The number of such samples before each one.
        let mut before = Vec::with_capacity(count + 1);
        before.push(0_usize);
        for at in 0..count {
            before.push(before[at] + usize::from(belongs(at)));
        }
        let fraction =
            |first: usize, last: usize| (before[last + 1] - before[first]) as f64 / (last + 1 - first) as f64;
        let half = odd(trace.samples(self.win_sec).max(3)) / 2;
        let around = |at: usize| fraction(at.saturating_sub(half), at.saturating_add(half).min(count - 1));
        let mut stretches = Vec::new();
        let mut first = None;
        for at in 0..count {
            match first {
                None if around(at) >= self.enter_frac => first = Some(at),
                Some(start) if around(at) <= self.exit_frac => {
                    stretches.push(start..=at - 1);
                    first = None;
                }
                _ => {}
            }
        }
        stretches.extend(first.map(|start| start..=count - 1));
        merged(stretches, trace.samples(self.merge_gap_sec))
            .into_iter()
            .map(|stretch| (*stretch.start(), *stretch.end()))
            .map(|(first, last)| Gap {
                first,
                last,
                fraction: fraction(first, last),
                duration_sec: trace.times[last] - trace.times[first],
            })
            // A gap of unknown duration (NaN) is kept.
            .filter(|gap| gap.duration_sec.is_nan() || gap.duration_sec >= self.min_duration_sec)
            .collect()
    }
}
