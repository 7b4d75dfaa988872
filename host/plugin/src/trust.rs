//! Which libraries may be loaded: who may write to them, and whether their bytes are those that were installed.
//!
//! It does not change a lock file (see `author::install`) and does not load a library. The rules:
//!
//! - A file or folder is refused if everybody may write to it, or if it belongs to neither this user nor root.
//! - If a group may write to it, its digest must be in the user's lock file; except if the group is the user's own, that is,
//!   the primary group of this user without other members in `/etc/passwd` and `/etc/group`.
//! - A library that is in the user's lock file must have the digest in it.
//! - An indexer that is in the dataset's lock file must come from a library with the digest in it.

use crate::error::{LockError, PluginError, Refusal};
use crate::identity::{Pin, hash};
use crate::indexer::Plugin;
use crate::lockfile::{LockFile, Locked, Place};
use kymhost_dataset::Dataset;
use kymhost_store::LocalStore;
use kymhost_store::text::{one_line, path_text};
use std::fmt::Display;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The user's lock file.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    path: PathBuf,
    file: LockFile,
}

impl Trust {
    /// Reads the lock file in a data folder; nothing is in it if there is no such folder.
    ///
    /// # Errors
    /// [`PluginError::Refused`] if it cannot be read or is broken (code `bad_lock`), or if others may write to it or to the
    /// folder.
    pub fn of_user(data: &Path) -> Result<Self, PluginError> {
        if !data.is_dir() {
            return Ok(Self::default());
        }
        let refused = |error: &dyn Display| unreadable_lock(&data.join("plugins.lock.json"), error);
        let store = LocalStore::open(data).map_err(|error| refused(&error))?;
        let place = Place::of_user(&store);
        let (path, file) = (place.path(), read_lock(&place)?);
        // Whoever may write to it, or replace it, decides what is trusted.
        if !file.plugins.is_empty() {
            check_no_group(check_writers(&path, false)?)?;
        }
        check_no_group(check_writers(&data.canonicalize().map_err(|error| refused(&error))?, false)?)?;
        Ok(Self { path, file })
    }

    /// Its entries.
    pub fn entries(&self) -> &[Locked] {
        &self.file.plugins
    }

    /// The entry of a library by its real path.
    pub fn entry_of(&self, library: &Path) -> Option<&Locked> {
        let is_it = |entry: &&Locked| {
            entry.file.as_deref().is_some_and(|file| {
                file == library
                    || file.file_name() == library.file_name() && file.canonicalize().is_ok_and(|real| real == library)
            })
        };
        self.file.plugins.iter().find(is_it)
    }

    /// The entry that has an indexer of this name.
    pub fn named(&self, name: &str) -> Option<&Locked> {
        self.file.named(name)
    }

    /// Refuses a library for its digest or for who may change it. Returns the digest if the rules needed it.
    pub(crate) fn check(&self, library: &Path, writers: &Writers) -> Result<Option<Pin>, PluginError> {
        let entry = self.entry_of(library);
        if entry.is_none() && writers.group_may_write.is_none() {
            return Ok(None);
        }
        let (file, sha256) = hash(library)?;
        if let Some(entry) = entry {
            check_digest(library, entry, &sha256, Whose::User, &self.path)?;
        } else if let Some((path, gid)) = &writers.group_may_write
            && !self.file.plugins.iter().any(|entry| entry.sha256 == sha256)
        {
            let why = format!("the members of group {gid} can write to it, so any of them can change its code");
            let help = format!(
                "chmod g-w '{}'; or check the library and trust it as it is now: kymhost plugin trust '{}'",
                path_text(path),
                path_text(library)
            );
            return Err(Refusal::new("group_writable", why, help).of(path));
        }
        Ok(Some(Pin { file, sha256 }))
    }
}

/// Refuses a group that may write, whatever is trusted.
pub(crate) fn check_no_group(writers: Writers) -> Result<(), PluginError> {
    let Some((path, gid)) = writers.group_may_write else { return Ok(()) };
    let why =
        format!("the members of group {gid} can write to it, so any of them can change which plugins are trusted");
    let help = format!("check what is in it, then chmod g-w '{}'", path_text(&path));
    Err(Refusal::new("group_writable", why, help).of(&path))
}

/// Whose lock file has an entry.
#[derive(Clone, Copy)]
enum Whose {
    User,
    Dataset,
}

fn check_digest(library: &Path, entry: &Locked, found: &str, whose: Whose, lock: &Path) -> Result<(), PluginError> {
    if entry.sha256 == found {
        return Ok(());
    }
    let name = one_line(entry.indexers.first().map_or("NAME", |indexer| indexer.name.as_str()));
    let (what, help) = match whose {
        Whose::User => (
            format!("'{name}' is not the library that was installed at {}", one_line(&entry.locked_utc)),
            format!("see what changed and, if you want the change, trust it: kymhost plugin trust {name}"),
        ),
        Whose::Dataset => (
            format!("'{name}' is not the library that this dataset asks for"),
            format!(
                "get the library with that digest; or, if all users of the dataset should use this one: \
                 kymhost plugin trust {name} --dataset-lock"
            ),
        ),
    };
    let why = format!("{what} ({})\nits SHA-256 is {found}\nit was           {}", path_text(lock), entry.sha256);
    Err(Refusal::new("digest_changed", why, help).of(library))
}

