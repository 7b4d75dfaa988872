//! Summary figures of an ROI.
//!
//! This file has the figures and their rules. It does not know the columns of a table.

use crate::stats;

/// Figures of a velocity trace in mm/s. `None` if there is no finite value, or if the figure has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// The minimum of the finite velocities.
    pub min: Option<f64>,
    /// The maximum of the finite velocities.
    pub max: Option<f64>,
    /// The mean of the finite velocities.
    pub mean: Option<f64>,
    /// Their population standard deviation.
    pub std: Option<f64>,
    /// The standard error: std / √(number of finite values).
    pub se: Option<f64>,
    /// The coefficient of variation, std / mean; `None` if |mean| ≤ 1e-10.
    pub cv: Option<f64>,
    /// The number of values that are not finite.
    pub n_nan: usize,
    /// The number of values that are 0.
    pub n_zero: usize,
    /// The number of values greater than mean + 2 std.
    pub n_big: usize,
}

/// The figures of a velocity trace.
pub fn summary(velocities: &[f64]) -> Summary {
    let finite = || velocities.iter().copied().filter(|value| value.is_finite());
    let count = finite().count();
    let n_nan = velocities.len() - count;
    let Some(Figures { min, max, mean, std }) = figures(finite()) else {
        return Summary { n_nan, ..Summary::default() };
    };
    Summary {
        min: Some(min),
        max: Some(max),
        mean: Some(mean),
        std: Some(std),
        se: Some(std / (count as f64).sqrt()),
        cv: (mean.abs() > 1e-10).then(|| std / mean),
        n_nan,
        n_zero: finite().filter(|value| *value == 0.0).count(),
        n_big: finite().filter(|value| *value > mean + 2.0 * std).count(),
    }
}

/// Figures of a set of values.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// The minimum.
    pub min: f64,
    /// The maximum.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The population standard deviation.
    pub std: f64,
}

/// The figures of the finite values; `None` if there is none.
pub fn figures(values: impl Iterator<Item = f64> + Clone) -> Option<Figures> {
    let finite = values.filter(|value| value.is_finite());
    finite.clone().next()?;
    let (min, max) =
        finite.clone().fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
    let (mean, std) = stats::mean_std(finite);
    Some(Figures { min, max, mean, std })
}
