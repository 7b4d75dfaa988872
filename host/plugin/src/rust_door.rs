//! The `abi_stable` door: a library's root module, and its indexers behind [`Foreign`].
//!
//! Responsible for the root symbol, for comparing layouts, and for the calls. It does not judge the answers: see `foreign`.
#![allow(unsafe_code)]

use crate::card_rules::{check_loaded_card, rebuild_help};
use crate::error::Refusal;
use crate::foreign::{Foreign, Listed};
use crate::indexer::IndexerInfo;
use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
};
use abi_stable::library::{AbiHeaderRef, LibHeader, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use abi_stable::std_types::RSlice;
use abi_stable::type_layout::{TLFieldOrFunction, TypeLayout};
use kymhost_plugin_api::card::{API, Card, DOOR};
use kymhost_plugin_api::ffi::{
    ArrowTable, HostRecord, HostRun, IndexerObject, ModuleRef, ServedRecord, ServedRun, artifact_kind,
};
use kymhost_plugin_api::{Artifact, Error};
use kymhost_store::text::one_line_start;
use libloading::Library;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The name of this door in a card.
pub(crate) const NAME: &str = DOOR;

/// A foreign text as one line of at most 200 characters.
fn line(text: &str) -> String {
    one_line_start(text, 200)
}

/// The indexers of a library with this door, after its layout is checked.
pub(crate) fn open(library: &'static Library, card: &Card) -> Result<Vec<Listed>, Refusal> {
    let header = header(library, card)?;
    check_layout(header, card)?;
    // SAFETY: the layout was checked, in the direction in which it fits.
    let module: ModuleRef = unsafe { header.unchecked_layout() }.map_err(|error| {
        Refusal::new(
            "init",
            format!("it cannot be initialized: {}", line(&error.to_string())),
            format!("rebuild the plugin with kymhost-plugin-api {API}"),
        )
    })?;
    if let Some(loaded) = module.card() {
        check_loaded_card(loaded.as_slice(), card)?;
    }
    let objects = (module.indexers())().into_result().map_err(|error| {
        Refusal::new(
            "init",
            format!("it does not return its indexers: {}", line(&error.message)),
            "rebuild or reinstall the plugin",
        )
    })?;
    Ok(objects.into_iter().map(listed).collect())
}

fn listed(object: IndexerObject) -> Listed {
    let info = IndexerInfo {
        name: object.name().into(),
        analysis_version: object.analysis_version().into(),
        marker_name: object.marker_name().into(),
        params_artifacts: object.params_artifacts().into_iter().map(Into::into).collect(),
        writes: object
            .writes()
            .into_iter()
            .filter_map(|output| Some(Artifact::new(output.0.into_string(), artifact_kind(output.1)?)))
            .collect(),
        reads: object.reads().into_iter().map(Into::into).collect(),
        params_schema: object.params_schema().into(),
    };
    (info, Box::new(AbiIndexer { object }))
}

/// One indexer behind this door.
struct AbiIndexer {
    object: IndexerObject,
}

impl Foreign for AbiIndexer {
    fn params(&self, record: &dyn HostRecord) -> Result<Vec<u8>, Error> {
        Ok(self.object.params(ServedRecord(record).to_ref()).into_result().map_err(Error::from)?.into_vec())
    }

    fn params_hash(&self, record: &dyn HostRecord) -> Result<String, Error> {
        let hash = self.object.params_hash(ServedRecord(record).to_ref()).into_result();
        hash.map(Into::into).map_err(Error::from)
    }

    fn extract_rows(&self, record: &dyn HostRecord, run: &dyn HostRun) -> Result<ArrowTable, Error> {
        let (record, run) = (ServedRecord(record), ServedRun(run));
        self.object.extract_rows(record.to_ref(), run.to_ref()).into_result().map_err(Error::from)
    }

    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let marker = self.object.read_old_marker(RSlice::from_slice(payload)).into_result().map_err(Error::from)?;
        Ok(marker.into_option().map(Into::into))
    }
}

