//! The tables of a dataset: listed, read, replaced, deleted.

use crate::dataset::Dataset;
use crate::error::{DatasetError, unreadable, unwritable};
use crate::names;
use crate::table_file::TableFile;
use crate::tables::{self, TableForm};
use arrow::array::RecordBatch;
use kymhost_store::{Key, Sink, Stat, StoreError};
use std::io;

/// How a table's bytes are put under its key; `false` if they were not.
type PutTable<'a> = &'a dyn Fn(&Key, &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>) -> Result<bool, StoreError>;

impl Dataset {
    /// Names of the dataset tables (`kym_velocity_events`, `sources` …), sorted.
    pub fn table_names(&self) -> Result<Vec<String>, DatasetError> {
        let entries = self.store().list(&Key::new(names::TABLES)?)?.unwrap_or_default();
        let names = entries.iter().filter(|entry| !entry.is_dir).filter_map(|e| e.name.strip_suffix(".parquet"));
        let mut names: Vec<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// A whole dataset table as one batch with dictionaries cast away; `None` if there is none.
    /// `columns`: only these, in the table's order; those that it lacks are left out.
    pub fn read_table(&self, table: &str, columns: Option<&[&str]>) -> Result<Option<RecordBatch>, DatasetError> {
        let key = names::table_key(table)?;
        let Some(file) = self.store().open(&key)? else { return Ok(None) };
        match tables::read(tables::Chunks::new(file), columns) {
            Ok(rows) => Ok(Some(rows)),
            Err(found) => Err(unreadable(&**self.store(), &key, "Parquet", found)),
        }
    }

    /// Opens a dataset table to be read piece by piece; `None` if there is none.
    pub fn open_table(&self, table: &str) -> Result<Option<TableFile>, DatasetError> {
        TableFile::open(self.store(), table)
    }

    /// How many rows and bytes a dataset table has, from its metadata alone; `None` if there is no such table.
    pub fn table_size(&self, table: &str) -> Result<Option<(u64, u64)>, DatasetError> {
        let key = names::table_key(table)?;
        let Some(file) = self.store().open(&key)? else { return Ok(None) };
        let bytes = file.stat().size;
        match tables::row_count(tables::Chunks::new(file)) {
            Ok(rows) => Ok(Some((rows, bytes))),
            Err(found) => Err(unreadable(&**self.store(), &key, "Parquet", found)),
        }
    }

    /// Replaces a dataset table atomically, and sets the root's `updated_utc`.
    pub fn write_table(&self, table: &str, rows: &RecordBatch) -> Result<(), DatasetError> {
        self.put_table(table, rows, &|key, write| self.store().put_with(key, write).map(drop).map(|()| true)).map(drop)
    }

    /// As [`Dataset::write_table`], but only if the table is still what `expected` says (see [`Dataset::table_stat`]);
    /// `false`, with nothing written, if another program has written it in the meantime.
    pub fn replace_table(&self, table: &str, expected: Option<Stat>, rows: &RecordBatch) -> Result<bool, DatasetError> {
        self.put_table(table, rows, &|key, write| {
            self.store().replace_with(key, expected, write).map(|written| written.is_some())
        })
    }

    /// As [`Dataset::replace_table`], with the file's bytes from `write`, and what is known of the file that was
    /// written.
    pub fn replace_table_with(
        &self,
        table: &str,
        expected: Option<Stat>,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Option<Stat>, DatasetError> {
        let key = names::table_key(table)?;
        self.check_root()?;
        match self.store().replace_with(&key, expected, write) {
            Ok(None) => Ok(None),
            Ok(Some(stat)) => {
                self.touch_root("writing a table")?;
                Ok(Some(stat))
            }
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                Err(unwritable(&**self.store(), &key, source.to_string()))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// What identifies a table as it is now; `None` if there is none.
    pub fn table_stat(&self, table: &str) -> Result<Option<Stat>, DatasetError> {
        Ok(self.store().stat(&names::table_key(table)?)?)
    }

    fn put_table(&self, table: &str, rows: &RecordBatch, put: PutTable<'_>) -> Result<bool, DatasetError> {
        let key = names::table_key(table)?;
        let rows = tables::prepare(rows).map_err(|why| unwritable(&**self.store(), &key, why))?;
        self.check_root()?;
        match put(&key, &mut |sink| tables::write(&rows, TableForm::Dataset, sink)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => {
                return Err(unwritable(&**self.store(), &key, source.to_string()));
            }
            Err(other) => return Err(other.into()),
        }
        self.touch_root("writing a table")?;
        Ok(true)
    }

    /// Deletes a dataset table; `false` if there was none.
    pub fn delete_table(&self, table: &str) -> Result<bool, DatasetError> {
        self.check_root()?;
        let found = self.store().delete(&names::table_key(table)?)?;
        if found {
            self.touch_root("deleting a table")?;
        }
        Ok(found)
    }
}
