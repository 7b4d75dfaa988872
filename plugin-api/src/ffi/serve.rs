//! The host's side of the boundary: its records and runs behind the trait objects that plugins call.
//!
//! This file catches the host's panics, so that none crosses into a plugin. A plugin does not use it.

use super::contract::{Answer, ArrayAbi, RecordAbi, RecordAbi_TO, RecordRef, RunAbi, RunAbi_TO, RunRef};
use super::{artifact_kind, guard, ArrowTable};
use crate::array::Array;
use crate::{Artifact, ArtifactKind, Error, ErrorKind, LogLevel, Record, Result, Run, Table};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RSlice, RStr, RString, RVec, Tuple2};

/// A host's record. Each method does what the method of [`crate::Record`] of the same name promises: absent is
/// `None`, and something that exists but cannot be read is [`ErrorKind::Unreadable`] with the key in its message.
pub trait HostRecord: Send + Sync {
    /// The image's id.
    fn image_id(&self) -> &str;
    /// The text of the JSON artifact `name`.
    fn json(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// The table artifact `name` of one kind, Parquet or CSV.
    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>>;
    /// The pixels.
    fn pixels(&self) -> Result<Option<Array>>;
    /// The array artifact `name`.
    fn array(&self, name: &str) -> Result<Option<Array>>;
    /// The key under which an artifact is kept, or would be; for messages.
    fn key(&self, name: &str, kind: ArtifactKind) -> String;
    /// The text of the attributes, a JSON object.
    fn attributes(&self) -> Result<Vec<u8>>;
    /// The artifacts, sorted by name.
    fn artifacts(&self) -> Result<Vec<Artifact>>;
}

/// A host's run.
pub trait HostRun: Send + Sync {
    /// Whether to stop.
    fn cancelled(&self) -> bool;
    /// How many threads the extraction may use.
    fn threads(&self) -> usize;
    /// Writes a line to the log.
    fn log(&self, level: LogLevel, message: &str);
    /// Reports which fraction of the image is done, 0 to 1.
    fn progress(&self, fraction: f64);
    /// Accepts the text of a JSON artifact, which may be any bytes.
    ///
    /// # Errors
    /// If the artifact is not declared, was handed over before, or is not JSON.
    fn put_json(&self, name: &str, text: &[u8]) -> Result<()>;
    /// Accepts a table artifact, which is not checked yet.
    ///
    /// # Errors
    /// If the artifact is not declared or was handed over before, or the table is not valid.
    fn put_table(&self, name: &str, table: Table) -> Result<()>;
    /// Accepts an array artifact.
    ///
    /// # Errors
    /// If the artifact is not declared or was handed over before.
    fn put_array(&self, name: &str, array: Array) -> Result<()>;
}

impl<R: HostRecord + ?Sized> HostRecord for &R {
    fn image_id(&self) -> &str {
        (**self).image_id()
    }
    fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        (**self).json(name)
    }
    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>> {
        (**self).table(name, kind)
    }
    fn pixels(&self) -> Result<Option<Array>> {
        (**self).pixels()
    }
    fn array(&self, name: &str) -> Result<Option<Array>> {
        (**self).array(name)
    }
    fn key(&self, name: &str, kind: ArtifactKind) -> String {
        (**self).key(name, kind)
    }
    fn attributes(&self) -> Result<Vec<u8>> {
        (**self).attributes()
    }
    fn artifacts(&self) -> Result<Vec<Artifact>> {
        (**self).artifacts()
    }
}

impl<R: HostRun + ?Sized> HostRun for &R {
    fn cancelled(&self) -> bool {
        (**self).cancelled()
    }
    fn threads(&self) -> usize {
        (**self).threads()
    }
    fn log(&self, level: LogLevel, message: &str) {
        (**self).log(level, message);
    }
    fn progress(&self, fraction: f64) {
        (**self).progress(fraction);
    }
    fn put_json(&self, name: &str, text: &[u8]) -> Result<()> {
        (**self).put_json(name, text)
    }
    fn put_table(&self, name: &str, table: Table) -> Result<()> {
        (**self).put_table(name, table)
    }
    fn put_array(&self, name: &str, array: Array) -> Result<()> {
        (**self).put_array(name, array)
    }
}

/// Makes a host's record available to plugins.
pub struct ServedRecord<R>(pub R);

