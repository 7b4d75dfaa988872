//! `run`: brings the tables of one or several indexers up to date.
//! Owns: the summary for people and the exit code. Never: decides what is stale.

use super::Context;
use super::args::{CompatArg, ModeArg, OnSchemaChangeArg, OrphansArg, PoolArgs, RunArgs};
use super::documents::{self, OneOf, RunDocument, RunsDocument};
use super::dry_run;
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{output, plugin, quantity};
use kymhost_dataset::Dataset;
use kymhost_index::rewrite::Widening;
use kymhost_index::{
    Compat, ImageFailure, IndexError, Mode, OnSchemaChange, Orphans, RunOptions, RunOutcome, Selection, order,
};
use kymhost_plugin::{IndexerInfo, Plugin, PoolOptions, open_pool};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many failed images the summary names.
const MAX_FAILURES_SHOWN: usize = 20;

/// Does `run`.
pub fn run(context: &Context, args: &RunArgs) -> Result<Exit, CliError> {
    let options = run_options(args)?;
    let dataset = context.open_dataset()?;
    let plugins = plugin::chosen(&args.choice)?;
    let options = RunOptions { listing: shared_listing(&dataset, plugins.len())?, ..options };
    let indexers: Vec<&IndexerInfo> = plugins.iter().map(|plugin| &plugin.indexer).collect();
    for indexer in &indexers {
        kymhost_index::check_compat(indexer, options.compat)?;
    }
    let order = order::order(&indexers)?;
    if args.dry_run {
        return dry_run::dry_run(context, args, &dataset, &plugins, &order, &options);
    }
    let interrupt = Interrupt::listen();
    let pool = PoolOptions { stop: interrupt.stop(), ..pool_options(&args.pool) };
    let mut results = Vec::with_capacity(plugins.len());
    for &place in &order.sequence {
        let Some(plugin) = plugins.get(place) else { continue };
        let start = Instant::now();
        let result = if interrupt.exit().is_some() {
            Err(interrupt.error(&format!("interrupted before {} was begun", plugin.indexer.name)))
        } else {
            one(context, &dataset, plugin, &pool, &options, &interrupt)
        };
        match &result {
            Ok(outcome) => say_outcome(context, outcome, start.elapsed()),
            // Alone, it is told by the caller.
            Err(error) if plugins.len() > 1 => output::error(error, false),
            Err(_) => {}
        }
        results.push((place, result));
    }
    let results = in_order_of_arguments(results);
    let combined = |exit| Exit::combine(interrupt.exit().into_iter().chain([exit]));
    match finish(context, &plugins, results) {
        Ok(exit) => Ok(combined(exit)),
        Err(error) => Err(CliError { exit: combined(error.exit), ..error }),
    }
}

