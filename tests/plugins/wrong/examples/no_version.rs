//! A version that no later one can be told from.

use kymhost_plugin_wrong::prelude::*;

struct NoVersion;

impl Wrong for NoVersion {
    const VERSION: &'static str = "latest";
}

wrong!(NoVersion);
