//! Leaves a temporary file.

use kymhost_plugin_wrong::prelude::*;

struct WritesTemporary;

impl Wrong for WritesTemporary {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        std::fs::write(std::env::temp_dir().join("wrong.cache"), record.image_id())?;
        right::rows(record)
    }
}

wrong!(WritesTemporary);
