//! What was read of an image, and whether it is still so.
//!
//! Owns: the forms of what can be read (a file, an array, attributes, a listing, or that there was nothing), and looking
//! again at each. Never: decides what follows from a change.

use super::names::{ANALYSIS, ANALYSIS_ARRAYS, ARRAY, ATTRIBUTES, DATA};
use super::{DatasetError, Own, Record, arrays, hex};
use kymhost_plugin_api::Artifact;
use kymhost_store::time::checked_epoch_ns;
use kymhost_store::{Key, MAX_DOCUMENT_BYTES, ReadOutcome, Reading, Stat, Store, StoreError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// One thing that was read, or looked for, of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// The key below the image's group: `analysis/velocity_events/params.json`, `data`, `.zattrs`, `analysis`.
    pub key: String,
    /// What was found there.
    #[serde(flatten)]
    pub found: Found,
}

/// What was found under a key. A digest is empty where something was there but could not be read at all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Found {
    /// Nothing.
    Absent,
    /// A file: a JSON or table artifact.
    File {
        /// Its length in bytes.
        size: u64,
        /// Its times, where they can be trusted.
        #[serde(flatten)]
        times: Option<Times>,
        /// The SHA-256 of its bytes, lower-case hex.
        sha256: String,
    },
    /// An array: its `.zarray` and its chunks.
    Array {
        /// Lengths of all its files in bytes, added up.
        size: u64,
        /// How many chunks there are.
        chunks: u64,
        /// The SHA-256 of names, lengths and times of all its files, and of the axes; `None` where the times cannot be trusted.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stats_sha256: Option<String>,
        /// The SHA-256 of names and contents of all its files, and of the axes handed over.
        sha256: String,
    },
    /// The image's attributes: the SHA-256 of the text that was handed over, which is not that of the file.
    Attributes {
        /// It.
        sha256: String,
    },
    /// The list of artifacts, run markers left out: the SHA-256 of its lines.
    Listing {
        /// It.
        sha256: String,
    },
}

/// The times of a file, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Times {
    /// Of the last change of its content.
    pub mtime_ns: i64,
    /// Of the last change of any sort.
    pub ctime_ns: i64,
}

/// What looking again at an input found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// It is as it was: by size and times, or by what has no times.
    Same,
    /// Its times differ or could not be trusted; its content is the same. The input as it would be recorded now.
    SameContent(Input),
    /// Another content. The input as it is now.
    Changed(Input),
    /// There was nothing, now there is something.
    Appeared(Input),
    /// There was something, now there is nothing.
    Removed,
}

impl Found {
    /// Whether it is the same content, whatever the times.
    fn is_same_content(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { size, sha256, .. }, Self::File { size: other_size, sha256: other_sha256, .. }) => {
                size == other_size && sha256 == other_sha256
            }
            (
                Self::Array { size, chunks, sha256, .. },
                Self::Array { size: other_size, chunks: other_chunks, sha256: other_sha256, .. },
            ) => size == other_size && chunks == other_chunks && sha256 == other_sha256,
            _ => self == other,
        }
    }

    /// Whether it was there when it was read, but could not be read.
    fn is_unread(&self) -> bool {
        match self {
            Self::Absent => false,
            Self::File { sha256, .. }
            | Self::Array { sha256, .. }
            | Self::Attributes { sha256 }
            | Self::Listing { sha256 } => sha256.is_empty(),
        }
    }

    /// Whether it is something whose times could have been recorded, but were not trusted.
    fn lacks_times(&self) -> bool {
        !self.is_unread() && matches!(self, Self::File { times: None, .. } | Self::Array { stats_sha256: None, .. })
    }
}

/// Times of a file system that keeps them in whole seconds (or two) are trusted when they are older than this.
const COARSE_NS: i64 = 2_000_000_000;
/// Other times are trusted when they are older than this: kernels take them from a clock that ticks every 1 to 10 ms.
const FINE_NS: i64 = 20_000_000;
/// What is read of one image, at most: things, and bytes of their keys.
const MAX_INPUTS: usize = 100_000;
const MAX_KEY_BYTES: usize = 8 << 20;
/// How much of a file is hashed at once.
const HASH_BUFFER: usize = 64 << 10;

