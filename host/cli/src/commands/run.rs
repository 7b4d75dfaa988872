//! `run`: brings the tables of one or several indexers up to date.
//!
//! This file must not decide what is stale: see [`kymhost_index`].

use super::bodies::FailureBody;
use super::dry_run;
use super::several::{in_order_of_arguments, report, shared_listing, with_workers};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::options::{CompatArg, PluginChoice, PoolArgs, compat, pool_options, reason};
use crate::words::{failure_lines, images};
use crate::{output, plugins, quantity};
use clap::{Args, ValueEnum};
use kymhost_dataset::{Dataset, DatasetError};
use kymhost_index::rewrite::Widening;
use kymhost_index::staleness::Reason;
use kymhost_index::{Compat, Mode, OnSchemaChange, Orphans, RunOptions, RunOutcome, Selection, Stats, order};
use kymhost_plugin::{FailureKind, IndexerInfo, Plugin, PoolOptions};
use kymhost_store::SHORTAGE_HELP;
use serde::Serialize;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  kymhost run --plugin velocity_events                     compute stale recordings
  kymhost run --plugin velocity_events --mode replace      compute every recording
  kymhost run --plugin velocity_events --plugin radon      bring two tables up to date
  kymhost run --plugin ./libstalls.so --timeout 30 --max-memory 2G
  kymhost run --plugin velocity_events --dry-run           show what would run; writes nothing
  kymhost run --plugin velocity_events --image ID ID       compute these recordings if they are stale
  kymhost run --plugin velocity_events --reason STALE_PARAMS_CHANGED --max-failures 10
  kymhost run --plugin velocity_events --wait 60           wait up to 60 s for another run to end
  kymhost run --plugin velocity_events --json | jq .stats

A recording that fails keeps its last good rows. The others are committed; the exit code is then 3.

Rows of recordings that are no longer in the dataset are removed. If no recording is left, or if
more than 10 recordings and over a fifth of the table's are gone, this needs --yes. Without it the
run ends with exit code 6 and writes nothing.

Ctrl-C (or SIGTERM) stops the run and commits the finished recordings. A second one ends it at once.";

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Which indexers.
    #[command(flatten)]
    pub choice: PluginChoice,
    /// Compute only stale recordings, or every recording
    #[arg(long, short, value_enum, value_name = "MODE", default_value = "incremental")]
    pub mode: ModeArg,
    /// Compute only these recordings; repeatable
    #[arg(long, value_name = "ID", num_args = 1.., help_heading = "Which recordings")]
    pub image: Vec<String>,
    /// Compute only recordings with this reason (`status -v` prints the codes); repeatable
    #[arg(long, value_name = "CODE", num_args = 1.., ignore_case = true, hide_possible_values = true)]
    #[arg(value_parser = reason(), help_heading = "Which recordings")]
    pub reason: Vec<Reason>,
    /// Compute fresh recordings, too
    #[arg(long, help_heading = "Which recordings")]
    pub force: bool,
    /// Remove or keep rows of recordings that are no longer in the dataset [default: prune; with --image, keep]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Which recordings")]
    pub orphans: Option<OrphansArg>,
    /// Remove such rows even if very many recordings are gone at once
    #[arg(long, help_heading = "Which recordings")]
    pub yes: bool,
    /// Show what would run, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: end with exit code 10 if something would be done
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Stop at the first recording that fails. Finished recordings are committed
    #[arg(long, conflicts_with = "max_failures")]
    pub fail_fast: bool,
    /// Stop after N failed recordings. Finished recordings are committed [default: never]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_failures: Option<u64>,
    /// What to do if new rows do not match the table's column types [default: fail]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_schema_change: Option<OnSchemaChangeArg>,
    /// Overwrite artifacts that were created by another indexer or by hand
    #[arg(long)]
    pub overwrite_artifacts: bool,
    /// Take missing chunks of pixels as empty, and record that for the recordings that lack some now
    #[arg(long, conflicts_with = "dry_run")]
    pub fill_missing: bool,
    /// Wait up to this many seconds for the table lock [default: 0]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    pub wait: Option<Duration>,
    /// Commit finished recordings every SECONDS (less often if commits are slow)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_wait)]
    #[arg(default_value = "30")]
    pub checkpoint: Duration,
    /// Decide and write exactly as another program does
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub compat: Option<CompatArg>,
    /// How plugins are run.
    #[command(flatten)]
    pub pool: PoolArgs,
}

