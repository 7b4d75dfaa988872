//! Cookbook: statistics of an image's pixels, one row per image.
//!
//! It shows: pixels of any type as numbers; no row for an image without pixels; empty cells for missing values; the
//! same columns with and without rows.

use kymhost_plugin_api::prelude::*;

struct Intensity;

impl Indexer for Intensity {
    const NAME: &'static str = "intensity";
    const ANALYSIS_VERSION: &'static str = "cookbook.intensity@1";

    fn params(&self, _record: &Record) -> Result<Json> {
        // There is nothing to set. The pixels need not be here: kymhost notices that they are read below.
        Ok(Json::Null)
    }

    fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
        let images: Vec<Statistics> = match record.pixels()? {
            // An image without pixels is not an error: it has no row until it gets pixels.
            None => Vec::new(),
            Some(pixels) => match pixels.to_f64_vec() {
                Some(values) => vec![Statistics::of(&values)],
                None => return Err(Error::msg(format!("pixels of type {} have no intensity", pixels.dtype()))),
            },
        };
        let column = |of: fn(&Statistics) -> Option<f64>| images.iter().map(of).collect::<Vec<_>>();
        Table::builder()
            .column("n_pixels", images.iter().map(|image| image.n_pixels as i64).collect::<Vec<_>>())?
            .column("n_nan", images.iter().map(|image| image.n_nan as i64).collect::<Vec<_>>())?
            .column("mean", column(|image| image.mean))?
            .column("std", column(|image| image.std))?
            .column("min", column(|image| image.min))?
            .column("max", column(|image| image.max))?
            .build()
    }
}

export_plugin!(Intensity);

/// The statistics of the values that are numbers. Without any number there is no mean and so on.
struct Statistics {
    n_pixels: usize,
    n_nan: usize,
    mean: Option<f64>,
    /// The standard deviation of the population.
    std: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Statistics {
    fn of(pixels: &[f64]) -> Self {
        let values = || pixels.iter().copied().filter(|value| !value.is_nan());
        let count = values().count();
        // `then` avoids 0 / 0.
        let mean = (count > 0).then(|| values().sum::<f64>() / count as f64);
        // Two passes: the sum of squares minus the square of the sum would lose digits.
        let std = mean.map(|mean| (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64).sqrt());
        Self {
            n_pixels: pixels.len(),
            n_nan: pixels.len() - count,
            mean,
            std,
            min: values().reduce(f64::min),
            max: values().reduce(f64::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::array::{Array, DType};
    use kymhost_plugin_api::testing::{TestHost, TestRecord};

    const COLUMNS: [&str; 6] = ["n_pixels", "n_nan", "mean", "std", "min", "max"];

    /// The same values of any dtype give the same statistics.
    #[test]
    fn pixels_of_every_type_are_counted() {
        let record = TestRecord::new();
        for record in [
            record.clone().pixels(&[2_u8, 4, 4, 6], [2, 2]),
            record.clone().pixels(&[2_u16, 4, 4, 6], [2, 2]),
            record.clone().pixels(&[2_i64, 4, 4, 6], [1, 2, 2]),
            record.clone().pixels(&[2.0_f32, 4.0, 4.0, 6.0], [4, 1]),
        ] {
            let outcome = TestHost::new(Intensity).extract(&record);
            let rows = outcome.rows();
            assert_eq!(rows.columns(), COLUMNS);
            assert_eq!((rows.i64("n_pixels"), rows.i64("n_nan")), (vec![Some(4)], vec![Some(0)]));
            assert_eq!(
                (rows.f64("min"), rows.f64("mean"), rows.f64("max")),
                (vec![Some(2.0)], vec![Some(4.0)], vec![Some(6.0)])
            );
            assert_eq!(rows.f64("std"), [Some(2.0_f64.sqrt())]);
            assert_eq!(outcome.read(), ["pixels"]);
        }
    }

    /// `NaN` pixels are counted, but are not part of the statistics.
    #[test]
    fn nan_pixels_are_left_out() {
        let record = TestRecord::new().pixels(&[1.0, f64::NAN, 3.0], [1, 3]);
        let outcome = TestHost::new(Intensity).extract(&record);
        assert_eq!((outcome.rows().i64("n_nan"), outcome.rows().f64("mean")), (vec![Some(1)], vec![Some(2.0)]));

        for empty in [TestRecord::new().pixels(&[f64::NAN], [1, 1]), TestRecord::new().pixels::<f64, 2>(&[], [0, 3])] {
            let outcome = TestHost::new(Intensity).extract(&empty);
            for name in ["mean", "std", "min", "max"] {
                assert_eq!(outcome.rows().f64(name), [None], "{name}");
            }
        }
    }

    /// An image without pixels has no row, and pixels are recorded as missing.
    #[test]
    fn no_pixels_give_no_row() {
        let outcome = TestHost::new(Intensity).extract(&TestRecord::new());
        assert!(outcome.rows().is_empty());
        assert_eq!(outcome.rows().columns(), COLUMNS);
        // kymhost analyses the image when it gets pixels.
        assert_eq!(outcome.missed(), ["pixels"]);
    }

    /// Pixels that cannot be used are an error, not a row.
    #[test]
    fn unreadable_or_complex_pixels_are_error() {
        let broken = TestHost::new(Intensity).extract(&TestRecord::new().unreadable_pixels());
        assert_eq!(broken.error().kind(), ErrorKind::Unreadable);
        let complex = Array::new(DType::Complex64, vec![1, 1], vec!["y".into(), "x".into()], vec![0; 8]).unwrap();
        let complex = TestHost::new(Intensity).extract(&TestRecord::new().pixels_from(complex));
        assert!(complex.error().message().contains("complex64"));
    }
}
