//! `dataset view-table`: one row per recording.
//!
//! This file must not make the columns: see [`kymhost_dataset`].

use crate::commands::table::rows::{TableOutput, format, show_rows};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  kymhost dataset view-table
  kymhost dataset view-table --format csv --output images.csv
  kymhost dataset view-table --json | jq '.[] | select(.has_voxels | not) | .original_path'

If something of a recording cannot be read, its column `error` says what; the exit code is then 3.";

/// Arguments of `dataset view-table`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetViewArgs {
    /// How rows are shown.
    #[command(flatten)]
    pub output: TableOutput,
}

/// Does `dataset view-table`.
pub fn view(context: &Context, args: &DatasetViewArgs) -> Result<Exit, CliError> {
    let format = format(context, &args.output)?;
    let dataset = context.open_dataset()?;
    let view = dataset.view()?;
    show_rows(context, &view.rows, view.rows.num_rows() as u64, &args.output, format)?;
    for (table, why) in &view.broken_tables {
        output::say(format_args!("table {table} cannot be read: {}", output::indented(why)));
    }
    if view.broken_images > 0 && !context.quiet {
        output::say(format_args!(
            "{} recordings cannot be read completely: see the column 'error'",
            view.broken_images
        ));
    }
    let is_whole = view.broken_images == 0 && view.broken_tables.is_empty();
    Ok(if is_whole { Exit::Done } else { Exit::SomeFailed })
}
