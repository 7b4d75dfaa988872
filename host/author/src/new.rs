//! New plugins: which files one begins with.
//!
//! Owns: the templates and what is filled in, which of them a language takes, the commands that come next, and
//! writing it all as a whole or not at all. Never: builds anything, or touches a folder that holds something.
//!
//! What a new plugin is made of is a function of its name and its language alone. The templates are real files in
//! `templates/`; a word in double braces in them is filled in, and nothing else is. plugin-api comes along in
//! `vendor/`, inside of the plugin's own folder: so a folder can be moved, given away and kept in version
//! control, and several plugins in one place do not share anything.

pub mod carried;
mod name;

pub use name::{MAX_CHARS, NameError, PluginName};

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// A crate, with plugin-api as a path dependency.
    Rust,
    /// A folder with a Makefile, and the headers of the C door.
    C,
}

impl Language {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Rust, Self::C];

    /// As it is written in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::C => "C",
        }
    }
}

/// One file of a new plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Where, within the plugin's folder; `/` separates.
    pub path: String,
    /// What is in it.
    pub bytes: Cow<'static, [u8]>,
}

/// Why a new plugin was not made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// There is something already.
    #[error("{} {what}; it is left as it is", .folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// The system says no.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// plugin-api within a Rust plugin's folder.
const VENDORED_API: &str = "vendor/kymhost-plugin-api";

/// The headers within a C plugin's folder.
const VENDORED_HEADERS: &str = "vendor/kymhost";

macro_rules! templates {
    ($folder:literal: $($path:literal <- $file:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("templates/", $folder, "/", $file)))),+]
    };
}

/// A Rust plugin's files, with names to be filled in. A template is not called as what it becomes where tools would take
/// it for that.
const RUST: &[(&str, &str)] = templates!("rust":
    ".gitignore" <- "gitignore",
    "Cargo.toml" <- "Cargo.toml.in",
    "README.md" <- "README.md",
    "rustfmt.toml" <- "rustfmt.toml",
    "src/lib.rs" <- "src/lib.rs",
    "src/tests.rs" <- "src/tests.rs",
);

/// A C plugin's files.
const C: &[(&str, &str)] = templates!("c":
    ".gitignore" <- "gitignore",
    "Makefile" <- "Makefile",
    "README.md" <- "README.md",
    "tests/record.c" <- "tests/record.c",
    "{{name}}.c" <- "plugin.c",
);

/// Every file of a new plugin, sorted by path.
pub fn files(name: &PluginName, language: Language) -> Vec<NewFile> {
    let templates = match language {
        Language::Rust => RUST,
        Language::C => C,
    };
    let words =
        [("{{name}}", name.to_string()), ("{{Type}}", name.type_name()), ("{{library}}", library(name, language))];
    let fill = |text: &str| words.iter().fold(text.to_owned(), |text, (word, with)| text.replace(word, with));
    let mut files: Vec<NewFile> = templates
        .iter()
        .map(|(path, text)| NewFile { path: fill(path), bytes: Cow::Owned(fill(text).into_bytes()) })
        .collect();
    match language {
        Language::Rust => {
            files.push(NewFile { path: "Cargo.lock".to_owned(), bytes: Cow::Owned(lock(name).into_bytes()) });
            files.extend(
                carried::FILES.iter().map(|(path, bytes)| NewFile {
                    path: format!("{VENDORED_API}/{path}"),
                    bytes: Cow::Borrowed(*bytes),
                }),
            );
        }
        Language::C => files.extend(carried::FILES.iter().filter_map(|(path, bytes)| {
            let header = path.strip_prefix("include/");
            let name = header.or_else(|| path.starts_with("LICENSE").then_some(*path))?;
            Some(NewFile { path: format!("{VENDORED_HEADERS}/{name}"), bytes: Cow::Borrowed(*bytes) })
        })),
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The lock file of a new crate: the very versions that this program was built with.
fn lock(name: &PluginName) -> String {
    let mut packages: Vec<(&str, String)> =
        carried::LOCKED.iter().map(|(name, entry)| (*name, (*entry).to_owned())).collect();
    let own =
        format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"kymhost-plugin-api\",\n]\n");
    packages.push((name.as_str(), own));
    packages.sort_by_key(|(name, _)| *name);
    let mut text = "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\n\
                    version = 4\n"
        .to_owned();
    for (_, entry) in packages {
        text.push('\n');
        text.push_str(&entry);
    }
    text
}

/// The library that a release build makes, within the plugin's folder.
pub fn library(name: &PluginName, language: Language) -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    match language {
        Language::Rust => format!("target/release/{DLL_PREFIX}{name}{DLL_SUFFIX}"),
        Language::C => format!("build/{DLL_PREFIX}{name}{DLL_SUFFIX}"),
    }
}

/// What to type in the plugin's folder, in this order, to build and test it.
pub fn build_commands(language: Language) -> &'static [&'static str] {
    match language {
        // The tests of a release build need the same dependencies as the library: they are built once.
        Language::Rust => &["cargo build --release", "cargo test --release"],
        Language::C => &["make", "make test"],
    }
}

/// Writes a new plugin's folder: all of it, or nothing. It is made beside, under another name, and renamed.
///
/// # Errors
/// [`NewError::Taken`] where there is a file, or a folder with anything in it; [`NewError::Io`].
pub fn write(folder: &Path, files: &[NewFile]) -> Result<(), NewError> {
    let io_error = |action, path: &Path| {
        let path = path.to_owned();
        move |source| NewError::Io { action, path, source }
    };
    let taken = |what| NewError::Taken { folder: folder.to_owned(), what };
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(taken("is there already, and is not empty"));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(taken("is no folder")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if folder.symlink_metadata().is_ok() {
                return Err(taken("is a symbolic link that leads nowhere"));
            }
        }
        Err(error) => return Err(io_error("read", folder)(error)),
    }
    // Where an empty folder is given as a link, the folder that it leads to is meant.
    let target = match folder.canonicalize() {
        Ok(target) => target,
        Err(_) => std::path::absolute(folder).map_err(io_error("find", folder))?,
    };
    let parent = target.parent().ok_or_else(|| taken("is the root of the file system"))?;
    fs::create_dir_all(parent).map_err(io_error("make the folder", parent))?;
    let made = tempfile::Builder::new()
        .prefix(".kymhost-new-")
        // As any new folder: the user's umask decides.
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(io_error("make a folder in", parent))?;
    for file in files {
        let path = made.path().join(&file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io_error("make the folder", folder))?;
        }
        fs::write(&path, &file.bytes).map_err(io_error("write", &path))?;
    }
    // Replaces an empty folder and no other: what came in the meantime stays.
    match fs::rename(made.path(), &target) {
        Ok(()) => {
            // It is no longer there to be removed.
            let _ = made.keep();
            Ok(())
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory) => {
            Err(taken("has just been made by another program"))
        }
        Err(error) => Err(io_error("make the folder", &target)(error)),
    }
}

#[cfg(test)]
mod tests;
