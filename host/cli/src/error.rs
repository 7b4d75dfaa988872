//! What the program says when it cannot do what was asked: one error type with exit code, stable code, message and help.
//! Owns: the mapping from every room's errors. Never: prints (see `output`).

use crate::exit::Exit;
use kymhost_author::{InstallError, NameError, NewError};
use kymhost_dataset::DatasetError;
use kymhost_index::{IndexError, ParamsError};
use kymhost_ingest::IngestError;
use kymhost_plugin::{CardSummary, LockError, PluginError, SchemaError};
use kymhost_plugin_api::card::API;
use kymhost_store::{Class, Diagnose, StoreError};
use serde::Serialize;
use std::error::Error;
use std::io;

/// An error on its way to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// How the program ends.
    pub exit: Exit,
    /// A stable word for scripts.
    pub code: &'static str,
    /// What went wrong, with its causes.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The plugin that it is about, where its card can be read.
    pub plugin: Option<Box<PluginDetails>>,
}

/// A plugin that was refused, as its card has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginDetails {
    /// The file.
    library: String,
    /// Its indexers.
    indexers: Vec<String>,
    /// The API that it was built with.
    plugin_api: String,
    /// The API that it needs.
    needs_api: String,
    /// This program's.
    host_api: String,
}

impl PluginDetails {
    fn of(library: &str, card: &CardSummary) -> Self {
        Self {
            library: library.to_owned(),
            indexers: card.indexers.clone(),
            plugin_api: card.plugin_api.to_string(),
            needs_api: card.needs_api.to_string(),
            host_api: API.to_string(),
        }
    }
}

impl CliError {
    /// An error without help.
    pub fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), help: None, plugin: None }
    }

    /// Wrong usage.
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, code, message)
    }

    /// Adds what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to do, unless the message says this word of it already.
    fn help_unless_said(self, word: &str, help: &str) -> Self {
        if self.message.contains(word) { self } else { self.help(help) }
    }

    /// Output that could not be written.
    pub fn output(error: &io::Error) -> Self {
        Self::new(Exit::Internal, "output", format!("cannot write the output: {error}"))
    }

    /// An error of a room that says itself what it means.
    fn diagnosed(error: &dyn Diagnose) -> Self {
        let said = error.diagnose();
        let exit = match said.class {
            Class::Internal => Exit::Internal,
            Class::Usage => Exit::Usage,
            Class::Locked => Exit::Locked,
            Class::Unusable => Exit::Unusable,
            Class::Refused => Exit::Refused,
            Class::Interrupted => Exit::Interrupted,
        };
        Self { help: said.help.clone(), ..Self::new(exit, said.code, said.message()) }
    }

    fn of(exit: Exit, code: &'static str, error: &(dyn Error + 'static)) -> Self {
        let text = with_causes(error);
        match text.split_once("\nhelp: ") {
            Some((message, help)) => Self::new(exit, code, message).help(help),
            None => Self::new(exit, code, text),
        }
    }
}

/// What to do about an image that the dataset lacks.
const UNKNOWN_IMAGE: &str = "`kymhost status --plugin NAME --json` lists all images";

/// An error's text and, once each, those of its causes.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str("\ncaused by: ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let (code, help) = match &error {
            StoreError::BadKey { .. } => ("bad_key", None),
            StoreError::LeadsOut { .. } => {
                ("leads_out", Some("replace the symbolic link by the file or folder it points to".to_owned()))
            }
            StoreError::TooLarge { .. } => ("too_large", None),
            StoreError::Io { source, .. } => ("io", io_help(source)),
        };
        Self { help, ..Self::of(Exit::Unusable, code, &error) }
    }
}

