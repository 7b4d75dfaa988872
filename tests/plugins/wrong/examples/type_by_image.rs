//! Has a column whose type depends on the pixels.

use kymhost_plugin_wrong::prelude::*;

struct TypeByImage;

impl Wrong for TypeByImage {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let rows = right::rows(record)?;
        let is_small = record.pixels()?.is_some_and(|pixels| pixels.dtype() == DType::UInt8);
        Ok(if is_small { rows.ints("peak", |_| 1) } else { rows.floats("peak", |_| 0.5) })
    }
}

wrong!(TypeByImage);
