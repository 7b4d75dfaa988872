//! The params of the Radon analysis, and the number of windows that follows from them.

use crate::error::short;
use crate::{AnalysisError, Result};
use kymhost_plugin_api::Json;

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
            return Err(Self::bad_window_lines(lines.to_string()));
        }
        Ok(Self { window_lines: lines })
    }

    /// Reads the params from a JSON object with the optional member `window_lines`.
    ///
    /// # Errors
    /// [`AnalysisError::UnknownParam`] for an unknown name, [`AnalysisError::Param`] for a value that is not allowed.
    pub fn of_json(json: &Json) -> Result<Self> {
        let Some(members) = json.as_object() else {
            let (name, expected) = ("the document".to_owned(), "an object of params".to_owned());
            return Err(AnalysisError::Param { name, found: short(json), expected });
        };
        let mut params = Self::default();
        for (name, value) in members.iter() {
            if name != "window_lines" {
                return Err(AnalysisError::UnknownParam { name: name.clone(), known: &["window_lines"] });
            }
            let whole = value.as_f64().filter(|lines| lines.fract() == 0.0 && (0.0..1e9).contains(lines));
            let lines = whole.ok_or_else(|| Self::bad_window_lines(short(value)))?;
            params = Self::window_lines(lines as usize)?;
        }
        Ok(params)
    }

    fn bad_window_lines(found: String) -> AnalysisError {
        let expected = format!("a multiple of 4 from 4 to {}", Self::MAX_WINDOW_LINES);
        AnalysisError::Param { name: "window_lines".to_owned(), found, expected }
    }
}

/// The number of windows in `lines` lines.
pub fn window_count(lines: usize, params: &RadonParams) -> usize {
    (lines / (params.window_lines / 4)).saturating_sub(3)
}
