//! The run that an extraction is part of: what an indexer may ask the host, and what it hands to it.
//!
//! This file is the safe API over the host's run. It does not decide when to stop; the host does.

use crate::array::Array;
use crate::{Error, Json, Result, Table};

#[cfg(doc)]
use crate::ErrorKind;

/// The severity of a log line. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum LogLevel {
    /// Something failed.
    Error = 0,
    /// Something looks wrong.
    Warn = 1,
    /// Something that a user may want to know.
    Info = 2,
    /// Something that the plugin's author may want to know.
    Debug = 3,
}

/// The run that an extraction is part of. Several threads of an extraction may use it at once.
pub struct Run<'a> {
    inner: crate::ffi::RunRef<'a>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(inner: crate::ffi::RunRef<'a>) -> Self {
        Self { inner }
    }
}

impl Run<'_> {
    /// Whether to stop. Long loops should ask now and then, and return [`crate::ErrorKind::Cancelled`].
    pub fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }

    /// How many threads this extraction may use, including the calling one: at least 1.
    pub fn threads(&self) -> usize {
        usize::try_from(self.inner.threads()).unwrap_or(1).max(1)
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: LogLevel, message: &str) {
        self.inner.log(level as u8, message.into());
    }

    /// Reports which fraction of this image is done, from 0 to 1.
    pub fn progress(&self, fraction: f64) {
        self.inner.progress(fraction);
    }

    /// Hands the host a JSON artifact of this image (since 1.1). It replaces an earlier one of this name.
    ///
    /// The host keeps it together with the rows. If the extraction fails, the artifact is discarded. Until the
    /// extraction has ended, the record still gives the earlier artifact.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] if [`crate::Indexer::WRITES`] does not name the artifact or it was handed over before;
    /// [`ErrorKind::Unsupported`] if the host is older than 1.1.
    pub fn put_json(&self, name: &str, value: &Json) -> Result<()> {
        let text = value.to_file_text();
        self.inner.put_json(name.into(), text.as_bytes().into()).into_result().map_err(Error::from)
    }

    /// Hands the host a table artifact of this image (since 1.1), as [`Run::put_json`] does. The host keeps it as
    /// Parquet.
    ///
    /// # Errors
    /// As [`Run::put_json`]; [`ErrorKind::BadTable`] if the table is not valid.
    pub fn put_table(&self, name: &str, table: Table) -> Result<()> {
        self.inner.put_table(name.into(), table.into_c_table()).into_result().map_err(Error::from)
    }

    /// Hands the host an array artifact of this image (since 1.1), as [`Run::put_json`] does.
    ///
    /// # Errors
    /// As [`Run::put_json`].
    pub fn put_array(&self, name: &str, array: Array) -> Result<()> {
        self.inner.put_array(name.into(), array.into()).into_result().map_err(Error::from)
    }
}
