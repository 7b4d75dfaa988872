//! Whether an input is still what it was when it was read.
//!
//! Never decides what follows from a change.

use crate::artifact_keys::Own;
use crate::error::DatasetError;
use crate::input::{Input, InputCheck, InputState};
use crate::input_digest::{Age, Fold, array_now, array_stats, file_now, listing_sha256, sha256_of, times_of};
use crate::names::{ANALYSIS, ANALYSIS_ARRAYS, ARRAY, ATTRIBUTES, DATA};
use crate::record::Record;
use kymhost_store::Key;
use kymhost_store::time::checked_epoch_ns;
use std::time::{Duration, SystemTime};

/// What a key names. It is one thing only.
enum KeyForm {
    File(Key),
    /// The group above it.
    Array(Key),
    Attributes,
    Listing,
}

fn form_of(record: &Record, key: &str) -> Result<KeyForm, DatasetError> {
    let full = record.group().join(key)?;
    Ok(match key {
        ATTRIBUTES => KeyForm::Attributes,
        ANALYSIS => KeyForm::Listing,
        DATA => KeyForm::Array(record.group().clone()),
        _ => match full.split() {
            Some((group, DATA)) if key.strip_prefix(ANALYSIS_ARRAYS).is_some_and(|rest| rest.starts_with('/')) => {
                KeyForm::Array(group)
            }
            _ => KeyForm::File(full),
        },
    })
}

/// The input as it would be recorded now. `own` is what the indexer itself leaves in the record: no listing
/// has it.
///
/// # Errors
/// If something is there, but cannot be read; or the key is not valid.
pub fn look<'o>(record: &Record, own: impl Into<Own<'o>>, input: &Input) -> Result<Input, DatasetError> {
    let store = record.store();
    let found = match form_of(record, &input.key)? {
        KeyForm::File(key) => file_now(store, &key)?,
        KeyForm::Array(group) => array_now(store, &group, record.missing_chunks())?,
        KeyForm::Attributes => match record.attributes_text() {
            Ok(text) => InputState::Attributes { sha256: sha256_of(&text) },
            // Broken: it counts by its bytes.
            Err(DatasetError::Unreadable { .. }) => file_now(store, &record.group().join(ATTRIBUTES)?)?,
            Err(other) => return Err(other),
        },
        KeyForm::Listing => InputState::Listing { sha256: listing_sha256(&record.artifacts_of_others(own)?) },
    };
    Ok(Input { key: input.key.clone(), found })
}

/// Whether an input is as it was recorded: by size and times if they are recorded, which takes one look at each file;
/// else by content. `own` is what the indexer itself leaves in the record: no listing has it.
///
/// # Errors
/// If something is there, but cannot be read, and could be when it was recorded; or the key is not valid.
pub fn check_input<'o>(record: &Record, own: impl Into<Own<'o>>, input: &Input) -> Result<InputCheck, DatasetError> {
    if holds_by_stat(record, input)? {
        return Ok(InputCheck::Same);
    }
    let now = match look(record, own, input) {
        Ok(now) => now,
        Err(_) if input.found.is_unread() => return Ok(InputCheck::Same),
        Err(error) => return Err(error),
    };
    Ok(match (&input.found, &now.found) {
        (before, after) if before == after => InputCheck::Same,
        (InputState::Absent, _) => InputCheck::Appeared(now),
        (_, InputState::Absent) => InputCheck::Removed,
        (before, after) if before.is_same_content(after) => InputCheck::SameContent(now),
        _ => InputCheck::Changed(now),
    })
}

fn holds_by_stat(record: &Record, input: &Input) -> Result<bool, DatasetError> {
    let store = record.store();
    Ok(match &input.found {
        InputState::File { size, times: Some(times), .. } => {
            let now = store.glance(&record.group().join(&input.key)?)?;
            now.is_some_and(|now| now.size == *size && times_of(&now).as_ref() == Some(times))
        }
        InputState::Array { stats_sha256: Some(stats), .. } => match form_of(record, &input.key)? {
            KeyForm::Array(group) => {
                array_stats(store, &group, record.missing_chunks())?.is_some_and(|now| now.stats_now() == *stats)
            }
            _ => false,
        },
        InputState::Absent => {
            let key = match form_of(record, &input.key)? {
                KeyForm::Array(group) => group.join(DATA)?.join(ARRAY)?,
                KeyForm::File(key) => key,
                KeyForm::Attributes | KeyForm::Listing => return Ok(false),
            };
            store.glance(&key)?.is_none()
        }
        _ => false,
    })
}

/// Waits until the times of inputs that were recorded without them can be trusted, if that takes at most `limit` and
/// this system can sync the store; returns whether to look at them again.
pub fn settle<'i>(record: &Record, inputs: impl IntoIterator<Item = &'i Input>, limit: Duration) -> bool {
    let waits = inputs.into_iter().filter_map(|input| settles_in(record, input));
    let Some(wait) = waits.filter(|wait| *wait <= limit).max() else { return false };
    std::thread::sleep(wait);
    record.store().sync()
}

/// How long to wait until the times of an input that was recorded without them can be trusted, if nobody writes to
/// it and the store is synced after the wait; `None` if that does not help.
pub(crate) fn settles_in(record: &Record, input: &Input) -> Option<Duration> {
    if !input.found.lacks_times() {
        return None;
    }
    let store = record.store();
    let settled = match form_of(record, &input.key).ok()? {
        KeyForm::File(key) => match Age::of(&store.glance(&key).ok()??, SystemTime::now(), store.synced()) {
            Age::Settled(_) | Age::Unsynced => return Some(Duration::ZERO),
            Age::Young(until) => until,
            Age::Unknown => return None,
        },
        KeyForm::Array(group) => match array_stats(store, &group, record.missing_chunks()).ok()?? {
            Fold { unsettled: false, .. } => return Some(Duration::ZERO),
            fold => fold.settled?,
        },
        KeyForm::Attributes | KeyForm::Listing => return None,
    };
    let now = checked_epoch_ns(SystemTime::now())?;
    // Older than the resolution, not as old as it.
    Some(Duration::from_nanos(u64::try_from(settled.saturating_sub(now).saturating_add(1)).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
