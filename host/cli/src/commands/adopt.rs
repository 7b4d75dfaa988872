//! `adopt`: existing rows count as up to date from now on.
//!
//! This file must not decide what is adopted: see [`kymhost_index`].

use super::bodies::FailureBody;
use super::several::with_workers;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::options::{OnePlugin, PoolArgs, pool_options};
use crate::words::{failure_lines, images};
use crate::{output, plugins, quantity};
use clap::Args;
use clap::builder::{NonEmptyStringValueParser, TypedValueParser};
use kymhost_index::{AdoptOptions, AdoptOutcome, Compat};
use serde::Serialize;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  kymhost adopt --plugin velocity_events --reason \"0.2 only renames a field\"
  kymhost adopt --plugin velocity_events --reason \"checked by hand\" --image ID ID

The rows stay as they are. From now on they count as computed by the present version with the
present params. The run markers keep the reason and what they said before. To compute rows again,
use `kymhost run --image ID --force`.";

/// Arguments of `adopt`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AdoptArgs {
    /// Which indexer.
    #[command(flatten)]
    pub choice: OnePlugin,
    /// Say why the rows are right. The text is kept in the run markers
    #[arg(long, value_name = "TEXT", required = true, value_parser = NonEmptyStringValueParser::new().try_map(some_words))]
    pub reason: String,
    /// Adopt only these recordings; repeatable
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub image: Vec<String>,
    /// Wait up to this many seconds for the table lock [default: 0]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
    /// How plugins are run.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// A text that is not only blanks.
fn some_words(text: String) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("a reason is required") } else { Ok(text) }
}

/// `adopt --json`
#[derive(Debug, Serialize)]
pub struct AdoptDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// The table's key in the dataset.
    table: &'a str,
    /// Recordings whose rows were adopted.
    adopted: u64,
    /// Recordings that were up to date already.
    already_fresh: u64,
    /// Recordings without rows, and without a run marker of a run that found none.
    nothing_to_adopt: u64,
    /// Recordings that could not be adopted; the exit code is then 3.
    failures: Vec<FailureBody<'a>>,
}

impl<'a> AdoptDocument<'a> {
    /// The document of an adoption.
    pub fn new(outcome: &'a AdoptOutcome) -> Self {
        Self {
            indexer: &outcome.indexer,
            table: &outcome.table,
            adopted: outcome.adopted,
            already_fresh: outcome.already_fresh,
            nothing_to_adopt: outcome.nothing_to_adopt,
            failures: outcome.failures.iter().map(FailureBody::new).collect(),
        }
    }
}

/// Does `adopt`.
pub fn adopt(context: &Context, args: &AdoptArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugins::chosen_one(&args.choice)?;
    let interrupt = Interrupt::listen();
    let options = AdoptOptions {
        images: (!args.image.is_empty()).then(|| args.image.iter().cloned().collect()),
        wait: args.wait.unwrap_or_default(),
        ..AdoptOptions::new(args.reason.as_str())
    };
    let pool = pool_options(&args.pool, Compat::default());
    let outcome = with_workers(context, &dataset, &plugin, &pool, &interrupt, |workforce, progress| {
        kymhost_index::adopt(&dataset, &plugin.indexer, workforce, &options, progress)
    })?;
    if !outcome.failures.is_empty() {
        let head = format!("{}: recordings that could not be adopted (they did not change):", outcome.indexer);
        failure_lines(head, &outcome.failures).into_iter().for_each(output::say);
    }
    if !context.quiet {
        output::say(summary(&outcome));
    }
    if context.json {
        output::document(&AdoptDocument::new(&outcome))?;
    }
    let done = if outcome.failures.is_empty() { Exit::Done } else { Exit::SomeFailed };
    Ok(Exit::combine(interrupt.exit().into_iter().chain([done])))
}

fn summary(outcome: &AdoptOutcome) -> String {
    let AdoptOutcome { indexer, adopted, already_fresh, nothing_to_adopt, failures, .. } = outcome;
    format!(
        "{indexer}: {} adopted, {already_fresh} already up to date, {nothing_to_adopt} without rows to adopt, {} failed",
        images(*adopted),
        failures.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_one_line() {
        let outcome = AdoptOutcome {
            indexer: "radon".into(),
            table: "tables/kym_radon.parquet".into(),
            adopted: 3,
            already_fresh: 2,
            nothing_to_adopt: 1,
            failures: Vec::new(),
        };
        assert_eq!(
            summary(&outcome),
            "radon: 3 recordings adopted, 2 already up to date, 1 without rows to adopt, 0 failed"
        );
    }
}
