//! Replacing images' rows in a table on disk, row group by row group.
//!
//! Responsible for which row groups are copied as bytes, which are decoded, how groups are cut and filled. It does
//! not know the rules of columns and types (see [`crate::merge`]), markers or locks.
//!
//! A row group whose rows all stay as they are is copied, if the table's columns stay what they are and the file
//! keeps them as we do; its NaNs then stay too, which are missing values to every reader. All else is read, filtered
//! and written in batches. See `layout` and `write` for how groups are cut.

mod error;
mod layout;
mod on_disk;
mod write;

use crate::error::IndexError;
use crate::ledger::Identity;
use crate::merge::{self, Piece, RefusedPiece};
use crate::names::TableName;
use crate::provenance::ImageRuns;
use error::{RewriteError, Stopped};
use kymhost_dataset::{Dataset, DatasetError, TableFile, kept_schema};
use kymhost_store::{Stat, StoreError};
use layout::layout;
use on_disk::{OnDisk, Owners};
use std::collections::{BTreeSet, HashSet};
use std::io;
use write::NewFile;

/// What is to be changed in a table.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Images whose rows are replaced, in id order.
    pub pieces: Vec<Piece>,
    /// The analysis version that the pieces' rows, and those of `relabel`, get.
    pub analysis_version: String,
    /// Images whose rows leave without replacement.
    pub remove: BTreeSet<String>,
    /// Images whose rows are removed too, but only if that lets every new piece fit.
    pub remove_if_all_fit: BTreeSet<String>,
    /// Images whose rows stay, with another params hash and the analysis version: (image, params hash).
    pub relabel: Vec<(String, String)>,
    /// Which image's rows stand where, if that is known of the table that is changed: then it is not read again.
    pub runs: Option<ImageRuns>,
    /// Key and value pairs of ours for the file's metadata, instead of those of the same key. Keys begin with
    /// `kymhost`: other ones are not kept by the next change. Pairs alone are no reason to write the table.
    pub metadata: Vec<(String, String)>,
}

