//! Divides by the number of pixels.

use kymhost_plugin_wrong::prelude::*;

struct DividesByZero;

impl Wrong for DividesByZero {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let rows = right::rows(record)?;
        let Some(pixels) = record.pixels()? else { return Ok(rows) };
        let each = pixels.bytes().len() / pixels.len();
        Ok(rows.ints("bytes_each", |_| each as i64))
    }
}

wrong!(DividesByZero);
