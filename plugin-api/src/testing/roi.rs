//! A region of interest as the metadata keeps it.
//!
//! This file writes the form of kymflow and kymhost. It does not check bounds, which is the indexer's task.

use crate::Json;

/// A region of interest for [`TestRecord::roi`](super::TestRecord::roi), in the form that the metadata keeps.
///
/// Bounds are kept as given, so that a test can put them outside the image, or make them empty or reversed.
///
/// ```
/// use kymhost_plugin_api::testing::Roi;
///
/// let roi = Roi::rect(1).lines(0, 100).pixels(3, 20).name("vessel").to_json();
/// assert_eq!(roi.get("data").unwrap().to_string(), r#"{"x0":3,"x1":20,"y0":0,"y1":100}"#);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Roi {
    id: Json,
    kind: &'static str,
    name: String,
    note: String,
    channel: i64,
    z: i64,
    /// First and stop of `x` (space), then of `y` (time), in pixels and lines.
    bounds: [Json; 4],
    meta: Json,
}

impl Roi {
    /// A rectangle (`roi_type` `"rect"`) without extent; add [`lines`](Self::lines) and [`pixels`](Self::pixels).
    pub fn rect(roi_id: impl Into<Json>) -> Self {
        Self {
            id: roi_id.into(),
            kind: "rect",
            name: String::new(),
            note: String::new(),
            channel: 0,
            z: 0,
            bounds: [0, 0, 0, 0].map(Json::from),
            meta: Json::object::<&str>([]),
        }
    }

    /// A region with `roi_type` `"mask"`, which has no rectangle: an indexer that needs one must refuse it.
    pub fn mask(roi_id: impl Into<Json>) -> Self {
        Self { kind: "mask", ..Self::rect(roi_id) }
    }

    /// Its lines (time, `y`, `dim0`), from `start` to before `stop`.
    pub fn lines(mut self, start: impl Into<Json>, stop: impl Into<Json>) -> Self {
        let [x0, x1, ..] = self.bounds;
        self.bounds = [x0, x1, start.into(), stop.into()];
        self
    }

    /// Its pixels along a line (space, `x`, `dim1`), from `start` to before `stop`.
    pub fn pixels(mut self, start: impl Into<Json>, stop: impl Into<Json>) -> Self {
        let [_, _, y0, y1] = self.bounds;
        self.bounds = [start.into(), stop.into(), y0, y1];
        self
    }

    /// Its name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Its note.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Its channel (default: 0).
    pub fn channel(mut self, channel: i64) -> Self {
        self.channel = channel;
        self
    }

    /// Its plane (default: 0).
    pub fn z(mut self, z: i64) -> Self {
        self.z = z;
        self
    }

    /// Its `meta`: anything else that is kept with it.
    pub fn meta(mut self, meta: Json) -> Self {
        self.meta = meta;
        self
    }

    /// The region as an element of the metadata's `rois`.
    pub fn to_json(self) -> Json {
        let [x0, x1, y0, y1] = self.bounds;
        let data = match self.kind {
            "rect" => Json::object([("x0", x0), ("x1", x1), ("y0", y0), ("y1", y1)]),
            _ => Json::object::<&str>([]),
        };
        Json::object([
            ("roi_id", self.id),
            ("roi_type", self.kind.into()),
            ("version", "1.0".into()),
            ("name", self.name.into()),
            ("note", self.note.into()),
            ("channel", self.channel.into()),
            ("z", self.z.into()),
            ("data", data),
            ("meta", self.meta),
        ])
    }
}
