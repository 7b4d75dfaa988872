//! The one error type that crosses from an indexer to its host.
//!
//! It has a kind for programs and a message for people. It has no backtrace and no source, because these cannot cross
//! the binary boundary.

use std::fmt;

/// The result of an indexer's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] reports. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorKind {
    /// The indexer cannot analyse this image. The message says why.
    Failed = 0,
    /// The indexer panicked. The message is that of the panic.
    Panicked = 1,
    /// Something in the record exists but cannot be read. The message names its key.
    Unreadable = 2,
    /// The host is older than the function that was called. Its user should upgrade kymhost.
    Unsupported = 3,
    /// The indexer stopped because [`Run::cancelled`](crate::Run::cancelled) asked it to.
    Cancelled = 4,
    /// A table breaks Arrow's specification, or its columns have different lengths or equal names.
    BadTable = 5,
}

/// An error: a kind and a message. `?` converts every `std` error into one, of kind [`ErrorKind::Failed`], with the
/// messages of its sources appended.
///
/// It does not implement [`std::error::Error`] itself, because then `?` could not convert all others.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of kind [`ErrorKind::Failed`].
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many errors repeat the text of their source; it should appear once.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::new(ErrorKind::Failed, message)
    }
}
