//! The three columns that tie a table's rows to images and to what they were made from.
//!
//! Responsible for their names, for reading them without copying, and for grouping rows by image. It decides nothing.

use crate::error::IndexError;
use crate::ledger::Identity;
use crate::names::TableName;
#[cfg(test)]
use arrow::array::RecordBatch;
use arrow::array::{Array, ArrayRef, LargeStringArray, StringArray, StringViewArray};
use kymhost_dataset::{Dataset, DatasetError, TableFile};
use kymhost_store::Stat;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

pub use kymhost_dataset::IMAGE_ID;

/// The analysis version that made it.
pub const ANALYSIS_VERSION: &str = "analysis_version";
/// The hash of the params that it was made with.
pub const PARAMS_HASH: &str = "params_hash";
/// In the order in which they are added to rows.
pub const COLUMNS: [&str; 3] = [IMAGE_ID, ANALYSIS_VERSION, PARAMS_HASH];

/// A column read as text. A column of any other type has no text in any row: it matches nothing.
#[derive(Clone, Copy)]
pub(crate) enum TextColumn<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    NoText,
}

impl<'a> TextColumn<'a> {
    /// The column `name`; `None` if the table lacks it.
    #[cfg(test)]
    pub fn of(batch: &'a RecordBatch, name: &str) -> Option<Self> {
        batch.column_by_name(name).map(Self::over)
    }

    /// A column.
    pub fn over(column: &'a ArrayRef) -> Self {
        let any = column.as_any();
        if let Some(column) = any.downcast_ref() {
            Self::Utf8(column)
        } else if let Some(column) = any.downcast_ref() {
            Self::LargeUtf8(column)
        } else if let Some(column) = any.downcast_ref() {
            Self::Utf8View(column)
        } else {
            Self::NoText
        }
    }

    /// Whether two rows say the same. Equal views are equal texts: those of a dictionary need no look at the text.
    pub fn same(self, a: usize, b: usize) -> bool {
        match self {
            Self::NoText => true,
            Self::Utf8View(column) if column.null_count() == 0 => {
                let views = column.views();
                views.get(a) == views.get(b) || self.get(a) == self.get(b)
            }
            _ => self.get(a) == self.get(b),
        }
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
pub(crate) struct IdLookup<'a> {
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
    /// The table that was read, for [`kymhost_dataset::Dataset::replace_table`] and its like; `None` if there is none.
    pub stat: Option<Stat>,
    /// What identifies it; `None` if there is none.
    pub identity: Option<Identity>,
    /// Which image's rows stand where; `None` if there is no table, or if that would take too much memory.
    pub runs: Option<ImageRuns>,
    /// One for each id asked for.
    pub images: Vec<ImageFacts>,
    /// Images that have rows, but are not among the ids, with how many rows; sorted by id.
    pub orphans: Vec<(String, u64)>,
}

/// What a table holds about one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFacts {
    /// How many rows.
    pub rows: u64,
    /// The params hash, if all rows have the same, in a table with both provenance columns.
    pub params_hash: Option<Arc<str>>,
    /// The analysis version, likewise.
    pub analysis_version: Option<Arc<str>>,
}

/// Which image's rows stand where in a table: runs of rows, in the table's order. Read once per run, by the plan, and
/// handed to the commit.
#[derive(Debug, Clone)]
pub struct ImageRuns {
    /// The table that was read.
    stat: Stat,
    /// Images (none: rows of no image), and counts of rows.
    runs: Vec<(Option<Arc<str>>, u64)>,
}

/// Runs that are kept, at most: only a table whose images' rows are mixed has as many.
const MAX_RUNS: usize = 1 << 21;

/// Passes on each run of rows of one image in a table, in its order: from `known`, if that was read of this very
/// file, else from the file.
pub(crate) fn each_run(
    file: &TableFile,
    known: Option<&ImageRuns>,
    take: &mut dyn FnMut(Option<&str>, u64),
) -> Result<(), DatasetError> {
    if let Some(known) = known.filter(|known| known.stat == file.stat()) {
        known.runs.iter().for_each(|(id, rows)| take(id.as_deref(), *rows));
        return Ok(());
    }
    for batch in file.text_batches(file.groups().collect(), [IMAGE_ID])? {
        let (rows, [ids]) = batch?;
        match ids.as_ref().map(TextColumn::over) {
            Some(ids) => runs(rows, |a, b| ids.same(a, b), |run| take(ids.get(run.start), run.len() as u64)),
            None => take(None, rows as u64),
        }
    }
    Ok(())
}