fn io_help(error: &io::Error) -> Option<String> {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => "check who owns the dataset's files and their permissions",
        io::ErrorKind::ReadOnlyFilesystem => "the disk is mounted read-only; copy the dataset to where you may write",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space and run again; the table is as it was before"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

impl From<DatasetError> for CliError {
    fn from(error: DatasetError) -> Self {
        match error {
            DatasetError::Store(error) => error.into(),
            DatasetError::UnknownImage { .. } => Self::of(Exit::Usage, "unknown_image", &error).help(UNKNOWN_IMAGE),
            DatasetError::NotADataset { .. } => Self::of(Exit::Unusable, "not_a_dataset", &error)
                .help("give the dataset's folder (it holds .zgroup and images/) with --dataset PATH"),
            DatasetError::Unreadable { ref key, .. } if is_indexers_table(key) => {
                Self::of(Exit::Unusable, "unreadable", &error).help_unless_said(
                    "--mode replace",
                    "`kymhost run --mode replace --plugin NAME` makes the table anew and sets the broken file aside",
                )
            }
            DatasetError::Unreadable { .. } => Self::of(Exit::Unusable, "unreadable", &error)
                .help("`kymhost dataset validate` lists all that is wrong in the dataset"),
            DatasetError::Unwritable { .. } => Self::of(Exit::Unusable, "unwritable", &error),
            DatasetError::Locked { .. } => {
                Self::of(Exit::Locked, "locked", &error).help("try again when the other process has ended")
            }
        }
    }
}

impl From<NameError> for CliError {
    fn from(error: NameError) -> Self {
        Self::diagnosed(&error)
    }
}

impl From<NewError> for CliError {
    fn from(error: NewError) -> Self {
        Self::diagnosed(&error)
    }
}

impl From<IngestError> for CliError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Dataset(error) => error.into(),
            IngestError::Path { .. } => {
                Self::of(Exit::Usage, "unreadable_path", &error).help("give a folder or a TIFF file that you may read")
            }
            IngestError::NoRecording { .. } => Self::of(Exit::Usage, "no_recording", &error)
                .help("give the TIFF; what stands beside it is found by its name"),
            IngestError::TooMany { .. } => Self::of(Exit::Usage, "too_many", &error),
            IngestError::Locked { .. } => {
                Self::of(Exit::Locked, "locked", &error).help("try again when the other process has ended")
            }
            IngestError::NotEmpty { .. } => Self::of(Exit::Refused, "not_empty", &error)
                .help("give another folder, or --overwrite to write over what is there"),
            IngestError::Overlaps { .. } => Self::of(Exit::Refused, "overlaps_dataset", &error)
                .help("give a folder that is neither the dataset, nor in it, nor (for an export) above it"),
            IngestError::Write { .. } => {
                Self::of(Exit::Unusable, "io", &error).help("give a folder that you may write to, with enough space")
            }
        }
    }
}

impl From<PluginError> for CliError {
    fn from(error: PluginError) -> Self {
        let plugin = match &error {
            PluginError::Refused { library, card: Some(card), .. } => Some(Box::new(PluginDetails::of(library, card))),
            _ => None,
        };
        Self { plugin, ..Self::diagnosed(&error) }
    }
}

impl From<ParamsError> for CliError {
    fn from(error: ParamsError) -> Self {
        Self::diagnosed(&error)
    }
}

impl From<SchemaError> for CliError {
    fn from(error: SchemaError) -> Self {
        Self::diagnosed(&error)
    }
}

impl From<LockError> for CliError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Broken(error) => error.into(),
            LockError::Store(error) => error.into(),
            LockError::Busy { .. } => Self::diagnosed(&error),
        }
    }
}

impl From<InstallError> for CliError {
    fn from(error: InstallError) -> Self {
        match error {
            InstallError::Plugin(error) => error.into(),
            InstallError::Lock(error) => error.into(),
            InstallError::Store(error) => error.into(),
            other => Self::diagnosed(&other),
        }
    }
}

/// Whether `run` can make it anew.
fn is_indexers_table(key: &str) -> bool {
    key.split('/').rev().nth(1) == Some("tables")
        && key.rsplit('/').next().is_some_and(|name| name.starts_with("kym_") && name.ends_with(".parquet"))
}

impl From<IndexError> for CliError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Dataset(error) => error.into(),
            IndexError::Plugin(error) => error.into(),
            other => Self::diagnosed(&other),
        }
    }
}

/// An error before there is another document.
#[derive(Debug, Serialize)]
pub struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

/// What went wrong.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a PluginDetails>,
}

impl<'a> ErrorBody<'a> {
    /// The body for an error.
    pub fn new(error: &'a CliError) -> Self {
        Self { code: error.code, message: &error.message, help: error.help.as_deref(), plugin: error.plugin.as_deref() }
    }
}

