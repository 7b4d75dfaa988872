//! Its rows contain the id of its process.

use kymhost_plugin_wrong::prelude::*;

struct RowsOfProcess;

impl Wrong for RowsOfProcess {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        Ok(right::rows(record)?.ints("process", |_| i64::from(std::process::id())))
    }
}

wrong!(RowsOfProcess);
