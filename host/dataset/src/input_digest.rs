//! What is at a key now, as an input: digests of files and arrays, and when their times can be trusted.
//!
//! Never knows which keys an indexer read.

use crate::array_layout::Layout;
use crate::arrays;
use crate::error::DatasetError;
use crate::hex::hex;
use crate::input::{InputState, Times};
use crate::limits::{MAX_LAYOUT_BYTES, MAX_SMALL_TEXT_BYTES};
use crate::missing_chunks::{self, MissingChunks};
use crate::names::{ARRAY, ATTRIBUTES, DATA};
use kymhost_plugin_api::Artifact;
use kymhost_store::time::checked_epoch_ns;
use kymhost_store::{Key, ReadOutcome, Stat, Store, StoreError, Synced, is_shortage, note_shortage};
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::time::SystemTime;

/// Times of a file system that keeps them in whole seconds (or two) are trusted when they are older than this.
const COARSE_NS: i64 = 2_000_000_000;

/// Other times are trusted when they are older than this: kernels take them from a clock that ticks every 1 to 10 ms.
pub(crate) const FINE_NS: i64 = 20_000_000;

/// Pages that a program wrote to a mapped file reach the disk within this time (Linux: 30 s and up to 5 s more by default,
/// and twice that is common in tuned systems). Until then, a file's times may be older than its content.
const WRITE_BACK_NS: i64 = 120_000_000_000;

/// How much of a file is hashed at once.
const HASH_BUFFER: usize = 64 << 10;

/// How old a file's times are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Age {
    /// Older than the resolution of times, and the content was on disk when it was read: whatever is written later has
    /// others.
    Settled(Times),
    /// Older than the resolution of times, but pages that a program wrote through a mapped file may still wait to be
    /// written: after [`Store::sync`] the times could be trusted.
    Unsynced,
    /// From this time on (nanoseconds since the Unix epoch) the same times could be trusted.
    Young(i64),
    /// Not known.
    Unknown,
}

impl Age {
    /// Of a file that was read after the time `before`; `synced` is the last moment at which all was on disk.
    pub(crate) fn of(stat: &Stat, before: SystemTime, synced: Option<Synced>) -> Self {
        let was_synced = |settled: i64| {
            synced.is_some_and(|synced| {
                synced.ended <= before && checked_epoch_ns(synced.began).is_some_and(|began| settled < began)
            })
        };
        let (Some(times), Some(before)) = (times_of(stat), checked_epoch_ns(before)) else { return Self::Unknown };
        let whole = |time: i64| time % 1_000_000_000 == 0;
        let resolution = if whole(times.mtime_ns) && whole(times.ctime_ns) { COARSE_NS } else { FINE_NS };
        let settled = times.mtime_ns.max(times.ctime_ns).saturating_add(resolution);
        if settled >= before {
            Self::Young(settled)
        } else if settled.saturating_add(WRITE_BACK_NS) < before || was_synced(settled) {
            Self::Settled(times)
        } else {
            Self::Unsynced
        }
    }

    pub(crate) fn times(self) -> Option<Times> {
        match self {
            Self::Settled(times) => Some(times),
            Self::Young(_) | Self::Unsynced | Self::Unknown => None,
        }
    }
}

pub(crate) fn times_of(stat: &Stat) -> Option<Times> {
    let inode = Some(stat.identity.1);
    Some(Times { mtime_ns: checked_epoch_ns(stat.modified?)?, ctime_ns: checked_epoch_ns(stat.changed?)?, inode })
}

pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn file_found(outcome: &ReadOutcome, before: SystemTime, synced: Option<Synced>) -> InputState {
    match outcome {
        ReadOutcome::Absent => InputState::Absent,
        ReadOutcome::Unread => InputState::File { size: 0, times: None, sha256: String::new() },
        ReadOutcome::Bytes { stat, length, sha256 } => {
            // If it grew or shrank while it was read, its times mean nothing.
            let times = if stat.size == *length { Age::of(stat, before, synced).times() } else { None };
            InputState::File { size: *length, times, sha256: hex(sha256) }
        }
    }
}

pub(crate) fn listing_sha256(artifacts: &[Artifact]) -> String {
    let mut hasher = Sha256::new();
    for artifact in artifacts {
        hasher.update((artifact.name.len() as u64).to_le_bytes());
        hasher.update(&artifact.name);
        hasher.update([artifact.kind as u8]);
    }
    hex(&hasher.finalize())
}

/// The axes that go into an array's digest.
pub(crate) enum Axes<'a> {
    Named(&'a [String]),
    /// Its `.zarray` does not say how many it has.
    Unknown,
    /// The attributes that name them cannot be read; these are their bytes.
    Broken(Vec<u8>),
}

/// All files of an array as one input.
#[derive(Default)]
pub(crate) struct Fold {
    synced: Option<Synced>,
    contents: Sha256,
    stats: Sha256,
    size: u64,
    chunks: u64,
    pub(crate) unsettled: bool,
    /// When the last of them settles; `None` if none is young or waits for a sync.
    pub(crate) settled: Option<i64>,
}

impl Fold {
    /// Of no files yet; `synced` as for [`Age::of`].
    pub(crate) fn new(synced: Option<Synced>) -> Self {
        Self { synced, ..Self::default() }
    }

