//! Hands over an artifact that differs each time.

use kymhost_plugin_wrong::prelude::*;

struct ArtifactCounts;

impl Wrong for ArtifactCounts {
    const WRITES: &'static [Output] = &[Output::json("wrong/calls")];

    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        run.put_json("wrong/calls", &count().into())?;
        right::rows(record)
    }
}

wrong!(ArtifactCounts);
