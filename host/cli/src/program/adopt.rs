//! `adopt`: rows that are there count as fresh from now on.
//! Owns: the text for people and the exit code. Never: what is adopted.

use super::args::AdoptArgs;
use super::documents::AdoptDocument;
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::run::{failure_lines, images, interrupted, pool_options};
use super::{Context, output, plugin};
use kymhost_index::{AdoptOptions, AdoptOutcome};
use kymhost_plugin::{PoolOptions, open_pool};

/// Does `adopt`.
pub fn adopt(context: &Context, args: &AdoptArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugin = plugin::chosen_one(&args.choice)?;
    let interrupt = Interrupt::listen();
    let pool = PoolOptions { stop: interrupt.stop(), ..pool_options(&args.pool) };
    let options = AdoptOptions {
        images: (!args.image.is_empty()).then(|| args.image.iter().cloned().collect()),
        wait: args.wait.unwrap_or_default(),
        ..AdoptOptions::new(args.reason.as_str())
    };
    let mut workforce = open_pool(&plugin, &dataset, &pool)?;
    let mut progress = Progress::new(&plugin.indexer.name, context.quiet, context.verbose, &interrupt);
    let outcome = kymhost_index::adopt(&dataset, &plugin.indexer, workforce.as_mut(), &options, &mut progress);
    progress.finish();
    let outcome = outcome.map_err(|error| interrupted(error, &plugin, &interrupt))?;
    if !outcome.failures.is_empty() {
        let head = format!("{}: images that could not be adopted; they are as they were:", outcome.indexer);
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
    let AdoptOutcome { indexer, table, adopted, already_fresh, nothing_to_adopt, failures } = outcome;
    format!(
        "{indexer}: adopted {}, already fresh {already_fresh}, nothing to adopt {nothing_to_adopt}, failed {} -> {table}",
        images(*adopted),
        failures.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_line() {
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
            "radon: adopted 3 images, already fresh 2, nothing to adopt 1, failed 0 -> tables/kym_radon.parquet"
        );
    }
}
