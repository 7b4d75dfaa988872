//! Assumes that a number is a number.

use kymhost_plugin_wrong::prelude::*;

struct PanicsAtOdd;

impl Wrong for PanicsAtOdd {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        if let Some(threshold) = right::params(record)?.get("threshold") {
            threshold.as_f64().expect("a number");
        }
        right::rows(record)
    }
}

wrong!(PanicsAtOdd);
