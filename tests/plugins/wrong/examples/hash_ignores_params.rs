//! Reads its params, but the hash does not depend on them.

use kymhost_plugin_wrong::prelude::*;

struct HashIgnoresParams;

impl Wrong for HashIgnoresParams {
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        right::params(record)?;
        Ok("1".into())
    }
}

wrong!(HashIgnoresParams);
