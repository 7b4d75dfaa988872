//! Errors as data: what failed, why, and what to do, in separate fields.
//!
//! Every error type of the host implements [`Diagnose`]. One place renders a [`Diagnosis`] for people
//! and for JSON: the program. No code looks into the text of a message to decide anything; an error
//! that others must tell apart has a variant or a field for that.

use std::fmt::Display;

/// Who has to act on an error. The program makes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A bug in kymhost, or a system that fails in a way nobody can act on (exit code 1).
    Internal,
    /// The command was used wrongly: an unknown option, name or value (exit code 2).
    Usage,
    /// Another process holds a lock (exit code 4).
    Locked,
    /// The dataset, the plugin or the system cannot be used as it is (exit code 5).
    Unusable,
    /// A safety guard refused (exit code 6).
    Refused,
    /// The user interrupted the command (exit code 130 or 143).
    Interrupted,
}

/// What a person needs to know about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Who has to act.
    pub class: Class,
    /// A stable word for scripts, listed in `docs/reference/error-codes.md`.
    pub code: &'static str,
    /// What failed, naming the file, recording or plugin. One sentence without a full stop.
    pub what: String,
    /// Why it failed: what was expected and what was found. Several lines are possible.
    pub why: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnosis {
    /// A diagnosis that says what failed and nothing more.
    pub fn new(class: Class, code: &'static str, what: impl Display) -> Self {
        Self { class, code, what: what.to_string(), why: None, help: None }
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(self, why: impl Display) -> Self {
        Self { why: Some(why.to_string()), ..self }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(self, help: impl Display) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }

    /// What failed and why, as one text: `what: why`.
    pub fn message(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        }
    }
}

/// An error that can say what failed, why, and what to do.
///
/// The error's `Display` is [`Diagnosis::message`]: it never contains the help.
pub trait Diagnose: std::error::Error {
    /// The error as data for people and scripts.
    fn diagnose(&self) -> Diagnosis;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnosis_message_joins_what_and_why_without_help() {
        let only_what = Diagnosis::new(Class::Usage, "usage", "there is no option --x").help("see --help");
        assert_eq!(only_what.message(), "there is no option --x");
        assert_eq!(only_what.why("x is not known").message(), "there is no option --x: x is not known");
    }
}
