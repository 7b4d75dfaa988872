//! Writes that undo nothing of other programs: what is changed in a file that others write too is merged again into
//! what they have written meanwhile.
//!
//! Owns: how often that is tried, and what becomes of it if another program never stops. Never knows formats.

use crate::attributes::{AttributesEdit, PreparedWrite};
use crate::error::DatasetError;
use kymhost_store::{Key, Store};
use std::collections::HashMap;

/// How often another program's write is merged with before that is an error.
pub const MAX_TRIES: usize = 5;

/// Writes keys with one wait for the disk. Returns those that were left because another program has written them
/// meanwhile; attributes are never among them.
pub(crate) fn write(
    store: &dyn Store,
    items: &mut dyn Iterator<Item = PreparedWrite>,
) -> Result<Vec<Key>, DatasetError> {
    let mut edits: HashMap<Key, AttributesEdit> = HashMap::new();
    let mut differing = store.replace_many(&mut items.map(|item| {
        edits.extend(item.edit.map(|edit| (item.write.key.clone(), edit)));
        item.write
    }))?;
    let mut again: Vec<AttributesEdit> = Vec::new();
    differing.retain(|key| match edits.remove(key) {
        Some(edit) => {
            again.push(edit);
            false
        }
        None => true,
    });
    merge_attributes(store, again)?;
    Ok(differing)
}

/// Sets members of attributes that another program has written since they were read.
fn merge_attributes(store: &dyn Store, mut edits: Vec<AttributesEdit>) -> Result<(), DatasetError> {
    // The first try was the caller's.
    for _ in 1..MAX_TRIES {
        let mut writes = Vec::with_capacity(edits.len());
        for edit in &edits {
            match edit.prepare(store) {
                Ok(prepared) => writes.push(prepared.write),
                // What was to be said was written; when, is only a hint.
                Err(error) if edit.is_hint() => {
                    tracing::warn!(%error, "updated_utc was not set after another program's write");
                }
                Err(error) => return Err(error),
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let differing = store.replace_many(&mut writes.into_iter())?;
        edits.retain(|edit| edit.key().is_ok_and(|key| differing.contains(&key)));
    }
    match edits.iter().find(|edit| !edit.is_hint()) {
        None => Ok(()),
        Some(edit) => Err(busy(store, &edit.key()?)),
    }
}

/// The error of a file that another program never stops writing.
pub(crate) fn busy(store: &dyn Store, key: &Key) -> DatasetError {
    DatasetError::Busy { key: store.describe(key), tries: MAX_TRIES }
}

#[cfg(test)]
mod tests;
