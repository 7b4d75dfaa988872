//! Loads a library, after checking its card and versions and before its layout and list of indexers.
//!
//! Responsible for opening the library and for comparing it with its card. It does not search for libraries and does not
//! call indexers; `rust_door` and `c_door` have the two doors.
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

/// How many characters of a foreign text are shown.
const MAX_SHOWN: usize = 200;

/// Opens one door of a library. Returns its indexers in any order.
type OpenDoor = fn(&'static Library, &Card) -> Result<Vec<Listed>, Refusal>;

/// The doors of this host, by their names in the card. To retire one, remove its line.
const DOORS: [(&str, OpenDoor); 2] = [(rust_door::NAME, rust_door::open), (c_door::NAME, c_door::open)];

fn check_door(card: &Card) -> Result<OpenDoor, Refusal> {
    if let Some((_, open)) = DOORS.iter().find(|(name, _)| *name == card.door) {
        return Ok(*open);
    }
    let ours: Vec<_> = DOORS.iter().map(|(name, _)| format!("'{name}'")).collect();
    Err(Refusal::new(
        "door",
        format!(
            "it has the door '{}' (plugin API {}), this kymhost has {} (plugin API {API})",
            card.door,
            card.api,
            ours.join(" and ")
        ),
        rebuild_help(card),
    ))
}

/// Loads a library and checks its card, layout and indexers. It stays loaded as long as the process.
///
/// # Errors
/// [`PluginError::Refused`] if any of these is wrong.
pub fn load_library(library: &Path) -> Result<Vec<Box<dyn Indexer>>, PluginError> {
    let card = read_native(library)?;
    load(library, &card).map_err(|refusal| refusal.of(library).about(&card))
}

/// Refuses a library for what its card shows.
pub(crate) fn check_card(library: &Path, card: &Card) -> Result<(), PluginError> {
    check_versions(library, card)?;
    check_names(card).map_err(|refusal| refusal.of(library).about(card))
}

/// Refuses a library whose API or door this host does not have.
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

/// Opens a library's file and never closes it.
fn open(library: &Path, card: &Card) -> Result<&'static Library, Refusal> {
    let cannot_open = |why: String| {
        Refusal::new(
            "open",
            format!("it cannot be opened: {}", one_line_start(&why, MAX_SHOWN)),
            format!(
                "it was built for {}, this kymhost runs on {}; if they match, reinstall or rebuild the plugin",
                card.target,
                kymhost_plugin_api::card::TARGET
            ),
        )
    };
    // The system would search its own folders for a bare file name.
    let path = std::path::absolute(library).map_err(|error| cannot_open(error.to_string()))?;
    // SAFETY: its constructors run now. The card says that it is a plugin, and the user trusts it.
    let handle = unsafe { Library::new(&path) }.map_err(|error| cannot_open(with_sources(&error)))?;
    // Functions, release callbacks and thread-locals of the library must stay.
    Ok(Box::leak(Box::new(handle)))
}

/// The text of an error with its causes, which libloading's own text leaves out.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// As [`load_library`], and returns which file that was. A file other than the pinned one is not opened.
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
