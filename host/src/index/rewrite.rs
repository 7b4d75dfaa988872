//! Replacing images' rows in a table on disk, row group by row group.
//!
//! Owns: which row groups are copied as bytes, which are decoded, how groups are cut and filled.
//! Never: the rules of columns and types (see `merge`), markers, locks.

use super::IndexError;
use super::ledger::Identity;
use super::merge::{Piece, Refusal};
use super::names::TableName;
use crate::dataset::Dataset;
use crate::store::Stat;
use std::collections::BTreeSet;

/// What is to be changed in a table.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Images whose rows are replaced, in id order.
    pub pieces: Vec<Piece>,
    /// The analysis version that the pieces' rows, and those of `relabel`, get.
    pub analysis_version: String,
    /// Images whose rows leave without replacement.
    pub remove: BTreeSet<String>,
    /// Images whose rows stay, with another params hash and the analysis version: (image, params hash).
    pub relabel: Vec<(String, String)>,
    /// Key and value pairs of ours for the file's metadata, instead of those of the same key.
    pub metadata: Vec<(String, String)>,
}

/// What has been changed.
#[derive(Debug)]
pub struct Rewritten {
    /// The pieces left out, in order; their images' old rows stay.
    pub refused: Vec<Refusal>,
    /// Columns of the old table that got a wider type.
    pub widened: Vec<Widening>,
    /// The table as it is now; `None` where there is none. Where nothing was to be changed it was not written.
    pub table: Option<Identity>,
    /// Row groups copied as bytes, and row groups written anew: for tests and the log.
    pub groups: (usize, usize),
}

/// A column of the table that got a wider type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Widening {
    /// The column.
    pub column: String,
    /// Its type before, as Arrow prints it.
    pub from: String,
    /// Its type now.
    pub to: String,
}

/// Changes the table, where it is still what `expected` says; `None`, and nothing written, where another program has
/// written it meanwhile. Memory is bounded by the row groups that hold a changed image, in batches, and by the pieces.
pub fn rewrite(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
) -> Result<Option<Rewritten>, IndexError> {
    let _ = (dataset, name, expected, change);
    todo!("rewrite")
}

/// What identifies the table now; `None` where there is none.
pub fn identity(dataset: &Dataset, name: &TableName) -> Result<Option<Identity>, IndexError> {
    let _ = (dataset, name);
    todo!("rewrite")
}
