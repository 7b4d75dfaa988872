//! Takes two seconds to stop when it is cancelled.

use kymhost_plugin_wrong::prelude::*;

struct SlowToCancel;

impl Wrong for SlowToCancel {
    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        if run.cancelled() {
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        right::rows(record)
    }
}

wrong!(SlowToCancel);
