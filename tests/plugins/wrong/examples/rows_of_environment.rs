//! Its rows depend on the user's language.

use kymhost_plugin_wrong::prelude::*;

struct RowsOfEnvironment;

impl Wrong for RowsOfEnvironment {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        let is_german = std::env::var("LANG").is_ok_and(|lang| lang.starts_with("de"));
        Ok(right::rows(record)?.ints("is_german", |_| i64::from(is_german)))
    }
}

wrong!(RowsOfEnvironment);
