//! `table list`.

use super::names::{IMAGE_ID, shown};
use crate::commands::bodies::TableBody;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{output, quantity};
use arrow::array::RecordBatch;
use clap::Args;
use kymhost_dataset::Dataset;
use kymhost_dataset::cells::Column;
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
    match dataset.read_table(table, Some(&[IMAGE_ID])) {
        Ok(Some(batch)) => {
            body.rows = Some(batch.num_rows() as u64);
            body.images = Some(Some(images_of(&batch)));
        }
        Ok(None) => {}
        Err(error) => body.error = Some(error.to_string()),
    }
    Ok(body)
}

fn images_of(batch: &RecordBatch) -> u64 {
    let Some(column) = batch.column_by_name(IMAGE_ID) else { return 0 };
    let column = Column::new(column);
    let ids: HashSet<_> = (0..batch.num_rows()).filter_map(|row| column.text(row)).collect();
    ids.len() as u64
}
