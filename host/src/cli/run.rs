//! `run`: brings the tables of one or several indexers up to date.
//! Owns: the summary for people and the exit code. Never: decides what is stale.

use super::Context;
use super::args::{CompatArg, ModeArg, PoolArgs, RunArgs};
use super::documents::{self, OneOf, RunDocument, RunsDocument};
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{output, plugin, quantity};
use crate::dataset::Dataset;
use crate::index::{self, Compat, IndexError, Mode, RunOptions, RunOutcome};
use crate::plugin::{Plugin, PoolOptions, open_pool};
use std::time::{Duration, Instant};

/// How many failed images the summary names.
const MAX_FAILURES_SHOWN: usize = 20;

/// Does `run`.
pub fn run(context: &Context, args: &RunArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset()?;
    let plugins = plugin::chosen(&args.choice)?;
    let interrupt = Interrupt::listen();
    let options = PoolOptions { stop: interrupt.stop(), ..pool_options(&args.pool) };
    let mut results = Vec::with_capacity(plugins.len());
    for plugin in &plugins {
        let start = Instant::now();
        let result = if interrupt.exit().is_some() {
            Err(interrupt.error(&format!("interrupted before {} was begun", plugin.indexer.name)))
        } else {
            one(context, &dataset, plugin, &options, mode(args.mode), compat(args.compat), &interrupt)
        };
        match &result {
            Ok(outcome) => say_outcome(context, outcome, start.elapsed()),
            // Alone, it is told by the caller.
            Err(error) if plugins.len() > 1 => output::error(error, false),
            Err(_) => {}
        }
        results.push(result);
    }
    let combined = |exit| Exit::combine(interrupt.exit().into_iter().chain([exit]));
    match finish(context, &plugins, results) {
        Ok(exit) => Ok(combined(exit)),
        Err(error) => Err(CliError { exit: combined(error.exit), ..error }),
    }
}

fn finish(
    context: &Context,
    plugins: &[Plugin],
    mut results: Vec<Result<RunOutcome, CliError>>,
) -> Result<Exit, CliError> {
    if results.len() == 1 {
        let outcome = results.remove(0)?;
        if context.json {
            output::document(&RunDocument::new(&outcome))?;
        }
        return Ok(exit_of(&outcome));
    }
    if context.json {
        let runs = plugins
            .iter()
            .zip(&results)
            .map(|(plugin, result)| OneOf::new(&plugin.indexer.name, result, RunDocument::new));
        output::document(&RunsDocument { runs: runs.collect() })?;
    }
    Ok(Exit::combine(results.iter().map(|result| match result {
        Ok(outcome) => exit_of(outcome),
        Err(error) => error.exit,
    })))
}

/// Runs one indexer, with a progress bar where there is a terminal.
pub fn one(
    context: &Context,
    dataset: &Dataset,
    plugin: &Plugin,
    options: &PoolOptions,
    mode: Mode,
    compat: Compat,
    interrupt: &Interrupt,
) -> Result<RunOutcome, CliError> {
    tracing::info!(
        dataset = %dataset.store().root().display(),
        library = %plugin.library.display(),
        jobs = options.jobs,
        "{} {}, {mode}",
        plugin.indexer.name,
        plugin.indexer.analysis_version,
    );
    let mut workforce = open_pool(plugin, dataset, options)?;
    let mut progress = Progress::new(&plugin.indexer.name, context.quiet, context.verbose, interrupt);
    let outcome = index::run(
        dataset,
        &plugin.indexer,
        workforce.as_mut(),
        &RunOptions { compat, ..RunOptions::new(mode) },
        &mut progress,
    );
    progress.finish();
    match outcome {
        Err(IndexError::Interrupted) => {
            Err(interrupt.error(&format!("{}: {}", plugin.indexer.name, IndexError::Interrupted)))
        }
        outcome => Ok(outcome?),
    }
}

/// The exit code of one indexer's run.
pub fn exit_of(outcome: &RunOutcome) -> Exit {
    if outcome.failures.is_empty() && outcome.stats.failed == 0 { Exit::Done } else { Exit::SomeFailed }
}

/// The rules that the arguments ask for.
pub fn compat(arg: Option<CompatArg>) -> Compat {
    match arg {
        Some(CompatArg::Kymflow) => Compat::Kymflow,
        None => Compat::Kymhost,
    }
}

