//! Errors on their way to the user: what an error says, the exit code, and details of the plugin that it is about.
//!
//! Every error of the library says itself what failed, why, and what to do ([`Diagnose`]). This file must not decide any
//! of that. [`crate::output`] prints the text.

use crate::exit::Exit;
use kymhost_author::{CheckError, InstallError, NameError, NewError};
use kymhost_dataset::DatasetError;
use kymhost_index::{IndexError, ParamsError};
use kymhost_ingest::IngestError;
use kymhost_plugin::{LockError, PluginError, SchemaError};
use kymhost_plugin_api::card::API;
use kymhost_store::{Class, Diagnose, Diagnosis, StoreError};
use serde::Serialize;
use std::fmt::Display;
use std::io;

/// Where to report a bug.
pub const REPORT_AT: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

/// An error on its way to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// How the program ends.
    pub exit: Exit,
    /// What failed, why, and what to do.
    pub said: Diagnosis,
    /// The plugin that the error is about, if its card can be read.
    pub plugin: Option<Box<PluginDetails>>,
}

/// A rejected plugin, as its card describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginDetails {
    /// The file.
    library: String,
    /// Its indexers.
    indexers: Vec<String>,
    /// The API that it was built with.
    plugin_api: String,
    /// The API that it needs.
    needs_api: String,
    /// This program's API.
    host_api: String,
}

impl PluginDetails {
    fn of(error: &PluginError) -> Option<Box<Self>> {
        let PluginError::Refused { library, card: Some(card), .. } = error else { return None };
        Some(Box::new(Self {
            library: library.clone(),
            indexers: card.indexers.clone(),
            plugin_api: card.plugin_api.to_string(),
            needs_api: card.needs_api.to_string(),
            host_api: API.to_string(),
        }))
    }
}

impl CliError {
    /// An error that says what failed and what to do.
    pub fn new(class: Class, code: &'static str, what: impl Display, help: impl Display) -> Self {
        Diagnosis::new(class, code, what).help(help).into()
    }

    /// Wrong usage.
    pub fn usage(code: &'static str, what: impl Display, help: impl Display) -> Self {
        Self::new(Class::Usage, code, what, help)
    }

    /// A bug.
    pub fn internal(what: impl Display) -> Self {
        Self::new(
            Class::Internal,
            "internal",
            what,
            format_args!("this is a bug in kymhost; please report it at {REPORT_AT}"),
        )
    }

    /// Output that could not be written.
    pub fn output(error: &io::Error) -> Self {
        Self::new(Class::Internal, "output", "cannot write the output", "check that its disk has space").why(error)
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(self, why: impl Display) -> Self {
        Self { said: self.said.why(why), ..self }
    }

    /// Replaces what to do.
    #[must_use]
    pub fn help(self, help: impl Display) -> Self {
        Self { said: self.said.help(help), ..self }
    }

    /// The stable word for scripts.
    pub fn code(&self) -> &'static str {
        self.said.code
    }

    /// What failed and why, as one text.
    pub fn message(&self) -> String {
        self.said.message()
    }

    fn about(error: &dyn Diagnose, plugin: Option<&PluginError>) -> Self {
        Self { plugin: plugin.and_then(PluginDetails::of), ..error.diagnose().into() }
    }
}

impl From<Diagnosis> for CliError {
    fn from(said: Diagnosis) -> Self {
        let exit = match said.class {
            Class::Internal => Exit::Internal,
            Class::Usage => Exit::Usage,
            Class::Locked => Exit::Locked,
            Class::Unusable => Exit::Unusable,
            Class::Refused => Exit::Refused,
            Class::Interrupted => Exit::Interrupted,
        };
        let help = said.help.clone().unwrap_or_else(|| usual_help(said.class).to_owned());
        Self { exit, said: said.help(help), plugin: None }
    }
}

/// What to do about an error that gives no advice of its own.
fn usual_help(class: Class) -> &'static str {
    match class {
        Class::Internal => {
            concat!("this is a bug in kymhost; please report it at ", env!("CARGO_PKG_REPOSITORY"), "/issues")
        }
        Class::Usage => "see --help of the command",
        Class::Locked => "try again when the other process has ended",
        Class::Unusable => "check that what is named exists, that you may read and write it, and that its disk works",
        Class::Refused => "nothing was changed; use another name or folder",
        Class::Interrupted => "nothing is lost: run the command again to do the rest",
    }
}

/// Errors of the library, with the plugin that each may be about.
macro_rules! library_errors {
    ($($error:ty, $plugin:expr;)*) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                let plugin: fn(&$error) -> Option<&PluginError> = $plugin;
                Self::about(&error, plugin(&error))
            }
        })*
    };
}

library_errors! {
    StoreError, |_| None;
    DatasetError, |_| None;
    IngestError, |_| None;
    NameError, |_| None;
    NewError, |_| None;
    ParamsError, |_| None;
    SchemaError, |_| None;
    CheckError, |_| None;
    PluginError, |error| Some(error);
    LockError, plugin_of_lock;
    InstallError, |error| match error {
        InstallError::Plugin(error) => Some(error),
        InstallError::Lock(error) => plugin_of_lock(error),
        _ => None,
    };
    IndexError, |error| match error {
        IndexError::Plugin(error) => Some(error),
        _ => None,
    };
}

fn plugin_of_lock(error: &LockError) -> Option<&PluginError> {
    match error {
        LockError::Broken(error) => Some(error),
        _ => None,
    }
}

/// The document of an error that came before any other document.
#[derive(Debug, Serialize)]
pub struct ErrorDocument<'a> {
    /// What went wrong.
    error: ErrorBody<'a>,
}

/// What went wrong.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// A stable word, listed in the error codes.
    code: &'a str,
    /// What failed and why, as one text.
    message: String,
    /// What failed.
    what: &'a str,
    /// Why it failed.
    why: Option<&'a str>,
    /// What to do about it.
    help: Option<&'a str>,
    /// The rejected plugin, if its card can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a PluginDetails>,
}

impl<'a> ErrorBody<'a> {
    /// The body for an error.
    pub fn new(error: &'a CliError) -> Self {
        let Diagnosis { code, what, why, help, .. } = &error.said;
        Self {
            code,
            message: error.message(),
            what,
            why: why.as_deref(),
            help: help.as_deref(),
            plugin: error.plugin.as_deref(),
        }
    }
}

impl<'a> ErrorDocument<'a> {
    /// The document of an error.
    pub fn new(error: &'a CliError) -> Self {
        Self { error: ErrorBody::new(error) }
    }
}

#[cfg(test)]
mod tests;
