//! `dataset ingest`: which dataset, making it if there is none, and what became of each file.
//!
//! This file must not know how recordings are read: see [`kymhost_ingest`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::progress::FileProgress;
use crate::{output, quantity, shell_quote};
use clap::{Args, ValueEnum};
use kymhost_dataset::Dataset;
use kymhost_ingest::{FileOutcome, FileStatus, IngestOptions, IngestOutcome};
use kymhost_store::{Key, LocalStore, Store};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  kymhost dataset ingest ~/recordings --dataset lab.zarr      creates lab.zarr if it does not exist
  kymhost dataset ingest ~/recordings --dataset lab.zarr      again: only new and changed files
  kymhost dataset ingest ~/recordings --dry-run               show what it would do; writes nothing
  kymhost dataset ingest one.tif two.tif --changed skip
  kymhost dataset ingest ~/recordings --json | jq '.files[] | select(.outcome == \"failed\")'

Files next to NAME.tif that are read, too:
  NAME.txt                                       the Olympus header
  NAME.json                                      kymflow's header, experiment metadata and ROIs
  NAME.<artifact>.json|csv|csv.gz|parquet|npy    artifacts
  NAME.<part>/<name>.csv and so on               artifacts with a / in their names: <part>/<name>

Unreadable files are reported and skipped; the exit code is then 3. A changed recording keeps its
id, and ROIs and metadata that were edited in the dataset. Nothing is ever deleted.";

/// Arguments of `dataset ingest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetIngestArgs {
    /// Import these TIFF files, and all TIFF files in these folders and their subfolders
    #[arg(value_name = "FOLDER|FILE", required = true)]
    pub paths: Vec<PathBuf>,
    /// Import changed recordings again, or skip them
    #[arg(long, value_enum, value_name = "WHAT", default_value = "reingest")]
    pub changed: ChangedArg,
    /// Read everything, write nothing, and show what would be imported and what would fail
    #[arg(long)]
    pub dry_run: bool,
    /// Use N threads [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

/// What happens to recordings that have changed since they were imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChangedArg {
    /// Their recordings get the new pixels and metadata
    Reingest,
    /// Their recordings stay as they are
    Skip,
}

/// `dataset ingest --json`
#[derive(Debug, Serialize)]
struct IngestDocument<'a> {
    /// The dataset's folder.
    dataset: String,
    /// Whether the dataset was created (or would be).
    created: bool,
    /// Whether nothing was written.
    dry_run: bool,
    /// Files that were imported.
    added: usize,
    /// Changed files that were imported again.
    reingested: usize,
    /// Files that did not change.
    unchanged: usize,
    /// Changed files that were skipped.
    skipped_changed: usize,
    /// Files that failed.
    failed: usize,
    /// Files that were not reached because a signal came.
    not_done: usize,
    /// Every file.
    files: Vec<FileBody<'a>>,
    /// Files that no longer exist.
    vanished: Vec<VanishedBody<'a>>,
    /// What was skipped.
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct FileBody<'a> {
    /// The file.
    path: String,
    /// The id of its recording.
    image_id: Option<&'a str>,
    /// `added`, `reingested`, `unchanged`, `skipped_changed`, `failed` or `not_done`.
    outcome: &'static str,
    /// Why it counts as changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// The shape of its pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<&'a [usize]>,
    /// The type of its pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<&'static str>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FileErrorBody<'a>>,
    /// What else is to be known.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct FileErrorBody<'a> {
    /// `io`, `broken_tiff`, `unsupported_tiff`, `too_large`, `metadata`, `sidecar`, `changed_while_read` or `dataset`.
    kind: &'static str,
    /// What is wrong.
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct VanishedBody<'a> {
    /// The file.
    path: &'a str,
    /// The id of its recording, which stays.
    image_id: &'a str,
}

fn outcome_code(what: &FileStatus) -> &'static str {
    match what {
        FileStatus::Added => "added",
        FileStatus::Reingested => "reingested",
        FileStatus::Unchanged => "unchanged",
        FileStatus::SkippedChanged => "skipped_changed",
        FileStatus::Failed(_) => "failed",
        FileStatus::NotDone => "not_done",
    }
}

