//! All events of a trace, in order.
//!
//! This file calls the detectors and sorts what they find. The rules are in `shifts` and `gaps`.

use super::event::Event;
use super::params::EventParams;
use super::trace::{Trace, sampling_rate_hz};
use super::{gaps, shifts};
use crate::{AnalysisError, Result};

/// The events of a trace, and the figures that they rest on.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct DetectedEvents {
    /// Sorted by their first sample; with the same one, shifts come first, then NaN gaps, then zero gaps.
    pub events: Vec<Event>,
    /// The threshold of the shifts, in mm/s; `None` if there were too few scores.
    pub threshold_mm_s: Option<f64>,
    /// Samples per second; `None` if the times have no positive finite step.
    pub sampling_rate_hz: Option<f64>,
}

/// Detects the events of a trace: times in seconds and velocities in mm/s, of the same length.
///
/// # Errors
/// [`AnalysisError::Length`] if the lengths differ.
pub fn detect(times_sec: &[f64], velocities_mm_s: &[f64], params: &EventParams) -> Result<DetectedEvents> {
    if times_sec.len() != velocities_mm_s.len() {
        let (found, expected) = (velocities_mm_s.len(), times_sec.len());
        return Err(AnalysisError::Length { what: "the list of velocities", found, expected });
    }
    let Some(sampling_rate_hz) = sampling_rate_hz(times_sec) else { return Ok(DetectedEvents::default()) };
    let speed = |velocity: &f64| if velocity.is_finite() { velocity.abs() } else { f64::NAN };
    let trace = Trace { times: times_sec, speeds: velocities_mm_s.iter().map(speed).collect(), sampling_rate_hz };
    let (mut events, threshold_mm_s) = shifts::detect(&trace, &params.baseline_drop);
    events.extend(gaps::nan_gaps(&trace, &params.nan_gap));
    events.extend(gaps::zero_gaps(&trace, &params.zero_gap));
    events.sort_by_key(|event| event.i_start);
    Ok(DetectedEvents { events, threshold_mm_s, sampling_rate_hz: Some(sampling_rate_hz) })
}
