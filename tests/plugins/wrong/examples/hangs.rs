//! Loops forever if an old run marker is null.

use kymhost_plugin_wrong::prelude::*;

struct Hangs;

impl Wrong for Hangs {
    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        while payload.is_null() {
            std::thread::yield_now();
        }
        None
    }
}

wrong!(Hangs);
