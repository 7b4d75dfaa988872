//! `plugin add`, `remove` and `trust`: the libraries in the user's plugin folder, and the entries of lock files.
//!
//! Responsible for what is copied where, which names are free, and what a lock file gets. It does not run a plugin's code
//! (except that building a plugin runs its build tools), and does not ask questions: the program does.

use crate::build::{Built, libraries_of};
use crate::error::{FileError, InstallError};
use kymhost_plugin::{
    LockFile, Locked, Origin, Place, Refusal, SearchPath, fault_of_declared_name, libraries_in, library_sha256, locate,
    read_card_file, vet_unpinned,
};
use kymhost_store::{LocalStore, Store};
use serde_json::Value;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The folder for plugins in kymhost's data folder.
const PLUGINS: &str = "plugins";
/// The start of the name of an unfinished copy there. The copy does not have the suffix of a library.
const TEMPORARY: &str = ".adding-";

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
    /// The libraries that it replaces.
    pub replaced: Vec<Locked>,
}

/// A library that was removed.
#[derive(Debug)]
pub struct Removed {
    /// Its indexers' names.
    pub names: Vec<String>,
    /// Its file, which may be deleted.
    pub library: PathBuf,
    /// Whether the file was deleted. It stays if it is outside of the plugin folder, or if it is another plugin now.
    pub is_deleted: bool,
}

/// What changes if a library is trusted.
#[derive(Debug)]
pub struct Change {
    /// The library.
    pub library: PathBuf,
    /// The current entry, if there is one.
    pub before: Option<Locked>,
    /// The new entry.
    pub after: Locked,
    /// What differs between their cards.
    pub differences: Vec<Difference>,
}

impl Change {
    /// Whether the library is trusted already.
    pub fn is_known(&self) -> bool {
        self.before.as_ref().is_some_and(|before| before.sha256 == self.after.sha256)
    }
}

/// One key that differs between two cards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key: `api`, `radon: analysis_version`.
    pub what: String,
    /// The old value, if there was one.
    pub before: Option<String>,
    /// The new value, if there is one.
    pub after: Option<String>,
}

impl Home {
    /// kymhost's data folder, which need not exist.
    pub fn new(data: PathBuf) -> Self {
        Self { data }
    }

    /// The folder for plugins.
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

    /// Makes a folder that everybody can read and only this user can write to, whatever the umask is.
    fn make_folder(&self, folder: &Path) -> Result<(), InstallError> {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
        if folder.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(FileError::of("make", folder))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(FileError::of("make", folder))?;
        Ok(())
    }

    /// Builds and installs every plugin library of a file or folder. If one fails, those before it stay installed.
    ///
    /// # Errors
    /// [`InstallError`]; nothing is changed for the library that failed.
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
        let source = source.canonicalize().map_err(FileError::of("read", &source))?;
        let file = read_card_file(&source)?;
        vet_unpinned(&source, &file)?;
        for indexer in &file.card.indexers {
            // Its name becomes the name of a file.
            if let Some(why) = fault_of_declared_name(&indexer.name) {
                return Err(InstallError::BadName { name: indexer.name.clone(), why });
            }
        }
        let first = file.card.indexers.first().map(|indexer| indexer.name.clone()).unwrap_or_default();
        let folder = self.plugins();
        self.make_folder(&self.data)?;
        self.make_folder(&folder)?;
        let folder = folder.canonicalize().map_err(FileError::of("read", &folder))?;
        use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
        let target = folder.join(format!("{DLL_PREFIX}{first}{DLL_SUFFIX}"));
        let copy = copy_of(&source, &folder)?;
        // The copy is checked again, because nobody else writes to it.
        let copied = read_card_file(copy.path())?;
        if copied != file {
            let refusal =
                Refusal::new("changed", "it changed while it was copied", "run again when the file is complete");
            return Err(refusal.of(&source).about(&file.card).into());
        }
        let (sha256, _) = library_sha256(copy.path())?;
        let entry = Locked::new(&file, sha256, target.clone(), origin);
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
            let permanent = copy.persist(&target).map_err(|error| FileError::of("write", &target)(error.error))?;
            permanent.sync_all().map_err(FileError::of("write", &target))?;
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

