//! Rows on their way to the user: which form, how many, and where to.
//!
//! This file must not know how a cell looks: see [`super::forms`].

use super::forms;
use crate::context::Context;
use crate::error::CliError;
use crate::output;
use arrow::array::RecordBatch;
use clap::{Args, ValueEnum};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How many rows the text shows by default.
const TEXT_ROWS: usize = 20;

/// Output formats of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Aligned columns for people: floats with 6 digits, long texts cut
    Text,
    /// Comma-separated values, exact. A missing value is an empty cell
    Csv,
    /// An array with one object per row, exact. A missing value is null
    Json,
    /// A Parquet file
    Parquet,
}

/// How rows are shown.
#[derive(Debug, Args)]
pub struct TableOutput {
    /// Show at most N rows [default: 20 as text, else all]
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
    /// Show every row
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Print in this format [default: text, or json with --json]
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    pub format: Option<TableFormat>,
    /// Write to this file instead of standard output. It appears complete or not at all
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The format that the arguments select.
pub fn format(context: &Context, args: &TableOutput) -> Result<TableFormat, CliError> {
    let format = match (context.json, args.format) {
        (false, None) => TableFormat::Text,
        (false, Some(format)) => format,
        (true, None | Some(TableFormat::Json)) => TableFormat::Json,
        (true, Some(_)) => {
            return Err(CliError::usage(
                "usage",
                "--json means --format json and cannot be combined with another --format",
                "leave out one of the two",
            ));
        }
    };
    if format == TableFormat::Parquet && args.output.is_none() && io::stdout().is_terminal() {
        return Err(binary_to_terminal());
    }
    Ok(format)
}

/// The error of a Parquet file that would go to a terminal.
pub fn binary_to_terminal() -> CliError {
    CliError::usage(
        "terminal",
        "Parquet is binary and cannot be printed to a terminal",
        "use --output FILE or redirect standard output",
    )
}

/// How many rows are shown at most.
pub fn row_limit(args: &TableOutput, format: TableFormat) -> usize {
    match (args.limit, args.all, format) {
        (Some(limit), _, _) => limit,
        (None, false, TableFormat::Text) => TEXT_ROWS,
        _ => usize::MAX,
    }
}

/// Shows rows, of `total` that there are, in the requested format at the requested place.
pub fn show_rows(
    context: &Context,
    rows: &RecordBatch,
    total: u64,
    args: &TableOutput,
    format: TableFormat,
) -> Result<(), CliError> {
    let limit = row_limit(args, format);
    let shown = rows.slice(0, rows.num_rows().min(limit));
    let mut left_out = Vec::new();
    deliver(args.output.as_deref(), |out| match format {
        TableFormat::Text => {
            let width = if args.output.is_none() { forms::terminal_width() } else { None };
            left_out = forms::text(out, &shown, width)?;
            Ok(())
        }
        TableFormat::Csv => forms::csv(out, &shown),
        TableFormat::Json => forms::json(out, &shown),
        TableFormat::Parquet => forms::parquet(out, &shown),
    })?;
    if !left_out.is_empty() && !context.quiet {
        let names = left_out.join(", ");
        output::say(format_args!("columns left out to fit the terminal: {names} (--format csv prints all)"));
    }
    let hidden = total - shown.num_rows() as u64;
    if hidden > 0 && format == TableFormat::Text && !context.quiet {
        output::say(format_args!("... and {hidden} more rows (--all shows all)"));
    }
    Ok(())
}

/// Writes the first rows of a table as text, no wider than the terminal or else `width`. Returns how many columns are left out.
pub fn head(rows: &RecordBatch, limit: usize, width: usize, out: &mut dyn Write) -> io::Result<usize> {
    let width = forms::terminal_width().unwrap_or(width);
    let left_out = forms::text(out, &rows.slice(0, rows.num_rows().min(limit)), Some(width))?;
    Ok(left_out.len())
}

/// Writes to a file (completely or not at all), or to standard output.
fn deliver(file: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let Some(file) = file.filter(|file| *file != Path::new("-")) else { return output::to_stdout(write) };
    let cannot = |why: &dyn std::fmt::Display| {
        CliError::usage(
            "output",
            format!("cannot write {}", file.display()),
            "name a file in an existing folder that you may write to",
        )
        .why(why)
    };
    let there = file.metadata().ok();
    if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
        // A device or a pipe cannot be replaced.
        let mut device = File::options().write(true).open(file).map_err(|error| cannot(&error))?;
        return write(&mut device).map_err(|error| cannot(&error));
    }
    // Replace the file that a symbolic link points to, not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The mode is the old file's, or what the umask leaves, as with a shell's redirection.
    let mode = there.map_or_else(|| Permissions::from_mode(0o666), |there| there.permissions());
    let whole = || -> io::Result<()> {
        let temporary = tempfile::Builder::new().prefix(".kymhost-").permissions(mode).tempfile_in(folder)?;
        let mut out = BufWriter::new(temporary);
        write(&mut out)?;
        let temporary = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&file)?;
        Ok(())
    };
    whole().map_err(|error| cannot(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn deliver_writes_file_completely_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let names =
            || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let file = folder.path().join("out.csv");
        let write = |text: &'static str| deliver(Some(&file), move |out| out.write_all(text.as_bytes()));
        write("long and old").unwrap();
        write("new").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        let fails = deliver(Some(&file), |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(fails.unwrap_err().message().contains("the disk is full"));
        assert_eq!((std::fs::read(&file).unwrap(), names()), (b"new".to_vec(), vec!["out.csv".into()]));
        let error = deliver(Some(&folder.path().join("absent/out.csv")), |_| Ok(())).unwrap_err();
        assert_eq!((error.exit, error.code()), (Exit::Usage, "output"));
        assert!(deliver(Some(folder.path()), |_| Ok(())).is_err(), "a folder");
    }
}
