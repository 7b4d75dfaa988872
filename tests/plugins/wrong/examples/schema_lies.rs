//! Declares a schema with another default than it uses.

use kymhost_plugin_wrong::prelude::*;

struct SchemaLies;

impl Wrong for SchemaLies {
    const PARAMS_SCHEMA: &'static str =
        r#"{"type": "object", "properties": {"threshold": {"type": "number", "default": 2}}}"#;

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let params = right::params(record)?;
        let is_there = params.get("threshold").is_some();
        Ok(if is_there { params } else { Json::object([("threshold", Json::from(0.5))]) })
    }
}

wrong!(SchemaLies);
