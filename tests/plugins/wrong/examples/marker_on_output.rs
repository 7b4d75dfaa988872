//! Makes an artifact that is kept where its run marker is, under a name that only a host makes the same.

use kymhost_plugin_wrong::prelude::*;

struct MarkerOnOutput;

impl Wrong for MarkerOnOutput {
    const WRITES: &'static [Output] = &[Output::json("/wrong_run")];
}

wrong!(MarkerOnOutput);
