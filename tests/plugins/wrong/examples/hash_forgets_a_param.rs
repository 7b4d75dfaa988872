//! Its rows depend on the threshold, but the hash does not.

use kymhost_plugin_wrong::prelude::*;

struct HashForgetsAParam;

impl Wrong for HashForgetsAParam {
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let mut params = right::params(record)?;
        if let Json::Object(members) = &mut params {
            members.shift_remove("threshold");
        }
        Ok(params)
    }
}

wrong!(HashForgetsAParam);
