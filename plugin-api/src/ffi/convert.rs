//! Conversions between this crate's values and the plain structs that cross the boundary.
//!
//! An unknown number gets a meaning here; nothing else is decided.

use super::contract::{ArrayAbi, ErrorAbi};
use crate::array::{Array, DType};
use crate::{ArtifactKind, Error, ErrorKind};

impl From<Error> for ErrorAbi {
    fn from(error: Error) -> Self {
        Self { kind: error.kind() as u8, message: error.message().into() }
    }
}

impl From<ErrorAbi> for Error {
    fn from(error: ErrorAbi) -> Self {
        let kind = match error.kind {
            1 => ErrorKind::Panicked,
            2 => ErrorKind::Unreadable,
            3 => ErrorKind::Unsupported,
            4 => ErrorKind::Cancelled,
            5 => ErrorKind::BadTable,
            // 0, and kinds of later versions.
            _ => ErrorKind::Failed,
        };
        Self::new(kind, error.message)
    }
}

/// The kind of artifact with this number; `None` if it belongs to a later version.
pub fn artifact_kind(number: u8) -> Option<ArtifactKind> {
    ArtifactKind::from_number(number)
}

impl From<Array> for ArrayAbi {
    fn from(array: Array) -> Self {
        Self {
            dtype: array.dtype().number(),
            shape: array.shape().iter().map(|length| *length as u64).collect(),
            axes: array.axes().iter().map(|name| name.as_str().into()).collect(),
            bytes: array.into_bytes().into(),
        }
    }
}

impl TryFrom<ArrayAbi> for Array {
    type Error = Error;

    fn try_from(array: ArrayAbi) -> Result<Self, Error> {
        let dtype = DType::from_number(array.dtype).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the array's dtype (number {}) is newer than this plugin's API; rebuild the plugin",
                    array.dtype
                ),
            )
        })?;
        let shape = array
            .shape
            .iter()
            .map(|length| usize::try_from(*length))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::new(ErrorKind::Unreadable, "the array's shape does not fit this machine"))?;
        let axes = array.axes.into_iter().map(Into::into).collect();
        // Memory of another library's allocator cannot become a `Vec`: this copies.
        Self::new(dtype, shape, axes, array.bytes.into_vec())
            .map_err(|error| Error::new(ErrorKind::Unreadable, error.message()))
    }
}
