//! The geometry of a projection: the padded square of a window, and the place of each of its points at an angle.
//!
//! Places are computed in float32, as in scikit-image. This file does not read pixels.

use std::ops::Range;

/// The number of coarse angles: 0, 1 … 179 degrees.
pub(crate) const COARSE: usize = 180;
/// Steps of the fine search on each side of the coarse angle.
pub(crate) const FINE_REACH: usize = 8;
/// The number of fine angles around a coarse angle: −2.00, −1.75 … +2.00 degrees from it.
pub(crate) const FINE: usize = 2 * FINE_REACH + 1;
/// The number of all angles: −2.00, −1.75 … 181.00 degrees.
pub(crate) const ANGLES: usize = 4 * (COARSE - 1) + FINE;

/// The index of a coarse angle among all angles.
pub(crate) fn coarse_number(coarse: usize) -> usize {
    4 * coarse + FINE_REACH
}

/// The angle with this index among all angles, in degrees; it is exact.
pub(crate) fn degrees(number: usize) -> f32 {
    (number as f32 - FINE_REACH as f32) / 4.0
}

/// An angle in radians, computed in float32.
pub(crate) fn radians(degrees: f32) -> f32 {
    degrees * (std::f32::consts::PI / 180.0)
}

/// A window, and the square to which it is padded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Square {
    /// The number of lines of the window.
    pub(crate) lines: usize,
    /// The number of pixels of a line.
    pub(crate) pixels: usize,
    /// The side of the square, which is the length of a projection.
    pub(crate) side: usize,
    /// The number of zeros before the first line and before the first pixel.
    before: (usize, usize),
}

impl Square {
    pub(crate) fn new(lines: usize, pixels: usize) -> Self {
        let diagonal = std::f64::consts::SQRT_2 * lines.max(pixels) as f64;
        let padding = |length: usize| (diagonal - length as f64).ceil() as usize;
        let before = |length: usize| (length + padding(length)) / 2 - length / 2;
        Self { lines, pixels, side: lines + padding(lines), before: (before(lines), before(pixels)) }
    }

    /// The number of pixels of the window.
    pub(crate) fn len(&self) -> usize {
        self.lines * self.pixels
    }
}

/// The four pixels around one point of the rotated square. Rows and columns are those of the window, and may be
/// outside it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taps {
    rows: [isize; 2],
    columns: [isize; 2],
    /// The distance of the point from the first of the two rows and columns, 0 to 1.
    pub(crate) row_part: f32,
    pub(crate) column_part: f32,
}

/// A square at one angle.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    square: &'a Square,
    /// Input column = m0 x + m1 y + m2, input row = m3 x + m4 y + m5.
    matrix: [f32; 6],
}

impl<'a> View<'a> {
    pub(crate) fn new(square: &'a Square, degrees: f32) -> Self {
        let (sin, cos) = sin_cos(radians(degrees));
        let centre = -((square.side / 2) as f32);
        Self { square, matrix: [cos, sin, centre * (cos + sin - 1.0), -sin, cos, centre * (cos - sin - 1.0)] }
    }

    /// The points (y) of output column `x` that may touch the window. It may contain a few more, but never fewer.
    pub(crate) fn reach(&self, x: usize) -> Range<usize> {
        let [m0, m1, m2, m3, m4, m5] = self.matrix.map(f64::from);
        let Square { lines, pixels, side, before } = *self.square;
        let x = x as f64;
        // In coordinates of the window, offset + slope · y must be between −1 and the length.
        let parts = [(m0 * x + m2 - before.1 as f64, m1, pixels), (m3 * x + m5 - before.0 as f64, m4, lines)];
        let (mut first, mut last) = (0.0, side as f64 - 1.0);
        for (offset, slope, length) in parts {
            if slope.abs() > 1e-6 {
                let ends = [(-1.0 - offset) / slope, (length as f64 - offset) / slope];
                first = f64::max(first, ends[0].min(ends[1]).floor() - 1.0);
                last = f64::min(last, ends[0].max(ends[1]).ceil() + 1.0);
            }
        }
        if first > last { 0..0 } else { first as usize..last as usize + 1 }
    }

    /// The pixels from which point (x, y) of the rotated square is interpolated; `None` if all of them are padding.
    pub(crate) fn taps(&self, x: usize, y: usize) -> Option<Taps> {
        let [m0, m1, m2, m3, m4, m5] = self.matrix;
        let Square { lines, pixels, before, .. } = *self.square;
        let (x, y) = (x as f32, y as f32);
        let (column, row) = (m0 * x + m1 * y + m2, m3 * x + m4 * y + m5);
        let around = |place: f32, before: usize| {
            let (first, last) = (place.floor(), place.ceil());
            ([first as isize - before as isize, last as isize - before as isize], place - first)
        };
        let ((columns, column_part), (rows, row_part)) = (around(column, before.1), around(row, before.0));
        let outside = |ends: [isize; 2], length: usize| ends[1] < 0 || ends[0] >= length as isize;
        if outside(columns, pixels) || outside(rows, lines) {
            return None;
        }
        Some(Taps { rows, columns, row_part, column_part })
    }

    /// The index of the window's pixel at a corner of the taps (0 or 1 each); `None` outside the window.
    pub(crate) fn pixel(&self, taps: &Taps, row: usize, column: usize) -> Option<usize> {
        let (row, column) = (taps.rows[row], taps.columns[column]);
        let inside = |at: isize, length: usize| usize::try_from(at).ok().filter(|at| *at < length);
        Some(inside(row, self.square.lines)? * self.square.pixels + inside(column, self.square.pixels)?)
    }
}

/// Sine and cosine of a small float32 angle, equal to numpy's to the last bit on processors with fused multiply-add.
///
/// The last bits decide near-ties between two angles. So this follows numpy (a reduction by quarter turns in three
/// parts, then one of two minimax polynomials) instead of the C library.
fn sin_cos(angle: f32) -> (f32, f32) {
    /// π/2 in three parts, negative.
    const QUARTER: [f32; 3] = [f32::from_bits(0xBFC9_0FD8), f32::from_bits(0xB4A8_885A), f32::from_bits(0xA7C2_34C4)];
    /// sin r = r + r³ · polynomial in r², highest power first.
    const SIN: [f32; 4] = [
        f32::from_bits(0x363E_9DDE),
        f32::from_bits(0xB950_35DD),
        f32::from_bits(0x3C08_88CD),
        f32::from_bits(0xBE2A_AAAB),
    ];
    /// cos r = polynomial in r², highest power first.
    const COS: [f32; 5] =
        [f32::from_bits(0x37CC_730B), f32::from_bits(0xBAB6_036E), f32::from_bits(0x3D2A_AA9E), -0.5, 1.0];
    let turns = (angle * std::f32::consts::FRAC_2_PI).round_ties_even();
    let rest = QUARTER.iter().fold(angle, |rest, part| turns.mul_add(*part, rest));
    let square = rest * rest;
    let cos = COS.iter().copied().reduce(|sum, term| sum.mul_add(square, term)).unwrap_or(1.0);
    let sin = SIN.iter().copied().reduce(|sum, term| sum.mul_add(square, term)).unwrap_or(0.0);
    let sin = sin.mul_add(square, 0.0).mul_add(rest, rest);
    match (turns as i32).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}
