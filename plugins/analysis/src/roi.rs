//! Regions of interest (ROIs) and the size of a pixel, as an image's metadata has them.
//!
//! This file reads both forms of an ROI, its bounds and the voxels. It does not analyse an ROI.
//!
//! ```json
//! {"header": {"voxels": [0.00117, 0.284], "voxels_units": ["s", "um"]},
//!  "rois": [{"id": 1, "channel": 1, "dim0_start": 0, "dim0_stop": 30000, "dim1_start": 0, "dim1_stop": 38},
//!           {"roi_id": 2, "roi_type": "rect", "channel": 1, "data": {"x0": 9, "x1": 28, "y0": 7500, "y1": 22500}}]}
//! ```
//!
//! dim0 and y are lines (time), dim1 and x are pixels (space); stops are exclusive.

use crate::error::short;
use crate::{AnalysisError, Result, VoxelsProblem};
use kymhost_plugin_api::Json;
use std::collections::BTreeSet;
use std::ops::Range;

/// The size of one step along each axis of a kymograph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Voxels {
    /// Seconds from one line to the next: finite and greater than 0.
    pub seconds_per_line: f64,
    /// Micrometres from one pixel to the next: finite and greater than 0.
    pub um_per_pixel: f64,
}

impl Voxels {
    /// Reads the voxels from the metadata: `header.voxels`, in seconds per line and micrometres per pixel.
    ///
    /// # Errors
    /// [`AnalysisError::NoVoxels`] if they are missing, are not positive numbers, or have other units
    /// (`header.voxels_units`) than `s` and `um`.
    pub fn of_metadata(metadata: Option<&Json>) -> Result<Self> {
        let problem = |problem| Err(AnalysisError::NoVoxels(problem));
        let Some(metadata) = metadata else { return problem(VoxelsProblem::NoMetadata) };
        let header = metadata.get("header");
        let Some(voxels) = header.and_then(|header| header.get("voxels")) else {
            return problem(VoxelsProblem::Missing);
        };
        let numbers: Option<Vec<f64>> = voxels.as_array().and_then(|values| values.iter().map(Json::as_f64).collect());
        let Some([seconds_per_line, um_per_pixel]) = numbers.and_then(|numbers| <[f64; 2]>::try_from(numbers).ok())
        else {
            return problem(VoxelsProblem::Invalid { found: short(voxels) });
        };
        if ![seconds_per_line, um_per_pixel].iter().all(|value| value.is_finite() && *value > 0.0) {
            return problem(VoxelsProblem::Invalid { found: short(voxels) });
        }
        let units = header.and_then(|header| header.get("voxels_units")).filter(|units| !units.is_null());
        if let Some(units) = units {
            let names: Option<Vec<&str>> = units.as_array().and_then(|names| names.iter().map(Json::as_str).collect());
            if !matches!(names.as_deref(), Some(["s" | "sec" | "seconds", "um" | "µm" | "μm"])) {
                return problem(VoxelsProblem::Units { found: short(units) });
            }
        }
        Ok(Self { seconds_per_line, um_per_pixel })
    }
}

/// A rectangle of a kymograph.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roi {
    /// Its number, which is unique in an image.
    pub id: i64,
    /// The channel on which it was drawn.
    pub channel: Option<i64>,
    /// The first line and the line after the last, unchecked: see [`Roi::within`].
    pub lines: (i64, i64),
    /// The first pixel of a line and the pixel after the last, unchecked.
    pub pixels: (i64, i64),
}

impl Roi {
    /// An ROI with number 1 over the whole image, for images without ROIs.
    pub fn whole(lines: usize, width: usize) -> Self {
        let stop = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        Self { id: 1, channel: Some(1), lines: (0, stop(lines)), pixels: (0, stop(width)) }
    }

    /// Its lines and pixels in an image of this size: reversed bounds are swapped, and all are clamped to the image.
    pub fn within(&self, lines: usize, width: usize) -> (Range<usize>, Range<usize>) {
        let clamp = |(start, stop): (i64, i64), length: usize| {
            let clamp = |at: i64| usize::try_from(at).unwrap_or(0).min(length);
            clamp(start.min(stop))..clamp(start.max(stop))
        };
        (clamp(self.lines, lines), clamp(self.pixels, width))
    }

