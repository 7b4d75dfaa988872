//! Rows in the order of a hash map.

use kymhost_plugin_wrong::prelude::*;
use std::collections::HashMap;

struct RowsShuffled;

impl Wrong for RowsShuffled {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let mut rows = right::rows(record)?;
        rows.take(HashMap::from([(0, ()), (1, ())]).into_keys().collect());
        Ok(rows)
    }
}

wrong!(RowsShuffled);
