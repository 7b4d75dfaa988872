//! The indexer `radon_velocity`: from an image's pixels and ROIs to velocities, by the Radon transform.
//!
//! This file reads pixels, ROIs and params, and makes the columns of the artifact and of the table. The method is in
//! `kymhost-analysis`.
//!
//! The artifact `radon_velocity/velocity` has one row per window and ROI, the table one summary row per ROI. Both are
//! described in `docs/guides/analyses.md`.

use kymhost_analysis::cells::{known, signed};
use kymhost_analysis::radon::{self, Figures, Image, RadonParams, Velocities};
use kymhost_analysis::roi::{Roi, Voxels};
use kymhost_analysis::{AnalysisError, Work};
use kymhost_plugin_api::array::Element;
use kymhost_plugin_api::prelude::*;

/// The params that users set.
const PARAMS: &str = "radon_velocity/params";
/// The artifact with one row per window and ROI.
const VELOCITY: &str = "radon_velocity/velocity";

struct RadonVelocity;

impl Indexer for RadonVelocity {
    const NAME: &'static str = "radon_velocity";
    const ANALYSIS_VERSION: &'static str = "kymhost.radon_velocity@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[PARAMS];
    const WRITES: &'static [Output] = &[Output::table(VELOCITY)];
    const PARAMS_SCHEMA: &'static str = include_str!("params.schema.json");

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(Json::object([("window_lines", Json::from(params(record)?.window_lines as u64))]))
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let params = params(record)?;
        let metadata = record.metadata()?;
        let of_metadata =
            |error: AnalysisError| Error::msg(format!("{}: {error}", record.key("metadata", ArtifactKind::Json)));
        let mut rois = Roi::of_metadata(metadata.as_ref()).map_err(of_metadata)?;
        // Without pixels nothing was analysed: there are no rows, and no artifact that claims that there are no
        // windows.
        let Some(pixels) = record.pixels()? else { return summary_table(&[]) };
        let voxels = Voxels::of_metadata(metadata.as_ref()).map_err(of_metadata)?;
        let kymograph = Kymograph::new(&pixels)?;
        let image = kymograph.image()?;
        if rois.is_empty() {
            rois.push(Roi::whole(image.lines(), image.width()));
        }
        let count = rois.len() as f64;
        let cancelled = || run.cancelled();
        let mut results = Vec::with_capacity(rois.len());
        for (at, roi) in rois.into_iter().enumerate() {
            let progress = |done: f64| run.progress((at as f64 + done) / count);
            let work = Work::threads(run.threads()).cancelled(&cancelled).progress(&progress);
            let velocities = radon::velocities(&image, &roi, voxels, &params, &work).map_err(|error| match error {
                AnalysisError::Cancelled => Error::new(ErrorKind::Cancelled, "stopped"),
                other => Error::msg(format!("ROI {}: {other}", roi.id)),
            })?;
            let figures = kymograph.figures(&roi);
            results.push(RoiResult { roi, velocities, figures });
        }
        let measured = Measured { voxels, lines: image.lines(), width: image.width() };
        run.put_table(VELOCITY, velocity_table(&results, &Origin::of_record(record)?, measured)?)?;
        summary_table(&results)
    }
}

export_plugin!(RadonVelocity);

/// The params, with defaults for missing ones.
fn params(record: &Record<'_>) -> Result<RadonParams> {
    let Some(given) = record.json(PARAMS)? else { return Ok(RadonParams::default()) };
    RadonParams::of_json(&given)
        .map_err(|error| Error::msg(format!("{}: {error}", record.key(PARAMS, ArtifactKind::Json))))
}

/// An image in the form that the analysis takes.
struct Kymograph {
    values: Vec<f32>,
    /// The exact pixels, if float32 cannot hold all of them.
    exact: Option<Vec<f64>>,
    lines: usize,
    width: usize,
}

