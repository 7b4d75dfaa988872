//! `plugin list`.

use super::bodies::PluginDocument;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::PluginDirs;
use crate::output;
use crate::plugins::{VARIABLE, search_path};
use clap::Args;
use kymhost_plugin::{Locked, Origin, Plugin, list_plugins, missing};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin list
  kymhost plugin list --plugin-dir ~/my-plugins/target/release

Only what a library's file says about itself is read. None of its code runs.";

/// Arguments of `plugin list`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginListArgs {
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// `plugin list --json`
#[derive(Debug, Serialize)]
pub struct PluginsDocument<'a> {
    /// The search path.
    pub folders: Vec<String>,
    /// Indexers that can be used.
    pub plugins: Vec<ListedPluginDocument<'a>>,
    /// Libraries that cannot be used.
    pub unusable: Vec<UnusableBody<'a>>,
}

/// A library that cannot be used.
#[derive(Debug, Serialize)]
pub struct UnusableBody<'a> {
    /// The file.
    library: String,
    /// A stable word, listed in the error codes.
    code: &'a str,
    /// What failed and why.
    message: String,
    /// What to do about it.
    help: Option<&'a str>,
}

impl<'a> UnusableBody<'a> {
    /// A library and why.
    pub fn new(library: &std::path::Path, error: &'a CliError) -> Self {
        Self {
            library: library.display().to_string(),
            code: error.code(),
            message: error.message(),
            help: error.said.help.as_deref(),
        }
    }
}

/// An indexer that can be used.
#[derive(Debug, Serialize)]
pub struct ListedPluginDocument<'a> {
    #[serde(flatten)]
    plugin: PluginDocument<'a>,
    /// Whether its library is in the user's lock file.
    locked: bool,
    /// Its SHA-256 in the lock file.
    sha256: Option<&'a str>,
    /// Where it came from.
    origin: Option<&'a Origin>,
}

impl<'a> ListedPluginDocument<'a> {
    /// The document of an indexer that was found, and its library's entry in the lock file.
    pub fn new(plugin: &'a Plugin, entry: Option<&'a Locked>) -> Self {
        Self {
            plugin: PluginDocument::new(plugin),
            locked: entry.is_some(),
            sha256: entry.map(|entry| entry.sha256.as_str()),
            origin: entry.map(|entry| &entry.origin),
        }
    }
}

/// Does `plugin list`.
pub fn list(context: &Context, args: &PluginListArgs) -> Result<Exit, CliError> {
    let search = search_path(&args.dirs)?;
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    for (library, found) in list_plugins(&search) {
        match found {
            Ok(plugins) => usable.extend(plugins),
            Err(error) => unusable.push((library, CliError::from(error))),
        }
    }
    for entry in search.trust.entries() {
        if let (Some(error), Some(library)) = (missing(entry), &entry.file) {
            unusable.push((library.clone(), CliError::from(error)));
        }
    }
    if context.json {
        output::document(&PluginsDocument {
            folders: search.folders.iter().map(|folder| folder.display().to_string()).collect(),
            plugins: usable
                .iter()
                .map(|plugin| ListedPluginDocument::new(plugin, search.trust.entry_of(&plugin.library)))
                .collect(),
            unusable: unusable.iter().map(|(library, error)| UnusableBody::new(library, error)).collect(),
        })?;
        return Ok(Exit::Done);
    }
    output::to_stdout(|out| {
        let width = usable.iter().map(|plugin| plugin.indexer.name.len()).max().unwrap_or(0);
        let version = usable.iter().map(|plugin| plugin.indexer.analysis_version.len()).max().unwrap_or(0);
        for plugin in &usable {
            let (name, made) = (&plugin.indexer.name, &plugin.indexer.analysis_version);
            writeln!(out, "{name:width$}  {made:version$}  {}", plugin.library.display())?;
        }
        for (library, error) in &unusable {
            writeln!(
                out,
                "cannot be used: {}\n  [{}] {}",
                library.display(),
                error.code(),
                output::indented(&error.message())
            )?;
            if let Some(help) = &error.said.help {
                writeln!(out, "  help: {}", output::indented(help))?;
            }
        }
        Ok(())
    })?;
    if usable.is_empty() && !context.quiet {
        output::say("no indexer found in:");
        for folder in &search.folders {
            let absent = if folder.is_dir() { "" } else { "  (does not exist)" };
            output::say(format_args!("  {}{absent}", folder.display()));
        }
        output::say(format_args!(
            "help: install a plugin with `kymhost plugin add FILE|FOLDER`, or name its folder with --plugin-dir DIR or {VARIABLE}"
        ));
    }
    Ok(Exit::Done)
}
