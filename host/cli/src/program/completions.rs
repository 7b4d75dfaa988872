//! `completions`: a script that completes the command line in a shell.
//! Owns: nothing else. Never: installs it.

use super::Context;
use super::args::{Cli, CompletionsArgs};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use clap::CommandFactory;

/// Does `completions`.
pub fn print(context: &Context, args: &CompletionsArgs) -> Result<Exit, CliError> {
    if context.json {
        return Err(CliError::usage("no_json", "a completion script has no JSON form").help("leave --json out"));
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kymhost", &mut script);
    output::to_stdout(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}
