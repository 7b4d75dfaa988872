//! Aborts if an image has no pixels.

use kymhost_plugin_wrong::prelude::*;

struct AbortsAtNoPixels;

impl Wrong for AbortsAtNoPixels {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        if record.pixels()?.is_none() {
            std::process::abort();
        }
        right::rows(record)
    }
}

wrong!(AbortsAtNoPixels);
