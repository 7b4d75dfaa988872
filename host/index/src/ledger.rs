//! What we keep about a table, in `index/kymhost/`: its seal, the intent of a commit, the failures of the last run.
//!
//! Responsible for their format and keys, for reading and for writing them. It does not decide what follows from them.
//!
//! All three are documents of `serde_json`. One that cannot be read is treated as the safest thing that it could be: a
//! seal as broken, an intent as naming every image, failures as none; and the log says so. If the store
//! refuses to read one, that is an error: it may hold anything.

use crate::error::IndexError;
use crate::names::TableName;
use kymhost_dataset::limits::MAX_LEDGER_BYTES;
use kymhost_dataset::{Dataset, DatasetError, Input};
use kymhost_store::time::epoch_ns;
use kymhost_store::{Key, Stat, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::SystemTime;

/// The form of all three documents. Another one counts as one that cannot be read.
const FORMAT: u64 = 1;
const SEALS: &str = "seals";
const INTENTS: &str = "intents";
const FAILURES: &str = "failures";

/// What identifies a table's file: while it holds, its rows are those that markers describe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Bytes.
    pub size: u64,
    /// Time of the last change of the content, in nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// Time of the last change of any sort.
    pub ctime_ns: i64,
    /// The SHA-256 of the Parquet footer, lower-case hex.
    pub footer_sha256: String,
}

impl Identity {
    /// Of a file, by what is known of it and the digest of its footer.
    pub fn of(stat: &Stat, footer_sha256: &str) -> Self {
        // A time that the store does not know is the epoch, so that it is the same for every file.
        let nanoseconds = |time: Option<SystemTime>| time.map_or(0, epoch_ns);
        Self {
            size: stat.size,
            mtime_ns: nanoseconds(stat.modified),
            ctime_ns: nanoseconds(stat.changed),
            footer_sha256: footer_sha256.to_owned(),
        }
    }
}

/// The seal of a table: `index/kymhost/seals/<table>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The table as it was sealed.
    pub table: Identity,
    /// Images whose rows were not those of their markers when it was sealed, and have not been done since.
    pub altered: BTreeSet<String>,
    /// The receipts that the table was sealed with. An unknown one may describe other rows: another program put its
    /// marker there, maybe from a backup.
    pub receipts: Receipts,
}

/// Which image has which digest of its rows, each pair as a short digest: enough to see a receipt that is not among
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Receipts(Vec<u64>);

/// Hex digits of one of [`Receipts`].
const MARK_DIGITS: usize = 16;

impl Receipts {
    /// An image with a receipt, as they know it.
    pub fn mark(image_id: &str, rows_sha256: &str) -> u64 {
        let digest = Sha256::new().chain_update(image_id).chain_update([0]).chain_update(rows_sha256).finalize();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// Whether this one is among them.
    pub fn has(&self, mark: u64) -> bool {
        self.0.binary_search(&mark).is_ok()
    }
}

impl FromIterator<u64> for Receipts {
    fn from_iter<I: IntoIterator<Item = u64>>(marks: I) -> Self {
        let mut marks: Vec<u64> = marks.into_iter().collect();
        marks.sort_unstable();
        Self(marks)
    }
}

impl From<Receipts> for String {
    fn from(receipts: Receipts) -> Self {
        let mut text = Self::with_capacity(receipts.0.len() * MARK_DIGITS);
        for mark in receipts.0 {
            // Writing to a text cannot fail.
            let _ = write!(text, "{mark:0MARK_DIGITS$x}");
        }
        text
    }
}

impl TryFrom<String> for Receipts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let marks = text.as_bytes().chunks(MARK_DIGITS).map(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == MARK_DIGITS)?;
            u64::from_str_radix(digits, 16).ok()
        });
        marks.collect::<Option<_>>().ok_or_else(|| format!("receipts are groups of {MARK_DIGITS} hex digits"))
    }
}