/// Which recordings a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// Only stale recordings
    Incremental,
    /// Every recording
    Replace,
}

/// What happens to rows of deleted recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OrphansArg {
    /// Remove them
    Prune,
    /// Keep them
    Keep,
}

/// What happens when a column's type changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnSchemaChangeArg {
    /// The recording fails and keeps its old rows
    Fail,
    /// Every recording is computed again, into a new table
    Recompute,
}

/// `run --json`
#[derive(Debug, Serialize)]
pub struct RunDocument<'a> {
    /// The indexer.
    indexer: &'a str,
    /// `incremental` or `replace`.
    mode: &'static str,
    /// The table's key in the dataset.
    table: &'a str,
    /// Numbers of recordings.
    stats: StatsBody,
    /// Recordings that failed.
    failures: Vec<FailureBody<'a>>,
    /// Recordings no longer in the dataset whose rows were removed.
    pruned_images: u64,
    /// Run markers that were renewed because inputs have new file times and the same content.
    freshened: u64,
    /// Number of commits.
    commits: u64,
    /// Seconds spent on commits before the end of the run.
    checkpoint_sec: f64,
    /// Whether every recording was computed again because a column's type changed.
    recomputed: bool,
    /// Whether the run stopped at `--max-failures`.
    stopped_by_failures: bool,
    /// Columns of the table that got a wider type.
    widened: Vec<WideningBody<'a>>,
}

#[derive(Debug, Serialize)]
struct WideningBody<'a> {
    /// The column.
    column: &'a str,
    /// Its old type.
    from: &'a str,
    /// Its new type.
    to: &'a str,
}

#[derive(Debug, Serialize)]
struct StatsBody {
    /// Recordings whose rows were committed.
    updated: u64,
    /// Recordings skipped because their rows are up to date.
    skipped_fresh: u64,
    /// Recordings skipped because they have no rows, which is up to date.
    skipped_zero_rows: u64,
    /// Updated recordings that had no run marker (0 with `replace`).
    stale_missing_marker: u64,
    /// Updated recordings whose marker and rows disagreed (0 with `replace`).
    stale_marker_table_mismatch: u64,
    /// The sum of `updated`, `skipped_fresh`, `skipped_zero_rows`, `failed` and `not_run`.
    total_images: u64,
    /// Recordings that failed.
    failed: u64,
    /// Recordings that were not reached.
    not_run: u64,
    /// The sum of `skipped_fresh` and `skipped_zero_rows`.
    skipped: u64,
    /// Selected recordings that had no rows in the table before.
    missing: u64,
}

impl<'a> RunDocument<'a> {
    /// The document of a run.
    pub fn new(outcome: &'a RunOutcome) -> Self {
        let stats = &outcome.stats;
        Self {
            indexer: &outcome.indexer,
            mode: outcome.mode.name(),
            table: &outcome.table,
            stats: StatsBody {
                updated: stats.updated,
                skipped_fresh: stats.skipped_fresh,
                skipped_zero_rows: stats.skipped_zero_rows,
                stale_missing_marker: stats.stale_missing_marker,
                stale_marker_table_mismatch: stats.stale_marker_table_mismatch,
                total_images: stats.total_images,
                failed: stats.failed,
                not_run: stats.not_run,
                skipped: skipped(stats),
                missing: stats.missing,
            },
            failures: outcome.failures.iter().map(FailureBody::new).collect(),
            pruned_images: outcome.pruned_images,
            freshened: outcome.freshened,
            commits: outcome.commits,
            checkpoint_sec: outcome.checkpoint_time.as_secs_f64(),
            recomputed: outcome.recomputed,
            stopped_by_failures: outcome.stopped_by_failures,
            widened: outcome
                .widened
                .iter()
                .map(|widening| WideningBody { column: &widening.column, from: &widening.from, to: &widening.to })
                .collect(),
        }
    }
}

