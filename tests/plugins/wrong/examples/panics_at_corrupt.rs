//! Assumes that pixels can be read.

use kymhost_plugin_wrong::prelude::*;

struct PanicsAtCorrupt;

impl Wrong for PanicsAtCorrupt {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        record.pixels().expect("pixels");
        right::rows(record)
    }
}

wrong!(PanicsAtCorrupt);
