//! Has a card that is not JSON.

use kymhost_plugin_wrong::prelude::*;

struct CardGarbled;

impl Wrong for CardGarbled {}

wrong_with_card!(CardGarbled, "{\"card\": 1, \"api\":");
