//! Starts more threads than it may use.

use kymhost_plugin_wrong::prelude::*;
use std::time::Duration;

struct Greedy;

impl Wrong for Greedy {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| std::thread::sleep(Duration::from_millis(1)));
            }
        });
        right::rows(record)
    }
}

wrong!(Greedy);
