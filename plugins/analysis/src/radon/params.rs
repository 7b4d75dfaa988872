//! The params of the Radon analysis, and the number of windows that follows from them.

use crate::{AnalysisError, Result};

/// The params of the Radon analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RadonParams {
    /// The number of lines of a window: a multiple of 4, from 4 to [`RadonParams::MAX_WINDOW_LINES`] (default: 16).
    pub window_lines: usize,
}

impl Default for RadonParams {
    fn default() -> Self {
        Self { window_lines: 16 }
    }
}

impl RadonParams {
    /// The most lines that a window may have.
    pub const MAX_WINDOW_LINES: usize = 4096;

    /// Params with windows of this number of lines.
    ///
    /// # Errors
    /// [`AnalysisError::Param`] if it is not a multiple of 4 from 4 to [`RadonParams::MAX_WINDOW_LINES`].
    pub fn window_lines(lines: usize) -> Result<Self> {
        if lines == 0 || !lines.is_multiple_of(4) || lines > Self::MAX_WINDOW_LINES {
            return Err(AnalysisError::Param {
                name: "window_lines".to_owned(),
                found: lines.to_string(),
                expected: format!("a multiple of 4 from 4 to {}", Self::MAX_WINDOW_LINES),
            });
        }
        Ok(Self { window_lines: lines })
    }
}

/// The number of windows in `lines` lines.
pub fn window_count(lines: usize, params: &RadonParams) -> usize {
    (lines / (params.window_lines / 4)).saturating_sub(3)
}
