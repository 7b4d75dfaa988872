//! Projections of many windows at once.
//!
//! This file has the sparse matrix of an angle, and its product with a batch of windows. It does not choose the
//! angles.
//!
//! For windows of one shape, the projection at an angle is one matrix, of which about 2 % is not zero. Sixteen
//! windows are stored interleaved, so that each weight is loaded once and multiplied with sixteen pixels. The sums of
//! a window are always computed in the same order and without fused multiply-add, so a result depends neither on the
//! batch nor on the processor.

use super::geometry::{ANGLES, Square, View, degrees};
use fearless_simd::{Level, Simd, SimdBase as _, dispatch, f32x16};
use std::borrow::Cow;
use std::sync::OnceLock;

/// The number of windows in a batch.
pub(crate) const LANES: usize = 16;

/// One number for each window of a batch.
pub(crate) type Lanes = [f32; LANES];

/// Matrices are kept for windows with up to this number of pixels; they take about 20 KB per pixel.
const KEPT: usize = 4096;

/// The matrix of one angle: the pixels in each column of the projection, with weights.
#[derive(Debug, Clone)]
pub(crate) struct Matrix {
    /// The end of the entries of each column.
    ends: Vec<u32>,
    /// Pixel index and weight.
    entries: Vec<(u32, f32)>,
}

impl Matrix {
    fn new(square: &Square, degrees: f32) -> Self {
        let view = View::new(square, degrees);
        let (mut ends, mut entries): (Vec<u32>, Vec<(u32, f32)>) = (Vec::with_capacity(square.side), Vec::new());
        // The weights of the current column by pixel, and the pixels that have one.
        let (mut weights, mut touched) = (vec![0.0_f64; square.len()], Vec::new());
        for x in 0..square.side {
            for y in view.reach(x) {
                let Some(taps) = view.taps(x, y) else { continue };
                let (row, column) = (f64::from(taps.row_part), f64::from(taps.column_part));
                let corners = [
                    (0, 0, (1.0 - row) * (1.0 - column)),
                    (0, 1, (1.0 - row) * column),
                    (1, 0, row * (1.0 - column)),
                    (1, 1, row * column),
                ];
                for (row, column, weight) in corners {
                    if weight == 0.0 {
                        continue;
                    }
                    if let Some(pixel) = view.pixel(&taps, row, column) {
                        if weights[pixel] == 0.0 {
                            touched.push(pixel);
                        }
                        weights[pixel] += weight;
                    }
                }
            }
            entries.extend(touched.iter().map(|pixel| (*pixel as u32, weights[*pixel] as f32)));
            touched.drain(..).for_each(|pixel| weights[pixel] = 0.0);
            ends.push(entries.len() as u32);
        }
        Self { ends, entries }
    }
}

/// The matrices of all angles for windows of one shape, each made when it is first needed.
#[derive(Debug)]
pub(crate) struct Projector {
    square: Square,
    kept: Option<Vec<OnceLock<Matrix>>>,
    level: Level,
}

impl Projector {
    pub(crate) fn new(square: Square) -> Self {
        let kept = (square.len() <= KEPT).then(|| (0..ANGLES).map(|_| OnceLock::new()).collect());
        Self { square, kept, level: Level::new() }
    }

    pub(crate) fn square(&self) -> &Square {
        &self.square
    }

    /// How many batches a task should process angle by angle: one if all matrices are kept, otherwise as many as fit
    /// into about 32 MB, so that a matrix is used several times.
    pub(crate) fn batches_a_task(&self) -> usize {
        if self.kept.is_some() { 1 } else { ((1 << 25) / (self.square.len() * size_of::<Lanes>())).clamp(1, 16) }
    }

    /// The matrix of the angle with this index.
    pub(crate) fn matrix(&self, number: usize) -> Cow<'_, Matrix> {
        let make = || Matrix::new(&self.square, degrees(number));
        match &self.kept {
            Some(kept) => Cow::Borrowed(kept[number].get_or_init(make)),
            None => Cow::Owned(make()),
        }
    }

    /// The variance of each window's projection. `pixels` has one entry per pixel; `scratch` is memory for the
    /// projections.
    pub(crate) fn variances(&self, matrix: &Matrix, pixels: &[Lanes], scratch: &mut Vec<Lanes>) -> Lanes {
        scratch.resize(self.square.side, [0.0; LANES]);
        dispatch!(self.level, simd => variances(simd, matrix, pixels, scratch))
    }
}

#[inline(always)]
fn variances<S: Simd>(simd: S, matrix: &Matrix, pixels: &[Lanes], projections: &mut [Lanes]) -> Lanes {
    let zero = f32x16::splat(simd, 0.0);
    let product = |(pixel, weight): &(u32, f32)| f32x16::from_slice(simd, &pixels[*pixel as usize]) * *weight;
    let mut start = 0;
    let mut sum = zero;
    for (projection, end) in projections.iter_mut().zip(&matrix.ends) {
        let entries = &matrix.entries[start..*end as usize];
        start = *end as usize;
        // Two sums, so that an addition need not wait for the previous one.
        let (mut even, mut odd) = (zero, zero);
        let pairs = entries.chunks_exact(2);
        if let [entry] = pairs.remainder() {
            even += product(entry);
        }
        for pair in pairs {
            even += product(&pair[0]);
            odd += product(&pair[1]);
        }
        let both = even + odd;
        both.store_slice(projection);
        sum += both;
    }
    let count = projections.len() as f32;
    let mean = sum / count;
    let mut squares = zero;
    for projection in &*projections {
        let difference = f32x16::from_slice(simd, projection) - mean;
        squares += difference * difference;
    }
    let mut variances = [0.0; LANES];
    (squares / count).store_slice(&mut variances);
    variances
}
