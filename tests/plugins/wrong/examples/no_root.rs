//! Has a card, but no root module.

use kymhost_plugin_wrong::prelude::*;

struct NoRoot;

impl Wrong for NoRoot {}

wrong_without_root!(NoRoot, card!("1.1", "1.0", "wrong", "tests.wrong@1"));
