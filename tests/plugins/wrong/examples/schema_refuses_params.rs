//! Declares a schema that refuses the params of an image without any.

use kymhost_plugin_wrong::prelude::*;

struct SchemaRefusesParams;

impl Wrong for SchemaRefusesParams {
    const PARAMS_SCHEMA: &'static str =
        r#"{"type": "object", "properties": {"threshold": {"type": "number", "minimum": 1, "default": 2}}}"#;

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let params = right::params(record)?;
        let is_there = params.get("threshold").is_some();
        Ok(if is_there { params } else { Json::object([("threshold", Json::from(0.5))]) })
    }
}

wrong!(SchemaRefusesParams);
