//! Tables read back into plain values, for comparing.
//!
//! Reads Parquet files as columns and rows of JSON values, without the host's reader.

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::fs::File;
use std::path::Path;

/// A table's columns in order, and its rows in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The columns' Arrow types.
    pub types: Vec<DataType>,
    /// One value a column; missing is null, NaN is the text `NaN`.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// Reads a Parquet file; an error says why it is none.
    pub fn try_read(path: &Path) -> Result<Self, String> {
        Self::from_parquet(File::open(path).map_err(|error| format!("open {}: {error}", path.display()))?)
            .map_err(|error| format!("read {}: {error}", path.display()))
    }

    /// Reads a Parquet file that must be whole.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        Self::try_read(path).unwrap_or_else(|error| panic!("{error}"))
    }

    fn from_parquet(file: File) -> Result<Self, String> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| error.to_string())?;
        let fields = builder.schema().fields().clone();
        let mut table = Self {
            columns: fields.iter().map(|field| field.name().clone()).collect(),
            types: fields.iter().map(|field| field.data_type().clone()).collect(),
            rows: Vec::new(),
        };
        for batch in builder.build().map_err(|error| error.to_string())? {
            let batch = batch.map_err(|error| error.to_string())?;
            let columns = batch.columns().iter().map(values).collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                table.rows.push(columns.iter().map(|column| column.get(row).cloned().unwrap_or_default()).collect());
            }
        }
        Ok(table)
    }

    /// One column's values; fails if there is no such column.
    #[track_caller]
    pub fn column(&self, name: &str) -> Vec<&Value> {
        let place = self.columns.iter().position(|column| column == name);
        let place = place.unwrap_or_else(|| panic!("no column {name} among {:?}", self.columns));
        self.rows.iter().filter_map(|row| row.get(place)).collect()
    }

    /// The rows of one image, in order.
    #[track_caller]
    pub fn rows_of(&self, image_id: &str) -> Vec<&[Value]> {
        let ids = self.column("image_id");
        let rows = self.rows.iter().zip(ids);
        rows.filter(|(_, id)| id.as_str() == Some(image_id)).map(|(row, _)| row.as_slice()).collect()
    }
}

/// A column's cells.
fn values(column: &ArrayRef) -> Result<Vec<Value>, String> {
    let to = match column.data_type() {
        DataType::Null => return Ok(vec![Value::Null; column.len()]),
        DataType::Dictionary(_, inner) => return values(&cast(column, inner).map_err(|error| error.to_string())?),
        DataType::Boolean => DataType::Boolean,
        DataType::UInt64 => DataType::UInt64,
        kind if kind.is_integer() => DataType::Int64,
        kind if kind.is_floating() => DataType::Float64,
        _ => DataType::LargeUtf8,
    };
    let column = cast(column, &to).map_err(|error| error.to_string())?;
    let cell = |row: usize| match &to {
        _ if column.is_null(row) => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            serde_json::Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::Number)
        }
        _ => column.as_string::<i64>().value(row).into(),
    };
    Ok((0..column.len()).map(cell).collect())
}
