//! Why one image failed.
//!
//! Responsible for the kinds of failures and for making foreign text safe. It does not decide how a run reacts to them.

use kymhost_dataset::Input;
use kymhost_plugin_api::{Error, ErrorKind};
use kymhost_store::text::printable_lines;
use serde::{Deserialize, Serialize};

/// Why an image failed; the names are those of `run --json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// `error`: the indexer returned one.
    Error,
    /// `panic`
    Panic,
    /// `abort`
    Abort,
    /// `signal`
    Signal,
    /// `exit`
    Exit,
    /// `timeout`
    Timeout,
    /// `memory`
    Memory,
    /// `bad_table`
    BadTable,
    /// `input_changed`
    InputChanged,
    /// `unreadable`: an artifact is there but broken.
    Unreadable,
    /// `system`: the system had too few threads, open files or too little memory. It says nothing about the image.
    System,
}

impl FailureKind {
    const ALL: [Self; 11] = [
        Self::Error,
        Self::Panic,
        Self::Abort,
        Self::Signal,
        Self::Exit,
        Self::Timeout,
        Self::Memory,
        Self::BadTable,
        Self::InputChanged,
        Self::Unreadable,
        Self::System,
    ];

    /// Its name in `run --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Abort => "abort",
            Self::Signal => "signal",
            Self::Exit => "exit",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::BadTable => "bad_table",
            Self::InputChanged => "input_changed",
            Self::Unreadable => "unreadable",
            Self::System => "system",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault of an indexer that kymhost itself finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FailureCause {
    /// It tried to write an artifact that it does not declare, and then failed.
    Undeclared {
        /// The artifact's name.
        artifact: String,
    },
    /// It gave a params hash of a length that is not allowed.
    BadHash {
        /// The length, in bytes.
        bytes: usize,
    },
    /// It failed without saying why.
    NoReason,
}

/// Why one image failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// For people.
    pub message: String,
    /// The fault, if kymhost itself found it.
    pub cause: Option<FailureCause>,
    /// What it had read of the image by then; empty if that is unknown because the worker died.
    pub inputs: Vec<Input>,
}

impl Failure {
    /// A failure without a known cause or inputs.
    pub fn new(kind: FailureKind, message: String) -> Self {
        Self { kind, message, cause: None, inputs: Vec::new() }
    }
}

/// The longest text of a failure, in bytes.
const MAX_FAILURE_BYTES: usize = 4 << 10;

/// A plugin's text for a failure: of bounded length, and without control characters for a terminal.
pub(crate) fn failure_text(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_FAILURE_BYTES);
    let mut kept = printable_lines(text.get(..end).unwrap_or_default());
    if end < text.len() {
        kept.push_str(&format!("… ({} bytes in all)", text.len()));
    }
    kept
}

/// The failure of an image for an error that the indexer returned.
pub(crate) fn failure_of(error: Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::Panicked => FailureKind::Panic,
        ErrorKind::Unreadable => FailureKind::Unreadable,
        ErrorKind::BadTable => FailureKind::BadTable,
        _ => FailureKind::Error,
    };
    match error.message() {
        "" => {
            let failure = Failure::new(kind, "the indexer gave no reason".to_owned());
            Failure { cause: Some(FailureCause::NoReason), ..failure }
        }
        text => Failure::new(kind, failure_text(text)),
    }
}