/// Recordings that are up to date.
fn skipped(stats: &Stats) -> u64 {
    stats.skipped_fresh + stats.skipped_zero_rows
}

/// Does `run`.
pub fn run(context: &Context, args: &RunArgs) -> Result<Exit, CliError> {
    let options = run_options(args)?;
    let dataset = context.open_dataset()?;
    let plugins = plugins::chosen(&args.choice)?;
    let options = RunOptions { listing: shared_listing(&dataset, plugins.len())?, ..options };
    let indexers: Vec<&IndexerInfo> = plugins.iter().map(|plugin| &plugin.indexer).collect();
    let order = order::order(&indexers, options.compat)?;
    if args.dry_run {
        let pool = pool_options(&args.pool, options.compat);
        return dry_run::dry_run(context, &dataset, &plugins, &order, &options, &pool, args.exit_code);
    }
    if args.fill_missing {
        fill_missing(context, &dataset, &options)?;
    }
    let interrupt = Interrupt::listen();
    let pool = pool_options(&args.pool, options.compat);
    let mut results = Vec::with_capacity(plugins.len());
    for &place in &order.sequence {
        let Some(plugin) = plugins.get(place) else { continue };
        let start = Instant::now();
        let result = if interrupt.exit().is_some() {
            Err(interrupt.error(&format!("interrupted before {} was started", plugin.indexer.name)))
        } else {
            one(context, &dataset, plugin, &pool, &options, &interrupt)
        };
        match &result {
            Ok(outcome) => say_outcome(context, outcome, start.elapsed()),
            // With a single plugin, the caller reports the error.
            Err(error) if plugins.len() > 1 => output::error(error, false),
            Err(_) => {}
        }
        results.push((place, result));
    }
    let results = in_order_of_arguments(results);
    let combined = |exit| Exit::combine(interrupt.exit().into_iter().chain([exit]));
    match report(context, "runs", &plugins, &results, RunDocument::new, None, exit_of) {
        Ok(exit) => Ok(combined(exit)),
        Err(error) => Err(CliError { exit: combined(error.exit), ..error }),
    }
}

