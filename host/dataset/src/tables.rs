//! Tables as Parquet, readable by pandas: limits, codecs, the `pandas` metadata, missing values.
//!
//! A panic of the parquet crate on corrupt bytes becomes an error.

use crate::limits::{MAX_TABLE_BYTES, MAX_TABLE_ROWS};
use crate::zstd_pages;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type, Schema};
use bytes::Bytes;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;
use kymhost_store::StoredFile;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, Length};
use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Rows that are unpacked at a time, so that a wrong row count cannot make us allocate much.
const BATCH_ROWS: usize = 1 << 18;
/// pandas' description of a table, in the file's metadata.
pub(crate) const PANDAS: &str = "pandas";

/// What pandas names row labels without a name, if it writes them. They are not a column to pandas and get lost when
/// it writes again.
pub(crate) const NAMELESS_INDEX: &str = "__index_level_";

/// What a table is kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableForm {
    /// A dataset table: SNAPPY.
    Dataset,
    /// An image's artifact: ZSTD.
    Artifact,
}

/// A file of the store, as the parquet crate reads it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Chunks {
    file: Arc<Mutex<Box<dyn StoredFile>>>,
    size: u64,
}

impl Chunks {
    pub(crate) fn new(file: Box<dyn StoredFile>) -> Self {
        let size = file.stat().size;
        Self { file: Arc::new(Mutex::new(file)), size }
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Box<dyn StoredFile>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner).try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(file))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF(format!("bytes {start}..+{length} of a file of {}", self.size)));
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::with_capacity(length);
        Read::take(&mut *file, length as u64).read_to_end(&mut bytes)?;
        if bytes.len() != length {
            return Err(ParquetError::EOF(format!("the file ended within bytes {start}..+{length}")));
        }
        Ok(bytes.into())
    }
}

/// Runs a piece of the parquet or zarrs crates; a panic is an error with its text.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(format!("it is corrupt (the reader panicked: {text})"))
    })
}

/// A whole table, or those of `columns` that it has, in its own order.
pub(crate) fn read(source: impl ChunkReader + 'static, columns: Option<&[&str]>) -> Result<RecordBatch, String> {
    guarded(|| read_unguarded(builder(source)?, columns, None))
}

/// A whole table that is in memory, as artifacts are: mostly small, and there may be many.
pub(crate) fn read_artifact(bytes: Bytes) -> Result<RecordBatch, String> {
    guarded(|| {
        let builder = builder(bytes.clone())?;
        let ours = zstd_pages::fits(builder.metadata()).then(|| Arc::new(bytes));
        read_unguarded(builder, None, ours)
    })
}

/// The rows of a Parquet file that is not a key of a dataset.
pub fn parse_parquet(bytes: Vec<u8>) -> Result<RecordBatch, String> {
    read_artifact(bytes.into())
}

/// How many rows a table has, from its metadata alone.
pub(crate) fn row_count(source: impl ChunkReader + 'static) -> Result<u64, String> {
    guarded(|| {
        let builder = builder(source)?;
        u64::try_from(builder.metadata().file_metadata().num_rows()).map_err(|_| "a negative number of rows".to_owned())
    })
}

fn builder<R: ChunkReader + 'static>(source: R) -> Result<ParquetRecordBatchReaderBuilder<R>, String> {
    let plain = |error: ParquetError| match error {
        ParquetError::General(text) => text,
        other => other.to_string(),
    };
    let metadata = ArrowReaderMetadata::load(&source, ArrowReaderOptions::new()).map_err(plain)?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(source, without_dictionaries(metadata).map_err(plain)?))
}

/// A file's metadata, for reading its columns as what they are.
pub(crate) fn without_dictionaries(mut metadata: ArrowReaderMetadata) -> Result<ArrowReaderMetadata, ParquetError> {
    let schema = metadata.schema();
    // Categories and views are read as plain values: the parquet crate cannot read categories that are all missing.
    if schema.fields().iter().any(|field| plain_type(field.data_type()) != field.data_type()) {
        let fields = schema.fields().iter().map(|field| {
            let kind = plain_type(field.data_type()).clone();
            Arc::new(field.as_ref().clone().with_data_type(kind))
        });
        let schema = Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?;
    }
    Ok(metadata)
}

