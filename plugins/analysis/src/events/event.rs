//! One event: its fields and types.
//!
//! This file does not detect anything; see `shifts` and `gaps`.

use super::trace::Trace;

/// The type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// The speed drops.
    BaselineDrop,
    /// The speed rises.
    BaselineRise,
    /// Velocities are unknown.
    NanGap,
    /// Velocities are zero.
    ZeroGap,
}

impl EventType {
    /// All types, in the order in which tables count them.
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

/// The machine's interpretation of an event, which a person may change.
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

/// An event. Indices count the samples of the trace. Shifts have a peak, a score and baselines; gaps have an end, a
/// duration and counts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Its type.
    pub event_type: EventType,
    /// The machine's interpretation.
    pub machine_type: MachineType,
    /// The sample at which it begins.
    pub i_start: usize,
    /// The time of that sample, in seconds.
    pub t_start_sec: f64,
    /// Shifts: the sample with the most extreme score.
    pub i_peak: Option<usize>,
    /// Shifts: the time of the peak, in seconds.
    pub t_peak_sec: Option<f64>,
    /// Gaps: the last sample.
    pub i_end: Option<usize>,
    /// Gaps: the time of the last sample, in seconds.
    pub t_end_sec: Option<f64>,
    /// Shifts: the score at the peak, in mm/s; negative for a drop.
    pub score_peak: Option<f64>,
    /// Shifts: the median speed before the peak, in mm/s.
    pub baseline_before: Option<f64>,
    /// Shifts: the median speed from the peak on, in mm/s.
    pub baseline_after: Option<f64>,
    /// Shifts: |score| / threshold. Gaps: the fraction of samples that are unknown (or zero) × the duration in seconds.
    pub strength: f64,
    /// NaN gaps: the fraction of its samples that are unknown, 0 to 1.
    pub nan_fraction_in_event: Option<f64>,
    /// Gaps: the number of its samples that are known.
    pub n_valid_in_event: Option<usize>,
    /// Gaps: the time from the first to the last sample, in seconds.
    pub duration_sec: Option<f64>,
}

impl Event {
    pub(super) fn new(
        trace: &Trace<'_>,
        event_type: EventType,
        machine_type: MachineType,
        i_start: usize,
        strength: f64,
    ) -> Self {
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
