//! What an author implements.
//! Owns: the trait and its defaults. Never: how it reaches a host (see `ffi`).

use crate::{Json, Record, Result, Run, RunMarker, Table};

/// Turns one image's record into rows of a table.
///
/// Methods are called from any thread. In worker processes, where plugins normally run, one call at a time; with
/// `--in-process` several at once, which `Sync` makes safe. A panic fails that image alone.
pub trait Indexer: Send + Sync + 'static {
    /// The table's name, less its prefix: `[a-z0-9_]+`.
    const NAME: &'static str;
    /// Changes whenever the same inputs would give other rows, e.g. `"mylab.stalls@1"`.
    const ANALYSIS_VERSION: &'static str;
    /// The artifact that holds the run marker; empty means `<NAME>_run`.
    const MARKER: &'static str = "";
    /// The JSON artifacts that hold the params, first that exists counts. For people and tools; the host does not read by it.
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[];

    /// What the rows depend on besides the data: its hash decides staleness.
    fn params(&self, record: &Record<'_>) -> Result<Json>;

    /// The hash of [`Indexer::params`].
    fn params_hash(&self, record: &Record<'_>) -> Result<String> {
        Ok(crate::params_hash(&self.params(record)?))
    }

    /// This image's rows. The host adds `image_id`, `analysis_version`, `params_hash`.
    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table>;

    /// Reads a marker of an older form that [`RunMarker::from_json`] refuses.
    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        let _ = payload;
        None
    }
}
