//! The plugins that a command works on: the search path, and the indexers that `--plugin` names.
//!
//! This file must not read libraries: see [`kymhost_plugin`].

use crate::error::CliError;
use crate::options::{OnePlugin, PluginChoice, PluginDirs};
use etcetera::BaseStrategy;
use kymhost_author::InstallError;
use kymhost_author::install::Home;
use kymhost_plugin::{Plugin, PluginError, SearchPath, Trust, find_plugin};
use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The environment variable that lists folders of plugins.
pub const VARIABLE: &str = "KYMHOST_PLUGIN_PATH";

/// The search path of this process.
pub fn search_path(dirs: &PluginDirs) -> Result<SearchPath, CliError> {
    for dir in &dirs.plugin_dir {
        if !dir.is_dir() {
            return Err(CliError::usage(
                "plugin_dir",
                format!("--plugin-dir {} is not a folder", dir.display()),
                "name a folder that exists",
            ));
        }
    }
    let data = data_folder();
    let trust = user_trust()?;
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let folders = folders(&dirs.plugin_dir, env::var_os(VARIABLE).as_deref(), data.as_deref(), own.as_deref());
    Ok(SearchPath { folders, trust })
}

/// kymhost's folder in this user's data folder, if there is one.
fn data_folder() -> Option<PathBuf> {
    let data = etcetera::choose_base_strategy().ok()?.data_dir();
    data.is_absolute().then(|| data.join("kymhost"))
}

/// The user's lock file.
pub fn user_trust() -> Result<Trust, PluginError> {
    data_folder().map_or_else(|| Ok(Trust::default()), |data| Trust::of_user(&data))
}

/// The user's plugins.
pub fn home() -> Result<Home, CliError> {
    data_folder().map(Home::new).ok_or_else(|| InstallError::NoDataFolder.into())
}

/// The folders in order, each once.
fn folders(dirs: &[PathBuf], variable: Option<&OsStr>, data: Option<&Path>, own: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = dirs.to_vec();
    // A relative or empty entry would mean the working folder, which is never searched.
    folders.extend(variable.iter().flat_map(env::split_paths).filter(|path| path.is_absolute()));
    folders.extend(data.map(|data| data.join("plugins")));
    folders.extend(own.map(Path::to_owned));
    folders.extend(own.map(|own| own.join("plugins")));
    let mut seen = HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// The indexers that the arguments name, in their order.
pub fn chosen(choice: &PluginChoice) -> Result<Vec<Plugin>, CliError> {
    let search = search_path(&choice.dirs)?;
    let mut plugins: Vec<Plugin> = Vec::with_capacity(choice.plugin.len());
    for spec in &choice.plugin {
        let plugin = find_plugin(spec, &search)?;
        let table = |plugin: &Plugin| plugin.indexer.name.trim().to_lowercase();
        if plugins.iter().any(|other| table(other) == table(&plugin)) {
            return Err(given_twice(&plugin.indexer.name));
        }
        plugins.push(plugin);
    }
    Ok(plugins)
}

/// The error of an indexer that was named twice.
pub fn given_twice(name: &str) -> CliError {
    CliError::usage("same_indexer", format!("--plugin {name} was given twice"), "name each indexer once")
}

/// The indexer that the argument names.
pub fn chosen_one(choice: &OnePlugin) -> Result<Plugin, CliError> {
    Ok(find_plugin(&choice.plugin, &search_path(&choice.dirs)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_in_order_and_unique() {
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
