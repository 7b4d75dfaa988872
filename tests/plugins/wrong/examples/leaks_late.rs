//! Leaks 4 KiB in each extraction from the 3,000th on.

use kymhost_plugin_wrong::prelude::*;

struct LeaksLate;

impl Wrong for LeaksLate {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        if count() >= 3_000 {
            Box::leak(vec![1_u8; 4096].into_boxed_slice());
        }
        right::rows(record)
    }
}

wrong!(LeaksLate);
