//! Waits while it is cancelled.

use kymhost_plugin_wrong::prelude::*;

struct NeverCancelled;

impl Wrong for NeverCancelled {
    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        while run.cancelled() {
            std::thread::yield_now();
        }
        right::rows(record)
    }
}

wrong!(NeverCancelled);
