//! What callers see of a run while it works, and of images that failed.

use kymhost_plugin::Failure;
use kymhost_store::Holder;

/// What a run reports while it works, for progress bars. Called from the run's own thread.
pub trait Observer {
    /// All images are judged; so many are to be done.
    fn planned(&mut self, to_do: usize, total: usize) {
        let _ = (to_do, total);
    }
    /// One more image is done (or failed).
    fn image_done(&mut self, image_id: &str, failure: Option<&Failure>) {
        let _ = (image_id, failure);
    }
    /// Rows are being committed.
    fn committing(&mut self) {}
    /// Another run holds the table, and this one waits for it. Called once.
    fn waiting(&mut self, holder: &Holder) {
        let _ = holder;
    }
    /// Whether to stop: asked after each image, and while waiting for another run. What is done by then is committed.
    fn interrupted(&mut self) -> bool {
        false
    }
}

/// An image that cannot be judged, or that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFailure {
    /// The image.
    pub image_id: String,
    /// Why.
    pub failure: Failure,
}
