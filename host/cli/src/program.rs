//! The program `kymhost`: reads the arguments, calls the command, and ends with its exit code.
//!
//! This file must not know what a command does: see `commands`.

use crate::cli::{Cli, Command, DatasetCommand, ParamsCommand, PluginCommand, TableCommand};
use crate::commands::{adopt, completions, dataset, explain, params, params_hash, plugin, run, status, table, verify};
use crate::context::Context;
use crate::error::{CliError, ErrorDocument, REPORT_AT};
use crate::exit::Exit;
use crate::interrupt::report_file_size_limit;
use crate::{demo, logging, output};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::{OsStr, OsString};
use std::panic;
use std::process::ExitCode;

/// The first argument of a worker process. Not for people.
const WORKER: &str = "worker";

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else, because a worker's standard output belongs to its protocol.
    if arguments.get(1).is_some_and(|argument| argument == WORKER) {
        return kymhost_plugin::worker_main();
    }
    // For the same reason.
    if arguments.get(1).is_some_and(|argument| argument == kymhost_author::check::CHILD) {
        return kymhost_author::check::check_main(arguments.get(2..).unwrap_or_default());
    }
    panic::set_hook(Box::new(report_panic));
    report_file_size_limit();
    let json = asks_for_json(&arguments);
    let exit = panic::catch_unwind(|| parse_and_dispatch(arguments)).unwrap_or_else(|_| {
        // The hook has printed the details.
        let error = CliError::internal("an internal error; see standard error");
        if json {
            let _ = output::document(&ErrorDocument::new(&error));
        }
        Exit::Internal
    });
    exit.into()
}

fn parse_and_dispatch(arguments: Vec<OsString>) -> Exit {
    let json = asks_for_json(&arguments);
    let program = arguments.first().cloned().unwrap_or_else(|| "kymhost".into());
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error, &arguments, json),
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

/// Does a command.
pub(crate) fn dispatch(context: &Context, command: &Command) -> Result<Exit, CliError> {
    match command {
        Command::Run(args) => run::run(context, args),
        Command::Status(args) => status::status(context, args),
        Command::Explain(args) => explain::explain(context, args),
        Command::Verify(args) => verify::verify(context, args),
        Command::Adopt(args) => adopt::adopt(context, args),
        Command::Params(command) => match command {
            ParamsCommand::Show(args) => params::show::show(context, args),
            ParamsCommand::Set(args) => params::set::set(context, args),
            ParamsCommand::Unset(args) => params::set::unset(context, args),
        },
        Command::Plugin(command) => match command {
            PluginCommand::List(args) => plugin::list::list(context, args),
            PluginCommand::Info(args) => plugin::info::info(context, args),
            PluginCommand::Inspect(args) => plugin::inspect::inspect(context, args),
            PluginCommand::New(args) => plugin::new::new(context, args),
            PluginCommand::Check(args) => plugin::check::check(context, args),
            PluginCommand::Add(args) => plugin::add::add(context, args),
            PluginCommand::Remove(args) => plugin::remove::remove(context, args),
            PluginCommand::Path(args) => plugin::path::path(context, args),
            PluginCommand::Trust(args) => plugin::trust::trust(context, args),
        },
        Command::Table(command) => match command {
            TableCommand::List(args) => table::list::list(context, args),
            TableCommand::Show(args) => table::show::show(context, args),
            TableCommand::Drop(args) => table::drop::drop_table(context, args),
        },
        Command::Dataset(command) => match command {
            DatasetCommand::Create(args) => dataset::create::create(context, args),
            DatasetCommand::Info(args) => dataset::info::info(context, args),
            DatasetCommand::Validate(args) => dataset::validate::validate(context, args),
            DatasetCommand::Manifest(args) => dataset::manifest::manifest(context, args),
            DatasetCommand::Ingest(args) => dataset::ingest::ingest(context, args),
            DatasetCommand::Export(args) => dataset::export::export(context, args),
            DatasetCommand::ViewTable(args) => dataset::view_table::view(context, args),
        },
        Command::ParamsHash(args) => params_hash::print(context, args),
        Command::Demo(args) => demo::demo(context, args),
        Command::Completions(args) => completions::print(context, args, Cli::command()),
    }
}

