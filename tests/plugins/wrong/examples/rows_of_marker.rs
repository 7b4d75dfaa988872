//! Its rows contain the result of the last run.

use kymhost_plugin_wrong::prelude::*;

struct RowsOfMarker;

impl Wrong for RowsOfMarker {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let last = record.json("wrong_run")?;
        let rows = last.as_ref().and_then(|last| last.get("n_rows")).and_then(Json::as_i64);
        Ok(right::rows(record)?.ints("last_n_rows", |_| rows.unwrap_or_default()))
    }
}

wrong!(RowsOfMarker);
