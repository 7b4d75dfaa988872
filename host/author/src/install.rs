//! `plugin add`, `remove` and `trust`: libraries in the user's plugin folder, and their entries in the lock files.
//!
//! Owns: what is built and copied where, which names may be taken, what is written into a lock file.
//! Never: runs a plugin's code (building one runs its build tools), asks questions (the program does).

use crate::build::{Built, libraries_of};
use crate::error::InstallError;
use kymhost_plugin::{
    LockFile, Locked, LockedIndexer, Origin, Place, Refusal, SearchPath, library_sha256, locate, read_card_file,
    vet_unpinned,
};
use kymhost_store::{LocalStore, Store};
use serde_json::Value;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The folder of plugins in kymhost's data folder.
const PLUGINS: &str = "plugins";
/// What is being copied there begins so, and does not end as a library does.
const TEMPORARY: &str = ".adding-";

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.display().to_string();
    move |source| InstallError::Io { action, path, source }
}

/// kymhost's data folder of one user.
#[derive(Debug, Clone)]
pub struct Home {
    data: PathBuf,
}

/// A library that was installed.
#[derive(Debug)]
pub struct Installed {
    /// Its entry in the lock file.
    pub entry: Locked,
    /// Where it is.
    pub library: PathBuf,
    /// Those whose place it took.
    pub replaced: Vec<Locked>,
}

/// A library that was removed.
#[derive(Debug)]
pub struct Removed {
    /// Its indexers' names.
    pub names: Vec<String>,
    /// Where it was, or is.
    pub library: PathBuf,
    /// Whether the file was deleted: files outside the folder of plugins are left, and those that are another plugin by now.
    pub is_deleted: bool,
}

/// What trusting a library would mean.
#[derive(Debug)]
pub struct Change {
    /// The library.
    pub library: PathBuf,
    /// The entry that it has, if any.
    pub before: Option<Locked>,
    /// The entry that it would have.
    pub after: Locked,
    /// What is not the same in both cards.
    pub differences: Vec<Difference>,
}

impl Change {
    /// Whether there is nothing to trust anew.
    pub fn is_known(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.sha256 == self.after.sha256)
    }
}

/// One thing that a card says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which: `api`, `radon: analysis_version`.
    pub what: String,
    /// What it said; none where nothing.
    pub before: Option<String>,
    /// What it says; none where nothing.
    pub after: Option<String>,
}

impl Home {
    /// Of kymhost's data folder, which need not exist.
    pub fn new(data: PathBuf) -> Self {
        Self { data }
    }

    /// The folder of plugins.
    pub fn plugins(&self) -> PathBuf {
        self.data.join(PLUGINS)
    }

    /// The lock file.
    pub fn lock_file(&self) -> PathBuf {
        self.data.join("plugins.lock.json")
    }

    fn store(&self) -> Result<LocalStore, InstallError> {
        self.make_folder(&self.data)?;
        Ok(LocalStore::create(&self.data)?)
    }

