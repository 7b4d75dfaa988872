//! A host for tests: it calls an indexer in the order and with the checks of the real host, and compares calls.
//!
//! This file does not interpret the rows.

use super::outcome::OutputContent;
use super::record::{ReadLog, TestRecordHost};
use super::{Outcome, Rows, TestRecord};
use crate::array::Array;
use crate::card::CardEntry;
use crate::ffi::{artifact_kind, indexer_object, HostRun, IndexerObject, ServedRecord, ServedRun};
use crate::{Artifact, ArtifactKind, Error, Indexer, Json, LogLevel, Result, RunMarker, Table};
use abi_stable::std_types::RSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The longest params hash that the host accepts, in bytes.
const MAX_HASH_BYTES: usize = 1024;

/// A host for tests: it calls one indexer as kymhost does, through the same binary contract.
///
/// ```
/// # use kymhost_plugin_api::prelude::*;
/// # struct Stalls;
/// # impl Indexer for Stalls {
/// #     const NAME: &'static str = "stalls";
/// #     const ANALYSIS_VERSION: &'static str = "mylab.stalls@1";
/// #     fn params(&self, record: &Record) -> Result<Json> {
/// #         Ok(record.json("stalls/params")?.unwrap_or(Json::Null))
/// #     }
/// #     fn extract_rows(&self, _record: &Record, run: &Run) -> Result<Table> {
/// #         if run.cancelled() {
/// #             return Err(Error::new(ErrorKind::Cancelled, "stopped"));
/// #         }
/// #         panic!("not today");
/// #     }
/// # }
/// use kymhost_plugin_api::testing::{TestHost, TestRecord};
///
/// let record = TestRecord::new();
/// let outcome = TestHost::new(Stalls).cancelled().extract(&record);
/// assert_eq!(outcome.error().kind(), ErrorKind::Cancelled);
///
/// let outcome = TestHost::new(Stalls).threads(4).extract(&record);
/// assert_eq!(outcome.error().kind(), ErrorKind::Panicked);
///
/// let changed = record.clone().json("stalls/params", Json::object([("threshold", 3.into())]));
/// TestHost::new(Stalls).assert_params_hash_changes(&record, &changed);
/// ```
#[must_use]
pub struct TestHost {
    indexer: IndexerObject,
    marker_name: String,
    writes: Vec<Artifact>,
    threads: usize,
    asks: Option<usize>,
}

impl TestHost {
    /// A host for this indexer, with one thread, that does not cancel.
    ///
    /// # Panics
    /// If `export_plugin!` would not build: because of a bad name, version, marker or list of artifacts.
    pub fn new<I: Indexer>(indexer: I) -> Self {
        let _ = CardEntry::of::<I>();
        let indexer = indexer_object(indexer);
        let writes = indexer.writes().into_iter();
        Self {
            marker_name: indexer.marker_name().into(),
            writes: writes.filter_map(|output| Some(Artifact::new(output.0, artifact_kind(output.1)?))).collect(),
            indexer,
            threads: 1,
            asks: None,
        }
    }

    /// Sets what [`Run::threads`](crate::Run::threads) returns (default and minimum: 1).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Lets [`Run::cancelled`](crate::Run::cancelled) return `true` from the start.
    pub fn cancelled(self) -> Self {
        self.cancelled_after(0)
    }

    /// Lets [`Run::cancelled`](crate::Run::cancelled) return `false` `asks` times in each extraction, then `true`.
    pub fn cancelled_after(mut self, asks: usize) -> Self {
        self.asks = Some(asks);
        self
    }

    fn serve<'a>(&'a self, record: &'a TestRecord) -> ServedRecord<TestRecordHost<'a>> {
        ServedRecord(TestRecordHost { record, marker_name: &self.marker_name, seen: Mutex::default() })
    }

    /// The params.
    ///
    /// # Errors
    /// The indexer's error; a panic is [`Panicked`](crate::ErrorKind::Panicked).
    pub fn params(&self, record: &TestRecord) -> Result<Json> {
        self.params_of(&self.serve(record))
    }

