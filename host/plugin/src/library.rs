//! Loading a library: card, versions, layout, and what it lists, each checked before the next.
//!
//! Responsible for opening the library and for comparing it with its card. It does not search for libraries and does not
//! call indexers; how a door is built stands in `rust_door` and `c_door`.
//! A loaded library is never unloaded: its vtables and Arrow release callbacks live as long as the process.
#![allow(unsafe_code)]

use crate::card_file::read_native;
use crate::card_rules::{check_api, check_names, difference, mismatch, rebuild_help};
use crate::error::{PluginError, Refusal};
use crate::foreign::{Checked, Listed};
use crate::identity::{LibraryFile, Pin, hash, replaced};
use crate::indexer::Indexer;
use crate::{c_door, rust_door};
use kymhost_plugin_api::card::{API, Card};
use kymhost_store::text::one_line_start;
use libloading::Library;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

/// How much of a foreign text is shown, in characters.
const MAX_SHOWN: usize = 200;

/// Opens one door of a library: what it lists, in any order.
type OpenDoor = fn(&'static Library, &Card) -> Result<Vec<Listed>, Refusal>;

/// The doors that this host has, by their names in the card. One is retired by taking its line out.
const DOORS: [(&str, OpenDoor); 2] = [(rust_door::NAME, rust_door::open), (c_door::NAME, c_door::open)];

fn check_door(card: &Card) -> Result<OpenDoor, Refusal> {
    if let Some((_, open)) = DOORS.iter().find(|(name, _)| *name == card.door) {
        return Ok(*open);
    }
    let ours: Vec<_> = DOORS.iter().map(|(name, _)| format!("'{name}'")).collect();
    Err(Refusal::new(
        "door",
        format!(
            "it speaks the binary contract '{}' (plugin API {}), this kymhost {} (plugin API {API})",
            card.door,
            card.api,
            ours.join(" and ")
        ),
        rebuild_help(card),
    ))
}

/// Opens a library after checking its card, layout and what it lists. It stays loaded for the life of the process.
///
/// # Errors
/// [`PluginError::Refused`] where any of these is not as it must be.
pub fn load_library(library: &Path) -> Result<Vec<Box<dyn Indexer>>, PluginError> {
    let card = read_native(library)?;
    load(library, &card).map_err(|refusal| refusal.of(library).about(&card))
}

/// What can be said against a library from its card alone.
pub(crate) fn check_card(library: &Path, card: &Card) -> Result<(), PluginError> {
    check_versions(library, card)?;
    check_names(card).map_err(|refusal| refusal.of(library).about(card))
}

/// Whether its API and its door are ones that this host has.
pub fn check_versions(library: &Path, card: &Card) -> Result<(), PluginError> {
    let checked = check_api(card, API).and_then(|()| check_door(card)).map(drop);
    checked.map_err(|refusal| refusal.of(library).about(card))
}

fn load(library: &Path, card: &Card) -> Result<Vec<Box<dyn Indexer>>, Refusal> {
    check_api(card, API)?;
    let open_door = check_door(card)?;
    let mut indexers = BTreeMap::new();
    for (info, foreign) in open_door(open(library, card)?, card)? {
        if let Some((info, _)) = indexers.insert(info.name.clone(), (info, foreign)) {
            return Err(mismatch(format!("it has two indexers '{}'", one_line_start(&info.name, MAX_SHOWN))));
        }
    }
    let mut listed: Vec<Box<dyn Indexer>> = Vec::with_capacity(card.indexers.len());
    for expected in &card.indexers {
        let Some((info, foreign)) = indexers.remove(&expected.name) else {
            return Err(mismatch(format!("its card lists the indexer '{}', which it does not have", expected.name)));
        };
        if let Some((what, card, loaded)) = difference(expected, &info) {
            return Err(mismatch(format!(
                "its card says that the {what} of '{}' is {card}, the library {}",
                expected.name,
                one_line_start(&loaded, MAX_SHOWN)
            )));
        }
        listed.push(Box::new(Checked::new(info, foreign)));
    }
    match indexers.into_keys().next() {
        Some(name) => Err(mismatch(format!(
            "it has an indexer '{}' that its card does not list",
            one_line_start(&name, MAX_SHOWN)
        ))),
        None => Ok(listed),
    }
}

/// Opens a library's file, for ever.
fn open(library: &Path, card: &Card) -> Result<&'static Library, Refusal> {
    let cannot_open = |why: String| {
        Refusal::new(
            "open",
            format!("it cannot be opened: {}", one_line_start(&why, MAX_SHOWN)),
            format!(
                "it was built for {}, this kymhost runs on {}; where they agree, reinstall or rebuild the plugin",
                card.target,
                kymhost_plugin_api::card::TARGET
            ),
        )
    };
    // A bare file name would be sought in the system's folders.
    let path = std::path::absolute(library).map_err(|error| cannot_open(error.to_string()))?;
    // SAFETY: its constructors run now. The card says that it is a plugin; that a plugin may be trusted is its user's word.
    let handle = unsafe { Library::new(&path) }.map_err(|error| cannot_open(with_sources(&error)))?;
    // Functions, release callbacks and thread-locals of the library must stay.
    Ok(Box::leak(Box::new(handle)))
}

/// libloading's own text leaves out why.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Loads a library as [`load_library`] does, and tells which file that was. One that is not as pinned is not opened.
pub(crate) fn load_identified(
    library: &Path,
    pin: Option<&Pin>,
) -> Result<(Vec<Box<dyn Indexer>>, LibraryFile), PluginError> {
    let before = LibraryFile::at(library)?;
    if let Some(Pin { file, sha256 }) = pin
        && before != *file
        && !before.is_linked_anew(file)
        && hash(library)? != (before, sha256.clone())
    {
        return Err(replaced(library, "since its digest was checked"));
    }
    let indexers = load_library(library)?;
    let after = LibraryFile::at(library)?;
    if before == after || before.is_linked_anew(&after) {
        Ok((indexers, after))
    } else {
        Err(replaced(library, "while it was loaded"))
    }
}
