//! The indexer `radon`: the rows of an image's existing radon analysis, one or more per region of interest.
//!
//! This file knows where params and results are kept, and the order of the columns. It does not compute velocities.

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use kymhost_plugin_api::prelude::*;
use std::sync::Arc;

/// Added as the last column if the artifact lacks it.
const ROI_ID: &str = "roi_id";
/// The host adds these columns to every table.
const PROVENANCE: [&str; 3] = ["image_id", "analysis_version", "params_hash"];
/// The Parquet artifacts that hold results.
const PARQUET: [&str; 3] = ["radon/results", "radon_report", "radon"];
/// The CSV artifacts that hold results, used if there is no Parquet.
const CSV: [&str; 2] = ["radon/results", "radon"];

struct Radon;

impl Indexer for Radon {
    const NAME: &'static str = "radon";
    const ANALYSIS_VERSION: &'static str = "kymflow.radon@0.1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &["radon/params", "radon_params", "radon.params"];

    /// The first params artifact that is an object (or an empty object), and the regions of interest.
    fn params(&self, record: &Record<'_>) -> Result<Json> {
        let mut params = Json::object::<&str>([]);
        for name in Self::PARAMS_ARTIFACTS {
            if let Some(found @ Json::Object(_)) = record.json(name)? {
                params = found;
                break;
            }
        }
        Ok(Json::object([("params", params), ("rois", rois(record.metadata()?))]))
    }

    fn extract_rows(&self, record: &Record<'_>, _run: &Run<'_>) -> Result<Table> {
        let rows = match results(record)? {
            Some(table) => table.into_batch()?,
            None => RecordBatch::new_empty(Arc::new(Schema::empty())),
        };
        Table::from_batch(arrange(&rows)?)
    }
}

export_plugin!(Radon);

/// The regions of interest in the metadata that are objects.
fn rois(metadata: Option<Json>) -> Json {
    let Some(Json::Object(mut fields)) = metadata else { return Json::Array(Vec::new()) };
    match fields.swap_remove("rois") {
        Some(Json::Array(mut rois)) => {
            rois.retain(|roi| roi.as_object().is_some());
            Json::Array(rois)
        }
        _ => Json::Array(Vec::new()),
    }
}

/// The first results that exist: Parquet before CSV.
fn results(record: &Record<'_>) -> Result<Option<Table>> {
    let parquet = PARQUET.iter().map(|name| record.parquet(name));
    let csv = CSV.iter().map(|name| record.csv(name));
    parquet.chain(csv).find_map(Result::transpose).transpose()
}

/// The columns in their order, without those of the host, and with `roi_id` at the end if it is absent.
fn arrange(rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema_ref();
    let (mut fields, mut columns): (Vec<FieldRef>, Vec<ArrayRef>) = schema
        .fields()
        .iter()
        .zip(rows.columns())
        .filter(|(field, _)| !PROVENANCE.contains(&field.name().as_str()))
        .map(|(field, values)| (field.clone(), values.clone()))
        .unzip();
    if schema.column_with_name(ROI_ID).is_none() {
        fields.push(Arc::new(Field::new(ROI_ID, DataType::Null, true)));
        columns.push(new_null_array(&DataType::Null, rows.num_rows()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

#[cfg(test)]
mod tests;