fn header(library: &'static Library, card: &Card) -> Result<&'static LibHeader, Refusal> {
    // SAFETY: abi_stable exports a `LibHeader`, which begins with an `AbiHeader`, under this name.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL) }.map(|symbol| *symbol);
    let header = header.map_err(|_| {
        Refusal::new(
            "no_root",
            format!("it has a card (plugin API {}) but not the root symbol of '{DOOR}'", card.api),
            format!("rebuild the plugin with export_plugin! of kymhost-plugin-api {API}"),
        )
    })?;
    header.upgrade().map_err(|error| {
        Refusal::new(
            "abi_header",
            format!(
                "its abi_stable differs from ours (plugin API {}, here {API}): {}",
                card.api,
                line(&error.to_string())
            ),
            rebuild_help(card),
        )
    })
}

/// The plugin may be older or newer than the host: one layout must fit into the other.
fn check_layout(header: &'static LibHeader, card: &Card) -> Result<(), Refusal> {
    let refusal = |why: String| {
        Refusal::new(
            "layout",
            format!(
                "its binary layout (plugin API {}) does not match that of this kymhost (plugin API {API})\n{why}",
                card.api
            ),
            rebuild_help(card),
        )
    };
    let Some(theirs) = header.layout() else {
        return Err(refusal("it was built without a layout".to_owned()));
    };
    let ours = ModuleRef::LAYOUT;
    match fits(ours, theirs) {
        Ok(()) => Ok(()),
        // abi_stable reports too many fields on our side as an error; an older plugin fits with the sides swapped. Fields
        // that it lacks are read as `None`, and methods have their default bodies.
        Err(error) => fits(theirs, ours).map_err(|_| refusal(error)),
    }
}

fn fits(interface: &'static TypeLayout, implementation: &'static TypeLayout) -> Result<(), String> {
    // New ones for each check: with abi_stable's global ones, all libraries of a process count as users of each other's
    // vtables. A plugin of 1.1 would be compared with an earlier one of 1.0 rather than with us, and be refused.
    let globals = CheckingGlobals::new();
    // A foreign layout may make abi_stable itself panic.
    match catch_unwind(AssertUnwindSafe(|| {
        check_layout_compatibility_with_globals(interface, implementation, &globals)
    })) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errors)) => {
            tracing::debug!("layout check failed:\n{errors}");
            Err(condensed(&errors))
        }
        Err(_) => Err("its layout is damaged".to_owned()),
    }
}

/// The first error in one line, because abi_stable prints hundreds.
fn condensed(errors: &AbiInstabilityErrors) -> String {
    let Some(error) = errors.errors.iter().find(|error| !error.errs.is_empty()) else {
        return "abi_stable does not say why".to_owned();
    };
    let names: Vec<_> = error
        .stack_trace
        .iter()
        .filter_map(|entry| match entry.expected {
            TLFieldOrFunction::Field(field) => Some(line(field.name())),
            TLFieldOrFunction::Function(_) => None,
        })
        .collect();
    // The last few names say where; the first ones lead there from the root module.
    let place = names.get(names.len().saturating_sub(4)..).unwrap_or_default().join(".");
    let place = if place.is_empty() { place } else { format!(" in {place}") };
    let text = error.to_string();
    match labelled(&text) {
        Some((error, expected, found)) => format!("{error}{place}: expected {expected}, found {found}"),
        None => line(&text),
    }
}

/// The `Error:`, `Expected:` and `Found:` parts of abi_stable's text.
fn labelled(text: &str) -> Option<(String, String, String)> {
    let (_, rest) = text.split_once("\nError:")?;
    let (error, rest) = rest.split_once("\nExpected:")?;
    let (expected, found) = rest.split_once("\nFound:")?;
    let found = found.split_once("\n\n").map_or(found, |(found, _)| found);
    Some((line(error), line(expected), line(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labelled_finds_the_first_error() {
        let text = "1 error(s)inside:\n\nError:too many fields\nExpected:\n    7\nFound:\n    6\n\nError:b\nExpected:\n1\nFound:\n2";
        assert_eq!(labelled(text), Some(("too many fields".into(), "7".into(), "6".into())));
        assert_eq!(labelled("nothing of the kind"), None);
    }
}
