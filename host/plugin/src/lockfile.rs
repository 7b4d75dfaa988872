//! The lock file of plugins: which libraries were installed or trusted, by name and digest.
//!
//! Responsible for its form, for reading it, and for changing it under a lock. What a different digest means is decided in
//! `trust`.
//!
//! Each user has one, `plugins.lock.json` in kymhost's data folder. A dataset can have one, too:
//! `index/kymhost/plugins.lock.json`. Later versions only add fields; unknown fields are kept.

use crate::card_file::CardFile;
use crate::error::{LockError, Refusal};
use crate::names::plain_name;
use kymhost_plugin_api::card::CardIndexer;
use kymhost_store::{Holder, Key, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The format of the file. It is raised only if an old reader would read the file wrongly.
const FORMAT: u32 = 1;
/// No lock file has more bytes.
const MAX_BYTES: u64 = 16 << 20;
/// How long a change waits for that of another process.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// A lock file's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockFile {
    /// 1.
    pub format: u32,
    /// One entry per library.
    pub plugins: Vec<Locked>,
    /// The fields of later versions.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// A library as it was when it was installed or trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Locked {
    /// Its indexers.
    pub indexers: Vec<LockedIndexer>,
    /// The SHA-256 of its bytes, lower-case hex.
    pub sha256: String,
    /// Its file; `None` in a dataset's lock file, which is the same on all machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Where it came from.
    pub origin: Origin,
    /// When it was installed or trusted, RFC 3339.
    pub locked_utc: String,
    /// Its card.
    #[serde(default)]
    pub card: Value,
    /// The fields of later versions.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// An indexer of a locked library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedIndexer {
    /// Its name.
    pub name: String,
    /// Its analysis version.
    pub analysis_version: String,
}

/// Where a library came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// `file`, `crate`, `makefile`; or `in_place` if it was trusted without a copy.
    pub kind: String,
    /// The file or folder that was given; `None` in a dataset's lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The crate that it was built from.
    #[serde(default, rename = "crate", skip_serializing_if = "Option::is_none")]
    pub crate_name: Option<String>,
    /// That crate's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Origin {
    /// The origin of a given file or folder.
    pub fn new(kind: &str, path: PathBuf) -> Self {
        Self { kind: kind.to_owned(), path: Some(path), ..Self::default() }
    }
}

impl Locked {
    /// A library as it is now: its card, digest and file.
    pub fn new(card: &CardFile, sha256: String, file: PathBuf, origin: Origin) -> Self {
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default();
        let indexer = |indexer: &CardIndexer| LockedIndexer {
            name: indexer.name.clone(),
            analysis_version: indexer.analysis_version.clone(),
        };
        Self {
            indexers: card.card.indexers.iter().map(indexer).collect(),
            sha256,
            file: Some(file),
            origin,
            locked_utc: now.to_string(),
            // Cards may have what serde does not read as JSON (Python's NaN): then it is kept as text.
            card: serde_json::from_str(&card.card_json).unwrap_or_else(|_| card.card_json.as_str().into()),
            others: Map::new(),
        }
    }