    /// Makes a folder that others may read and only this user write to, whatever the umask leaves.
    fn make_folder(&self, folder: &Path) -> Result<(), InstallError> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        if folder.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed("make", folder))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed("make", folder))
    }

    /// Builds and installs every plugin library of a file or folder. What comes before one that fails stays installed.
    ///
    /// # Errors
    /// [`InstallError`]; of the library that it is about, nothing is changed then.
    pub fn add(
        &self,
        source: &Path,
        replace: bool,
        dataset: Option<&dyn Store>,
    ) -> Result<Vec<Installed>, InstallError> {
        let built = libraries_of(source)?;
        built.into_iter().map(|built| self.install(built, replace, dataset)).collect()
    }

    fn install(&self, built: Built, replace: bool, dataset: Option<&dyn Store>) -> Result<Installed, InstallError> {
        let Built { library: source, origin } = built;
        let source = source.canonicalize().map_err(failed("read", &source))?;
        let file = read_card_file(&source)?;
        vet_unpinned(&source, &file)?;
        for indexer in &file.card.indexers {
            check_name(&indexer.name)?;
        }
        let first = file.card.indexers.first().map(|indexer| indexer.name.clone()).unwrap_or_default();
        let folder = self.plugins();
        self.make_folder(&self.data)?;
        self.make_folder(&folder)?;
        let folder = folder.canonicalize().map_err(failed("read", &folder))?;
        use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
        let target = folder.join(format!("{DLL_PREFIX}{first}{DLL_SUFFIX}"));
        let copy = copy_of(&source, &folder)?;
        // What is installed is what was looked at: the copy, which nobody else writes to.
        let copied = read_card_file(copy.path())?;
        if copied != file {
            let refusal =
                Refusal::new("changed", "it changed while it was copied", "run again when the file is complete");
            return Err(refusal.of(&source).about(&file.card).into());
        }
        let (sha256, _) = library_sha256(copy.path())?;
        let entry = entry_of(&file.card_json, &file.card, sha256, Some(target.clone()), origin);
        let store = self.store()?;
        let replaced = Place::of_user(&store).update(|lock| {
            let taken = self.taken(lock, &entry, &target, &folder)?;
            if let Some((name, old, library)) = taken.first()
                && !replace
            {
                return Err(InstallError::NameTaken {
                    name: name.clone(),
                    version: version_of(old, name),
                    library: library.display().to_string(),
                    new: source.display().to_string(),
                    new_version: version_of(&entry, name),
                });
            }
            let permanent = copy.persist(&target).map_err(|error| failed("write", &target)(error.error))?;
            permanent.sync_all().map_err(failed("write", &target))?;
            sync_folder(&folder)?;
            let mut replaced: Vec<Locked> = Vec::new();
            for (_, old, library) in taken {
                if library != target && library.starts_with(&folder) {
                    remove_file(&library)?;
                }
                if !replaced.contains(&old) {
                    replaced.push(old);
                }
            }
            lock.plugins.retain(|old| !shares_name(old, &entry) && old.file.as_deref() != Some(&target));
            lock.plugins.push(entry.clone());
            Ok(replaced)
        })?;
        if let Some(dataset) = dataset {
            pin(dataset, &entry)?;
        }
        Ok(Installed { entry, library: target, replaced })
    }

    /// What has one of the entry's names now, or its file's: from the lock file and from the cards in the folder of plugins. The
    /// very same bytes under the same file name are not another library.
    fn taken(
        &self,
        lock: &LockFile,
        entry: &Locked,
        target: &Path,
        folder: &Path,
    ) -> Result<Vec<(String, Locked, PathBuf)>, InstallError> {
        let mut taken: Vec<(String, Locked, PathBuf)> = Vec::new();
        for old in &lock.plugins {
            let Some(file) = &old.file else { continue };
            let is_target = file == target;
            let shared = old.indexers.iter().find(|indexer| entry.has(&indexer.name));
            // One whose file is gone holds no name.
            let Some(shared) = shared.or(old.indexers.first().filter(|_| is_target)) else { continue };
            if !file.exists() || is_target && old.sha256 == entry.sha256 && has_digest(file, &entry.sha256) {
                continue;
            }
            taken.push((shared.name.clone(), old.clone(), file.clone()));
        }
        for library in libraries_in(folder)? {
            if taken.iter().any(|(_, _, known)| *known == library) {
                continue;
            }
            let Ok(file) = read_card_file(&library) else { continue };
            let there = entry_of(&file.card_json, &file.card, String::new(), Some(library.clone()), Origin::default());
            let shared = there.indexers.iter().find(|indexer| entry.has(&indexer.name));
            let Some(shared) = shared.or(there.indexers.first().filter(|_| library == *target)) else { continue };
            if library == *target && has_digest(&library, &entry.sha256) {
                continue;
            }
            let (sha256, _) = library_sha256(&library)?;
            taken.push((shared.name.clone(), Locked { sha256, ..there.clone() }, library));
        }
        Ok(taken)
    }

    /// Deletes the installed library that has an indexer of this name, and its entry.
    ///
    /// # Errors
    /// [`InstallError::NotInstalled`] among others.
    pub fn remove(&self, name: &str) -> Result<Removed, InstallError> {
        let folder = self.plugins();
        let folder = folder.canonicalize().unwrap_or(folder);
        if !self.data.is_dir() {
            return Err(InstallError::NotInstalled { name: name.to_owned(), found: "none".to_owned() });
        }
        let store = self.store()?;
        Place::of_user(&store).update(|lock| {
            let by_hand = || {
                let all = libraries_in(&folder).unwrap_or_default();
                let with_names = all.into_iter().filter_map(|library| {
                    let file = read_card_file(&library).ok()?;
                    let names = file.card.indexers.iter().map(|indexer| indexer.name.clone()).collect();
                    Some((library, names))
                });
                with_names.collect::<Vec<(PathBuf, Vec<String>)>>()
            };
            let (library, names) = match lock.named(name) {
                Some(entry) => {
                    let names = entry.indexers.iter().map(|indexer| indexer.name.clone()).collect();
                    (entry.file.clone().unwrap_or_default(), names)
                }
                None => match by_hand().into_iter().find(|(_, names)| names.iter().any(|other| other == name)) {
                    Some(found) => found,
                    None => {
                        let mut known: Vec<String> = lock.plugins.iter().map(Locked::names).collect();
                        known.extend(by_hand().into_iter().map(|(_, names)| names.join(", ")));
                        known.sort_unstable();
                        known.dedup();
                        let found = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                        return Err(InstallError::NotInstalled { name: name.to_owned(), found });
                    }
                },
            };
            // What was put in its place, and is another plugin by now, is not what is to go.
            let is_another = read_card_file(&library)
                .is_ok_and(|file| !file.card.indexers.iter().any(|indexer| names.contains(&indexer.name)));
            let is_deleted = library.starts_with(&folder) && library.symlink_metadata().is_ok() && !is_another;
            if is_deleted {
                remove_file(&library)?;
                sync_folder(&folder)?;
            }
            lock.plugins.retain(|entry| !entry.has(name));
            Ok(Removed { names, library, is_deleted })
        })
    }

    /// What trusting a library as it is now would mean. `spec`: an indexer's name, or a library's path.
    ///
    /// # Errors
    /// [`kymhost_plugin::PluginError::Refused`] where it could not be loaded even then.
    pub fn examine(&self, spec: &str, search: &SearchPath) -> Result<Change, InstallError> {
        let library = match search.trust.named(spec).and_then(|entry| entry.file.clone()) {
            Some(library) => library,
            None => locate(spec, search)?,
        };
        let library = library.canonicalize().unwrap_or(library);
        let file = read_card_file(&library)?;
        vet_unpinned(&library, &file)?;
        let (sha256, _) = library_sha256(&library)?;
        let before = search.trust.entry_of(&library).cloned();
        let origin = before.as_ref().map_or_else(
            || Origin { kind: "in_place".to_owned(), ..Origin::default() },
            |before| before.origin.clone(),
        );
        let after = entry_of(&file.card_json, &file.card, sha256, Some(library.clone()), origin);
        let taken =
            search.trust.entries().iter().find(|other| Some(*other) != before.as_ref() && shares_name(other, &after));
        if let Some(other) = taken {
            let name =
                other.indexers.iter().map(|one| one.name.clone()).find(|name| after.has(name)).unwrap_or_default();
            return Err(InstallError::NameTaken {
                version: version_of(other, &name),
                new_version: version_of(&after, &name),
                name,
                library: other.file.as_deref().unwrap_or(Path::new("?")).display().to_string(),
                new: library.display().to_string(),
            });
        }
        let nothing = Value::Null;
        let differences = differences(before.as_ref().map_or(&nothing, |before| &before.card), &after.card);
        Ok(Change { library, before, after, differences })
    }

    /// Makes a library's digest, as it was when it was examined, the one that counts.
    ///
    /// # Errors
    /// Where a lock file cannot be changed.
    pub fn trust(&self, change: &Change) -> Result<(), InstallError> {
        let store = self.store()?;
        Place::of_user(&store).update(|lock| {
            lock.plugins.retain(|entry| entry.file != change.after.file && change.before.as_ref() != Some(entry));
            lock.plugins.push(change.after.clone());
            Ok(())
        })
    }
}

