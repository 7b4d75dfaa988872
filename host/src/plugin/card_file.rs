//! Reading a library's card from its file, without running anything.
//! Owns: finding the section in any platform's library. Never: loads the library.

use super::PluginError;
use kymhost_plugin_api::card::{Card, SECTION, SECTION_MACHO};
use object::{Object, ObjectSection};
use std::path::Path;

/// The card of a library's file.
pub fn read_card(library: &Path) -> Result<Card, PluginError> {
    let refused = |code, why: String| PluginError::Refused { library: library.display().to_string(), code, why };
    let help = "help: give a kymhost plugin's library, or rebuild or reinstall the plugin";
    let bytes = std::fs::read(library).map_err(|error| refused("unreadable", format!("{error}\n{help}")))?;
    let file = object::File::parse(&*bytes)
        .map_err(|error| refused("no_library", format!("it is no dynamic library: {error}\n{help}")))?;
    let section = file
        .section_by_name(SECTION)
        .or_else(|| file.section_by_name(SECTION_MACHO.1))
        .ok_or_else(|| refused("no_card", format!("it is no kymhost plugin: it has no card\n{help}")))?;
    let data = section.data().map_err(|error| refused("bad_card", format!("{error}\n{help}")))?;
    Card::parse(data).map_err(|error| refused("bad_card", format!("{error}\n{help}")))
}
