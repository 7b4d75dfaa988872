//! The host's side: its records and runs behind the trait objects that plugins call.
//! Owns: catching the host's panics, so that none crosses into a plugin. Never: used by a plugin.

use super::contract::{Answer, ArrayAbi, RecordAbi, RecordAbi_TO, RecordRef, RunAbi, RunAbi_TO, RunRef};
use super::{artifact_kind, guard, ArrowTable};
use crate::array::Array;
use crate::{Artifact, ArtifactKind, Error, ErrorKind, LogLevel, Record, Result, Run, Table};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RStr, RString, RVec, Tuple2};

/// What a host's record can do; each is what the method of [`crate::Record`] of that name gives.
/// Absent is `None`; there but unreadable is [`ErrorKind::Unreadable`] with the key in its message.
pub trait HostRecord: Send + Sync {
    /// The image's id.
    fn image_id(&self) -> &str;
    /// The text of a JSON artifact.
    fn json(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// A table artifact of one kind, Parquet or CSV.
    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>>;
    /// The pixels.
    fn pixels(&self) -> Result<Option<Array>>;
    /// An array artifact.
    fn array(&self, name: &str) -> Result<Option<Array>>;
    /// Where an artifact is kept, or would be; for messages.
    fn key(&self, name: &str, kind: ArtifactKind) -> String;
    /// The attributes' JSON text.
    fn attributes(&self) -> Result<Vec<u8>>;
    /// The artifacts, sorted by name.
    fn artifacts(&self) -> Result<Vec<Artifact>>;
}

/// What a host's run can do.
pub trait HostRun: Send + Sync {
    /// Whether to stop.
    fn cancelled(&self) -> bool;
    /// How many threads the extraction may use.
    fn threads(&self) -> usize;
    /// A line for the log.
    fn log(&self, level: LogLevel, message: &str);
    /// How much of the image is done, 0 to 1.
    fn progress(&self, fraction: f64);
}

/// A host's record as plugins take it.
pub struct ServedRecord<R>(pub R);

impl<R: HostRecord> ServedRecord<R> {
    /// What an [`super::contract::IndexerAbi`] method takes.
    pub fn to_ref(&self) -> RecordRef<'_> {
        RecordAbi_TO::from_ptr(self, TD_Opaque)
    }

    /// What an [`crate::Indexer`] method takes: for a host, or a test, that has an indexer without a library.
    pub fn to_record(&self) -> Record<'_> {
        Record::new(self.to_ref())
    }
}

/// A host's run as plugins take it.
pub struct ServedRun<R>(pub R);

impl<R: HostRun> ServedRun<R> {
    /// What an [`super::contract::IndexerAbi`] method takes.
    pub fn to_ref(&self) -> RunRef<'_> {
        RunAbi_TO::from_ptr(self, TD_Opaque)
    }

    /// What an [`crate::Indexer`] method takes.
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
                format!("this kymhost knows no table artifacts of kind {kind}; upgrade kymhost"),
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
        // A host that panicked here is in no state to take rows.
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
}
