//! Has a column of a type that Parquet does not have.

use kymhost_plugin_wrong::prelude::*;

struct NotStorable;

impl Wrong for NotStorable {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.intervals("took"))
    }
}

wrong!(NotStorable);
