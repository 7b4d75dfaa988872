//! What is merged, and why it cannot be.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// One image's new rows.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The image.
    pub image_id: String,
    /// The hash of the params that the rows were made with.
    pub params_hash: String,
    /// The rows, with or without provenance columns.
    pub rows: RecordBatch,
}

/// A piece that cannot be part of the table; the image's old rows stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPiece {
    /// Which piece.
    pub piece: usize,
    /// The column, and what does not fit.
    pub why: String,
}

/// Why a table cannot take any rows.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Two columns of the table have one name.
    #[error("it has two columns named '{0}'")]
    DuplicateColumn(String),
    /// A label's column holds something else.
    #[error("its column '{column}' has type {found}, where rows are to get a text; replace all images")]
    NoText {
        /// The column.
        column: String,
        /// Its type.
        found: DataType,
    },
    /// The columns cannot be put together.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}
