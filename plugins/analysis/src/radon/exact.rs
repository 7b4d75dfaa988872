//! A projection with the same float32 roundings as scikit-image and numpy.
//!
//! This file reproduces their order of additions. It is slow, so `search` uses it only for the windows that need it.
//!
//! kymflow takes the angle with the greatest variance in float32. If two angles are within about 1e-6 of each other,
//! rounding decides. A few windows in a hundred are like that; for them this file gives kymflow's decision.

use super::geometry::{Square, View};

/// The variance of the projection of a window (with its mean subtracted) at an angle, computed in float32.
pub(crate) fn variance(square: &Square, window: &[f32], degrees: f32) -> f32 {
    let view = View::new(square, degrees);
    let projection: Vec<f32> = (0..square.side).map(|x| column(&view, window, x)).collect();
    let count = square.side as f32;
    let mean = projection.iter().fold(0.0, |sum: f32, value| sum + value) / count;
    projection.iter().fold(0.0, |sum: f32, value| sum + (value - mean) * (value - mean)) / count
}

/// The sum of one column of the rotated square.
fn column(view: &View<'_>, window: &[f32], x: usize) -> f32 {
    let mut sum = 0.0_f32;
    for y in view.reach(x) {
        let Some(taps) = view.taps(x, y) else { continue };
        let pixel = |row, column| view.pixel(&taps, row, column).map_or(0.0, |at| window[at]);
        // As there, one product of each row is computed in float64, the other in float32.
        let along = |row| {
            let (first, second) = (pixel(row, 0), pixel(row, 1));
            (1.0 - f64::from(taps.column_part)) * f64::from(first) + f64::from(taps.column_part * second)
        };
        let part = f64::from(taps.row_part);
        sum += ((1.0 - part) * along(0) + part * along(1)) as f32;
    }
    sum
}

/// The mean of float32 values as numpy computes it: pairwise sums, eight at a time.
pub(crate) fn mean(values: &[f32]) -> f32 {
    sum(values) / values.len() as f32
}

fn sum(values: &[f32]) -> f32 {
    let count = values.len();
    if count < 8 {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    if count <= 128 {
        let mut parts = [0.0; 8];
        let eights = values.chunks_exact(8);
        let rest = eights.remainder();
        for eight in eights {
            parts.iter_mut().zip(eight).for_each(|(part, value)| *part += value);
        }
        let [a, b, c, d, e, f, g, h] = parts;
        return rest.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, value| sum + value);
    }
    let half = count / 2 - count / 2 % 8;
    sum(&values[..half]) + sum(&values[half..])
}
