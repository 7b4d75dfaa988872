//! A name with characters that no table has.

use kymhost_plugin_wrong::prelude::*;

struct BadName;

impl Wrong for BadName {
    const NAME: &'static str = "Wrong-Name";
}

wrong_with_card!(BadName, card!("1.1", "1.0", "Wrong-Name", "tests.wrong@1"));
