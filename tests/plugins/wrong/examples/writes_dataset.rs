//! Writes an artifact into the dataset without the host.

use kymhost_plugin_wrong::prelude::*;

struct WritesDataset;

impl Wrong for WritesDataset {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        std::fs::write(record.key("wrong_notes", ArtifactKind::Json), "{}")?;
        right::rows(record)
    }
}

wrong!(WritesDataset);
