//! Why a library is refused, as data: a stable code, what was found, and what to do.
//!
//! Responsible for the form of a refusal and for the advice that several checks share. It does not
//! check anything itself.

use super::error::PluginError;
use super::search::{one_line, shown};
use kymhost_plugin_api::card::{API, ApiVersion, Card};
use kymhost_plugin_api::ffi::c_door;
use std::path::Path;

/// Why a library is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word for scripts, e.g. `api_major`.
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

    /// A library that the system does not let us read.
    pub(super) fn unreadable(error: &std::io::Error) -> Self {
        Self::new("unreadable", error.to_string(), "check that the file exists and that you may read it")
    }

    /// The error for the library at this path.
    pub fn of(self, library: &Path) -> PluginError {
        PluginError::Refused { library: shown(library), refusal: self, card: None }
    }
}

/// What the card of a refused library says about its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardSummary {
    /// The names of its indexers.
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

/// Advice if the host is the older side. kymhost is built from source: there is no release to download.
pub(super) fn upgrade_kymhost(api: &str) -> String {
    format!(
        "upgrade kymhost to a version with plugin API {api}: in the folder of its source, \
         git pull && cargo build --release; the plugin can stay as it is"
    )
}

/// Advice if the plugin is the older side, or was built wrongly.
pub(super) fn upgrade_plugin(card: &Card, api: &str) -> String {
    let build = if card.door == c_door::DOOR {
        format!(
            "replace kymhost_plugin.h by the one of plugin API {api} \
             (`kymhost plugin new NAME --lang c` unpacks this kymhost's), make"
        )
    } else {
        format!(
            "replace kymhost-plugin-api by version {api} (`kymhost plugin new NAME` unpacks this kymhost's into vendor/), \
             cargo update -p kymhost-plugin-api && cargo build --release"
        )
    };
    format!("upgrade the plugin: in the folder of its source, {build}, then kymhost plugin add . --replace")
}

/// Advice if a library does not match what its card or its door promises.
pub(super) fn rebuild_help(card: &Card) -> String {
    if card.api > API { upgrade_kymhost(&card.api.to_string()) } else { upgrade_plugin(card, &API.to_string()) }
}
