//! Prints to standard output.
#![allow(clippy::print_stdout)]

use kymhost_plugin_wrong::prelude::*;

struct Prints;

impl Wrong for Prints {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        println!("extracting {}", record.image_id());
        right::rows(record)
    }
}

wrong!(Prints);
