//! `dataset create`.

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;
use clap::Args;
use kymhost_dataset::Dataset;
use serde::Serialize;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  kymhost dataset create lab.zarr";

/// Arguments of `dataset create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetCreateArgs {
    /// Create this folder, which must not exist or must be empty
    #[arg(value_name = "PATH", required_unless_present = "dataset")]
    pub path: Option<PathBuf>,
}

/// `dataset create --json`
#[derive(Debug, Serialize)]
struct CreateDocument {
    /// The dataset's folder.
    dataset: String,
}

/// Does `dataset create`.
pub fn create(context: &Context, args: &DatasetCreateArgs) -> Result<Exit, CliError> {
    let path = context.dataset_path(args.path.as_deref())?;
    Dataset::create(&path)?;
    let path = path.display().to_string();
    if context.json {
        output::document(&CreateDocument { dataset: path })?;
    } else if !context.quiet {
        output::say(format_args!("created the empty dataset {path}"));
    }
    Ok(Exit::Done)
}