/// The images that a commit is about to change: `index/kymhost/intents/<table>.json`. On disk before the table's
/// rename, gone after the last marker is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// These, each with the artifacts that are written for it: so that we recognize as ours what a killed commit
    /// leaves.
    Images(Pending),
    /// It cannot be read: any image.
    Unreadable,
}

/// Images of a commit, each with the artifacts that it writes for them by key: the SHA-256 of the file that is
/// written, empty for an array.
pub type Pending = BTreeMap<String, BTreeMap<String, String>>;

/// Images for which no artifacts are written.
pub fn without_artifacts<S: Into<String>>(images: impl IntoIterator<Item = S>) -> Pending {
    images.into_iter().map(|image| (image.into(), BTreeMap::new())).collect()
}

/// One image's failure in the last run that tried it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastFailure {
    /// A name of [`kymhost_plugin::FailureKind`].
    pub kind: String,
    /// For people.
    pub message: String,
    /// The library that failed.
    pub library_sha256: String,
    /// When, in nanoseconds since the Unix epoch, UTC.
    pub utc_epoch_ns: i64,
    /// What it had read by then.
    pub inputs: Vec<Input>,
}

/// The failures of a table by image: `index/kymhost/failures/<table>.json`; absent if there are none.
pub type Failures = BTreeMap<String, PastFailure>;

/// A document: its form, and what is in it.
#[derive(Debug, Serialize, Deserialize)]
struct Document<T> {
    format: u64,
    #[serde(flatten)]
    content: T,
}

/// An intent without `images` means every image: what is written if the list is too long to be read back.
#[derive(Debug, Serialize, Deserialize)]
struct IntentContent {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    images: Option<BTreeSet<String>>,
    /// Those of the images that artifacts are written for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    artifacts: Pending,
}

#[derive(Debug, Serialize, Deserialize)]
struct FailuresContent<F = Failures> {
    failures: F,
}

/// What a document's key holds.
enum ReadDocument<T> {
    Nothing,
    Unreadable,
    Content(T),
}

fn key(kind: &str, name: &TableName) -> Result<Key, IndexError> {
    Ok(Key::new(format!("index/kymhost/{kind}/{}.json", name.table())).map_err(DatasetError::from)?)
}

fn read<T: DeserializeOwned>(dataset: &Dataset, kind: &str, name: &TableName) -> Result<ReadDocument<T>, IndexError> {
    let key = key(kind, name)?;
    let why = match dataset.store().get(&key, MAX_LEDGER_BYTES) {
        Ok(None) => return Ok(ReadDocument::Nothing),
        // Twice: the form is looked at first, since the content of another form may be anything.
        Ok(Some(text)) => match serde_json::from_slice::<Document<serde::de::IgnoredAny>>(&text) {
            Ok(document) if document.format == FORMAT => match serde_json::from_slice::<Document<T>>(&text) {
                Ok(document) => return Ok(ReadDocument::Content(document.content)),
                Err(error) => error.to_string(),
            },
            Ok(document) => format!("its format is {}, expected {FORMAT}", document.format),
            Err(error) => error.to_string(),
        },
        Err(error @ StoreError::TooLarge { .. }) => error.to_string(),
        Err(error) => return Err(DatasetError::from(error).into()),
    };
    tracing::warn!(key = %dataset.store().describe(&key), why, "cannot be read; the safest is assumed");
    Ok(ReadDocument::Unreadable)
}

/// The text of a document; `None` if it is too long to be read back.
fn text(content: impl Serialize, key: &Key) -> Result<Option<Vec<u8>>, IndexError> {
    let text = serde_json::to_vec(&Document { format: FORMAT, content }).map_err(|error| {
        // Only a value that is not JSON could cause this, and these documents have none.
        DatasetError::Unwritable { key: key.to_string(), why: error.to_string() }
    })?;
    Ok(Some(text).filter(|text| text.len() as u64 <= MAX_LEDGER_BYTES))
}

fn put(dataset: &Dataset, key: &Key, text: &[u8]) -> Result<(), IndexError> {
    Ok(dataset.store().put(key, text).map_err(DatasetError::from)?)
}

