//! Aborts when its process ends.

use kymhost_plugin_wrong::prelude::*;

struct AbortsAtEnd;

impl Wrong for AbortsAtEnd {}

wrong!(AbortsAtEnd);
at_end!(abort);
