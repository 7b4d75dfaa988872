//! A table as other programs leave it: written again in place, as pandas does, with rows lost, doubled, altered
//! or moved.
//!
//! Changes a table's file as such programs do: without a lock and not by rename.

use arrow::array::{Array, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{cast, concat, concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// The whole table, without the metadata of its schema, which pandas does not keep either.
pub fn read(path: &Path) -> RecordBatch {
    let file = File::open(path).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let schema = Arc::new(Schema::new(builder.schema().fields().clone()));
    let batches: Vec<RecordBatch> = builder
        .build()
        .expect("a reader")
        .map(|batch| RecordBatch::try_new(schema.clone(), batch.expect("a batch").columns().to_vec()).expect("a batch"))
        .collect();
    concat_batches(&schema, &batches).expect("batches of one schema")
}

/// Writes the table over what was there, in place: a reader in between sees a part.
pub fn write(path: &Path, table: &RecordBatch, group_rows: usize) {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(group_rows.max(1)))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), table.schema(), Some(properties)).expect("a Parquet writer");
    writer.write(table).expect("rows as Parquet");
    fs::write(path, writer.into_inner().expect("a Parquet file")).expect("the table's file");
}

/// The rows at these places.
pub fn rows_at(table: &RecordBatch, places: &[usize]) -> RecordBatch {
    let places = UInt64Array::from_iter_values(places.iter().map(|&place| place as u64));
    let columns = table.columns().iter().map(|column| take(column, &places, None).expect("rows")).collect();
    RecordBatch::try_new(table.schema(), columns).expect("columns of one length")
}

/// The image of each row.
pub fn image_of_rows(table: &RecordBatch) -> Vec<String> {
    let column = cast(table.column_by_name("image_id").expect("image_id"), &DataType::Utf8).expect("texts");
    let texts = column.as_string::<i32>();
    (0..texts.len()).map(|row| texts.value(row).to_owned()).collect()
}

/// One cell with another value, or missing; `None` if `reader` does not give the column's type.
pub fn altered(table: &RecordBatch, column: &str, row: usize, missing: bool, salt: i64) -> Option<RecordBatch> {
    let place = table.schema().index_of(column).ok()?;
    let old = table.column(place);
    let cell: ArrayRef = match old.data_type() {
        _ if missing && old.is_null(row) => return None,
        kind if missing => arrow::array::new_null_array(kind, 1),
        DataType::Int64 => Arc::new(Int64Array::from(vec![salt])),
        DataType::Float64 => Arc::new(Float64Array::from(vec![salt as f64 + 0.25])),
        DataType::Utf8 => Arc::new(StringArray::from(vec![format!("altered {salt}")])),
        DataType::LargeUtf8 => cast(&StringArray::from(vec![format!("altered {salt}")]), old.data_type()).ok()?,
        _ => return None,
    };
    let parts = [old.slice(0, row), cell, old.slice(row + 1, old.len() - row - 1)];
    let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
    let mut columns = table.columns().to_vec();
    *columns.get_mut(place)? = concat(&parts).ok()?;
    RecordBatch::try_new(table.schema(), columns).ok()
}

/// The same values as pandas gives them back: integers as floats in the named column, text as large text.
pub fn retyped(table: &RecordBatch, floats: &str) -> RecordBatch {
    let retype = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let kind = match field.data_type() {
            DataType::Int64 if field.name() == floats => DataType::Float64,
            DataType::Utf8 => DataType::LargeUtf8,
            same => same.clone(),
        };
        (Arc::new(Field::new(field.name(), kind.clone(), true)), cast(column, &kind).expect("a wider type"))
    };
    let (fields, columns): (Vec<_>, Vec<_>) = table.schema().fields().iter().zip(table.columns()).map(retype).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns of one length")
}
