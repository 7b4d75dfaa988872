//! Fails while another thread extracts.

use kymhost_plugin_wrong::prelude::*;
use std::sync::Mutex;
use std::time::Duration;

struct OneAtATime;

impl Wrong for OneAtATime {
    fn rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Rows> {
        static BUSY: Mutex<()> = Mutex::new(());
        let _guard = BUSY.try_lock().map_err(|_| Error::msg("busy: try again later"))?;
        std::thread::sleep(Duration::from_micros(300));
        right::rows(record)
    }
}

wrong!(OneAtATime);