/// Does `dataset ingest`.
pub fn ingest(context: &Context, args: &DatasetIngestArgs) -> Result<Exit, CliError> {
    let begun = Instant::now();
    let path = context.dataset_path(None).map_err(|error| match error.code() {
        "no_dataset" => error.help("name it with --dataset PATH; it is created if it does not exist"),
        _ => error,
    })?;
    let missing = is_missing(&path);
    let opened = if missing { None } else { Some(Dataset::open(&path)?) };
    let found = kymhost_ingest::find(&args.paths, &path)?;
    // Do not create a dataset if there is nothing to put into it.
    let created = missing && !(found.recordings.is_empty() && found.failures.is_empty());
    let dataset = if created && !args.dry_run { Some(Dataset::create(&path)?) } else { opened };
    let interrupt = Interrupt::listen();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = IngestOptions {
        jobs: args.jobs.map_or(cores, usize::from),
        reingest: args.changed == ChangedArg::Reingest,
        dry_run: args.dry_run || dataset.is_none(),
        stop: interrupt.stop(),
    };
    let mut progress = FileProgress::new("ingest", context.quiet, context.verbose);
    let outcome = kymhost_ingest::ingest(dataset.as_ref(), found, &options, &mut progress);
    progress.finish();
    let outcome = outcome?;
    let count = |code: &str| outcome.files.iter().filter(|file| outcome_code(&file.what) == code).count();
    let document = IngestDocument {
        dataset: path.display().to_string(),
        created,
        dry_run: args.dry_run,
        added: count("added"),
        reingested: count("reingested"),
        unchanged: count("unchanged"),
        skipped_changed: count("skipped_changed"),
        failed: count("failed"),
        not_done: count("not_done"),
        files: outcome.files.iter().map(file_body).collect(),
        vanished: outcome
            .vanished
            .iter()
            .map(|file| VanishedBody { path: &file.path, image_id: &file.image_id })
            .collect(),
        notes: &outcome.notes,
    };
    let failed = if document.failed > 0 { Exit::SomeFailed } else { Exit::Done };
    let stopped = if document.not_done > 0 { interrupt.exit().unwrap_or(Exit::Done) } else { Exit::Done };
    if context.json {
        output::document(&document)?;
    } else {
        print_summary(context, &path, &document, &outcome, begun);
    }
    Ok(Exit::combine([failed, stopped]))
}

/// Whether a dataset can be created at a path: nothing is there, or an empty folder.
fn is_missing(path: &Path) -> bool {
    if !path.exists() {
        return true;
    }
    LocalStore::open(path)
        .ok()
        .and_then(|store| store.list(&Key::root()).ok().flatten())
        .is_some_and(|all| all.is_empty())
}

fn file_body(file: &FileOutcome) -> FileBody<'_> {
    let error = match &file.what {
        FileStatus::Failed(error) => Some(FileErrorBody { kind: error.kind.code(), message: &error.message }),
        _ => None,
    };
    FileBody {
        path: file.path.display().to_string(),
        image_id: file.image_id.as_deref(),
        outcome: outcome_code(&file.what),
        why: file.why.as_deref(),
        shape: file.pixels.as_ref().map(|(shape, _)| shape.as_slice()),
        dtype: file.pixels.as_ref().map(|(_, dtype)| dtype.name()),
        error,
        notes: &file.notes,
    }
}

fn print_summary(
    context: &Context,
    path: &Path,
    document: &IngestDocument<'_>,
    outcome: &IngestOutcome,
    begun: Instant,
) {
    // Failures are printed even with --quiet, as errors are.
    let failed = outcome.files.iter().filter_map(|file| match &file.what {
        FileStatus::Failed(error) => Some((file, error)),
        _ => None,
    });
    output::say_list(failed.map(|(file, error)| {
        format!("{}: {}: {}", file.path.display(), error.kind.code(), output::indented(&error.message))
    }));
    if context.quiet {
        return;
    }
    let noted = outcome.files.iter().flat_map(|file| file.notes.iter().map(move |note| (file, note)));
    output::say_list(noted.map(|(file, note)| format!("{}: note: {note}", file.path.display())));
    let changed = outcome.files.iter().filter_map(|file| Some((file, file.why.as_ref()?)));
    output::say_list(
        changed.map(|(file, why)| format!("{}: {}: {why}", file.path.display(), outcome_code(&file.what))),
    );
    output::say_list(
        outcome
            .vanished
            .iter()
            .map(|file| format!("{}: the file no longer exists; its recording {} stays", file.path, file.image_id)),
    );
    outcome.notes.iter().for_each(|note| output::say(format_args!("note: {note}")));
    let dataset = path.display();
    if outcome.files.is_empty() {
        output::say("no TIFF file (*.tif, *.tiff) found in the given paths; nothing was done");
        return;
    }
    let verb = if document.dry_run { "would be " } else { "" };
    let mut parts = vec![format!("{} {verb}added", document.added)];
    for (count, words) in [
        (document.reingested, format!("{verb}imported again")),
        (document.skipped_changed, "changed (skipped)".to_owned()),
        (document.failed, "failed".to_owned()),
        (document.not_done, "not reached".to_owned()),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    parts.push(format!("{} unchanged", document.unchanged));
    let took = quantity::show_duration(begun.elapsed());
    let made = match (document.created, document.dry_run) {
        (true, false) => format!("created {dataset}; "),
        (true, true) => format!("{dataset} would be created; "),
        _ => String::new(),
    };
    output::say(format_args!("{made}{} recordings: {} ({took})", outcome.files.len(), parts.join(", ")));
    let next = if document.not_done > 0 {
        "run the same command again to import the rest".to_owned()
    } else if document.dry_run {
        "dry run: nothing was written; run again without --dry-run to import".to_owned()
    } else {
        format!(
            "next: kymhost status --dataset {} --plugin NAME (`kymhost plugin list` lists the names)",
            shell_quote::quoted(path)
        )
    };
    output::say(next);
}