/// `ours`: the file again, if [`zstd_pages`] unpacks it; then all columns are read.
fn read_unguarded<R: ChunkReader + 'static>(
    builder: ParquetRecordBatchReaderBuilder<R>,
    columns: Option<&[&str]>,
    ours: Option<Arc<R>>,
) -> Result<RecordBatch, String> {
    let chosen: Vec<usize> = match columns {
        None => {
            let fields = builder.schema().fields().iter().enumerate();
            fields.filter(|(_, field)| !field.name().starts_with(NAMELESS_INDEX)).map(|(at, _)| at).collect()
        }
        Some(names) => builder
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| names.contains(&field.name().as_str()))
            .map(|(at, _)| at)
            .collect(),
    };
    let mask = ProjectionMask::roots(builder.parquet_schema(), chosen.iter().copied());

    let metadata = builder.metadata();
    let rows = metadata.file_metadata().num_rows();
    if !(0..=MAX_TABLE_ROWS).contains(&rows) {
        return Err(format!("it claims {rows} rows; kymhost takes up to {MAX_TABLE_ROWS}"));
    }
    let mut declared = 0u64;
    for group in metadata.row_groups() {
        for (leaf, column) in group.columns().iter().enumerate() {
            if mask.leaf_included(leaf) {
                declared = declared.saturating_add(u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX));
            }
        }
    }
    if declared > MAX_TABLE_BYTES {
        return Err(too_large());
    }

    let schema = Arc::clone(builder.schema());
    let rows = usize::try_from(rows).map_err(|_| too_large())?;
    let batch_rows = rows.clamp(1, BATCH_ROWS);
    let reader = match ours {
        Some(source) => zstd_pages::reader(source, Arc::clone(builder.metadata()), schema.fields(), batch_rows),
        None => builder.with_projection(mask).with_batch_size(batch_rows).build(),
    };
    let reader = reader.map_err(|error| error.to_string())?;

    let mut pieces: Vec<Vec<ArrayRef>> = vec![Vec::new(); chosen.len()];
    let mut found = 0usize;
    let mut taken = 0u64;
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        found += batch.num_rows();
        for (column, pieces) in batch.columns().iter().zip(&mut pieces) {
            let column = plain(column)?;
            taken = taken.saturating_add(column.get_array_memory_size() as u64);
            pieces.push(column);
        }
        if taken > MAX_TABLE_BYTES {
            return Err(too_large());
        }
    }

    let mut fields = Vec::with_capacity(chosen.len());
    let mut arrays = Vec::with_capacity(chosen.len());
    // Column by column: the pieces of one are freed before the next is joined.
    for (at, pieces) in chosen.into_iter().zip(pieces) {
        let field = schema.field(at);
        let kind = plain_type(field.data_type());
        arrays.push(match pieces.as_slice() {
            [] => arrow::array::new_empty_array(kind),
            [only] => Arc::clone(only),
            many => concat(&many.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map_err(|error| error.to_string())?,
        });
        fields.push(Field::new(field.name(), kind.clone(), true));
    }
    let kept: HashMap<String, String> =
        schema.metadata().iter().filter(|(key, _)| *key == PANDAS).map(|(k, v)| (k.clone(), v.clone())).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, kept));
    let options = RecordBatchOptions::new().with_row_count(Some(found));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|error| error.to_string())
}

pub(crate) fn too_large() -> String {
    format!("it unpacks to more than {MAX_TABLE_BYTES} bytes, kymhost's limit")
}

/// The type that a column has once dictionaries and views, which say how values are held and not what they are, are
/// cast away.
pub(crate) fn plain_type(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, values) => plain_type(values),
        // The large forms: a view's bytes may be more than small offsets reach.
        DataType::Utf8View => &DataType::LargeUtf8,
        DataType::BinaryView => &DataType::LargeBinary,
        other => other,
    }
}

/// A column of categories or views as plain values.
pub(crate) fn plain(column: &ArrayRef) -> Result<ArrayRef, String> {
    let kind = plain_type(column.data_type());
    let column = match column.data_type() {
        // Category by category first: Arrow does not cast from a dictionary to every type.
        DataType::Dictionary(_, values) => plain(&cast(column, values).map_err(|error| error.to_string())?)?,
        _ => Arc::clone(column),
    };
    if kind == column.data_type() {
        return Ok(column);
    }
    cast(&column, kind).map_err(|error| error.to_string())
}

