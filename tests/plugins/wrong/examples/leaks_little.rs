//! Leaks 300 bytes in each extraction.

use kymhost_plugin_wrong::prelude::*;

struct LeaksLittle;

impl Wrong for LeaksLittle {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Box::leak(vec![1_u8; 300].into_boxed_slice());
        right::rows(record)
    }
}

wrong!(LeaksLittle);
