//! Has a name with characters that a table name cannot have.

use kymhost_plugin_wrong::prelude::*;

struct BadName;

impl Wrong for BadName {
    const NAME: &'static str = "Wrong-Name";
}

wrong_with_card!(BadName, card!("1.1", "1.0", "Wrong-Name", "tests.wrong@1"));
