//! `plugin check`: the conformance suite over a library.
//! Owns: how checks are chosen and shown. Never: checks (see `author::check`).

use super::search_path;
use crate::program::Context;
use crate::program::args::PluginCheckArgs;
use crate::program::documents::{CheckDocument, CheckListDocument};
use crate::program::error::CliError;
use crate::program::exit::Exit;
use crate::program::interrupt::Interrupt;
use crate::program::{output, typed};
use kymhost_author::check::{self, Check, CheckError, Checked, Options, Report};
use kymhost_plugin::find_plugin;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Does `plugin check`.
pub fn check(context: &Context, args: &PluginCheckArgs) -> Result<Exit, CliError> {
    if args.list {
        return list(context);
    }
    let Some(library) = &args.library else {
        return Err(CliError::usage("usage", "which library is to be checked?").help("kymhost plugin check LIBRARY"));
    };
    let (library, indexer) = chosen(library, args)?;
    let program = std::env::current_exe().map_err(|error| {
        CliError::new(Exit::Internal, "internal", format!("this program's own file cannot be told: {error}"))
    })?;
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

/// Done where nothing failed or crashed.
fn exit_of(report: &Report) -> Exit {
    if !report.is_loaded {
        Exit::Unusable
    } else if report.all().any(|checked| checked.outcome.status.is_bad()) {
        Exit::SomeFailed
    } else {
        Exit::Done
    }
}

/// One line a check; a longer message goes on below.
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
            "{} passed, {} failed, {} crashed, {} warned, {} skipped in {:.1} s; the same again: --reproduce {seed}",
            counts.passed,
            counts.failed,
            counts.crashed,
            counts.warned,
            counts.skipped,
            started.elapsed().as_secs_f64(),
        )?;
        if exit_of(report) == Exit::Done && !context.quiet {
            let add = format!("{} plugin add {}", typed::program(context), typed::quoted(&report.library));
            out.write_all(typed::next(&[add]).as_bytes())?;
        }
        Ok(())
    })
}

/// A file is checked whatever it is; anything else names an indexer.
fn chosen(library: &str, args: &PluginCheckArgs) -> Result<(PathBuf, Option<String>), CliError> {
    let path = PathBuf::from(library);
    if path.is_file() {
        return Ok((path, None));
    }
    let plugin = find_plugin(library, &search_path(&args.dirs)?)?;
    Ok((plugin.library, Some(plugin.indexer.name)))
}

/// A seed that is short enough to be typed again.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id())) % 1_000_000
}

fn refusal(error: CheckError, interrupt: &Interrupt) -> CliError {
    match error {
        CheckError::Interrupted => interrupt.error("the checks were interrupted"),
        CheckError::Dataset(error) => error.into(),
        CheckError::NoImages(_) => CliError::new(Exit::Unusable, "no_images", error.to_string()),
        CheckError::UnknownIndexer { .. } => CliError::new(Exit::Unusable, "unknown_plugin", error.to_string()),
        other => CliError::new(Exit::Internal, "internal", other.to_string()),
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
    use kymhost_author::check::{Outcome, Status};

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
    fn the_exit_code_is_that_of_the_worst_check() {
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
