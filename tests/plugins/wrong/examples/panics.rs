//! Panics for a valid record: pixels of 48 lines.

use kymhost_plugin_wrong::prelude::*;

struct Panics;

impl Wrong for Panics {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        if record.pixels()?.is_some_and(|pixels| pixels.shape().first() == Some(&48)) {
            panic!("48 lines are too many");
        }
        right::rows(record)
    }
}

wrong!(Panics);
