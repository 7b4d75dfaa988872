//! Has a version that later ones cannot be told from.

use kymhost_plugin_wrong::prelude::*;

struct NoVersion;

impl Wrong for NoVersion {
    const VERSION: &'static str = "latest";
}

wrong!(NoVersion);
