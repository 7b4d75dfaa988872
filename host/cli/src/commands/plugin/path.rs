//! `plugin path`.

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::PluginDirs;
use crate::output;
use crate::plugins::{home, search_path};
use clap::Args;
use kymhost_plugin::find_plugin;
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin path
  ls $(kymhost plugin path)
  kymhost plugin path velocity_events";

/// Arguments of `plugin path`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginPathArgs {
    /// Print the library of this indexer [default: the folder that `plugin add` installs into]
    pub name: Option<String>,
}

/// `plugin path --json`
#[derive(Debug, Serialize)]
pub struct PluginPathDocument {
    /// The folder that plugins are installed into.
    pub plugins: String,
    /// The user's lock file.
    pub lock: String,
    /// The library of the named indexer.
    pub library: Option<String>,
}

/// Does `plugin path`.
pub fn path(context: &Context, args: &PluginPathArgs) -> Result<Exit, CliError> {
    let home = home()?;
    let library = match &args.name {
        Some(name) => Some(find_plugin(name, &search_path(&PluginDirs { plugin_dir: Vec::new() })?)?.library),
        None => None,
    };
    if context.json {
        output::document(&PluginPathDocument {
            plugins: home.plugins().display().to_string(),
            lock: home.lock_file().display().to_string(),
            library: library.map(|library| library.display().to_string()),
        })?;
    } else {
        output::to_stdout(|out| writeln!(out, "{}", library.unwrap_or_else(|| home.plugins()).display()))?;
    }
    Ok(Exit::Done)
}