/// A file's times as they were when it was looked at.
#[derive(Debug, Clone, Copy)]
enum Age {
    /// Older than the resolution of times: whatever is written later has others.
    Settled(Times),
    /// From this time on (nanoseconds since the Unix epoch) the same times could be trusted.
    Young(i64),
    /// Not known.
    Unknown,
}

impl Age {
    fn of(stat: &Stat, before: SystemTime) -> Self {
        let (Some(times), Some(before)) = (times_of(stat), checked_epoch_ns(before)) else { return Self::Unknown };
        let whole = |time: i64| time % 1_000_000_000 == 0;
        let resolution = if whole(times.mtime_ns) && whole(times.ctime_ns) { COARSE_NS } else { FINE_NS };
        let settled = times.mtime_ns.max(times.ctime_ns).saturating_add(resolution);
        if settled < before { Self::Settled(times) } else { Self::Young(settled) }
    }

    fn times(self) -> Option<Times> {
        match self {
            Self::Settled(times) => Some(times),
            Self::Young(_) | Self::Unknown => None,
        }
    }
}

fn times_of(stat: &Stat) -> Option<Times> {
    Some(Times { mtime_ns: checked_epoch_ns(stat.modified?)?, ctime_ns: checked_epoch_ns(stat.changed?)? })
}

pub(super) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What a watched record has read so far.
#[derive(Debug)]
pub(super) struct Watch {
    /// What the reader itself leaves in the record, its run marker first of all: never an input, for every commit rewrites it.
    own: Vec<Key>,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    found: BTreeMap<String, Found>,
    key_bytes: usize,
    moved: BTreeSet<String>,
    too_many: bool,
}

/// Why it cannot be said what was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputsError {
    /// Read twice, with another content each time.
    #[error("{} changed between two reads", .0.join(", "))]
    Moved(Vec<String>),
    /// More than is kept.
    #[error(
        "it read more than {MAX_INPUTS} artifacts of the image, or names of more than {MAX_KEY_BYTES} bytes in all, the most that kymhost keeps track of"
    )]
    TooMany,
}

impl Watch {
    pub(super) fn new(own: Vec<Key>) -> Self {
        Self { own, notes: Mutex::default() }
    }

