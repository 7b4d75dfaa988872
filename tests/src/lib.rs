//! What the black-box tests share: the built program and plugins, fresh folders, runs of the program, comparing.
//!
//! Owns: finding and building what is tested, running it in a clean environment, showing all of it when a test
//! fails, skipping aloud. Never: reaches into the host's library; everything here sees only files and processes.

pub mod c;
pub mod damage;
pub mod fixture;
pub mod judge;
pub mod linescans;
pub mod measure;
mod process;
pub mod python;
pub mod streaks;
pub mod table;
pub mod tiff;

pub use process::{Output, Run, wait};

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The repository's root folder.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The built `kymhost` program, of the same profile as the running test.
pub fn program() -> PathBuf {
    built().join(format!("kymhost{}", std::env::consts::EXE_SUFFIX))
}

/// The built library of one of the workspace's plugins, e.g. `velocity_events`.
pub fn library(name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let path = built().join(format!("{DLL_PREFIX}kymhost_{name}{DLL_SUFFIX}"));
    assert!(path.is_file(), "no plugin library at {}; is its crate a member of the workspace?", path.display());
    path
}

/// The built library of one of plugin-api's examples, e.g. `intensity`; they are built once per test process.
pub fn example(name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(|| build(&["--examples"]).join("examples"));
    let path = path.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    assert!(path.is_file(), "no library at {}; is it an example with crate-type cdylib?", path.display());
    path
}

/// The folder that holds the workspace's built programs and plugins; they are built once per test process.
///
/// `cargo test` alone does not build plugins, for nothing depends on them.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build(&[]))
}

/// Where the running test was built: the folder of its profile, the target folder, and the target triple between
/// the two, if any.
fn build_folders() -> (PathBuf, PathBuf, Option<String>) {
    let exe = std::env::current_exe().expect("the path of the running test");
    let mut profile = exe.parent().expect("the folder of the running test").to_path_buf();
    if profile.ends_with("deps") || profile.ends_with("examples") {
        profile.pop();
    }
    let parent = profile.parent().expect("the folder above the profile's").to_path_buf();
    match parent.parent() {
        Some(above) if !parent.join("CACHEDIR.TAG").exists() && above.join("CACHEDIR.TAG").exists() => {
            let triple = parent.file_name().map(|name| name.to_string_lossy().into_owned());
            (profile, above.to_path_buf(), triple)
        }
        _ => (profile, parent, None),
    }
}

/// Builds the workspace with the running test's profile; gives the profile's folder.
fn build(more: &[&str]) -> PathBuf {
    let (folder, target, triple) = build_folders();
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).args(["build", "--quiet", "--workspace", "--profile", profile, "--target-dir"]);
    cargo.arg(&target).args(more).stdin(Stdio::null());
    if let Some(triple) = triple {
        cargo.args(["--target", &triple]);
    }
    // What cargo tells a test of its own package would otherwise reach the build scripts of all packages.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_BIN_") {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().expect("cargo can be started");
    assert!(
        output.status.success(),
        "the workspace does not build:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    folder
}

/// The folder of recorded cases and recordings that are not part of the repository: `KYMHOST_SHARED`, else
/// `../shared` beside the repository's root. Where it is absent, says so aloud.
pub fn shared() -> Option<PathBuf> {
    let path = match std::env::var_os("KYMHOST_SHARED") {
        Some(path) => PathBuf::from(path),
        None => repository().parent()?.join("shared"),
    };
    if path.is_dir() {
        return Some(path);
    }
    skip(&format!("{} is absent", path.display()));
    None
}

/// Says aloud that the running test is skipped, past the test harness's capture, and in `skipped.log` in the target
/// folder, whose lines `.ci/run` repeats at its end.
pub fn skip(why: &str) {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("a test"));
    let mut told = TOLD.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if told.contains(&line) {
        return;
    }
    let _ = std::io::stderr().write_all(line.as_bytes());
    let log = build_folders().1.join("skipped.log");
    if let Ok(mut file) = fs::OpenOptions::new().create(true).append(true).open(log) {
        let _ = file.write_all(line.as_bytes());
    }
    told.push(line);
}

/// A fresh folder of a test's own, deleted with it.
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

    /// A new, empty folder that is kept in memory where the system has such a place: for tests that write hundreds of
    /// datasets, and would else wait for the disk.
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

/// What a file was at one moment: enough to tell any rewrite of it, and its bytes.
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

/// The names whose content differs between two snapshots (made, gone, or other bytes), sorted.
/// Folders count only where they were made or are gone.
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
