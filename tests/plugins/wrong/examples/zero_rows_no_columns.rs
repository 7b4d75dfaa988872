//! No rows, and then no columns either.

use kymhost_plugin_wrong::prelude::*;

struct ZeroRowsNoColumns;

impl Wrong for ZeroRowsNoColumns {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let rows = right::rows(record)?;
        Ok(if rows.is_empty() { Rows::default() } else { rows })
    }
}

wrong!(ZeroRowsNoColumns);