    /// The libraries that have one of the entry's names now, or its file: from the lock file and from the plugin folder. The
    /// same bytes in the same file are not another library.
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
            // An entry without a file does not hold its names.
            let Some(shared) = shared.or(old.indexers.first().filter(|_| is_target)) else { continue };
            if !file.exists() || is_target && old.sha256 == entry.sha256 && has_digest(file, &entry.sha256) {
                continue;
            }
            taken.push((shared.name.clone(), old.clone(), file.clone()));
        }
        for library in libraries_in(folder).map_err(FileError::of("list", folder))? {
            if taken.iter().any(|(_, _, known)| *known == library) {
                continue;
            }
            let Ok(file) = read_card_file(&library) else { continue };
            let there = Locked::new(&file, String::new(), library.clone(), Origin::default());
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
            return Err(not_installed(name, Vec::new()));
        }
        let store = self.store()?;
        Place::of_user(&store).update(|lock| {
            // Somebody may have copied a library into the folder by hand.
            let by_hand = || -> Vec<(PathBuf, Vec<String>)> {
                let all = libraries_in(&folder).unwrap_or_default().into_iter();
                all.filter_map(|library| {
                    let names = read_card_file(&library).ok()?.card.indexers.into_iter().map(|indexer| indexer.name);
                    Some((library, names.collect()))
                })
                .collect()
            };
            let locked = lock.named(name).map(|entry| {
                let names = entry.indexers.iter().map(|indexer| indexer.name.clone()).collect();
                (entry.file.clone().unwrap_or_default(), names)
            });
            let found =
                locked.or_else(|| by_hand().into_iter().find(|(_, names)| names.iter().any(|other| other == name)));
            let (library, names): (PathBuf, Vec<String>) = found.ok_or_else(|| {
                let by_hand = by_hand().into_iter().map(|(_, names)| names.join(", "));
                not_installed(name, lock.plugins.iter().map(Locked::names).chain(by_hand).collect())
            })?;
            // If the file is another plugin now, it stays.
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

    /// What changes if a library is trusted as it is now. `spec`: an indexer's name, or a library's path.
    ///
    /// # Errors
    /// [`kymhost_plugin::PluginError::Refused`] if it cannot be loaded even then.
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
        let after = Locked::new(&file, sha256, library.clone(), origin);
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

    /// Trusts the digest that a library had when it was examined.
    ///
    /// # Errors
    /// If a lock file cannot be changed.
    pub fn trust(&self, change: &Change) -> Result<(), InstallError> {
        let store = self.store()?;
        Place::of_user(&store).update(|lock| {
            lock.plugins.retain(|entry| entry.file != change.after.file && change.before.as_ref() != Some(entry));
            lock.plugins.push(change.after.clone());
            Ok(())
        })
    }
}

/// Makes a dataset ask for a library's digest, for each of its indexers.
///
/// # Errors
/// If the dataset's lock file cannot be changed.
pub fn pin(dataset: &dyn Store, entry: &Locked) -> Result<(), InstallError> {
    let mut entry = entry.clone();
    // Paths mean nothing on another machine.
    entry.file = None;
    entry.origin.path = None;
    Place::of_dataset(dataset).update(|lock| {
        lock.plugins.retain(|old| !shares_name(old, &entry));
        lock.plugins.push(entry);
        Ok(())
    })
}

/// Removes an indexer's library from a dataset's lock file.
///
/// # Errors
/// [`InstallError::NotInstalled`] if it is not in there.
pub fn unpin(dataset: &dyn Store, name: &str) -> Result<Locked, InstallError> {
    Place::of_dataset(dataset).update(|lock| {
        let Some(entry) = lock.named(name).cloned() else {
            return Err(not_installed(name, lock.plugins.iter().map(Locked::names).collect()));
        };
        lock.plugins.retain(|old| *old != entry);
        Ok(entry)
    })
}

fn not_installed(name: &str, mut installed: Vec<String>) -> InstallError {
    installed.sort_unstable();
    installed.dedup();
    let found = if installed.is_empty() { "none".to_owned() } else { installed.join(", ") };
    InstallError::NotInstalled { name: name.to_owned(), found }
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

/// Copies a library into a folder. Everybody can read the copy, only its owner can write to it.
fn copy_of(source: &Path, folder: &Path) -> Result<tempfile::NamedTempFile, FileError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut from = fs::File::open(source).map_err(FileError::of("read", source))?;
    let length = from.metadata().map_err(FileError::of("read", source))?.len();
    let mut make = || {
        let permissions = fs::Permissions::from_mode(0o755);
        let mut copy = tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions).tempfile_in(folder)?;
        // A file that grows as fast as it is read would never end.
        io::copy(&mut (&mut from).take(length), copy.as_file_mut())?;
        copy.as_file_mut().flush()?;
        copy.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
        copy.as_file().sync_all()?;
        Ok(copy)
    };
    make().map_err(FileError::of("copy the library to", folder))
}

fn remove_file(library: &Path) -> Result<(), FileError> {
    match fs::remove_file(library) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of("delete", library)(error)),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("sync", folder))
}

/// What differs between two cards, key by key. Indexers are compared by name.
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
    fn differences_are_found_key_by_key() {
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
}
