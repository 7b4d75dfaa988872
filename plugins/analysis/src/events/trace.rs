//! A velocity trace as the detectors need it, and stretches of samples.
//!
//! This file converts durations to samples and joins stretches. It does not decide what an event is.

use crate::stats;
use std::ops::RangeInclusive;

/// The sampling rate in Hz: 1 / the median of the positive finite steps of the times (in seconds). `None` if there is
/// no such step.
pub fn sampling_rate_hz(times_sec: &[f64]) -> Option<f64> {
    let steps = times_sec.windows(2).map(|pair| pair[1] - pair[0]);
    let mut steps: Vec<f64> = steps.filter(|step| step.is_finite() && *step > 0.0).collect();
    (!steps.is_empty()).then(|| 1.0 / stats::median(&mut steps))
}

/// A trace with everything that the detectors need.
pub(super) struct Trace<'a> {
    /// Seconds.
    pub(super) times: &'a [f64],
    /// |velocity| in mm/s; NaN if the velocity is not finite.
    pub(super) speeds: Vec<f64>,
    pub(super) sampling_rate_hz: f64,
}

impl Trace<'_> {
    pub(super) fn len(&self) -> usize {
        self.speeds.len()
    }

    /// A duration in samples, rounded half to even.
    pub(super) fn samples(&self, seconds: f64) -> usize {
        stats::round(seconds * self.sampling_rate_hz)
    }
}

/// The number if it is odd, otherwise the next one.
pub(super) fn odd(number: usize) -> usize {
    number | 1
}

/// The longest stretches in which `of_kind` holds for all samples.
pub(super) fn runs(count: usize, of_kind: impl Fn(usize) -> bool) -> Vec<RangeInclusive<usize>> {
    let mut runs: Vec<RangeInclusive<usize>> = Vec::new();
    for at in (0..count).filter(|at| of_kind(*at)) {
        match runs.last_mut() {
            Some(run) if *run.end() + 1 == at => *run = *run.start()..=at,
            _ => runs.push(at..=at),
        }
    }
    runs
}

/// Joins stretches with at most `most_between` samples strictly between them.
pub(super) fn merged(stretches: Vec<RangeInclusive<usize>>, most_between: usize) -> Vec<RangeInclusive<usize>> {
    let mut merged: Vec<RangeInclusive<usize>> = Vec::new();
    for stretch in stretches {
        match merged.last_mut() {
            Some(before) if stretch.start() - before.end() - 1 <= most_between => {
                *before = *before.start()..=*stretch.end();
            }
            _ => merged.push(stretch),
        }
    }
    merged
}
