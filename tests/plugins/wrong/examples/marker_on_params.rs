//! Has its run marker in the place of its params.

use kymhost_plugin_wrong::prelude::*;

struct MarkerOnParams;

impl Wrong for MarkerOnParams {
    const MARKER: &'static str = right::PARAMS;
}

wrong!(MarkerOnParams);
