//! Leaks 4 KiB in each extraction.

use kymhost_plugin_wrong::prelude::*;

struct Leaks;

impl Wrong for Leaks {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Box::leak(vec![1_u8; 4096].into_boxed_slice());
        right::rows(record)
    }
}

wrong!(Leaks);
