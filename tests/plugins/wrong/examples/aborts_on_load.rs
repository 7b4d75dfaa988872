//! Aborts while it is loaded.

use kymhost_plugin_wrong::prelude::*;

struct AbortsOnLoad;

impl Wrong for AbortsOnLoad {}

wrong!(AbortsOnLoad);
on_load!(abort);
