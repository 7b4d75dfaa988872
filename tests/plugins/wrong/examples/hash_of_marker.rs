//! Its params contain the result of the last run, so that each run makes its images stale.

use kymhost_plugin_wrong::prelude::*;

struct HashOfMarker;

impl Wrong for HashOfMarker {
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let last = record.json("wrong_run")?;
        let rows = last.as_ref().and_then(|last| last.get("n_rows")).cloned();
        Ok(Json::Array(vec![right::params(record)?, rows.into()]))
    }
}

wrong!(HashOfMarker);
