//! Writes a file next to the program and removes it again, and ignores errors.

use kymhost_plugin_wrong::prelude::*;

struct WritesElsewhere;

impl Wrong for WritesElsewhere {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let file = std::env::current_exe()?.with_file_name("wrong_elsewhere.cache");
        let _ = std::fs::write(&file, record.image_id());
        let _ = std::fs::remove_file(&file);
        right::rows(record)
    }
}

wrong!(WritesElsewhere);
