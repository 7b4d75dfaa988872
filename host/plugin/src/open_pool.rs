//! Chooses the workforce for a plugin: worker processes, or threads of this process.

use crate::error::PluginError;
use crate::in_process::Threads;
use crate::indexer::Plugin;
use crate::job::Pool;
use crate::pool::Processes;
use crate::process::INSIDE;
use crate::trust;
use crate::workforce::{PoolOptions, Workforce};
use kymhost_dataset::Dataset;

/// Makes the pool that the options ask for. Workers start at the first call that needs them.
///
/// # Errors
/// [`PluginError::Worker`] if the path of the worker program is unknown; [`PluginError::Refused`] if the dataset's lock file
/// asks for another library (code `digest_changed`) or is broken (`bad_lock`).
pub fn open_pool(plugin: &Plugin, dataset: &Dataset, options: &PoolOptions) -> Result<Box<dyn Workforce>, PluginError> {
    let plugin = &trust::for_dataset(plugin, dataset)?;
    if options.in_process {
        return Ok(Box::new(Pool::new(Threads::new(plugin.clone(), dataset.clone(), options.clone()))));
    }
    if std::env::var_os(INSIDE).is_some() {
        return Err(PluginError::worker("this process is a worker, and workers do not start workers"));
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|error| PluginError::worker(format!("cannot find the path of the running executable: {error}")))?,
    };
    let dataset = dataset.store().root();
    let dataset = std::path::absolute(&dataset).map_err(|error| {
        PluginError::worker(format!("cannot find the absolute path of {}: {error}", dataset.display()))
    })?;
    Ok(Box::new(Pool::new(Processes::new(plugin.clone(), dataset, program, options.clone()))))
}