fn mode(arg: ModeArg) -> Mode {
    match arg {
        ModeArg::Incremental => Mode::Incremental,
        ModeArg::Replace => Mode::Replace,
    }
}

/// The pool that the arguments ask for.
pub fn pool_options(args: &PoolArgs) -> PoolOptions {
    let default = PoolOptions::default();
    PoolOptions {
        jobs: args.jobs.map_or(default.jobs, usize::from),
        timeout: args.timeout,
        max_memory: args.max_memory,
        in_process: args.in_process,
        ..default
    }
}

fn say_outcome(context: &Context, outcome: &RunOutcome, took: Duration) {
    if !outcome.failures.is_empty() {
        for line in failure_lines(outcome) {
            output::say(line);
        }
    }
    if !context.quiet {
        output::say(summary(outcome, took));
    }
}

/// One line: what was done, how long it took, where the table is.
pub fn summary(outcome: &RunOutcome, took: Duration) -> String {
    let stats = &outcome.stats;
    if stats.total_images == 0 {
        return format!("{}: the dataset has no images, so there is nothing to do", outcome.indexer);
    }
    let not_run = if stats.not_run > 0 { format!(", not run {}", stats.not_run) } else { String::new() };
    format!(
        "{}: updated {}, skipped {}, missing {}, failed {}{not_run} ({}) -> {}",
        outcome.indexer,
        stats.updated,
        documents::skipped(stats),
        stats.missing,
        stats.failed,
        quantity::show_duration(took),
        outcome.table
    )
}

fn failure_lines(outcome: &RunOutcome) -> Vec<String> {
    let mut lines = vec![format!("{}: images that failed; they keep their last good rows:", outcome.indexer)];
    let failures = outcome.failures.iter().map(|failure| {
        format!("{}  {}: {}", failure.image_id, failure.failure.kind, output::indented(&failure.failure.message))
    });
    let listed = output::bounded(failures, MAX_FAILURES_SHOWN, " (--json lists all)");
    lines.extend(listed.into_iter().map(|line| format!("  {}", line.replace('\n', "\n  "))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{ImageFailure, Stats};
    use crate::plugin::{Failure, FailureKind};

    fn outcome(failed: usize) -> RunOutcome {
        let failure = |i| ImageFailure {
            image_id: format!("image-{i}"),
            failure: Failure::new(FailureKind::Timeout, "too slow\nafter 1 s".into()),
        };
        RunOutcome {
            indexer: "radon".into(),
            mode: Mode::Replace,
            table: "tables/kym_radon.parquet".into(),
            stats: Stats {
                total_images: 9 + failed as u64,
                updated: 2,
                skipped_fresh: 3,
                skipped_zero_rows: 4,
                missing: 1,
                failed: failed as u64,
                ..Stats::default()
            },
            failures: (0..failed).map(failure).collect(),
            decisions: Vec::new(),
            pruned_images: 0,
            freshened: 0,
            widened: Vec::new(),
            commits: 1,
            recomputed: false,
            stopped_by_failures: false,
        }
    }

    #[test]
    fn the_summary_is_one_line() {
        assert_eq!(
            summary(&outcome(0), Duration::from_millis(120)),
            "radon: updated 2, skipped 7, missing 1, failed 0 (0.12 s) -> tables/kym_radon.parquet"
        );
        let mut empty = outcome(0);
        empty.stats = Stats::default();
        assert_eq!(summary(&empty, Duration::ZERO), "radon: the dataset has no images, so there is nothing to do");
        let mut some_left = outcome(1);
        some_left.stats.not_run = 5;
        assert!(summary(&some_left, Duration::ZERO).contains("failed 1, not run 5 ("));
    }

    #[test]
    fn failures_are_listed_up_to_a_bound() {
        let lines = failure_lines(&outcome(MAX_FAILURES_SHOWN + 2));
        assert_eq!(lines.len(), MAX_FAILURES_SHOWN + 2);
        assert_eq!(lines[1], "  image-0  timeout: too slow\n    after 1 s");
        assert_eq!(lines[MAX_FAILURES_SHOWN + 1], "  ... and 2 more (--json lists all)");
    }

    #[test]
    fn a_failed_image_is_exit_3() {
        assert_eq!(exit_of(&outcome(0)), Exit::Done);
        assert_eq!(exit_of(&outcome(1)), Exit::SomeFailed);
    }
}
