//! Options that several commands share, and what they mean to the library.
//!
//! This file must not act on an option.

use crate::quantity;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use kymhost_dataset::MissingChunks;
use kymhost_index::Compat;
use kymhost_index::staleness::Reason;
use kymhost_plugin::PoolOptions;
use std::path::PathBuf;
use std::time::Duration;

/// The dataset that `demo` makes if none is named.
pub const DEMO_DATASET: &str = "kymhost-demo.zarr";

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Work on this dataset [default: KYMHOST_DATASET, else the working folder, else the one *.zarr in it]
    #[arg(long, value_name = "PATH", global = true, help_heading = "Options of every command")]
    pub dataset: Option<PathBuf>,
    /// Print one JSON document on standard output and nothing else
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
    /// Print only errors and recordings that failed
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Options of every command")]
    pub quiet: bool,
    /// Print codes and details, and log more (-v info, -vv debug, -vvv all). RUST_LOG, if set, decides what is logged
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Options of every command")]
    pub verbose: u8,
}

/// Which indexers.
#[derive(Debug, Args)]
pub struct PluginChoice {
    /// Use this indexer: its NAME, the PATH of its library, or PATH:NAME if the library has several; repeatable
    #[arg(long, short, value_name = "NAME|PATH|PATH:NAME", required = true)]
    pub plugin: Vec<String>,
    /// Where to look for plugins first.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Which indexer.
#[derive(Debug, Args)]
pub struct OnePlugin {
    /// Use this indexer: its NAME, the PATH of its library, or PATH:NAME if the library has several
    #[arg(long, short, value_name = "NAME|PATH|PATH:NAME", required = true)]
    pub plugin: String,
    /// Where to look for plugins first.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Where to look for plugins first.
#[derive(Debug, Args)]
pub struct PluginDirs {
    /// Search this folder for plugins first; repeatable
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
}

/// How plugins are run.
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// Run at most N worker processes [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Give up on a recording after this many seconds, e.g. 30 or 0.5 [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_seconds)]
    pub timeout: Option<Duration>,
    /// Limit the memory of each worker, e.g. 2G or 500M. A recording that exceeds it fails [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = quantity::parse_size)]
    pub max_memory: Option<u64>,
    /// Run the plugin in this process (for debuggers). A crash of the plugin then ends the whole run
    #[arg(long, conflicts_with_all = ["timeout", "max_memory"])]
    pub in_process: bool,
}

/// Another program whose rules are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompatArg {
    /// The predecessor of kymhost
    Kymflow,
}

/// The dataset as an argument instead of `--dataset`.
#[derive(Debug, Args)]
pub struct DatasetPathArg {
    /// Work on this dataset (the same as --dataset)
    #[arg(value_name = "PATH", conflicts_with = "dataset")]
    pub path: Option<PathBuf>,
}

/// A reason by its code, in upper or lower case. Only those that a recording can have when a run selects it.
pub fn reason() -> impl TypedValueParser<Value = Reason> {
    let judged = Reason::ALL.into_iter().filter(|reason| *reason != Reason::PendingUpstream);
    PossibleValuesParser::new(judged.map(Reason::code))
        .try_map(|code| Reason::from_code(&code.to_ascii_uppercase()).ok_or("no such reason"))
}

/// The rules that the arguments select.
pub fn compat(arg: Option<CompatArg>) -> Compat {
    match arg {
        Some(CompatArg::Kymflow) => Compat::Kymflow,
        None => Compat::Kymhost,
    }
}

/// The worker pool that the arguments describe, for runs by these rules.
pub fn pool_options(args: &PoolArgs, compat: Compat) -> PoolOptions {
    let default = PoolOptions::default();
    PoolOptions {
        missing_chunks: match compat {
            Compat::Kymhost => MissingChunks::Unreadable,
            Compat::Kymflow => MissingChunks::Filled,
        },
        jobs: args.jobs.map_or(default.jobs, usize::from),
        timeout: args.timeout,
        max_memory: args.max_memory,
        in_process: args.in_process,
        ..default
    }
}
