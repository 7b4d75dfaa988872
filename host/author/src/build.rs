//! The libraries that `plugin add` installs: a file, the libraries of a folder, or those that a build makes.
//!
//! Responsible for which tool builds a folder, and which of the files that it makes are plugins. It does not install
//! anything and does not run a plugin.

use crate::error::{BuildError, FileError, SourceKind, Tool};
use kymhost_plugin::{Origin, PluginError, libraries_in, read_card};
use serde_json::Value;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A plugin's library and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The library.
    pub library: PathBuf,
    /// For the lock file.
    pub origin: Origin,
}

/// The plugin libraries of a file or folder, sorted. A file is a library itself. Cargo builds a folder with a `Cargo.toml`,
/// make one with a `Makefile`; any other folder holds libraries.
///
/// # Errors
/// [`BuildError`]; whether a file is a library is not checked here.
pub fn libraries_of(source: &Path) -> Result<Vec<Built>, BuildError> {
    let real = source
        .canonicalize()
        .map_err(|error| BuildError::NoSource { path: source.display().to_string(), source: error })?;
    if !real.is_dir() {
        return Ok(vec![Built { library: real.clone(), origin: origin("file", &real) }]);
    }
    if real.join("Cargo.toml").is_file() {
        return cargo(&real);
    }
    let is_makefile = real.join("Makefile").is_file();
    if is_makefile {
        make(&real)?;
    }
    let all = libraries_in(&real).map_err(FileError::of("list", &real))?;
    let plugins: Vec<PathBuf> = all.into_iter().filter(|library| may_be_plugin(library)).collect();
    if plugins.is_empty() {
        let kind = if is_makefile { SourceKind::Makefile } else { SourceKind::Folder };
        return Err(BuildError::NoPlugin { folder: real.display().to_string(), kind });
    }
    let path = |library: PathBuf| {
        let origin = if is_makefile { origin("makefile", &real) } else { origin("file", &library) };
        Built { library, origin }
    };
    Ok(plugins.into_iter().map(path).collect())
}

fn origin(kind: &str, path: &Path) -> Origin {
    Origin::new(kind, path.to_owned())
}

/// Whether it is a plugin, possibly a broken one: the user gets to know why that is refused.
fn may_be_plugin(library: &Path) -> bool {
    !read_card(library).as_ref().is_err_and(PluginError::is_no_plugin)
}

fn make(folder: &Path) -> Result<(), BuildError> {
    let mut command = Command::new("make");
    // Its output is for people. Standard output may have to hold a document.
    command.current_dir(folder).stdin(Stdio::null()).stdout(io::stderr());
    let status = command.status().map_err(|source| BuildError::NoTool { tool: Tool::Make, source })?;
    if status.success() {
        Ok(())
    } else {
        Err(BuildError::Failed { tool: Tool::Make, folder: folder.display().to_string(), status })
    }
}

fn cargo(folder: &Path) -> Result<Vec<Built>, BuildError> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(folder).args(["build", "--release", "--message-format=json-render-diagnostics"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|source| BuildError::NoTool { tool: Tool::Cargo, source })?;
    let mut found: Vec<Built> = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(FileError::of("read the output of cargo in", folder))?;
            found.extend(artifact(&line, folder));
        }
    }
    let status = child.wait().map_err(FileError::of("wait for cargo in", folder))?;
    if !status.success() {
        let folder = folder.display().to_string();
        return Err(BuildError::Failed { tool: Tool::Cargo, folder, status });
    }
    found.retain(|built| may_be_plugin(&built.library));
    found.sort_unstable_by(|one, other| one.library.cmp(&other.library));
    found.dedup_by(|one, other| one.library == other.library);
    if found.is_empty() {
        return Err(BuildError::NoPlugin { folder: folder.display().to_string(), kind: SourceKind::Crate });
    }
    Ok(found)
}

/// The library in one line of cargo's messages, if it is a `cdylib` of a crate in this folder.
fn artifact(line: &str, folder: &Path) -> Option<Built> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || !Path::new(message["manifest_path"].as_str()?).starts_with(folder) {
        return None;
    }
    let target = &message["target"];
    if !target["crate_types"].as_array()?.iter().any(|kind| kind == "cdylib") {
        return None;
    }
    let mut files = message["filenames"].as_array()?.iter().filter_map(Value::as_str).map(Path::new);
    let library = files.find(|file| file.extension().is_some_and(|found| found == std::env::consts::DLL_EXTENSION))?;
    let (name, version) = package(message["package_id"].as_str()?, target["name"].as_str()?);
    let mut origin = origin("crate", folder);
    origin.crate_name = Some(name);
    origin.version = Some(version);
    Some(Built { library: library.to_owned(), origin })
}

/// A package's name and version: `path+file:///a/radon#0.1.0` if the folder has the crate's name, `...#radon@0.1.0` if not;
/// from an older cargo `radon 0.1.0 (path+file:///...)`.
fn package(id: &str, target: &str) -> (String, String) {
    if let Some((place, rest)) = id.rsplit_once('#') {
        return match rest.split_once('@') {
            Some((name, version)) => (name.to_owned(), version.to_owned()),
            None => (place.rsplit('/').next().unwrap_or(target).to_owned(), rest.to_owned()),
        };
    }
    let mut words = id.split(' ');
    let name = words.next().filter(|name| !name.is_empty()).unwrap_or(target);
    (name.to_owned(), words.next().unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn package_reads_all_forms_of_ids() {
        for (id, name, version) in [
            ("path+file:///a/radon#0.1.0", "radon", "0.1.0"),
            ("path+file:///a/b#radon@0.1.0", "radon", "0.1.0"),
            ("radon 0.1.0 (path+file:///a/b)", "radon", "0.1.0"),
            ("", "target", "unknown"),
        ] {
            assert_eq!(package(id, "target"), (name.to_owned(), version.to_owned()), "{id}");
        }
    }

    #[test]
    fn artifact_takes_only_cdylibs_of_the_folder() {
        let library = format!("/a/target/release/libx.{}", std::env::consts::DLL_EXTENSION);
        let message = |reason: &str, manifest: &str, kind: &str| {
            json!({
                "reason": reason, "manifest_path": manifest, "package_id": "path+file:///a#x@1.2.3",
                "target": {"name": "x", "crate_types": [kind]}, "filenames": ["/a/target/release/libx.d", library]
            })
            .to_string()
        };
        let ours = "/a/Cargo.toml";
        let found = artifact(&message("compiler-artifact", ours, "cdylib"), Path::new("/a")).expect("an artifact");
        assert_eq!((found.library.to_str(), found.origin.version.as_deref()), (Some(library.as_str()), Some("1.2.3")));
        for line in [
            message("build-finished", ours, "cdylib"),
            message("compiler-artifact", "/b/Cargo.toml", "cdylib"),
            message("compiler-artifact", ours, "lib"),
            "no json".to_owned(),
            "{}".to_owned(),
        ] {
            assert_eq!(artifact(&line, Path::new("/a")), None, "{line}");
        }
    }
}