    fn note(&self, key: &str, found: Found) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = notes.found.get_mut(key) {
            if !known.is_same_content(&found) {
                notes.moved.insert(key.to_owned());
            }
            return;
        }
        if notes.found.len() >= MAX_INPUTS || notes.key_bytes + key.len() > MAX_KEY_BYTES {
            notes.too_many = true;
            return;
        }
        notes.key_bytes += key.len();
        notes.found.insert(key.to_owned(), found);
    }

    fn note_moved(&self, key: &str) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).moved.insert(key.to_owned());
    }

    /// Notes what reading files of the image's group came to.
    pub(super) fn note_files(&self, store: &dyn Store, group: &Key, readings: Vec<Reading>) {
        for Reading { key, before, outcome } in readings {
            let Some(name) = below(group, &key).filter(|_| !self.own.contains(&key)) else { continue };
            let mut found = file_found(&outcome, before);
            // More than is handed over can be hashed all the same; looking again will.
            if outcome == ReadOutcome::Unread
                && let Ok(now) = file_now(store, &key)
            {
                found = now;
            }
            self.note(name, found);
        }
    }

    /// Notes what the attributes were that were handed over; `None` where the reading failed.
    pub(super) fn note_attributes(&self, store: &dyn Store, group: &Key, text: Option<&[u8]>, readings: Vec<Reading>) {
        match text {
            Some(text) => self.note(ATTRIBUTES, Found::Attributes { sha256: sha256_of(text) }),
            None => self.note_files(store, group, readings),
        }
    }

    /// Notes the listing that was handed over; `None` where it failed.
    pub(super) fn note_listing(&self, artifacts: Option<&[Artifact]>) {
        let sha256 = artifacts.map(listing_sha256).unwrap_or_default();
        self.note(ANALYSIS, Found::Listing { sha256 });
    }

    /// Notes what reading an array came to: its axes, `None` inside where there is no array, an error where it cannot be read.
    pub(super) fn note_array(
        &self,
        store: &dyn Store,
        image: &Key,
        group: &Key,
        read: Result<Option<&[String]>, ()>,
        readings: Vec<Reading>,
    ) {
        let Ok(data) = group.join(DATA) else { return };
        let Some(name) = below(image, &data).filter(|_| !self.own.contains(&data)) else { return };
        let found = match read {
            Ok(None) => Found::Absent,
            Ok(Some(axes)) => {
                let mut fold = Fold::default();
                for Reading { key, before, outcome } in &readings {
                    if let (Some(file), ReadOutcome::Bytes { stat, length, sha256 }) = (below(&data, key), outcome) {
                        fold.add(file, stat, *before);
                        fold.add_bytes(file, *length, sha256);
                    }
                }
                fold.finish(Axes::Named(axes))
            }
            Err(()) => {
                // Reading stopped at what is broken; recorded is all that there is to be mended.
                for reading in &readings {
                    if below(&data, &reading.key).is_some() && !still_stands(store, reading) {
                        self.note_moved(name);
                    }
                }
                array_now(store, group).unwrap_or_else(|_| Found::Array {
                    size: 0,
                    chunks: 0,
                    stats_sha256: None,
                    sha256: String::new(),
                })
            }
        };
        self.note(name, found);
    }

    pub(super) fn inputs(&self) -> Result<Vec<Input>, InputsError> {
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

/// Whether what a reading found is there yet, by size and times.
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

fn file_found(outcome: &ReadOutcome, before: SystemTime) -> Found {
    match outcome {
        ReadOutcome::Absent => Found::Absent,
        ReadOutcome::Unread => Found::File { size: 0, times: None, sha256: String::new() },
        ReadOutcome::Bytes { stat, length, sha256 } => {
            // Where it grew or shrank in the reading its times tell nothing.
            let times = if stat.size == *length { Age::of(stat, before).times() } else { None };
            Found::File { size: *length, times, sha256: hex(sha256) }
        }
    }
}

fn listing_sha256(artifacts: &[Artifact]) -> String {
    let mut hasher = Sha256::new();
    for artifact in artifacts {
        hasher.update((artifact.name.len() as u64).to_le_bytes());
        hasher.update(&artifact.name);
        hasher.update([artifact.kind as u8]);
    }
    hex(&hasher.finalize())
}

/// The axes that go into an array's digest.
enum Axes<'a> {
    Named(&'a [String]),
    /// Its `.zarray` does not say how many it has.
    Unknown,
    /// The attributes that name them cannot be read; these are their bytes.
    Broken(Vec<u8>),
}

/// All files of an array as one input.
#[derive(Default)]
struct Fold {
    contents: Sha256,
    stats: Sha256,
    size: u64,
    chunks: u64,
    unsettled: bool,
    /// When the last of them settles; `None` where none is young.
    settled: Option<i64>,
}

impl Fold {
    /// Size and times of a file.
    fn add(&mut self, name: &str, stat: &Stat, before: SystemTime) {
        if name != ARRAY {
            self.chunks += 1;
        }
        let age = Age::of(stat, before);
        match age {
            Age::Settled(_) => {}
            Age::Young(until) => {
                self.unsettled = true;
                self.settled = self.settled.max(Some(until));
            }
            Age::Unknown => self.unsettled = true,
        }
        let Times { mtime_ns, ctime_ns } = times_of(stat).unwrap_or(Times { mtime_ns: 0, ctime_ns: 0 });
        self.stats.update((name.len() as u64).to_le_bytes());
        self.stats.update(name);
        self.stats.update(stat.size.to_le_bytes());
        self.stats.update(mtime_ns.to_le_bytes());
        self.stats.update(ctime_ns.to_le_bytes());
    }

    /// The content of the file that was just added.
    fn add_bytes(&mut self, name: &str, length: u64, sha256: &[u8]) {
        self.size = self.size.saturating_add(length);
        self.contents.update((name.len() as u64).to_le_bytes());
        self.contents.update(name);
        self.contents.update(length.to_le_bytes());
        self.contents.update(sha256);
    }

    fn add_axes(&mut self, axes: &Axes<'_>) {
        let mut text = Vec::new();
        match axes {
            Axes::Named(axes) => {
                for axis in *axes {
                    text.extend((axis.len() as u64).to_le_bytes());
                    text.extend(axis.as_bytes());
                }
            }
            Axes::Unknown => text.push(0),
            Axes::Broken(bytes) => {
                text.push(1);
                text.extend(bytes);
            }
        }
        self.stats.update(&text);
        self.contents.update(&text);
    }

    fn stats_sha256(&self) -> Option<String> {
        (!self.unsettled).then(|| hex(&self.stats.clone().finalize()))
    }

    fn finish(mut self, axes: Axes<'_>) -> Found {
        self.add_axes(&axes);
        let stats_sha256 = self.stats_sha256();
        Found::Array { size: self.size, chunks: self.chunks, stats_sha256, sha256: hex(&self.contents.finalize()) }
    }
}

/// Size and SHA-256 of a file that may be as long as it likes.
fn hash(store: &dyn Store, key: &Key) -> Result<Option<(Stat, u64, [u8; 32])>, DatasetError> {
    let Some(mut file) = store.open(key)? else { return Ok(None) };
    let stat = file.stat();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; HASH_BUFFER.min(usize::try_from(stat.size).unwrap_or(HASH_BUFFER)) + 1];
    let mut length = 0u64;
    loop {
        // One that grows as fast as it is read would never end.
        if length > stat.size {
            break;
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(StoreError::Io { action: "read", key: store.describe(key), source }.into());
            }
        }
    }
    Ok(Some((stat, length, hasher.finalize().into())))
}

