//! Has a column without a name.

use kymhost_plugin_wrong::prelude::*;

struct Unnamed;

impl Wrong for Unnamed {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.ints("", |_| 1))
    }
}

wrong!(Unnamed);
