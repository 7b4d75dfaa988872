//! Has another version on the card than in the library.

use kymhost_plugin_wrong::prelude::*;

struct CardLies;

impl Wrong for CardLies {}

wrong_with_card!(CardLies, card!("1.1", "1.0", "wrong", "tests.wrong@2"));