    /// The names of its indexers, for people.
    pub fn names(&self) -> String {
        self.indexers.iter().map(|indexer| indexer.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether it has an indexer of this name.
    pub fn has(&self, name: &str) -> bool {
        self.indexers.iter().any(|indexer| plain_name(&indexer.name) == plain_name(name))
    }
}

impl Default for LockFile {
    fn default() -> Self {
        Self { format: FORMAT, plugins: Vec::new(), others: Map::new() }
    }
}

impl LockFile {
    /// Reads a lock file's bytes.
    ///
    /// # Errors
    /// Why they are wrong, and what to do.
    fn parse(bytes: &[u8]) -> Result<Self, (String, &'static str)> {
        const ANEW: &str = "fix it or move it away, then install its plugins again with `kymhost plugin add`";
        let value: Value = serde_json::from_slice(bytes).map_err(|error| (format!("it is not JSON: {error}"), ANEW))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) if format > u64::from(FORMAT) => {
                let why = format!("it has format {format}, this kymhost reads format {FORMAT}");
                return Err((why, "upgrade kymhost to the version that wrote it"));
            }
            _ => return Err(("its 'format' is not 1".to_owned(), ANEW)),
        }
        let file: Self = serde_json::from_value(value).map_err(|error| (format!("it is damaged: {error}"), ANEW))?;
        for (place, entry) in file.plugins.iter().enumerate() {
            let is_digest =
                entry.sha256.len() == 64 && entry.sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !is_digest {
                return Err((format!("'sha256' of entry {place} is not a SHA-256 in lower-case hex"), ANEW));
            }
            if entry.indexers.is_empty() {
                return Err((format!("entry {place} has no indexer"), ANEW));
            }
        }
        Ok(file)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The entry that has an indexer of this name.
    pub fn named(&self, name: &str) -> Option<&Locked> {
        self.plugins.iter().find(|entry| entry.has(name))
    }
}

/// Where a lock file is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The store with the file.
    pub store: &'a dyn Store,
    /// `plugins.lock.json`, or below a dataset's `index/kymhost/`.
    key: &'static str,
}

impl<'a> Place<'a> {
    /// The user's lock file, in kymhost's data folder.
    pub fn of_user(store: &'a dyn Store) -> Self {
        Self { store, key: USER_KEY }
    }

    /// A dataset's lock file.
    pub fn of_dataset(store: &'a dyn Store) -> Self {
        Self { store, key: DATASET_KEY }
    }

    /// Its path, for people.
    pub fn path(&self) -> PathBuf {
        self.store.root().join(self.key)
    }

    /// Its content; empty if there is no such file.
    ///
    /// # Errors
    /// [`LockError::Broken`] (code `bad_lock`), [`LockError::Store`].
    pub fn read(&self) -> Result<LockFile, LockError> {
        let Some(bytes) = self.store.get(&Key::new(self.key)?, MAX_BYTES)? else { return Ok(LockFile::default()) };
        LockFile::parse(&bytes).map_err(|(why, help)| {
            let why = format!("the lock file of plugins is broken: {why}");
            LockError::Broken(Refusal::new("bad_lock", why, help).of(&self.path()))
        })
    }

    /// Changes it completely or not at all, while no other process of kymhost changes it.
    ///
    /// # Errors
    /// As [`Place::read`], [`LockError::Busy`], and the error of `change`; then nothing is changed.
    pub fn update<T, E: From<LockError>>(&self, change: impl FnOnce(&mut LockFile) -> Result<T, E>) -> Result<T, E> {
        let _guard = self.hold()?;
        let mut file = self.read()?;
        let before = file.clone();
        let value = change(&mut file)?;
        if file != before {
            let bytes = file.to_bytes().map_err(|error| self.unwritable(std::io::Error::other(error)))?;
            let key = Key::new(self.key).map_err(LockError::from)?;
            self.store.put(&key, &bytes).map_err(LockError::from)?;
        }
        Ok(value)
    }

    fn unwritable(&self, source: std::io::Error) -> LockError {
        LockError::Store(StoreError::Io { action: "write", key: self.path().display().to_string(), source })
    }

    fn hold(&self) -> Result<kymhost_store::LockGuard, LockError> {
        let key = Key::new(format!("{}.lock", self.key))?;
        let holder = Holder::this_process("plugins.lock.json").to_text();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(guard) = self.store.lock(&key, &holder)? {
                return Ok(guard);
            }
            if Instant::now() >= until {
                let holder = self.store.lock_holder(&key);
                return Err(LockError::Busy { path: self.path().display().to_string(), holder });
            }
            std::thread::sleep(PAUSE);
        }
    }
}

