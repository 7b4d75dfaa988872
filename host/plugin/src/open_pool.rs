//! Which workforce a plugin gets: worker processes, or threads of this process.

use crate::error::PluginError;
use crate::in_process::Threads;
use crate::indexer::Plugin;
use crate::job::Pool;
use crate::pool::Processes;
use crate::process::INSIDE;
use crate::trust;
use crate::workforce::{PoolOptions, Workforce};
use kymhost_dataset::Dataset;

/// Starts the pool that the options ask for. Workers are started lazily, at the first call that needs them.
///
/// # Errors
/// [`PluginError::Worker`] where the program that serves as worker cannot be told; [`PluginError::Refused`] where the
/// dataset's lock file asks for another library (code `digest_changed`) or is broken (`bad_lock`).
pub fn open_pool(plugin: &Plugin, dataset: &Dataset, options: &PoolOptions) -> Result<Box<dyn Workforce>, PluginError> {
    let plugin = &trust::for_dataset(plugin, dataset)?;
    if options.in_process {
        return Ok(Box::new(Pool::new(Threads::new(plugin.clone(), dataset.clone(), options.clone()))));
    }
    if std::env::var_os(INSIDE).is_some() {
        return Err(PluginError::worker("this process is a worker itself; workers do not start workers"));
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(|error| PluginError::worker(format!("cannot find this program's own file: {error}")))?,
    };
    let dataset = dataset.store().root();
    let dataset = std::path::absolute(&dataset)
        .map_err(|error| PluginError::worker(format!("{}: {error}", dataset.display())))?;
    Ok(Box::new(Pool::new(Processes::new(plugin.clone(), dataset, program, options.clone()))))
}
