//! Its rows contain the path of the dataset.

use kymhost_plugin_wrong::prelude::*;

struct RowsOfPlace;

impl Wrong for RowsOfPlace {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let place = record.key("wrong/rows", ArtifactKind::Json);
        Ok(right::rows(record)?.texts("place", |_| place.clone()))
    }
}

wrong!(RowsOfPlace);
