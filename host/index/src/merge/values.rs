//! Values of one column: whether there are any, casts, missing values, columns put together from parts.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, LargeStringArray, PrimitiveArray, StringArray,
    make_array, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{CastOptions, cast_with_options, concat};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use arrow::error::ArrowError;
use std::sync::Arc;

/// A column made of parts, each with the place of its first row; all other rows are missing.
pub(super) fn column_of(
    data_type: &DataType,
    parts: Vec<(usize, &ArrayRef)>,
    rows: usize,
) -> Result<ArrayRef, ArrowError> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(parts.len() + 1);
    let mut filled = 0;
    for (start, part) in parts {
        if start > filled {
            arrays.push(new_null_array(data_type, start - filled));
        }
        filled = start + part.len();
        arrays.push(cast_to(part, data_type)?);
    }
    if rows > filled {
        arrays.push(new_null_array(data_type, rows - filled));
    }
    match arrays.as_slice() {
        [] => Ok(new_null_array(data_type, 0)),
        [only] => Ok(Arc::clone(only)),
        _ => concat(&arrays.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>()),
    }
}

/// Each text in so many rows.
pub(super) fn repeated<'a>(values: impl Iterator<Item = (&'a str, usize)> + Clone) -> ArrayRef {
    let bytes: usize = values.clone().map(|(value, rows)| value.len().saturating_mul(rows)).sum();
    let texts = values.flat_map(|(value, rows)| std::iter::repeat_n(value, rows));
    match i32::try_from(bytes) {
        Ok(_) => Arc::new(StringArray::from_iter_values(texts)),
        Err(_) => Arc::new(LargeStringArray::from_iter_values(texts)),
    }
}

pub(super) fn value_bytes(array: &ArrayRef) -> u64 {
    fn span<O: arrow::array::OffsetSizeTrait>(offsets: &[O]) -> u64 {
        match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => (last.as_usize() - first.as_usize()) as u64,
            _ => 0,
        }
    }
    match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => span(array.as_string::<i64>().value_offsets()),
        DataType::Binary => span(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => span(array.as_binary::<i64>().value_offsets()),
        _ => 0,
    }
}

pub(super) fn cast_to(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Whether all values can be of a type.
pub(crate) fn can_be(column: &ArrayRef, to: &DataType) -> bool {
    !has_value(column, None) || cast_to(column, to).is_ok()
}

/// Whether some row (of those in the mask) has a value; NaN is not one.
pub(crate) fn has_value(array: &ArrayRef, mask: Option<&BooleanArray>) -> bool {
    let nulls = array.logical_nulls();
    let present =
        |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && mask.is_none_or(|mask| mask.value(row));
    match array.data_type() {
        DataType::Null => false,
        DataType::Float16 => has_number(array.as_primitive::<Float16Type>(), |v| v.is_nan(), present),
        DataType::Float32 => has_number(array.as_primitive::<Float32Type>(), f32::is_nan, present),
        DataType::Float64 => has_number(array.as_primitive::<Float64Type>(), f64::is_nan, present),
        _ => (0..array.len()).any(present),
    }
}

fn has_number<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    is_nan: impl Fn(T::Native) -> bool,
    present: impl Fn(usize) -> bool,
) -> bool {
    array.values().iter().enumerate().any(|(row, &value)| present(row) && !is_nan(value))
}

/// Files have no NaN: a missing value is a null.
pub(super) fn nan_to_missing(array: ArrayRef) -> ArrayRef {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef, is_nan: impl Fn(T::Native) -> bool) -> Option<NullBuffer> {
        let values = array.as_primitive::<T>().values();
        values.iter().any(|&value| is_nan(value)).then(|| {
            NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| {
                values.get(row).is_some_and(|&value| !is_nan(value))
            }))
        })
    }
    let numbers = match array.data_type() {
        DataType::Float16 => of::<Float16Type>(&array, |v| v.is_nan()),
        DataType::Float32 => of::<Float32Type>(&array, f32::is_nan),
        DataType::Float64 => of::<Float64Type>(&array, f64::is_nan),
        _ => None,
    };
    let Some(numbers) = numbers else { return array };
    let nulls = NullBuffer::union(array.nulls(), Some(&numbers));
    match array.to_data().into_builder().nulls(nulls).build() {
        Ok(data) => make_array(data),
        Err(_) => array,
    }
}
