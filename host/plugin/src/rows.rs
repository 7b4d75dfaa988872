//! The rows of a plugin: checks them, and converts their types to those that tables can hold.

use crate::failure::{Failure, FailureKind, failure_of, failure_text};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use kymhost_plugin_api::ffi::ArrowTable;
use std::collections::HashSet;
use std::sync::Arc;

/// The deepest nesting of a column's type.
const MAX_TYPE_DEPTH: usize = 32;

fn bad_table(message: String) -> Failure {
    Failure::new(FailureKind::BadTable, failure_text(&message))
}

/// Takes a plugin's rows. The columns have plain types and different names.
pub(crate) fn import(table: ArrowTable) -> Result<RecordBatch, Failure> {
    let batch = table.into_batch().map_err(failure_of)?;
    let schema = batch.schema();
    let mut names = HashSet::new();
    for (index, field) in schema.fields().iter().enumerate() {
        if field.name().is_empty() {
            return Err(bad_table(format!("column {} of {} has no name", index + 1, batch.num_columns())));
        }
        if !names.insert(field.name().as_str()) {
            return Err(bad_table(format!("there are two columns '{}'", field.name())));
        }
    }
    let mut fields: Vec<FieldRef> = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let plain = plain_type(field.data_type(), 0)
            .ok_or_else(|| bad_table(format!("column '{}' nests more than {MAX_TYPE_DEPTH} types", field.name())))?;
        // Rows of other images may have nulls.
        fields.push(Arc::new(Field::new(field.name(), plain.clone(), true)));
        columns.push(if plain == *field.data_type() {
            Arc::clone(column)
        } else {
            cast(column, &plain).map_err(|error| {
                bad_table(format!("column '{}' cannot be converted to a plain type: {error}", field.name()))
            })?
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| bad_table(format!("the rows are not a table: {error}")))
}

/// The type without dictionaries, run ends and views, which tables do not have.
fn plain_type(data_type: &DataType, depth: usize) -> Option<DataType> {
    if depth > MAX_TYPE_DEPTH {
        return None;
    }
    let plain_field = |field: &FieldRef| -> Option<FieldRef> {
        let plain = plain_type(field.data_type(), depth + 1)?;
        Some(Arc::new(field.as_ref().clone().with_data_type(plain)))
    };
    Some(match data_type {
        DataType::Dictionary(_, values) => plain_type(values, depth + 1)?,
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type(), depth + 1)?,
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain_field(field)?),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(plain_field(field)?),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field)?, *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect::<Option<_>>()?),
        other => other.clone(),
    })
}
