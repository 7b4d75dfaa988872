//! The two analyses of a line scan: pixels to velocities, velocities to events.
//!
//! Plain functions over slices. Nothing here reads a file, knows a plugin or prints; the plugins `radon_velocity` and
//! `event_detection` put these functions behind kymhost's plugin API.
//!
//! - [`radon`]: the speed of the cells in each window of a kymograph, by the Radon transform (Drew, Blinder, Cauwenberghs,
//!   Shih & Kleinfeld, *Rapid determination of particle velocity from space-time images using the Radon transform*,
//!   J. Comput. Neurosci. 29, 5–11, 2010), and what is told of an ROI as a whole.
//! - [`events`]: baseline shifts, NaN gaps and zero gaps in a velocity trace.
//! - [`roi`]: regions of interest and the size of a pixel, as metadata payloads have them.
//! - [`stats`]: medians and the like, which both use.
//!
//! Units stand last in names: `_sec`, `_mm_s`, `_um`, `_deg`. Where a velocity or time is unknown it is NaN.

mod error;
pub mod events;
pub mod radon;
pub mod roi;
pub mod stats;
mod work;

pub use error::{Error, Result};
pub use work::Work;
