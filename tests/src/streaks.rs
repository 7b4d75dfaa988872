//! Line scans made for tests by code of their own: streaks of known slope, and what can be done to a whole recording.
//!
//! Makes pixels from a slope per line, turned and in frames, as TIFF pages. It does not use the code that makes
//! the demo's recordings.

use crate::tiff::{Kind, Page};

/// Cells have places on a line of this length, and repeat after it.
const ROUND: f64 = 911.0;

/// A recording: `lines` rows of `width` pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Rows, in time.
    pub lines: usize,
    /// Pixels of a row, in space.
    pub width: usize,
    /// Row after row.
    pub pixels: Vec<u16>,
}

impl Scan {
    /// Dark cells that move this many pixels towards higher ones from each line to the next, and noise of a few
    /// grey values. With `flash`, two lines near the beginning are brighter as a whole: windows without a
    /// slope.
    pub fn moving(lines: usize, width: usize, seed: u64, flash: bool, pixels_per_line: impl Fn(usize) -> f64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cells = Vec::new();
        let mut place = 0.0;
        while place < ROUND - 8.0 {
            cells.push((place, 1.2 + random.f64(), 400.0 + 500.0 * random.f64()));
            place += 7.0 + 14.0 * random.f64();
        }
        let darkness = |at: f64| -> f64 {
            let near = |&(place, radius, depth): &(f64, f64, f64)| {
                let away = (at - place + ROUND / 2.0).rem_euclid(ROUND) - ROUND / 2.0;
                if away.abs() > 8.0 { 0.0 } else { depth / (1.0 + (away / radius).powi(4)) }
            };
            cells.iter().map(near).sum()
        };
        let mut pixels = Vec::with_capacity(lines * width);
        let mut moved = 0.0;
        for line in 0..lines {
            let light = if flash && (20..22).contains(&line) { 4000.0 } else { 1500.0 };
            for pixel in 0..width {
                let noise = (random.f64() + random.f64() - 1.0) * 60.0;
                let value: f64 = light - darkness(pixel as f64 - moved) + noise;
                pixels.push(value.round().clamp(0.0, 65535.0) as u16);
            }
            moved += pixels_per_line(line);
        }
        Self { lines, width, pixels }
    }

    /// All pixels the same.
    pub fn blank(lines: usize, width: usize, value: u16) -> Self {
        Self { lines, width, pixels: vec![value; lines * width] }
    }

    /// The last line first.
    #[must_use]
    pub fn backwards(&self) -> Self {
        let pixels = self.pixels.chunks(self.width).rev().flatten().copied().collect();
        Self { pixels, ..*self }
    }

    /// Each line from its other end.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        let pixels = self.pixels.chunks(self.width).flat_map(|line| line.iter().rev()).copied().collect();
        Self { pixels, ..*self }
    }

    /// Each pixel by a rule.
    #[must_use]
    pub fn map(&self, pixel: impl Fn(u16) -> u16) -> Self {
        Self { pixels: self.pixels.iter().map(|value| pixel(*value)).collect(), ..*self }
    }

    /// With lines before it and pixels on the left, the same on the other sides, of changing values.
    #[must_use]
    pub fn framed(&self, before: usize, left: usize) -> Self {
        let (lines, width) = (self.lines + 2 * before, self.width + 2 * left);
        let value = |line: usize, pixel: usize| {
            let inside = (before..before + self.lines).contains(&line) && (left..left + self.width).contains(&pixel);
            if inside {
                self.pixels[(line - before) * self.width + pixel - left]
            } else {
                ((line * 7919 + pixel * 104_729) % 4093) as u16
            }
        };
        let pixels = (0..lines * width).map(|at| value(at / width, at % width)).collect();
        Self { lines, width, pixels }
    }

    /// As the page of a TIFF.
    pub fn page(&self) -> Page {
        let bytes = self.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        Page { height: self.lines, width: self.width, size: 2, kind: Kind::Uint, bytes }
    }
}
