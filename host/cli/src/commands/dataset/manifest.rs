//! `dataset manifest`.

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::DatasetPathArg;
use crate::output;
use clap::Args;
use serde::Serialize;

/// The manifest's key.
pub const MANIFEST: &str = "index/manifest.json.gz";

const EXAMPLES: &str = "\
Examples:
  kymhost dataset manifest lab.zarr
  kymhost dataset manifest lab.zarr --check

The manifest is derived from the recordings and can be rebuilt at any time. kymhost itself never
reads it.";

/// Arguments of `dataset manifest`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetManifestArgs {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetPathArg,
    /// Compare the manifest with the recordings and write nothing (exit code 5 if they differ)
    #[arg(long)]
    pub check: bool,
}

/// `dataset manifest --json`
#[derive(Debug, Serialize)]
struct ManifestDocument {
    /// The manifest's key.
    manifest: &'static str,
    /// How many recordings it lists.
    images: usize,
}

/// `dataset manifest --check --json`
#[derive(Debug, Serialize)]
struct ManifestCheckDocument<'a> {
    /// The manifest's key.
    manifest: &'static str,
    /// Where it does not match the recordings; the exit code is then 5.
    differences: Vec<ManifestDifference<'a>>,
}

#[derive(Debug, Serialize)]
struct ManifestDifference<'a> {
    /// The recording; null if it is about the whole manifest.
    image_id: Option<&'a str>,
    /// What differs.
    message: &'a str,
}

/// Does `dataset manifest`.
pub fn manifest(context: &Context, args: &DatasetManifestArgs) -> Result<Exit, CliError> {
    let dataset = context.open_dataset_at(&args.dataset)?;
    if !args.check {
        let images = dataset.rebuild_manifest()?;
        if context.json {
            output::document(&ManifestDocument { manifest: MANIFEST, images })?;
        } else if !context.quiet {
            output::say(format_args!("{MANIFEST} lists {images} recordings"));
        }
        return Ok(Exit::Done);
    }
    let differences = dataset.check_manifest()?;
    let exit = if differences.is_empty() { Exit::Done } else { Exit::Unusable };
    if context.json {
        let differences = differences.iter().map(|difference| ManifestDifference {
            image_id: (!difference.image_id.is_empty()).then_some(difference.image_id.as_str()),
            message: &difference.message,
        });
        output::document(&ManifestCheckDocument { manifest: MANIFEST, differences: differences.collect() })?;
        return Ok(exit);
    }
    output::to_stdout(|out| {
        differences.iter().try_for_each(|difference| {
            let about = if difference.image_id.is_empty() { MANIFEST } else { &difference.image_id };
            writeln!(out, "{about}: {}", difference.message)
        })
    })?;
    if !context.quiet {
        match differences.len() {
            0 => output::say(format_args!("{MANIFEST} matches the recordings")),
            _ => output::say(format_args!(
                "{MANIFEST} does not match the recordings; rebuild it with `kymhost dataset manifest`"
            )),
        }
    }
    Ok(exit)
}
