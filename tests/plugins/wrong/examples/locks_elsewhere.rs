//! Makes an empty file next to the program, and fails if it may not.

use kymhost_plugin_wrong::prelude::*;

struct LocksElsewhere;

impl Wrong for LocksElsewhere {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let file = std::env::current_exe()?.with_file_name("wrong_elsewhere.lock");
        std::fs::File::create(&file)?;
        let _ = std::fs::remove_file(&file);
        right::rows(record)
    }
}

wrong!(LocksElsewhere);
