//! Velocities of an ROI: from angles, with outliers and smoothing.
//!
//! The angles come from `search`. This file does not know where pixels come from.

use super::image::Image;
use super::params::{RadonParams, window_count};
use super::{geometry, search};
use crate::roi::{Roi, Voxels};
use crate::{Result, Work, stats};

/// The name of the algorithm, as kymflow writes it into its tables.
pub const ALGORITHM: &str = "mpRadon";

/// The velocities of an ROI: each list has one value per window.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Velocities {
    /// The middle of the window, in seconds since the first line of the recording.
    pub time_sec: Vec<f64>,
    /// The angle in degrees, −2.00 to 181.00 in steps of 0.25; NaN if there is none.
    pub theta_deg: Vec<f64>,
    /// The velocity of that angle in mm/s, including outliers.
    pub raw_mm_s: Vec<f64>,
    /// The velocity in mm/s; NaN if it is an outlier.
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

    /// The median of each velocity and its neighbours, in mm/s: see [`clean`].
    pub fn clean_mm_s(&self) -> Vec<f64> {
        clean(&self.velocity_mm_s)
    }
}

/// Computes the velocities of an ROI, whose bounds are clamped to the image.
///
/// The numbers equal kymflow's: angles are chosen by float32 arithmetic, and velocities are float32 values. A window
/// with a pixel that is not finite has no velocity. An ROI in which all pixels are equal has no velocities, because
/// no movement can be seen in it.
///
/// # Errors
/// [`AnalysisError::Cancelled`](crate::AnalysisError::Cancelled) if the caller asked to stop.
pub fn velocities(
    image: &Image<'_>,
    roi: &Roi,
    voxels: Voxels,
    params: &RadonParams,
    work: &Work<'_>,
) -> Result<Velocities> {
    let step = params.window_lines / 4;
    let (lines, pixels) = roi.within(image.lines(), image.width());
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
/// The result is a float32 value, converted to the float64 with the same decimal digits, as in the CSV that kymflow
/// writes. At 90° it is finite.
pub fn velocity_mm_s(theta_deg: f32, voxels: Voxels) -> f64 {
    let um_per_sec = (voxels.um_per_pixel / voxels.seconds_per_line) as f32;
    let tangent = geometry::radians(theta_deg).tan();
    let velocity = um_per_sec * tangent / 1000.0;
    velocity.to_string().parse().unwrap_or(f64::from(velocity))
}

/// Replaces values more than two population standard deviations from the mean by NaN. NaN stays NaN, and is not part of
/// mean and deviation.
pub fn without_outliers(velocities: &[f64]) -> Vec<f64> {
    let (mean, std) = stats::mean_std(velocities.iter().copied().filter(|value| value.is_finite()));
    let outside = |value: f64| value > mean + 2.0 * std || value < mean - 2.0 * std;
    velocities.iter().map(|value| if outside(*value) { f64::NAN } else { *value }).collect()
}

/// `cleanVelocity`: for each value, the median of the finite ones among it and its two neighbours (one at the ends);
/// NaN if the value itself is NaN. The median of two values is their mean.
pub fn clean(velocities: &[f64]) -> Vec<f64> {
    let around = |at: usize| &velocities[at.saturating_sub(1)..velocities.len().min(at + 2)];
    let median = |at: usize| {
        stats::median(&mut around(at).iter().copied().filter(|value| value.is_finite()).collect::<Vec<_>>())
    };
    velocities.iter().enumerate().map(|(at, value)| if value.is_nan() { f64::NAN } else { median(at) }).collect()
}
