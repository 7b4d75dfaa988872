//! Has a params hash that differs in each process.

use kymhost_plugin_wrong::prelude::*;

struct HashOfProcess;

impl Wrong for HashOfProcess {
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(Json::Array(vec![right::params(record)?, i64::from(std::process::id()).into()]))
    }
}

wrong!(HashOfProcess);
