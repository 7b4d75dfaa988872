//! `table drop`: deletes an indexer's table if the user means it.

use super::names::{PREFIX, find, unknown};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::{output, quantity};
use clap::Args;
use kymhost_index::IndexError;
use kymhost_index::names::TableName;
use kymhost_store::Class;
use serde::Serialize;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  kymhost table drop velocity_events --yes

The next `kymhost run` makes the table again.";

/// Arguments of `table drop`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TableDropArgs {
    /// Delete this table: the name of its indexer (velocity_events)
    pub name: String,
    /// Skip the confirmation: without --yes nothing is deleted
    #[arg(long)]
    pub yes: bool,
    /// Wait up to this many seconds for the table lock [default: 0]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
}

/// `table drop --json`
#[derive(Debug, Serialize)]
struct DropDocument<'a> {
    /// The key of the deleted table.
    dropped: &'a str,
}

/// Does `table drop`.
pub fn drop_table(context: &Context, args: &TableDropArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let table = find(&dataset, &args.name)?;
    let indexer = table.strip_prefix(PREFIX).and_then(|indexer| TableName::of(indexer).ok()).ok_or_else(|| {
        CliError::new(
            Class::Refused,
            "not_ours",
            format!("{table} is not the table of an indexer; it was not deleted"),
            "`kymhost run` cannot make this table again. To delete it anyway, delete its file",
        )
    })?;
    let key = indexer.key_text();
    if !args.yes {
        return Err(CliError::new(
            Class::Refused,
            "guarded",
            format!("this would delete {key}; nothing was deleted"),
            "to delete it, pass --yes. The recordings stay, and the next `kymhost run` makes the table again",
        ));
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
        // Another process deleted it first.
        return Err(unknown(&dataset, &args.name, &dataset.table_names()?));
    }
    if context.json {
        output::document(&DropDocument { dropped: &key })?;
    } else if !context.quiet {
        output::say(format_args!("deleted {key}; `kymhost run --plugin {}` makes it again", indexer.indexer()));
    }
    Ok(Exit::Done)
}
