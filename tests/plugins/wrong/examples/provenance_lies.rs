//! Its rows claim another analysis version.

use kymhost_plugin_wrong::prelude::*;

struct ProvenanceLies;

impl Wrong for ProvenanceLies {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.texts("analysis_version", |_| "tests.wrong@0".to_owned()))
    }
}

wrong!(ProvenanceLies);
