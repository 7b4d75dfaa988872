//! The binary contract between a plugin and its host. The only room of this crate with `unsafe`.
//!
//! Owns: the `abi_stable` module and traits ([`contract`]), Arrow C data ([`arrow_c`]), what
//! `export_plugin!` expands to (`export`), the host's way in (`serve`); the C door's structs ([`c_door`]) and the host's
//! way in there (`c_serve`).
//! Never: promises source stability. Authors use none of it by name; only kymhost itself does.
//! The contract in words: `docs/authors/plugin-abi.md`.
#![allow(unsafe_code)]

pub mod arrow_c;
pub mod c_door;
mod c_serve;
pub mod contract;
mod export;
mod guard;
mod serve;

pub use arrow_c::{ArrowArray, ArrowSchema, ArrowTable};
pub use c_serve::{given_text, COut, CRecord, CRun, MAX_GIVEN_BYTES};
pub use contract::{IndexerObject, ModuleRef, RecordRef, RunRef};
pub use export::{indexer_object, lib_header, Export, Registration};
pub use serve::{HostRecord, HostRun, ServedRecord, ServedRun};

/// What `export_plugin!` names through this crate, so that authors depend on neither.
pub use abi_stable::library::LibHeader;
/// Collects a library's indexers.
pub use inventory;

use crate::array::{Array, DType};
use crate::{ArtifactKind, Error, ErrorKind};
use contract::{ArrayAbi, ErrorAbi};

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
            // 0, and kinds of later versions: all of them failures.
            _ => ErrorKind::Failed,
        };
        Self::new(kind, error.message)
    }
}

/// An artifact's kind from its number; `None` for one of a later version.
pub fn artifact_kind(code: u8) -> Option<ArtifactKind> {
    [ArtifactKind::Json, ArtifactKind::Parquet, ArtifactKind::Csv, ArtifactKind::Array]
        .into_iter()
        .find(|kind| *kind as u8 == code)
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
                format!("the array's dtype (number {}) is newer than this plugin; rebuild the plugin", array.dtype),
            )
        })?;
        let shape = array
            .shape
            .iter()
            .map(|length| usize::try_from(*length))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::new(ErrorKind::Unreadable, "the array's shape does not fit this machine"))?;
        let axes = array.axes.into_iter().map(Into::into).collect();
        // Other libraries' allocators cost one copy here.
        Self::new(dtype, shape, axes, array.bytes.into_vec())
            .map_err(|error| Error::new(ErrorKind::Unreadable, error.message()))
    }
}

#[cfg(test)]
mod tests;