impl Kymograph {
    /// Reads the pixels so that rows are time. Axes of length 1 are ignored.
    ///
    /// # Errors
    /// If there are not two axes left, if one of them is `z` or `c`, or if the pixels are complex.
    fn new(pixels: &Array) -> Result<Self> {
        let found = || format!("axes {:?} of lengths {:?}", pixels.axes(), pixels.shape());
        let axes = pixels.shape().iter().zip(pixels.axes());
        let long: Vec<(usize, &str)> = if pixels.shape().len() == 2 {
            axes.map(|(length, name)| (*length, name.as_str())).collect()
        } else {
            axes.filter(|(length, _)| **length != 1).map(|(length, name)| (*length, name.as_str())).collect()
        };
        let [(rows, first), (columns, second)] = long[..] else {
            return Err(Error::msg(format!("expected a kymograph, lines by pixels; found {}", found())));
        };
        // Axes with other names are taken as time and space, in this order.
        let is_turned = first == "x" || second == "t";
        if [first, second].iter().any(|name| ["z", "c"].contains(name)) {
            return Err(Error::msg(format!(
                "expected a kymograph with the axes y x or t x (time, space); found {}",
                found()
            )));
        }
        let floats = |values: Vec<f64>| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let complex = || Error::msg(format!("complex pixels ({}) cannot be analysed", pixels.dtype()));
        let (values, exact) = match pixels.dtype() {
            DType::UInt8 => (widened::<u8>(pixels), None),
            DType::Int8 => (widened::<i8>(pixels), None),
            DType::UInt16 => (widened::<u16>(pixels), None),
            DType::Int16 => (widened::<i16>(pixels), None),
            DType::Float32 => (pixels.to_vec::<f32>(), None),
            _ => {
                let exact = pixels.to_f64_vec().ok_or_else(complex)?;
                (Some(floats(exact.clone())), Some(exact))
            }
        };
        let values = values.ok_or_else(complex)?;
        if is_turned {
            let (values, exact) = (turned(&values, columns), exact.map(|exact| turned(&exact, columns)));
            return Ok(Self { values, exact, lines: columns, width: rows });
        }
        Ok(Self { values, exact, lines: rows, width: columns })
    }

    fn image(&self) -> Result<Image<'_>> {
        Image::new(&self.values, self.lines, self.width).map_err(Error::from)
    }

    /// The figures of the pixels in an ROI, in the precision of the pixels.
    fn figures(&self, roi: &Roi) -> Option<Figures> {
        let (lines, pixels) = roi.within(self.lines, self.width);
        let places = lines.flat_map(move |line| pixels.clone().map(move |pixel| line * self.width + pixel));
        match &self.exact {
            Some(exact) => radon::figures(places.map(|place| exact[place])),
            None => radon::figures(places.map(|place| f64::from(self.values[place]))),
        }
    }
}

fn widened<T: Element + Into<f32>>(pixels: &Array) -> Option<Vec<f32>> {
    Some(pixels.to_vec::<T>()?.into_iter().map(Into::into).collect())
}

/// Transposes rows of `width` values.
fn turned<T: Copy>(values: &[T], width: usize) -> Vec<T> {
    (0..width).flat_map(|column| values.iter().skip(column).step_by(width).copied()).collect()
}

/// The file that an image was read from, if its provenance has it.
#[derive(Default)]
struct Origin {
    folder: Option<String>,
    file: Option<String>,
}

impl Origin {
    fn of_record(record: &Record<'_>) -> Result<Self> {
        let provenance = record.json("provenance")?;
        let path = |name| provenance.as_ref().and_then(|provenance| provenance.get(name)).and_then(Json::as_str);
        Ok(path("source_primary_path").or_else(|| path("original_path")).map_or(Self::default(), Self::of_path))
    }

    /// Accepts the separators of Unix and Windows, because the dataset may come from another system.
    fn of_path(path: &str) -> Self {
        let mut parts = path.rsplit(['/', '\\']).map(|part| (!part.is_empty()).then(|| part.to_owned()));
        let file = parts.next().flatten();
        Self { file, folder: parts.next().flatten() }
    }
}

/// What all ROIs of an image share.
#[derive(Clone, Copy)]
struct Measured {
    voxels: Voxels,
    lines: usize,
    width: usize,
}

