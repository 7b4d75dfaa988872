//! Cookbook: statistics of the pixels in each region of interest, one row per region.
//!
//! It shows: regions from the metadata in both of their forms; bounds that are clamped to the image and put in order;
//! an error that names a region without a rectangle; and params that the user has set: the regions.

use kymhost_plugin_api::prelude::*;

struct RoiSummary;

impl Indexer for RoiSummary {
    const NAME: &'static str = "roi_summary";
    const ANALYSIS_VERSION: &'static str = "cookbook.roi_summary@1";

    /// The regions, so that `kymhost explain` shows which of them changed.
    fn params(&self, record: &Record) -> Result<Json> {
        let metadata = record.metadata()?.unwrap_or_default();
        Ok(metadata.get("rois").cloned().unwrap_or(Json::Array(Vec::new())))
    }

    fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
        let rois = self.params(record)?;
        let rois = rois.as_array().unwrap_or_default().iter().map(Roi::read).collect::<Result<Vec<_>>>()?;
        let Some(pixels) = record.pixels()? else { return table(&[]) };
        let (&[n_lines, n_pixels], Some(values)) = (pixels.shape(), pixels.to_f64_vec()) else {
            return Err(Error::msg(format!(
                "expected real pixels of two axes (lines, pixels), found {} of {:?}",
                pixels.dtype(),
                pixels.axes()
            )));
        };
        let summary = |roi: &Roi| {
            let (lines, columns) = (bounds(roi.lines, n_lines), bounds(roi.pixels, n_pixels));
            let inside = lines.flat_map(|line| &values[line * n_pixels..][columns.clone()]);
            Summary::of(roi, &inside.copied().filter(|value| !value.is_nan()).collect::<Vec<_>>())
        };
        table(&rois.iter().map(summary).collect::<Vec<_>>())
    }
}

export_plugin!(RoiSummary);

/// A rectangle as the metadata keeps it, with unchecked bounds.
struct Roi {
    id: i64,
    lines: [i64; 2],
    pixels: [i64; 2],
}

impl Roi {
    /// Reads the enveloped form (`roi_id`, `data`) or the flat one (`id`, `dim0_start` …).
    fn read(roi: &Json) -> Result<Self> {
        let number = |of: &Json, key: &str| {
            let value = of.get(key).and_then(Json::as_f64).filter(|value| value.is_finite());
            value.ok_or_else(|| Error::msg(format!("the region {roi} has no number '{key}'")))
        };
        let pair = |of: &Json, first, stop| Ok::<_, Error>([number(of, first)? as i64, number(of, stop)? as i64]);
        match (roi.get("roi_type").and_then(Json::as_str), roi.get("data")) {
            (Some("rect"), Some(data)) => Ok(Self {
                id: number(roi, "roi_id")? as i64,
                lines: pair(data, "y0", "y1")?,
                pixels: pair(data, "x0", "x1")?,
            }),
            // A wrong row is worse than none: the user should learn that the mask was not measured.
            (Some(kind), _) => Err(Error::msg(format!("the region {roi} is a {kind}; only a rect can be measured"))),
            (None, _) => Ok(Self {
                id: number(roi, "id")? as i64,
                lines: pair(roi, "dim0_start", "dim0_stop")?,
                pixels: pair(roi, "dim1_start", "dim1_stop")?,
            }),
        }
    }
}

/// Bounds in order and within an axis; empty if they are outside.
fn bounds([first, stop]: [i64; 2], length: usize) -> std::ops::Range<usize> {
    let within = |bound: i64| usize::try_from(bound).unwrap_or(0).min(length);
    within(first.min(stop))..within(first.max(stop))
}