/// Results by their places among the arguments, from those in the order in which they came about.
pub fn in_order_of_arguments<T>(mut results: Vec<(usize, T)>) -> Vec<T> {
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// What the arguments ask for.
fn run_options(args: &RunArgs) -> Result<RunOptions, CliError> {
    let compat = compat(args.compat);
    if compat == Compat::Kymflow {
        let contradicted = [
            (args.orphans == Some(OrphansArg::Prune), "--orphans prune", "removes no rows of deleted images"),
            (
                args.on_schema_change == Some(OnSchemaChangeArg::Recompute),
                "--on-schema-change recompute",
                "extracts no image anew for a column's type",
            ),
        ];
        if let Some((_, option, why)) = contradicted.into_iter().find(|(given, ..)| *given) {
            let message = format!("{option} does not go with --compat kymflow, which {why}");
            return Err(CliError::usage("usage", message).help("leave one of the two out"));
        }
    }
    let mode = match args.mode {
        ModeArg::Incremental => Mode::Incremental,
        ModeArg::Replace => Mode::Replace,
    };
    Ok(RunOptions {
        compat,
        selection: Selection {
            images: (!args.image.is_empty()).then(|| args.image.iter().cloned().collect()),
            reasons: args.reason.iter().copied().collect(),
            force: args.force,
        },
        orphans: match args.orphans {
            None | Some(OrphansArg::Prune) => Orphans::Prune,
            Some(OrphansArg::Keep) => Orphans::Keep,
        },
        allow_mass_removal: args.yes,
        max_failures: if args.fail_fast { Some(1) } else { args.max_failures },
        on_schema_change: match args.on_schema_change {
            None | Some(OnSchemaChangeArg::Fail) => OnSchemaChange::Fail,
            Some(OnSchemaChangeArg::Recompute) => OnSchemaChange::Recompute,
        },
        wait: args.wait.unwrap_or_default(),
        overwrite_artifacts: args.overwrite_artifacts,
        checkpoint_interval: args.checkpoint,
        ..RunOptions::new(mode)
    })
}

/// The images, listed once where several plugins need them.
pub fn shared_listing(dataset: &Dataset, plugins: usize) -> Result<Option<Arc<Vec<String>>>, CliError> {
    Ok(if plugins > 1 { Some(Arc::new(dataset.image_ids()?)) } else { None })
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
    pool: &PoolOptions,
    options: &RunOptions,
    interrupt: &Interrupt,
) -> Result<RunOutcome, CliError> {
    tracing::info!(
        dataset = %dataset.store().root().display(),
        library = %plugin.library.display(),
        jobs = pool.jobs,
        "{} {}, {}",
        plugin.indexer.name,
        plugin.indexer.analysis_version,
        options.mode,
    );
    let mut workforce = open_pool(plugin, dataset, pool)?;
    let mut progress = Progress::new(&plugin.indexer.name, context.quiet, context.verbose, interrupt);
    let outcome = kymhost_index::run(dataset, &plugin.indexer, workforce.as_mut(), options, &mut progress);
    progress.finish();
    outcome.map_err(|error| interrupted(error, plugin, interrupt))
}

/// An index's error as ours; where the user interrupted it, with the signal's exit code.
pub fn interrupted(error: IndexError, plugin: &Plugin, interrupt: &Interrupt) -> CliError {
    match error {
        IndexError::Interrupted => interrupt.error(&format!("{}: {}", plugin.indexer.name, IndexError::Interrupted)),
        error => error.into(),
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
    if !context.quiet {
        remarks(outcome, context.verbose).into_iter().for_each(output::say);
    }
    if !outcome.failures.is_empty() {
        let head = format!("{}: images that failed; they keep their last good rows:", outcome.indexer);
        failure_lines(head, &outcome.failures).into_iter().for_each(output::say);
    }
    if !context.quiet {
        output::say(summary(outcome, took));
    }
}

/// What is worth saying besides the images that were done: one line each.
pub fn remarks(outcome: &RunOutcome, verbose: u8) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.recomputed {
        lines.push("a column's type changed, so every image was extracted anew".to_owned());
    }
    for Widening { column, from, to } in &outcome.widened {
        lines.push(format!("the column '{column}' was {from} and is {to} now"));
    }
    if outcome.pruned_images > 0 {
        let images = images(outcome.pruned_images);
        lines.push(format!("removed the rows of {images} no longer in the dataset"));
    }
    if outcome.stopped_by_failures {
        lines.push("stopped, for so many images failed".to_owned());
    }
    if verbose > 0 && outcome.freshened > 0 {
        let images = images(outcome.freshened);
        lines.push(format!("renewed the run markers of {images}: inputs have other times, but the same content"));
    }
    if verbose > 0 && outcome.commits > 1 {
        lines.push(format!("committed {} times", outcome.commits));
    }
    lines.iter().map(|line| format!("{}: {line}", outcome.indexer)).collect()
}

/// A number of images in words.
pub fn images(count: u64) -> String {
    if count == 1 { "1 image".to_owned() } else { format!("{count} images") }
}

/// So many rows, in words.
pub fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// One line: what was done, how long it took, where the table is.
pub fn summary(outcome: &RunOutcome, took: Duration) -> String {
    let stats = &outcome.stats;
    if stats.total_images == 0 {
        let none = if outcome.decisions.is_empty() { "the dataset has no images" } else { "no image is asked for" };
        let left = if outcome.pruned_images == 0 { "there is nothing to do" } else { "there was nothing else to do" };
        return format!("{}: {none}, so {left}", outcome.indexer);
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

/// Failed images under a head, up to a bound.
pub fn failure_lines(head: String, failures: &[ImageFailure]) -> Vec<String> {
    let lines = failures.iter().map(|failure| {
        format!("{}  {}: {}", failure.image_id, failure.failure.kind, output::indented(&failure.failure.message))
    });
    let listed = output::bounded(lines, MAX_FAILURES_SHOWN, " (--json lists all)");
    [head].into_iter().chain(listed.into_iter().map(|line| format!("  {}", line.replace('\n', "\n  ")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::args::{Cli, Command};
    use crate::program::made_up::report;
    use clap::Parser;
    use kymhost_index::Stats;
    use kymhost_index::staleness::Reason;
    use kymhost_plugin::{Failure, FailureKind};
    use std::collections::BTreeSet;

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
            checkpoint_time: Duration::ZERO,
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
        empty.decisions = vec![report("i", Reason::FreshRows)];
        assert_eq!(summary(&empty, Duration::ZERO), "radon: no image is asked for, so there is nothing to do");
        let mut pruned = outcome(0);
        (pruned.stats, pruned.pruned_images) = (Stats::default(), 2);
        assert!(summary(&pruned, Duration::ZERO).ends_with("so there was nothing else to do"));
        let mut some_left = outcome(1);
        some_left.stats.not_run = 5;
        assert!(summary(&some_left, Duration::ZERO).contains("failed 1, not run 5 ("));
    }

    #[test]
    fn failures_are_listed_up_to_a_bound() {
        let lines = failure_lines("failed:".into(), &outcome(MAX_FAILURES_SHOWN + 2).failures);
        assert_eq!(lines.len(), MAX_FAILURES_SHOWN + 2);
        assert_eq!(lines[1], "  image-0  timeout: too slow\n    after 1 s");
        assert_eq!(lines[MAX_FAILURES_SHOWN + 1], "  ... and 2 more (--json lists all)");
    }

    #[test]
    fn what_else_was_done_is_said_before() {
        assert_eq!(remarks(&outcome(0), 1), Vec::<String>::new());
        let mut much = outcome(0);
        much.widened = vec![Widening { column: "score".into(), from: "Int64".into(), to: "Float64".into() }];
        (much.pruned_images, much.freshened, much.commits) = (1, 3, 4);
        (much.recomputed, much.stopped_by_failures) = (true, true);
        let plain = [
            "radon: a column's type changed, so every image was extracted anew",
            "radon: the column 'score' was Int64 and is Float64 now",
            "radon: removed the rows of 1 image no longer in the dataset",
            "radon: stopped, for so many images failed",
        ];
        let verbose = [
            "radon: renewed the run markers of 3 images: inputs have other times, but the same content",
            "radon: committed 4 times",
        ];
        assert_eq!(remarks(&much, 0), plain);
        assert_eq!(remarks(&much, 1), [&plain[..], &verbose].concat());
    }

    /// The options of a line, or the code of its error.
    fn options(line: &str) -> Result<RunOptions, CliError> {
        let cli =
            Cli::try_parse_from(["kymhost", "run", "-p", "a"].into_iter().chain(line.split_whitespace())).unwrap();
        let Command::Run(args) = cli.command else { panic!("{line}") };
        run_options(&args)
    }

    #[test]
    fn arguments_become_options() {
        let check = |line: &str, expected: RunOptions| {
            // There is nothing else to compare them by.
            assert_eq!(format!("{:?}", options(line).unwrap()), format!("{expected:?}"), "{line}");
        };
        let plain = || RunOptions::new(Mode::Incremental);
        let select = |selection| RunOptions { selection, ..plain() };
        let ids = |ids: &[&str]| Some(ids.iter().map(|&id| id.to_owned()).collect());
        check("", plain());
        check("--mode replace", RunOptions::new(Mode::Replace));
        check("--compat kymflow", RunOptions { compat: Compat::Kymflow, ..plain() });
        check("--image b a b", select(Selection { images: ids(&["a", "b"]), ..Selection::default() }));
        check(
            "--reason stale_unknown --reason FRESH_ROWS",
            select(Selection {
                reasons: BTreeSet::from([Reason::StaleUnknown, Reason::FreshRows]),
                ..Selection::default()
            }),
        );
        check("--force", select(Selection { force: true, ..Selection::default() }));
        check("--orphans prune", plain());
        check("--orphans keep", RunOptions { orphans: Orphans::Keep, ..plain() });
        check(
            "--orphans keep --compat kymflow",
            RunOptions { orphans: Orphans::Keep, compat: Compat::Kymflow, ..plain() },
        );
        check("--yes", RunOptions { allow_mass_removal: true, ..plain() });
        check("--fail-fast", RunOptions { max_failures: Some(1), ..plain() });
        check("--max-failures 7", RunOptions { max_failures: Some(7), ..plain() });
        check("--on-schema-change fail", plain());
        check("--on-schema-change recompute", RunOptions { on_schema_change: OnSchemaChange::Recompute, ..plain() });
        check("--overwrite-artifacts", RunOptions { overwrite_artifacts: true, ..plain() });
        check("--wait 2.5", RunOptions { wait: Duration::from_millis(2500), ..plain() });
        check("--checkpoint 0.5", RunOptions { checkpoint_interval: Duration::from_millis(500), ..plain() });
    }

    #[test]
    fn what_contradicts_the_predecessor_is_refused() {
        for option in ["--orphans prune", "--on-schema-change recompute"] {
            let error = options(&format!("--compat kymflow {option}")).unwrap_err();
            assert_eq!((error.exit, error.code), (Exit::Usage, "usage"), "{option}");
            assert!(error.message.starts_with(option) && error.help.is_some(), "{error:?}");
        }
        for line in ["--image a --force", "--reason STALE_UNKNOWN", "--on-schema-change fail", "--yes", "--fail-fast"] {
            assert!(options(&format!("--compat kymflow {line}")).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_failed_image_is_exit_3() {
        assert_eq!(exit_of(&outcome(0)), Exit::Done);
        assert_eq!(exit_of(&outcome(1)), Exit::SomeFailed);
    }
}
