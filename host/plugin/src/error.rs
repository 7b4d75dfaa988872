//! The errors of this crate, and what each means for its user.

use crate::schema::SchemaError;
use kymhost_plugin_api::card::{ApiVersion, Card};
use kymhost_store::text::{one_line, path_text};
use kymhost_store::{Class, Diagnose, Diagnosis, Holder, StoreError};
use std::path::Path;

/// Why a library is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word for scripts, such as `api_major`.
    pub code: &'static str,
    /// What is wrong with the library. One to four lines.
    pub why: String,
    /// What to do about it.
    pub help: String,
}

impl Refusal {
    /// A refusal with this code.
    pub fn new(code: &'static str, why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, why: why.into(), help: help.into() }
    }

    /// For a library that cannot be read.
    pub(crate) fn unreadable(error: &std::io::Error) -> Self {
        Self::new("unreadable", error.to_string(), "check that the file exists and that you may read it")
    }

    /// The error for the library at this path.
    pub fn of(self, library: &Path) -> PluginError {
        PluginError::Refused { library: path_text(library), refusal: self, card: None }
    }
}

/// What a library's card says, for errors about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardSummary {
    /// The names of the indexers.
    pub indexers: Vec<String>,
    /// The plugin API that it was built with.
    pub plugin_api: ApiVersion,
    /// The oldest plugin API that it runs with.
    pub needs_api: ApiVersion,
}

impl From<&Card> for CardSummary {
    fn from(card: &Card) -> Self {
        Self {
            indexers: card.indexers.iter().map(|indexer| one_line(&indexer.name)).collect(),
            plugin_api: card.api,
            needs_api: card.needs_api,
        }
    }
}

/// Why a plugin cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub enum PluginError {
    /// No library has such an indexer.
    NotFound {
        /// The name asked for.
        name: String,
        /// The folders that were searched, as one text.
        searched: String,
        /// The indexers that exist, as one text.
        found: String,
        /// An existing indexer with nearly this name.
        similar: Option<String>,
    },
    /// The library cannot be used.
    Refused {
        /// The file.
        library: String,
        /// Why.
        refusal: Refusal,
        /// What its card says, if the card could be read.
        card: Option<Box<CardSummary>>,
    },
    /// Workers cannot be started, or do not follow the protocol.
    Worker {
        /// What went wrong.
        why: String,
        /// What to do about it, if this error needs special advice.
        help: Option<String>,
    },
}

impl PluginError {
    /// A failure of the worker processes.
    pub fn worker(why: impl Into<String>) -> Self {
        Self::Worker { why: why.into(), help: None }
    }

    /// The stable word of this error, as in its [`Diagnosis`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "unknown_plugin",
            Self::Refused { refusal, .. } => refusal.code,
            Self::Worker { .. } => "worker",
        }
    }

    /// Whether the library has nothing to do with kymhost.
    pub fn is_no_plugin(&self) -> bool {
        matches!(self.code(), "no_library" | "no_card")
    }

    /// The same error, with what the library's card says.
    #[must_use]
    pub(crate) fn with_card(self, card: &CardSummary) -> Self {
        match self {
            Self::Refused { library, refusal, card: None } => {
                Self::Refused { library, refusal, card: Some(Box::new(card.clone())) }
            }
            other => other,
        }
    }

    /// The same error, with what this card says.
    #[must_use]
    pub fn about(self, card: &Card) -> Self {
        self.with_card(&card.into())
    }
}

impl Diagnose for PluginError {
    fn diagnose(&self) -> Diagnosis {
        let unusable = |what: String| Diagnosis::new(Class::Unusable, self.code(), what);
        match self {
            Self::NotFound { name, searched, found, similar } => {
                let help = match similar {
                    Some(similar) => format!("did you mean '{similar}'?"),
                    None => {
                        "give the path of a library, or its folder with --plugin-dir or KYMHOST_PLUGIN_PATH".to_owned()
                    }
                };
                unusable(format!("there is no indexer '{name}'"))
                    .why(format!("searched: {searched}\nfound: {found}"))
                    .help(help)
            }
            Self::Refused { library, refusal, card } => {
                let names = card.as_ref().map_or_else(String::new, |card| format!("{} in ", card.indexers.join(", ")));
                unusable(format!("cannot use {names}{library}")).why(&refusal.why).help(&refusal.help)
            }
            Self::Worker { why, help } => unusable("cannot run worker processes".to_owned())
                .why(why)
                .help(help.as_deref().unwrap_or("run again; --in-process runs the plugin without worker processes")),
        }
    }
}

/// Why a lock file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file is broken.
    #[error(transparent)]
    Broken(PluginError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process keeps changing it.
    #[error("{path} is being changed by {holder}")]
    Busy {
        /// The lock file.
        path: String,
        /// The process that changes it.
        holder: Holder,
    },
}

impl Diagnose for LockError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::Broken(error) => error.diagnose(),
            Self::Store(error) => error.diagnose(),
            Self::Busy { .. } => {
                Diagnosis::new(Class::Locked, "locked", self).help("try again after the other process has ended")
            }
        }
    }
}

impl Diagnose for SchemaError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::Bad(why) => {
                Diagnosis::new(Class::Unusable, "bad_schema", "the plugin's PARAMS_SCHEMA is not a valid JSON Schema")
                    .why(why)
                    .help("report it to the plugin's author; `kymhost plugin info` shows the schema")
            }
            Self::Invalid(violations) => {
                Diagnosis::new(Class::Usage, "params_invalid", "these parameters do not match the plugin's schema")
                    .why(violations.join("; "))
                    .help("nothing was written; `kymhost params show` lists the parameters that can be set")
            }
        }
    }
}

#[cfg(test)]
mod tests;
