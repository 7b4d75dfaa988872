//! The indexer `radon_velocity`: the speed of blood in each window and ROI of a line scan, and a summary of each ROI.
//!
//! Owns: where pixels, ROIs and params come from, the columns. Never: computes velocities (see `kymhost_analysis::radon`).
//!
//! It writes the table artifact `radon_velocity/velocity`, a row a window and ROI; the dataset table has a row an ROI. An image without
//! ROIs has one over all of it. Methods, params and columns: `docs/analyses.md`.

use kymhost_analysis::radon::{self, ALGORITHM, Image, Params, Velocities};
use kymhost_analysis::roi::{Roi, Voxels};
use kymhost_analysis::{Error as AnalysisError, Work};
use kymhost_plugin_api::TableBuilder;
use kymhost_plugin_api::prelude::*;

/// The artifact of velocities.
const VELOCITY: &str = "radon_velocity/velocity";
/// The artifact of params.
const PARAMS: &str = "radon_velocity/params";

struct RadonVelocity;

export_plugin!(RadonVelocity);

impl Indexer for RadonVelocity {
    const NAME: &'static str = "radon_velocity";
    const ANALYSIS_VERSION: &'static str = "kymhost.radon_velocity@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[PARAMS];
    const WRITES: &'static [Output] = &[Output::table(VELOCITY)];
    const PARAMS_SCHEMA: &'static str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "window_lines": {
      "type": "integer", "minimum": 4, "maximum": 4096, "multipleOf": 4, "default": 16,
      "description": "Lines of a window; a new one begins every quarter of it"
    }
  }
}"#;

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let params = params(record)?;
        let lines = i64::try_from(params.window_lines).map_err(Error::msg)?;
        Ok(Json::object([("window_lines", Json::from(lines))]))
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let params = params(record)?;
        let Some(pixels) = record.pixels()? else { return summaries(&[]) };
        let (values, lines, width) = kymograph(record, &pixels)?;
        let image = Image::new(&values, lines, width)?;
        let metadata = record.metadata()?;
        let mut rois = Roi::of_metadata(metadata.as_ref())?;
        if rois.is_empty() {
            rois.push(Roi::whole(lines, width));
        }
        let voxels = Voxels::of_metadata(metadata.as_ref())?;
        let source = Source::of(record)?;
        let mut done = Vec::with_capacity(rois.len());
        for (place, roi) in rois.iter().enumerate() {
            let progress = |part: f64| run.progress((place as f64 + part) / rois.len() as f64);
            let cancelled = || run.cancelled();
            let work = Work::threads(run.threads()).cancelled(&cancelled).progress(&progress);
            let velocities = radon::velocities(&image, roi, voxels, &params, &work).map_err(error)?;
            let intensity = radon::figures(image.of_roi(roi).map(f64::from).collect::<Vec<_>>().into_iter());
            done.push(Done { roi, velocities, intensity });
        }
        run.put_table(VELOCITY, windows(&done, voxels, (lines, width), &source)?)?;
        summaries(&done)
    }
}

/// One ROI's velocities, and the figures of its pixels.
struct Done<'a> {
    roi: &'a Roi,
    velocities: Velocities,
    intensity: Option<radon::Figures>,
}

fn error(error: AnalysisError) -> Error {
    match error {
        AnalysisError::Cancelled => Error::new(ErrorKind::Cancelled, error),
        other => other.into(),
    }
}

/// The params, defaults included. Unknown and impossible ones are refused.
fn params(record: &Record<'_>) -> Result<Params> {
    let Some(given) = record.json(PARAMS)? else { return Ok(Params::default()) };
    let Some(fields) = given.as_object() else {
        return Err(Error::msg(format!("params: expected an object, found {given}")));
    };
    let mut params = Params::default();
    for (name, value) in fields.iter() {
        match name.as_str() {
            "window_lines" => {
                let lines = value.as_u64().and_then(|lines| usize::try_from(lines).ok());
                let lines = lines.ok_or_else(|| {
                    Error::msg(format!("params: window_lines is {value}; expected a multiple of 4 from 4 to 4096"))
                })?;
                params = Params::window_lines(lines)?;
            }
            _ => return Err(Error::msg(format!("params: '{name}' is unknown; there is only window_lines"))),
        }
    }
    Ok(params)
}

/// The pixels as float32, lines and width: rows are lines in time, columns are space.
fn kymograph(record: &Record<'_>, pixels: &Array) -> Result<(Vec<f32>, usize, usize)> {
    let &[lines, width] = pixels.shape() else {
        let (shape, axes) = (pixels.shape(), pixels.axes());
        let id = record.image_id();
        return Err(Error::msg(format!(
            "image {id} has the shape {shape:?} (axes {axes:?}); a kymograph has two axes, lines and pixels"
        )));
    };
    // Every dtype but complex ones; float64 and integers beyond 2^24 are rounded, as kymflow does.
    let values = pixels.to_f64_vec().ok_or_else(|| {
        Error::msg(format!(
            "the pixels of image {} are {}; a kymograph has real numbers",
            record.image_id(),
            pixels.dtype()
        ))
    })?;
    Ok((values.into_iter().map(|value| value as f32).collect(), lines, width))
}

