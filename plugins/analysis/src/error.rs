//! The errors of this crate.
//!
//! Each has what failed, why, and what to do about it as separate data. Plugins decide where they are shown.

use kymhost_plugin_api::Json;
use std::fmt;

/// The result of this crate's functions.
pub type Result<T, E = AnalysisError> = std::result::Result<T, E>;

/// Why an analysis cannot be done.
///
/// The text is `what: why; help`; see [`what`](Self::what), [`why`](Self::why) and [`help`](Self::help).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AnalysisError {
    /// The metadata does not give the size of a pixel.
    NoVoxels(VoxelsProblem),
    /// An ROI is not a rectangle, or one of its fields is missing or has the wrong type.
    Roi {
        /// The ROI, e.g. `ROI 3 'cell'`.
        roi: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// There is no parameter of this name.
    UnknownParam {
        /// The name.
        name: String,
        /// The names that exist.
        known: &'static [&'static str],
    },
    /// A parameter has a wrong value.
    Param {
        /// Its name.
        name: String,
        /// The value that was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Slices have different lengths.
    Length {
        /// The slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that it must have.
        expected: usize,
    },
    /// The caller asked to stop.
    Cancelled,
}

/// What is wrong with the pixel size in the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VoxelsProblem {
    /// The image has no metadata.
    NoMetadata,
    /// The metadata has no `header.voxels`.
    Missing,
    /// `header.voxels` is not two positive finite numbers.
    Invalid {
        /// Its value.
        found: String,
    },
    /// `header.voxels_units` are not seconds and micrometres.
    Units {
        /// Its value.
        found: String,
    },
}

impl AnalysisError {
    /// What failed.
    pub fn what(&self) -> String {
        match self {
            Self::NoVoxels(_) => "the time per line and the width of a pixel are unknown".to_owned(),
            Self::Roi { roi, .. } => roi.clone(),
            Self::UnknownParam { .. } | Self::Param { .. } => "params".to_owned(),
            Self::Length { what, .. } => (*what).to_owned(),
            Self::Cancelled => "stopped".to_owned(),
        }
    }

    /// Why it failed; `None` if there is nothing more to say.
    pub fn why(&self) -> Option<String> {
        Some(match self {
            Self::NoVoxels(problem) => problem.to_string(),
            Self::Roi { found, .. } => found.clone(),
            Self::UnknownParam { name, .. } => format!("there is no param '{name}'"),
            Self::Param { name, found, .. } => format!("{name} is {found}"),
            Self::Length { found, expected, .. } => format!("{found} values instead of {expected}"),
            Self::Cancelled => return None,
        })
    }

    /// What was expected, or what the user can do; `None` if there is nothing to do.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoVoxels(_) => {
                "put \"header\": {\"voxels\": [seconds_per_line, um_per_pixel]} into the image's metadata".to_owned()
            }
            Self::Roi { expected, .. } => format!("expected {expected}"),
            Self::UnknownParam { known, .. } => format!("expected one of {}", known.join(", ")),
            Self::Param { expected, .. } => format!("expected {expected}"),
            Self::Length { .. } | Self::Cancelled => return None,
        })
    }
}

impl fmt::Display for AnalysisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        if let Some(why) = self.why() {
            write!(f, ": {why}")?;
        }
        if let Some(help) = self.help() {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for VoxelsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMetadata => write!(f, "the image has no metadata"),
            Self::Missing => write!(f, "there is no header.voxels in the metadata"),
            Self::Invalid { found } => write!(f, "header.voxels is {found}, not two positive numbers"),
            Self::Units { found } => write!(f, "header.voxels_units is {found}, not [\"s\", \"um\"]"),
        }
    }
}

impl std::error::Error for AnalysisError {}

/// A JSON value for a message: at most 60 characters of it.
pub(crate) fn short(value: &Json) -> String {
    let line = kymhost_plugin_api::canonical_json(value);
    if line.chars().count() <= 60 { line } else { format!("{}…", line.chars().take(60).collect::<String>()) }
}
