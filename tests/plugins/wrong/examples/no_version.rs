//! Has a version that cannot be distinguished from later ones.

use kymhost_plugin_wrong::prelude::*;

struct NoVersion;

impl Wrong for NoVersion {
    const VERSION: &'static str = "latest";
}

wrong!(NoVersion);
