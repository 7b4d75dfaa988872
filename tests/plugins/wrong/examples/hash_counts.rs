//! Has a params hash that differs each time.

use kymhost_plugin_wrong::prelude::*;

struct HashCounts;

impl Wrong for HashCounts {
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(Json::Array(vec![right::params(record)?, count().into()]))
    }
}

wrong!(HashCounts);
