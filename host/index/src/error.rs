//! What can go wrong in this crate, as data: each error says what failed, why, and what to do.

use kymhost_dataset::DatasetError;
use kymhost_plugin::PluginError;
use kymhost_store::{Class, Diagnose, Diagnosis, Holder};
use std::fmt;

/// How many unknown recordings a message names.
const MAX_NAMED: usize = 20;
/// What to do about recordings that the dataset lacks.
const LIST_IMAGES: &str = "`kymhost status --plugin NAME --json` lists all recordings";

/// Why a command of this crate could not do its work.
#[derive(Debug)]
pub enum IndexError {
    /// The name cannot be an indexer's.
    BadName {
        /// The name.
        name: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Two of the indexers that are to run write the same artifact.
    TwoWriters {
        /// The artifact's key below an image's group.
        key: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The indexers that are to run wait for each other: each reads what the next one writes.
    Cycle(Vec<String>),
    /// The indexer writes artifacts and is to run by kymflow's rules.
    ArtifactsByKymflow(String),
    /// There is no such mode.
    UnknownMode(String),
    /// Another run holds the table's lock.
    Locked {
        /// The table.
        table: String,
        /// Who holds it.
        holder: Holder,
    },
    /// The dataset lacks images that were asked for.
    UnknownImages(Vec<String>),
    /// The run would remove the rows of suspiciously many deleted images. Nothing was written.
    MassRemoval(MassRemoval),
    /// The workforce was stopped before it had answered for every image. Nothing was written.
    Interrupted,
    /// Other programs kept writing an indexer's table while its rows were merged.
    BusyTable {
        /// The table.
        table: String,
        /// How often it was tried.
        tries: usize,
    },
    /// The dataset cannot be used.
    Dataset(DatasetError),
    /// The plugin cannot be used.
    Plugin(PluginError),
}

/// The rows of deleted images that a run would remove, if they are so many that the dataset may be incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MassRemoval {
    /// The table.
    pub table: String,
    /// How many images the dataset has.
    pub images: usize,
    /// How many images have rows in the table.
    pub in_table: usize,
    /// How many of those are no longer in the dataset.
    pub vanished: usize,
    /// How many rows those have.
    pub rows: u64,
}

impl MassRemoval {
    /// What to do about it.
    pub const HELP: &'static str = "check that the whole dataset is there, e.g. that its disk is mounted; --yes removes these \
                                    rows, --orphans keep keeps them";
}

impl fmt::Display for MassRemoval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, images, in_table, vanished, rows } = self;
        match images {
            0 => write!(f, "the dataset has no recordings, but {table} has {rows} rows of {vanished} recordings"),
            _ => write!(
                f,
                "{vanished} of the {in_table} recordings in {table} are no longer in the dataset; they have {rows} rows"
            ),
        }
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnose().message())
    }
}

impl std::error::Error for IndexError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Dataset(error) => error.source(),
            Self::Plugin(error) => error.source(),
            _ => None,
        }
    }
}

impl From<DatasetError> for IndexError {
    fn from(error: DatasetError) -> Self {
        Self::Dataset(error)
    }
}

impl IndexError {
    /// Whether an indexer's table cannot be read. A run that replaces all rows makes it again.
    pub(crate) fn is_broken_table(&self) -> bool {
        matches!(self, Self::Dataset(DatasetError::Unreadable { table: Some(_), .. }))
    }
}

impl From<PluginError> for IndexError {
    fn from(error: PluginError) -> Self {
        Self::Plugin(error)
    }
}

impl Diagnose for IndexError {
    fn diagnose(&self) -> Diagnosis {
        match self {
            Self::Dataset(error) => error.diagnose(),
            Self::Plugin(error) => error.diagnose(),
            Self::BadName { name, why } => {
                Diagnosis::new(Class::Unusable, "bad_name", format!("'{name}' cannot name an indexer")).why(why)
            }
            Self::TwoWriters { key, first, second } => {
                let what =
                    format!("the indexers '{first}' and '{second}' both write the artifact {key} of each recording");
                Diagnosis::new(Class::Usage, "two_writers", what).help("run one of them")
            }
            Self::Cycle(names) => Diagnosis::new(
                Class::Usage,
                "cycle",
                format!("the indexers wait for each other: {}", names.join(" -> ")),
            )
            .why("each reads an artifact that the next one writes")
            .help("run them one by one in the order that you mean, or leave one out"),
            Self::ArtifactsByKymflow(indexer) => {
                let what = format!("--compat kymflow cannot run the indexer '{indexer}', which writes artifacts");
                Diagnosis::new(Class::Usage, "artifacts_by_kymflow", what)
                    .why("kymflow does not record who owns an artifact")
                    .help("leave --compat out; nothing was run")
            }
            Self::UnknownMode(mode) => Diagnosis::new(Class::Usage, "usage", format!("there is no mode '{mode}'"))
                .why("the modes are 'replace' (every recording) and 'incremental' (stale recordings only)"),
            Self::Locked { table, holder } => {
                Diagnosis::new(Class::Locked, "locked", format!("another run holds {table}"))
                    .why(holder)
                    .help("pass --wait SECONDS to wait for it; `kymhost status` does not need the lock")
            }
            Self::UnknownImages(ids) => {
                let named = kymhost_store::text::listed(ids, MAX_NAMED);
                Diagnosis::new(Class::Usage, "unknown_image", format!("the dataset has no recording {named}"))
                    .help(LIST_IMAGES)
            }
            Self::MassRemoval(removal) => {
                Diagnosis::new(Class::Refused, "guarded", format!("refused to remove rows from {}", removal.table))
                    .why(format!("{removal}. Nothing was written"))
                    .help(MassRemoval::HELP)
            }
            Self::Interrupted => {
                Diagnosis::new(Class::Interrupted, "interrupted", "stopped before every recording was checked")
                    .why("nothing was written")
            }
            Self::BusyTable { table, tries } => {
                Diagnosis::new(Class::Unusable, "unwritable", format!("cannot write {table}"))
                    .why(format!("another program wrote it during each of {tries} tries"))
                    .help("try again when the other program has ended")
            }
        }
    }
}

/// Why params cannot be edited as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamsError {
    /// The text is not an edit.
    NoEdit {
        /// What was given.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A key on the way does not hold an object.
    NoObject {
        /// The whole key.
        path: String,
        /// The part that is not an object.
        at: String,
        /// What it is.
        found: &'static str,
    },
    /// The params themselves are not an object.
    NoParams {
        /// What they are.
        found: &'static str,
    },
}

impl fmt::Display for ParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnose().message())
    }
}

impl std::error::Error for ParamsError {}

impl Diagnose for ParamsError {
    fn diagnose(&self) -> Diagnosis {
        let usage = |what: String| Diagnosis::new(Class::Usage, "usage", what);
        match self {
            Self::NoEdit { text, expected } => usage(format!("'{text}' is not a valid {expected}")),
            Self::NoObject { path, at, found } => {
                usage(format!("cannot set '{path}'")).why(format!("'{at}' is {found}, not an object"))
            }
            Self::NoParams { found } => {
                usage("cannot edit the params".to_owned()).why(format!("they are {found}, not an object"))
            }
        }
    }
}
