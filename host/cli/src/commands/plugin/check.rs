//! `plugin check`: which checks are run over a library, and how their results are shown.
//!
//! This file must not check anything: see [`kymhost_author::check`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::interrupt::Interrupt;
use crate::options::PluginDirs;
use crate::plugins::search_path;
use crate::{output, quantity, shell_quote};
use clap::Args;
use clap::builder::PossibleValuesParser;
use kymhost_author::CheckError;
use kymhost_author::check::{self, Check, Checked, Options, Report, Status};
use kymhost_plugin::find_plugin;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const EXAMPLES: &str = "\
Examples:
  kymhost plugin check target/release/libstalls.so
  kymhost plugin check target/release/libstalls.so --dataset lab.zarr     with real records
  kymhost plugin check target/release/libstalls.so --reproduce 4711       with the same records again
  kymhost plugin check target/release/libstalls.so --only rows_repeat own_rows
  kymhost plugin check --list

The records are synthetic: pixels of several shapes and dtypes, with the artifacts that the indexer
looks for. With --dataset, copies of the first recordings of that dataset are used instead. The
dataset is only read. Each check runs in its own process and ends as passed, failed, warned, crashed or
skipped (it could not be run; the message says why). The exit code is 0 if none failed or crashed,
3 if some did, and 5 if the library cannot be loaded.";

/// Arguments of `plugin check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginCheckArgs {
    /// Check this library with all its indexers, or one indexer: PATH:NAME, or NAME
    #[arg(value_name = "LIBRARY|PATH:NAME|NAME", required_unless_present = "list")]
    pub library: Option<String>,
    /// List the checks and what each needs
    #[arg(long, conflicts_with_all = ["library", "only", "reproduce"])]
    pub list: bool,
    /// Run only these checks, and those of the library as a whole
    #[arg(long, value_name = "CHECK", num_args = 1.., value_parser = checks())]
    pub only: Vec<String>,
    /// Make the same records as an earlier check with this seed
    #[arg(long, value_name = "SEED")]
    pub reproduce: Option<u64>,
    /// Give up on a check after this many seconds [default: 60]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_seconds)]
    pub timeout: Option<Duration>,
    /// Run at most N checks at once [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Number of extractions for the memory-growth check [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub calls: Option<u64>,
    /// Where to look for plugins first.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

fn checks() -> PossibleValuesParser {
    PossibleValuesParser::new(Check::ALL.iter().map(|check| check.name()))
}

/// `plugin check`
#[derive(Debug, Serialize)]
pub struct CheckDocument<'a> {
    /// The library's file.
    library: String,
    /// The seed of the synthetic records, for `--reproduce`.
    seed: u64,
    /// Whether the library could be loaded.
    is_loaded: bool,
    /// Checks of the library as a whole.
    checks: Vec<CheckedBody<'a>>,
    /// Checks of each indexer.
    indexers: Vec<CheckedIndexer<'a>>,
    /// How many checks ended how.
    pub summary: CheckSummary,
}

/// A check and its result.
#[derive(Debug, Serialize)]
pub struct CheckedBody<'a> {
    /// The check.
    name: &'static str,
    /// `passed`, `failed`, `warned`, `skipped` or `crashed`.
    status: &'static str,
    /// What was found.
    message: &'a str,
    /// How long it took.
    seconds: f64,
}

/// The checks of one indexer.
#[derive(Debug, Serialize)]
pub struct CheckedIndexer<'a> {
    /// The indexer.
    indexer: &'a str,
    /// Its checks.
    checks: Vec<CheckedBody<'a>>,
}

/// How many checks ended how.
#[derive(Debug, Serialize)]
pub struct CheckSummary {
    /// Checks that passed.
    pub passed: usize,
    /// Checks that failed.
    pub failed: usize,
    /// Checks that found something worth a look.
    pub warned: usize,
    /// Checks that could not be run.
    pub skipped: usize,
    /// Checks whose process died.
    pub crashed: usize,
}

impl<'a> CheckDocument<'a> {
    /// From a report.
    pub fn new(report: &'a Report) -> Self {
        let bodies = |checks: &'a [Checked]| -> Vec<CheckedBody<'a>> {
            let body = |checked: &'a Checked| CheckedBody {
                name: checked.check.name(),
                status: checked.outcome.status.as_str(),
                message: &checked.outcome.message,
                seconds: (checked.seconds * 1000.0).round() / 1000.0,
            };
            checks.iter().map(body).collect()
        };
        let indexers = report.indexers.iter();
        Self {
            library: report.library.display().to_string(),
            seed: report.seed,
            is_loaded: report.is_loaded,
            checks: bodies(&report.checks),
            indexers: indexers
                .map(|indexer| CheckedIndexer { indexer: &indexer.indexer, checks: bodies(&indexer.checks) })
                .collect(),
            summary: CheckSummary {
                passed: report.count(Status::Passed),
                failed: report.count(Status::Failed),
                warned: report.count(Status::Warned),
                skipped: report.count(Status::Skipped),
                crashed: report.count(Status::Crashed),
            },
        }
    }
}

/// `plugin check --list`
#[derive(Debug, Serialize)]
pub struct CheckListDocument {
    /// All checks.
    checks: Vec<CheckLine>,
}

/// One check.
#[derive(Debug, Serialize)]
pub struct CheckLine {
    /// The check.
    name: &'static str,
    /// `library` or `indexer`.
    of: &'static str,
    /// What it needs.
    needs: &'static str,
    /// What it checks.
    description: &'static str,
}

impl CheckListDocument {
    /// All checks.
    pub fn new() -> Self {
        let line = |check: &Check| CheckLine {
            name: check.name(),
            of: if check.is_of_library() { "library" } else { "indexer" },
            needs: check.needs().as_str(),
            description: check.description(),
        };
        Self { checks: Check::ALL.iter().map(line).collect() }
    }
}

