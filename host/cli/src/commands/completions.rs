//! `completions`: a script that completes the command line in a shell.
//!
//! This file must not install the script.

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;
use clap::{Args, Command};
use clap_complete::Shell;

const EXAMPLES: &str = "\
Examples:
  kymhost completions bash > ~/.local/share/bash-completion/completions/kymhost
  kymhost completions zsh > ~/.zfunc/_kymhost
  kymhost completions fish > ~/.config/fish/completions/kymhost.fish";

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// Print the script for this shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Does `completions`.
pub fn print(context: &Context, args: &CompletionsArgs, mut program: Command) -> Result<Exit, CliError> {
    if context.json {
        return Err(CliError::usage("no_json", "completions has no JSON output", "leave out --json"));
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "kymhost", &mut script);
    output::to_stdout(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}