struct RoiResult {
    roi: Roi,
    velocities: Velocities,
    figures: Option<Figures>,
}

fn velocity_table(results: &[RoiResult], origin: &Origin, measured: Measured) -> Result<Table> {
    let rows: usize = results.iter().map(|result| result.velocities.len()).sum();
    let of_roi = |value: fn(&Roi) -> Option<i64>| -> Vec<Option<i64>> {
        let repeated = |result: &RoiResult| std::iter::repeat_n(value(&result.roi), result.velocities.len());
        results.iter().flat_map(repeated).collect()
    };
    let windows: Vec<i64> = results.iter().flat_map(|result| (0..).take(result.velocities.len())).collect();
    let times: Vec<f64> = results.iter().flat_map(|result| result.velocities.time_sec.iter().copied()).collect();
    let column = |list: fn(&Velocities) -> Vec<f64>| -> Vec<Option<f64>> {
        results.iter().flat_map(|result| list(&result.velocities)).map(known).collect()
    };
    Table::builder()
        .column("roi_id", of_roi(|roi| Some(roi.id)))?
        .column("channel", of_roi(|roi| roi.channel))?
        .column("window", windows)?
        .column("time", times)?
        .column("theta_deg", column(|velocities| velocities.theta_deg.clone()))?
        .column("velocity_raw", column(|velocities| velocities.raw_mm_s.clone()))?
        .column("velocity", column(|velocities| velocities.velocity_mm_s.clone()))?
        .column("cleanVelocity", column(Velocities::clean_mm_s))?
        .column("absVelocity", column(|velocities| velocities.clean_mm_s().into_iter().map(f64::abs).collect()))?
        .column("algorithm", vec![radon::ALGORITHM; rows])?
        .column("delx", vec![measured.voxels.um_per_pixel; rows])?
        .column("delt", vec![measured.voxels.seconds_per_line; rows])?
        .column("numLines", vec![signed(measured.lines); rows])?
        .column("pntsPerLine", vec![signed(measured.width); rows])?
        .column("parentFolder", vec![origin.folder.clone(); rows])?
        .column("file", vec![origin.file.clone(); rows])?
        .build()
}

fn summary_table(results: &[RoiResult]) -> Result<Table> {
    let summaries: Vec<_> = results.iter().map(|result| radon::summary(&result.velocities.velocity_mm_s)).collect();
    let velocity = |figure: fn(&radon::Summary) -> Option<f64>| -> Vec<Option<f64>> {
        summaries.iter().map(figure).map(|figure| figure.and_then(known)).collect()
    };
    let count = |figure: fn(&radon::Summary) -> usize| -> Vec<i64> {
        summaries.iter().map(|summary| signed(figure(summary))).collect()
    };
    let pixels = |figure: fn(&Figures) -> f64| -> Vec<Option<f64>> {
        results.iter().map(|result| result.figures.as_ref().map(figure)).collect()
    };
    Table::builder()
        .column("roi_id", results.iter().map(|result| result.roi.id).collect::<Vec<_>>())?
        .column("vel_min", velocity(|summary| summary.min))?
        .column("vel_max", velocity(|summary| summary.max))?
        .column("vel_mean", velocity(|summary| summary.mean))?
        .column("vel_std", velocity(|summary| summary.std))?
        .column("vel_se", velocity(|summary| summary.se))?
        .column("vel_cv", velocity(|summary| summary.cv))?
        .column("vel_n_nan", count(|summary| summary.n_nan))?
        .column("vel_n_zero", count(|summary| summary.n_zero))?
        .column("vel_n_big", count(|summary| summary.n_big))?
        .column("img_min", pixels(|figures| figures.min))?
        .column("img_max", pixels(|figures| figures.max))?
        .column("img_mean", pixels(|figures| figures.mean))?
        .column("img_std", pixels(|figures| figures.std))?
        .build()
}

#[cfg(test)]
mod metamorphic;
#[cfg(test)]
mod tests;