/// Rows that say the same, one run after the other.
pub(crate) fn runs(rows: usize, same: impl Fn(usize, usize) -> bool, mut take: impl FnMut(Range<usize>)) {
    let mut start = 0;
    while start < rows {
        let mut end = start + 1;
        while end < rows && same(start, end) {
            end += 1;
        }
        take(start..end);
        start = end;
    }
}

/// Reads a table's provenance columns, and no others, in batches: memory grows with the images, not with the rows.
///
/// # Errors
/// [`kymhost_dataset::DatasetError::Unreadable`] if the table is not Parquet.
pub fn read(dataset: &Dataset, name: &TableName, ids: &[&str]) -> Result<TableFacts, IndexError> {
    let mut grouped = Grouped::over(ids);
    let Some(file) = dataset.open_table(name.table())? else { return Ok(grouped.finish(None)) };
    for batch in file.text_batches(file.groups().collect(), [IMAGE_ID, PARAMS_HASH, ANALYSIS_VERSION])? {
        let (rows, [image_id, hash, version]) = batch?;
        grouped.add(rows, image_id.as_ref(), hash.as_ref(), version.as_ref());
    }
    Ok(grouped.finish(Some(&file)))
}

/// The rows of a table by image, a batch at a time.
struct Grouped<'a> {
    lookup: IdLookup<'a>,
    images: Vec<ImageFacts>,
    orphans: HashMap<String, u64>,
    /// Each text once: most images share their version, many their hash.
    texts: HashSet<Arc<str>>,
    runs: Vec<(Option<Arc<str>>, u64)>,
}

