//! Two analyses of a line scan: from pixels to velocities, and from velocities to events.
//!
//! Everything is a plain function over slices. Nothing here reads a file, knows a plugin or prints. The plugins
//! `radon_velocity` and `event_detection` make these functions available through kymhost's plugin API.
//!
//! - [`radon`]: the speed of the cells in each window of a kymograph, by the Radon transform (Drew, Blinder,
//!   Cauwenberghs, Shih & Kleinfeld, *Rapid determination of particle velocity from space-time images using the Radon
//!   transform*, J. Comput. Neurosci. 29, 5–11, 2010), and summary figures of an ROI.
//! - [`events`]: baseline shifts, NaN gaps and zero gaps in a velocity trace.
//! - [`roi`]: regions of interest and the size of a pixel, read from the metadata.
//! - [`stats`]: medians and deviations, which both analyses use.
//!
//! Names end with their unit: `_sec`, `_mm_s`, `_um`, `_deg`. An unknown velocity or time is NaN.

pub mod cells;
mod error;
pub mod events;
pub mod radon;
pub mod roi;
pub mod stats;
mod work;

pub use error::{AnalysisError, Result, VoxelsProblem};
pub use work::Work;
