//! The angle of each window.
//!
//! This file does the coarse and the fine search, decides near-ties, and distributes windows to threads. It does not
//! know what an angle means.

use super::exact;
use super::geometry::{self, COARSE, FINE, FINE_REACH, Square};
use super::image::Image;
use super::projection::{LANES, Lanes, Projector};
use crate::{Result, Work};
use std::ops::Range;

/// If two variances are closer than this (relative to the greater one, for a projection of 32 points), float32
/// rounding may decide which is greater. It is about ten times the largest effect that was observed.
const NEAR: f32 = 1e-5;

/// The share of the coarse search in the work, for progress.
const COARSE_SHARE: f64 = 0.9;

/// The windows of an ROI: window k begins at line `first_line + k * step`.
#[derive(Debug, Clone)]
pub(crate) struct Windows<'a> {
    pub(crate) image: Image<'a>,
    pub(crate) first_line: usize,
    pub(crate) pixels: Range<usize>,
    pub(crate) lines: usize,
    pub(crate) step: usize,
    pub(crate) count: usize,
}

impl Windows<'_> {
    /// Puts the pixels of a window, with their mean subtracted, into `window`. Returns `false` if one is not finite.
    fn centre(&self, number: usize, window: &mut Vec<f32>) -> bool {
        window.clear();
        let first = self.first_line + number * self.step;
        for line in first..first + self.lines {
            window.extend_from_slice(self.image.part(line, self.pixels.clone()));
        }
        if !window.iter().all(|value| value.is_finite()) {
            return false;
        }
        let mean = exact::mean(window);
        window.iter_mut().for_each(|value| *value -= mean);
        true
    }
}

/// Interleaved windows, their numbers, and whether all their pixels are finite.
struct Batch {
    pixels: Vec<Lanes>,
    windows: Vec<usize>,
    known: Vec<bool>,
}

impl Batch {
    fn new(windows: &Windows<'_>, numbers: Vec<usize>) -> Self {
        let mut pixels = vec![[0.0; LANES]; windows.lines * windows.pixels.len()];
        let mut window = Vec::with_capacity(pixels.len());
        let mut known = Vec::with_capacity(LANES);
        for (lane, number) in numbers.iter().enumerate() {
            let is_known = windows.centre(*number, &mut window);
            known.push(is_known);
            if is_known {
                pixels.iter_mut().zip(&window).for_each(|(lanes, value)| lanes[lane] = *value);
            }
        }
        Self { pixels, windows: numbers, known }
    }

    fn window(&self, lane: usize) -> Vec<f32> {
        self.pixels.iter().map(|lanes| lanes[lane]).collect()
    }
}

/// The angle of each window in degrees, −2.00 to 181.00 in steps of 0.25; `None` if a pixel is not finite.
pub(crate) fn angles(windows: &Windows<'_>, work: &Work<'_>) -> Result<Vec<Option<f32>>> {
    let projector = Projector::new(Square::new(windows.lines, windows.pixels.len()));
    let a_task = LANES * projector.batches_a_task();
    let tasks = windows.count.div_ceil(a_task);
    let coarse: Vec<Vec<Option<usize>>> = work.run(tasks, (0.0, COARSE_SHARE), |task| {
        let numbers = task * a_task..windows.count.min((task + 1) * a_task);
        let angles: Vec<usize> = (0..COARSE).map(geometry::coarse_number).collect();
        best(&projector, windows, &numbers.collect::<Vec<_>>(), &angles)
    })?;
    // Windows with the same coarse angle share the matrices of its fine angles.
    let mut by_coarse: Vec<Vec<usize>> = vec![Vec::new(); COARSE];
    for (number, coarse) in coarse.iter().flatten().enumerate() {
        if let Some(coarse) = coarse {
            by_coarse[*coarse].push(number);
        }
    }
    let tasks: Vec<(usize, &[usize])> = by_coarse
        .iter()
        .enumerate()
        .flat_map(|(coarse, numbers)| numbers.chunks(LANES * 16).map(move |numbers| (coarse, numbers)))
        .collect();
    let fine = work.run(tasks.len(), (COARSE_SHARE, 1.0), |task| {
        let (coarse, numbers) = tasks[task];
        let first = geometry::coarse_number(coarse) - FINE_REACH;
        let angles: Vec<usize> = (first..first + FINE).collect();
        let best = best(&projector, windows, numbers, &angles);
        numbers.iter().zip(best).map(|(number, best)| (*number, best.map(|best| angles[best]))).collect::<Vec<_>>()
    })?;
    let mut angles = vec![None; windows.count];
    for (number, angle) in fine.into_iter().flatten() {
        angles[number] = angle.map(geometry::degrees);
    }
    Ok(angles)
}

/// For each window, which of the angles (given by their indices) has the greatest variance; the first of equal ones.
fn best(projector: &Projector, windows: &Windows<'_>, numbers: &[usize], angles: &[usize]) -> Vec<Option<usize>> {
    let batches: Vec<Batch> = numbers.chunks(LANES).map(|numbers| Batch::new(windows, numbers.to_vec())).collect();
    let mut variances = vec![[0.0; LANES]; batches.len() * angles.len()];
    let mut scratch = Vec::new();
    for (at, angle) in angles.iter().enumerate() {
        let matrix = projector.matrix(*angle);
        for (batch, variances) in batches.iter().zip(variances.chunks_exact_mut(angles.len())) {
            variances[at] = projector.variances(&matrix, &batch.pixels, &mut scratch);
        }
    }
    let mut answers = Vec::with_capacity(numbers.len());
    for (batch, variances) in batches.iter().zip(variances.chunks_exact(angles.len())) {
        for lane in 0..batch.windows.len() {
            let of_lane = variances.iter().map(|lanes| lanes[lane]);
            answers.push(batch.known[lane].then(|| decide(projector.square(), of_lane, || batch.window(lane), angles)));
        }
    }
    answers
}

/// The index of the first of the greatest variances. Near-ties are computed exactly.
fn decide(
    square: &Square,
    variances: impl Iterator<Item = f32> + Clone,
    window: impl Fn() -> Vec<f32>,
    angles: &[usize],
) -> usize {
    let greatest = variances.clone().fold(0.0, f32::max);
    if greatest == 0.0
        && variances.clone().all(|variance| variance == 0.0)
        && window().iter().all(|value| *value == 0.0)
    {
        return 0;
    }
    let all_finite = variances.clone().all(f32::is_finite);
    let near = NEAR * (square.side as f32 / 32.0).max(1.0);
    let close: Vec<usize> = (0..)
        .zip(variances)
        .filter(|(_, variance)| !all_finite || *variance >= greatest * (1.0 - near))
        .map(|(at, _)| at)
        .collect();
    if let [only] = close[..] {
        return only;
    }
    let window = window();
    let mut found = (0, f32::NEG_INFINITY);
    for at in close {
        let variance = exact::variance(square, &window, geometry::degrees(angles[at]));
        // Like numpy's argmax: NaN wins.
        if variance.is_nan() {
            return at;
        }
        if variance > found.1 {
            found = (at, variance);
        }
    }
    found.0
}
