//! The arguments of `demo`.

use crate::options::{DEMO_DATASET, PluginDirs};
use clap::Args;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost demo
  kymhost demo /tmp/try.zarr

The demo writes synthetic recordings into a folder next to the dataset (kymhost-demo-recordings),
imports and analyses them, and compares the velocities and stalls with the known ones. A folder that
an earlier demo did not make is never changed.";

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Create this dataset, and a folder of recordings next to it. The folders of an earlier demo are replaced
    #[arg(value_name = "DIR", default_value = DEMO_DATASET)]
    pub dir: PathBuf,
    /// Where to look for plugins first.
    #[command(flatten)]
    pub dirs: PluginDirs,
}
