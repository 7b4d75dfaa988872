//! Reads what another indexer of its library writes, and does not declare it.

use kymhost_plugin_wrong::prelude::*;

struct ReadsUndeclared;

impl Wrong for ReadsUndeclared {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        record.json("wrong/notes")?;
        right::rows(record)
    }
}

wrong_with_writer!(ReadsUndeclared);