/// Where the image came from, by its provenance.
#[derive(Default)]
struct Source {
    folder: Option<String>,
    file: Option<String>,
}

impl Source {
    fn of(record: &Record<'_>) -> Result<Self> {
        let Some(provenance) = record.json("provenance")? else { return Ok(Self::default()) };
        let path = ["original_path", "source_primary_path"].iter().find_map(|key| provenance.get(key)?.as_str());
        // Of whichever system the recording was made on.
        let mut parts = path.unwrap_or_default().rsplit(['/', '\\']).map(str::to_owned).filter(|part| !part.is_empty());
        let file = parts.next();
        Ok(Self { folder: parts.next(), file })
    }
}

/// NaN is no value in a table.
fn cells(values: impl IntoIterator<Item = f64>) -> Vec<Option<f64>> {
    values.into_iter().map(|value| (!value.is_nan()).then_some(value)).collect()
}

fn whole(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The artifact: a row a window and ROI.
fn windows(done: &[Done<'_>], voxels: Voxels, (lines, width): (usize, usize), source: &Source) -> Result<Table> {
    let rows: usize = done.iter().map(|one| one.velocities.len()).sum();
    let of_roi = |value: &dyn Fn(&Roi) -> Option<i64>| -> Vec<Option<i64>> {
        done.iter().flat_map(|one| std::iter::repeat_n(value(one.roi), one.velocities.len())).collect()
    };
    let of_windows =
        |values: &dyn Fn(&Velocities) -> Vec<f64>| cells(done.iter().flat_map(|one| values(&one.velocities)));
    let clean = |velocities: &Velocities| velocities.clean_mm_s();
    let absolute = |velocities: &Velocities| velocities.clean_mm_s().into_iter().map(f64::abs).collect();
    let numbers: Vec<i64> = done.iter().flat_map(|one| 0..whole(one.velocities.len())).collect();
    Table::builder()
        .column("roi_id", of_roi(&|roi| Some(roi.id)))?
        .column("channel", of_roi(&|roi| roi.channel))?
        .column("window", numbers)?
        .column("time", of_windows(&|velocities| velocities.time_sec.clone()))?
        .column("theta_deg", of_windows(&|velocities| velocities.theta_deg.clone()))?
        .column("velocity_raw", of_windows(&|velocities| velocities.raw_mm_s.clone()))?
        .column("velocity", of_windows(&|velocities| velocities.velocity_mm_s.clone()))?
        .column("cleanVelocity", of_windows(&clean))?
        .column("absVelocity", of_windows(&absolute))?
        .column("algorithm", vec![ALGORITHM; rows])?
        .column("delx", vec![voxels.um_per_pixel; rows])?
        .column("delt", vec![voxels.seconds_per_line; rows])?
        .column("numLines", vec![whole(lines); rows])?
        .column("pntsPerLine", vec![whole(width); rows])?
        .column("parentFolder", vec![source.folder.clone(); rows])?
        .column("file", vec![source.file.clone(); rows])?
        .build()
}

/// The rows of the dataset table: one an ROI.
fn summaries(done: &[Done<'_>]) -> Result<Table> {
    let all: Vec<radon::Summary> = done.iter().map(|one| radon::summary(&one.velocities.velocity_mm_s)).collect();
    let ids: Vec<i64> = done.iter().map(|one| one.roi.id).collect();
    let mut builder = Table::builder().column("roi_id", ids)?;
    let velocity = |builder: TableBuilder, name: &str, value: &dyn Fn(&radon::Summary) -> Option<f64>| {
        builder.column(name, all.iter().map(value).collect::<Vec<_>>())
    };
    builder = velocity(builder, "vel_min", &|of| of.min)?;
    builder = velocity(builder, "vel_max", &|of| of.max)?;
    builder = velocity(builder, "vel_mean", &|of| of.mean)?;
    builder = velocity(builder, "vel_std", &|of| of.std)?;
    builder = velocity(builder, "vel_se", &|of| of.se)?;
    builder = velocity(builder, "vel_cv", &|of| of.cv)?;
    let count = |value: &dyn Fn(&radon::Summary) -> usize| all.iter().map(|of| whole(value(of))).collect::<Vec<_>>();
    builder = builder
        .column("vel_n_nan", count(&|of| of.n_nan))?
        .column("vel_n_zero", count(&|of| of.n_zero))?
        .column("vel_n_big", count(&|of| of.n_big))?;
    let intensity = |value: &dyn Fn(&radon::Figures) -> f64| -> Vec<Option<f64>> {
        done.iter().map(|one| one.intensity.as_ref().map(value)).collect()
    };
    builder
        .column("img_min", intensity(&|of| of.min))?
        .column("img_max", intensity(&|of| of.max))?
        .column("img_mean", intensity(&|of| of.mean))?
        .column("img_std", intensity(&|of| of.std))?
        .build()
}

#[cfg(test)]
mod tests;
