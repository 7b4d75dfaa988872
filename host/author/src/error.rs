//! The errors of this crate, and what each means for the user.

use kymhost_dataset::DatasetError;
use kymhost_plugin::{LockError, PluginError};
use kymhost_store::{Class, Diagnose, Diagnosis, StoreError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A name that a new plugin cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub struct NameError {
    /// What was given.
    pub name: String,
    /// Why it is not allowed.
    pub why: String,
    /// A name like it that is allowed.
    pub suggestion: String,
}

impl Diagnose for NameError {
    fn diagnose(&self) -> Diagnosis {
        Diagnosis::new(Class::Usage, "bad_name", format!("'{}' cannot be the name of a new plugin", self.name))
            .why(&self.why)
            .help(format!("try '{}'", self.suggestion))
    }
}

/// A system call on a file or folder that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub struct FileError {
    /// What was tried: `read`, `make the folder`, `wait for cargo in` ...
    pub action: &'static str,
    /// With which file or folder.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: the error of this action on this path.
    pub(crate) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

impl Diagnose for FileError {
    fn diagnose(&self) -> Diagnosis {
        Diagnosis::new(Class::Unusable, "io", format!("cannot {} {}", self.action, self.path.display()))
            .why(&self.source)
            .help("check that it exists, that you may read and write it, and that there is free space")
    }
}

/// Why a new plugin was not created.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub enum NewError {
    /// Something else is in the folder.
    Taken {
        /// The folder.
        folder: PathBuf,
        /// What, as a sentence about the folder.
        why: &'static str,
    },
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
}

impl Diagnose for NewError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::Taken { folder, why } => {
                Diagnosis::new(Class::Refused, "not_empty", format!("cannot create the plugin in {}", folder.display()))
                    .why(why)
                    .help("give --path DIR with a folder that does not exist yet")
            }
            Self::Io(error) => error.diagnose(),
        }
    }
}

/// What builds a plugin from source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `cargo build --release`
    Cargo,
    /// `make`
    Make,
}

impl Tool {
    fn command(self) -> &'static str {
        match self {
            Self::Cargo => "cargo build --release",
            Self::Make => "make",
        }
    }
}

/// What the folder given to `plugin add` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A folder with a `Cargo.toml`.
    Crate,
    /// A folder with a `Makefile`.
    Makefile,
    /// Another folder, which may hold libraries.
    Folder,
}

