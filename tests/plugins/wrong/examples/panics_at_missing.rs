//! Assumes that an artifact exists that may be absent.

use kymhost_plugin_wrong::prelude::*;

struct PanicsAtMissing;

impl Wrong for PanicsAtMissing {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        if record.json(right::PARAMS)?.is_none() {
            panic!("no params");
        }
        right::rows(record)
    }
}

wrong!(PanicsAtMissing);
