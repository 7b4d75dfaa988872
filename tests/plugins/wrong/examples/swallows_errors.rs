//! Treats unreadable pixels as absent.

use kymhost_plugin_wrong::prelude::*;

struct SwallowsErrors;

impl Wrong for SwallowsErrors {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        right::rows_with(record, record.pixels().ok().flatten())
    }
}

wrong!(SwallowsErrors);