/// Why no library was found or built.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub enum BuildError {
    /// There is no such file or folder, or it cannot be read.
    NoSource {
        /// The file or folder that was given.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The tool cannot be started.
    NoTool {
        /// Which.
        tool: Tool,
        /// The system's error.
        source: io::Error,
    },
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The tool reported an error.
    Failed {
        /// Which.
        tool: Tool,
        /// In which folder.
        folder: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The folder has no plugin.
    NoPlugin {
        /// The folder.
        folder: String,
        /// The kind of folder.
        kind: SourceKind,
    },
}

impl Diagnose for BuildError {
    fn diagnose(&self) -> Diagnosis {
        let unusable = |code, what: String| Diagnosis::new(Class::Unusable, code, what);
        match self {
            Self::NoSource { path, source } => unusable("io", format!("cannot read {path}"))
                .why(source)
                .help("give a plugin's library, a folder with libraries, or the folder of a plugin's source"),
            Self::NoTool { tool, source } => {
                let (name, help) = match tool {
                    Tool::Cargo => (
                        "cargo",
                        "install Rust (https://rustup.rs), or build the library on another machine and add the file",
                    ),
                    Tool::Make => {
                        ("make", "install make and a C compiler, or build the library yourself and add the file")
                    }
                };
                unusable("io", format!("cannot start {name}")).why(source).help(help)
            }
            Self::Io(error) => error.diagnose(),
            Self::Failed { tool, folder, status } => {
                unusable("build_failed", format!("{} failed in {folder} ({status})", tool.command()))
                    .why("see its messages above")
                    .help("fix what it reports and run `kymhost plugin add` again")
            }
            Self::NoPlugin { folder, kind } => {
                let (why, help) = match kind {
                    SourceKind::Crate => (
                        Some("the crate builds, but not as a plugin"),
                        "put [lib] crate-type = [\"cdylib\"] into its Cargo.toml and export_plugin! into its source",
                    ),
                    SourceKind::Makefile => (None, "make the Makefile's first target put the library into its folder"),
                    SourceKind::Folder => (
                        None,
                        "give the path of a library, or the folder of a crate (with Cargo.toml) or of a C plugin (with Makefile)",
                    ),
                };
                let said = unusable("no_plugin", format!("there is no plugin library in {folder}"));
                why.map_or(said.clone(), |why| said.why(why)).help(help)
            }
        }
    }
}

/// Why plugins could not be installed, removed or trusted.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub enum InstallError {
    /// A library is refused.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Nothing was built or found.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A lock file cannot be read or changed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The folder of a lock file cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no folder for plugins.
    NoDataFolder,
    /// Another library has an indexer of this name.
    NameTaken {
        /// The indexer.
        name: String,
        /// The analysis version that is installed.
        version: String,
        /// The library that is installed.
        library: String,
        /// The library that was to be added.
        new: String,
        /// Its analysis version.
        new_version: String,
    },
    /// No installed library has such an indexer.
    NotInstalled {
        /// The indexer.
        name: String,
        /// The installed indexers.
        found: String,
    },
    /// An indexer's name cannot be the name of a file.
    BadName {
        /// The name.
        name: String,
        /// Why, as a sentence about the name.
        why: &'static str,
    },
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    Io(#[from] FileError),
}

impl Diagnose for InstallError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::Plugin(error) => error.diagnose(),
            Self::Build(error) => error.diagnose(),
            Self::Lock(error) => error.diagnose(),
            Self::Store(error) => error.diagnose(),
            Self::NoDataFolder => {
                Diagnosis::new(Class::Unusable, "no_data_folder", "cannot find the data folder of this user")
                    .help("set HOME, or XDG_DATA_HOME to an absolute path")
            }
            Self::NameTaken { name, version, library, new, new_version } => Diagnosis::new(
                Class::Refused,
                "name_taken",
                format!("the indexer '{name}' ({version}) is already in {library}; {new} has {new_version}"),
            )
            .help(format!("to replace it: kymhost plugin add --replace '{new}'")),
            Self::NotInstalled { name, found } => Diagnosis::new(
                Class::Unusable,
                "not_installed",
                format!("no indexer '{name}' is installed; installed: {found}"),
            )
            .help("`kymhost plugin list` lists all indexers that can be used"),
            Self::BadName { name, why } => {
                Diagnosis::new(Class::Unusable, "bad_name", format!("'{name}' cannot name an indexer"))
                    .why(why)
                    .help("rename it and build the plugin again")
            }
            Self::Io(error) => error.diagnose(),
        }
    }
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnose().message())]
pub enum CheckError {
    /// The library cannot be read.
    NoLibrary {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The suite cannot make its folders, files or processes.
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The given dataset or the one with made-up records cannot be used.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The given dataset has no images.
    NoImages(String),
    /// The library has no such indexer.
    UnknownIndexer {
        /// The library's file.
        library: String,
        /// The name asked for.
        indexer: String,
        /// The indexers that it has.
        found: String,
    },
    /// The user interrupted it.
    Interrupted,
}

impl CheckError {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn no_library(path: &Path, source: io::Error) -> Self {
        Self::NoLibrary { path: path.to_owned(), source }
    }
}

impl Diagnose for CheckError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::NoLibrary { path, source } => {
                Diagnosis::new(Class::Internal, "internal", format!("cannot find {}", path.display()))
                    .why(source)
                    .help("give the path of a plugin's library")
            }
            Self::Io { what, source } => Diagnosis::new(Class::Internal, "internal", format!("cannot {what}"))
                .why(source)
                .help("check that the folder for temporary files (TMPDIR) exists, is writable and has space"),
            Self::Dataset(error) => error.diagnose(),
            Self::NoImages(dataset) => {
                Diagnosis::new(Class::Unusable, "no_images", format!("{dataset} has no images to check with"))
                    .help("give a dataset with images, or leave out --dataset to check with made-up records")
            }
            Self::UnknownIndexer { library, indexer, found } => Diagnosis::new(
                Class::Unusable,
                "unknown_plugin",
                format!("{library} has no indexer '{indexer}'; it has: {found}"),
            )
            .help("give one of these names"),
            Self::Interrupted => Diagnosis::new(Class::Interrupted, "interrupted", "the checks were interrupted"),
        }
    }
}

#[cfg(test)]
mod tests;
