//! The viewer table: one row per image, with what a person wants to know about it.
//!
//! If something of an image cannot be read, its cells are missing and the column `error` says why.

use crate::dataset::Dataset;
use crate::error::DatasetError;
use crate::well_known::{IMAGE_ID, METADATA, PROVENANCE};
use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema};
use kymhost_plugin_api::Json;
use kymhost_store::threads::on_threads;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The viewer table.
#[derive(Debug)]
pub struct View {
    /// One row per image, in id order.
    pub rows: RecordBatch,
    /// Images of which something cannot be read.
    pub broken_images: usize,
    /// Tables that cannot be read, and why; their counts are missing.
    pub broken_tables: Vec<(String, String)>,
}

/// What is reported of one image.
#[derive(Debug, Clone, Default)]
struct ViewerRow {
    original_path: Option<String>,
    acquired_ns: Option<i64>,
    shape: Option<String>,
    dtype: Option<String>,
    axes: Option<String>,
    rois: Option<i64>,
    notes: Option<String>,
    has_metadata: Option<bool>,
    has_voxels: Option<bool>,
    has_experiment: Option<bool>,
    has_rois: Option<bool>,
    has_provenance: Option<bool>,
    errors: Vec<String>,
}

impl Dataset {
    /// Makes the viewer table. Each table's ids are read once, each image's small documents too, by several threads.
    ///
    /// # Errors
    /// If the images or tables cannot be listed.
    pub fn view(&self) -> Result<View, DatasetError> {
        let ids = self.image_ids()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let parts = on_threads(threads.min(ids.len()).saturating_sub(1), || {
            let mut lines = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(id) = ids.get(place) else { return lines };
                lines.push((place, self.line(id)));
            }
        });
        let mut lines = parts.concat();
        lines.sort_unstable_by_key(|(place, _)| *place);
        let lines: Vec<ViewerRow> = lines.into_iter().map(|(_, line)| line).collect();
        let (mut counted, mut broken_tables) = (Vec::new(), Vec::new());
        for table in self.table_names()? {
            match self.rows_of_images(&table) {
                Ok(counts) => counted.push((table, Some(counts))),
                Err(error) => {
                    broken_tables.push((table.clone(), error.to_string()));
                    counted.push((table, None));
                }
            }
        }
        let broken_images = lines.iter().filter(|line| !line.errors.is_empty()).count();
        let rows = batch(&ids, &lines, &counted)
            .map_err(|error| DatasetError::Unwritable { key: "the viewer table".to_owned(), why: error.to_string() })?;
        Ok(View { rows, broken_images, broken_tables })
    }

    /// How many rows a table has of each image; empty if the table has no ids.
    fn rows_of_images(&self, table: &str) -> Result<HashMap<String, i64>, DatasetError> {
        let mut counts = HashMap::new();
        let Some(file) = self.open_table(table)? else { return Ok(counts) };
        for rows in file.all_batches(Some(&[IMAGE_ID]), usize::MAX)? {
            let rows = rows?;
            let Some(column) = rows.column_by_name(IMAGE_ID).map(crate::cells::Column::new) else { return Ok(counts) };
            for row in 0..rows.num_rows() {
                if let Some(id) = column.text(row) {
                    match counts.get_mut(id.as_ref()) {
                        Some(count) => *count += 1,
                        None => drop(counts.insert(id.into_owned(), 1)),
                    }
                }
            }
        }
        Ok(counts)
    }

    fn line(&self, id: &str) -> ViewerRow {
        let mut line = ViewerRow::default();
        let mut failed = |error: DatasetError| line.errors.push(error.to_string());
        let info = self.pixels_info(id).map_err(&mut failed).ok();
        let record = self.record(id).map_err(&mut failed).ok();
        let mut document = |name: &str| record.as_ref().and_then(|record| record.json(name).map_err(&mut failed).ok());
        let (metadata, provenance) = (document(METADATA), document(PROVENANCE));
        match info {
            Some(Some(info)) => {
                let lengths: Vec<String> = info.shape.iter().map(usize::to_string).collect();
                line.shape = Some(lengths.join(" x "));
                line.dtype = Some(info.dtype.name().to_owned());
                line.axes = Some(info.axes.join(" "));
            }
            Some(None) => line.errors.push("it has no pixels".to_owned()),
            None => {}
        }
        if let Some(metadata) = metadata {
            line.has_metadata = Some(metadata.is_some());
            line.add_metadata(metadata.as_ref().unwrap_or(&Json::Null));
        }
        if let Some(provenance) = provenance {
            line.has_provenance = Some(provenance.is_some());
            let path = ["original_path", "source_primary_path"]
                .iter()
                .find_map(|name| provenance.as_ref()?.get(name)?.as_str());
            line.original_path = path.map(str::to_owned);
        }
        line
    }
}