fn remove(dataset: &Dataset, key: &Key) -> Result<(), IndexError> {
    dataset.store().delete(key).map_err(DatasetError::from)?;
    Ok(())
}

/// The seal; `None` if there is none or it cannot be read.
pub fn read_seal(dataset: &Dataset, name: &TableName) -> Result<Option<Seal>, IndexError> {
    match read(dataset, SEALS, name)? {
        ReadDocument::Content(seal) => Ok(Some(seal)),
        ReadDocument::Nothing | ReadDocument::Unreadable => Ok(None),
    }
}

/// Writes the seal.
pub fn write_seal(dataset: &Dataset, name: &TableName, seal: &Seal) -> Result<(), IndexError> {
    let key = key(SEALS, name)?;
    match text(seal, &key)? {
        Some(text) => put(dataset, &key, &text),
        // Without a seal, digests are computed each time.
        None => remove(dataset, &key),
    }
}

/// Removes the seal: nothing is known of the table's rows.
pub fn remove_seal(dataset: &Dataset, name: &TableName) -> Result<(), IndexError> {
    remove(dataset, &key(SEALS, name)?)
}

/// The intent that a killed commit left.
pub fn read_intent(dataset: &Dataset, name: &TableName) -> Result<Option<Intent>, IndexError> {
    Ok(match read::<IntentContent>(dataset, INTENTS, name)? {
        ReadDocument::Nothing => None,
        ReadDocument::Unreadable | ReadDocument::Content(IntentContent { images: None, .. }) => {
            Some(Intent::Unreadable)
        }
        ReadDocument::Content(IntentContent { images: Some(images), mut artifacts }) => {
            let with_artifacts = |image: String| {
                let made = artifacts.remove(&image).unwrap_or_default();
                (image, made)
            };
            Some(images.into_iter().map(with_artifacts).collect())
                .filter(|images: &Pending| !images.is_empty())
                .map(Intent::Images)
        }
    })
}

/// Writes the intent; no images: removes it.
pub fn write_intent(dataset: &Dataset, name: &TableName, images: &Pending) -> Result<(), IndexError> {
    let key = key(INTENTS, name)?;
    if images.is_empty() {
        return remove(dataset, &key);
    }
    let content = IntentContent {
        images: Some(images.keys().cloned().collect()),
        artifacts: images
            .iter()
            .filter(|(_, made)| !made.is_empty())
            .map(|(id, made)| (id.clone(), made.clone()))
            .collect(),
    };
    let bytes = match text(content, &key)? {
        Some(bytes) => bytes,
        None => text(IntentContent { images: None, artifacts: Pending::new() }, &key)?.unwrap_or_default(),
    };
    put(dataset, &key, &bytes)
}

/// The failures.
pub fn read_failures(dataset: &Dataset, name: &TableName) -> Result<Failures, IndexError> {
    match read(dataset, FAILURES, name)? {
        ReadDocument::Content(FailuresContent { failures }) => Ok(failures),
        ReadDocument::Nothing | ReadDocument::Unreadable => Ok(Failures::new()),
    }
}

/// Writes the failures; none: removes the file.
pub fn write_failures(dataset: &Dataset, name: &TableName, failures: &Failures) -> Result<(), IndexError> {
    let key = key(FAILURES, name)?;
    if failures.is_empty() {
        return remove(dataset, &key);
    }
    let mut kept = failures.clone();
    // That an image failed matters most: what it read, then why, is left out if all together is too long.
    let leave_out: [fn(&mut PastFailure); 3] =
        [|_| {}, |failure| failure.inputs.clear(), |failure| failure.message.clear()];
    for leave_out in leave_out {
        kept.values_mut().for_each(leave_out);
        if let Some(text) = text(FailuresContent { failures: &kept }, &key)? {
            return put(dataset, &key, &text);
        }
    }
    let why = format!("{} failed images are more than fit into {MAX_LEDGER_BYTES} bytes", failures.len());
    Err(DatasetError::Unwritable { key: dataset.store().describe(&key), why }.into())
}

#[cfg(test)]
mod tests;