    fn params_of(&self, record: &ServedRecord<TestRecordHost<'_>>) -> Result<Json> {
        let text = self.indexer.params(record.to_ref()).into_result().map_err(Error::from)?;
        Json::parse(&text).map_err(|error| Error::msg(format!("the params are not JSON: {error}")))
    }

    /// The params hash.
    ///
    /// # Errors
    /// The indexer's error; a panic is [`Panicked`](crate::ErrorKind::Panicked). Also if the host would refuse the
    /// hash: it must have 1 to 1024 bytes.
    pub fn params_hash(&self, record: &TestRecord) -> Result<String> {
        self.params_hash_of(&self.serve(record))
    }

    fn params_hash_of(&self, record: &ServedRecord<TestRecordHost<'_>>) -> Result<String> {
        let hash = String::from(self.indexer.params_hash(record.to_ref()).into_result().map_err(Error::from)?);
        if hash.is_empty() || hash.len() > MAX_HASH_BYTES {
            return Err(Error::msg(format!(
                "the indexer gave a params hash of {} bytes, expected 1 to {MAX_HASH_BYTES}",
                hash.len()
            )));
        }
        Ok(hash)
    }

    /// What the indexer makes of a marker of an older form.
    ///
    /// # Errors
    /// If the indexer panics, with the kind [`Panicked`](crate::ErrorKind::Panicked).
    pub fn read_old_marker(&self, payload: &Json) -> Result<Option<RunMarker>> {
        let text = payload.to_file_text();
        let marker = self.indexer.read_old_marker(RSlice::from_slice(text.as_bytes())).into_result();
        let Some(marker) = marker.map_err(Error::from)?.into_option() else { return Ok(None) };
        let marker = Json::parse(&marker).map_err(|error| Error::msg(format!("the marker is not JSON: {error}")))?;
        Ok(RunMarker::from_json(&marker))
    }

    /// Analyses one image: params hash, params, rows, and the params hash again, which must be the same.
    pub fn extract(&self, record: &TestRecord) -> Outcome {
        self.extract_with(record, self.threads)
    }

    fn extract_with(&self, record: &TestRecord, threads: usize) -> Outcome {
        let served = self.serve(record);
        let run = ServedRun(TestRun {
            threads,
            asks: self.asks,
            asked: AtomicUsize::new(0),
            log: Mutex::default(),
            progress: Mutex::default(),
            writes: &self.writes,
            put: Mutex::default(),
        });
        let params_hash = self.params_hash_of(&served);
        let params = self.params_of(&served);
        let rows = params_hash.clone().and_then(|before| {
            let rows = self.indexer.extract_rows(served.to_ref(), run.to_ref()).into_result().map_err(Error::from)?;
            let rows = Rows::new(Table::from_c_table(rows))?;
            let after = self.params_hash_of(&served)?;
            if before != after {
                return Err(Error::msg(format!(
                    "params_hash gave two answers over the same inputs: {before}, then {after}; it must depend on \
                     nothing but the record"
                )));
            }
            Ok(rows)
        });
        let ReadLog { read, missed } = served.0.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut put = run.0.put.into_inner().unwrap_or_else(PoisonError::into_inner);
        put.sort_by_key(|(artifact, _)| self.writes.iter().position(|declared| declared == artifact));
        let (artifacts, contents) = if rows.is_ok() { put.into_iter().unzip() } else { Default::default() };
        Outcome {
            artifacts,
            contents,
            image_id: format!("the image '{}'", record.id()),
            rows,
            params,
            params_hash,
            read: read.into_iter().collect(),
            missed: missed.into_iter().collect(),
            log: run.0.log.into_inner().unwrap_or_else(PoisonError::into_inner),
            progress: run.0.progress.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Checks that the same record gives the same params hash, rows, artifacts and errors each time: twice in a row,
    /// on another thread, and with more threads to use.
    ///
    /// # Panics
    /// If they differ; the message has both.
    #[cfg(feature = "_cast")]
    #[track_caller]
    pub fn assert_deterministic(&self, record: &TestRecord) {
        let first = self.extract(record);
        let compare = |how: &str, other: &Outcome| {
            assert_eq!(first.params_hash, other.params_hash, "the params hash differs {how}");
            match (&first.rows, &other.rows) {
                (Ok(first), Ok(other)) => {
                    assert!(first.batch() == other.batch(), "the rows differ {how}:\n{first}\n\n{other}");
                }
                (first, other) => {
                    assert_eq!(first.as_ref().err(), other.as_ref().err(), "the outcome differs {how}");
                }
            }
            assert_eq!(first.artifacts, other.artifacts, "the artifacts that are handed over differ {how}");
            for ((artifact, first), other) in first.artifacts.iter().zip(&first.contents).zip(&other.contents) {
                let name = &artifact.name;
                assert!(first.is_same(other), "the artifact '{name}' differs {how}:\n{first:?}\n\n{other:?}");
            }
        };
        compare("the second time", &self.extract(record));
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| self.extract(record)).join());
        match elsewhere {
            Ok(outcome) => compare("on another thread", &outcome),
            Err(_) => panic!("the indexer panicked on another thread"),
        }
        compare("with more threads", &self.extract_with(record, self.threads + 3));
    }

