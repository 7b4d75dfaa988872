//! Writes an artifact to the place of its run marker, under a name that only the host maps to the same key.

use kymhost_plugin_wrong::prelude::*;

struct MarkerOnOutput;

impl Wrong for MarkerOnOutput {
    const WRITES: &'static [Output] = &[Output::json("/wrong_run")];

    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        run.put_json("/wrong_run", &Json::Null)?;
        right::rows(record)
    }
}

wrong!(MarkerOnOutput);
