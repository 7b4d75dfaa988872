//! Has no columns if it has no rows.

use kymhost_plugin_wrong::prelude::*;

struct ZeroRowsNoColumns;

impl Wrong for ZeroRowsNoColumns {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let rows = right::rows(record)?;
        Ok(if rows.is_empty() { Rows::default() } else { rows })
    }
}

wrong!(ZeroRowsNoColumns);
