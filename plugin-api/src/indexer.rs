//! The trait that an author implements, with its defaults.
//!
//! How an indexer reaches the host is the subject of the module `ffi`.

use crate::{Json, Output, Record, Result, Run, RunMarker, Table};

/// Turns one image's record into rows of a table.
///
/// Methods may be called from any thread. A worker process, where plugins normally run, makes one call at a time.
/// With `--in-process` the host makes several calls at once; `Sync` makes that safe. A panic fails only that image.
pub trait Indexer: Send + Sync + 'static {
    /// The name of the table without its prefix: `[a-z0-9_]+`, at most 200 characters.
    const NAME: &'static str;
    /// The version of the analysis, e.g. `"mylab.stalls@1"`. Change it whenever the same inputs would give different
    /// rows.
    const ANALYSIS_VERSION: &'static str;
    /// The artifact that holds the run marker. Empty means `<NAME>_run`.
    const MARKER: &'static str = "";
    /// The JSON artifacts that hold the params; the first that exists is used. This is for people and tools: `params`
    /// decides what is read.
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[];
    /// The artifacts that [`Indexer::extract_rows`] may hand to the host (since 1.1). Others are refused. Two
    /// indexers that write the same artifact cannot run on one dataset. A plugin that writes any needs a host of API
    /// 1.1.
    const WRITES: &'static [Output] = &[];
    /// The artifacts that this indexer reads and another indexer may write (since 1.1). If both run, the writer runs
    /// first. `PARAMS_ARTIFACTS` need not be repeated here.
    const READS: &'static [&'static str] = &[];
    /// The JSON Schema of the params artifact as JSON text (since 1.1), or empty. `kymhost params set` checks values
    /// by it and `kymhost plugin info` shows it. `params` must still handle any value: people can edit the file.
    const PARAMS_SCHEMA: &'static str = "";

    /// Everything besides the data that the rows depend on. If its hash changes, the image is stale.
    fn params(&self, record: &Record<'_>) -> Result<Json>;

    /// The params hash: by default that of [`Indexer::params`].
    fn params_hash(&self, record: &Record<'_>) -> Result<String> {
        Ok(crate::params_hash(&self.params(record)?))
    }

    /// The rows of this image. The host adds the columns `image_id`, `analysis_version` and `params_hash`.
    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table>;

    /// Reads a marker of an older form, which [`RunMarker::from_json`] refuses. `None` if it is not a marker.
    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        let _ = payload;
        None
    }
}
