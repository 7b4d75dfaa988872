//! Loading a library: card, versions, layout, and what it lists, each checked before the next.
//!
//! Owns: what is refused and why, whichever door a library has. Never: searches for libraries, calls indexers, knows how
//! a door is built (see `rust_door` and `c_door`).
//! A loaded library is never unloaded: its vtables and Arrow release callbacks live as long as the process.
#![allow(unsafe_code)]

use super::card_file::read_native;
use super::door::{Checked, Foreign};
use super::refusal::{Refusal, rebuild_help, upgrade_kymhost, upgrade_plugin};
use super::trust::Pin;
use super::{Indexer, IndexerInfo, PluginError, c_door, fault_of_name, rust_door};
use kymhost_plugin_api::Artifact;
use kymhost_plugin_api::card::{API, ApiVersion, Card, CardIndexer};
use libloading::Library;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How much of a library is hashed at once.
const HASH_BUFFER: usize = 256 << 10;

/// Whether a host of this API may load a plugin with this card.
///
/// The promise: the same major version, older or newer minor, unless the plugin needs more than the host has.
pub(super) fn check_api(card: &Card, host: ApiVersion) -> Result<(), Refusal> {
    let Card { api, needs_api, sdk, .. } = card;
    if api.major != host.major {
        return Err(Refusal::new(
            "api_major",
            format!("it was built for plugin API {api} (kymhost-plugin-api {sdk}), this kymhost has plugin API {host}"),
            if api.major > host.major {
                upgrade_kymhost(&format!("{}.x", api.major))
            } else {
                upgrade_plugin(card, &format!("{}.x", host.major))
            },
        ));
    }
    if *needs_api > host {
        return Err(Refusal::new(
            "api_minor",
            format!(
                "it needs plugin API {needs_api} at least (built with kymhost-plugin-api {sdk}), this kymhost has plugin API {host}"
            ),
            upgrade_kymhost(&format!("{needs_api} or a later {}.x", host.major)),
        ));
    }
    Ok(())
}

/// Opens one door of a library: what it lists, in any order.
type OpenDoor = fn(&'static Library, &Card) -> Result<Vec<Listed>, Refusal>;

/// An indexer as a door gives it: what it says of itself, and itself.
pub(super) type Listed = (IndexerInfo, Box<dyn Foreign>);

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
pub(super) fn check_card(library: &Path, card: &Card) -> Result<(), PluginError> {
    check_versions(library, card)?;
    check_names(card).map_err(|refusal| refusal.of(library).about(card))
}

/// Whether its API and its door are ones that this host has.
pub fn check_versions(library: &Path, card: &Card) -> Result<(), PluginError> {
    let checked = check_api(card, API).and_then(|()| check_door(card)).map(drop);
    checked.map_err(|refusal| refusal.of(library).about(card))
}

/// Whether its indexers have names that tables can have; no run would take them else.
fn check_names(card: &Card) -> Result<(), Refusal> {
    for indexer in &card.indexers {
        if let Some(why) = fault_of_name(&indexer.name) {
            return Err(Refusal::new(
                "bad_name",
                format!("its card lists '{}', which cannot name an indexer: {why}", one_line(&indexer.name)),
                "rename it where the plugin declares it (NAME in Rust, the first argument of KYMHOST_INDEXER in C), and \
                 rebuild the plugin",
            ));
        }
    }
    Ok(())
}

fn load(library: &Path, card: &Card) -> Result<Vec<Box<dyn Indexer>>, Refusal> {
    check_api(card, API)?;
    let open_door = check_door(card)?;
    let mut indexers = BTreeMap::new();
    for (info, foreign) in open_door(open(library, card)?, card)? {
        if let Some((info, _)) = indexers.insert(info.name.clone(), (info, foreign)) {
            return Err(mismatch(format!("it has two indexers '{}'", one_line(&info.name))));
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
                one_line(&loaded)
            )));
        }
        listed.push(Box::new(Checked::new(info, foreign)));
    }
    match indexers.into_keys().next() {
        Some(name) => Err(mismatch(format!("it has an indexer '{}' that its card does not list", one_line(&name)))),
        None => Ok(listed),
    }
}

/// The card that a loaded library has must be its file's.
pub(super) fn check_loaded_card(loaded: &[u8], card: &Card) -> Result<(), Refusal> {
    if Card::parse(loaded).as_ref() == Ok(card) {
        return Ok(());
    }
    Err(mismatch("the card in its file is not the one that it was built with"))
}

fn mismatch(what: impl Into<String>) -> Refusal {
    Refusal::new(
        "card_mismatch",
        what,
        format!(
            "rebuild or reinstall the plugin (export_plugin! of kymhost-plugin-api {API}, or KYMHOST_PLUGIN of \
             kymhost_plugin.h, keeps both the same)"
        ),
    )
}

