//! Has two columns of the same name.

use kymhost_plugin_wrong::prelude::*;

struct TwoOfAName;

impl Wrong for TwoOfAName {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.ints("twice", |_| 1).ints("twice", |_| 2))
    }
}

wrong!(TwoOfAName);
