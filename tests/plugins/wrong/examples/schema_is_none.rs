//! Declares a schema with a type that does not exist.

use kymhost_plugin_wrong::prelude::*;

struct SchemaIsNone;

impl Wrong for SchemaIsNone {
    const PARAMS_SCHEMA: &'static str =
        r#"{"type": "object", "properties": {"threshold": {"type": "real", "default": 0.5}}}"#;
}

wrong!(SchemaIsNone);
