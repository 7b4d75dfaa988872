//! `dataset create`, `info`, `validate`, `manifest`; the others have files of their own.
//! Owns: how they tell what the room `dataset` found. Never: judges.

use super::args::{DatasetCommand, DatasetCreateArgs, DatasetManifestArgs, DatasetPathArg};
use super::error::CliError;
use super::exit::Exit;
use super::{Context, output, quantity};
use kymhost_dataset::{Dataset, Findings, Info, Problem};
use kymhost_store::{Key, LocalStore, Store};
use serde::Serialize;
use std::sync::Arc;

/// The manifest's key.
const MANIFEST: &str = "index/manifest.json.gz";

/// Does `dataset …`.
pub fn dataset(context: &Context, command: &DatasetCommand) -> Result<Exit, CliError> {
    match command {
        DatasetCommand::Create(args) => create(context, args),
        DatasetCommand::Info(args) => info(context, args),
        DatasetCommand::Validate(args) => validate(context, args),
        DatasetCommand::Manifest(args) => manifest(context, args),
        DatasetCommand::Ingest(args) => super::ingest::ingest(context, args),
        DatasetCommand::Export(args) => super::export::export(context, args),
        DatasetCommand::ViewTable(args) => super::table::view(context, args),
    }
}

fn open(context: &Context, args: &DatasetPathArg) -> Result<Dataset, CliError> {
    Ok(Dataset::open(&context.dataset_path(args.path.as_deref())?)?)
}

/// `dataset create --json`
#[derive(Debug, Serialize)]
struct CreateDocument {
    dataset: String,
}

fn create(context: &Context, args: &DatasetCreateArgs) -> Result<Exit, CliError> {
    let path = context.dataset_path(args.path.as_deref())?;
    Dataset::create(&path)?;
    let path = path.display().to_string();
    if context.json {
        output::document(&CreateDocument { dataset: path })?;
    } else if !context.quiet {
        output::say(format_args!("made the empty dataset {path}"));
    }
    Ok(Exit::Done)
}

/// `dataset info --json`
#[derive(Debug, Serialize)]
struct InfoDocument<'a> {
    dataset: String,
    format: &'a str,
    schema_version: i64,
    created_utc: Option<&'a str>,
    updated_utc: Option<&'a str>,
    images: u64,
    artifacts: u64,
    has_manifest: bool,
    tables: Vec<TableBody<'a>>,
}

#[derive(Debug, Serialize)]
struct TableBody<'a> {
    name: &'a str,
    table: String,
    rows: u64,
    size_bytes: u64,
}

fn info(context: &Context, args: &DatasetPathArg) -> Result<Exit, CliError> {
    let dataset = open(context, args)?;
    let info = dataset.info()?;
    let path = dataset.store().root().display().to_string();
    if context.json {
        output::document(&info_document(path, &info))?;
    } else {
        output::to_stdout(|out| out.write_all(info_text(&path, &info).as_bytes()))?;
    }
    Ok(Exit::Done)
}

/// A dataset table's name as `table show` takes it.
fn shown(table: &str) -> &str {
    table.strip_prefix("kym_").unwrap_or(table)
}

fn info_document(dataset: String, info: &Info) -> InfoDocument<'_> {
    let tables = info.tables.iter().map(|table| TableBody {
        name: shown(&table.name),
        table: format!("tables/{}.parquet", table.name),
        rows: table.rows,
        size_bytes: table.bytes,
    });
    InfoDocument {
        dataset,
        format: &info.format,
        schema_version: info.schema_version,
        created_utc: info.created_utc.as_deref(),
        updated_utc: info.updated_utc.as_deref(),
        images: info.images,
        artifacts: info.artifacts,
        has_manifest: info.has_manifest,
        tables: tables.collect(),
    }
}

fn info_text(path: &str, info: &Info) -> String {
    let unknown = "(not said)";
    let manifest = if info.has_manifest { MANIFEST } else { "none; `kymhost dataset manifest` makes it" };
    let mut lines = vec![
        format!("dataset    {path}"),
        format!("format     {}, schema version {}", info.format, info.schema_version),
        format!("created    {}", info.created_utc.as_deref().unwrap_or(unknown)),
        format!("updated    {}", info.updated_utc.as_deref().unwrap_or(unknown)),
        format!("images     {}", info.images),
        format!("artifacts  {}", info.artifacts),
        format!("manifest   {manifest}"),
    ];
    if info.tables.is_empty() {
        lines.push("tables     none; `kymhost run` makes them".to_owned());
    }
    let width = info.tables.iter().map(|table| shown(&table.name).len()).max().unwrap_or(0);
    for (index, table) in info.tables.iter().enumerate() {
        let head = if index == 0 { "tables" } else { "" };
        let size = quantity::show_size(table.bytes);
        lines.push(format!("{head:9}  {:width$}  {} rows, {size}", shown(&table.name), table.rows));
    }
    lines.join("\n") + "\n"
}

