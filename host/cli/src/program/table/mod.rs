//! `table list`, `table show`, `table drop`; `dataset view-table` shows its rows as they do.
//! Owns: which rows are shown and where to; asking before a table goes. Never: how a cell looks (see `cells`).

mod view;
mod write;

pub use view::view;

use super::args::{TableCommand, TableDropArgs, TableFormat, TableOutput, TableShowArgs};
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{Context, output, quantity};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use kymhost_dataset::cells::Column;
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_index::IndexError;
use kymhost_index::names::TableName;
use kymhost_store::Key;
use serde::Serialize;
use std::collections::HashSet;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How many rows the text shows unless asked for more.
const TEXT_ROWS: usize = 20;
/// The column that says whose rows they are.
const IMAGE_ID: &str = "image_id";
/// What the names of indexers' tables begin with.
const PREFIX: &str = "kym_";

/// Does `table …`.
pub fn table(context: &Context, command: &TableCommand) -> Result<Exit, CliError> {
    match command {
        TableCommand::List => list(context),
        TableCommand::Show(args) => show(context, args),
        TableCommand::Drop(args) => drop_table(context, args),
    }
}

/// `table list --json`
#[derive(Debug, Serialize)]
struct TablesDocument {
    tables: Vec<TableBody>,
}

#[derive(Debug, Serialize)]
struct TableBody {
    /// As `table show` takes it.
    name: String,
    table: String,
    rows: Option<usize>,
    images: Option<usize>,
    size_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn list(context: &Context) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let tables: Vec<TableBody> =
        dataset.table_names()?.iter().map(|table| describe(&dataset, table)).collect::<Result<_, _>>()?;
    let exit = if tables.iter().any(|table| table.error.is_some()) { Exit::Unusable } else { Exit::Done };
    if context.json {
        output::document(&TablesDocument { tables })?;
        return Ok(exit);
    }
    if tables.is_empty() && !context.quiet {
        output::say("the dataset has no tables yet; `kymhost run` makes them");
    }
    let width = tables.iter().map(|table| table.name.len()).max().unwrap_or(0);
    output::to_stdout(|out| {
        for table in &tables {
            let count = |number: Option<usize>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
            let rows = format!("{} rows of {} images", count(table.rows), count(table.images));
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

/// What the list says of a table; a broken one is a line, not the end.
fn describe(dataset: &Dataset, table: &str) -> Result<TableBody, CliError> {
    let key = format!("tables/{table}.parquet");
    let size_bytes = dataset.store().stat(&Key::new(key.as_str())?)?.map(|stat| stat.size);
    let name = table.strip_prefix(PREFIX).unwrap_or(table).to_owned();
    let mut body = TableBody { name, table: key, rows: None, images: None, size_bytes, error: None };
    match dataset.read_table(table, Some(&[IMAGE_ID])) {
        Ok(Some(batch)) => {
            body.rows = Some(batch.num_rows());
            body.images = Some(images_of(&batch));
        }
        Ok(None) => {}
        Err(error) => body.error = Some(super::error::with_causes(&error)),
    }
    Ok(body)
}

fn images_of(batch: &RecordBatch) -> usize {
    let Some(column) = batch.column_by_name(IMAGE_ID) else { return 0 };
    let column = Column::new(column);
    let ids: HashSet<_> = (0..batch.num_rows()).filter_map(|row| column.text(row)).collect();
    ids.len()
}

fn show(context: &Context, args: &TableShowArgs) -> Result<Exit, CliError> {
    let format = format(context, &args.output)?;
    let dataset = context.open_dataset()?;
    let table = find(&dataset, &args.name)?;
    let rows = dataset.read_table(&table, None)?.ok_or_else(|| unknown(&dataset, &args.name, &[]))?;
    let rows = if args.image.is_empty() { rows } else { of_images(&dataset, &table, &rows, &args.image)? };
    show_rows(context, &rows, &args.output, format)?;
    Ok(Exit::Done)
}

/// Shows rows in the form that was asked for, where it was asked for.
fn show_rows(context: &Context, rows: &RecordBatch, args: &TableOutput, format: TableFormat) -> Result<(), CliError> {
    let limit = match (args.limit, args.all, format) {
        (Some(limit), _, _) => limit,
        (None, false, TableFormat::Text) => TEXT_ROWS,
        _ => usize::MAX,
    };
    let shown = rows.slice(0, rows.num_rows().min(limit));
    let mut left_out = Vec::new();
    deliver(args.output.as_deref(), |out| match format {
        TableFormat::Text => {
            let width = if args.output.is_none() { write::terminal_width() } else { None };
            left_out = write::text(out, &shown, width)?;
            Ok(())
        }
        TableFormat::Csv => write::csv(out, &shown),
        TableFormat::Json => write::json(out, &shown),
        TableFormat::Parquet => write::parquet(out, &shown),
    })?;
    if !left_out.is_empty() && !context.quiet {
        let names = left_out.join(", ");
        output::say(format_args!("columns left out to fit the terminal: {names} (--format csv has all)"));
    }
    let hidden = rows.num_rows() - shown.num_rows();
    if hidden > 0 && format == TableFormat::Text && !context.quiet {
        output::say(format_args!("... and {hidden} more rows (--all shows them)"));
    }
    Ok(())
}

/// `table drop --json`
#[derive(Debug, Serialize)]
struct DropDocument<'a> {
    dropped: &'a str,
}

fn drop_table(context: &Context, args: &TableDropArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let table = find(&dataset, &args.name)?;
    let indexer = table.strip_prefix(PREFIX).and_then(|indexer| TableName::of(indexer).ok()).ok_or_else(|| {
        CliError::new(Exit::Refused, "not_ours", format!("{table} is no indexer's table; it is left as it is"))
            .help("`kymhost run` could not make it again; delete its file by hand if that is meant")
    })?;
    let key = indexer.key_text();
    if !args.yes {
        return Err(CliError::new(Exit::Refused, "guarded", format!("{key} would be deleted; nothing was done"))
            .help("--yes deletes it; the images stay, and the next `kymhost run` makes it again"));
    }
    let interrupt = Interrupt::listen();
    let mut progress = Progress::new(indexer.indexer(), context.quiet, context.verbose, &interrupt);
    let deleted = kymhost_index::drop_table(&dataset, &indexer, args.wait.unwrap_or_default(), &mut progress);
    progress.finish();
    let deleted = deleted.map_err(|error| match error {
        IndexError::Interrupted => interrupt.error(&format!("interrupted before {key} was deleted")),
        error => error.into(),
    })?;
    if !deleted {
        // Another process was first.
        return Err(unknown(&dataset, &args.name, &dataset.table_names()?));
    }
    if context.json {
        output::document(&DropDocument { dropped: &key })?;
    } else if !context.quiet {
        output::say(format_args!("deleted {key}; `kymhost run --plugin {}` makes it again", indexer.indexer()));
    }
    Ok(Exit::Done)
}

fn format(context: &Context, args: &TableOutput) -> Result<TableFormat, CliError> {
    let format = match (context.json, args.format) {
        (false, None) => TableFormat::Text,
        (false, Some(format)) => format,
        (true, None | Some(TableFormat::Json)) => TableFormat::Json,
        (true, Some(_)) => {
            return Err(CliError::usage("usage", "--json is --format json; it cannot go with another --format"));
        }
    };
    if format == TableFormat::Parquet && args.output.is_none() && io::stdout().is_terminal() {
        return Err(CliError::usage("terminal", "a Parquet file is nothing for a terminal")
            .help("give --output FILE, or redirect standard output"));
    }
    Ok(format)
}

/// The table that a name means: an indexer's, else any by its own name or key.
fn find(dataset: &Dataset, name: &str) -> Result<String, CliError> {
    let names = dataset.table_names()?;
    named(&names, name).ok_or_else(|| unknown(dataset, name, &names))
}

fn named(names: &[String], name: &str) -> Option<String> {
    let plain = name.strip_prefix("tables/").unwrap_or(name);
    let plain = plain.strip_suffix(".parquet").unwrap_or(plain);
    let of_indexer = TableName::of(plain).ok();
    let wanted = of_indexer.iter().map(TableName::table).chain([plain]);
    wanted.into_iter().find(|wanted| names.iter().any(|name| name == wanted)).map(str::to_owned)
}

fn unknown(dataset: &Dataset, name: &str, names: &[String]) -> CliError {
    let there = match names {
        [] => "it has none yet".to_owned(),
        names => {
            let names: Vec<&str> = names.iter().map(|name| name.strip_prefix(PREFIX).unwrap_or(name)).collect();
            format!("it has {}", names.join(", "))
        }
    };
    let at = dataset.store().root();
    CliError::usage("unknown_table", format!("there is no table '{name}' in {}; {there}", at.display()))
        .help("`kymhost run --plugin NAME` makes an indexer's table")
}

/// The rows of these images. An image that is in neither the table nor the dataset is an error.
fn of_images(dataset: &Dataset, table: &str, rows: &RecordBatch, images: &[String]) -> Result<RecordBatch, CliError> {
    let Some(column) = rows.column_by_name(IMAGE_ID) else {
        return Err(CliError::usage("no_image_id", format!("the table {table} has no column {IMAGE_ID}"))
            .help("leave --image out"));
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
            // An id that cannot even be a key is no image's either.
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
        .map_err(|error| CliError::new(Exit::Internal, "internal", format!("cannot filter the rows: {error}")))
}

/// Writes to a file, whole or not at all, else to standard output.
fn deliver(file: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let Some(file) = file.filter(|file| *file != Path::new("-")) else { return output::to_stdout(write) };
    let cannot = |why: &dyn std::fmt::Display| {
        CliError::usage("output", format!("cannot write {}: {why}", file.display()))
            .help("give a file in a folder that exists and that you may write to")
    };
    let there = file.metadata().ok();
    if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
        // A device or a pipe: there is nothing to replace.
        let mut device = File::options().write(true).open(file).map_err(|error| cannot(&error))?;
        return write(&mut device).map_err(|error| cannot(&error));
    }
    // Through a symbolic link, the file it points to is the one that is replaced.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // As a shell's redirection makes it: the old file's mode, else what the umask leaves.
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

/// The first rows of a table as text, no wider than the terminal or else `width`; how many columns are left out.
pub fn head(rows: &RecordBatch, limit: usize, width: usize, out: &mut dyn Write) -> io::Result<usize> {
    let width = write::terminal_width().unwrap_or(width);
    let left_out = write::text(out, &rows.slice(0, rows.num_rows().min(limit)), Some(width))?;
    Ok(left_out.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
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
        assert!(fails.unwrap_err().message.contains("the disk is full"));
        assert_eq!((std::fs::read(&file).unwrap(), names()), (b"new".to_vec(), vec!["out.csv".into()]));
        let error = deliver(Some(&folder.path().join("absent/out.csv")), |_| Ok(())).unwrap_err();
        assert_eq!((error.exit, error.code), (Exit::Usage, "output"));
        assert!(deliver(Some(folder.path()), |_| Ok(())).is_err(), "a folder");
    }

    #[test]
    fn a_table_is_named_by_its_indexer_or_itself() {
        let names: Vec<String> =
            ["kym_radon", "kym_sources", "kym_velocity_events", "sources"].map(str::to_owned).to_vec();
        for (name, expected) in [
            ("velocity_events", Some("kym_velocity_events")),
            ("kym_velocity_events", Some("kym_velocity_events")),
            ("tables/kym_velocity_events.parquet", Some("kym_velocity_events")),
            ("kym_velocity_events.parquet", Some("kym_velocity_events")),
            ("sources", Some("kym_sources")),
            ("nope", None),
            ("", None),
            ("kym_", None),
        ] {
            assert_eq!(named(&names, name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(named(&["sources".to_owned()], "sources").as_deref(), Some("sources"));
    }
}
