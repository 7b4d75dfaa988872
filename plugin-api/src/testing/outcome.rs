//! The result of an extraction in a test: rows or error, params, artifacts, log, and what was read or looked up but
//! absent.
//!
//! This file does not decide how an indexer is called.

use crate::array::Array;
use crate::{Artifact, ArtifactKind, Error, ErrorKind, Json, LogLevel, Result, Table};
use std::fmt;

#[cfg(feature = "_cast")]
use arrow_array::types::{Float64Type, Int64Type};
#[cfg(feature = "_cast")]
use arrow_array::{cast::AsArray as _, Array as _, ArrayRef, RecordBatch, RecordBatchOptions};
#[cfg(feature = "_cast")]
use arrow_cast::{cast, cast_with_options, CastOptions};
#[cfg(feature = "_cast")]
use arrow_schema::{DataType, Schema};
#[cfg(feature = "_cast")]
use std::sync::Arc;

/// The result of one extraction, from [`TestHost::extract`](super::TestHost::extract).
#[derive(Debug)]
pub struct Outcome {
    pub(super) image_id: String,
    pub(super) rows: Result<Rows>,
    pub(super) params: Result<Json>,
    pub(super) params_hash: Result<String>,
    pub(super) read: Vec<String>,
    pub(super) missed: Vec<String>,
    pub(super) log: Vec<(LogLevel, String)>,
    pub(super) progress: Vec<f64>,
    pub(super) artifacts: Vec<Artifact>,
    /// The contents of `artifacts`, in the same order.
    pub(super) contents: Vec<OutputContent>,
}

/// An artifact that an indexer handed over.
#[derive(Debug)]
pub(super) enum OutputContent {
    Json(Json),
    Table(Rows),
    Array(Array),
}

#[cfg(feature = "_cast")]
impl OutputContent {
    /// Whether both are the same, bit for bit: a `NaN` is the same as itself.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Json(one), Self::Json(other)) => one.to_file_text() == other.to_file_text(),
            (Self::Table(one), Self::Table(other)) => one.batch() == other.batch(),
            (Self::Array(one), Self::Array(other)) => one == other,
            _ => false,
        }
    }
}

impl Outcome {
    /// The rows.
    ///
    /// # Panics
    /// If the image failed; the message has the error.
    #[track_caller]
    pub fn rows(&self) -> &Rows {
        match &self.rows {
            Ok(rows) => rows,
            Err(error) => panic!("{} failed: {error:?}", self.image_id),
        }
    }

    /// Why the image failed.
    ///
    /// # Panics
    /// If it did not fail; the message has the rows.
    #[track_caller]
    pub fn error(&self) -> &Error {
        match &self.rows {
            Err(error) => error,
            Ok(rows) => panic!("{} did not fail, it has the rows\n{rows}", self.image_id),
        }
    }

    /// The rows, or why the image failed.
    pub fn result(&self) -> Result<&Rows, &Error> {
        self.rows.as_ref()
    }

    /// Turns the outcome into the rows.
    ///
    /// # Errors
    /// Why the image failed.
    pub fn into_table(self) -> Result<Table> {
        self.rows?.into_table()
    }

    /// The params.
    ///
    /// # Panics
    /// If `params` failed; the message has the error.
    #[track_caller]
    pub fn params(&self) -> &Json {
        match &self.params {
            Ok(params) => params,
            Err(error) => panic!("the params of {} failed: {error:?}", self.image_id),
        }
    }

    /// The params hash.
    ///
    /// # Panics
    /// If `params_hash` failed; the message has the error.
    #[track_caller]
    pub fn params_hash(&self) -> &str {
        match &self.params_hash {
            Ok(hash) => hash,
            Err(error) => panic!("the params hash of {} failed: {error:?}", self.image_id),
        }
    }

    /// What `params`, `params_hash` and `extract_rows` read of the record: the method of [`Record`](crate::Record)
    /// and the name, sorted, each once. `table` appears as `parquet` or `csv`, `metadata` as `json metadata`.
    ///
    /// In kymhost, the image is analysed again if any of it changes. The indexer's own run marker is not included.
    pub fn read(&self) -> &[String] {
        &self.read
    }

    /// What was looked up but absent, in the same form. In kymhost, the image is analysed again if any of it appears.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    /// The artifacts that were handed over with [`Run::put_json`](crate::Run::put_json) and the like, in the order of
    /// the indexer's `WRITES`. It is empty if the image failed, because the host discards them then.
    pub fn artifacts(&self) -> &[Artifact] {
        &self.artifacts
    }

    #[track_caller]
    fn put(&self, name: &str, kind: ArtifactKind) -> &OutputContent {
        let mut both = self.artifacts.iter().zip(&self.contents);
        match both.find(|(artifact, _)| artifact.name == name && artifact.kind == kind) {
            Some((_, put)) => put,
            None => panic!("no artifact '{name}' ({kind:?}) was handed over, but {:?}", self.artifacts),
        }
    }

    /// A JSON artifact that was handed over.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn json(&self, name: &str) -> &Json {
        match self.put(name, ArtifactKind::Json) {
            OutputContent::Json(value) => value,
            other => panic!("'{name}' is {other:?}"),
        }
    }

    /// A table artifact that was handed over.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn table(&self, name: &str) -> &Rows {
        match self.put(name, ArtifactKind::Parquet) {
            OutputContent::Table(rows) => rows,
            other => panic!("'{name}' is {other:?}"),
        }
    }

    /// An array artifact that was handed over.
    ///
    /// # Panics
    /// If there is none of this name.
    #[track_caller]
    pub fn array(&self, name: &str) -> &Array {
        match self.put(name, ArtifactKind::Array) {
            OutputContent::Array(array) => array,
            other => panic!("'{name}' is {other:?}"),
        }
    }

    /// The lines of the log, in the order in which they were written.
    pub fn log(&self) -> &[(LogLevel, String)] {
        &self.log
    }

    /// The fractions that were reported, in the order in which they came.
    pub fn progress(&self) -> &[f64] {
        &self.progress
    }
}