/// `dataset validate --json`
#[derive(Debug, Serialize)]
struct ProblemsDocument<'a> {
    dataset: String,
    problems: Vec<ProblemBody<'a>>,
    notes: Vec<ProblemBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ProblemBody<'a> {
    key: &'a str,
    message: &'a str,
}

impl<'a> ProblemBody<'a> {
    fn all(problems: &'a [Problem]) -> Vec<Self> {
        problems.iter().map(|problem| Self { key: &problem.key, message: &problem.message }).collect()
    }
}

fn validate(context: &Context, args: &DatasetPathArg) -> Result<Exit, CliError> {
    let path = context.dataset_path(args.path.as_deref())?;
    let store = LocalStore::open(&path)?;
    // What keeps a dataset from being opened is a problem like another; a folder that is none at all is an error.
    if store.stat(&Key::new(".zgroup")?)?.is_none() && store.stat(&Key::new(".zattrs")?)?.is_none() {
        Dataset::open(&path)?;
    }
    let Findings { problems, notes, .. } = kymhost_dataset::validate(Arc::new(store));
    let dataset = path.display().to_string();
    let exit = if problems.is_empty() { Exit::Done } else { Exit::Unusable };
    if context.json {
        let (problems, notes) = (ProblemBody::all(&problems), ProblemBody::all(&notes));
        output::document(&ProblemsDocument { dataset, problems, notes })?;
        return Ok(exit);
    }
    output::to_stdout(|out| problems.iter().try_for_each(|problem| writeln!(out, "{problem}")))?;
    if !context.quiet {
        notes.iter().for_each(|note| output::say(format_args!("note: {note}")));
        match problems.len() {
            0 => output::say(format_args!("{dataset}: nothing is wrong")),
            1 => output::say(format_args!("{dataset}: 1 problem")),
            count => output::say(format_args!("{dataset}: {count} problems")),
        }
    }
    Ok(exit)
}

/// `dataset manifest --json`
#[derive(Debug, Serialize)]
struct ManifestDocument {
    manifest: &'static str,
    images: usize,
}

/// `dataset manifest --check --json`
#[derive(Debug, Serialize)]
struct CheckDocument<'a> {
    manifest: &'static str,
    differences: Vec<DifferenceBody<'a>>,
}

#[derive(Debug, Serialize)]
struct DifferenceBody<'a> {
    image_id: Option<&'a str>,
    message: &'a str,
}

fn manifest(context: &Context, args: &DatasetManifestArgs) -> Result<Exit, CliError> {
    let dataset = open(context, &args.dataset)?;
    if !args.check {
        let images = dataset.rebuild_manifest()?;
        if context.json {
            output::document(&ManifestDocument { manifest: MANIFEST, images })?;
        } else if !context.quiet {
            output::say(format_args!("{MANIFEST}: lists {images} images"));
        }
        return Ok(Exit::Done);
    }
    let differences = dataset.check_manifest()?;
    let exit = if differences.is_empty() { Exit::Done } else { Exit::Unusable };
    if context.json {
        let differences = differences.iter().map(|difference| DifferenceBody {
            image_id: (!difference.image_id.is_empty()).then_some(difference.image_id.as_str()),
            message: &difference.message,
        });
        output::document(&CheckDocument { manifest: MANIFEST, differences: differences.collect() })?;
        return Ok(exit);
    }
    output::to_stdout(|out| {
        differences.iter().try_for_each(|difference| {
            let about = if difference.image_id.is_empty() { MANIFEST } else { &difference.image_id };
            writeln!(out, "{about}: {}", difference.message)
        })
    })?;
    if !context.quiet {
        match differences.len() {
            0 => output::say(format_args!("{MANIFEST}: agrees with the images")),
            _ => output::say(format_args!(
                "{MANIFEST}: does not agree with the images; `kymhost dataset manifest` rebuilds it"
            )),
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_dataset_is_described() {
        let folder = tempfile::tempdir().unwrap();
        let info = Dataset::create(&folder.path().join("x.zarr")).unwrap().info().unwrap();
        let text = info_text("x.zarr", &info);
        assert!(text.contains("\nimages     0\n") && text.contains("\ntables     none"), "{text}");
        let document = serde_json::to_value(info_document("x.zarr".to_owned(), &info)).unwrap();
        assert_eq!(document["format"], "kymflow_zarr_v1");
        assert_eq!((&document["images"], &document["tables"]), (&0.into(), &serde_json::json!([])));
    }
}
