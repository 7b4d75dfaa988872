//! Has errors without a message.

use kymhost_plugin_wrong::prelude::*;

struct SilentErrors;

impl Wrong for SilentErrors {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        right::rows(record).map_err(|error| Error::new(error.kind(), ""))
    }
}

wrong!(SilentErrors);
