//! Assumes that the params object has a member.

use kymhost_plugin_wrong::prelude::*;

struct PanicsAtEmpty;

impl Wrong for PanicsAtEmpty {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        if record.json(right::PARAMS)?.and_then(|params| Some(params.as_object()?.is_empty())) == Some(true) {
            panic!("params without a member");
        }
        right::rows(record)
    }
}

wrong!(PanicsAtEmpty);
