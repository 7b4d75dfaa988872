//! Finds libraries by an indexer's name or a path. It reads cards only and runs nothing.
//!
//! Responsible for the search path and for what a `--plugin` text means; `trust` decides which files are safe to load. It
//! never loads a library, and never looks into the dataset or, unless a path leads there, into the working folder.
//!
//! The libraries in a folder are the files with the platform's suffix and our section. If a card cannot be read,
//! [`find_plugin`] skips the library, because its indexers' names are unknown, and [`list_plugins`] lists it with its error.
//! Both skip libraries without our section.

use crate::card_file::{CardFile, read_card_file};
use crate::error::{CardSummary, PluginError, Refusal};
use crate::identity::Pin;
use crate::indexer::{IndexerInfo, Plugin};
use crate::library::check_card;
use crate::lockfile::Locked;
use crate::names::plain_name;
use crate::trust::{Trust, Writers, check_writers};
use kymhost_plugin_api::card::Card;
use kymhost_store::text::{self, one_line, path_text};
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The platform's own suffix of dynamic libraries.
const SUFFIX: &str = std::env::consts::DLL_EXTENSION;
/// The suffixes of all platforms: a text that ends with one is a path, never a name.
const SUFFIXES: [&str; 3] = ["so", "dylib", "dll"];
/// No more files of one folder are looked at.
const MAX_FILES: usize = 10_000;
/// A message lists no more names or folders.
const MAX_LISTED: usize = 20;

/// Where libraries are searched for, in order. The program makes it from its arguments and environment.
#[derive(Debug, Clone, Default)]
pub struct SearchPath {
    /// Folders, in order.
    pub folders: Vec<PathBuf>,
    /// The user's lock file.
    pub trust: Trust,
}

/// A library on the search path.
struct Candidate {
    library: PathBuf,
    /// The folder of the search path. A link may lead to the library from there.
    folder: PathBuf,
    file: Result<CardFile, PluginError>,
}

impl Candidate {
    /// Its card and digest, if it may be used.
    fn vet(&self, trust: &Trust) -> Result<(&CardFile, Option<Pin>), PluginError> {
        let pinned = || {
            let real = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
            let writers = writers(&self.library, Given::Folder)?.and(check_writers(&real, false)?);
            let file = self.file.as_ref().map_err(Clone::clone)?;
            let pin = trust.check(&self.library, &writers)?;
            check_file(&self.library, file)?;
            Ok((file, pin))
        };
        pinned().map_err(|error: PluginError| self.name_indexers(error))
    }

    /// The error with what the card says, if it can be read.
    fn name_indexers(&self, error: PluginError) -> PluginError {
        match &self.file {
            Ok(file) => error.about(&file.card),
            Err(_) => error,
        }
    }
}

/// Finds an indexer by name, or by a library's path (`PATH` or `PATH:NAME`), reading cards only.
pub fn find_plugin(spec: &str, search: &SearchPath) -> Result<Plugin, PluginError> {
    match Spec::of(spec) {
        Spec::Name(name) => find_name(name, search),
        Spec::Path(path, name) => find_path(path, name, &search.trust),
    }
}

/// Every library on the search path, with the indexers on its card or the reason why it cannot be used.
pub fn list_plugins(search: &SearchPath) -> Vec<(PathBuf, Result<Vec<Plugin>, PluginError>)> {
    let list = |candidate: Candidate| {
        let plugins = candidate.vet(&search.trust).map(|(file, pin)| plugins(&candidate.library, &file.card, &pin));
        (candidate.library, plugins)
    };
    candidates(search).into_iter().map(list).collect()
}

/// Why a library that the user names would not be loaded, as far as its file shows.
pub fn refusal_of_file(library: &Path, file: &CardFile, trust: &Trust) -> Option<PluginError> {
    vet_path(library, file, trust).err()
}

fn vet_path(library: &Path, file: &CardFile, trust: &Trust) -> Result<Option<Pin>, PluginError> {
    let pinned = || {
        let pin = trust.check(library, &writers(library, Given::Path)?)?;
        check_file(library, file)?;
        Ok(pin)
    };
    pinned().map_err(|error: PluginError| error.about(&file.card))
}

/// Checks a library that the user installs or trusts. Any digest and any writing group are allowed.
pub fn vet_unpinned(library: &Path, file: &CardFile) -> Result<(), PluginError> {
    let checked = writers(library, Given::Path).and_then(|_| check_file(library, file));
    checked.map_err(|error| error.about(&file.card))
}

/// The library that a `--plugin` text means. Any digest and any writing group are allowed.
pub fn locate(spec: &str, search: &SearchPath) -> Result<PathBuf, PluginError> {
    match Spec::of(spec) {
        Spec::Path(path, _) => real_path(path),
        Spec::Name(name) => {
            let candidates = candidates(search);
            let has = |candidate: &&Candidate| candidate.file.as_ref().is_ok_and(|file| file.has(name));
            match candidates.iter().filter(has).collect::<Vec<_>>().as_slice() {
                [one] => Ok(one.library.clone()),
                _ => find_name(name, search).map(|plugin| plugin.library),
            }
        }
    }
}

