//! placeholder
use super::Context;
use super::args::DatasetCommand;
use super::error::CliError;
use super::exit::Exit;
pub fn dataset(_context: &Context, _command: &DatasetCommand) -> Result<Exit, CliError> {
    unimplemented!()
}
