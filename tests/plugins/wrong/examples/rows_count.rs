//! Has rows that differ each time.

use kymhost_plugin_wrong::prelude::*;

struct RowsCount;

impl Wrong for RowsCount {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.ints("calls", |_| count()))
    }
}

wrong!(RowsCount);