/// Refuses a library for what its file shows.
fn check_file(library: &Path, file: &CardFile) -> Result<(), PluginError> {
    file.check_platform().map_err(|refusal| refusal.of(library))?;
    check_card(library, &file.card)
}

/// What a `--plugin` text means.
#[derive(Debug, PartialEq, Eq)]
enum Spec<'a> {
    Name(&'a str),
    Path(&'a Path, Option<&'a str>),
}

impl<'a> Spec<'a> {
    fn of(text: &'a str) -> Self {
        if let Some((path, name)) = text.rsplit_once(':')
            && is_path(path)
            && !name.is_empty()
            && !is_path(name)
        {
            return Self::Path(Path::new(path), Some(name));
        }
        if is_path(text) { Self::Path(Path::new(text), None) } else { Self::Name(text) }
    }
}

fn is_path(text: &str) -> bool {
    text.contains(std::path::is_separator)
        || Path::new(text)
            .extension()
            .is_some_and(|found| SUFFIXES.iter().any(|suffix| found.eq_ignore_ascii_case(suffix)))
}

/// The path without links: who may change the library depends on it.
fn real_path(path: &Path) -> Result<PathBuf, PluginError> {
    let help = "give an indexer's name, or the path of a plugin's library";
    path.canonicalize().map_err(|error| Refusal::new("unreadable", error.to_string(), help).of(path))
}

fn find_path(path: &Path, name: Option<&str>, trust: &Trust) -> Result<Plugin, PluginError> {
    let library = real_path(path)?;
    let file = read_card_file(&library)?;
    let pin = vet_path(&library, &file, trust)?;
    let found = plugins(&library, &file.card, &pin);
    let names = listed(found.iter().map(|plugin| plugin.indexer.name.as_str()));
    let chosen: Vec<Plugin> = found
        .into_iter()
        .filter(|plugin| name.is_none_or(|name| plain_name(&plugin.indexer.name) == plain_name(name)))
        .collect();
    let refused = |code, why, help: String| Err(Refusal::new(code, why, help).of(&library).about(&file.card));
    match <[Plugin; 1]>::try_from(chosen) {
        Ok([plugin]) => Ok(plugin),
        Err(chosen) if chosen.is_empty() => {
            let why = format!("it has no indexer '{}', only {names}", one_line(name.unwrap_or_default()));
            refused("no_indexer", why, "give the name of one of its indexers".to_owned())
        }
        Err(_) => refused(
            "several_indexers",
            format!("it has several indexers: {names}"),
            format!("add the name of one of them: {}:NAME", path_text(path)),
        ),
    }
}

fn find_name(name: &str, search: &SearchPath) -> Result<Plugin, PluginError> {
    let candidates = candidates(search);
    let mut holders: Vec<&Candidate> = Vec::new();
    let mut known: Vec<&str> = Vec::new();
    for candidate in &candidates {
        let Ok(file) = &candidate.file else { continue };
        known.extend(file.card.indexers.iter().map(|indexer| indexer.name.as_str()));
        if file.has(name) {
            holders.push(candidate);
        }
    }
    // A folder may hold builds for several platforms. The one for this platform counts.
    let is_native = |holder: &&Candidate| holder.file.as_ref().is_ok_and(|file| file.check_platform().is_ok());
    if holders.iter().any(&is_native) {
        holders.retain(is_native);
    }
    let holder = match holders.as_slice() {
        [] => {
            installed_but_unusable(name, search)?;
            return Err(not_found(name, search, known, candidates.iter().filter(|one| one.file.is_err()).count()));
        }
        [holder] => *holder,
        [first, others @ ..] => {
            let others: Vec<String> = others.iter().map(|holder| path_text(&holder.library)).collect();
            let why = format!("the indexer '{name}' is also in {}", listed(&others));
            let error = Refusal::new("two_libraries", why, "give the path of one of them, or remove the other")
                .of(&first.library);
            return Err(first.name_indexers(error));
        }
    };
    let (file, pin) = holder.vet(&search.trust)?;
    let mut found = plugins(&holder.library, &file.card, &pin).into_iter();
    found
        .find(|plugin| plain_name(&plugin.indexer.name) == plain_name(name))
        .ok_or_else(|| not_found(name, search, known, 0))
}

/// Why an installed indexer was not found: its file is gone, broken, or has other indexers now.
fn installed_but_unusable(name: &str, search: &SearchPath) -> Result<(), PluginError> {
    let Some(entry) = search.trust.named(name) else { return Ok(()) };
    let Some(library) = entry.file.as_deref() else { return Ok(()) };
    if let Some(missing) = missing(entry) {
        return Err(missing);
    }
    // A good file in a folder that is not searched is no reason.
    let real = real_path(library)?;
    let file = read_card_file(&real)?;
    vet_path(&real, &file, &search.trust).map(|_| ())
}

