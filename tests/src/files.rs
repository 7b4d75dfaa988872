//! Folders and files of the tests: fresh folders, copies, and snapshots that show whether something was written.

use std::fs;
use std::path::{Path, PathBuf};

/// A fresh folder for one test. It is deleted when this value is dropped.
#[derive(Debug)]
pub struct TestDir {
    folder: tempfile::TempDir,
}

impl Default for TestDir {
    fn default() -> Self {
        Self::new()
    }
}

impl TestDir {
    /// A new, empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("kymhost-test-").tempdir().expect("a temporary folder") }
    }

    /// A new, empty folder in memory, if the system has such a place: for tests that write hundreds of datasets
    /// and would otherwise wait for the disk.
    pub fn in_memory() -> Self {
        let folder = tempfile::Builder::new().prefix("kymhost-test-").tempdir_in("/dev/shm");
        folder.map_or_else(|_| Self::new(), |folder| Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path below it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }
}

/// Copies a folder with all below it; symbolic links are copied as links.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("make {}: {error}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("list {}: {error}", from.display())) {
        let entry = entry.expect("a folder's entry");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("a file's type");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_symlink() {
            let link = fs::read_link(entry.path()).expect("a link's target");
            std::os::unix::fs::symlink(link, &target).expect("make a link");
        } else {
            fs::copy(entry.path(), &target)
                .unwrap_or_else(|error| panic!("copy {} to {}: {error}", entry.path().display(), target.display()));
        }
    }
}

/// What a file was at one moment: its bytes, and enough to notice any rewrite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileState {
    /// The content, or what a link points to.
    pub bytes: Vec<u8>,
    /// Time of the last change, in nanoseconds.
    pub modified_ns: i128,
    /// The inode: another one after every write by rename.
    pub inode: u64,
    /// The permission bits.
    pub mode: u32,
}

/// Every file below a folder by its path relative to it, and every folder (with a trailing `/`, without bytes).
pub type Snapshot = std::collections::BTreeMap<String, FileState>;

/// Reads the state of all that is below a folder. Special files (FIFOs …) have no bytes.
pub fn snapshot(root: &Path) -> Snapshot {
    use std::os::unix::fs::MetadataExt;
    fn walk(root: &Path, folder: &Path, found: &mut Snapshot) {
        let listing = fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
        for entry in listing {
            let path = entry.expect("a folder's entry").path();
            let meta = fs::symlink_metadata(&path).expect("a file's metadata");
            let mut name = path.strip_prefix(root).expect("a path below the root").to_string_lossy().into_owned();
            let bytes = if meta.is_file() {
                fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
            } else if meta.is_symlink() {
                fs::read_link(&path).expect("a link's target").to_string_lossy().into_owned().into_bytes()
            } else {
                Vec::new()
            };
            if meta.is_dir() {
                name.push('/');
            }
            let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
            found.insert(name, FileState { bytes, modified_ns, inode: meta.ino(), mode: meta.mode() });
            if meta.is_dir() {
                walk(root, &path, found);
            }
        }
    }
    let mut found = Snapshot::new();
    walk(root, root, &mut found);
    found
}

/// The names whose content differs between two snapshots (new, deleted, or other bytes), sorted.
/// Folders count only if they are new or deleted.
pub fn changed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut names: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| match (before.get(name), after.get(name)) {
        (Some(old), Some(new)) => old.bytes != new.bytes,
        _ => true,
    });
    names
}

/// Fails, showing what was written, unless both snapshots are the same in content, times, inodes and modes.
#[track_caller]
pub fn assert_untouched(before: &Snapshot, after: &Snapshot) {
    let touched: Vec<&String> = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)))
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    assert!(touched.is_empty(), "something was written; touched: {touched:#?}");
}
