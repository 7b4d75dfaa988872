//! Deletes an indexer's table under its lock.

use crate::error::IndexError;
use crate::locks;
use crate::names::TableName;
use crate::observer::Observer;
use kymhost_dataset::Dataset;
use std::time::Duration;

/// Deletes an indexer's table, which no other run changes at the same time; `false` if there is none. The run markers
/// stay: they do not match a table without rows, so the next run makes it again.
pub fn drop_table(
    dataset: &Dataset,
    name: &TableName,
    wait: Duration,
    observer: &mut dyn Observer,
) -> Result<bool, IndexError> {
    let _lock = locks::hold(dataset, name, &format!("{}, table drop", name.indexer()), wait, observer)?;
    Ok(dataset.delete_table(name.table())?)
}
