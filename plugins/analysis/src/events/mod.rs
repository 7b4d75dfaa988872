//! Events in a velocity trace: baseline shifts, NaN gaps and zero gaps.
//!
//! The rules are those of kymflow. A *shift* is where the median speed after a sample differs from the median before
//! it: a stall begins with a drop and ends with a rise. A *gap* is a stretch in which most velocities are unknown
//! (NaN) or zero. Infinite velocities count as unknown.
//!
//! Windows are given in seconds and converted to samples with the sampling rate, which is 1 / the median of the
//! positive finite steps of the times. A trace without such a step (fewer than two samples, or times that do not
//! advance) has no sampling rate and no events.
//!
//! This module does not know where velocities come from.

mod detect;
mod event;
mod gaps;
mod median;
mod params;
mod shifts;
mod trace;

pub use detect::{DetectedEvents, detect};
pub use event::{Event, EventType, MachineType};
pub use params::{EventParams, NanGapParams, ShiftParams, ZeroGapParams};
pub use trace::sampling_rate_hz;

#[cfg(test)]
mod tests;
