//! The speed of what moves in a line scan, by the Radon transform.
//!
//! Owns: windows, velocities from angles, outliers, the filtered forms of a velocity. Never: where pixels come from.
//!
//! In a kymograph (rows = lines in time, columns = pixels in space) a moving cell is a streak; its slope is its velocity. A window of some
//! lines is projected at many angles: along the streaks the projection varies most. The method is that of Drew et al. (2010), in
//! the form that kymflow calls `mpRadon`: 180 angles a degree apart, then 17 around the best, a quarter of a degree apart.
//!
//! A window of *w* lines begins every *w*/4 lines. There are ⌊*n* / (*w*/4)⌋ − 3 of them in *n* lines.

mod exact;
mod geometry;
mod projection;
mod search;
mod summary;

pub use summary::{Figures, Summary, figures, summary};

use crate::roi::{Roi, Voxels};
use crate::{Error, Result, Work, stats};
use std::ops::Range;

/// The name of the algorithm, as kymflow writes it into its tables.
pub const ALGORITHM: &str = "mpRadon";

/// A kymograph's pixels: `lines` rows of `width` values, row after row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Image<'a> {
    values: &'a [f32],
    lines: usize,
    width: usize,
}

impl<'a> Image<'a> {
    /// An image of `lines` rows (time) by `width` columns (space), row after row.
    ///
    /// # Errors
    /// [`Error::Length`] where `values` is not `lines * width` long.
    pub fn new(values: &'a [f32], lines: usize, width: usize) -> Result<Self> {
        let expected = lines.saturating_mul(width);
        if values.len() != expected {
            return Err(Error::Length { what: "the image", found: values.len(), expected });
        }
        Ok(Self { values, lines, width })
    }

    /// Its rows.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Its columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Some pixels of a line.
    fn part(&self, line: usize, pixels: Range<usize>) -> &'a [f32] {
        &self.values[line * self.width + pixels.start..line * self.width + pixels.end]
    }

    /// The values of an ROI, line after line.
    pub fn of_roi(&self, roi: &Roi) -> impl Iterator<Item = f32> + use<'a> {
        let image = *self;
        let (lines, pixels) = roi.within(self.lines, self.width);
        lines.flat_map(move |line| image.part(line, pixels.clone()).iter().copied())
    }
}

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Params {
    /// Lines of a window: a multiple of 4, from 4 to [`Params::MAX_WINDOW_LINES`].
    pub window_lines: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { window_lines: 16 }
    }
}

impl Params {
    /// The longest window that is taken.
    pub const MAX_WINDOW_LINES: usize = 4096;

    /// Windows of so many lines.
    ///
    /// # Errors
    /// [`Error::Param`] where it is not a multiple of 4 from 4 to [`Params::MAX_WINDOW_LINES`].
    pub fn window_lines(lines: usize) -> Result<Self> {
        if lines == 0 || !lines.is_multiple_of(4) || lines > Self::MAX_WINDOW_LINES {
            return Err(Error::Param {
                name: "window_lines".to_owned(),
                found: lines.to_string(),
                expected: format!("a multiple of 4 from 4 to {}", Self::MAX_WINDOW_LINES),
            });
        }
        Ok(Self { window_lines: lines })
    }
}

/// The velocities of an ROI: one value a window in each list.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Velocities {
    /// The middle of the window, in seconds since the recording's first line.
    pub time_sec: Vec<f64>,
    /// The angle, −2.00 to 181.00 in steps of 0.25; NaN where there is none.
    pub theta_deg: Vec<f64>,
    /// The velocity of that angle, outliers and all.
    pub raw_mm_s: Vec<f64>,
    /// The velocity; NaN where it is an outlier.
    pub velocity_mm_s: Vec<f64>,
}

impl Velocities {
    /// The number of windows.
    pub fn len(&self) -> usize {
        self.time_sec.len()
    }