    /// Reads the ROIs of the metadata, in their order; empty if there are none.
    ///
    /// # Errors
    /// [`AnalysisError::Roi`] if one is not a rectangle (a mask), lacks a field or has one of the wrong type, or if
    /// two have the same number.
    pub fn of_metadata(metadata: Option<&Json>) -> Result<Vec<Self>> {
        let Some(rois) = metadata.and_then(|metadata| metadata.get("rois")).filter(|rois| !rois.is_null()) else {
            return Ok(Vec::new());
        };
        let wrong = |roi: String, found: String, expected| AnalysisError::Roi { roi, found, expected };
        let list = rois.as_array();
        let Some(list) = list else {
            return Err(wrong("the metadata's rois".to_owned(), format!("found {}", short(rois)), "a list of ROIs"));
        };
        let rois: Vec<Self> = list.iter().enumerate().map(|(at, roi)| Self::of_json(at, roi)).collect::<Result<_>>()?;
        let mut seen = BTreeSet::new();
        match rois.iter().find(|roi| !seen.insert(roi.id)) {
            Some(twice) => Err(wrong(
                format!("ROI {}", twice.id),
                "two ROIs have this number".to_owned(),
                "a different number for each",
            )),
            None => Ok(rois),
        }
    }

    fn of_json(at: usize, roi: &Json) -> Result<Self> {
        let id = roi.get("roi_id").or_else(|| roi.get("id"));
        let name = roi.get("name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let called = match (id.and_then(whole_number), name) {
            (Some(id), Some(name)) => format!("ROI {id} '{name}'"),
            (Some(id), None) => format!("ROI {id}"),
            (None, Some(name)) => format!("ROI '{name}'"),
            (None, None) => format!("the ROI at index {at} of the metadata's rois"),
        };
        let wrong = |found: String, expected| AnalysisError::Roi { roi: called.clone(), found, expected };
        if roi.as_object().is_none() {
            return Err(wrong(format!("found {}", short(roi)), "an object"));
        }
        let number = |of: &Json, field: &str| match of.get(field) {
            Some(value) => {
                whole_number(value).ok_or_else(|| wrong(format!("'{field}' is {}", short(value)), "a whole number"))
            }
            None => Err(wrong(format!("'{field}' is missing"), "a whole number")),
        };
        let kind = roi.get("roi_type").and_then(Json::as_str).unwrap_or("rect");
        if kind != "rect" {
            return Err(wrong(
                format!("its roi_type is '{kind}', which has no rectangle"),
                "roi_type \"rect\"; remove it from the image's metadata or draw a rectangle",
            ));
        }
        let id = number(roi, if roi.get("roi_id").is_some() { "roi_id" } else { "id" })?;
        let channel = roi.get("channel").and_then(whole_number);
        let (of, names) = match roi.get("data") {
            Some(data) => (data, ["y0", "y1", "x0", "x1"]),
            None => (roi, ["dim0_start", "dim0_stop", "dim1_start", "dim1_stop"]),
        };
        let [y0, y1, x0, x1] = names;
        let (lines, pixels) = ((number(of, y0)?, number(of, y1)?), (number(of, x0)?, number(of, x1)?));
        Ok(Self { id, channel, lines, pixels })
    }
}

