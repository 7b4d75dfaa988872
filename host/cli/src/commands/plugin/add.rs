//! `plugin add`: installs a plugin and prints what to type next.
//!
//! This file must not copy anything: see [`kymhost_author::install`].

use super::bodies::{EntryBody, with_versions};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::{DEMO_DATASET, PluginDirs};
use crate::plugins::{home, search_path, user_trust};
use crate::{output, shell_quote};
use clap::Args;
use kymhost_author::install::Installed;
use kymhost_plugin::find_plugin;
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin add ./libstalls.so
  kymhost plugin add ~/src/stalls                build the crate (cargo) or C folder (make) first
  kymhost plugin add ~/src/stalls --replace      upgrade
  kymhost plugin add ./libstalls.so --dataset-lock --dataset lab.zarr

The library is copied into the folder that `kymhost plugin path` prints. None of its code runs. Its
SHA-256 is recorded: a library that differs from the installed one is rejected until you run
`kymhost plugin trust NAME`.";

/// Arguments of `plugin add`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginAddArgs {
    /// Install from this library, folder of libraries, crate (Cargo.toml) or C folder (Makefile)
    #[arg(value_name = "FILE|FOLDER|CRATE")]
    pub source: PathBuf,
    /// Replace an installed library that has the same indexer
    #[arg(long)]
    pub replace: bool,
    /// Pin the library's digest in this dataset. Other builds with that name will be rejected
    #[arg(long)]
    pub dataset_lock: bool,
}

/// `plugin add --json`
#[derive(Debug, Serialize)]
pub struct PluginAddDocument<'a> {
    /// The installed libraries.
    installed: Vec<InstalledBody<'a>>,
    /// The user's lock file.
    lock: String,
    /// Whether they were also pinned in the dataset.
    dataset_lock: bool,
    /// Commands to type next.
    next: &'a [String],
}

/// A library that was installed.
#[derive(Debug, Serialize)]
struct InstalledBody<'a> {
    /// The installed file.
    library: String,
    #[serde(flatten)]
    entry: EntryBody<'a>,
    /// The entries that it replaces.
    replaced: Vec<EntryBody<'a>>,
}

impl<'a> PluginAddDocument<'a> {
    /// What was installed, and what to type next.
    pub fn new(installed: &'a [Installed], lock: PathBuf, dataset_lock: bool, next: &'a [String]) -> Self {
        let body = |one: &'a Installed| InstalledBody {
            library: one.library.display().to_string(),
            entry: EntryBody::new(&one.entry),
            replaced: one.replaced.iter().map(EntryBody::new).collect(),
        };
        Self { installed: installed.iter().map(body).collect(), lock: lock.display().to_string(), dataset_lock, next }
    }
}

/// Does `plugin add`.
pub fn add(context: &Context, args: &PluginAddArgs) -> Result<Exit, CliError> {
    let home = home()?;
    // Report a lock file that is broken or writable by others before building anything.
    user_trust()?;
    let dataset = if args.dataset_lock { Some(context.open_dataset()?) } else { None };
    let installed = home.add(&args.source, args.replace, dataset.as_ref().map(|dataset| dataset.store().as_ref()))?;
    let search = search_path(&PluginDirs { plugin_dir: Vec::new() })?;
    let mut indexers = Vec::new();
    for one in &installed {
        for indexer in &one.entry.indexers {
            // Name the indexer by its path if another library on the search path has the same name.
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
            writeln!(out, "  SHA-256 {}, recorded in {}", one.entry.sha256, home.lock_file().display())?;
            for old in &one.replaced {
                let was = old.file.as_deref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
                writeln!(out, "  replaces {}{was}, SHA-256 {}", with_versions(old), old.sha256)?;
            }
        }
        if let Some(dataset) = &dataset {
            writeln!(out, "pinned in the dataset {}", dataset.path().display())?;
        }
        out.write_all(shell_quote::next(&next).as_bytes())
    })?;
    Ok(Exit::Done)
}

/// The commands that compute and show rows of newly installed indexers (each its name, and its form for `--plugin`), on the
/// dataset that other commands would work on, or else on the demo's.
fn first_runs(context: &Context, indexers: &[(String, String)]) -> Vec<String> {
    let program = shell_quote::program(&context.program);
    let mut commands = Vec::with_capacity(1 + 2 * indexers.len());
    let dataset = match (&context.dataset, context.dataset_path(None)) {
        (Some(path), _) => format!(" --dataset {}", shell_quote::quoted(path)),
        // Found without the option.
        (None, Ok(_)) => String::new(),
        (None, Err(_)) => {
            commands.push(format!("{program} demo"));
            format!(" --dataset {}", DEMO_DATASET)
        }
    };
    let runs = indexers.iter().map(|(_, spec)| format!("{program} run --plugin {}{dataset}", shell_quote::word(spec)));
    commands.extend(runs);
    commands
        .extend(indexers.iter().map(|(name, _)| format!("{program} table show {}{dataset}", shell_quote::word(name))));
    commands
}
