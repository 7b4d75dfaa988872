//! The folders that a check's process runs in, and the changes that it makes there.
//!
//! Responsible for making, copying and comparing folders. It does not know what a dataset is.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How deep folders may nest: a plugin can leave anything.
const MAX_DEPTH: usize = 64;
/// No more files are looked at.
const MAX_FILES: usize = 100_000;

/// The folders of one check.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    root: PathBuf,
}

impl Sandbox {
    /// The folders below `root`, whether they exist or not.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the folders: copies of the datasets, and empty ones.
    pub(crate) fn make(root: &Path, dataset: &Path, other: &Path) -> io::Result<Self> {
        let sandbox = Self::at(root);
        for folder in [sandbox.work(), sandbox.home(), sandbox.temporary(), sandbox.out()] {
            fs::create_dir_all(folder)?;
        }
        copy_tree(dataset, &sandbox.dataset())?;
        copy_tree(other, &sandbox.other())?;
        Ok(sandbox)
    }

    /// The folder that holds the others.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The working folder.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The home folder.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The folder for temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The dataset.
    pub(crate) fn dataset(&self) -> PathBuf {
        self.root.join("dataset.zarr")
    }

    /// A dataset with the same image ids and other contents.
    pub(crate) fn other(&self) -> PathBuf {
        self.root.join("other.zarr")
    }

    /// The folder for files of the suite itself.
    pub(crate) fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    /// The file with what the process printed on standard output.
    pub(crate) fn printed(&self) -> PathBuf {
        self.out().join("printed")
    }

    /// The file with what it wrote to standard error.
    pub(crate) fn said(&self) -> PathBuf {
        self.out().join("said")
    }

    /// All files that a plugin must not change.
    pub(crate) fn snapshot(&self) -> io::Result<Snapshot> {
        let mut files = BTreeMap::new();
        for folder in [self.work(), self.home(), self.temporary(), self.dataset(), self.other()] {
            collect(&self.root, &folder, 0, &mut files)?;
        }
        Ok(Snapshot { files })
    }
}

/// Files and folders with their contents, by their path below the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Snapshot {
    /// The changes since then, one line each: `made work/a`.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (path, content) in &now.files {
            match self.files.get(path) {
                None => changes.push(format!("made {}", path.display())),
                Some(before) if before != content => changes.push(format!("changed {}", path.display())),
                Some(_) => {}
            }
        }
        let gone = self.files.keys().filter(|path| !now.files.contains_key(*path));
        changes.extend(gone.map(|path| format!("removed {}", path.display())));
        changes
    }
}

fn collect(root: &Path, folder: &Path, depth: usize, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let kind = entry.file_type()?;
        let content = if kind.is_dir() {
            b"folder".to_vec()
        } else if kind.is_file() {
            Sha256::digest(fs::read(&path)?).to_vec()
        } else {
            b"link".to_vec()
        };
        files.insert(name, content);
        if files.len() > MAX_FILES || depth > MAX_DEPTH {
            return Err(io::Error::other("it left too many files to look at"));
        }
        if kind.is_dir() {
            collect(root, &path, depth + 1, files)?;
        }
    }
    Ok(())
}

/// Copies a folder with its files and folders, without links and other things.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_sees_every_change() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::create_dir_all(one.join("a/b")).unwrap();
        fs::create_dir_all(&two).unwrap();
        fs::write(one.join("a/b/kept"), "1").unwrap();
        fs::write(one.join("a/gone"), "1").unwrap();
        let sandbox = Sandbox::make(&folder.path().join("box"), &one, &two).unwrap();
        let before = sandbox.snapshot().unwrap();
        assert_eq!(before.changes(&sandbox.snapshot().unwrap()), Vec::<String>::new());
        fs::write(sandbox.out().join("free"), "1").unwrap();
        fs::write(sandbox.home().join("new"), "1").unwrap();
        fs::write(sandbox.dataset().join("a/b/kept"), "2").unwrap();
        fs::remove_file(sandbox.dataset().join("a/gone")).unwrap();
        fs::create_dir(sandbox.temporary().join("folder")).unwrap();
        assert_eq!(
            before.changes(&sandbox.snapshot().unwrap()),
            ["changed dataset.zarr/a/b/kept", "made home/new", "made tmp/folder", "removed dataset.zarr/a/gone"]
        );
    }
}
