//! Replacing rows in a table, with pandas' rules of columns and types: pure functions over Arrow data.
//!
//! The outcome is that of taking the images one at a time, in order: the image's old rows leave, its new ones are
//! appended. It is computed at once: `plan` finds the columns and their types, from the pieces and from facts about
//! the table; then old rows are brought into the new form batch by batch, and new ones are made in batches. This module
//! never does I/O: [`crate::rewrite`] applies it to a file.

mod fold;
mod piece;
mod pieces;
mod plan;
mod planned;
mod types;
mod values;

pub(crate) use piece::MergeError;
pub use piece::{Piece, RefusedPiece};
pub(crate) use plan::{OldTable, plan};
pub(crate) use planned::MergePlan;
pub(crate) use values::{can_be, has_value};

#[cfg(test)]
pub(crate) mod tests;