/// Rows, checked as the host checks them.
///
/// A column is a `Vec` with one `Option` per row, which can be compared with an array: `assert_eq!(rows.f64("mean"),
/// [Some(0.5), None])`. `NaN` is a value, not a missing one, and equals nothing.
pub struct Rows {
    columns: Vec<String>,
    #[cfg(feature = "_cast")]
    batch: RecordBatch,
    #[cfg(not(feature = "_cast"))]
    table: Table,
}

impl Rows {
    /// Checks an indexer's rows.
    pub(super) fn new(table: Table) -> Result<Self> {
        let columns = table.column_names();
        let bad = |why: String| Err(Error::new(ErrorKind::BadTable, why));
        #[cfg(feature = "_cast")]
        let batch = table.into_batch()?;
        for (place, name) in columns.iter().enumerate() {
            if name.is_empty() {
                return bad(format!("column {} of {} has no name", place + 1, columns.len()));
            }
            if columns.iter().take(place).any(|before| before == name) {
                return bad(format!("there are two columns '{name}'"));
            }
        }
        #[cfg(feature = "_cast")]
        return Ok(Self { columns, batch: plain(batch) });
        #[cfg(not(feature = "_cast"))]
        return Ok(Self { columns, table });
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        #[cfg(feature = "_cast")]
        return self.batch.num_rows();
        #[cfg(not(feature = "_cast"))]
        return self.table.num_rows();
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns, in their order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    fn into_table(self) -> Result<Table> {
        #[cfg(feature = "_cast")]
        return Table::from_batch(self.batch);
        #[cfg(not(feature = "_cast"))]
        return Ok(self.table);
    }
}

#[cfg(feature = "_cast")]
impl Rows {
    /// The rows as an Arrow batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    #[track_caller]
    fn column(&self, name: &str) -> &ArrayRef {
        match self.batch.column_by_name(name) {
            Some(column) => column,
            None => panic!("there is no column '{name}' among {:?}", self.columns),
        }
    }

    /// A column converted to another type, which must hold all of its values.
    #[track_caller]
    fn column_as(&self, name: &str, to: &DataType, fits: fn(&DataType) -> bool) -> ArrayRef {
        let column = self.column(name);
        let is = column.data_type();
        assert!(fits(is) || *is == DataType::Null, "column '{name}' is {is}, not {to}");
        match cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() }) {
            Ok(column) => column,
            Err(error) => panic!("column '{name}' does not fit {to}: {error}"),
        }
    }

    /// A column of floats of any width.
    ///
    /// # Panics
    /// If there is no such column, or it has another type.
    #[track_caller]
    pub fn f64(&self, name: &str) -> Vec<Option<f64>> {
        let column = self.column_as(name, &DataType::Float64, DataType::is_floating);
        column.as_primitive::<Float64Type>().iter().collect()
    }

    /// A column of integers of any width and sign.
    ///
    /// # Panics
    /// If there is no such column, it has another type, or a value does not fit.
    #[track_caller]
    pub fn i64(&self, name: &str) -> Vec<Option<i64>> {
        let column = self.column_as(name, &DataType::Int64, DataType::is_integer);
        column.as_primitive::<Int64Type>().iter().collect()
    }

    /// A column of truth values.
    ///
    /// # Panics
    /// If there is no such column, or it has another type.
    #[track_caller]
    pub fn bool(&self, name: &str) -> Vec<Option<bool>> {
        let column = self.column_as(name, &DataType::Boolean, |is| *is == DataType::Boolean);
        column.as_boolean().iter().collect()
    }

    /// A column of text.
    ///
    /// # Panics
    /// If there is no such column, or it has another type.
    #[track_caller]
    pub fn text(&self, name: &str) -> Vec<Option<&str>> {
        let column = self.column(name);
        match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().iter().collect(),
            DataType::LargeUtf8 => column.as_string::<i64>().iter().collect(),
            DataType::Null => vec![None; column.len()],
            other => panic!("column '{name}' is {other}, not text"),
        }
    }
}

/// The rows as lines of cells, for messages.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.columns.join(" | "))?;
        #[cfg(feature = "_cast")]
        {
            use arrow_cast::display::{ArrayFormatter, FormatOptions};
            let options = FormatOptions::new().with_null("-");
            let columns = self.batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
            let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|_| fmt::Error)?;
            for row in 0..self.len() {
                let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
                write!(f, "\n{}", cells.join(" | "))?;
            }
        }
        #[cfg(not(feature = "_cast"))]
        write!(f, "\n({} rows)", self.len())?;
        Ok(())
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The rows without dictionaries, run ends and views, because the host does not keep tables in these forms.
#[cfg(feature = "_cast")]
pub(super) fn plain(rows: RecordBatch) -> RecordBatch {
    let to = |is: &DataType| match is {
        DataType::Dictionary(_, values) => Some(values.as_ref().clone()),
        DataType::RunEndEncoded(_, values) => Some(values.data_type().clone()),
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        _ => None,
    };
    let schema = rows.schema();
    let cells = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        let made = to(column.data_type()).and_then(|to| cast(column, &to).ok());
        let column = made.unwrap_or_else(|| Arc::clone(column));
        (Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone())), column)
    });
    let (fields, columns): (Vec<_>, Vec<_>) = cells.unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap_or(rows)
}
