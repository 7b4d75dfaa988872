//! Leaves a file in the working folder.

use kymhost_plugin_wrong::prelude::*;

struct WritesHere;

impl Wrong for WritesHere {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        std::fs::write("wrong.cache", record.image_id())?;
        right::rows(record)
    }
}

wrong!(WritesHere);