    /// Size and times of a file.
    pub(crate) fn add(&mut self, name: &str, stat: &Stat, before: SystemTime) {
        if name != ARRAY {
            self.chunks += 1;
        }
        let age = Age::of(stat, before, self.synced);
        match age {
            Age::Settled(_) => {}
            Age::Young(until) => {
                self.unsettled = true;
                self.settled = self.settled.max(Some(until));
            }
            Age::Unsynced => {
                self.unsettled = true;
                self.settled = self.settled.max(Some(0));
            }
            Age::Unknown => self.unsettled = true,
        }
        let Times { mtime_ns, ctime_ns, .. } =
            times_of(stat).unwrap_or(Times { mtime_ns: 0, ctime_ns: 0, inode: None });
        self.stats.update((name.len() as u64).to_le_bytes());
        self.stats.update(name);
        self.stats.update(stat.size.to_le_bytes());
        self.stats.update(mtime_ns.to_le_bytes());
        self.stats.update(ctime_ns.to_le_bytes());
        self.stats.update(stat.identity.1.to_le_bytes());
    }

    /// The content of the file that was just added.
    pub(crate) fn add_bytes(&mut self, name: &str, length: u64, sha256: &[u8]) {
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

    /// The digest of sizes and times, if they can be trusted.
    pub(crate) fn stats_sha256(&self) -> Option<String> {
        (!self.unsettled).then(|| self.stats_now())
    }

    /// The digest of sizes and times as they are, to be held against one that was trusted.
    pub(crate) fn stats_now(&self) -> String {
        hex(&self.stats.clone().finalize())
    }

    pub(crate) fn finish(mut self, axes: Axes<'_>) -> InputState {
        self.add_axes(&axes);
        let stats_sha256 = self.stats_sha256();
        InputState::Array { size: self.size, chunks: self.chunks, stats_sha256, sha256: hex(&self.contents.finalize()) }
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
                if is_shortage(&source) {
                    note_shortage();
                }
                return Err(StoreError::Io { action: "read", key: store.describe(key), source }.into());
            }
        }
    }
    Ok(Some((stat, length, hasher.finalize().into())))
}

pub(crate) fn file_now(store: &dyn Store, key: &Key) -> Result<InputState, DatasetError> {
    let (before, synced) = (SystemTime::now(), store.synced());
    Ok(match hash(store, key)? {
        None => InputState::Absent,
        Some((stat, length, sha256)) => file_found(&ReadOutcome::Bytes { stat, length, sha256 }, before, synced),
    })
}

/// What an array's files are, by `each` (its size and times alone, or its bytes too); `None` if there is no array.
///
/// # Errors
/// If it lacks chunks, unless they may be missing.
fn array_files(
    store: &dyn Store,
    group: &Key,
    policy: MissingChunks,
    each: &mut dyn FnMut(&mut Fold, &str, &Key) -> Result<(), DatasetError>,
) -> Result<Option<Fold>, DatasetError> {
    let data = group.join(DATA)?;
    let key = data.join(ARRAY)?;
    let before = SystemTime::now();
    let Some((text, stat)) = store.get_with_stat(&key, MAX_LAYOUT_BYTES)? else { return Ok(None) };
    let mut fold = Fold::new(store.synced());
    fold.add(ARRAY, &stat, before);
    fold.add_bytes(ARRAY, text.len() as u64, &Sha256::digest(&text));
    let Ok(layout) = Layout::parse(&text) else {
        fold.add_axes(&Axes::Unknown);
        return Ok(Some(fold));
    };
    layout.each_chunk(&mut |name| each(&mut fold, name, &data.join(name)?))?;
    if fold.chunks < layout.chunk_count() {
        missing_chunks::check(store, &data, &layout, policy)?;
    }
    match arrays::axes(store, group, layout.shape.len()) {
        Ok(axes) => fold.add_axes(&Axes::Named(&axes)),
        Err(DatasetError::Unreadable { .. }) => {
            let bytes = store.get(&group.join(ATTRIBUTES)?, MAX_SMALL_TEXT_BYTES)?.unwrap_or_default();
            fold.add_axes(&Axes::Broken(bytes));
        }
        Err(other) => return Err(other),
    }
    Ok(Some(fold))
}

pub(crate) fn array_now(store: &dyn Store, group: &Key, policy: MissingChunks) -> Result<InputState, DatasetError> {
    let fold = array_files(store, group, policy, &mut |fold, name, key| {
        let before = SystemTime::now();
        if let Some((stat, length, sha256)) = hash(store, key)? {
            fold.add(name, &stat, before);
            fold.add_bytes(name, length, &sha256);
        }
        Ok(())
    })?;
    Ok(fold.map_or(InputState::Absent, |fold| InputState::Array {
        size: fold.size,
        chunks: fold.chunks,
        stats_sha256: fold.stats_sha256(),
        sha256: hex(&fold.contents.finalize()),
    }))
}

/// An array's files by their sizes and times alone.
pub(crate) fn array_stats(store: &dyn Store, group: &Key, policy: MissingChunks) -> Result<Option<Fold>, DatasetError> {
    array_files(store, group, policy, &mut |fold, name, key| {
        let before = SystemTime::now();
        if let Some(stat) = store.glance(key)? {
            fold.add(name, &stat, before);
        }
        Ok(())
    })
}
