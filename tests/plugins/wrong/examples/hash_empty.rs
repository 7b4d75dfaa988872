//! Has an empty params hash.

use kymhost_plugin_wrong::prelude::*;

struct HashEmpty;

impl Wrong for HashEmpty {
    fn params_hash(&self, record: &Record<'_>) -> Result<String> {
        self.params(record)?;
        Ok(String::new())
    }
}

wrong!(HashEmpty);
