//! Hands over an undeclared artifact for images of 48 lines.

use kymhost_plugin_wrong::prelude::*;

struct ArtifactUndeclared;

impl Wrong for ArtifactUndeclared {
    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        if record.pixels()?.is_some_and(|pixels| pixels.shape().first() == Some(&48)) {
            run.put_json("wrong/notes", &Json::Null)?;
        }
        right::rows(record)
    }
}

wrong!(ArtifactUndeclared);