fn file_now(store: &dyn Store, key: &Key) -> Result<Found, DatasetError> {
    let before = SystemTime::now();
    Ok(match hash(store, key)? {
        None => Found::Absent,
        Some((stat, length, sha256)) => file_found(&ReadOutcome::Bytes { stat, length, sha256 }, before),
    })
}

/// What an array's files are, by `each` (its size and times alone, or its bytes too); `None` where there is no array.
fn array_files(
    store: &dyn Store,
    group: &Key,
    each: &mut dyn FnMut(&mut Fold, &str, &Key) -> Result<(), DatasetError>,
) -> Result<Option<Fold>, DatasetError> {
    let data = group.join(DATA)?;
    let key = data.join(ARRAY)?;
    let before = SystemTime::now();
    let Some((text, stat)) = store.get_with_stat(&key, arrays::MAX_LAYOUT_BYTES)? else { return Ok(None) };
    let mut fold = Fold::default();
    fold.add(ARRAY, &stat, before);
    fold.add_bytes(ARRAY, text.len() as u64, &Sha256::digest(&text));
    let Ok(layout) = arrays::Layout::parse(&text) else {
        fold.add_axes(&Axes::Unknown);
        return Ok(Some(fold));
    };
    layout.each_chunk(&mut |name| each(&mut fold, name, &data.join(name)?))?;
    match arrays::axes(store, group, layout.shape.len()) {
        Ok(axes) => fold.add_axes(&Axes::Named(&axes)),
        Err(DatasetError::Unreadable { .. }) => {
            let bytes = store.get(&group.join(ATTRIBUTES)?, MAX_DOCUMENT_BYTES)?.unwrap_or_default();
            fold.add_axes(&Axes::Broken(bytes));
        }
        Err(other) => return Err(other),
    }
    Ok(Some(fold))
}

fn array_now(store: &dyn Store, group: &Key) -> Result<Found, DatasetError> {
    let fold = array_files(store, group, &mut |fold, name, key| {
        let before = SystemTime::now();
        if let Some((stat, length, sha256)) = hash(store, key)? {
            fold.add(name, &stat, before);
            fold.add_bytes(name, length, &sha256);
        }
        Ok(())
    })?;
    Ok(fold.map_or(Found::Absent, |fold| Found::Array {
        size: fold.size,
        chunks: fold.chunks,
        stats_sha256: fold.stats_sha256(),
        sha256: hex(&fold.contents.finalize()),
    }))
}

/// An array's files by their sizes and times alone.
fn array_stats(store: &dyn Store, group: &Key) -> Result<Option<Fold>, DatasetError> {
    array_files(store, group, &mut |fold, name, key| {
        let before = SystemTime::now();
        if let Some(stat) = store.glance(key)? {
            fold.add(name, &stat, before);
        }
        Ok(())
    })
}

/// What a key stands for. A key names one thing only.
enum Form {
    File(Key),
    /// The group above it.
    Array(Key),
    Attributes,
    Listing,
}

