//! Remembers its first result for an image id, even for another dataset.

use kymhost_plugin_wrong::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

struct RemembersImages;

impl Wrong for RemembersImages {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        static SEEN: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());
        let bytes = record.pixels()?.map_or(0, |pixels| pixels.bytes().len());
        let mut seen = SEEN.lock().map_err(|_| Error::msg("poisoned"))?;
        let first = *seen.entry(record.image_id().to_owned()).or_insert(bytes);
        Ok(right::rows(record)?.ints("bytes", |_| first as i64))
    }
}

wrong!(RemembersImages);
