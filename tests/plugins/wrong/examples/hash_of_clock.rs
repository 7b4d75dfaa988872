//! Has a params hash that differs each second.

use kymhost_plugin_wrong::prelude::*;

struct HashOfClock;

impl Wrong for HashOfClock {
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(Json::Array(vec![right::params(record)?, loaded_at_seconds().into()]))
    }
}

wrong!(HashOfClock);
