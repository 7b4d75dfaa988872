//! Has a params hash that is not the hash of the params.

use kymhost_plugin_wrong::prelude::*;

struct HashOverridden;

impl Wrong for HashOverridden {
    fn params_hash(&self, record: &Record<'_>) -> Result<String> {
        Ok(format!("v2:{}", params_hash(&self.params(record)?)))
    }
}

wrong!(HashOverridden);
