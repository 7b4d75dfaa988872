//! Declares a schema with a keyword that kymhost does not check.

use kymhost_plugin_wrong::prelude::*;

struct SchemaWithPattern;

impl Wrong for SchemaWithPattern {
    const PARAMS_SCHEMA: &'static str = r#"{"type": "object", "properties": {"side": {"type": "string", "default": "left", "pattern": "^(left|right)$"}}}"#;
}

wrong!(SchemaWithPattern);
