//! placeholder
use super::Context;
use super::args::DemoArgs;
use super::error::CliError;
use super::exit::Exit;
pub(super) fn demo(_context: &Context, _args: &DemoArgs) -> Result<Exit, CliError> {
    unimplemented!()
}