/// Whether `--json` is among the arguments, even if they cannot be parsed.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == OsStr::new("--json"))
}

/// Prints help and version. Anything else that clap reports is wrong usage.
fn refuse_usage(error: &clap::Error, arguments: &[OsString], json: bool) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone away is not an error.
            let _ = error.print();
            return Exit::Done;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            let _ = error.print();
            return Exit::Usage;
        }
        _ => {}
    }
    output::error(&usage_error(error, arguments), json);
    Exit::Usage
}

/// clap's text as an error: what is wrong, the possible values, and what to do.
pub(crate) fn usage_error(error: &clap::Error, arguments: &[OsString]) -> CliError {
    let text = error.render().to_string();
    let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
    let mut paragraphs = text.split("\n\n").map(str::trim);
    let message = paragraphs.next().unwrap_or_default();
    let mut help: Vec<String> =
        paragraphs.filter_map(|paragraph| paragraph.strip_prefix("tip: ")).map(str::to_owned).collect();
    let program = Cli::command();
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) {
        let found = commands_named(&program, word, "kymhost");
        help.extend(found.iter().map(|command| format!("did you mean `{command}`?")));
    }
    help.push(format!("see `{} --help`", command_of(&program, arguments)));
    let (what, why) = message.split_once('\n').map_or((message, None), |(what, why)| (what, Some(why)));
    // clap ends some first lines with a colon.
    let what = what.trim_end_matches(':');
    let error = CliError::usage("usage", what, help.join("\n"));
    match why {
        Some(why) => error.why(why.lines().map(str::trim).collect::<Vec<_>>().join("\n")),
        None => error,
    }
}

/// The command that a line of arguments is for, as far as its words are commands.
fn command_of(program: &clap::Command, arguments: &[OsString]) -> String {
    let (mut command, mut path) = (program, program.get_name().to_owned());
    for word in arguments.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(below) = command.find_subcommand(word) {
            command = below;
            path = format!("{path} {word}");
        }
    }
    path
}

/// Commands anywhere in the tree with this name, or with the same letters in another order.
fn commands_named(command: &clap::Command, name: &str, path: &str) -> Vec<String> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let mut found = Vec::new();
    for below in command.get_subcommands() {
        let path = format!("{path} {}", below.get_name());
        if letters(below.get_name()) == letters(name) {
            found.push(path.clone());
        }
        found.extend(commands_named(below, name, &path));
    }
    found
}

fn report_panic(info: &panic::PanicHookInfo<'_>) {
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
    fn asks_for_json_sees_option_only() {
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

    /// The error of a wrong line.
    fn error_of(line: &str) -> CliError {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let clap = Cli::try_parse_from(&arguments).unwrap_err();
        let error = usage_error(&clap, &arguments);
        assert_eq!((error.exit, error.code()), (Exit::Usage, "usage"));
        error
    }

    #[test]
    fn usage_error_keeps_possible_values() {
        let error = error_of("kymhost run --plugin a --mode sometimes");
        for word in ["sometimes", "incremental", "replace"] {
            assert!(error.message().contains(word), "{}", error.message());
        }
        assert!(!error.message().contains("Usage:") && !error.message().starts_with("error"), "{}", error.message());
    }

    #[test]
    fn usage_error_has_one_colon_before_why() {
        let error = error_of("kymhost params set --plugin a window=1");
        assert_eq!(error.message(), "the following required arguments were not provided: --image <ID>...");
    }

    #[test]
    fn usage_error_names_next_step() {
        for (line, help) in [
            ("kymhost run --plugn a", "a similar argument exists: '--plugin'\nsee `kymhost run --help`"),
            ("kymhost ingest x", "did you mean `kymhost dataset ingest`?\nsee `kymhost --help`"),
            ("kymhost rnu", "did you mean `kymhost run`?\nsee `kymhost --help`"),
            ("kymhost frobnicate", "see `kymhost --help`"),
            ("kymhost table drop", "see `kymhost table drop --help`"),
        ] {
            assert_eq!(error_of(line).said.help.as_deref(), Some(help), "{line}");
        }
    }
}