/// A whole number, which may be written as a float.
fn whole_number(value: &Json) -> Option<i64> {
    match value {
        Json::Int(value) => value.as_i64(),
        Json::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => Some(*value as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    /// The flat and the enveloped form give the same ROI.
    #[test]
    fn roi_both_forms_are_read() {
        let flat = r#"{"id": 3, "channel": 1, "z": 0, "name": "", "note": "", "revision": 0, "img_min": 3,
                       "dim0_start": 5, "dim0_stop": 90, "dim1_start": 2.0, "dim1_stop": 7}"#;
        let enveloped = r#"{"roi_id": 3, "roi_type": "rect", "version": "1.0", "name": "", "note": "", "channel": 1, "z": 0,
                            "data": {"x0": 2, "x1": 7, "y0": 5, "y1": 90}, "meta": {}}"#;
        let expected = Roi { id: 3, channel: Some(1), lines: (5, 90), pixels: (2, 7) };
        for text in [flat, enveloped] {
            let metadata = json(&format!("{{\"rois\": [{text}]}}"));
            assert_eq!(Roi::of_metadata(Some(&metadata)), Ok(vec![expected.clone()]), "{text}");
        }
        for none in ["{}", r#"{"rois": []}"#, r#"{"rois": null}"#] {
            assert_eq!(Roi::of_metadata(Some(&json(none))), Ok(vec![]), "{none}");
        }
        assert_eq!(Roi::of_metadata(None), Ok(vec![]));
    }

    /// The error names the ROI and the field that is wrong.
    #[test]
    fn roi_not_rectangle_is_refused_by_name() {
        let rect = r#""data": {"x0": 2, "x1": 7, "y0": 5, "y1": 90}"#;
        let cases = [
            (
                format!(r#"{{"roi_id": 3, "name": "cell", "roi_type": "mask", {rect}}}"#),
                "ROI 3 'cell': its roi_type is 'mask'",
            ),
            (format!(r#"{{"name": "cell", "roi_type": "rect", {rect}}}"#), "ROI 'cell': 'id' is missing"),
            (format!(r#"{{"roi_id": "a", {rect}}}"#), "index 0 of the metadata's rois: 'roi_id' is \"a\""),
            (r#"{"roi_id": 3, "data": {"x0": 2, "x1": 7, "y0": 5}}"#.to_owned(), "ROI 3: 'y1' is missing"),
            (r#"{"id": 3, "dim0_start": 0.5}"#.to_owned(), "ROI 3: 'dim0_start' is 0.5"),
            ("7".to_owned(), "found 7; expected an object"),
            (format!(r#"{{"roi_id": 3, {rect}}}, {{"roi_id": 3, {rect}}}"#), "ROI 3: two ROIs have this number"),
        ];
        for (text, words) in cases {
            let error = Roi::of_metadata(Some(&json(&format!("{{\"rois\": [{text}]}}")))).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = Roi::of_metadata(Some(&json(r#"{"rois": {}}"#))).unwrap_err().to_string();
        assert!(error.contains("a list of ROIs"), "{error}");
    }

    /// Reversed bounds are swapped, and all are clamped to the image.
    #[test]
    fn roi_bounds_are_swapped_and_clamped() {
        let cases = [
            ((0, 100), (0, 10), 0..100, 0..10),
            ((-5, 300), (-1, 11), 0..100, 0..10),
            ((90, 10), (7, 3), 10..90, 3..7),
            ((300, -5), (20, 8), 0..100, 8..10),
            ((200, 300), (3, 3), 100..100, 3..3),
            ((i64::MIN, i64::MAX), (-9, -3), 0..100, 0..0),
        ];
        for (lines, pixels, in_lines, in_pixels) in cases {
            let roi = Roi { id: 1, channel: None, lines, pixels };
            assert_eq!(roi.within(100, 10), (in_lines, in_pixels), "{roi:?}");
        }
    }

    /// Without a valid pixel size the error says what to put into the metadata.
    #[test]
    fn voxels_missing_or_invalid_is_error() {
        let read = |text: &str| Voxels::of_metadata(Some(&json(text)));
        let expected = Voxels { seconds_per_line: 0.5, um_per_pixel: 2.0 };
        assert_eq!(read(r#"{"header": {"voxels": [0.5, 2]}}"#), Ok(expected));
        assert_eq!(read(r#"{"header": {"voxels": [0.5, 2.0], "voxels_units": ["s", "um"]}}"#), Ok(expected));
        for (text, words) in [
            ("{}", "no header.voxels"),
            (r#"{"header": {"voxels": [1]}}"#, "header.voxels is [1]"),
            (r#"{"header": {"voxels": [1, 0]}}"#, "header.voxels is [1,0]"),
            (r#"{"header": {"voxels": [1, "a"]}}"#, "header.voxels is [1,\"a\"]"),
            (r#"{"header": {"voxels": [1, 2], "voxels_units": ["px", "px"]}}"#, "voxels_units is [\"px\",\"px\"]"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("put \"header\""), "{text}: {error}");
        }
        assert!(Voxels::of_metadata(None).unwrap_err().to_string().contains("no metadata"));
    }
}
