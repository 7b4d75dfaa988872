//! `plugin list`, `plugin info`, and which plugins `--plugin` means.
//! Owns: how plugins are shown. Never: reads libraries (see the room `plugin`).

use super::Context;
use super::args::{PluginChoice, PluginCommand, PluginDirs, PluginInfoArgs};
use super::documents::{self, PluginDocument, PluginsDocument, UnusableBody};
use super::error::CliError;
use super::exit::Exit;
use super::output;
use crate::plugin::{PATH_VARIABLE, Plugin, SearchPath, find_plugin, list_plugins};

/// Does `plugin …`.
pub fn plugin(context: &Context, command: &PluginCommand) -> Result<Exit, CliError> {
    match command {
        PluginCommand::List(dirs) => list(context, dirs),
        PluginCommand::Info(args) => info(context, args),
    }
}

/// The search path of this process.
pub fn search_path(dirs: &PluginDirs) -> Result<SearchPath, CliError> {
    for dir in &dirs.plugin_dir {
        if !dir.is_dir() {
            return Err(CliError::usage("plugin_dir", format!("--plugin-dir {} is no folder", dir.display())));
        }
    }
    Ok(SearchPath::standard(dirs.plugin_dir.iter().cloned()))
}

/// Every indexer asked for, in the order of the arguments.
pub fn chosen(choice: &PluginChoice) -> Result<Vec<Plugin>, CliError> {
    let search = search_path(&choice.dirs)?;
    let mut plugins: Vec<Plugin> = Vec::with_capacity(choice.plugin.len());
    for spec in &choice.plugin {
        let plugin = find_plugin(spec, &search)?;
        if plugins.iter().any(|other| other.indexer.name == plugin.indexer.name) {
            return Err(CliError::usage(
                "same_indexer",
                format!("the indexer '{}' is asked for twice; it has one table", plugin.indexer.name),
            )
            .help("give each indexer once"));
        }
        plugins.push(plugin);
    }
    Ok(plugins)
}

fn list(context: &Context, dirs: &PluginDirs) -> Result<Exit, CliError> {
    let search = search_path(dirs)?;
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    for (library, found) in list_plugins(&search) {
        match found {
            Ok(plugins) => usable.extend(plugins),
            Err(error) => unusable.push((library, CliError::from(error))),
        }
    }
    if context.json {
        output::document(&PluginsDocument {
            folders: search.folders.iter().map(|folder| folder.display().to_string()).collect(),
            plugins: usable.iter().map(PluginDocument::new).collect(),
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
                error.code,
                output::indented(&error.message)
            )?;
        }
        Ok(())
    })?;
    if usable.is_empty() && !context.quiet {
        output::say("no indexer was found in:");
        for folder in &search.folders {
            let absent = if folder.is_dir() { "" } else { "  (no such folder)" };
            output::say(format_args!("  {}{absent}", folder.display()));
        }
        output::say(format_args!(
            "help: copy a plugin's library into one of them, or give --plugin-dir DIR or {PATH_VARIABLE}"
        ));
    }
    Ok(Exit::Done)
}

fn info(context: &Context, args: &PluginInfoArgs) -> Result<Exit, CliError> {
    let plugin = find_plugin(&args.plugin, &search_path(&args.dirs)?)?;
    if context.json {
        output::document(&PluginDocument::new(&plugin))?;
        return Ok(Exit::Done);
    }
    let indexer = &plugin.indexer;
    let table = documents::table_key(&indexer.name).unwrap_or_else(|| "(none: the name is not allowed)".to_owned());
    let params =
        if indexer.params_artifacts.is_empty() { "(not said)".to_owned() } else { indexer.params_artifacts.join(", ") };
    output::to_stdout(|out| {
        writeln!(out, "indexer           {}", indexer.name)?;
        writeln!(out, "analysis version  {}", indexer.analysis_version)?;
        writeln!(out, "table             {table}")?;
        writeln!(out, "run marker        {}", indexer.marker_name)?;
        writeln!(out, "params artifacts  {params}")?;
        writeln!(out, "library           {}", plugin.library.display())
    })?;
    Ok(Exit::Done)
}
