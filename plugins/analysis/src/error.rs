//! What can be wrong with what an analysis is given.
//! Owns: the error type of this crate. Never: how it is shown.

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an analysis cannot be done. Each message says what was found and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The metadata payload gives no size of a pixel.
    #[error(
        "the metadata do not say how long a line takes and how wide a pixel is ({found}); a velocity needs both: put \
         \"header\": {{\"voxels\": [seconds_per_line, um_per_pixel]}} into the image's metadata"
    )]
    NoVoxels {
        /// What stands there instead.
        found: String,
    },
    /// An ROI that is no rectangle, or whose fields are missing or of the wrong kind.
    #[error("{roi}: {found}; expected {expected}")]
    Roi {
        /// Which one.
        roi: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A parameter that cannot be.
    #[error("params: {name} is {found}; expected {expected}")]
    Param {
        /// Its name.
        name: String,
        /// What was found.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// Slices that do not fit each other.
    #[error("{what} has {found} values, expected {expected}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that it must have.
        expected: usize,
    },
    /// The caller asked to stop.
    #[error("stopped")]
    Cancelled,
}
