//! `table list`.

use super::names::{IMAGE_ID, shown};
use crate::commands::bodies::TableBody;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, quantity};
use clap::Args;
use kymhost_dataset::cells::Column;
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_store::Key;
use serde::Serialize;
use std::collections::HashSet;

const EXAMPLES: &str = "\
Examples:
  kymhost table list
  kymhost table list --dataset lab.zarr --json";

/// Arguments of `table list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TableListArgs {}

/// `table list --json`
#[derive(Debug, Serialize)]
struct TablesDocument {
    /// The tables.
    tables: Vec<TableBody>,
}

/// Does `table list`.
pub fn list(context: &Context, _: &TableListArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let tables: Vec<TableBody> =
        dataset.table_names()?.iter().map(|table| describe(&dataset, table)).collect::<Result<_, _>>()?;
    let exit = if tables.iter().any(|table| table.error.is_some()) { Exit::Unusable } else { Exit::Done };
    if context.json {
        output::document(&TablesDocument { tables })?;
        return Ok(exit);
    }
    if tables.is_empty() && !context.quiet {
        output::say("the dataset has no tables yet; next: kymhost run --plugin NAME");
    }
    let width = tables.iter().map(|table| table.name.len()).max().unwrap_or(0);
    output::to_stdout(|out| {
        for table in &tables {
            let count = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
            let rows = format!("{} rows of {} recordings", count(table.rows), count(table.images.flatten()));
            let size = table.size_bytes.map(quantity::show_size).unwrap_or_default();
            writeln!(out, "{:width$}  {rows}  {size}  {}", table.name, table.table)?;
            if let Some(error) = &table.error {
                writeln!(out, "  cannot be read: {}", output::indented(error))?;
            }
        }
        Ok(())
    })?;
    Ok(exit)
}

/// A table's line. A broken table does not end the list.
fn describe(dataset: &Dataset, table: &str) -> Result<TableBody, CliError> {
    let key = format!("tables/{table}.parquet");
    let size_bytes = dataset.store().stat(&Key::new(key.as_str())?)?.map(|stat| stat.size);
    let name = shown(table).to_owned();
    let mut body = TableBody { name, table: key, rows: None, images: Some(None), size_bytes, error: None };
    match counts(dataset, table) {
        Ok(Some((rows, images))) => {
            body.rows = Some(rows);
            body.images = Some(Some(images));
        }
        Ok(None) => {}
        Err(error) => body.error = Some(error.to_string()),
    }
    Ok(body)
}

/// How many rows a table has, and of how many images; `None` if there is no such table.
fn counts(dataset: &Dataset, table: &str) -> Result<Option<(u64, u64)>, DatasetError> {
    let Some(file) = dataset.open_table(table)? else { return Ok(None) };
    let mut ids: HashSet<String> = HashSet::new();
    for batch in file.all_batches(Some(&[IMAGE_ID]), usize::MAX)? {
        let batch = batch?;
        let Some(column) = batch.column_by_name(IMAGE_ID).map(Column::new) else { break };
        for id in (0..batch.num_rows()).filter_map(|row| column.text(row)) {
            if !ids.contains(id.as_ref()) {
                ids.insert(id.into_owned());
            }
        }
    }
    Ok(Some((file.rows(), ids.len() as u64)))
}
