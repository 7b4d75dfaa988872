//! Replacing images' rows in a table on disk, row group by row group.
//!
//! Owns: which row groups are copied as bytes, which are decoded, how groups are cut and filled.
//! Never: the rules of columns and types (see `merge`), markers, locks.

use super::IndexError;
use super::ledger::Identity;
use super::merge::{Piece, Refusal, merge};
use super::names::TableName;
use super::provenance::{IMAGE_ID, TextColumn};
use crate::dataset::{Dataset, DatasetError};
use crate::store::Stat;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

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
    if dataset.table_stat(name.table())? != expected {
        return Ok(None);
    }
    let mut old = dataset.read_table(name.table(), None)?;
    let mut removed = false;
    if let Some(table) = &mut old
        && let Some(ids) = TextColumn::of(&table.clone(), IMAGE_ID)
    {
        let stays: BooleanArray =
            (0..table.num_rows()).map(|row| Some(!ids.get(row).is_some_and(|id| change.remove.contains(id)))).collect();
        removed = stays.true_count() < table.num_rows();
        let kept = filter_record_batch(table, &stays).map_err(|error| unwritable(name, &error))?;
        *table = kept;
    }
    let before = old.clone();
    let merged =
        merge(old, &change.analysis_version, change.pieces.clone()).map_err(|error| unwritable(name, &error))?;
    let table = merged.table.or_else(|| before.filter(|_| removed));
    if let Some(table) = table
        && !dataset.replace_table(name.table(), expected, &table)?
    {
        return Ok(None);
    }
    let table = identity(dataset, name)?;
    Ok(Some(Rewritten { refused: merged.refused, widened: Vec::new(), table, groups: (0, 0) }))
}

fn unwritable(name: &TableName, why: &dyn std::fmt::Display) -> IndexError {
    DatasetError::Unwritable { key: name.key_text(), why: why.to_string() }.into()
}

impl Identity {
    /// Of a file, by what is known of it and the digest of its footer.
    pub fn of(stat: &Stat, footer_sha256: &str) -> Self {
        // A time that the store does not tell is the epoch: it is then the same for every file, as it should be.
        let nanos = |time: Option<SystemTime>| match time.unwrap_or(UNIX_EPOCH).duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        Self {
            size: stat.size,
            mtime_ns: nanos(stat.modified),
            ctime_ns: nanos(stat.changed),
            footer_sha256: footer_sha256.to_owned(),
        }
    }
}

/// What identifies the table now; `None` where there is none.
pub fn identity(dataset: &Dataset, name: &TableName) -> Result<Option<Identity>, IndexError> {
    let file = dataset.open_table(name.table())?;
    Ok(file.map(|file| Identity::of(&file.stat(), file.footer_sha256())))
}

#[cfg(test)]
pub(super) mod testing {
    //! Datasets and files for tests of this room.

    use super::*;
    use arrow::array::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    /// A new dataset, gone with its folder.
    pub fn dataset() -> (tempfile::TempDir, Dataset) {
        let dir = tempfile::tempdir().unwrap();
        let dataset = Dataset::create(&dir.path().join("d.zarr")).unwrap();
        (dir, dataset)
    }

    /// Writes a table as another program may.
    pub fn write_file(dataset: &Dataset, name: &TableName, table: &RecordBatch, group_rows: usize, dictionary: bool) {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(group_rows))
            .set_dictionary_enabled(dictionary)
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, table.schema(), Some(properties)).unwrap();
        writer.write(table).unwrap();
        writer.close().unwrap();
        dataset.store().put(&name.key().unwrap(), &bytes).unwrap();
    }
}
