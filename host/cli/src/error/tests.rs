use super::*;
use crate::cli::Cli;
use crate::commands::{explain, params, table};
use crate::context::Context;
use crate::interrupt::Interrupt;
use crate::reference::codes::{REFUSALS, codes};
use crate::{dataset_choice, demo, output, plugins, program};
use clap::Parser;
use kymhost_author::{BuildError, FileError, SourceKind, Tool};
use kymhost_dataset::Dataset;
use kymhost_index::MassRemoval;
use kymhost_ingest::FileErrorKind;
use kymhost_plugin::Refusal;
use kymhost_store::Holder;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

#[test]
fn error_document_has_published_keys() {
    let error = CliError::usage("usage", "m", "h");
    let document = |error: &CliError| serde_json::to_value(ErrorDocument::new(error)).unwrap();
    assert_eq!(
        document(&error),
        json!({"error": {"code": "usage", "message": "m", "what": "m", "why": null, "help": "h"}})
    );
    assert_eq!(
        document(&error.why("w")),
        json!({"error": {"code": "usage", "message": "m: w", "what": "m", "why": "w", "help": "h"}})
    );
}

#[test]
fn refused_plugin_keeps_what_and_help_apart() {
    let why = "it has several indexers: a, b";
    let error = CliError::from(Refusal::new("several_indexers", why, "say which").of(Path::new("l.so")));
    assert_eq!(error.message(), "cannot use l.so: it has several indexers: a, b");
    assert_eq!(error.said.help.as_deref(), Some("say which"));
}

/// The error of a command line, in this process.
fn of_line(line: &[&str]) -> CliError {
    let cli = Cli::try_parse_from(["kymhost"].iter().chain(line)).unwrap();
    let context = Context {
        program: "kymhost".into(),
        dataset: cli.common.dataset,
        json: cli.common.json,
        quiet: true,
        verbose: 0,
    };
    program::dispatch(&context, &cli.command).expect_err(&line.join(" "))
}

/// Errors that command lines cause in a folder with a dataset, a table that is broken, and some files.
fn of_lines() -> Vec<CliError> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let data = path("lab.zarr");
    Dataset::create(Path::new(&data)).unwrap();
    fs::create_dir_all(path("lab.zarr/tables")).unwrap();
    for name in ["lab.zarr/tables/kym_radon.parquet", "lab.zarr/tables/sources.parquet", "bad.json", "full/notes.txt"] {
        fs::create_dir_all(Path::new(&path(name)).parent().unwrap()).unwrap();
        fs::write(path(name), "{").unwrap();
    }
    let choose = |datasets: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        datasets.iter().for_each(|name| drop(Dataset::create(&folder.path().join(name)).unwrap()));
        dataset_choice::choose(None, None, folder.path()).unwrap_err()
    };
    let full = path("full");
    vec![
        choose(&[]),
        choose(&["a.zarr", "b.zarr"]),
        of_line(&["dataset", "info", &full]),
        of_line(&["dataset", "export", &full, "--dataset", &data]),
        of_line(&["dataset", "export", &path("lab.zarr/inside"), "--dataset", &data]),
        of_line(&["dataset", "ingest", &path("full/notes.txt"), "--dataset", &data]),
        of_line(&["dataset", "ingest", &path("absent"), "--dataset", &data]),
        of_line(&["table", "show", "nothing", "--dataset", &data]),
        of_line(&["table", "show", "radon", "--dataset", &data]),
        of_line(&["table", "show", "radon", "--json", "--format", "csv", "--dataset", &data]),
        of_line(&["table", "drop", "radon", "--dataset", &data]),
        of_line(&["table", "drop", "sources", "--dataset", &data]),
        of_line(&["params-hash", &path("absent.json")]),
        of_line(&["params-hash", &path("bad.json")]),
        of_line(&["params", "set", "--plugin", "radon", "--all"]),
        of_line(&["completions", "bash", "--json"]),
        of_line(&["plugin", "list", "--plugin-dir", &path("absent")]),
        of_line(&["plugin", "new", "kym_x"]),
        of_line(&["plugin", "new", "stalls", "--path", &full]),
    ]
}

