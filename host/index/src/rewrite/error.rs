//! What can go wrong while a table is rewritten.

use crate::error::IndexError;
use crate::merge::MergeError;
use crate::names::TableName;
use arrow::error::ArrowError;
use kymhost_dataset::DatasetError;
use std::io;

/// What can go wrong on the way.
#[derive(Debug)]
pub(super) enum RewriteError {
    Merge(MergeError),
    Dataset(DatasetError),
}

impl RewriteError {
    pub fn of(self, name: &TableName) -> IndexError {
        match self {
            Self::Merge(error) => DatasetError::Unwritable { key: name.key_text(), why: error.to_string() }.into(),
            Self::Dataset(error) => error.into(),
        }
    }
}

impl From<MergeError> for RewriteError {
    fn from(error: MergeError) -> Self {
        Self::Merge(error)
    }
}

impl From<ArrowError> for RewriteError {
    fn from(error: ArrowError) -> Self {
        Self::Merge(error.into())
    }
}

impl From<DatasetError> for RewriteError {
    fn from(error: DatasetError) -> Self {
        Self::Dataset(error)
    }
}

/// Why a file was not finished.
pub(super) enum Stopped {
    Io(io::Error),
    Failed(RewriteError),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E: Into<RewriteError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