impl<'a> ErrorDocument<'a> {
    /// The document of an error.
    pub fn new(error: &'a CliError) -> Self {
        Self { error: ErrorBody::new(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_index::MassRemoval;
    use kymhost_plugin::Refusal;
    use kymhost_store::Holder;
    use serde_json::json;
    use std::path::Path;

    fn check(error: impl Into<CliError>, exit: Exit, code: &str, says: &str) {
        let error = error.into();
        assert_eq!((error.exit, error.code), (exit, code), "{error:?}");
        assert!(error.message.contains(says), "{error:?} does not say {says}");
    }

    #[test]
    fn every_error_has_its_exit_code_and_word() {
        let io = |kind| StoreError::Io { action: "write", key: "d/k".into(), source: io::Error::from(kind) };
        check(StoreError::BadKey { key: "../x".into(), why: "bad" }, Exit::Unusable, "bad_key", "../x");
        check(StoreError::LeadsOut { key: "d/k".into() }, Exit::Unusable, "leads_out", "d/k");
        check(StoreError::TooLarge { key: "d/k".into(), limit: 7 }, Exit::Unusable, "too_large", "7 bytes");
        check(DatasetError::Store(io(io::ErrorKind::StorageFull)), Exit::Unusable, "io", "d/k");
        check(
            DatasetError::NotADataset { path: "p".into(), why: "no .zgroup".into(), help: "h" },
            Exit::Unusable,
            "not_a_dataset",
            "no .zgroup",
        );
        check(
            DatasetError::UnknownImage { id: "zz".into(), dataset: "d".into() },
            Exit::Usage,
            "unknown_image",
            "'zz'",
        );
        check(
            DatasetError::Unreadable { key: "d/k".into(), table: None, expected: "JSON", found: "x".into() },
            Exit::Unusable,
            "unreadable",
            "d/k",
        );
        check(DatasetError::Unwritable { key: "d/k".into(), why: "x".into() }, Exit::Unusable, "unwritable", "d/k");
        check(Refusal::new("api_major", "w", "h").of(Path::new("l.so")), Exit::Unusable, "api_major", "l.so");
        check(PluginError::worker("w"), Exit::Unusable, "worker", "worker processes");
        check(IndexError::UnknownMode("x".into()), Exit::Usage, "usage", "'incremental'");
        check(IndexError::BadName { name: "X".into(), why: "w" }, Exit::Unusable, "bad_name", "'X'");
        let holder = Holder { pid: Some(7), ..Holder::default() };
        check(IndexError::Locked { table: "t".into(), holder: holder.clone() }, Exit::Locked, "locked", "process 7");
        check(DatasetError::Locked { holder, seconds: 3 }, Exit::Locked, "locked", "process 7");
        check(IndexError::Dataset(DatasetError::Store(io(io::ErrorKind::Other))), Exit::Unusable, "io", "d/k");
    }

    #[test]
    fn errors_of_runs_say_what_to_do_once() {
        let unreadable = |key: &str, found: &str| DatasetError::Unreadable {
            key: key.into(),
            table: None,
            expected: "Parquet",
            found: found.into(),
        };
        let removal = MassRemoval { table: "tables/t.parquet".into(), images: 0, in_table: 3, vanished: 3, rows: 6 };
        // (error, what its help says; none where the message does)
        let cases: [(CliError, Option<&str>); 8] = [
            (unreadable("/d/tables/kym_radon.parquet", "no footer").into(), Some("--mode replace")),
            (unreadable("/d/tables/kym_radon.parquet", "try --mode replace").into(), None),
            (unreadable("/d/tables/sources.parquet", "no footer").into(), Some("dataset validate")),
            (unreadable("/d/images/kym_x.parquet", "no footer").into(), Some("dataset validate")),
            (IndexError::MassRemoval(removal.clone()).into(), Some("--yes")),
            (IndexError::Locked { table: "t".into(), holder: Holder::default() }.into(), Some("--wait")),
            (IndexError::UnknownImages(vec!["a".into(), "b".into()]).into(), Some("kymhost status")),
            (DatasetError::UnknownImage { id: "z".into(), dataset: "d".into() }.into(), Some("kymhost status")),
        ];
        for (error, says) in cases {
            match (&error.help, says) {
                (Some(help), Some(says)) => assert!(help.contains(says), "{error:?}"),
                (help, says) => assert_eq!(help.as_deref(), says, "{error:?}"),
            }
        }
        check(IndexError::MassRemoval(removal), Exit::Refused, "guarded", "6 rows");
        check(IndexError::UnknownImages(vec!["a".into(), "b".into()]), Exit::Usage, "unknown_image", "a, b");
    }

    #[test]
    fn an_unknown_plugin_puts_its_help_apart() {
        let error = CliError::from(PluginError::NotFound {
            name: "nope".into(),
            searched: "/a, /b".into(),
            found: "radon".into(),
            similar: Some("noop".into()),
        });
        assert_eq!(error.exit, Exit::Unusable);
        assert!(error.message.contains("'nope'") && error.message.contains("/a, /b"), "{}", error.message);
        assert!(!error.message.contains("noop"));
        assert_eq!(error.help.as_deref(), Some("did you mean 'noop'?"));
    }

    #[test]
    fn help_within_an_error_is_set_apart() {
        let why = "it has several indexers: a, b";
        let error = CliError::from(Refusal::new("several_indexers", why, "say which").of(Path::new("l.so")));
        assert_eq!(error.message, "cannot use l.so: it has several indexers: a, b");
        assert_eq!(error.help.as_deref(), Some("say which"));
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = StoreError::Io { action: "read", key: "k".into(), source: io::Error::other("the disk is on fire") };
        assert_eq!(with_causes(&error).matches("on fire").count(), 1);
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let error =
            StoreError::Io { action: "write", key: "k".into(), source: io::Error::from(io::ErrorKind::StorageFull) };
        assert!(CliError::from(error).help.is_some_and(|help| help.contains("space")));
    }

    fn value(document: &impl Serialize) -> serde_json::Value {
        serde_json::to_value(document).unwrap()
    }

    #[test]
    fn the_document_of_an_error() {
        let error = CliError::usage("usage", "m");
        assert_eq!(
            value(&ErrorDocument::new(&error)),
            json!({"error": {"code": "usage", "message": "m", "help": null}})
        );
    }
}