fn artifacts(list: &[Artifact]) -> String {
    list.iter().map(|artifact| format!("{} ({:?})", artifact.name, artifact.kind)).collect::<Vec<_>>().join(", ")
}

fn difference(card: &CardIndexer, loaded: &IndexerInfo) -> Option<(&'static str, String, String)> {
    [
        ("analysis version", card.analysis_version.clone(), loaded.analysis_version.clone()),
        ("marker", card.marker.clone(), loaded.marker_name.clone()),
        ("params artifacts", card.params_artifacts.join(", "), loaded.params_artifacts.join(", ")),
        ("writes", artifacts(&card.writes), artifacts(&loaded.writes)),
        ("reads", card.reads.join(", "), loaded.reads.join(", ")),
        ("params schema", card.params_schema.clone(), loaded.params_schema.clone()),
    ]
    .into_iter()
    .find(|(_, card, loaded)| card != loaded)
    .map(|(what, card, loaded)| (what, format!("'{card}'"), format!("'{loaded}'")))
}

/// Opens a library's file, for ever.
fn open(library: &Path, card: &Card) -> Result<&'static Library, Refusal> {
    let cannot_open = |why: String| {
        Refusal::new(
            "open",
            format!("it cannot be opened: {}", one_line(&why)),
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

/// A foreign text as one line of at most 200 characters.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().take(201));
        if line.chars().count() > 200 {
            return line.chars().take(199).chain(['…']).collect();
        }
    }
    line
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

/// What identifies a library's file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LibraryFile {
    pub size: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub dev: u64,
    pub ino: u64,
}

impl LibraryFile {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let time = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            size: metadata.len(),
            mtime_ns: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: time(metadata.ctime(), metadata.ctime_nsec()),
            dev: metadata.dev(),
            ino: metadata.ino(),
        }
    }

    fn at(library: &Path) -> Result<Self, PluginError> {
        std::fs::metadata(library)
            .map(|metadata| Self::of(&metadata))
            .map_err(|error| Refusal::unreadable(&error).of(library))
    }

    /// Whether it can be the same file with nothing but its links changed, which moves the ctime.
    fn is_linked_anew(&self, other: &Self) -> bool {
        Self { ctime_ns: other.ctime_ns, ..*self } == *other
    }
}

fn replaced(library: &Path, when: &str) -> PluginError {
    let why = format!("it was replaced by another file {when}");
    Refusal::new("changed", why, "run again when the file is complete").of(library)
}

