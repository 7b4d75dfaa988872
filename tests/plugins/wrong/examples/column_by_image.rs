//! Has a column for some images only.

use kymhost_plugin_wrong::prelude::*;

struct ColumnByImage;

impl Wrong for ColumnByImage {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let rows = right::rows(record)?;
        let is_small = record.pixels()?.is_some_and(|pixels| pixels.dtype() == DType::UInt8);
        Ok(if is_small { rows.ints("is_small", |_| 1) } else { rows })
    }
}

wrong!(ColumnByImage);
