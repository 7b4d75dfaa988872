//! What the tests run: the workspace's programs, plugins and examples, built once per run of the tests.
//!
//! `cargo test` builds the test binaries, but neither the plugins nor their fixtures, because nothing depends on those.
//! So the first test that needs one of them starts one `cargo build` with the profile and the target folder of the test
//! binaries. That build leaves a stamp in the target folder, and the other tests of the same run use what it built:
//!
//! - The stamp names the process that started the tests: the running `cargo` (its process id, start time and the boot),
//!   or nextest's run id. All test binaries of one `cargo test` share it, and so do all processes of one nextest run.
//! - A test binary that somebody starts by hand has no such process. It calls cargo itself, which takes about a second
//!   if everything is fresh. The same holds on systems without `/proc`.
//! - A lock on the stamp's file lets one process build while the others wait.
//!
//! A stale program is therefore never tested: each run of the tests calls cargo at its beginning, and cargo
//! decides what is fresh. An edit during a run counts from the next run on, for the test binaries and for the
//! programs alike.
//!
//! Crates that tests write and build themselves share one target folder, [`crates_target`].

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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

/// The built library of one of plugin-api's examples, e.g. `intensity`.
pub fn example(name: &str) -> PathBuf {
    example_library(built(), name)
}

/// The built library of one of the plugins that are wrong in one way, e.g. `leaks`. They are many, and only
/// `kymhost plugin check` needs them, so that no other build includes them.
pub fn wrong_plugin(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        build_once("wrong", &["--examples", "--features", "kymhost-plugin-wrong/wrong"]);
        build_folders().0
    });
    example_library(folder, name)
}

fn example_library(folder: &Path, name: &str) -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let path = folder.join("examples").join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    assert!(path.is_file(), "no library at {}; is it an example with crate-type cdylib?", path.display());
    path
}

/// The folder that holds the workspace's built programs and plugins.
pub fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        build_once("workspace", &["--lib", "--bins", "--examples"]);
        build_folders().0
    })
}

/// The target folder of crates that tests write and build: one for all, so that a dependency is compiled once.
/// It is kept from one run of the tests to the next.
pub fn crates_target() -> PathBuf {
    build_folders().1.join("tmp/crates/target")
}

/// Where the running test was built: the folder of its profile, the target folder, and the target triple between
/// the two, if any.
pub(crate) fn build_folders() -> (PathBuf, PathBuf, Option<String>) {
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

/// Builds these targets of the workspace unless this run of the tests has built them before; `what` names the stamp.
fn build_once(what: &str, targets: &[&str]) {
    let path = build_folders().0.join(format!(".kymhost-tests-{what}"));
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    file.lock().expect("a lock in the target folder");
    let run = run_of_tests();
    let mut stamp = String::new();
    file.read_to_string(&mut stamp).expect("a readable stamp");
    if run.as_ref().is_some_and(|run| *run == stamp) {
        return;
    }
    build(targets);
    let new = run.unwrap_or_default();
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(new.as_bytes())).expect("a stamp");
}

/// What all processes of this run of the tests share and no other run has; none if cannot be known.
fn run_of_tests() -> Option<String> {
    if let Ok(id) = std::env::var("NEXTEST_RUN_ID") {
        return Some(format!("nextest {id}"));
    }
    let parent = std::os::unix::process::parent_id();
    let program = fs::read_link(format!("/proc/{parent}/exe")).ok()?;
    if program.file_stem() != Some(OsStr::new("cargo")) {
        return None;
    }
    // The 22nd field is the start time. The second one, the program's name in parentheses, may contain blanks.
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).ok()?;
    let start = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.to_owned();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("cargo {parent} {start} {}", boot.trim()))
}

/// Builds targets of the workspace with the running test's profile.
fn build(targets: &[&str]) {
    let (folder, target, triple) = build_folders();
    let profile = match folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository()).args(["build", "--quiet", "--workspace", "--profile", profile, "--target-dir"]);
    cargo.arg(&target).args(targets).stdin(Stdio::null());
    if let Some(triple) = triple {
        cargo.args(["--target", &triple]);
    }
    // What cargo sets for a test of its own package would otherwise reach the build scripts of all packages.
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
}
