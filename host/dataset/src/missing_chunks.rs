//! Chunks that an array lacks: which lines they hold, and whether somebody recorded that they are empty.
//!
//! A missing chunk is not data: it may have been lost. Some writers leave out chunks that hold nothing but the fill
//! value. For such an image the decision is recorded, for exactly the chunks that were missing then. This file must
//! not read a chunk.

use crate::array_layout::Layout;
use crate::error::{DatasetError, unreadable};
use crate::hex::hex;
use crate::limits::{MAX_LAYOUT_BYTES, MAX_SMALL_VALUE_BYTES};
use crate::names::{ARRAY, DATA, FILL_MISSING, IMAGES};
use kymhost_plugin_api::Json;
use kymhost_store::time::now_utc;
use kymhost_store::{Key, Store, text};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// A recorded decision is about two hundred bytes.
const MAX_DECISION_BYTES: u64 = 64 << 10;
/// How many ranges of lines a message names.
const NAMED_RANGES: usize = 3;

/// What a missing chunk is to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingChunks {
    /// An error, unless a decision is recorded for the image.
    #[default]
    Unreadable,
    /// Fill values, as kymflow reads them.
    Filled,
}

/// Where an array's chunks are.
pub(crate) struct Survey {
    missing: u64,
    total: u64,
    /// Ranges along the first axis that missing chunks cover: first and last line.
    lines: Vec<(usize, usize)>,
    /// Of the names of the missing chunks.
    sha256: String,
    /// A chunk that is stored under the other separator.
    misnamed: Option<String>,
    /// What the chunks that exist could unpack to, at most.
    capacity: u64,
}

impl Survey {
    /// Looks for every chunk of an array, at one metadata call for each.
    pub(crate) fn of(store: &dyn Store, data: &Key, layout: &Layout) -> Result<Self, DatasetError> {
        let mut survey =
            Self { missing: 0, total: 0, lines: Vec::new(), sha256: String::new(), misnamed: None, capacity: 0 };
        let mut names = Sha256::new();
        let mut other_names: Option<BTreeSet<String>> = None;
        layout.each_index(&mut |index| {
            survey.total += 1;
            let name = layout.chunk_name(index);
            if let Some(stat) = store.stat(&data.join(&name)?)? {
                survey.capacity = survey.capacity.saturating_add(layout.most_unpacked(stat.size));
                return Ok(());
            }
            survey.missing += 1;
            names.update(&name);
            names.update("\n");
            survey.add_lines(layout, index);
            if survey.misnamed.is_none() && index.len() > 1 {
                let other = layout.misnamed(index);
                // One listing spares a metadata call for each missing chunk.
                let top = other.split('/').next().unwrap_or_default();
                if other_names.is_none() {
                    let entries = store.list(data)?.unwrap_or_default();
                    other_names = Some(entries.into_iter().map(|entry| entry.name).collect());
                }
                let may_be = other_names.as_ref().is_some_and(|names| names.contains(top));
                if may_be && store.stat(&data.join(&other)?)?.is_some() {
                    survey.misnamed = Some(other);
                }
            }
            Ok::<(), DatasetError>(())
        })?;
        survey.sha256 = hex(&names.finalize());
        Ok(survey)
    }

    fn add_lines(&mut self, layout: &Layout, index: &[usize]) {
        let (Some(&at), Some(&chunk), Some(&length)) = (index.first(), layout.chunks.first(), layout.shape.first())
        else {
            return;
        };
        let (first, end) = (at * chunk, (at * chunk).saturating_add(chunk).min(length));
        match self.lines.last_mut() {
            Some((_, last)) if *last + 1 >= first => *last = (*last).max(end - 1),
            _ => self.lines.push((first, end - 1)),
        }
    }

    /// Why the array cannot be read; `None` if it can.
    fn found(&self, store: &dyn Store, data: &Key, layout: &Layout) -> Result<Option<String>, DatasetError> {
        if self.missing == 0 {
            return Ok(None);
        }
        if let Some(name) = &self.misnamed {
            let (is, expected) = if layout.separator == '.' { ('/', '.') } else { ('.', '/') };
            return Ok(Some(format!(
                "its chunks are named with '{is}' ({name}), but its .zarray says '{expected}' (dimension_separator)"
            )));
        }
        if recorded_sha256(store, data)?.is_some_and(|sha256| sha256 == self.sha256) {
            return Ok(None);
        }
        let is_pixels = decision_key(data)?.is_some();
        let whose = if is_pixels { " of the pixels" } else { "" };
        let lines = text::listed(self.lines.iter().map(|(first, last)| range_text(*first, *last)), NAMED_RANGES);
        let lines = if lines.is_empty() { lines } else { format!(" (lines {lines})") };
        let are = if self.missing == 1 { "is" } else { "are" };
        let (missing, total) = (self.missing, self.total);
        let chunks = if total == 1 { "chunk" } else { "chunks" };
        let advice = if is_pixels {
            "; restore them, or, if their writer leaves out empty chunks, use `kymhost run --fill-missing`"
        } else {
            ""
        };
        Ok(Some(format!("{missing} of {total} {chunks}{whose} {are} missing{lines}{advice}")))
    }

