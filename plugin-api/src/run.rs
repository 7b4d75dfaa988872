//! What a run tells an indexer, and what it takes from it.
//! Owns: the safe face of the host's run. Never: decides when to stop (the host's).

use crate::array::Array;
use crate::{Error, Json, Result, Table};

#[cfg(doc)]
use crate::ErrorKind;

/// How loud a log line is. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum LogLevel {
    /// Something went wrong.
    Error = 0,
    /// Something looks wrong.
    Warn = 1,
    /// What a user may want to know.
    Info = 2,
    /// What the author may want to know.
    Debug = 3,
}

/// The run that an extraction is part of. It may be used from several threads of an extraction at once.
pub struct Run<'a> {
    inner: crate::ffi::RunRef<'a>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(inner: crate::ffi::RunRef<'a>) -> Self {
        Self { inner }
    }
}

impl Run<'_> {
    /// Whether to stop. Long loops ask now and then and return [`crate::ErrorKind::Cancelled`].
    pub fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }

    /// How many threads this extraction may use, itself included: at least 1.
    pub fn threads(&self) -> usize {
        usize::try_from(self.inner.threads()).unwrap_or(1).max(1)
    }

    /// A line for the host's log.
    pub fn log(&self, level: LogLevel, message: &str) {
        self.inner.log(level as u8, message.into());
    }

    /// How much of this image is done, 0 to 1.
    pub fn progress(&self, fraction: f64) {
        self.inner.progress(fraction);
    }

    /// Hands the host a JSON artifact of this image (since 1.1), in place of what was there before.
    ///
    /// It is kept when the rows are: what an extraction that fails has handed over is thrown away. Reading it back through the
    /// record gives what was there before the extraction.
    ///
    /// # Errors
    /// Where [`crate::Indexer::WRITES`] does not name it, or it was handed over already; [`ErrorKind::Unsupported`] where the host is
    /// older than 1.1.
    pub fn put_json(&self, name: &str, value: &Json) -> Result<()> {
        let text = value.to_file_text();
        self.inner.put_json(name.into(), text.as_bytes().into()).into_result().map_err(Error::from)
    }

    /// Hands the host a table artifact of this image (since 1.1): as [`Run::put_json`]. It is kept as Parquet.
    ///
    /// # Errors
    /// As [`Run::put_json`]; [`ErrorKind::BadTable`] where it is no proper table.
    pub fn put_table(&self, name: &str, table: Table) -> Result<()> {
        self.inner.put_table(name.into(), table.into_c_table()).into_result().map_err(Error::from)
    }

    /// Hands the host an array artifact of this image (since 1.1): as [`Run::put_json`].
    ///
    /// # Errors
    /// As [`Run::put_json`].
    pub fn put_array(&self, name: &str, array: Array) -> Result<()> {
        self.inner.put_array(name.into(), array.into()).into_result().map_err(Error::from)
    }
}
