//! `dataset view-table`.
//! Owns: what is said of images and tables that cannot be read. Never: the columns (see `dataset::view`), how they are shown.

use super::{Context, format, show_rows};
use crate::program::args::DatasetViewArgs;
use crate::program::error::CliError;
use crate::program::exit::Exit;
use crate::program::output;

/// Does `dataset view-table`.
pub fn view(context: &Context, args: &DatasetViewArgs) -> Result<Exit, CliError> {
    let format = format(context, &args.output)?;
    let dataset = context.open_dataset()?;
    let view = dataset.view()?;
    show_rows(context, &view.rows, &args.output, format)?;
    for (table, why) in &view.broken_tables {
        output::say(format_args!("table {table} cannot be read: {}", output::indented(why)));
    }
    if view.broken_images > 0 && !context.quiet {
        output::say(format_args!("of {} images something cannot be read: see the column 'error'", view.broken_images));
    }
    let is_whole = view.broken_images == 0 && view.broken_tables.is_empty();
    Ok(if is_whole { Exit::Done } else { Exit::SomeFailed })
}