/// Does `plugin check`.
pub fn check(context: &Context, args: &PluginCheckArgs) -> Result<Exit, CliError> {
    if args.list {
        return list(context);
    }
    let Some(library) = &args.library else {
        return Err(CliError::usage("usage", "LIBRARY is missing", "name a library: kymhost plugin check LIBRARY"));
    };
    let (library, indexer) = chosen(library, args)?;
    let program = std::env::current_exe()
        .map_err(|error| CliError::internal(format_args!("cannot find the path of the running executable: {error}")))?;
    let interrupt = Interrupt::listen();
    let mut options = Options::new(library, program, args.reproduce.unwrap_or_else(any_seed));
    options.indexer = indexer;
    options.only = args.only.iter().filter_map(|name| Check::from_name(name)).collect();
    options.timeout = args.timeout.unwrap_or(check::DEFAULT_TIMEOUT);
    options.jobs = args.jobs.map_or(options.jobs, usize::from);
    options.calls = args.calls.unwrap_or(options.calls);
    options.dataset = context.dataset.clone();
    options.stop = interrupt.stop();

    let started = Instant::now();
    if !context.json {
        output::to_stdout(|out| {
            writeln!(out, "{}, seed {}", options.library.display(), options.seed)?;
            writeln!(out, "the library")
        })?;
    }
    let mut shown: Option<String> = None;
    let mut trouble = Ok(());
    let report = check::run(&options, &mut |indexer, checked| {
        if context.json || trouble.is_err() {
            return;
        }
        let is_new = indexer.is_some() && shown.as_deref() != indexer;
        trouble = output::to_stdout(|out| {
            if let Some(indexer) = indexer.filter(|_| is_new) {
                writeln!(out, "the indexer {indexer}")?;
            }
            writeln!(out, "{}", line(checked))
        });
        shown = indexer.map(str::to_owned);
    });
    let report = report.map_err(|error| refusal(error, &interrupt))?;
    trouble?;
    if context.json {
        output::document(&CheckDocument::new(&report))?;
    } else {
        summary(context, &report, started)?;
    }
    Ok(exit_of(&report))
}

/// The exit code of a report.
fn exit_of(report: &Report) -> Exit {
    if !report.is_loaded {
        Exit::Unusable
    } else if report.all().any(|checked| checked.outcome.status.is_bad()) {
        Exit::SomeFailed
    } else {
        Exit::Done
    }
}

/// One line per check. A longer message continues below it.
fn line(checked: &Checked) -> String {
    let Checked { check, outcome, .. } = checked;
    let text = format!("  {:<8} {:<20} {}", outcome.status.as_str(), check.name(), outcome.message);
    output::indented(&text)
}

fn summary(context: &Context, report: &Report, started: Instant) -> Result<(), CliError> {
    let counts = CheckDocument::new(report).summary;
    let seed = report.seed;
    output::to_stdout(|out| {
        writeln!(
            out,
            "{} passed, {} failed, {} crashed, {} warned, {} skipped ({:.1} s); repeat with --reproduce {seed}",
            counts.passed,
            counts.failed,
            counts.crashed,
            counts.warned,
            counts.skipped,
            started.elapsed().as_secs_f64(),
        )?;
        if exit_of(report) == Exit::Done && !context.quiet {
            let add = format!(
                "{} plugin add {}",
                shell_quote::program(&context.program),
                shell_quote::quoted(&report.library)
            );
            out.write_all(shell_quote::next(&[add]).as_bytes())?;
        }
        Ok(())
    })
}

/// A file is checked whatever it holds. Anything else names an indexer.
fn chosen(library: &str, args: &PluginCheckArgs) -> Result<(PathBuf, Option<String>), CliError> {
    let path = PathBuf::from(library);
    if path.is_file() {
        return Ok((path, None));
    }
    let plugin = find_plugin(library, &search_path(&args.dirs)?)?;
    Ok((plugin.library, Some(plugin.indexer.name)))
}

/// A seed that is short enough to be typed.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id())) % 1_000_000
}

fn refusal(error: CheckError, interrupt: &Interrupt) -> CliError {
    match error {
        CheckError::Interrupted => interrupt.error("the checks were interrupted"),
        error => error.into(),
    }
}

fn list(context: &Context) -> Result<Exit, CliError> {
    if context.json {
        output::document(&CheckListDocument::new())?;
        return Ok(Exit::Done);
    }
    output::to_stdout(|out| {
        for check in Check::ALL {
            writeln!(out, "{:<20} {:<8} {}", check.name(), check.needs().as_str(), check.description())?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_author::check::Outcome;

    fn report(is_loaded: bool, statuses: &[Status]) -> Report {
        let checked = |status: &Status| Checked {
            check: Check::Load,
            outcome: Outcome { status: *status, message: "m".into() },
            seconds: 0.0,
        };
        let checks = statuses.iter().map(checked).collect();
        Report { library: "l".into(), seed: 1, is_loaded, checks, indexers: Vec::new() }
    }

    #[test]
    fn exit_code_is_of_worst_check() {
        use Status::*;
        let cases: [(bool, &[Status], Exit); 6] = [
            (true, &[Passed], Exit::Done),
            (true, &[Passed, Warned, Skipped], Exit::Done),
            (true, &[Passed, Failed], Exit::SomeFailed),
            (true, &[Crashed, Passed], Exit::SomeFailed),
            (false, &[Failed, Skipped], Exit::Unusable),
            (false, &[Crashed], Exit::Unusable),
        ];
        for (is_loaded, statuses, expected) in cases {
            assert_eq!(exit_of(&report(is_loaded, statuses)), expected, "{statuses:?}");
        }
    }
}
