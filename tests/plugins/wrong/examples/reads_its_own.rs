//! Reads the artifact that it writes itself.

use kymhost_plugin_wrong::prelude::*;

struct ReadsItsOwn;

impl Wrong for ReadsItsOwn {
    const WRITES: &'static [Output] = &[Output::json("wrong/notes")];

    fn rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Rows> {
        record.json("wrong/notes")?;
        run.put_json("wrong/notes", &Json::Null)?;
        right::rows(record)
    }
}

wrong!(ReadsItsOwn);
