//! Declares a schema whose default is out of its own bounds.

use kymhost_plugin_wrong::prelude::*;

struct SchemaRefusesItsDefault;

impl Wrong for SchemaRefusesItsDefault {
    const PARAMS_SCHEMA: &'static str =
        r#"{"type": "object", "properties": {"threshold": {"type": "number", "maximum": 1, "default": 50}}}"#;
}

wrong!(SchemaRefusesItsDefault);
