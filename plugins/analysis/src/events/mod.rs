//! Events in a velocity trace: baseline shifts, NaN gaps, zero gaps.
//!
//! Owns: the trace, an event's fields, the order of events. Never: where velocities come from.
//!
//! The rules are kymflow's. A *shift* is where the median speed after a sample differs from that before it: a stall begins with a drop, and ends with a
//! rise. A *gap* is a stretch in which most velocities are unknown (NaN), or zero. Velocities that are infinite count as unknown.
//!
//! All windows are given in seconds and become samples by the sampling rate, 1 / the median of the positive finite steps of the times.
//! A trace without such a step (fewer than two samples, times that stand still) has no sampling rate and no events.

mod gaps;
mod median;
mod params;
mod shifts;

pub use params::{NanGapParams, Params, ShiftParams, ZeroGapParams};

use crate::{Error, Result, stats};
use std::ops::RangeInclusive;

/// What an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// The speed steps down.
    BaselineDrop,
    /// The speed steps up.
    BaselineRise,
    /// Velocities are unknown.
    NanGap,
    /// Velocities are zero.
    ZeroGap,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::BaselineDrop, Self::BaselineRise, Self::NanGap, Self::ZeroGap];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BaselineDrop => "baseline_drop",
            Self::BaselineRise => "baseline_rise",
            Self::NanGap => "nan_gap",
            Self::ZeroGap => "zero_gap",
        }
    }
}

/// What the machine takes an event for; a person may think otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MachineType {
    /// The flow may have stalled.
    StallCandidate,
    /// Velocities are unknown.
    NanGap,
    /// Something else.
    Other,
}

impl MachineType {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StallCandidate => "stall_candidate",
            Self::NanGap => "nan_gap",
            Self::Other => "other",
        }
    }
}

/// An event. Indices are those of the trace's samples. Shifts have a peak, a score and baselines; gaps have an end and what follows from it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What it is.
    pub event_type: EventType,
    /// What the machine takes it for.
    pub machine_type: MachineType,
    /// Its onset.
    pub i_start: usize,
    /// The time of the onset.
    pub t_start_sec: f64,
    /// Of a shift, the sample where the score is most extreme.
    pub i_peak: Option<usize>,
    /// The time of the peak.
    pub t_peak_sec: Option<f64>,
    /// Of a gap, its last sample.
    pub i_end: Option<usize>,
    /// The time of the last sample.
    pub t_end_sec: Option<f64>,
    /// The score at the peak, mm/s: negative of a drop.
    pub score_peak: Option<f64>,
    /// The median speed before the peak, mm/s.
    pub baseline_before: Option<f64>,
    /// The median speed from the peak on, mm/s.
    pub baseline_after: Option<f64>,
    /// Of a shift |score| / threshold; of a gap the fraction of its samples that belong to it × its duration.
    pub strength: f64,
    /// Of a NaN gap, the fraction of its samples that are unknown.
    pub nan_fraction_in_event: Option<f64>,
    /// Of a gap, how many of its samples are known.
    pub n_valid_in_event: Option<usize>,
    /// Of a gap, from its first to its last sample.
    pub duration_sec: Option<f64>,
}

impl Event {
    fn new(trace: &Trace<'_>, event_type: EventType, machine_type: MachineType, i_start: usize, strength: f64) -> Self {
        Self {
            event_type,
            machine_type,
            i_start,
            t_start_sec: trace.times[i_start],
            i_peak: None,
            t_peak_sec: None,
            i_end: None,
            t_end_sec: None,
            score_peak: None,
            baseline_before: None,
            baseline_after: None,
            strength,
            nan_fraction_in_event: None,
            n_valid_in_event: None,
            duration_sec: None,
        }
    }
}

/// What was found in a trace.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Found {
    /// By onset; of one onset shifts, then NaN gaps, then zero gaps.
    pub events: Vec<Event>,
    /// The threshold of the shifts, mm/s; `None` where there were too few scores for one.
    pub threshold_mm_s: Option<f64>,
    /// Samples a second; `None` where the times do not tell.
    pub sampling_rate_hz: Option<f64>,
}

/// The events of a trace: times in seconds, velocities in mm/s, both as long.
///
/// # Errors
/// [`Error::Length`] where they are not as long.
pub fn detect(times_sec: &[f64], velocities_mm_s: &[f64], params: &Params) -> Result<Found> {
    if times_sec.len() != velocities_mm_s.len() {
        let (found, expected) = (velocities_mm_s.len(), times_sec.len());
        return Err(Error::Length { what: "the list of velocities", found, expected });
    }
    let Some(sampling_rate_hz) = sampling_rate_hz(times_sec) else { return Ok(Found::default()) };
    let speed = |velocity: &f64| if velocity.is_finite() { velocity.abs() } else { f64::NAN };
    let trace = Trace { times: times_sec, speeds: velocities_mm_s.iter().map(speed).collect(), sampling_rate_hz };
    let (mut events, threshold_mm_s) = shifts::detect(&trace, &params.baseline_drop);
    events.extend(gaps::nan_gaps(&trace, &params.nan_gap));
    events.extend(gaps::zero_gaps(&trace, &params.zero_gap));
    events.sort_by_key(|event| event.i_start);
    Ok(Found { events, threshold_mm_s, sampling_rate_hz: Some(sampling_rate_hz) })
}

/// 1 / the median of the positive finite steps; `None` where there is none.
pub fn sampling_rate_hz(times_sec: &[f64]) -> Option<f64> {
    let steps = times_sec.windows(2).map(|pair| pair[1] - pair[0]);
    let mut steps: Vec<f64> = steps.filter(|step| step.is_finite() && *step > 0.0).collect();
    (!steps.is_empty()).then(|| 1.0 / stats::median(&mut steps))
}

/// A trace with what all detectors need.
struct Trace<'a> {
    times: &'a [f64],
    /// |velocity|, NaN where it is not finite.
    speeds: Vec<f64>,
    sampling_rate_hz: f64,
}

impl Trace<'_> {
    fn len(&self) -> usize {
        self.speeds.len()
    }

    /// A duration in samples.
    fn samples(&self, seconds: f64) -> usize {
        stats::round(seconds * self.sampling_rate_hz)
    }
}

/// The number itself, or the next one where it is even.
fn odd(number: usize) -> usize {
    number | 1
}

/// The longest stretches in which all samples are of a kind.
fn runs(count: usize, of_kind: impl Fn(usize) -> bool) -> Vec<RangeInclusive<usize>> {
    let mut runs: Vec<RangeInclusive<usize>> = Vec::new();
    for at in (0..count).filter(|at| of_kind(*at)) {
        match runs.last_mut() {
            Some(run) if *run.end() + 1 == at => *run = *run.start()..=at,
            _ => runs.push(at..=at),
        }
    }
    runs
}

/// Stretches with at most so many samples strictly between them, made one.
fn merged(stretches: Vec<RangeInclusive<usize>>, most_between: usize) -> Vec<RangeInclusive<usize>> {
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

#[cfg(test)]
mod tests;