/// The refusal of an installed library whose file is gone.
pub fn missing(entry: &Locked) -> Option<PluginError> {
    let library = entry.file.as_deref()?;
    if library.symlink_metadata().is_ok() {
        return None;
    }
    let names = one_line(&entry.names());
    let first = entry.indexers.first().map_or_else(String::new, |indexer| one_line(&indexer.name));
    let again = match &entry.origin.path {
        Some(path) => format!("install it again: kymhost plugin add '{}'", path_text(path)),
        None => "install it again with kymhost plugin add".to_owned(),
    };
    let why = format!("{names} was installed, but its file no longer exists");
    let help = format!("{again}; or forget it: kymhost plugin remove {first}");
    Some(Refusal::new("missing", why, help).of(library))
}

fn not_found(name: &str, search: &SearchPath, mut known: Vec<&str>, unreadable: usize) -> PluginError {
    known.sort_unstable();
    known.dedup();
    let absent = |folder: &PathBuf| if folder.is_dir() { "" } else { " (absent)" };
    let searched: Vec<String> =
        search.folders.iter().map(|folder| format!("{}{}", path_text(folder), absent(folder))).collect();
    let near = known.iter().map(|other| (distance(name, other), other)).min();
    let similar = near.filter(|(edits, other)| *edits <= 1 + other.len() / 4).map(|(_, other)| one_line(other));
    let broken = match unreadable {
        0 => String::new(),
        count => format!("; {count} whose card cannot be read (see `kymhost plugin list`)"),
    };
    PluginError::NotFound {
        name: one_line(name),
        searched: listed(&searched),
        found: format!("{}{broken}", listed(known)),
        similar,
    }
}

/// The libraries on the search path that are plugins, in order. Each comes once, also if several links lead to it.
fn candidates(search: &SearchPath) -> Vec<Candidate> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for folder in search.folders.iter().filter(|folder| !folder.as_os_str().is_empty()) {
        for file in libraries_in(folder).unwrap_or_default() {
            let Ok(library) = file.canonicalize() else { continue };
            let Ok(metadata) = library.metadata() else { continue };
            // The same for all paths of a file, also for hard links.
            if !seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            let card_file = read_card_file(&library);
            // What was installed is ours, whatever happened to it since.
            let is_ours = || search.trust.entry_of(&library).is_some();
            if card_file.as_ref().is_err_and(PluginError::is_no_plugin) && !is_ours() {
                continue;
            }
            found.push(Candidate { library, folder: folder.clone(), file: card_file });
        }
    }
    found
}

/// The files in a folder that are named like libraries of this platform, sorted.
///
/// # Errors
/// If the folder cannot be listed.
pub fn libraries_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .take(MAX_FILES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == SUFFIX) && path.is_file())
        .collect();
    files.sort_unstable();
    Ok(files)
}

fn plugins(library: &Path, card: &Card, pin: &Option<Pin>) -> Vec<Plugin> {
    let plugin = |indexer| Plugin {
        library: library.to_owned(),
        indexer: IndexerInfo::from(indexer),
        pin: pin.clone(),
        card: CardSummary::from(card),
    };
    card.indexers.iter().map(plugin).collect()
}

/// How a library was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// The user gave its path.
    Path,
    /// It is in a folder of the search path.
    Folder,
}

/// Refuses a library if anybody but this user and root could have written the code. Returns a group that could.
fn writers(library: &Path, given: Given) -> Result<Writers, PluginError> {
    let file = check_writers(library, false)?;
    let folder = library.parent().unwrap_or(library);
    // In a sticky folder such as /tmp others can add files, but not replace this user's. If the user gave the path, that is enough.
    Ok(file.and(check_writers(folder, given == Given::Path)?))
}

/// The first few of these names; `nothing` if there are none.
fn listed<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    match text::listed(items, MAX_LISTED) {
        text if text.is_empty() => "nothing".to_owned(),
        text => text,
    }
}

/// How many letters differ, ignoring case and the end of long names. Two swapped letters count once.
fn distance(one: &str, other: &str) -> usize {
    let start = |text: &str| text.chars().take(64).flat_map(char::to_lowercase).collect::<String>();
    strsim::osa_distance(&start(one), &start(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_is_name_or_path() {
        let path = |path, name| Spec::Path(Path::new(path), name);
        for (text, expected) in [
            ("velocity_events", Spec::Name("velocity_events")),
            ("", Spec::Name("")),
            ("a:b", Spec::Name("a:b")),
            ("./x", path("./x", None)),
            ("x.so", path("x.so", None)),
            ("X.DLL", path("X.DLL", None)),
            ("x.so:stalls", path("x.so", Some("stalls"))),
            ("/a/b:stalls", path("/a/b", Some("stalls"))),
            ("/a:b/x.so", path("/a:b/x.so", None)),
            ("/a/x.so:", path("/a/x.so:", None)),
            ("/a/x.so:y.so", path("/a/x.so:y.so", None)),
        ] {
            assert_eq!(Spec::of(text), expected, "{text}");
        }
    }

    #[test]
    fn distance_counts_letters() {
        for (one, other, expected) in [
            ("radon", "radon", 0),
            ("Radon", "radon", 0),
            ("radom", "radon", 1),
            ("rdaon", "radon", 1),
            ("rado", "radon", 1),
            ("", "radon", 5),
            ("velocity-events", "velocity_events", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }
}