    /// Checks that the two records have different params hashes, so that the change between them makes an image
    /// stale.
    ///
    /// # Panics
    /// If both are the same, or one fails.
    #[track_caller]
    pub fn assert_params_hash_changes(&self, before: &TestRecord, after: &TestRecord) {
        let (before, after) = (self.expect_hash(before), self.expect_hash(after));
        assert_ne!(before, after, "the params hash is the same for both records");
    }

    /// Checks that the two records have the same params hash, so that the params do not depend on the change between
    /// them.
    ///
    /// # Panics
    /// If they differ, or one fails.
    #[track_caller]
    pub fn assert_params_hash_stays(&self, before: &TestRecord, after: &TestRecord) {
        let params = |record| self.params(record).map(|params| params.to_string());
        let (hash_before, hash_after) = (self.expect_hash(before), self.expect_hash(after));
        assert_eq!(hash_before, hash_after, "the params were {:?}, then {:?}", params(before), params(after));
    }

    #[track_caller]
    fn expect_hash(&self, record: &TestRecord) -> String {
        match self.params_hash(record) {
            Ok(hash) => hash,
            Err(error) => panic!("the params hash failed: {error:?}"),
        }
    }
}

/// The run of an extraction in a test.
struct TestRun<'a> {
    threads: usize,
    asks: Option<usize>,
    asked: AtomicUsize,
    log: Mutex<Vec<(LogLevel, String)>>,
    progress: Mutex<Vec<f64>>,
    writes: &'a [Artifact],
    put: Mutex<Vec<(Artifact, OutputContent)>>,
}

impl TestRun<'_> {
    /// Accepts an artifact that is declared, once. Its content is only looked at if it is declared.
    fn put(&self, name: &str, kind: ArtifactKind, content: impl FnOnce() -> Result<OutputContent>) -> Result<()> {
        let artifact = Artifact::new(name, kind);
        if !self.writes.contains(&artifact) {
            return Err(Error::msg(format!("the artifact '{name}' ({kind:?}) is not among the indexer's WRITES")));
        }
        let content = content()?;
        let mut put = self.put.lock().unwrap_or_else(PoisonError::into_inner);
        if put.iter().any(|(before, _)| *before == artifact) {
            return Err(Error::msg(format!("the artifact '{name}' was handed over twice")));
        }
        put.push((artifact, content));
        Ok(())
    }
}

impl HostRun for TestRun<'_> {
    fn cancelled(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        self.asks.is_some_and(|asks| asked >= asks)
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn log(&self, level: LogLevel, message: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push((level, message.to_owned()));
    }

    fn progress(&self, fraction: f64) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push(fraction);
    }
    fn put_json(&self, name: &str, text: &[u8]) -> Result<()> {
        let not_json = |error| Error::msg(format!("the artifact '{name}' is not JSON: {error}"));
        self.put(name, ArtifactKind::Json, || Json::parse(text).map(OutputContent::Json).map_err(not_json))
    }

    fn put_table(&self, name: &str, table: Table) -> Result<()> {
        self.put(name, ArtifactKind::Parquet, || Rows::new(table).map(OutputContent::Table))
    }

    fn put_array(&self, name: &str, array: Array) -> Result<()> {
        self.put(name, ArtifactKind::Array, || Ok(OutputContent::Array(array)))
    }
}
