//! Leaks 40 bytes in each extraction: so little that an allocator could be the cause.

use kymhost_plugin_wrong::prelude::*;

struct LeaksCrumbs;

impl Wrong for LeaksCrumbs {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Box::leak(vec![1_u8; 40].into_boxed_slice());
        right::rows(record)
    }
}

wrong!(LeaksCrumbs);
