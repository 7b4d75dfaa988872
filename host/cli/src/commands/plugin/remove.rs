//! `plugin remove`.
//!
//! This file must not delete anything: see [`kymhost_author::install`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;
use crate::plugins::home;
use clap::Args;
use kymhost_author::install::unpin;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin remove stalls
  kymhost plugin remove stalls --dataset-lock --dataset lab.zarr";

/// Arguments of `plugin remove`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginRemoveArgs {
    /// Indexer to remove. If the library has several indexers, all are removed
    pub name: String,
    /// Keep the file; only remove the dataset's pin for that name
    #[arg(long)]
    pub dataset_lock: bool,
}

/// `plugin remove --json`
#[derive(Debug, Serialize)]
pub struct PluginRemoveDocument<'a> {
    /// The names of the library's indexers.
    pub removed: Vec<&'a str>,
    /// Its file; null if only the dataset's lock file was changed.
    pub library: Option<String>,
    /// Whether the file was deleted.
    pub is_deleted: bool,
    /// Whether the dataset's lock file was changed instead of the user's.
    pub dataset_lock: bool,
}

/// Does `plugin remove`.
pub fn remove(context: &Context, args: &PluginRemoveArgs) -> Result<Exit, CliError> {
    if args.dataset_lock {
        let dataset = context.open_dataset()?;
        let entry = unpin(dataset.store().as_ref(), &args.name)?;
        let names: Vec<&str> = entry.indexers.iter().map(|indexer| indexer.name.as_str()).collect();
        if context.json {
            output::document(&PluginRemoveDocument {
                removed: names,
                library: None,
                is_deleted: false,
                dataset_lock: true,
            })?;
        } else {
            output::to_stdout(|out| {
                writeln!(out, "{} is no longer pinned in the dataset {}", names.join(", "), dataset.path().display())
            })?;
        }
        return Ok(Exit::Done);
    }
    let removed = home()?.remove(&args.name)?;
    let names: Vec<&str> = removed.names.iter().map(String::as_str).collect();
    if context.json {
        output::document(&PluginRemoveDocument {
            removed: names,
            library: Some(removed.library.display().to_string()),
            is_deleted: removed.is_deleted,
            dataset_lock: false,
        })?;
        return Ok(Exit::Done);
    }
    output::to_stdout(|out| {
        let names = names.join(", ");
        if removed.is_deleted {
            writeln!(out, "removed {names}: deleted {}", removed.library.display())
        } else {
            writeln!(out, "removed {names} from the lock file; the file {} was not deleted", removed.library.display())
        }
    })?;
    if !context.quiet {
        output::say("tables and run markers stay in the datasets; delete a table with `kymhost table drop NAME`");
    }
    Ok(Exit::Done)
}
