//! The speed of what moves in a line scan, by the Radon transform.
//!
//! In a kymograph (rows are lines in time, columns are pixels in space) a moving cell is a streak, and the slope of the
//! streak is its velocity. A window of some lines is projected at many angles; along the streaks the projection varies
//! most. The method is that of Drew et al. (2010; see the crate's documentation), in the form that kymflow calls
//! `mpRadon`: 180 angles one degree apart, then 17 around the best, a quarter of a degree apart.
//!
//! A window of *w* lines begins every *w*/4 lines. There are ⌊*n* / (*w*/4)⌋ − 3 windows in *n* lines.
//!
//! This module does not know where pixels come from.

mod exact;
mod geometry;
mod image;
mod params;
mod projection;
mod search;
mod summary;
mod velocity;

pub use image::Image;
pub use params::{RadonParams, window_count};
pub use summary::{Figures, Summary, figures, summary};
pub use velocity::{ALGORITHM, Velocities, clean, velocities, velocity_mm_s, without_outliers};

#[cfg(test)]
mod tests;
