//! What every command knows: the options that all commands take.
//!
//! This file must not know what a command does.

use crate::dataset_choice;
use crate::error::CliError;
use crate::options::DatasetPathArg;
use kymhost_dataset::Dataset;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What every command knows.
#[derive(Debug, Clone)]
pub struct Context {
    /// How the program was called.
    pub program: OsString,
    pub dataset: Option<PathBuf>,
    pub json: bool,
    pub quiet: bool,
    pub verbose: u8,
}

impl Context {
    /// The dataset's folder, as the user would type it.
    pub fn dataset_path(&self, argument: Option<&Path>) -> Result<PathBuf, CliError> {
        let variable = std::env::var_os(dataset_choice::VARIABLE);
        dataset_choice::choose(argument.or(self.dataset.as_deref()), variable.as_deref(), Path::new("."))
    }

    /// The dataset, opened.
    pub fn open_dataset(&self) -> Result<Dataset, CliError> {
        Ok(Dataset::open(&self.dataset_path(None)?)?)
    }

    /// The same for a command that takes it as an argument, too.
    pub fn open_dataset_at(&self, argument: &DatasetPathArg) -> Result<Dataset, CliError> {
        Ok(Dataset::open(&self.dataset_path(argument.path.as_deref())?)?)
    }
}
