//! Its rows claim to belong to another image.

use kymhost_plugin_wrong::prelude::*;

struct RowsOfAnother;

impl Wrong for RowsOfAnother {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.texts("image_id", |_| "another".to_owned()))
    }
}

wrong!(RowsOfAnother);
