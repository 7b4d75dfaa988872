//! The three columns that tie a table's rows to images and to what they were made from.
//! Owns: their names, reading them without copying, grouping rows by image. Never: decides anything.

use super::IndexError;
use super::ledger::Identity;
use super::names::TableName;
use crate::dataset::Dataset;
use crate::store::Stat;
use arrow::array::{Array, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use std::collections::HashMap;
use std::sync::Arc;

/// The image that a row belongs to.
pub const IMAGE_ID: &str = "image_id";
/// The analysis version that made it.
pub const ANALYSIS_VERSION: &str = "analysis_version";
/// The hash of the params that it was made with.
pub const PARAMS_HASH: &str = "params_hash";
/// In the order in which they are added to rows.
pub const COLUMNS: [&str; 3] = [IMAGE_ID, ANALYSIS_VERSION, PARAMS_HASH];

/// A column read as text. A column of any other type has no text in any row: it matches nothing.
#[derive(Clone, Copy)]
pub(super) enum TextColumn<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    NoText,
}

impl<'a> TextColumn<'a> {
    /// The column `name`; `None` where the table lacks it.
    pub fn of(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        let any = batch.column_by_name(name)?.as_any();
        Some(if let Some(column) = any.downcast_ref() {
            Self::Utf8(column)
        } else if let Some(column) = any.downcast_ref() {
            Self::LargeUtf8(column)
        } else if let Some(column) = any.downcast_ref() {
            Self::Utf8View(column)
        } else {
            Self::NoText
        })
    }

    /// The text in a row of the table.
    pub fn get(self, row: usize) -> Option<&'a str> {
        match self {
            Self::Utf8(column) => (!column.is_null(row)).then(|| column.value(row)),
            Self::LargeUtf8(column) => (!column.is_null(row)).then(|| column.value(row)),
            Self::Utf8View(column) => (!column.is_null(row)).then(|| column.value(row)),
            Self::NoText => None,
        }
    }
}

/// Finds ids in a list. Rows mostly come in the list's own order, or repeat: those need no hashing.
pub(super) struct IdLookup<'a> {
    ids: &'a [&'a str],
    index: Option<HashMap<&'a str, usize>>,
    last: Option<usize>,
}

impl<'a> IdLookup<'a> {
    pub fn new(ids: &'a [&'a str]) -> Self {
        Self { ids, index: None, last: None }
    }

    /// The place of an id in the list.
    pub fn find(&mut self, id: &str) -> Option<usize> {
        let next = self.last.map_or(0, |last| last + 1);
        if self.ids.get(next).is_some_and(|&candidate| candidate == id) {
            self.last = Some(next);
            return self.last;
        }
        let ids = self.ids;
        let index = self.index.get_or_insert_with(|| ids.iter().enumerate().map(|(i, id)| (*id, i)).collect());
        let found = index.get(id).copied();
        if found.is_some() {
            self.last = found;
        }
        found
    }
}

/// What a table on disk says of the images of a dataset.
#[derive(Debug, Clone, Default)]
pub struct TableFacts {
    /// The table that was read, for [`crate::dataset::Dataset::replace_table`] and its like; `None` where there is none.
    pub stat: Option<Stat>,
    /// What identifies it; `None` where there is none.
    pub identity: Option<Identity>,
    /// One for each id asked for.
    pub images: Vec<ImageFacts>,
    /// Images that have rows, but are not among the ids, with how many rows; sorted by id.
    pub orphans: Vec<(String, u64)>,
}

/// What a table holds of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// How many rows.
    pub rows: u64,
    /// The params hash, where all rows have the same, in a table with both provenance columns.
    pub params_hash: Option<Arc<str>>,
    /// The analysis version, likewise.
    pub analysis_version: Option<Arc<str>>,
}

/// Reads a table's provenance columns, and no others, in batches: memory grows with the images, not with the rows.
///
/// # Errors
/// [`crate::dataset::DatasetError::Unreadable`] where the table is not Parquet.
pub fn read(dataset: &Dataset, name: &TableName, ids: &[&str]) -> Result<TableFacts, IndexError> {
    let _ = (dataset, name, ids);
    todo!("table")
}

/// What a table holds of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ImageRows<'a> {
    /// How many rows.
    pub rows: u64,
    /// The params hash, where all rows have the same.
    pub params_hash: Option<&'a str>,
    /// The analysis version, where all rows have the same.
    pub analysis_version: Option<&'a str>,
}

