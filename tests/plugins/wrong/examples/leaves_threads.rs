//! Leaves a thread behind.

use kymhost_plugin_wrong::prelude::*;
use std::sync::Once;

struct LeavesThreads;

impl Wrong for LeavesThreads {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
        });
        right::rows(record)
    }
}

wrong!(LeavesThreads);