fn io_error() -> io::Error {
    io::Error::from(io::ErrorKind::PermissionDenied)
}

/// `EMFILE`, on every Unix.
const TOO_MANY_FILES: i32 = 24;

fn of_store() -> Vec<CliError> {
    let failed = |kind| StoreError::Io { action: "write", key: "k".into(), source: io::Error::from(kind) };
    let mut all: Vec<CliError> = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::Other,
    ]
    .map(|kind| failed(kind).into())
    .into();
    all.extend([
        StoreError::BadKey { key: "../x".into(), why: "it is empty" }.into(),
        StoreError::LeadsOut { key: "k".into() }.into(),
        StoreError::ThroughLink { key: "l/k".into(), link: "l".into() }.into(),
        CliError::from(StoreError::TooLarge { key: "k".into(), limit: 7 }),
        StoreError::Io { action: "read", key: "k".into(), source: io::Error::from_raw_os_error(TOO_MANY_FILES) }.into(),
    ]);
    all
}

fn of_dataset_and_ingest() -> Vec<CliError> {
    let path = || Path::new("p").to_owned();
    vec![
        DatasetError::UnknownImage { id: "i".into(), dataset: "d".into() }.into(),
        DatasetError::Unreadable { key: "k".into(), table: None, expected: "JSON", found: "x".into() }.into(),
        DatasetError::Unwritable { key: "k".into(), why: "x".into() }.into(),
        DatasetError::Locked { holder: Holder::default(), seconds: 3 }.into(),
        DatasetError::Busy { key: "k".into(), tries: 5 }.into(),
        IngestError::TooMany { path: path(), limit: 7 }.into(),
        IngestError::Locked { holder: Holder::default() }.into(),
        IngestError::Write { path: path(), why: "x".into() }.into(),
    ]
}

fn of_plugins() -> Vec<CliError> {
    let text = || "x".to_owned();
    let path = || Path::new("p").to_owned();
    let not_found = |similar| PluginError::NotFound { name: text(), searched: text(), found: text(), similar };
    let build = |error: BuildError| CliError::from(InstallError::from(error));
    let file_error = |action| FileError { action, path: path(), source: io_error() };
    vec![
        not_found(None).into(),
        not_found(Some(text())).into(),
        PluginError::worker("x").into(),
        LockError::Busy { path: text(), holder: Holder::default() }.into(),
        LockError::Broken(Refusal::new("bad_lock", "w", "h").of(Path::new("l"))).into(),
        SchemaError::Bad(text()).into(),
        SchemaError::Invalid(vec![text(), text()]).into(),
        NewError::from(file_error("create")).into(),
        build(BuildError::NoSource { path: text(), source: io_error() }),
        build(BuildError::NoTool { tool: Tool::Cargo, source: io_error() }),
        build(BuildError::NoTool { tool: Tool::Make, source: io_error() }),
        build(file_error("list").into()),
        build(BuildError::Failed { tool: Tool::Make, folder: text(), status: ExitStatus::from_raw(256) }),
        build(BuildError::NoPlugin { folder: text(), kind: SourceKind::Crate }),
        build(BuildError::NoPlugin { folder: text(), kind: SourceKind::Makefile }),
        build(BuildError::NoPlugin { folder: text(), kind: SourceKind::Folder }),
        InstallError::NoDataFolder.into(),
        InstallError::NameTaken { name: text(), version: text(), library: text(), new: text(), new_version: text() }
            .into(),
        InstallError::NotInstalled { name: text(), found: text() }.into(),
        InstallError::BadName { name: text(), why: "it is odd" }.into(),
        InstallError::from(file_error("read")).into(),
        CheckError::NoLibrary { path: path(), source: io_error() }.into(),
        CheckError::Io { what: text(), source: io_error() }.into(),
        CheckError::NoImages(text()).into(),
        CheckError::UnknownIndexer { library: text(), indexer: text(), found: text() }.into(),
        CheckError::Interrupted.into(),
    ]
}