/// Loads a library as [`load_library`] does, and tells which file that was. One that is not as pinned is not opened.
pub(super) fn load_identified(
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

/// Which library a pool runs: one, whoever looks at it first.
#[derive(Debug)]
pub(super) struct Identity {
    file: Option<LibraryFile>,
    sha256: Option<String>,
}

impl Identity {
    /// Of a library whose digest was seen already, or not.
    pub(super) fn of(pin: Option<&Pin>) -> Self {
        Self { file: pin.map(|pin| pin.file), sha256: pin.map(|pin| pin.sha256.clone()) }
    }

    /// The file and digest, where both are known.
    pub(super) fn pin(&self) -> Option<Pin> {
        Some(Pin { file: self.file?, sha256: self.sha256.clone()? })
    }

    /// The SHA-256 of the file, lower-case hex; read once.
    pub(super) fn sha256(&mut self, library: &Path) -> Result<String, PluginError> {
        if let Some(sha256) = &self.sha256 {
            return Ok(sha256.clone());
        }
        let (file, sha256) = hash(library)?;
        if self.file.is_some_and(|known| known != file && !known.is_linked_anew(&file)) {
            return Err(replaced(library, "since it was loaded"));
        }
        self.file = Some(file);
        self.sha256 = Some(sha256.clone());
        Ok(sha256)
    }

    /// Refuses a library that was loaded and is another one than was hashed, or loaded before.
    pub(super) fn check(&mut self, library: &Path, loaded: LibraryFile) -> Result<(), PluginError> {
        let is_known = match (self.file, &self.sha256) {
            (None, _) => true,
            (Some(known), _) if known == loaded || known.is_linked_anew(&loaded) => true,
            // The same bytes put there again are the same library.
            (Some(_), Some(sha256)) => hash(library)? == (loaded, sha256.clone()),
            (Some(_), None) => false,
        };
        if !is_known {
            return Err(replaced(library, "between two looks of this run"));
        }
        self.file = Some(loaded);
        Ok(())
    }
}

/// The SHA-256 of a library's file, lower-case hex, and its size in bytes.
pub fn library_sha256(library: &Path) -> Result<(String, u64), PluginError> {
    hash(library).map(|(file, sha256)| (sha256, file.size))
}

/// A file and the SHA-256 of its bytes, which were the same from beginning to end.
pub(super) fn hash(library: &Path) -> Result<(LibraryFile, String), PluginError> {
    let failed = |error: std::io::Error| Refusal::unreadable(&error).of(library);
    let mut file = std::fs::File::open(library).map_err(failed)?;
    let before = LibraryFile::of(&file.metadata().map_err(failed)?);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; HASH_BUFFER];
    let mut left = before.size;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                // One that grows as fast as it is read would never end.
                let Some(rest) = left.checked_sub(count as u64) else { break };
                left = rest;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let after = LibraryFile::at(library)?;
    if before != after && !before.is_linked_anew(&after) {
        return Err(replaced(library, "while it was read"));
    }
    Ok((after, kymhost_dataset::hex(&hasher.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::card::{DOOR, MAGIC};

    fn card(api: &str, needs_api: &str) -> Card {
        let json = format!(
            r#"{{"card": 1, "api": "{api}", "needs_api": "{needs_api}", "door": "{DOOR}", "sdk": "{api}.3", "rustc": "r",
                "target": "t", "indexers": [{{"name": "a", "analysis_version": "v", "marker": "m"}}]}}"#
        );
        let mut section = MAGIC.to_vec();
        section.extend((json.len() as u32).to_le_bytes());
        section.extend(json.as_bytes());
        Card::parse(&section).expect("a card")
    }

    #[test]
    fn the_version_rules() {
        type Case<'a> = ((u32, u32), &'a str, &'a str, Option<(&'a str, &'a str)>);
        // host, plugin's api, its needs_api, the code and the words of the refusal
        let cases: &[Case<'_>] = &[
            ((1, 0), "1.0", "1.0", None),
            ((1, 3), "1.0", "1.0", None),
            ((1, 3), "1.3", "1.3", None),
            ((1, 3), "1.9", "1.3", None),
            ((1, 3), "1.9", "1.4", Some(("api_minor", "upgrade kymhost"))),
            ((1, 3), "1.9", "2.0", Some(("api_minor", "upgrade kymhost"))),
            ((1, 3), "2.0", "2.0", Some(("api_major", "upgrade kymhost"))),
            ((1, 3), "2.0", "1.0", Some(("api_major", "upgrade kymhost"))),
            ((2, 0), "1.9", "1.0", Some(("api_major", "upgrade the plugin"))),
            ((1, 0), "0.9", "0.9", Some(("api_major", "upgrade the plugin"))),
        ];
        for ((major, minor), api, needs_api, expected) in cases {
            let host = ApiVersion { major: *major, minor: *minor };
            let result = check_api(&card(api, needs_api), host);
            match (result, expected) {
                (Ok(()), None) => {}
                (Err(refusal), Some((code, words))) => {
                    assert_eq!(refusal.code, *code, "{api} in {host}");
                    let text = format!("{}\n{}", refusal.why, refusal.help);
                    assert!(text.contains(words) && text.contains(&host.to_string()), "{text}");
                    assert!(text.contains(if *code == "api_major" { api } else { needs_api }), "{text}");
                    assert!(text.lines().count() <= 4, "{text}");
                }
                (result, _) => panic!("{api} needing {needs_api} in {host}: {result:?}"),
            }
        }
    }

    #[test]
    fn no_card_is_good_whose_indexers_no_run_would_take() {
        for (name, word) in [
            ("a", None),
            (" A", None),
            ("../..", Some("character")),
            ("Wrong-Name", Some("character")),
            ("kym_a", Some("kym_")),
            ("", Some("empty")),
        ] {
            let mut card = card("1.0", "1.0");
            let mut second = card.indexers[0].clone();
            second.name = name.to_owned();
            card.indexers.push(second);
            let found = check_card(Path::new("l.so"), &card);
            match (found, word) {
                (Ok(()), None) => {}
                (Err(PluginError::Refused { refusal: Refusal { code, why, .. }, .. }), Some(word)) => {
                    assert_eq!(code, "bad_name", "{name}");
                    assert!(why.contains(word) && why.contains(&format!("'{name}'")), "{why}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }

    #[test]
    fn foreign_texts_become_one_short_line() {
        let long = "x".repeat(1_000_000);
        let many = "word \n\t".repeat(1000);
        for (text, expected) in [("", ""), (" a\n b\t\u{7}c\r\n", "a b c")] {
            assert_eq!(one_line(text), expected);
        }
        for text in [long, many] {
            assert_eq!(one_line(&text).chars().count(), 200);
        }
    }
}
