//! What was read through a watched record.
//!
//! Never looks at an image again: [`crate::input_check`] does.

use crate::input::{Input, InputState};
use crate::input_digest::{Axes, Fold, array_now, file_found, file_now, listing_sha256, sha256_of};
use crate::limits::{MAX_INPUT_KEY_BYTES, MAX_INPUTS};
use crate::missing_chunks::MissingChunks;
use crate::names::{ANALYSIS, ATTRIBUTES, DATA};
use kymhost_plugin_api::Artifact;
use kymhost_store::{Key, ReadOutcome, Reading, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What a watched record has read so far.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What the reader itself leaves in the record, its run marker first of all: never an input, for every commit
    /// rewrites it.
    own: Vec<Key>,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    found: BTreeMap<String, InputState>,
    key_bytes: usize,
    moved: BTreeSet<String>,
    too_many: bool,
}

/// Why there is no list of what was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputsError {
    /// Read twice, with another content each time.
    #[error("{} changed between two reads", .0.join(", "))]
    Moved(Vec<String>),
    /// More than kymhost keeps track of.
    #[error(
        "it read more artifacts than kymhost keeps track of ({MAX_INPUTS}, with names of at most {MAX_INPUT_KEY_BYTES} bytes \
         in all)"
    )]
    TooMany,
}

impl Watch {
    pub(crate) fn new(own: Vec<Key>) -> Self {
        Self { own, notes: Mutex::default() }
    }

    fn note(&self, key: &str, found: InputState) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = notes.found.get_mut(key) {
            if !known.is_same_content(&found) {
                notes.moved.insert(key.to_owned());
            }
            return;
        }
        if notes.found.len() >= MAX_INPUTS || notes.key_bytes + key.len() > MAX_INPUT_KEY_BYTES {
            notes.too_many = true;
            return;
        }
        notes.key_bytes += key.len();
        notes.found.insert(key.to_owned(), found);
    }

    fn note_moved(&self, key: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).moved.insert(key.to_owned());
    }

    /// Notes the result of reading files of the image's group.
    pub(crate) fn note_files(&self, store: &dyn Store, group: &Key, readings: Vec<Reading>) {
        for Reading { key, before, outcome } in readings {
            let Some(name) = below(group, &key).filter(|_| !self.own.contains(&key)) else { continue };
            let mut found = file_found(&outcome, before, store.synced());
            // A file that is too large to be returned can still be hashed, as a later check does.
            if outcome == ReadOutcome::Unread
                && let Ok(now) = file_now(store, &key)
            {
                found = now;
            }
            self.note(name, found);
        }
    }

    /// Notes the attributes that were returned; `None` if the reading failed.
    pub(crate) fn note_attributes(&self, store: &dyn Store, group: &Key, text: Option<&[u8]>, readings: Vec<Reading>) {
        match text {
            Some(text) => self.note(ATTRIBUTES, InputState::Attributes { sha256: sha256_of(text) }),
            None => self.note_files(store, group, readings),
        }
    }

    /// Notes the listing that was returned; `None` if it failed.
    pub(crate) fn note_listing(&self, artifacts: Option<&[Artifact]>) {
        let sha256 = artifacts.map(listing_sha256).unwrap_or_default();
        self.note(ANALYSIS, InputState::Listing { sha256 });
    }

    /// Notes the result of reading an array: its axes, `None` inside if there is no array, an error if it cannot be
    /// read.
    pub(crate) fn note_array(
        &self,
        store: &dyn Store,
        policy: MissingChunks,
        image: &Key,
        group: &Key,
        read: Result<Option<&[String]>, ()>,
        readings: Vec<Reading>,
    ) {
        let Ok(data) = group.join(DATA) else { return };
        let Some(name) = below(image, &data).filter(|_| !self.own.contains(&data)) else { return };
        let found = match read {
            Ok(None) => InputState::Absent,
            Ok(Some(axes)) => {
                let mut fold = Fold::new(store.synced());
                for Reading { key, before, outcome } in &readings {
                    if let (Some(file), ReadOutcome::Bytes { stat, length, sha256 }) = (below(&data, key), outcome) {
                        fold.add(file, stat, *before);
                        fold.add_bytes(file, *length, sha256);
                    }
                }
                fold.finish(Axes::Named(axes))
            }
            Err(()) => {
                // Reading stopped at the broken part. All files are recorded, so that a repair of any is seen.
                for reading in &readings {
                    if below(&data, &reading.key).is_some() && !still_stands(store, reading) {
                        self.note_moved(name);
                    }
                }
                array_now(store, group, policy).unwrap_or_else(|_| InputState::Array {
                    size: 0,
                    chunks: 0,
                    stats_sha256: None,
                    sha256: String::new(),
                })
            }
        };
        self.note(name, found);
    }

    pub(crate) fn inputs(&self) -> Result<Vec<Input>, InputsError> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.too_many {
            return Err(InputsError::TooMany);
        }
        if !notes.moved.is_empty() {
            return Err(InputsError::Moved(notes.moved.iter().cloned().collect()));
        }
        Ok(notes.found.iter().map(|(key, found)| Input { key: key.clone(), found: found.clone() }).collect())
    }
}

/// Whether what a reading found is unchanged, by size and times.
fn still_stands(store: &dyn Store, reading: &Reading) -> bool {
    match (store.glance(&reading.key), &reading.outcome) {
        (Ok(Some(now)), ReadOutcome::Bytes { stat, .. }) => now == *stat,
        (Ok(None), ReadOutcome::Absent) => true,
        (_, ReadOutcome::Unread) => true,
        _ => false,
    }
}

/// What is left of a key below another.
fn below<'a>(folder: &Key, key: &'a Key) -> Option<&'a str> {
    key.as_str().strip_prefix(folder.as_str())?.strip_prefix('/')
}