struct Summary {
    roi_id: i64,
    n_pixels: i64,
    mean: Option<f64>,
    std: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Summary {
    fn of(roi: &Roi, values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count);
        Self {
            roi_id: roi.id,
            n_pixels: values.len() as i64,
            mean,
            std: mean.map(|mean| (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()),
            min: values.iter().copied().reduce(f64::min),
            max: values.iter().copied().reduce(f64::max),
        }
    }
}

/// The table has the same columns with and without rows.
fn table(rows: &[Summary]) -> Result<Table> {
    let floats = |of: fn(&Summary) -> Option<f64>| rows.iter().map(of).collect::<Vec<_>>();
    Table::builder()
        .column("roi_id", rows.iter().map(|row| row.roi_id).collect::<Vec<_>>())?
        .column("n_pixels", rows.iter().map(|row| row.n_pixels).collect::<Vec<_>>())?
        .column("mean", floats(|row| row.mean))?
        .column("std", floats(|row| row.std))?
        .column("min", floats(|row| row.min))?
        .column("max", floats(|row| row.max))?
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::testing::{Roi, TestHost, TestRecord};

    /// Two lines of three pixels: 1 2 3, 4 5 6.
    fn image() -> TestRecord {
        TestRecord::new().pixels(&[1_u16, 2, 3, 4, 5, 6], [2, 3])
    }

    /// Reversed and outside bounds are handled; an empty region has no statistics.
    #[test]
    fn regions_are_clamped_and_ordered() {
        let roi = || Roi::rect(1);
        // The region; then its number of pixels, mean, minimum and maximum.
        let cases = [
            (roi().lines(0, 2).pixels(0, 3), 6, Some((3.5, 1.0, 6.0))),
            (roi().lines(1, 2).pixels(1, 3), 2, Some((5.5, 5.0, 6.0))),
            (roi().lines(2, 1).pixels(3, 1), 2, Some((5.5, 5.0, 6.0))),
            (roi().lines(-7, 1).pixels(2, 900), 1, Some((3.0, 3.0, 3.0))),
            (roi().lines(0, 0).pixels(0, 3), 0, None),
            (roi().lines(5, 9).pixels(0, 3), 0, None),
            (roi().lines(0, 2).pixels(-5, -1), 0, None),
            (roi().lines(i64::MIN, i64::MAX).pixels(1e300, -1e300), 6, Some((3.5, 1.0, 6.0))),
        ];
        for (roi, n_pixels, expected) in cases {
            let outcome = TestHost::new(RoiSummary).extract(&image().roi(roi.clone()));
            let rows = outcome.rows();
            assert_eq!((rows.i64("roi_id"), rows.i64("n_pixels")), (vec![Some(1)], vec![Some(n_pixels)]), "{roi:?}");
            for (name, value) in [
                ("mean", expected.map(|(mean, ..)| mean)),
                ("min", expected.map(|(_, min, _)| min)),
                ("max", expected.map(|(.., max)| max)),
            ] {
                assert_eq!(rows.f64(name), [value], "{name} of {roi:?}");
            }
        }
    }

    /// The flat form of a region is read, and `NaN` pixels are left out.
    #[test]
    fn flat_region_is_read_without_nan() {
        let flat = r#"{"rois": [{"id": 4, "dim0_start": 0, "dim0_stop": 1, "dim1_start": 0, "dim1_stop": 2}]}"#;
        let record = TestRecord::new().pixels(&[1.0, f64::NAN], [1, 2]).json_text("metadata", flat);
        let outcome = TestHost::new(RoiSummary).extract(&record);
        assert_eq!((outcome.rows().i64("roi_id"), outcome.rows().i64("n_pixels")), (vec![Some(4)], vec![Some(1)]));
        assert_eq!((outcome.rows().f64("mean"), outcome.rows().f64("std")), (vec![Some(1.0)], vec![Some(0.0)]));
        assert_eq!(outcome.read(), ["json metadata", "pixels"]);
    }

    /// The error names the region, field or file that is wrong.
    #[test]
    fn unmeasurable_region_is_named() {
        let no_stop = r#"{"rois": [{"roi_id": 1, "roi_type": "rect", "data": {"x0": 0, "x1": 1, "y0": 0}}]}"#;
        for (record, words) in [
            (image().roi(Roi::mask(8).name("branch")), "\"name\":\"branch\""),
            (image().json_text("metadata", no_stop), "no number 'y1'"),
            (image().json_text("metadata", r#"{"rois": [5]}"#), "the region 5 has no number 'id'"),
            (image().pixels(&[1_u8], [1, 1, 1]), "[\"z\", \"y\", \"x\"]"),
            (image().json_text("metadata", "{"), "metadata.json"),
        ] {
            let outcome = TestHost::new(RoiSummary).extract(&record);
            assert!(outcome.error().message().contains(words), "{:?} lacks {words}", outcome.error());
        }
    }

    /// Without regions or pixels there are no rows, but all columns.
    #[test]
    fn no_regions_or_pixels_give_no_rows() {
        let roi = Roi::rect(1).lines(0, 2).pixels(0, 3);
        let columns = ["roi_id", "n_pixels", "mean", "std", "min", "max"];
        for record in [image(), image().metadata(Json::Null), image().roi(roi).without_pixels()] {
            let outcome = TestHost::new(RoiSummary).extract(&record);
            assert!(outcome.rows().is_empty());
            assert_eq!(outcome.rows().columns(), columns);
        }
    }

    /// A changed region makes the image stale, other metadata does not.
    #[test]
    fn moved_region_changes_params_hash() {
        let with = |stop: i64| image().roi(Roi::rect(1).lines(0, stop).pixels(0, 3));
        let host = TestHost::new(RoiSummary);
        host.assert_params_hash_changes(&with(1), &with(2));
        host.assert_params_hash_stays(&with(1), &with(1).voxels(0.001, 0.25));
        host.assert_deterministic(&with(2));
    }
}
