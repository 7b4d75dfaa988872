//! `dataset info`.

use super::manifest::MANIFEST;
use crate::commands::bodies::TableBody;
use crate::commands::table::names::shown;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::DatasetPathArg;
use crate::{output, quantity};
use clap::Args;
use kymhost_dataset::Info;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  kymhost dataset info lab.zarr
  kymhost dataset info --json";

/// Arguments of `dataset info`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetInfoArgs {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetPathArg,
}

/// `dataset info --json`
#[derive(Debug, Serialize)]
struct InfoDocument<'a> {
    /// The dataset's folder.
    dataset: String,
    /// The format.
    format: &'a str,
    /// The version of the format.
    schema_version: i64,
    /// When it was created.
    created_utc: Option<&'a str>,
    /// When it was last changed.
    updated_utc: Option<&'a str>,
    /// How many recordings it has.
    images: u64,
    /// How many artifacts it has.
    artifacts: u64,
    /// Whether it has a manifest.
    has_manifest: bool,
    /// Its tables.
    tables: Vec<TableBody>,
}

/// Does `dataset info`.
pub fn info(context: &Context, args: &DatasetInfoArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset_at(&args.dataset)?;
    let info = dataset.info()?;
    let path = dataset.store().root().display().to_string();
    output::result(context.json, &info_document(path.clone(), &info), |out| {
        out.write_all(info_text(&path, &info).as_bytes())
    })?;
    Ok(Exit::Done)
}

fn info_document(dataset: String, info: &Info) -> InfoDocument<'_> {
    let tables = info.tables.iter().map(|table| TableBody {
        name: shown(&table.name).to_owned(),
        table: format!("tables/{}.parquet", table.name),
        rows: Some(table.rows),
        images: None,
        size_bytes: Some(table.bytes),
        error: None,
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
    let unknown = "(unknown)";
    let manifest = if info.has_manifest { MANIFEST } else { "none; `kymhost dataset manifest` makes it" };
    let mut lines = vec![
        format!("dataset    {path}"),
        format!("format     {}, schema version {}", info.format, info.schema_version),
        format!("created    {}", info.created_utc.as_deref().unwrap_or(unknown)),
        format!("updated    {}", info.updated_utc.as_deref().unwrap_or(unknown)),
        format!("recordings {}", info.images),
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

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_dataset::Dataset;

    #[test]
    fn info_describes_new_dataset() {
        let folder = tempfile::tempdir().unwrap();
        let info = Dataset::create(&folder.path().join("x.zarr")).unwrap().info().unwrap();
        let text = info_text("x.zarr", &info);
        assert!(text.contains("\nrecordings 0\n") && text.contains("\ntables     none"), "{text}");
        let document = serde_json::to_value(info_document("x.zarr".to_owned(), &info)).unwrap();
        assert_eq!(document["format"], "kymflow_zarr_v1");
        assert_eq!((&document["images"], &document["tables"]), (&0.into(), &serde_json::json!([])));
    }
}
