//! The program: arguments, progress, text and JSON output, exit codes.
//! Owns: what people and scripts see. Never: rules (those are in `index`, `dataset`, `plugin`).

mod adopt;
mod args;
mod completions;
mod dataset;
mod dataset_choice;
pub mod demo;
mod documents;
mod dry_run;
mod error;
mod exit;
mod explain;
mod export;
mod help;
mod ingest;
mod interrupt;
mod logging;
#[cfg(test)]
mod made_up;
mod output;
mod params;
mod params_hash;
mod plugin;
mod progress;
mod quantity;
mod run;
mod status;
mod table;
mod typed;
mod verify;

use args::{Cli, Command};
use clap::Parser;
use clap::error::ErrorKind;
use error::CliError;
use exit::Exit;
use kymhost_dataset::Dataset;
use std::ffi::{OsStr, OsString};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What makes this program a worker process. Not for people.
const WORKER: &str = "worker";

/// Where to report what should never happen.
const REPORT_AT: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before all else: a worker's standard output belongs to its protocol.
    if arguments.get(1).is_some_and(|argument| argument == WORKER) {
        return kymhost_plugin::worker_main();
    }
    // For the same reason.
    if arguments.get(1).is_some_and(|argument| argument == kymhost_author::check::CHILD) {
        return kymhost_author::check::check_main(arguments.get(2..).unwrap_or_default());
    }
    panic::set_hook(Box::new(say_panic));
    let json = asks_for_json(&arguments);
    let exit = panic::catch_unwind(|| whole(arguments)).unwrap_or_else(|_| {
        // The hook has told people.
        let error = CliError::new(Exit::Internal, "internal", "an internal error; see standard error")
            .help(format!("please report it at {REPORT_AT}"));
        if json {
            let _ = output::document(&documents::ErrorDocument::new(&error));
        }
        Exit::Internal
    });
    exit.into()
}

fn whole(arguments: Vec<OsString>) -> Exit {
    let json = asks_for_json(&arguments);
    let program = arguments.first().cloned().unwrap_or_else(|| "kymhost".into());
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error, json),
    };
    logging::start(cli.common.verbose, cli.common.quiet);
    let context = Context {
        program,
        dataset: cli.common.dataset,
        json: cli.common.json,
        quiet: cli.common.quiet,
        verbose: cli.common.verbose,
    };
    dispatch(&context, &cli.command).unwrap_or_else(|error| {
        output::error(&error, json);
        error.exit
    })
}

fn dispatch(context: &Context, command: &Command) -> Result<Exit, CliError> {
    match command {
        Command::Run(args) => run::run(context, args),
        Command::Status(args) => status::status(context, args),
        Command::Explain(args) => explain::explain(context, args),
        Command::Verify(args) => verify::verify(context, args),
        Command::Adopt(args) => adopt::adopt(context, args),
        Command::Params(command) => params::params(context, command),
        Command::Plugin(command) => plugin::plugin(context, command),
        Command::Table(command) => table::table(context, command),
        Command::Dataset(command) => dataset::dataset(context, command),
        Command::ParamsHash(args) => params_hash::print(context, args),
        Command::Demo(args) => demo::demo(context, args),
        Command::Completions(args) => completions::print(context, args),
    }
}

/// What every command knows.
#[derive(Debug, Clone)]
struct Context {
    /// How the program was called.
    program: OsString,
    dataset: Option<PathBuf>,
    json: bool,
    quiet: bool,
    verbose: u8,
}

impl Context {
    /// The dataset's folder, as the user would type it.
    fn dataset_path(&self, argument: Option<&Path>) -> Result<PathBuf, CliError> {
        let variable = std::env::var_os(dataset_choice::VARIABLE);
        dataset_choice::choose(argument.or(self.dataset.as_deref()), variable.as_deref(), Path::new("."))
    }

    fn open_dataset(&self) -> Result<Dataset, CliError> {
        Ok(Dataset::open(&self.dataset_path(None)?)?)
    }
}

/// Whether `--json` is among the arguments, also where they cannot be parsed.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == OsStr::new("--json"))
}

/// Tells what clap says: help and version as asked for, anything else as wrong usage.
fn refuse_usage(error: &clap::Error, json: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone away is no error.
            let _ = error.print();
            return Exit::Done;
        }
        _ => {}
    }
    if json {
        let _ = output::document(&documents::ErrorDocument::new(&usage_error(&error.render().to_string())));
    }
    let _ = error.print();
    Exit::Usage
}

/// clap's text as an error of ours: what is wrong, then what to do.
fn usage_error(text: &str) -> CliError {
    let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let message = paragraphs.next().unwrap_or_default();
    let tips: Vec<&str> = paragraphs.filter_map(|paragraph| paragraph.strip_prefix("tip: ")).collect();
    let help = if tips.is_empty() { "try --help".to_owned() } else { tips.join("\n") };
    CliError::usage("usage", message).help(help)
}

fn say_panic(info: &panic::PanicHookInfo<'_>) {
    let what = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line())).unwrap_or_default();
    output::say(format_args!(
        "error: internal error: {what}{place}\nhelp: this is a bug in kymhost {}; please report it, with the command that \
         you ran, at {REPORT_AT}",
        env!("CARGO_PKG_VERSION")
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_seen_where_it_is_an_option() {
        for (line, expected) in [
            ("kymhost run --json", true),
            ("kymhost --json", true),
            ("kymhost run", false),
            ("kymhost table show -- --json", false),
            ("--json", false),
        ] {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(asks_for_json(&arguments), expected, "{line}");
        }
    }

    #[test]
    fn a_usage_error_keeps_the_possible_values() {
        let clap = Cli::try_parse_from(["kymhost", "run", "--plugin", "a", "--mode", "sometimes"]).unwrap_err();
        let error = usage_error(&clap.render().to_string());
        assert_eq!((error.exit, error.code), (Exit::Usage, "usage"));
        for word in ["sometimes", "incremental", "replace"] {
            assert!(error.message.contains(word), "{}", error.message);
        }
        assert!(!error.message.contains("Usage:") && !error.message.starts_with("error"), "{}", error.message);
        let clap = Cli::try_parse_from(["kymhost", "run", "--plugn", "a"]).unwrap_err();
        let error = usage_error(&clap.render().to_string());
        assert!(error.help.as_deref().is_some_and(|help| help.contains("--plugin")), "{error:?}");
    }
}
