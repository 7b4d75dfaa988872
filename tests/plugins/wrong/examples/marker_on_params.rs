//! Its run marker is kept where its params are.

use kymhost_plugin_wrong::prelude::*;

struct MarkerOnParams;

impl Wrong for MarkerOnParams {
    const MARKER: &'static str = right::PARAMS;
}

wrong!(MarkerOnParams);
