//! Which types a table keeps, and which type holds the values of two: pandas' rules over Arrow's types.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, FieldRef, TimeUnit};
use std::sync::Arc;

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

/// The type in which the table keeps a column of a plugin's rows: dictionaries and views become what they stand for.
/// `None` for types that Parquet and pandas cannot both take.
pub(super) fn kept_type(data_type: &DataType) -> Option<DataType> {
    use DataType::*;
    let inner = |field: &FieldRef| Some(Arc::new(field.as_ref().clone().with_data_type(kept_type(field.data_type())?)));
    Some(match data_type {
        Interval(_) | Decimal32(..) | Decimal64(..) => return None,
        Null | Boolean | Utf8 | LargeUtf8 | Binary | LargeBinary | FixedSizeBinary(_) => data_type.clone(),
        other if other.is_primitive() => other.clone(),
        Utf8View => Utf8,
        BinaryView => Binary,
        Dictionary(_, values) => kept_type(values)?,
        List(field) => List(inner(field)?),
        LargeList(field) => LargeList(inner(field)?),
        FixedSizeList(field, size) => FixedSizeList(inner(field)?, *size),
        Struct(fields) if !fields.is_empty() => Struct(fields.iter().map(inner).collect::<Option<_>>()?),
        Map(entries, sorted) => Map(inner(entries)?, *sorted),
        _ => return None,
    })
}

/// The type that holds the values of both; `None` if there is none. The first is the table's.
pub(super) fn unify(old: &DataType, new: &DataType) -> Option<DataType> {
    use DataType::*;
    if old == new {
        return Some(old.clone());
    }
    let item = |a: &FieldRef, b: &FieldRef| {
        let data_type = unify(a.data_type(), b.data_type())?;
        Some(Arc::new(a.as_ref().clone().with_data_type(data_type).with_nullable(true)))
    };
    match (old, new) {
        (Null, other) | (other, Null) => Some(other.clone()),
        (Utf8 | LargeUtf8, Utf8 | LargeUtf8) | (Binary | LargeBinary, Binary | LargeBinary) => Some(old.clone()),
        // Of two resolutions the finer one, as pandas does: pandas 2 writes nanoseconds, pandas 3 microseconds.
        (Timestamp(a, zone), Timestamp(b, other)) if zone == other => Some(Timestamp((*a).max(*b), zone.clone())),
        (Duration(a), Duration(b)) => Some(Duration((*a).max(*b))),
        (List(a), List(b)) => Some(List(item(a, b)?)),
        (LargeList(a), LargeList(b)) => Some(LargeList(item(a, b)?)),
        (List(a), LargeList(b)) | (LargeList(a), List(b)) => Some(LargeList(item(a, b)?)),
        (Decimal128(..) | Decimal256(..), Decimal128(..) | Decimal256(..)) => unify_decimals(old, new),
        (FixedSizeList(a, n), FixedSizeList(b, m)) if n == m => Some(FixedSizeList(item(a, b)?, *n)),
        (Struct(a), Struct(b)) if a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name()) => {
            Some(Struct(a.iter().zip(b).map(|(a, b)| item(a, b)).collect::<Option<_>>()?))
        }
        _ => unify_numbers(old, new),
    }
}

/// The decimal type with room for the digits of both, before the point and behind it.
fn unify_decimals(old: &DataType, new: &DataType) -> Option<DataType> {
    let parts = |data_type: &DataType| match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Some((i16::from(*precision) - i16::from(*scale), *scale))
        }
        _ => None,
    };
    let ((whole_a, scale_a), (whole_b, scale_b)) = (parts(old)?, parts(new)?);
    let scale = scale_a.max(scale_b);
    let precision = u8::try_from(whole_a.max(whole_b) + i16::from(scale)).ok()?;
    let is_wide = matches!((old, new), (DataType::Decimal256(..), _) | (_, DataType::Decimal256(..)));
    match precision {
        ..=DECIMAL128_MAX_PRECISION if !is_wide => Some(DataType::Decimal128(precision, scale)),
        ..=DECIMAL256_MAX_PRECISION => Some(DataType::Decimal256(precision, scale)),
        _ => None,
    }
}

/// The number type that holds the values of both, booleans included.
fn unify_numbers(old: &DataType, new: &DataType) -> Option<DataType> {
    use DataType::*;
    let is_number = |t: &DataType| *t == Boolean || t.is_integer() || t.is_floating();
    if !is_number(old) || !is_number(new) {
        return None;
    }
    let width = |t: &DataType| t.primitive_width().unwrap_or(0);
    Some(match (old, new) {
        (Boolean, other) | (other, Boolean) => other.clone(),
        (a, b) if a.is_integer() != b.is_integer() => Float64,
        (a, b) if !a.is_integer() || a.is_signed_integer() == b.is_signed_integer() => {
            if width(a) < width(b) {
                b.clone()
            } else {
                a.clone()
            }
        }
        (a, b) => match if a.is_signed_integer() { (a, b) } else { (b, a) } {
            (signed, unsigned) if width(signed) > width(unsigned) => signed.clone(),
            (_, UInt8) => Int16,
            (_, UInt16) => Int32,
            (_, UInt32) => Int64,
            _ => Float64,
        },
    })
}

/// The large form of a text or binary type whose offsets would not reach so many bytes.
pub(super) fn large_enough(data_type: DataType, bytes: u64) -> DataType {
    match data_type {
        DataType::Utf8 if i32::try_from(bytes).is_err() => DataType::LargeUtf8,
        DataType::Binary if i32::try_from(bytes).is_err() => DataType::LargeBinary,
        other => other,
    }
}

/// A type of times in its own unit and each coarser one: the first in whose range all the times are is the column's, as
/// nanoseconds end in the year 2262. None for other types.
pub(super) fn reaching(data_type: &DataType) -> impl Iterator<Item = DataType> {
    let (finest, zone) = match data_type {
        DataType::Timestamp(unit, zone) => (Some(*unit), Some(zone.clone())),
        DataType::Duration(unit) => (Some(*unit), None),
        _ => (None, None),
    };
    let units = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second];
    let units = units.into_iter().filter(move |unit| finest.is_some_and(|finest| *unit <= finest));
    units.map(move |unit| match &zone {
        Some(zone) => DataType::Timestamp(unit, zone.clone()),
        None => DataType::Duration(unit),
    })
}