/// The options that the arguments select.
fn run_options(args: &RunArgs) -> Result<RunOptions, CliError> {
    let compat = compat(args.compat);
    if compat == Compat::Kymflow {
        let contradicted = [
            (args.fill_missing, "--fill-missing", "takes missing chunks as empty anyway"),
            (args.orphans == Some(OrphansArg::Prune), "--orphans prune", "never removes rows of deleted recordings"),
            (
                args.on_schema_change == Some(OnSchemaChangeArg::Recompute),
                "--on-schema-change recompute",
                "never computes recordings again because of a column's type",
            ),
        ];
        if let Some((_, option, why)) = contradicted.into_iter().find(|(given, ..)| *given) {
            let what = format!("{option} cannot be combined with --compat kymflow, which {why}");
            return Err(CliError::usage("usage", what, "leave out one of the two"));
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

/// Records for the selected recordings that the chunks which their pixels lack are empty.
fn fill_missing(context: &Context, dataset: &Dataset, options: &RunOptions) -> Result<(), CliError> {
    let listed;
    let ids: Box<dyn Iterator<Item = &String>> = match (&options.selection.images, &options.listing) {
        (Some(selected), _) => Box::new(selected.iter()),
        (None, Some(listing)) => Box::new(listing.iter()),
        (None, None) => {
            listed = dataset.image_ids()?;
            Box::new(listed.iter())
        }
    };
    let (mut recordings, mut chunks) = (0u64, 0u64);
    for id in ids {
        match dataset.fill_missing_chunks(id) {
            Ok(0) => {}
            Ok(missing) => {
                recordings += 1;
                chunks += missing;
            }
            // The run reports it, for this recording.
            Err(DatasetError::Unreadable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !context.quiet && recordings > 0 {
        let images = images(recordings);
        let chunks = if chunks == 1 { "1 missing chunk".to_owned() } else { format!("{chunks} missing chunks") };
        output::say(format!("taking {chunks} of {images} as empty from now on"));
    }
    Ok(())
}

/// Runs one indexer, with a progress bar on a terminal.
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
    with_workers(context, dataset, plugin, pool, interrupt, |workforce, progress| {
        kymhost_index::run(dataset, &plugin.indexer, workforce, options, progress)
    })
}

/// The exit code of one indexer's run.
pub fn exit_of(outcome: &RunOutcome) -> Exit {
    if outcome.failures.iter().any(|failed| failed.failure.kind == FailureKind::System) {
        Exit::Unusable
    } else if outcome.failures.is_empty() && outcome.stats.failed == 0 {
        Exit::Done
    } else {
        Exit::SomeFailed
    }
}

fn say_outcome(context: &Context, outcome: &RunOutcome, took: Duration) {
    if !context.quiet {
        remarks(outcome, context.verbose).into_iter().for_each(output::say);
    }
    if !outcome.failures.is_empty() {
        let head = format!("{}: recordings that failed (they keep their last good rows):", outcome.indexer);
        failure_lines(head, &outcome.failures).into_iter().for_each(output::say);
        if outcome.failures.iter().any(|failed| failed.failure.kind == FailureKind::System) {
            output::say(format!("help: {SHORTAGE_HELP}"));
        }
    }
    if !context.quiet {
        output::say(summary(outcome, took, context.verbose));
    }
}

/// What else happened, one line each.
pub fn remarks(outcome: &RunOutcome, verbose: u8) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.recomputed {
        lines.push("a column's type changed, so every recording was computed again".to_owned());
    }
    for Widening { column, from, to } in &outcome.widened {
        lines.push(format!("the type of column '{column}' changed from {from} to {to}"));
    }
    if outcome.pruned_images > 0 {
        let images = images(outcome.pruned_images);
        lines.push(format!("removed the rows of {images} no longer in the dataset"));
    }
    if outcome.stopped_by_failures {
        let failures = if outcome.stats.failed == 1 { "failure" } else { "failures" };
        lines.push(format!("stopped after {} {failures} (--max-failures, --fail-fast)", outcome.stats.failed));
    }
    if verbose > 0 && outcome.freshened > 0 {
        let images = images(outcome.freshened);
        lines.push(format!("renewed the run markers of {images}: inputs have new file times and the same content"));
    }
    if verbose > 0 && outcome.commits > 1 {
        lines.push(format!("committed {} times", outcome.commits));
    }
    lines.iter().map(|line| format!("{}: {line}", outcome.indexer)).collect()
}

/// One line: what was done and how long it took. The table's key only with `-v`.
pub fn summary(outcome: &RunOutcome, took: Duration, verbose: u8) -> String {
    let stats = &outcome.stats;
    if stats.total_images == 0 {
        let none =
            if outcome.decisions.is_empty() { "the dataset has no recordings" } else { "no recordings selected" };
        let left = if outcome.pruned_images == 0 { "nothing to do" } else { "nothing else to do" };
        return format!("{}: {none}; {left}", outcome.indexer);
    }
    let mut parts = vec![format!("{} computed", stats.updated), format!("{} up to date", skipped(stats))];
    // `missing` counts every recording without rows that was selected, also one that failed or was not reached.
    if stats.missing > 0 && stats.failed + stats.not_run == 0 {
        parts[0].push_str(&format!(" ({} new)", stats.missing));
    }
    for (count, words) in [(stats.failed, "failed"), (stats.not_run, "not reached")] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let table = if verbose > 0 { format!(" -> {}", outcome.table) } else { String::new() };
    format!("{}: {} ({}){table}", outcome.indexer, parts.join(", "), quantity::show_duration(took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_values::report;
    use clap::Parser;
    use kymhost_index::ImageFailure;
    use kymhost_index::Stats;
    use kymhost_index::staleness::Reason;
    use kymhost_plugin::Failure;
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
    fn summary_is_one_line() {
        let plain = |outcome: &RunOutcome| summary(outcome, Duration::from_millis(120), 0);
        let done = "radon: 2 computed (1 new), 7 up to date (0.12 s)";
        assert_eq!(plain(&outcome(0)), done);
        let verbose = summary(&outcome(0), Duration::from_millis(120), 1);
        assert_eq!(verbose, format!("{done} -> tables/kym_radon.parquet"));
        let mut empty = outcome(0);
        empty.stats = Stats::default();
        assert_eq!(plain(&empty), "radon: the dataset has no recordings; nothing to do");
        empty.decisions = vec![report("i", Reason::FreshRows)];
        assert_eq!(plain(&empty), "radon: no recordings selected; nothing to do");
        let mut pruned = outcome(0);
        (pruned.stats, pruned.pruned_images) = (Stats::default(), 2);
        assert!(plain(&pruned).ends_with("; nothing else to do"));
        let mut some_left = outcome(1);
        some_left.stats.not_run = 5;
        assert_eq!(plain(&some_left), "radon: 2 computed, 7 up to date, 1 failed, 5 not reached (0.12 s)");
    }

    #[test]
    fn remarks_list_what_else_happened() {
        assert_eq!(remarks(&outcome(0), 1), Vec::<String>::new());
        let mut much = outcome(0);
        much.widened = vec![Widening { column: "score".into(), from: "Int64".into(), to: "Float64".into() }];
        (much.pruned_images, much.freshened, much.commits) = (1, 3, 4);
        (much.recomputed, much.stopped_by_failures, much.stats.failed) = (true, true, 2);
        let plain = [
            "radon: a column's type changed, so every recording was computed again",
            "radon: the type of column 'score' changed from Int64 to Float64",
            "radon: removed the rows of 1 recording no longer in the dataset",
            "radon: stopped after 2 failures (--max-failures, --fail-fast)",
        ];
        let verbose = [
            "radon: renewed the run markers of 3 recordings: inputs have new file times and the same content",
            "radon: committed 4 times",
        ];
        assert_eq!(remarks(&much, 0), plain);
        assert_eq!(remarks(&much, 1), [&plain[..], &verbose].concat());
    }

    /// The options of a line, or the code of its error.
    fn options(line: &str) -> Result<RunOptions, CliError> {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: RunArgs,
        }
        let line = Line::try_parse_from(["run", "-p", "a"].into_iter().chain(line.split_whitespace())).unwrap();
        run_options(&line.args)
    }

    #[test]
    fn run_options_follow_arguments() {
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
    fn run_options_reject_what_contradicts_kymflow() {
        for option in ["--orphans prune", "--on-schema-change recompute"] {
            let error = options(&format!("--compat kymflow {option}")).unwrap_err();
            assert_eq!((error.exit, error.code()), (Exit::Usage, "usage"), "{option}");
            assert!(error.message().starts_with(option) && error.said.help.is_some(), "{error:?}");
        }
        for line in ["--image a --force", "--reason STALE_UNKNOWN", "--on-schema-change fail", "--yes", "--fail-fast"] {
            assert!(options(&format!("--compat kymflow {line}")).is_ok(), "{line}");
        }
    }

    #[test]
    fn exit_is_3_if_an_image_failed() {
        assert_eq!(exit_of(&outcome(0)), Exit::Done);
        assert_eq!(exit_of(&outcome(1)), Exit::SomeFailed);
    }
}
