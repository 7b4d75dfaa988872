//! `plugin …`: `list`, `info`, and where plugins are sought; each other command has a file of its own.
//! Owns: the search path and how plugins are shown. Never: reads libraries (see the room `plugin`).

mod add;
mod check;
mod inspect;
mod new;
mod trust;

use crate::program::Context;
use crate::program::args::{OnePlugin, PluginChoice, PluginCommand, PluginDirs, PluginInfoArgs};
use crate::program::documents::{self, ListedPluginDocument, PluginInfoDocument, PluginsDocument, UnusableBody};
use crate::program::error::CliError;
use crate::program::exit::Exit;
use crate::program::output;
use etcetera::BaseStrategy;
use kymhost_plugin::{Plugin, PluginError, SearchPath, Trust, find_plugin, list_plugins, missing, read_card};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::card::API;
use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The environment variable that lists folders of plugins.
const VARIABLE: &str = "KYMHOST_PLUGIN_PATH";

/// Does `plugin …`.
pub fn plugin(context: &Context, command: &PluginCommand) -> Result<Exit, CliError> {
    match command {
        PluginCommand::List(dirs) => list(context, dirs),
        PluginCommand::Info(args) => info(context, args),
        PluginCommand::Inspect(args) => inspect::inspect(context, args),
        PluginCommand::New(args) => new::new(context, args),
        PluginCommand::Check(args) => check::check(context, args),
        PluginCommand::Add(args) => add::add(context, args),
        PluginCommand::Remove(args) => add::remove(context, args),
        PluginCommand::Path(args) => add::path(context, args),
        PluginCommand::Trust(args) => trust::trust(context, args),
    }
}

/// The search path of this process.
pub fn search_path(dirs: &PluginDirs) -> Result<SearchPath, CliError> {
    for dir in &dirs.plugin_dir {
        if !dir.is_dir() {
            return Err(CliError::usage("plugin_dir", format!("--plugin-dir {} is no folder", dir.display())));
        }
    }
    let data = data_folder();
    let trust = user_trust()?;
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let folders = folders(&dirs.plugin_dir, env::var_os(VARIABLE).as_deref(), data.as_deref(), own.as_deref());
    Ok(SearchPath { folders, trust })
}

/// kymhost's folder of this user's data, where there is such a place.
fn data_folder() -> Option<PathBuf> {
    let data = etcetera::choose_base_strategy().ok()?.data_dir();
    data.is_absolute().then(|| data.join("kymhost"))
}

/// What the user's lock file says.
fn user_trust() -> Result<Trust, PluginError> {
    data_folder().map_or_else(|| Ok(Trust::default()), |data| Trust::of_user(&data))
}

/// The folders in order, each once.
fn folders(dirs: &[PathBuf], variable: Option<&OsStr>, data: Option<&Path>, own: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = dirs.to_vec();
    // A relative or empty entry would mean the working folder, which is never searched by itself.
    folders.extend(variable.iter().flat_map(env::split_paths).filter(|path| path.is_absolute()));
    folders.extend(data.map(|data| data.join("plugins")));
    folders.extend(own.map(Path::to_owned));
    folders.extend(own.map(|own| own.join("plugins")));
    let mut seen = HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// Every indexer asked for, in the order of the arguments.
pub fn chosen(choice: &PluginChoice) -> Result<Vec<Plugin>, CliError> {
    let search = search_path(&choice.dirs)?;
    let mut plugins: Vec<Plugin> = Vec::with_capacity(choice.plugin.len());
    for spec in &choice.plugin {
        let plugin = find_plugin(spec, &search)?;
        let table = |plugin: &Plugin| plugin.indexer.name.trim().to_lowercase();
        if plugins.iter().any(|other| table(other) == table(&plugin)) {
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

/// The one indexer asked for.
pub fn chosen_one(choice: &OnePlugin) -> Result<Plugin, CliError> {
    Ok(find_plugin(&choice.plugin, &search_path(&choice.dirs)?)?)
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
                error.code,
                output::indented(&error.message)
            )?;
            if let Some(help) = &error.help {
                writeln!(out, "  help: {}", output::indented(help))?;
            }
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
            "help: `kymhost plugin add FILE|FOLDER` installs a plugin; or give --plugin-dir DIR or {VARIABLE}"
        ));
    }
    Ok(Exit::Done)
}

fn info(context: &Context, args: &PluginInfoArgs) -> Result<Exit, CliError> {
    let plugin = find_plugin(&args.plugin, &search_path(&args.dirs)?)?;
    let card = read_card(&plugin.library)?;
    if context.json {
        output::document(&PluginInfoDocument::new(&plugin, &card))?;
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
        if !indexer.writes.is_empty() {
            let writes: Vec<String> = indexer.writes.iter().map(documents::artifact_text).collect();
            writeln!(out, "writes            {}", writes.join(", "))?;
        }
        if !indexer.reads.is_empty() {
            writeln!(out, "reads             {}", indexer.reads.join(", "))?;
        }
        writeln!(out, "library           {}", plugin.library.display())?;
        let names: Vec<&str> = card.indexers.iter().map(|indexer| indexer.name.as_str()).collect();
        writeln!(out, "its indexers      {}", names.join(", "))?;
        writeln!(out, "plugin API        {}, needs {} at least (this kymhost has {API})", card.api, card.needs_api)?;
        writeln!(out, "door              {}", card.door)?;
        writeln!(out, "built with        plugin-api {}, {}, for {}", card.sdk, card.rustc, card.target)?;
        if let Ok(schema) = Json::parse(indexer.params_schema.as_bytes()) {
            writeln!(out, "params schema     {}", schema.to_file_text())?;
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_in_order_once() {
        let texts = |dirs: &[&str], variable: Option<&str>, data: Option<&str>, own: Option<&str>| {
            let dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
            let folders = folders(&dirs, variable.map(OsStr::new), data.map(Path::new), own.map(Path::new));
            folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>()
        };
        let variable = env::join_paths(["/v1", "", "here", "/v2", "/a"]).unwrap();
        assert_eq!(
            texts(&["/a", "b"], variable.to_str(), Some("/data/kymhost"), Some("/bin")),
            ["/a", "b", "/v1", "/v2", "/data/kymhost/plugins", "/bin", "/bin/plugins"]
        );
        assert_eq!(texts(&[], None, None, None), Vec::<String>::new());
        assert_eq!(texts(&[], Some(""), None, Some("/bin")), ["/bin", "/bin/plugins"]);
    }
}
