//! `table show`.

use super::names::{IMAGE_ID, find, unknown};
use super::rows::{TableOutput, format, row_limit, show_rows};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use clap::Args;
use kymhost_dataset::cells::Column;
use kymhost_dataset::{Dataset, DatasetError, TableFile};
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
    let file = dataset.open_table(&table)?.ok_or_else(|| unknown(&dataset, &args.name, &[]))?;
    let limit = row_limit(&args.output, format);
    let (rows, total) = if args.image.is_empty() {
        (first_rows(&file, limit)?, file.rows())
    } else {
        of_images(&dataset, &table, &file, &args.image, limit)?
    };
    show_rows(context, &rows, total, &args.output, format)?;
    Ok(Exit::Done)
}

/// The first rows of a table. No more of it is read.
fn first_rows(file: &TableFile, limit: usize) -> Result<RecordBatch, CliError> {
    let (mut kept, mut left) = (Vec::new(), limit);
    if left > 0 {
        for batch in file.all_batches(None, left)? {
            let batch = batch?;
            let taken = batch.num_rows().min(left);
            kept.push(batch.slice(0, taken));
            left -= taken;
            if left == 0 {
                break;
            }
        }
    }
    joined(file, &kept)
}

fn joined(file: &TableFile, batches: &[RecordBatch]) -> Result<RecordBatch, CliError> {
    concat_batches(file.schema(), batches)
        .map_err(|error| CliError::internal(format_args!("cannot join the rows: {error}")))
}

/// The first rows of these recordings, and how many they have in all. A recording that is neither in the table nor in the
/// dataset is an error.
fn of_images(
    dataset: &Dataset,
    table: &str,
    file: &TableFile,
    images: &[String],
    limit: usize,
) -> Result<(RecordBatch, u64), CliError> {
    let wanted: HashSet<&str> = images.iter().map(String::as_str).collect();
    let mut seen = HashSet::new();
    let (mut kept, mut left, mut total) = (Vec::new(), limit, 0u64);
    if file.schema().index_of(IMAGE_ID).is_err() {
        return Err(without_image_ids(table));
    }
    for batch in file.all_batches(None, usize::MAX)? {
        let batch = batch?;
        let Some(column) = batch.column_by_name(IMAGE_ID).map(Column::new) else { break };
        let mask: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                let hit = column.text(row).and_then(|id| wanted.get(id.as_ref()).copied());
                seen.extend(hit);
                Some(hit.is_some())
            })
            .collect();
        total += mask.true_count() as u64;
        if left > 0 && mask.true_count() > 0 {
            let rows = filter_record_batch(&batch, &mask)
                .map_err(|error| CliError::internal(format_args!("cannot filter the rows: {error}")))?;
            let taken = rows.num_rows().min(left);
            kept.push(rows.slice(0, taken));
            left -= taken;
        }
    }
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
    Ok((joined(file, &kept)?, total))
}

/// The error of a table whose rows belong to no recording.
pub fn without_image_ids(table: &str) -> CliError {
    CliError::usage("no_image_id", format!("the table {table} has no column {IMAGE_ID}"), "leave out --image")
}
