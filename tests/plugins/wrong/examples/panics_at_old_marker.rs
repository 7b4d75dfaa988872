//! Assumes that an old run marker has a count.

use kymhost_plugin_wrong::prelude::*;

struct PanicsAtOldMarker;

impl Wrong for PanicsAtOldMarker {
    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        let rows = payload.get("n_events").expect("n_events").as_u64()?;
        Some(RunMarker::new("wrong", "h", "tests.wrong@0", rows, 1))
    }
}

wrong!(PanicsAtOldMarker);
