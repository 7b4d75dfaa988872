//! Waits while it is cancelled, if that happens after it has begun.

use kymhost_plugin_wrong::prelude::*;

struct NeverCancelledMidway;

impl Wrong for NeverCancelledMidway {
    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        if run.cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "before it began"));
        }
        for _ in 0..100 {
            while run.cancelled() {
                std::thread::yield_now();
            }
        }
        right::rows(record)
    }
}

wrong!(NeverCancelledMidway);
