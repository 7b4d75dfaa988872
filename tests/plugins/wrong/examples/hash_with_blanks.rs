//! Has a params hash of two words.

use kymhost_plugin_wrong::prelude::*;

struct HashWithBlanks;

impl Wrong for HashWithBlanks {
    fn params_hash(&self, record: &Record<'_>) -> Result<String> {
        Ok(format!("version 2 {}", params_hash(&self.params(record)?)))
    }
}

wrong!(HashWithBlanks);
