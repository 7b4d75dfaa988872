//! Declares a schema that does not require an object.

use kymhost_plugin_wrong::prelude::*;

struct SchemaTakesLists;

impl Wrong for SchemaTakesLists {
    const PARAMS_SCHEMA: &'static str = r#"{"properties": {"threshold": {"type": "number", "default": 0.5}}}"#;
}

wrong!(SchemaTakesLists);
