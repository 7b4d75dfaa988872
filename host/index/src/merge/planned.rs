//! A planned merge: old rows as they are in the new table, and the new rows in batches.

use super::piece::RefusedPiece;
use super::pieces::PreparedPiece;
use super::types::unify;
use super::values::{cast_to, column_of, has_value, nan_to_missing, repeated};
use crate::provenance::{ANALYSIS_VERSION, IMAGE_ID, PARAMS_HASH, TextColumn};
use arrow::array::{ArrayRef, LargeStringArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::collections::HashMap;
use std::sync::Arc;

/// What becomes of a table.
pub(crate) struct MergePlan {
    /// The new table's columns. Of the metadata, what is still true.
    pub schema: SchemaRef,
    /// The pieces left out, in order.
    pub refused: Vec<RefusedPiece>,
    /// Whether the pieces change anything.
    pub is_changed: bool,
    /// Whether the columns are what they were.
    pub is_same_schema: bool,
    /// For each column its place in the old table.
    pub sources: Vec<Option<usize>>,
    /// Rows of the pieces that are taken.
    pub new_rows: u64,
    pub(super) order: Vec<usize>,
    pub(super) taken: Vec<Taken>,
    pub(super) analysis_version: String,
}

/// A piece that is taken and has rows.
pub(super) struct Taken {
    pub image_id: String,
    pub params_hash: String,
    pub rows: PreparedPiece,
}

/// New rows that are made at a time, unless one piece has more.
const BATCH_ROWS: usize = 1 << 14;

impl MergePlan {
    /// Old rows (all columns of the old table) as they are in the new one. `hashes`: for each row the params hash
    /// that it gets, and with it the analysis version, where it is given new labels.
    pub fn kept(&self, old: &RecordBatch, hashes: Option<&[Option<&str>]>) -> Result<RecordBatch, ArrowError> {
        let mut columns = Vec::with_capacity(self.sources.len());
        for (field, source) in self.schema.fields().iter().zip(&self.sources) {
            let kept =
                source.and_then(|source| old.columns().get(source)).map(|column| nan_to_missing(Arc::clone(column)));
            let column = match kept {
                Some(column) if column.data_type() == field.data_type() => column,
                // What has no value has no type to be cast from.
                Some(column) if has_value(&column, None) => cast_to(&column, field.data_type())?,
                _ => new_null_array(field.data_type(), old.num_rows()),
            };
            columns.push(match (field.name().as_str(), hashes) {
                (PARAMS_HASH, Some(hashes)) => relabelled(&column, hashes.iter().copied())?,
                (ANALYSIS_VERSION, Some(hashes)) => {
                    relabelled(&column, hashes.iter().map(|hash| hash.map(|_| self.analysis_version.as_str())))?
                }
                _ => column,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(old.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    /// The new rows, in order.
    pub fn batches(&self) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + '_ {
        let mut rest = self.taken.as_slice();
        std::iter::from_fn(move || {
            let mut rows = 0usize;
            let many = rest.iter().position(|taken| {
                let is_full = rows >= BATCH_ROWS;
                rows = rows.saturating_add(taken.rows.rows);
                is_full
            });
            let (now, later) = rest.split_at_checked(many.unwrap_or(rest.len()))?;
            rest = later;
            (!now.is_empty()).then(|| self.rows_of(now))
        })
    }

    fn rows_of(&self, taken: &[Taken]) -> Result<RecordBatch, ArrowError> {
        // Each column's arrays by the place of their first row.
        let mut parts: HashMap<usize, Vec<(usize, &ArrayRef)>> = HashMap::new();
        let mut rows = 0;
        for taken in taken {
            for (&name, column) in taken.rows.shape.names.iter().zip(&taken.rows.columns) {
                if let Some(column) = column {
                    parts.entry(name).or_default().push((rows, column));
                }
            }
            rows += taken.rows.rows;
        }
        let mut columns = Vec::with_capacity(self.order.len());
        for (field, name) in self.schema.fields().iter().zip(&self.order) {
            let label = |value: fn(&Taken) -> &str| repeated(taken.iter().map(|t| (value(t), t.rows.rows)));
            let column = match field.name().as_str() {
                IMAGE_ID => label(|taken| &taken.image_id),
                PARAMS_HASH => label(|taken| &taken.params_hash),
                ANALYSIS_VERSION => repeated(std::iter::once((self.analysis_version.as_str(), rows))),
                _ => {
                    columns.push(column_of(field.data_type(), parts.remove(name).unwrap_or_default(), rows)?);
                    continue;
                }
            };
            columns.push(cast_to(&column, field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }

    /// Columns of the old table that get a type in which more fits: name, type before, type now.
    pub fn widened<'a>(&'a self, old: &'a Schema) -> impl Iterator<Item = (&'a str, &'a DataType, &'a DataType)> + 'a {
        self.schema.fields().iter().zip(&self.sources).filter_map(|(new, source)| {
            let (before, now) = (old.fields().get((*source)?)?.data_type(), new.data_type());
            let is_wider = match (before, now) {
                (DataType::Null, _) => false,
                (DataType::Utf8, DataType::LargeUtf8) | (DataType::Binary, DataType::LargeBinary) => true,
                _ => before != now && unify(before, now).as_ref() == Some(now),
            };
            is_wider.then_some((new.name().as_str(), before, now))
        })
    }
}

/// A column of text in which some rows get another.
fn relabelled<'a>(
    column: &ArrayRef,
    new: impl ExactSizeIterator<Item = Option<&'a str>>,
) -> Result<ArrayRef, ArrowError> {
    let old = TextColumn::over(column);
    let texts = new.enumerate().map(|(row, new)| new.or_else(|| old.get(row)));
    let texts: ArrayRef = Arc::new(texts.collect::<LargeStringArray>());
    cast_to(&texts, column.data_type())
}