impl<R: HostRecord> ServedRecord<R> {
    /// The record as a method of [`super::contract::IndexerAbi`] takes it.
    pub fn to_ref(&self) -> RecordRef<'_> {
        RecordAbi_TO::from_ptr(self, TD_Opaque)
    }

    /// The record as a method of [`crate::Indexer`] takes it: for a host or a test that calls an indexer without a
    /// library.
    pub fn to_record(&self) -> Record<'_> {
        Record::new(self.to_ref())
    }
}

/// Makes a host's run available to plugins.
pub struct ServedRun<R>(pub R);

impl<R: HostRun> ServedRun<R> {
    /// The run as a method of [`super::contract::IndexerAbi`] takes it.
    pub fn to_ref(&self) -> RunRef<'_> {
        RunAbi_TO::from_ptr(self, TD_Opaque)
    }

    /// The run as a method of [`crate::Indexer`] takes it.
    pub fn to_run(&self) -> Run<'_> {
        Run::new(self.to_ref())
    }
}

impl<R: HostRecord> RecordAbi for ServedRecord<R> {
    fn image_id(&self) -> RStr<'_> {
        guard::value("", || self.0.image_id()).into()
    }
    fn json(&self, name: RStr<'_>) -> Answer<ROption<RVec<u8>>> {
        guard::answer(|| Ok(self.0.json(name.as_str())?.map(RVec::from).into()))
    }
    fn table(&self, name: RStr<'_>, kind: u8) -> Answer<ROption<ArrowTable>> {
        guard::answer(|| match artifact_kind(kind) {
            Some(kind @ (ArtifactKind::Parquet | ArtifactKind::Csv)) => {
                Ok(self.0.table(name.as_str(), kind)?.map(Table::into_c_table).into())
            }
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                format!("this kymhost does not know table artifacts of kind {kind}; upgrade kymhost"),
            )),
        })
    }
    fn pixels(&self) -> Answer<ROption<ArrayAbi>> {
        guard::answer(|| Ok(self.0.pixels()?.map(ArrayAbi::from).into()))
    }
    fn array(&self, name: RStr<'_>) -> Answer<ROption<ArrayAbi>> {
        guard::answer(|| Ok(self.0.array(name.as_str())?.map(ArrayAbi::from).into()))
    }
    fn key(&self, name: RStr<'_>, kind: u8) -> RString {
        guard::value(RString::new(), || match artifact_kind(kind) {
            Some(kind) => self.0.key(name.as_str(), kind).into(),
            None => RString::new(),
        })
    }
    fn attributes(&self) -> Answer<RVec<u8>> {
        guard::answer(|| Ok(self.0.attributes()?.into()))
    }
    fn artifacts(&self) -> Answer<RVec<Tuple2<RString, u8>>> {
        guard::answer(|| {
            let artifacts = self.0.artifacts()?;
            Ok(artifacts.into_iter().map(|artifact| Tuple2(artifact.name.into(), artifact.kind as u8)).collect())
        })
    }
}

impl<R: HostRun> RunAbi for ServedRun<R> {
    fn cancelled(&self) -> bool {
        // A host that panicked here is in no state to accept rows, so the plugin should stop.
        guard::value(true, || self.0.cancelled())
    }
    fn threads(&self) -> u32 {
        guard::value(1, || u32::try_from(self.0.threads()).unwrap_or(u32::MAX).max(1))
    }
    fn log(&self, level: u8, message: RStr<'_>) {
        let level = match level {
            0 => LogLevel::Error,
            1 => LogLevel::Warn,
            2 => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        guard::value((), || self.0.log(level, message.as_str()));
    }
    fn progress(&self, fraction: f64) {
        guard::value((), || self.0.progress(fraction));
    }
    fn put_json(&self, name: RStr<'_>, text: RSlice<'_, u8>) -> Answer<()> {
        guard::answer(|| self.0.put_json(name.as_str(), text.as_slice()))
    }
    fn put_table(&self, name: RStr<'_>, table: ArrowTable) -> Answer<()> {
        guard::answer(|| self.0.put_table(name.as_str(), Table::from_c_table(table)))
    }
    fn put_array(&self, name: RStr<'_>, array: ArrayAbi) -> Answer<()> {
        guard::answer(|| self.0.put_array(name.as_str(), Array::try_from(array)?))
    }
}
