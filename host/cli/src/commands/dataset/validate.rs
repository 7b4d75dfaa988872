//! `dataset validate`.
//!
//! This file must not judge: see [`kymhost_dataset::validate`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::options::DatasetPathArg;
use crate::output;
use crate::words::counted;
use clap::Args;
use kymhost_dataset::{Dataset, Findings, Problem};
use kymhost_store::{Key, LocalStore, Store};
use serde::Serialize;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  kymhost dataset validate lab.zarr
  kymhost dataset validate lab.zarr --json | jq .problems

The exit code is 5 if there is a problem. Nothing is written.";

/// Arguments of `dataset validate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DatasetValidateArgs {
    /// Which dataset.
    #[command(flatten)]
    pub dataset: DatasetPathArg,
}

/// `dataset validate --json`
#[derive(Debug, Serialize)]
struct ProblemsDocument<'a> {
    /// The dataset's folder.
    dataset: String,
    /// What is wrong; the exit code is then 5.
    problems: Vec<ProblemBody<'a>>,
    /// What is not wrong, but worth knowing.
    notes: Vec<ProblemBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ProblemBody<'a> {
    /// The key in the dataset.
    key: &'a str,
    /// What is wrong.
    message: &'a str,
}

impl<'a> ProblemBody<'a> {
    fn all(problems: &'a [Problem]) -> Vec<Self> {
        problems.iter().map(|problem| Self { key: &problem.key, message: &problem.message }).collect()
    }
}

/// Does `dataset validate`.
pub fn validate(context: &Context, args: &DatasetValidateArgs) -> Result<Exit, CliError> {
    let path = context.dataset_path(args.dataset.path.as_deref())?;
    let store = LocalStore::open(&path)?;
    // A reason why the dataset cannot be opened is one of its problems. A folder that is not a dataset at all is an error.
    if store.stat(&Key::new(".zgroup")?)?.is_none() && store.stat(&Key::new(".zattrs")?)?.is_none() {
        Dataset::open(&path)?;
    }
    let Findings { problems, notes, .. } = kymhost_dataset::validate(Arc::new(store));
    let dataset = path.display().to_string();
    let exit = if problems.is_empty() { Exit::Done } else { Exit::Unusable };
    if context.json {
        let (problems, notes) = (ProblemBody::all(&problems), ProblemBody::all(&notes));
        output::document(&ProblemsDocument { dataset, problems, notes })?;
        return Ok(exit);
    }
    output::to_stdout(|out| problems.iter().try_for_each(|problem| writeln!(out, "{problem}")))?;
    if !context.quiet {
        notes.iter().for_each(|note| output::say(format_args!("note: {note}")));
        match problems.len() {
            0 => output::say(format_args!("{dataset}: no problem found")),
            count => output::say(format_args!("{dataset}: {}", counted(count, "problem"))),
        }
    }
    Ok(exit)
}