fn form_of(record: &Record, key: &str) -> Result<Form, DatasetError> {
    let full = record.group().join(key)?;
    Ok(match key {
        ATTRIBUTES => Form::Attributes,
        ANALYSIS => Form::Listing,
        DATA => Form::Array(record.group().clone()),
        _ => match full.split() {
            Some((group, DATA)) if key.strip_prefix(ANALYSIS_ARRAYS).is_some_and(|rest| rest.starts_with('/')) => {
                Form::Array(group)
            }
            _ => Form::File(full),
        },
    })
}

/// What was recorded, as it would be recorded now. `own` is what the indexer itself leaves in the record: no listing has it.
///
/// # Errors
/// Where something is there, but cannot be read; or the key is none.
pub fn look<'o>(record: &Record, own: impl Into<Own<'o>>, input: &Input) -> Result<Input, DatasetError> {
    let store = record.store();
    let found = match form_of(record, &input.key)? {
        Form::File(key) => file_now(store, &key)?,
        Form::Array(group) => array_now(store, &group)?,
        Form::Attributes => match record.attributes_text() {
            Ok(text) => Found::Attributes { sha256: sha256_of(&text) },
            // Broken: it counts by its bytes.
            Err(DatasetError::Unreadable { .. }) => file_now(store, &record.group().join(ATTRIBUTES)?)?,
            Err(other) => return Err(other),
        },
        Form::Listing => Found::Listing { sha256: listing_sha256(&record.artifacts_of_others(own)?) },
    };
    Ok(Input { key: input.key.clone(), found })
}

/// Whether an input is as it was recorded: by size and times where they are recorded, which takes one look at each file; else by
/// content. `own` is what the indexer itself leaves in the record: no listing has it.
///
/// # Errors
/// Where something is there, but cannot be read, and could be when it was recorded; or the key is none.
pub fn check_input<'o>(record: &Record, own: impl Into<Own<'o>>, input: &Input) -> Result<Held, DatasetError> {
    if holds_by_stat(record, input)? {
        return Ok(Held::Same);
    }
    let now = match look(record, own, input) {
        Ok(now) => now,
        Err(_) if input.found.is_unread() => return Ok(Held::Same),
        Err(error) => return Err(error),
    };
    Ok(match (&input.found, &now.found) {
        (before, after) if before == after => Held::Same,
        (Found::Absent, _) => Held::Appeared(now),
        (_, Found::Absent) => Held::Removed,
        (before, after) if before.is_same_content(after) => Held::SameContent(now),
        _ => Held::Changed(now),
    })
}

fn holds_by_stat(record: &Record, input: &Input) -> Result<bool, DatasetError> {
    let store = record.store();
    Ok(match &input.found {
        Found::File { size, times: Some(times), .. } => {
            let now = store.glance(&record.group().join(&input.key)?)?;
            now.is_some_and(|now| now.size == *size && times_of(&now).as_ref() == Some(times))
        }
        Found::Array { stats_sha256: Some(stats), .. } => match form_of(record, &input.key)? {
            Form::Array(group) => {
                array_stats(store, &group)?.is_some_and(|now| now.stats_sha256().as_ref() == Some(stats))
            }
            _ => false,
        },
        Found::Absent => {
            let key = match form_of(record, &input.key)? {
                Form::Array(group) => group.join(DATA)?.join(ARRAY)?,
                Form::File(key) => key,
                Form::Attributes | Form::Listing => return Ok(false),
            };
            store.glance(&key)?.is_none()
        }
        _ => false,
    })
}

/// How long to wait until the times of an input that was recorded without them can be trusted, when nobody writes to it; `None`
/// where waiting is of no use.
pub fn settles_in(record: &Record, input: &Input) -> Option<Duration> {
    if !input.found.lacks_times() {
        return None;
    }
    let store = record.store();
    let settled = match form_of(record, &input.key).ok()? {
        Form::File(key) => match Age::of(&store.glance(&key).ok()??, SystemTime::now()) {
            Age::Settled(_) => return Some(Duration::ZERO),
            Age::Young(until) => until,
            Age::Unknown => return None,
        },
        Form::Array(group) => match array_stats(store, &group).ok()?? {
            Fold { unsettled: false, .. } => return Some(Duration::ZERO),
            fold => fold.settled?,
        },
        Form::Attributes | Form::Listing => return None,
    };
    let now = checked_epoch_ns(SystemTime::now())?;
    // Older than the resolution, not as old as it.
    Some(Duration::from_nanos(u64::try_from(settled.saturating_sub(now).saturating_add(1)).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