    /// Refuses an array with chunks that are missing, unless they may be.
    pub(crate) fn check(&self, store: &dyn Store, data: &Key, layout: &Layout) -> Result<(), DatasetError> {
        if let Some(found) = self.found(store, data, layout)? {
            return Err(unreadable(store, data, "an array", found));
        }
        Ok(())
    }
}

fn range_text(first: usize, last: usize) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

/// Checks that all chunks are there, or that those that are missing are recorded as empty.
pub(crate) fn check(store: &dyn Store, data: &Key, layout: &Layout, policy: MissingChunks) -> Result<(), DatasetError> {
    if policy == MissingChunks::Filled {
        return Ok(());
    }
    Survey::of(store, data, layout)?.check(store, data, layout)
}

/// As [`check`], for a large array: without a decision it claims no more than its chunks could hold.
pub(crate) fn check_claim(
    store: &dyn Store,
    data: &Key,
    layout: &Layout,
    policy: MissingChunks,
) -> Result<(), DatasetError> {
    if policy == MissingChunks::Filled {
        return Ok(());
    }
    let survey = Survey::of(store, data, layout)?;
    survey.check(store, data, layout)?;
    let claimed = layout.array_bytes() as u64;
    if survey.missing == 0 && claimed > survey.capacity {
        let found = format!("its .zarray claims {claimed} bytes, its chunks cannot hold as many");
        return Err(unreadable(store, data, "an array", found));
    }
    Ok(())
}

/// Where the decision about an array is kept; `None` if the array is not the pixels of an image.
fn decision_key(data: &Key) -> Result<Option<Key>, DatasetError> {
    let image_id = data.as_str().strip_prefix(IMAGES).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
    match image_id {
        Some((image_id, DATA)) => Ok(Some(Key::new(format!("{FILL_MISSING}/{image_id}.json"))?)),
        _ => Ok(None),
    }
}

/// The digest of the missing chunks that are recorded as empty.
fn recorded_sha256(store: &dyn Store, data: &Key) -> Result<Option<String>, DatasetError> {
    let Some(key) = decision_key(data)? else { return Ok(None) };
    let Some(text) = store.get(&key, MAX_DECISION_BYTES)? else { return Ok(None) };
    let broken = |found: String| unreadable(store, &key, "a decision about missing chunks", found);
    let decision = Json::parse_within(&text, MAX_SMALL_VALUE_BYTES).map_err(|error| broken(error.to_string()))?;
    match decision.get("missing_sha256").and_then(Json::as_str) {
        Some(sha256) => Ok(Some(sha256.to_owned())),
        None => Err(broken("it has no text 'missing_sha256'".to_owned())),
    }
}

/// Records that the chunks which an image's pixels lack now are empty. How many they are; 0 if none is missing or the
/// decision is recorded already.
///
/// # Errors
/// If the layout cannot be read, or the chunks are there under other names.
pub(crate) fn record_as_empty(store: &dyn Store, data: &Key) -> Result<u64, DatasetError> {
    let Some(text) = store.get(&data.join(ARRAY)?, MAX_LAYOUT_BYTES)? else { return Ok(0) };
    let broken = |found| unreadable(store, data, "an array", found);
    let layout = Layout::parse(&text).map_err(broken)?;
    let survey = Survey::of(store, data, &layout)?;
    let (Some(found), Some(key)) = (survey.found(store, data, &layout)?, decision_key(data)?) else { return Ok(0) };
    if survey.misnamed.is_some() {
        return Err(broken(found));
    }
    let decision = Json::object([
        ("format", 1.into()),
        ("missing_chunks", survey.missing.into()),
        ("missing_sha256", survey.sha256.as_str().into()),
        ("recorded_utc", now_utc().into()),
    ]);
    store.put(&key, &decision.to_file_text().into_bytes())?;
    Ok(survey.missing)
}

#[cfg(test)]
mod tests;