    /// Whether the ROI is too short for a window.
    pub fn is_empty(&self) -> bool {
        self.time_sec.is_empty()
    }

    /// The median of each velocity and its neighbours: see [`clean`].
    pub fn clean_mm_s(&self) -> Vec<f64> {
        clean(&self.velocity_mm_s)
    }
}

/// How many windows there are in so many lines.
pub fn window_count(lines: usize, params: &Params) -> usize {
    (lines / (params.window_lines / 4)).saturating_sub(3)
}

/// The velocities of an ROI, its bounds clamped to the image.
///
/// kymflow's numbers: angles are decided as float32 arithmetic decides them, and velocities are float32 values. A window with a pixel that is
/// not finite has no velocity, and an ROI all of one value has none at all: nothing in it can be seen to move.
///
/// # Errors
/// [`Error::Cancelled`].
pub fn velocities(
    image: &Image<'_>,
    roi: &Roi,
    voxels: Voxels,
    params: &Params,
    work: &Work<'_>,
) -> Result<Velocities> {
    let step = params.window_lines / 4;
    let (lines, pixels) = roi.within(image.lines, image.width);
    let count = if pixels.is_empty() { 0 } else { window_count(lines.len(), params) };
    let middle = |window: usize| (lines.start + window * step + params.window_lines / 2) as f64;
    let time_sec = (0..count).map(|window| middle(window) * voxels.seconds_per_line).collect();
    let mut values = image.of_roi(roi);
    let first = values.next();
    let angles = if values.all(|value| Some(value) == first) {
        vec![None; count]
    } else {
        let (image, first_line, lines) = (*image, lines.start, params.window_lines);
        search::angles(&search::Windows { image, first_line, pixels, lines, step, count }, work)?
    };
    let theta_deg = angles.iter().map(|angle| angle.map_or(f64::NAN, f64::from)).collect();
    let raw_mm_s: Vec<f64> =
        angles.into_iter().map(|angle| angle.map_or(f64::NAN, |angle| velocity_mm_s(angle, voxels))).collect();
    let velocity_mm_s = without_outliers(&raw_mm_s);
    Ok(Velocities { time_sec, theta_deg, raw_mm_s, velocity_mm_s })
}

/// The velocity of streaks at an angle, in mm/s: µm per pixel / seconds per line · tan θ / 1000.
///
/// A float32 value, as the float64 with its digits in decimal: what kymflow has, as it writes it to CSV. At 90° it is finite.
pub fn velocity_mm_s(theta_deg: f32, voxels: Voxels) -> f64 {
    let um_per_sec = (voxels.um_per_pixel / voxels.seconds_per_line) as f32;
    let tangent = geometry::radians(theta_deg).tan();
    let velocity = um_per_sec * tangent / 1000.0;
    velocity.to_string().parse().unwrap_or(f64::from(velocity))
}

/// NaN for all that is more than two standard deviations (the population's) from the mean. NaN stays, and counts for neither.
pub fn without_outliers(velocities: &[f64]) -> Vec<f64> {
    let (mean, std) = stats::mean_std(velocities.iter().copied().filter(|value| value.is_finite()));
    let outside = |value: f64| value > mean + 2.0 * std || value < mean - 2.0 * std;
    velocities.iter().map(|value| if outside(*value) { f64::NAN } else { *value }).collect()
}

/// `cleanVelocity`: the median of the finite ones among each value and its two neighbours (at the ends: its one neighbour); NaN where the value
/// itself is NaN. The median of two is their mean.
pub fn clean(velocities: &[f64]) -> Vec<f64> {
    let around = |at: usize| &velocities[at.saturating_sub(1)..velocities.len().min(at + 2)];
    let median = |at: usize| {
        stats::median(&mut around(at).iter().copied().filter(|value| value.is_finite()).collect::<Vec<_>>())
    };
    velocities.iter().enumerate().map(|(at, value)| if value.is_nan() { f64::NAN } else { median(at) }).collect()
}

#[cfg(test)]
mod tests;
