//! `dataset export`: what became of each recording and table.
//!
//! This file must not know what an export writes: see [`kymhost_ingest`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::progress::FileProgress;
use crate::{output, shell_quote};
use clap::Args;
use kymhost_ingest::{ExportOptions, IngestObserver};
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost dataset export out --dataset lab.zarr
  kymhost dataset export out --image 0b0f5a3c-2c3e-4a5f-9d0e-8b8b6f0c1d2e
  kymhost dataset ingest out --dataset copy.zarr              import the exported files again

The files are images/<id>/image.tif, each artifact as JSON or CSV, array_artifacts/<name>.npy,
export.json (which lists the files), and tables/<name>.csv.";

/// Arguments of `dataset export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetExportArgs {
    /// Write into this folder, which must not exist or must be empty
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Export only these recordings and their rows; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
    /// Write into a folder that is not empty, and overwrite files
    #[arg(long)]
    pub overwrite: bool,
}

/// `dataset export --json`
#[derive(Debug, Serialize)]
struct ExportDocument<'a> {
    /// The folder, as it was given.
    folder: String,
    /// The exported recordings.
    images: Vec<ExportedImage<'a>>,
    /// The exported tables.
    tables: Vec<ExportedTable<'a>>,
    /// How many recordings and tables failed; the exit code is then 3.
    failed: usize,
    /// Whether a signal came before everything was exported.
    stopped: bool,
    /// What is lost or was left out.
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct ExportedImage<'a> {
    /// The id of the recording.
    image_id: &'a str,
    /// How many files were written.
    files: Option<usize>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ExportedTable<'a> {
    /// The table's file name.
    table: &'a str,
    /// How many rows were written.
    rows: Option<usize>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Does `dataset export`.
pub fn export(context: &Context, args: &DatasetExportArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let interrupt = Interrupt::listen();
    let options = ExportOptions { images: args.image.clone(), overwrite: args.overwrite, stop: interrupt.stop() };
    let mut progress = FileProgress::new("export", context.quiet, context.verbose);
    let exported = kymhost_ingest::export(&dataset, &args.folder, &options, &mut |done, total| match done {
        0 => progress.planned(total),
        _ => progress.file_done(false),
    });
    progress.finish();
    let exported = exported?;
    let images = exported.images.iter().map(|image| ExportedImage {
        image_id: &image.image_id,
        files: image.files.as_ref().ok().copied(),
        error: image.files.as_ref().err().map(String::as_str),
    });
    let tables = exported.tables.iter().map(|(table, rows)| ExportedTable {
        table,
        rows: rows.as_ref().ok().copied(),
        error: rows.as_ref().err().map(String::as_str),
    });
    let mut document = ExportDocument {
        folder: args.folder.display().to_string(),
        images: images.collect(),
        tables: tables.collect(),
        failed: 0,
        stopped: exported.stopped,
        notes: &exported.notes,
    };
    let errors = document
        .images
        .iter()
        .filter_map(|image| image.error.map(|error| format!("{}: {error}", image.image_id)))
        .chain(
            document
                .tables
                .iter()
                .filter_map(|table| table.error.map(|error| format!("table {}: {error}", table.table))),
        );
    let errors: Vec<String> = errors.collect();
    document.failed = errors.len();
    let failed = if errors.is_empty() { Exit::Done } else { Exit::SomeFailed };
    let stopped = if exported.stopped { interrupt.exit().unwrap_or(Exit::Done) } else { Exit::Done };
    if context.json {
        output::document(&document)?;
    } else {
        output::say_list(errors.into_iter());
        if !context.quiet {
            output::say_list(exported.notes.iter().map(|note| format!("note: {note}")));
            let done = document.images.iter().filter(|image| image.error.is_none()).count();
            let tables = document.tables.iter().filter(|table| table.error.is_none()).count();
            output::say(format_args!("exported {done} recordings and {tables} tables to {}", document.folder));
            let folder = shell_quote::quoted(&args.folder);
            output::say(format_args!("to make a dataset from it: kymhost dataset ingest {folder} --dataset COPY.zarr"));
        }
    }
    Ok(Exit::combine([failed, stopped]))
}
