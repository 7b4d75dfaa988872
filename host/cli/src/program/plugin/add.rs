//! `plugin add`, `plugin remove`, `plugin path`. Owns: what they say. Never: copies or deletes (see `author::install`).

use super::{data_folder, search_path};
use crate::program::Context;
use crate::program::args::{PluginAddArgs, PluginDirs, PluginPathArgs, PluginRemoveArgs};
use crate::program::documents::{PluginAddDocument, PluginPathDocument, PluginRemoveDocument};
use crate::program::error::CliError;
use crate::program::exit::Exit;
use crate::program::{demo, output, typed};
use kymhost_author::install::{Home, InstallError, unpin};
use kymhost_plugin::{Locked, find_plugin};

/// The user's plugins.
pub fn home() -> Result<Home, CliError> {
    data_folder().map(Home::new).ok_or_else(|| InstallError::NoDataFolder.into())
}

/// Does `plugin add`.
pub fn add(context: &Context, args: &PluginAddArgs) -> Result<Exit, CliError> {
    let home = home()?;
    // A lock file that is broken, or that others may write to, is told before anything is built.
    super::user_trust()?;
    let dataset = if args.dataset_lock { Some(context.open_dataset()?) } else { None };
    let installed = home.add(&args.source, args.replace, dataset.as_ref().map(|dataset| dataset.store().as_ref()))?;
    let search = search_path(&PluginDirs { plugin_dir: Vec::new() })?;
    let mut indexers = Vec::new();
    for one in &installed {
        for indexer in &one.entry.indexers {
            // By its name, unless another library on the search path has it, too.
            let is_found = find_plugin(&indexer.name, &search).is_ok_and(|found| found.library == one.library);
            let path = || format!("{}:{}", one.library.display(), indexer.name);
            indexers.push((indexer.name.clone(), if is_found { indexer.name.clone() } else { path() }));
        }
    }
    let next = first_runs(context, &indexers);
    if context.json {
        output::document(&PluginAddDocument::new(&installed, home.lock_file(), args.dataset_lock, &next))?;
        return Ok(Exit::Done);
    }
    output::to_stdout(|out| {
        for one in &installed {
            writeln!(out, "installed {} in {}", with_versions(&one.entry), one.library.display())?;
            writeln!(out, "  SHA-256 {}, kept in {}", one.entry.sha256, home.lock_file().display())?;
            for old in &one.replaced {
                let was = old.file.as_deref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
                writeln!(out, "  in the place of {}{was}, SHA-256 {}", with_versions(old), old.sha256)?;
            }
        }
        if let Some(dataset) = &dataset {
            writeln!(out, "pinned for all who work on {}", dataset.path().display())?;
        }
        out.write_all(typed::next(&next).as_bytes())
    })?;
    Ok(Exit::Done)
}

/// What to type to see the rows of newly installed indexers (each its name, and how `--plugin` takes it): on the dataset that other
/// commands would work on, else on one made for it.
fn first_runs(context: &Context, indexers: &[(String, String)]) -> Vec<String> {
    let program = typed::program(context);
    let mut commands = Vec::with_capacity(1 + 2 * indexers.len());
    let dataset = match (&context.dataset, context.dataset_path(None)) {
        (Some(path), _) => format!(" --dataset {}", typed::quoted(path)),
        // It is found from here by itself.
        (None, Ok(_)) => String::new(),
        (None, Err(_)) => {
            commands.push(format!("{program} demo"));
            format!(" --dataset {}", demo::FOLDER)
        }
    };
    let runs = indexers.iter().map(|(_, spec)| format!("{program} run --plugin {}{dataset}", typed::word(spec)));
    commands.extend(runs);
    commands.extend(indexers.iter().map(|(name, _)| format!("{program} table show {}{dataset}", typed::word(name))));
    commands
}

/// A library's indexers, each with its version.
pub fn with_versions(entry: &Locked) -> String {
    let one = |indexer: &kymhost_plugin::LockedIndexer| format!("{} ({})", indexer.name, indexer.analysis_version);
    entry.indexers.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Does `plugin remove`.
pub fn remove(context: &Context, args: &PluginRemoveArgs) -> Result<Exit, CliError> {
    if args.dataset_lock {
        let dataset = context.open_dataset()?;
        let entry = unpin(dataset.store().as_ref(), &args.name)?;
        let names: Vec<&str> = entry.indexers.iter().map(|indexer| indexer.name.as_str()).collect();
        if context.json {
            output::document(&PluginRemoveDocument {
                removed: names,
                library: None,
                is_deleted: false,
                dataset_lock: true,
            })?;
        } else {
            output::to_stdout(|out| {
                writeln!(out, "{} is no longer pinned for {}", names.join(", "), dataset.path().display())
            })?;
        }
        return Ok(Exit::Done);
    }
    let removed = home()?.remove(&args.name)?;
    let names: Vec<&str> = removed.names.iter().map(String::as_str).collect();
    if context.json {
        output::document(&PluginRemoveDocument {
            removed: names,
            library: Some(removed.library.display().to_string()),
            is_deleted: removed.is_deleted,
            dataset_lock: false,
        })?;
        return Ok(Exit::Done);
    }
    output::to_stdout(|out| {
        let names = names.join(", ");
        if removed.is_deleted {
            writeln!(out, "removed {names}: deleted {}", removed.library.display())
        } else {
            writeln!(out, "removed {names} from the lock file; {} was left as it is", removed.library.display())
        }
    })?;
    if !context.quiet {
        output::say("tables and run markers stay in the datasets (`kymhost table drop NAME` deletes a table)");
    }
    Ok(Exit::Done)
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
