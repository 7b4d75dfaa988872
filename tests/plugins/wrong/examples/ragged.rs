//! Has columns of different lengths.

use kymhost_plugin_wrong::prelude::*;

struct Ragged;

impl Wrong for Ragged {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let mut rows = right::rows(record)?;
        rows.cut_first_column();
        Ok(rows)
    }
}

wrong!(Ragged);
