//! Options that several commands share, and what they mean to the library.
//!
//! This file must not act on an option.

use crate::quantity;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
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
    /// Dataset to work on [default: KYMHOST_DATASET, else the working folder, else the one *.zarr in it]
    #[arg(long, value_name = "PATH", global = true, help_heading = "Options of every command")]
    pub dataset: Option<PathBuf>,
    /// Put one JSON document on standard output and nothing else
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Options of every command")]
    pub quiet: bool,
    /// Log more (-v info, -vv debug, -vvv all); RUST_LOG, where set, decides instead
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Options of every command")]
    pub verbose: u8,
}

/// Which indexers.
#[derive(Debug, Args)]
pub struct PluginChoice {
    /// Indexer: a NAME that is looked for, a library's PATH, or PATH:NAME where the library has several; repeatable
    #[arg(long, short, value_name = "NAME|PATH|PATH:NAME", required = true)]
    pub plugin: Vec<String>,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Which indexer.
#[derive(Debug, Args)]
pub struct OnePlugin {
    /// Indexer: a NAME that is looked for, a library's PATH, or PATH:NAME where the library has several
    #[arg(long, short, value_name = "NAME|PATH|PATH:NAME", required = true)]
    pub plugin: String,
    /// Where else to look.
    #[command(flatten)]
    pub dirs: PluginDirs,
}

/// Where to look for plugins first.
#[derive(Debug, Args)]
pub struct PluginDirs {
    /// Look for plugins in this folder first; repeatable
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,
}

/// How plugins are run.
#[derive(Debug, Args)]
pub struct PoolArgs {
    /// Worker processes at most [default: the number of cores]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Give up on an image after so long, e.g. 30 or 0.5 [default: never]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = quantity::parse_seconds)]
    pub timeout: Option<Duration>,
    /// Memory that one worker may use, e.g. 2G or 500M; the image at which it uses more fails [default: no bound]
    #[arg(long, value_name = "SIZE", value_parser = quantity::parse_size)]
    pub max_memory: Option<u64>,
    /// Run the plugin in this process, for debuggers: a crash of the plugin then ends the whole run
    #[arg(long, conflicts_with_all = ["timeout", "max_memory"])]
    pub in_process: bool,
}

/// Whose rules decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompatArg {
    /// The predecessor's, to the letter
    Kymflow,
}

/// A dataset as an argument instead of `--dataset`.
#[derive(Debug, Args)]
pub struct DatasetPathArg {
    /// Dataset, instead of --dataset
    #[arg(value_name = "PATH", conflicts_with = "dataset")]
    pub path: Option<PathBuf>,
}

/// A reason by its code, in either case: one that judging finds.
pub fn reason() -> impl TypedValueParser<Value = Reason> {
    let judged = Reason::ALL.into_iter().filter(|reason| *reason != Reason::PendingUpstream);
    PossibleValuesParser::new(judged.map(Reason::code))
        .try_map(|code| Reason::from_code(&code.to_ascii_uppercase()).ok_or("there is no such reason"))
}

/// The rules that the arguments ask for.
pub fn compat(arg: Option<CompatArg>) -> Compat {
    match arg {
        Some(CompatArg::Kymflow) => Compat::Kymflow,
        None => Compat::Kymhost,
    }
}

/// The pool that the arguments ask for.
pub fn pool_options(args: &PoolArgs) -> PoolOptions {
    let default = PoolOptions::default();
    PoolOptions {
        jobs: args.jobs.map_or(default.jobs, usize::from),
        timeout: args.timeout,
        max_memory: args.max_memory,
        in_process: args.in_process,
        ..default
    }
}