impl<'a> Grouped<'a> {
    fn over(ids: &'a [&'a str]) -> Self {
        let images = vec![ImageFacts::default(); ids.len()];
        Self { lookup: IdLookup::new(ids), images, orphans: HashMap::new(), texts: HashSet::new(), runs: Vec::new() }
    }

    fn add(&mut self, rows: usize, image_id: Option<&ArrayRef>, hash: Option<&ArrayRef>, version: Option<&ArrayRef>) {
        let Some(image_id) = image_id.map(TextColumn::over) else { return self.keep_run(None, rows as u64) };
        // A table with one provenance column matches no more than one with none.
        let (hash, version) = match (hash, version) {
            (Some(hash), Some(version)) => (TextColumn::over(hash), TextColumn::over(version)),
            _ => (TextColumn::NoText, TextColumn::NoText),
        };
        let same = |a, b| image_id.same(a, b) && hash.same(a, b) && version.same(a, b);
        runs(rows, same, |run| {
            let (row, count) = (run.start, run.len() as u64);
            self.keep_run(image_id.get(row), count);
            if let Some(id) = image_id.get(row) {
                self.take(id, hash.get(row), version.get(row), count);
            }
        });
    }

    fn keep_run(&mut self, id: Option<&str>, rows: u64) {
        match self.runs.last_mut() {
            Some((last, count)) if last.as_deref() == id => *count += rows,
            // One more than the bound says that there are too many.
            _ => {
                if self.runs.len() <= MAX_RUNS {
                    self.runs.push((id.map(Into::into), rows));
                }
            }
        }
    }

    fn take(&mut self, id: &str, hash: Option<&str>, version: Option<&str>, rows: u64) {
        let Some(image) = self.lookup.find(id).and_then(|place| self.images.get_mut(place)) else {
            match self.orphans.get_mut(id) {
                Some(count) => *count += rows,
                None => drop(self.orphans.insert(id.to_owned(), rows)),
            }
            return;
        };
        if image.rows == 0 {
            let mut shared = |text: &str| match self.texts.get(text) {
                Some(text) => Arc::clone(text),
                None => {
                    let text: Arc<str> = text.into();
                    self.texts.insert(Arc::clone(&text));
                    text
                }
            };
            (image.params_hash, image.analysis_version) = (hash.map(&mut shared), version.map(&mut shared));
        } else {
            if image.params_hash.as_deref() != hash {
                image.params_hash = None;
            }
            if image.analysis_version.as_deref() != version {
                image.analysis_version = None;
            }
        }
        image.rows += rows;
    }

    fn finish(self, file: Option<&TableFile>) -> TableFacts {
        let mut orphans: Vec<(String, u64)> = self.orphans.into_iter().collect();
        orphans.sort_unstable();
        let runs = file.filter(|_| self.runs.len() <= MAX_RUNS);
        TableFacts {
            runs: runs.map(|file| ImageRuns { stat: file.stat(), runs: self.runs }),
            stat: file.map(TableFile::stat),
            identity: file.map(|file| Identity::of(&file.stat(), file.footer_sha256())),
            images: self.images,
            orphans,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, NullArray};
    use arrow::datatypes::DataType;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn rows(rows: u64, params_hash: Option<&str>, analysis_version: Option<&str>) -> ImageFacts {
        let shared = |text: &str| text.into();
        ImageFacts { rows, params_hash: params_hash.map(shared), analysis_version: analysis_version.map(shared) }
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
        let nothing = || [rows(0, None, None), rows(0, None, None), rows(0, None, None)];
        let cases: Vec<(&str, RecordBatch, [ImageFacts; 3])> = vec![
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
            ("no image_id", batch(vec![(PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, v.clone())]), nothing()),
            ("ids of numbers", batch(vec![(IMAGE_ID, ints.clone()), (PARAMS_HASH, h.clone())]), nothing()),
            ("ids all missing", batch(vec![(IMAGE_ID, nulls.clone()), (PARAMS_HASH, h.clone())]), nothing()),
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
            check(case, table, &ids, expected);
        }
        check("no ids", &cases[0].1, &[], &[]);
        let (_dir, dataset) = crate::rewrite::testing::dataset();
        let facts = read(&dataset, &TableName::of("t").unwrap(), &ids).unwrap();
        assert_eq!((facts.images, facts.orphans), (vec![ImageFacts::default(); 3], vec![]));
        assert!(facts.stat.is_none() && facts.identity.is_none());
    }

    /// What is read of a table's file, written as others may write it: in one group and in several, with views and
    /// categories.
    fn check(case: &str, table: &RecordBatch, ids: &[&str], expected: &[ImageFacts]) {
        use crate::rewrite::testing;
        let mut orphans: BTreeMap<String, u64> = BTreeMap::new();
        if let Some(column) = TextColumn::of(table, IMAGE_ID) {
            for id in (0..table.num_rows()).filter_map(|row| column.get(row)).filter(|id| !ids.contains(id)) {
                *orphans.entry(id.to_owned()).or_default() += 1;
            }
        }
        let orphans: Vec<(String, u64)> = orphans.into_iter().collect();
        let categories = {
            let columns = table.schema_ref().fields().iter().zip(table.columns()).map(|(field, column)| {
                let column = match TextColumn::over(column) {
                    TextColumn::NoText => Arc::clone(column),
                    _ => {
                        let text = arrow::compute::cast(column, &DataType::Utf8).unwrap();
                        let kind = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
                        arrow::compute::cast(&text, &kind).unwrap()
                    }
                };
                (field.name().clone(), column, true)
            });
            RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap()
        };
        let (_dir, dataset) = testing::dataset();
        let name = TableName::of("t").unwrap();
        for table in [table, &categories] {
            for (group_rows, dictionary) in [(1000, true), (3, true), (1, false)] {
                testing::write_file(&dataset, &name, table, group_rows, dictionary);
                let facts = read(&dataset, &name, ids).unwrap();
                assert_eq!(facts.images, expected, "{case}, groups of {group_rows}");
                assert_eq!(facts.orphans, orphans, "{case}, groups of {group_rows}");
                assert_eq!(facts.stat, dataset.table_stat(name.table()).unwrap(), "{case}");
                assert_eq!(facts.identity, crate::rewrite::identity(&dataset, &name).unwrap(), "{case}");
                assert_eq!(facts.identity.unwrap().footer_sha256.len(), 64, "{case}");
            }
        }
    }

    #[test]
    fn invalid_parquet_is_unreadable() {
        let (_dir, dataset) = crate::rewrite::testing::dataset();
        let name = TableName::of("t").unwrap();
        for bytes in [&b""[..], b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"PAR1\0\0\0\0PAR1", &[7; 100]] {
            dataset.store().put(&name.key().unwrap(), bytes).unwrap();
            let error = read(&dataset, &name, &["a"]).unwrap_err();
            assert!(error.is_broken_table() && error.to_string().contains("kym_t.parquet as Parquet"), "{error}");
        }
    }

    #[test]
    fn hash_that_differs_once_never_matches() {
        let id = text(&[Some("a"); 3]);
        let h = text(&[Some("1"), Some("2"), Some("1")]);
        let table = batch(vec![(IMAGE_ID, id), (PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, h)]);
        check("differs once", &table, &["a"], &[rows(3, None, None)]);
        // Nor does a missing value that is met again.
        let h = text(&[Some("1"), None, None]);
        let id = text(&[Some("a"); 3]);
        let table = batch(vec![(IMAGE_ID, id), (PARAMS_HASH, h.clone()), (ANALYSIS_VERSION, h)]);
        check("missing once", &table, &["a"], &[rows(3, None, None)]);
    }
}
