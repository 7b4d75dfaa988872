//! `table show`.

use super::names::{IMAGE_ID, find, unknown};
use super::rows::{TableOutput, format, show_rows};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use clap::Args;
use kymhost_dataset::cells::Column;
use kymhost_dataset::{Dataset, DatasetError};
use std::collections::HashSet;

const EXAMPLES: &str = "\
Examples:
  kymhost table show velocity_events
  kymhost table show velocity_events --image 0b0f5a3c-2c3e-4a5f-9d0e-8b8b6f0c1d2e --all
  kymhost table show velocity_events --format csv --output events.csv
  kymhost table show velocity_events --format parquet > events.parquet
  kymhost table show sources --format json | jq length";

/// Arguments of `table show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TableShowArgs {
    /// Show this table: the name of its indexer (velocity_events) or of another table (sources)
    pub name: String,
    /// How rows are shown.
    #[command(flatten)]
    pub output: TableOutput,
    /// Show only rows of these recordings; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
}

/// Does `table show`.
pub fn show(context: &Context, args: &TableShowArgs) -> Result<Exit, CliError> {
    let format = format(context, &args.output)?;
    let dataset = context.open_dataset()?;
    let table = find(&dataset, &args.name)?;
    let rows = dataset.read_table(&table, None)?.ok_or_else(|| unknown(&dataset, &args.name, &[]))?;
    let rows = if args.image.is_empty() { rows } else { of_images(&dataset, &table, &rows, &args.image)? };
    show_rows(context, &rows, &args.output, format)?;
    Ok(Exit::Done)
}

/// The rows of these recordings. A recording that is neither in the table nor in the dataset is an error.
fn of_images(dataset: &Dataset, table: &str, rows: &RecordBatch, images: &[String]) -> Result<RecordBatch, CliError> {
    let Some(column) = rows.column_by_name(IMAGE_ID) else {
        return Err(without_image_ids(table));
    };
    let column = Column::new(column);
    let wanted: HashSet<&str> = images.iter().map(String::as_str).collect();
    let mut seen = HashSet::new();
    let mask: BooleanArray = (0..rows.num_rows())
        .map(|row| {
            let hit = column.text(row).and_then(|id| wanted.get(id.as_ref()).copied());
            seen.extend(hit);
            Some(hit.is_some())
        })
        .collect();
    for id in images.iter().filter(|id| !seen.contains(id.as_str())) {
        match dataset.find_record(id) {
            Ok(_) => {}
            // An id that is not a valid key belongs to no recording.
            Err(DatasetError::Store(kymhost_store::StoreError::BadKey { .. })) => {
                return Err(DatasetError::UnknownImage {
                    id: id.clone(),
                    dataset: dataset.store().root().display().to_string(),
                }
                .into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    filter_record_batch(rows, &mask)
        .map_err(|error| CliError::internal(format_args!("cannot filter the rows: {error}")))
}

/// The error of a table whose rows belong to no recording.
pub fn without_image_ids(table: &str) -> CliError {
    CliError::usage("no_image_id", format!("the table {table} has no column {IMAGE_ID}"), "leave out --image")
}
