//! The pixels of a kymograph in memory.

use crate::roi::Roi;
use crate::{AnalysisError, Result};
use std::ops::Range;

/// The pixels of a kymograph: `lines` rows (time) of `width` values (space), row by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Image<'a> {
    values: &'a [f32],
    lines: usize,
    width: usize,
}

impl<'a> Image<'a> {
    /// An image of `lines` rows (time) of `width` values (space), row by row.
    ///
    /// # Errors
    /// [`AnalysisError::Length`] if `values` does not have `lines * width` elements.
    pub fn new(values: &'a [f32], lines: usize, width: usize) -> Result<Self> {
        let expected = lines.saturating_mul(width);
        if values.len() != expected {
            return Err(AnalysisError::Length { what: "the image", found: values.len(), expected });
        }
        Ok(Self { values, lines, width })
    }

    /// The number of rows.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Some pixels of one line.
    pub(super) fn part(&self, line: usize, pixels: Range<usize>) -> &'a [f32] {
        &self.values[line * self.width + pixels.start..line * self.width + pixels.end]
    }

    /// The values inside an ROI, line by line.
    pub fn of_roi(&self, roi: &Roi) -> impl Iterator<Item = f32> + use<'a> {
        let image = *self;
        let (lines, pixels) = roi.within(self.lines, self.width);
        lines.flat_map(move |line| image.part(line, pixels.clone()).iter().copied())
    }
}