/// Missing numbers are nulls in files, never `NaN`.
pub(crate) fn without_nan(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            if values.values().iter().any(|value| value.is_nan()) {
                return Arc::new(values.unary_opt::<_, Float64Type>(|value| (!value.is_nan()).then_some(value)));
            }
        }
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            if values.values().iter().any(|value| value.is_nan()) {
                return Arc::new(values.unary_opt::<_, Float32Type>(|value| (!value.is_nan()).then_some(value)));
            }
        }
        DataType::Float16 => {
            let values = column.as_primitive::<Float16Type>();
            if values.values().iter().any(|value| value.is_nan()) {
                return Arc::new(values.unary_opt::<_, Float16Type>(|value| (!value.is_nan()).then_some(value)));
            }
        }
        _ => {}
    }
    Arc::clone(column)
}

/// Rows as they are kept: all columns optional, no dictionaries, no `NaN`, and of pandas' metadata only what is still
/// true.
pub(crate) fn prepare(rows: &RecordBatch) -> Result<RecordBatch, String> {
    let schema = rows.schema();
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        if !names.insert(field.name()) {
            return Err(format!("two columns are named '{}'", field.name()));
        }
        let column = without_nan(&plain(column)?);
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let metadata = schema.metadata().get(PANDAS).and_then(|text| still_true(text, &fields));
    let metadata: HashMap<String, String> = metadata.map(|text| (PANDAS.to_owned(), text)).into_iter().collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| error.to_string())
}

/// pandas' metadata, cut down to the columns that need it: those of a nullable type (`Int64`, `boolean` …), which the
/// Arrow type alone would not give back. `None` when there are none: a file without it is read right by its Arrow
/// types.
pub(crate) fn still_true(text: &str, fields: &[Field]) -> Option<String> {
    let old = Json::parse(text.as_bytes()).ok()?;
    let mut described = HashMap::new();
    for entry in old.get("columns").and_then(Json::as_array).unwrap_or_default() {
        let name = entry.get("name").and_then(Json::as_str);
        let field = entry.get("field_name").and_then(Json::as_str).or(name);
        if let Some(name) = name.filter(|_| name == field) {
            described.entry(name).or_insert(entry);
        }
    }
    let mut columns = Vec::new();
    for field in fields {
        let Some(&entry) = described.get(field.name().as_str()) else { continue };
        let Some(numpy) = entry.get("numpy_type").and_then(Json::as_str) else { continue };
        if nullable_type(field.data_type()) == Some(numpy) {
            columns.push(entry.clone());
        }
    }
    if columns.is_empty() {
        return None;
    }
    let mut new = Object::new();
    new.insert("index_columns".to_owned(), Json::Array(Vec::new()));
    new.insert("column_indexes".to_owned(), Json::Array(Vec::new()));
    new.insert("columns".to_owned(), Json::Array(columns));
    let version = old.get("pandas_version").cloned().unwrap_or(Json::Null);
    new.insert("pandas_version".to_owned(), version);
    Some(Json::Object(new).to_string())
}

/// What pandas calls its nullable type over an Arrow type.
fn nullable_type(kind: &DataType) -> Option<&'static str> {
    Some(match kind {
        DataType::Int8 => "Int8",
        DataType::Int16 => "Int16",
        DataType::Int32 => "Int32",
        DataType::Int64 => "Int64",
        DataType::UInt8 => "UInt8",
        DataType::UInt16 => "UInt16",
        DataType::UInt32 => "UInt32",
        DataType::UInt64 => "UInt64",
        DataType::Float32 => "Float32",
        DataType::Float64 => "Float64",
        DataType::Boolean => "boolean",
        _ => return None,
    })
}

/// The bytes of a table artifact with these rows.
pub(crate) fn artifact_bytes(rows: &RecordBatch) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    write(&prepare(rows)?, TableForm::Artifact, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Writes rows that [`prepare`] made.
pub(crate) fn write(rows: &RecordBatch, form: TableForm, to: impl Write + Send) -> io::Result<()> {
    let compression = match form {
        TableForm::Dataset => Compression::SNAPPY,
        TableForm::Artifact => Compression::ZSTD(ZstdLevel::default()),
    };
    let properties = WriterProperties::builder().set_compression(compression).build();
    let written = catch_unwind(AssertUnwindSafe(|| {
        let mut writer = ArrowWriter::try_new(to, rows.schema(), Some(properties))?;
        writer.write(rows)?;
        writer.close()
    }));
    match written {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(write_error(error)),
        Err(_) => Err(refused("the Parquet writer panicked".to_owned())),
    }
}

/// Why a file could not be written. A full disk is reported as such, not as "a Parquet error".
pub(crate) fn write_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => refused(error.to_string()),
        },
        error => refused(error.to_string()),
    }
}

pub(crate) fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
