//! Is built for a plugin API that does not exist yet.

use kymhost_plugin_wrong::prelude::*;

struct ApiToCome;

impl Wrong for ApiToCome {}

wrong_with_card!(ApiToCome, card!("9.0", "9.0", "wrong", "tests.wrong@1"));
