//! Plugins in C, built with the system's compiler: no Rust takes part.
//!
//! Finds the compiler, uses the flags that an author would, and puts what it builds into the target folder.

use crate::build::build_folders;
use crate::{repository, skip};
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// The system's C compiler: `CC`, else `cc`. `None`, reported as skipped, if there is none.
pub fn compiler() -> Option<OsString> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    match Command::new(&compiler).arg("--version").output() {
        Ok(output) if output.status.success() => Some(compiler),
        _ => {
            skip(&format!("there is no C compiler {}", compiler.display()));
            None
        }
    }
}

/// The folder of plugin-api's headers.
pub fn include() -> PathBuf {
    repository().join("plugin-api/include")
}

/// Where built things of this name are put.
fn folder() -> PathBuf {
    let folder = build_folders().1.join("c_plugins");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("make {}: {error}", folder.display()));
    folder
}

/// Compiles a source against the headers in `include`, warnings being errors; what comes of it is a new file.
///
/// # Errors
/// What the compiler says.
pub fn compile(source: &Path, include: &Path, to: &Path, more: &[&str]) -> Result<(), String> {
    let Some(compiler) = compiler() else { return Err("there is no C compiler".to_owned()) };
    // To another name, then renamed: another test may have the old one open.
    let new = to.with_extension(format!("new-{}", std::process::id()));
    let output = Command::new(compiler)
        .args(["-std=c99", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-I"])
        .arg(include)
        .arg("-o")
        .arg(&new)
        .arg(source)
        .args(more)
        .arg("-lm")
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    fs::rename(&new, to).map_err(|error| error.to_string())
}

/// Builds a plugin from one source of the repository with these additional flags; `name` keeps builds apart.
/// `None` if there is no C compiler.
///
/// # Panics
/// If it does not build.
pub fn plugin(name: &str, source: &str, more: &[&str]) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    compiler()?;
    let to = folder().join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    let flags: Vec<&str> =
        ["-fPIC", "-shared", "-fvisibility=hidden"].into_iter().chain(more.iter().copied()).collect();
    compile(&repository().join(source), &include(), &to, &flags)
        .unwrap_or_else(|errors| panic!("{source} does not build:\n{errors}"));
    Some(to)
}

/// Builds a program, as [`plugin`] builds a plugin.
///
/// # Panics
/// If it does not build.
pub fn program(name: &str, source: &str, more: &[&str]) -> Option<PathBuf> {
    compiler()?;
    let to = folder().join(name);
    compile(&repository().join(source), &include(), &to, more)
        .unwrap_or_else(|errors| panic!("{source} does not build:\n{errors}"));
    Some(to)
}

/// The library of `plugins/intensity_c`, built by its own Makefile. `None` if there is no C compiler or no `make`.
///
/// # Panics
/// If it does not build.
pub fn intensity_c() -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    compiler()?;
    let out = folder().join("intensity_c");
    let mut make = Command::new("make");
    make.arg("-C").arg(repository().join("plugins/intensity_c")).arg(format!("OUT={}", out.display()));
    make.arg("CFLAGS=-O1 -Wall -Wextra -Wpedantic -Werror");
    let output = match make.output() {
        Ok(output) => output,
        Err(error) => {
            skip(&format!("make cannot be started: {error}"));
            return None;
        }
    };
    assert!(
        output.status.success(),
        "plugins/intensity_c does not build:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(out.join(format!("{DLL_PREFIX}intensity_c{DLL_SUFFIX}")))
}