/// Makes a library's digest the one that a dataset asks for, for each of its indexers.
///
/// # Errors
/// Where the dataset's lock file cannot be changed.
pub fn pin(dataset: &dyn Store, entry: &Locked) -> Result<(), InstallError> {
    let mut entry = entry.clone();
    // They mean nothing on another machine.
    entry.file = None;
    entry.origin.path = None;
    Place::of_dataset(dataset).update(|lock| {
        lock.plugins.retain(|old| !shares_name(old, &entry));
        lock.plugins.push(entry);
        Ok(())
    })
}

/// Takes an indexer's library out of a dataset's lock file.
///
/// # Errors
/// [`InstallError::NotInstalled`] where it is not in it.
pub fn unpin(dataset: &dyn Store, name: &str) -> Result<Locked, InstallError> {
    Place::of_dataset(dataset).update(|lock| {
        let Some(entry) = lock.named(name).cloned() else {
            let found: Vec<String> = lock.plugins.iter().map(Locked::names).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            return Err(InstallError::NotInstalled { name: name.to_owned(), found });
        };
        lock.plugins.retain(|old| *old != entry);
        Ok(entry)
    })
}

fn check_name(name: &str) -> Result<(), InstallError> {
    let is_allowed = !name.is_empty()
        && name.len() <= 200
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if is_allowed { Ok(()) } else { Err(InstallError::BadName { name: name.to_owned() }) }
}

fn version_of(entry: &Locked, name: &str) -> String {
    let indexer = entry.indexers.iter().find(|indexer| indexer.name == name);
    indexer.map_or_else(|| "no such indexer".to_owned(), |indexer| indexer.analysis_version.clone())
}

fn shares_name(one: &Locked, other: &Locked) -> bool {
    one.indexers.iter().any(|indexer| other.has(&indexer.name))
}