fn of_index() -> Vec<CliError> {
    let text = || "x".to_owned();
    let removal = |images| MassRemoval { table: text(), images, in_table: 12, vanished: 11, rows: 30 };
    vec![
        IndexError::BadName { name: text(), why: "it is empty" }.into(),
        IndexError::TwoWriters { key: text(), first: text(), second: text() }.into(),
        IndexError::Cycle(vec![text(), text()]).into(),
        IndexError::ArtifactsByKymflow(text()).into(),
        IndexError::UnknownMode(text()).into(),
        IndexError::Locked { table: text(), holder: Holder::default() }.into(),
        IndexError::UnknownImages(vec![text(), text()]).into(),
        IndexError::MassRemoval(removal(0)).into(),
        IndexError::MassRemoval(removal(1)).into(),
        IndexError::Interrupted.into(),
        IndexError::BusyTable { table: text(), tries: 3 }.into(),
        ParamsError::NoEdit { text: text(), expected: "KEY=VALUE" }.into(),
        ParamsError::NoObject { path: text(), at: text(), found: "a list" }.into(),
        ParamsError::NoParams { found: "a list" }.into(),
    ]
}

fn of_program() -> Vec<CliError> {
    let line = ["kymhost", "rnu"].map(std::ffi::OsString::from);
    let usage = Cli::try_parse_from(&line).unwrap_err();
    let mut all = vec![
        program::usage_error(&usage, &line),
        CliError::internal("x"),
        CliError::output(&io_error()),
        Interrupt::default().error("x"),
        plugins::given_twice("x"),
        explain::only_one(vec!["ab".into(), "ac".into()], "a").unwrap_err(),
        explain::only_one(Vec::new(), "a").unwrap_err(),
        params::images::undeclared("x"),
        params::set::written_by("x", "a/params"),
        params::set::not_params("a/params", "f", &ParamsError::NoParams { found: "a list" }),
        table::rows::binary_to_terminal(),
        table::show::without_image_ids("x"),
    ];
    for kind in [
        FileErrorKind::Io,
        FileErrorKind::Broken,
        FileErrorKind::Unsupported,
        FileErrorKind::TooLarge,
        FileErrorKind::Metadata,
        FileErrorKind::Sidecar,
        FileErrorKind::Changed,
    ] {
        all.push(demo::cannot_import(Path::new("p"), kind.code(), "x"));
    }
    all
}

/// Text and JSON of an error: help is there, and no blank is where none belongs.
fn check(error: &CliError) {
    let help = error.said.help.as_deref().unwrap_or_default();
    assert!(!help.trim().is_empty(), "no help: {error:?}");
    let document = serde_json::to_value(ErrorDocument::new(error)).unwrap();
    assert_eq!(document["error"]["help"], help);
    assert_eq!(document["error"]["code"], error.code());
    for part in [Some(error.said.what.as_str()), error.said.why.as_deref(), Some(help)].into_iter().flatten() {
        assert!(!part.contains("help:") && !part.contains("error:"), "{error:?}");
        assert!(!part.ends_with('.') || part.ends_with("..."), "a full stop at the end: {error:?}");
        assert_eq!(part, part.trim(), "{error:?}");
    }
    for line in output::error_text(error, false).lines() {
        let line = line.strip_prefix("  ").unwrap_or(line);
        assert!(
            !line.is_empty() && line.trim() == line && !line.contains("  "),
            "stray blanks in {line:?} of {error:?}"
        );
    }
}

/// Every documented code is caused at least once. The error reads well, and its JSON has help.
#[test]
fn every_error_reads_well() {
    let all = [
        of_lines(),
        of_store(),
        of_dataset_and_ingest(),
        of_plugins(),
        of_index(),
        of_program(),
        // The reasons why libraries are rejected are checked where they are made, and by the tests of plugins.
        REFUSALS.map(|(code, _)| Refusal::new(code, "w", "h").of(Path::new("l.so")).into()).into(),
    ]
    .concat();
    all.iter().for_each(check);
    let caused: BTreeSet<&str> = all.iter().map(CliError::code).collect();
    let missing: Vec<_> = codes().difference(&caused).copied().collect();
    assert!(missing.is_empty(), "no error with these codes was caused: {missing:?}");
    let unknown: Vec<_> = caused.difference(&codes()).copied().collect();
    assert!(unknown.is_empty(), "these codes are not documented: {unknown:?}");
}