/// What has been changed.
#[derive(Debug)]
pub struct Rewritten {
    /// The pieces left out, in order; their images' old rows stay.
    pub refused: Vec<RefusedPiece>,
    /// Whether the rows of [`Change::remove_if_all_fit`] left (or there were none).
    pub made_room: bool,
    /// Columns of the old table that got a wider type.
    pub widened: Vec<Widening>,
    /// The table as it is now; `None` if there is none. If there was nothing to change, it was not written.
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

/// Rows that a row group is to have, about.
const GROUP_ROWS: u64 = 131_072;
/// How the keys of our pairs in a file's metadata begin; pairs of others are not kept.
const OUR_METADATA: &str = "kymhost";

/// Changes the table if it is still what `expected` says. `None`, and nothing written, if another program has written
/// it in the meantime. Memory is bounded by the row groups that hold a changed image, in batches, and by the pieces.
pub fn rewrite(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
) -> Result<Option<Rewritten>, IndexError> {
    rewrite_in_groups(dataset, name, expected, change, GROUP_ROWS)
}

fn rewrite_in_groups(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
    target: u64,
) -> Result<Option<Rewritten>, IndexError> {
    match attempt(dataset, name, expected, change, target) {
        Ok(done) => Ok(done),
        Err(error) => {
            // Python writes into the file itself: what was read may have been half of another table. A disk's errors
            // are its own.
            let is_of_content = match &error {
                RewriteError::Merge(_) => true,
                RewriteError::Dataset(error) => {
                    matches!(error, DatasetError::Unreadable { .. } | DatasetError::Unwritable { .. })
                }
            };
            if is_of_content && dataset.table_stat(name.table())? != expected { Ok(None) } else { Err(error.of(name)) }
        }
    }
}

fn attempt(
    dataset: &Dataset,
    name: &TableName,
    expected: Option<Stat>,
    change: &Change,
    target: u64,
) -> Result<Option<Rewritten>, RewriteError> {
    let file = dataset.open_table(name.table())?;
    if file.as_ref().map(TableFile::stat) != expected {
        return Ok(None);
    }
    let owners = Owners::of(change);
    let mut old = file.as_ref().map(|file| OnDisk::read(file, &owners, change)).transpose()?;
    let relabels = old.as_ref().is_some_and(|old| old.relabelled() > 0);
    let mut planned = merge::plan(old.as_mut(), &change.analysis_version, &change.pieces, relabels)?;
    let made_room = change.remove_if_all_fit.is_empty() || planned.refused.is_empty();
    if let Some(old) = old.as_mut().filter(|_| !made_room) {
        // Rows only leave to make room if that lets every piece fit.
        old.makes_room = false;
        planned = merge::plan(Some(old), &change.analysis_version, &change.pieces, relabels)?;
    }
    let removes = old.as_ref().is_some_and(|old| old.removed() > 0);
    if !(planned.is_changed || removes || relabels) {
        let table = file.as_ref().map(|file| Identity::of(&file.stat(), file.footer_sha256()));
        let refused = planned.refused;
        return Ok(Some(Rewritten { refused, made_room, widened: Vec::new(), table, groups: (0, 0) }));
    }
    let widened = file.iter().flat_map(|file| planned.widened(file.schema())).map(|(column, from, to)| Widening {
        column: column.to_owned(),
        from: from.to_string(),
        to: to.to_string(),
    });
    let widened = widened.collect();

    let schema = kept_schema(&planned.schema);
    let refused: HashSet<usize> = planned.refused.iter().map(|refusal| refusal.piece).collect();
    let stays = |piece: usize| refused.contains(&piece);
    let sizes = old.as_ref().map_or_else(Vec::new, |old| old.sizes(&schema, planned.is_same_schema, &stays));
    let new = NewFile {
        metadata: metadata(file.as_ref(), &change.metadata),
        parts: layout(sizes, planned.new_rows, target),
        schema,
        old: old.as_ref(),
        planned: &planned,
        stays: &stays,
        target,
    };
    let mut outcome = Err(Stopped::Io(io::Error::other("the store did not ask for the table's bytes")));
    let written = dataset.replace_table_with(name.table(), expected, &mut |sink| {
        outcome = new.write(sink);
        match &mut outcome {
            Ok(_) => Ok(()),
            Err(Stopped::Io(error)) => Err(std::mem::replace(error, io::Error::other("it was not written"))),
            Err(Stopped::Failed(_)) => Err(io::Error::other("its rows could not be made")),
        }
    });
    // A failure to read is not one to write.
    let (footer_sha256, groups) = match outcome {
        Err(Stopped::Failed(failure)) => return Err(failure),
        Err(Stopped::Io(error)) => {
            written?;
            let key = name.key_text();
            return Err(DatasetError::Store(StoreError::Io { action: "write", key, source: error }).into());
        }
        Ok(done) => done,
    };
    let Some(stat) = written? else { return Ok(None) };
    let table = Some(Identity::of(&stat, &footer_sha256));
    Ok(Some(Rewritten { refused: planned.refused, made_room, widened, table, groups }))
}

/// The pairs of the new file's metadata: ours of the old one, and those that are new or instead of them.
fn metadata(file: Option<&TableFile>, new: &[(String, String)]) -> Vec<(String, String)> {
    let old = file.and_then(|file| file.parquet().file_metadata().key_value_metadata()).into_iter().flatten();
    let kept = old.filter(|pair| pair.key.starts_with(OUR_METADATA) && new.iter().all(|(key, _)| *key != pair.key));
    let kept = kept.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)));
    kept.chain(new.iter().cloned()).collect()
}

/// What identifies the table now; `None` if there is none.
pub fn identity(dataset: &Dataset, name: &TableName) -> Result<Option<Identity>, IndexError> {
    let file = dataset.open_table(name.table())?;
    Ok(file.map(|file| Identity::of(&file.stat(), file.footer_sha256())))
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod testing {
    //! Datasets and files for tests of this room.

    use super::*;
    use arrow::array::RecordBatch;
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    /// A new dataset, gone with its folder.
    pub fn dataset() -> (tempfile::TempDir, Dataset) {
        // In memory if the system has such a folder: what waits for the disk is tested elsewhere.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
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
