//! Reads an artifact of another indexer of its library without declaring it.

use kymhost_plugin_wrong::prelude::*;

struct ReadsUndeclared;

impl Wrong for ReadsUndeclared {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        record.json("wrong/notes")?;
        right::rows(record)
    }
}

wrong_with_writer!(ReadsUndeclared);
