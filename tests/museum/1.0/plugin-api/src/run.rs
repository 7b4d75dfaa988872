//! What a run tells an indexer, and what it takes from it.
//! Owns: the safe face of the host's run. Never: decides when to stop (the host's).

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
}
