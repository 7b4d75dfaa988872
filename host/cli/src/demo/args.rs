//! The arguments of `demo`.

use crate::options::{DEMO_DATASET, PluginDirs};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost demo
  kymhost demo /tmp/try.zarr

Recordings are made beside the dataset (kymhost-demo-recordings), brought into it, and their velocities and stalls
compared with what was put in. A folder that a demo did not make is never touched.";

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Dataset to make, beside a folder of recordings; what an earlier demo made is made anew
    #[arg(value_name = "DIR", default_value = DEMO_DATASET)]
    pub dir: PathBuf,
    /// Where else to look for the indexers.
    #[command(flatten)]
    pub dirs: PluginDirs,
}