/// A time in nanoseconds: an integer, or a float that is one.
pub fn epoch_ns(json: &Json) -> Option<i64> {
    let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64);
    json.as_i64().or_else(|| json.as_f64().and_then(whole))
}

impl ViewerRow {
    fn add_metadata(&mut self, metadata: &Json) {
        let errors = &mut self.errors;
        let mut wrong = |what: &str, expected: &str| {
            errors.push(format!("its artifact '{METADATA}' cannot be used: {what}, expected {expected}"));
        };
        let member = |name: &str| metadata.get(name).filter(|value| !value.is_null());
        if metadata.as_object().is_none() && !metadata.is_null() {
            wrong("it is not an object", "an object");
        }
        for name in ["header", "experiment_metadata"] {
            if member(name).is_some_and(|value| value.as_object().is_none()) {
                wrong(&format!("'{name}' is not an object"), "an object");
            }
        }
        if member("rois").is_some_and(|rois| rois.as_array().is_none()) {
            wrong("'rois' is not a list", "a list");
        }
        let acquired = member("header").and_then(|header| header.get("acquired_local_epoch_ns"));
        let acquired = acquired.filter(|time| !time.is_null());
        self.acquired_ns = acquired.and_then(epoch_ns);
        if acquired.is_some() && self.acquired_ns.is_none() {
            wrong("'acquired_local_epoch_ns' is not an integer", "nanoseconds");
        }
        let experiment = member("experiment_metadata").and_then(Json::as_object);
        self.has_voxels =
            Some(member("header").and_then(|header| header.get("voxels")).is_some_and(|voxels| !voxels.is_null()));
        let said = |value: &Json| !value.is_null() && value.as_str() != Some("");
        self.has_experiment = Some(experiment.is_some_and(|members| members.values().any(said)));
        // What is not a list of ROIs gives no number of them.
        if member("rois").is_none_or(|rois| rois.as_array().is_some()) {
            let rois = member("rois").and_then(Json::as_array).unwrap_or_default();
            self.rois = Some(i64::try_from(rois.len()).unwrap_or(i64::MAX));
            self.has_rois = Some(!rois.is_empty());
        }
        let note = ["note", "notes"].iter().find_map(|name| experiment?.get(*name)?.as_str());
        self.notes = note.filter(|note| !note.is_empty()).map(str::to_owned);
    }
}

fn batch(
    ids: &[String],
    lines: &[ViewerRow],
    tables: &[(String, Option<HashMap<String, i64>>)],
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let texts =
        |of: fn(&ViewerRow) -> Option<&str>| -> ArrayRef { Arc::new(StringArray::from_iter(lines.iter().map(of))) };
    let ints =
        |of: fn(&ViewerRow) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(lines.iter().map(of))) };
    let bools =
        |of: fn(&ViewerRow) -> Option<bool>| -> ArrayRef { Arc::new(BooleanArray::from_iter(lines.iter().map(of))) };
    let errors = lines.iter().map(|line| (!line.errors.is_empty()).then(|| line.errors.join("; ")));
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (IMAGE_ID.to_owned(), Arc::new(StringArray::from_iter_values(ids))),
        ("original_path".to_owned(), texts(|line| line.original_path.as_deref())),
        (
            "acquired_local".to_owned(),
            Arc::new(TimestampNanosecondArray::from_iter(lines.iter().map(|line| line.acquired_ns))),
        ),
        ("shape".to_owned(), texts(|line| line.shape.as_deref())),
        ("dtype".to_owned(), texts(|line| line.dtype.as_deref())),
        ("axes".to_owned(), texts(|line| line.axes.as_deref())),
        ("n_rois".to_owned(), ints(|line| line.rois)),
        ("notes".to_owned(), texts(|line| line.notes.as_deref())),
        ("has_metadata".to_owned(), bools(|line| line.has_metadata)),
        ("has_voxels".to_owned(), bools(|line| line.has_voxels)),
        ("has_experiment_metadata".to_owned(), bools(|line| line.has_experiment)),
        ("has_rois".to_owned(), bools(|line| line.has_rois)),
        ("has_provenance".to_owned(), bools(|line| line.has_provenance)),
        ("acquired_local_epoch_ns".to_owned(), ints(|line| line.acquired_ns)),
    ];
    for (table, counts) in tables {
        let rows = ids.iter().map(|id| counts.as_ref().map(|counts| counts.get(id).copied().unwrap_or(0)));
        columns.push((format!("n_rows_{table}"), Arc::new(Int64Array::from_iter(rows))));
    }
    columns.push(("error".to_owned(), Arc::new(StringArray::from_iter(errors))));
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
}
