//! The one error type that crosses from an indexer to its host.
//! Owns: kind and message. Never: backtraces or sources (they do not cross the boundary).

use std::fmt;

/// What an indexer's methods return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure an [`Error`] tells of. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum ErrorKind {
    /// The indexer gave up; its message says why.
    Failed = 0,
    /// The indexer panicked; the message is the panic's.
    Panicked = 1,
    /// Something in the record is there but cannot be read; the message names its key.
    Unreadable = 2,
    /// The host is older than the function that was called.
    Unsupported = 3,
    /// The indexer stopped because it was asked to.
    Cancelled = 4,
    /// The rows are no proper table.
    BadTable = 5,
}

/// An error as text with a kind. Every `std` error becomes one through `?`.
///
/// It does not itself implement [`std::error::Error`]: that is what lets `?` take all others.
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

    /// An error of any kind.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for people.
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
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self::new(ErrorKind::Failed, message)
    }
}