/// Checks a plugin by the dataset's lock file, if there is one. Returns the plugin with the digest that was found.
pub(crate) fn for_dataset(plugin: &Plugin, dataset: &Dataset) -> Result<Plugin, PluginError> {
    let place = Place::of_dataset(dataset.store().as_ref());
    let file = read_lock(&place)?;
    let mut plugin = plugin.clone();
    let Some(entry) = file.named(&plugin.indexer.name) else { return Ok(plugin) };
    let pin = match plugin.pin.take() {
        Some(pin) => pin,
        None => {
            let (file, sha256) = hash(&plugin.library)?;
            Pin { file, sha256 }
        }
    };
    check_digest(&plugin.library, entry, &pin.sha256, Whose::Dataset, &place.path())
        .map_err(|error| error.with_card(&plugin.card))?;
    plugin.pin = Some(pin);
    Ok(plugin)
}

fn read_lock(place: &Place<'_>) -> Result<LockFile, PluginError> {
    place.read().map_err(|error| match error {
        LockError::Broken(error) => error,
        other => unreadable_lock(&place.path(), &other),
    })
}

fn unreadable_lock(path: &Path, error: &dyn Display) -> PluginError {
    let why = format!("the lock file of plugins cannot be read: {error}");
    Refusal::new("bad_lock", why, "check its owner and permissions").of(path)
}

/// A group that may write to a library or to its folders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Writers {
    /// A path and the group that may write to it. It is not the user's own group.
    group_may_write: Option<(PathBuf, u32)>,
}

impl Writers {
    /// A path that a group may write to.
    #[cfg(test)]
    pub(crate) fn by_group(path: &Path, gid: u32) -> Self {
        Self { group_may_write: Some((path.to_owned(), gid)) }
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { group_may_write: self.group_may_write.or(other.group_may_write) }
    }
}

/// Refuses a file or folder if anybody may write to it or if another user owns it. `sticky_is_safe`: in a sticky folder
/// others can add files, but not replace this user's.
pub(crate) fn check_writers(path: &Path, sticky_is_safe: bool) -> Result<Writers, PluginError> {
    let refused = |code, why: String, help: String| Refusal::new(code, why, help).of(path);
    let metadata = path.metadata().map_err(|error| Refusal::unreadable(&error).of(path))?;
    let me = rustix::process::geteuid().as_raw();
    let quoted = format!("'{}'", path_text(path));
    let mode = metadata.mode();
    let sticky_saves = mode & 0o1000 != 0 && sticky_is_safe;
    if mode & 0o002 != 0 && !sticky_saves {
        let why = "everybody can write to it, so anybody can change its code".to_owned();
        return Err(refused("world_writable", why, format!("check what is in it, then chmod o-w {quoted}")));
    }
    if metadata.uid() != me && metadata.uid() != 0 {
        let why = format!("it belongs to user {}, neither to you (user {me}) nor to root", metadata.uid());
        return Err(refused(
            "foreign_owner",
            why,
            format!("copy the library to a folder of your own, or as root: chown {me} {quoted}"),
        ));
    }
    let group_may_write = mode & 0o020 != 0 && !sticky_saves && !is_own_group(metadata.gid());
    Ok(Writers { group_may_write: group_may_write.then(|| (path.to_owned(), metadata.gid())) })
}

/// Whether a group is this user's own. The system is asked once.
fn is_own_group(gid: u32) -> bool {
    static OWN: OnceLock<Option<u32>> = OnceLock::new();
    let own = OWN.get_or_init(|| {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        own_group(rustix::process::geteuid().as_raw(), &read("/etc/passwd"), &read("/etc/group"))
    });
    *own == Some(gid)
}

/// The primary group of a user, if nobody else is a member of it.
fn own_group(uid: u32, passwd: &str, group: &str) -> Option<u32> {
    // name:password:uid:gid:…
    let users = || {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid: u32 = fields.nth(1)?.parse().ok()?;
            let gid: u32 = fields.next()?.parse().ok()?;
            Some((name, uid, gid))
        })
    };
    let (name, _, primary) = users().find(|(_, id, _)| *id == uid)?;
    if users().any(|(_, id, gid)| id != uid && gid == primary) {
        return None;
    }
    // name:password:gid:member,member
    let mut groups = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let gid: u32 = fields.nth(2)?.parse().ok()?;
        Some((gid, fields.next().unwrap_or_default()))
    });
    let (_, members) = groups.find(|(gid, _)| *gid == primary)?;
    members.split(',').map(str::trim).all(|member| member.is_empty() || member == name).then_some(primary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_group_has_no_other_member() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n\
                      bob:x:1001:100::/home/bob:/bin/sh\ncleo:x:1002:100::/home/cleo:/bin/sh\n\
                      dan:x:1003:1003::/:/bin/sh\nbroken line\nodd:x:y:z\n";
        let group = "root:x:0:\nanna:x:1000:\nusers:x:100:\ndan:x:1003:dan,bob\nlab:x:2000:anna,bob\nbroken";
        for (uid, expected, why) in [
            (0, Some(0), "alone in it"),
            (1000, Some(1000), "alone in it"),
            (1001, None, "cleo's primary group as well"),
            (1003, None, "bob is a member"),
            (4242, None, "a user that the file does not name"),
        ] {
            assert_eq!(own_group(uid, passwd, group), expected, "{uid}: {why}");
        }
        assert_eq!(own_group(1000, passwd, ""), None, "a group that the file does not name");
        assert_eq!(own_group(1000, passwd, "anna:x:1000:anna"), Some(1000));
        assert_eq!(own_group(1000, "", group), None);
    }
}
