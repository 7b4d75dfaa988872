//! Is correct: all checks pass.

use kymhost_plugin_wrong::prelude::*;

struct Right;

impl Wrong for Right {}

wrong!(Right);