/// Groups a table's rows by image, in one pass and without copying text. One for each of `ids`.
pub(super) fn group_rows<'a>(table: Option<&'a RecordBatch>, ids: &[&str]) -> Vec<ImageRows<'a>> {
    let mut images = vec![ImageRows::default(); ids.len()];
    let Some(table) = table else { return images };
    let Some(image_id) = TextColumn::of(table, IMAGE_ID) else { return images };
    // A table with one provenance column matches no more than one with none.
    let (hash, version) = match (TextColumn::of(table, PARAMS_HASH), TextColumn::of(table, ANALYSIS_VERSION)) {
        (Some(hash), Some(version)) => (hash, version),
        _ => (TextColumn::NoText, TextColumn::NoText),
    };
    let mut lookup = IdLookup::new(ids);
    let mut run: Option<(&str, Option<usize>)> = None;
    for row in 0..table.num_rows() {
        let Some(id) = image_id.get(row) else { continue };
        let place = match run {
            Some((last, place)) if last == id => place,
            _ => {
                let place = lookup.find(id);
                run = Some((id, place));
                place
            }
        };
        let Some(image) = place.and_then(|place| images.get_mut(place)) else { continue };
        let (row_hash, row_version) = (hash.get(row), version.get(row));
        if image.rows == 0 {
            (image.params_hash, image.analysis_version) = (row_hash, row_version);
        } else {
            if image.params_hash != row_hash {
                image.params_hash = None;
            }
            if image.analysis_version != row_version {
                image.analysis_version = None;
            }
        }
        image.rows += 1;
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, NullArray};
    use std::sync::Arc;

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn rows<'a>(rows: u64, params_hash: Option<&'a str>, analysis_version: Option<&'a str>) -> ImageRows<'a> {
        ImageRows { rows, params_hash, analysis_version }
    }

    #[test]
    fn rows_are_grouped_by_image() {
        let ids = ["a", "b", "c"];
        let id = text(&[Some("c"), Some("a"), None, Some("a"), Some("gone"), Some("b"), Some("a"), Some("c")]);
        let h = text(&[Some("1"), Some("1"), Some("1"), Some("1"), Some("1"), None, Some("1"), Some("2")]);
        let v = text(&[Some("v"), Some("v"), Some("v"), Some("w"), Some("v"), Some("v"), Some("v"), Some("v")]);
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![1; 8]));
        let nulls: ArrayRef = Arc::new(NullArray::new(8));
        let large: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("a"); 8]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec![Some("b"); 8]));
        let nothing = [rows(0, None, None); 3];
        let cases: Vec<(&str, RecordBatch, [ImageRows<'_>; 3])> = vec![
            (
                "mixed",
                batch(vec![(IMAGE_ID, id.clone()), (PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, v.clone())]),
                [rows(3, Some("1"), None), rows(1, None, Some("v")), rows(2, None, Some("v"))],
            ),
            (
                "no version column",
                batch(vec![(IMAGE_ID, id.clone()), (PARAMS_HASH, h.clone())]),
                [rows(3, None, None), rows(1, None, None), rows(2, None, None)],
            ),
            ("no image_id", batch(vec![(PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, v.clone())]), nothing),
            ("ids of numbers", batch(vec![(IMAGE_ID, ints.clone()), (PARAMS_HASH, h.clone())]), nothing),
            ("ids all missing", batch(vec![(IMAGE_ID, nulls.clone()), (PARAMS_HASH, h.clone())]), nothing),
            (
                "large text, hashes of numbers",
                batch(vec![(IMAGE_ID, large), (PARAMS_HASH, ints), (ANALYSIS_VERSION, nulls)]),
                [rows(8, None, None), rows(0, None, None), rows(0, None, None)],
            ),
            (
                "text views",
                batch(vec![(IMAGE_ID, view.clone()), (PARAMS_HASH, view.clone()), (ANALYSIS_VERSION, view)]),
                [rows(0, None, None), rows(8, Some("b"), Some("b")), rows(0, None, None)],
            ),
        ];
        for (case, table, expected) in &cases {
            assert_eq!(group_rows(Some(table), &ids), expected, "{case}");
        }
        assert_eq!(group_rows(None, &ids), nothing);
        assert_eq!(group_rows(Some(&cases[0].1), &[]), []);
    }

    #[test]
    fn a_hash_that_differs_once_never_matches_again() {
        let id = text(&[Some("a"); 3]);
        let h = text(&[Some("1"), Some("2"), Some("1")]);
        let table = batch(vec![(IMAGE_ID, id), (PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, h)]);
        assert_eq!(group_rows(Some(&table), &["a"]), [rows(3, None, None)]);
        // Nor does a missing value that is met again.
        let h = text(&[Some("1"), None, None]);
        let id = text(&[Some("a"); 3]);
        let table = batch(vec![(IMAGE_ID, id), (PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, h)]);
        assert_eq!(group_rows(Some(&table), &["a"]), [rows(3, None, None)]);
    }
}