fn has_digest(library: &Path, sha256: &str) -> bool {
    library_sha256(library).is_ok_and(|(found, _)| found == sha256)
}

fn entry_of(
    card_json: &str,
    card: &kymhost_plugin_api::card::Card,
    sha256: String,
    file: Option<PathBuf>,
    origin: Origin,
) -> Locked {
    let indexer = |indexer: &kymhost_plugin_api::card::CardIndexer| {
        LockedIndexer::new(indexer.name.clone(), indexer.analysis_version.clone())
    };
    Locked::new(card.indexers.iter().map(indexer).collect(), sha256, file, origin, card_json)
}

/// A copy of a library in a folder, on disk, readable by all and writable by its owner.
fn copy_of(source: &Path, folder: &Path) -> Result<tempfile::NamedTempFile, InstallError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut from = fs::File::open(source).map_err(failed("read", source))?;
    let length = from.metadata().map_err(failed("read", source))?.len();
    let mut make = || {
        let permissions = fs::Permissions::from_mode(0o755);
        let mut copy = tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions).tempfile_in(folder)?;
        // One that grows as fast as it is read would never end.
        io::copy(&mut (&mut from).take(length), copy.as_file_mut())?;
        copy.as_file_mut().flush()?;
        copy.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        copy.as_file().sync_all()?;
        Ok(copy)
    };
    make().map_err(failed("copy the library to", folder))
}

fn remove_file(library: &Path) -> Result<(), InstallError> {
    match fs::remove_file(library) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("delete", library)(error)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), InstallError> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// The files in a folder that are named as libraries are here, sorted.
fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    crate::build::libraries_in(folder).map_err(failed("list", folder))
}

/// What two cards do not say alike, key by key; an indexer's keys by its name.
fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    if before.is_null() {
        return found;
    }
    compare("", before, after, &mut found);
    let named = |card: &Value| -> Vec<(String, Value)> {
        let all = card["indexers"].as_array().cloned().unwrap_or_default();
        all.into_iter().map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one)).collect()
    };
    let (old, new) = (named(before), named(after));
    let mut names: Vec<&String> = old.iter().chain(&new).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of = |all: &[(String, Value)]| all.iter().find(|(other, _)| other == name).map(|(_, one)| one.clone());
        match (of(&old), of(&new)) {
            (Some(old), Some(new)) => compare(&format!("{name}: "), &old, &new, &mut found),
            (old, new) => {
                let version = |one: Option<Value>| one.map(|one| text(&one["analysis_version"]));
                found.push(Difference { what: format!("indexer {name}"), before: version(old), after: version(new) });
            }
        }
    }
    found
}

fn compare(prefix: &str, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    let empty = serde_json::Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        if key == "indexers" || old.get(key) == new.get(key) {
            continue;
        }
        let what = format!("{prefix}{key}");
        found.push(Difference { what, before: old.get(key).map(text), after: new.get(key).map(text) });
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cards_are_compared_key_by_key() {
        let card = |api: &str, version: &str, more: Value| {
            let mut indexers =
                vec![json!({"name": "a", "analysis_version": version, "marker": "m", "params_artifacts": ["p"]})];
            indexers.extend(more.as_array().cloned().unwrap_or_default());
            json!({"api": api, "sdk": "1.0.0", "indexers": indexers})
        };
        let b = json!([{"name": "b", "analysis_version": "b@1"}]);
        let line = |what: &str, before: Option<&str>, after: Option<&str>| Difference {
            what: what.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        let cases = [
            (card("1.0", "v@1", json!([])), card("1.0", "v@1", json!([])), vec![]),
            (
                card("1.0", "v@1", json!([])),
                card("1.1", "v@2", b.clone()),
                vec![
                    line("api", Some("1.0"), Some("1.1")),
                    line("a: analysis_version", Some("v@1"), Some("v@2")),
                    line("indexer b", None, Some("b@1")),
                ],
            ),
            (card("1.0", "v@1", b), card("1.0", "v@1", json!([])), vec![line("indexer b", Some("b@1"), None)]),
            (Value::Null, card("1.0", "v@1", json!([])), vec![]),
            (
                json!({"sdk": "1"}),
                json!({"rustc": "r", "indexers": 7}),
                vec![line("rustc", None, Some("r")), line("sdk", Some("1"), None)],
            ),
        ];
        for (before, after, expected) in cases {
            assert_eq!(differences(&before, &after), expected, "{before} {after}");
        }
    }

    #[test]
    fn which_names_become_files() {
        for (name, allowed) in
            [("radon", true), ("a_1", true), ("", false), ("../x", false), ("A", false), ("a b", false)]
        {
            assert_eq!(check_name(name).is_ok(), allowed, "{name}");
        }
        assert!(check_name(&"x".repeat(201)).is_err());
    }
}