const USER_KEY: &str = "plugins.lock.json";
const DATASET_KEY: &str = "index/kymhost/plugins.lock.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PluginError;
    use kymhost_store::LocalStore;
    use proptest::prelude::*;
    use serde_json::json;

    fn entry(name: &str, digit: char) -> Value {
        json!({
            "indexers": [{"name": name, "analysis_version": "v@1"}], "sha256": digit.to_string().repeat(64),
            "file": "/p/lib.so", "origin": {"kind": "file", "path": "/o/lib.so"}, "locked_utc": "2026-01-01T00:00:00Z",
            "card": {"api": "1.0"}
        })
    }

    #[test]
    fn parse_rejects_broken_files() {
        let mut bad_digest = entry("a", 'a');
        bad_digest["sha256"] = json!("A".repeat(64));
        let mut nameless = entry("a", 'a');
        nameless["indexers"] = json!([]);
        let cases: [(Value, Result<usize, &str>); 9] = [
            (json!({"format": 1, "plugins": []}), Ok(0)),
            (json!({"format": 1, "plugins": [entry("a", 'a'), entry("b", '0')], "more": 1}), Ok(2)),
            (json!({"format": 2, "plugins": 7}), Err("format 2")),
            (json!({"format": 0, "plugins": []}), Err("'format' is not 1")),
            (json!({"plugins": []}), Err("'format' is not 1")),
            (json!([]), Err("'format' is not 1")),
            (json!({"format": 1}), Err("plugins")),
            (json!({"format": 1, "plugins": [bad_digest]}), Err("entry 0 is not a SHA-256")),
            (json!({"format": 1, "plugins": [nameless]}), Err("no indexer")),
        ];
        for (value, expected) in cases {
            match (LockFile::parse(value.to_string().as_bytes()), expected) {
                (Ok(file), Ok(count)) => assert_eq!(file.plugins.len(), count, "{value}"),
                (Err((why, help)), Err(says)) => {
                    assert!(why.contains(says), "{why}");
                    assert!(!help.is_empty());
                }
                (found, expected) => panic!("{value}: {found:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn parse_keeps_fields_of_later_versions() {
        let mut later = entry("a", 'a');
        later["signed_by"] = json!("x");
        let text = json!({"format": 1, "plugins": [later], "policy": {"strict": true}}).to_string();
        let file = LockFile::parse(text.as_bytes()).expect("a lock file");
        let again: Value = serde_json::from_slice(&file.to_bytes().expect("bytes")).expect("JSON");
        assert_eq!(again, serde_json::from_str::<Value>(&text).expect("JSON"));
    }

    #[test]
    fn update_keeps_all_changes_and_no_failed_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let place = Place::of_user(&store);
        assert_eq!(place.read().unwrap(), LockFile::default());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let store = LocalStore::open(folder_of(&place)).unwrap();
                    for round in 0..5 {
                        let new: Locked = serde_json::from_value(entry(&format!("p{thread}_{round}"), 'c')).unwrap();
                        Place::of_user(&store)
                            .update(|file| {
                                file.plugins.push(new);
                                Ok::<_, LockError>(())
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(place.read().unwrap().plugins.len(), 20);
        let failed = place.update(|file| {
            file.plugins.clear();
            Err::<(), _>(LockError::Busy { path: String::new(), holder: Holder::default() })
        });
        assert!(failed.is_err());
        assert_eq!(place.read().unwrap().plugins.len(), 20);
        std::fs::write(place.path(), "{").unwrap();
        let code = match place.read() {
            Err(LockError::Broken(error @ PluginError::Refused { .. })) => error.code(),
            other => panic!("{other:?}"),
        };
        assert_eq!(code, "bad_lock");
        assert!(place.update(|_| Ok::<_, LockError>(())).is_err());
        assert_eq!(std::fs::read(place.path()).unwrap(), b"{", "a broken file stays for the user to look at");
    }

    fn folder_of<'a>(place: &Place<'a>) -> &'a std::path::Path {
        Box::leak(place.store.root().into_boxed_path())
    }

    proptest! {
        #[test]
        fn parse_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = LockFile::parse(&bytes);
        }

        #[test]
        fn parse_survives_any_damage(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = json!({"format": 1, "plugins": [entry("a", 'a')]}).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = LockFile::parse(&bytes);
        }
    }
}
