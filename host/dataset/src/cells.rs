//! The cells of a table, whatever their Arrow type: which types count as numbers, and how numbers look.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, LargeStringArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kymhost_store::text;
use std::borrow::Cow;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// null, or NaN: kymflow's files have nulls only, and readers see one as the other.
    Missing,
    /// `true`, `false`
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A float of 32 bits.
    Float32(f32),
    /// A float of 64 bits.
    Float64(f64),
    /// Text, and what has no other form.
    Text(&'a str),
}

/// One column, ready to give cells.
#[derive(Debug)]
pub enum Column {
    /// Every cell is missing.
    Null,
    /// Booleans.
    Bool(BooleanArray),
    /// Signed integers.
    Int(Int64Array),
    /// Unsigned integers.
    UInt(UInt64Array),
    /// Floats of 16 or 32 bits.
    Float32(Float32Array),
    /// Floats of 64 bits.
    Float64(Float64Array),
    /// Text.
    Text(LargeStringArray),
}

impl Column {
    /// Makes a column of any type ready.
    pub fn new(array: &ArrayRef) -> Self {
        let to = |data_type: &DataType| cast(array, data_type).ok();
        let known = match array.data_type() {
            DataType::Null => Some(Self::Null),
            DataType::Boolean => array.as_boolean_opt().cloned().map(Self::Bool),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                to(&DataType::Int64).and_then(|array| array.as_primitive_opt::<Int64Type>().cloned()).map(Self::Int)
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                to(&DataType::UInt64).and_then(|array| array.as_primitive_opt::<UInt64Type>().cloned()).map(Self::UInt)
            }
            DataType::Float16 | DataType::Float32 => to(&DataType::Float32)
                .and_then(|array| array.as_primitive_opt::<Float32Type>().cloned())
                .map(Self::Float32),
            DataType::Float64 => array.as_primitive_opt::<Float64Type>().cloned().map(Self::Float64),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                to(&DataType::LargeUtf8).and_then(|array| array.as_string_opt::<i64>().cloned()).map(Self::Text)
            }
            _ => None,
        };
        known.unwrap_or_else(|| Self::Text(formatted(array)))
    }

    /// Whether it holds numbers.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Int(_) | Self::UInt(_) | Self::Float32(_) | Self::Float64(_))
    }

    /// The cell of a row; `Missing` below the end.
    pub fn cell(&self, row: usize) -> Cell<'_> {
        fn at<'a, A: Array, T>(array: &'a A, row: usize, value: impl Fn(&'a A) -> T) -> Option<T> {
            (row < array.len() && array.is_valid(row)).then(|| value(array))
        }
        let cell = match self {
            Self::Null => None,
            Self::Bool(array) => at(array, row, |array| Cell::Bool(array.value(row))),
            Self::Int(array) => at(array, row, |array| Cell::Int(array.value(row))),
            Self::UInt(array) => at(array, row, |array| Cell::UInt(array.value(row))),
            Self::Float32(array) => at(array, row, |array| Cell::Float32(array.value(row))),
            Self::Float64(array) => at(array, row, |array| Cell::Float64(array.value(row))),
            Self::Text(array) => at(array, row, |array| Cell::Text(array.value(row))),
        };
        match cell {
            None => Cell::Missing,
            Some(Cell::Float32(value)) if value.is_nan() => Cell::Missing,
            Some(Cell::Float64(value)) if value.is_nan() => Cell::Missing,
            Some(cell) => cell,
        }
    }

    /// The text of a cell that is not missing.
    pub fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        match self.cell(row) {
            Cell::Missing => None,
            Cell::Text(text) => Some(Cow::Borrowed(text)),
            cell => Some(Cow::Owned(cell.exact())),
        }
    }
}

/// Any other type (times, lists …) as Arrow writes it.
fn formatted(array: &ArrayRef) -> LargeStringArray {
    // Arrow knows no zones by name, such as the "UTC" of pandas. All are kept as UTC, so they are shown as that.
    let in_utc = match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => cast(array, &DataType::Timestamp(*unit, Some("+00:00".into()))).ok(),
        _ => None,
    };
    let array = in_utc.as_ref().unwrap_or(array);
    let options = FormatOptions::default();
    let Ok(formatter) = ArrayFormatter::try_new(array.as_ref(), &options) else {
        // Not "missing": there is something, which cannot be shown.
        let kind = format!("({})", array.data_type());
        return (0..array.len()).map(|row| array.is_valid(row).then_some(&kind)).collect();
    };
    (0..array.len()).map(|row| array.is_valid(row).then(|| formatter.value(row).to_string())).collect()
}

impl Cell<'_> {
    /// All of it: floats with the fewest digits that give the same float again; nothing if it is missing.
    pub fn exact(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::UInt(value) => value.to_string(),
            Self::Float32(value) => format!("{value:?}"),
            Self::Float64(value) => format!("{value:?}"),
            Self::Text(text) => (*text).to_owned(),
        }
    }

    /// Short: floats with 6 digits, texts on one line of at most `width` characters, of which `kept` stays.
    pub fn brief(&self, width: usize, kept: Kept) -> String {
        match self {
            Self::Float32(value) => six_digits(f64::from(*value)),
            Self::Float64(value) => six_digits(*value),
            Self::Text(text) => match kept {
                Kept::Start => text::one_line_start(text, width),
                Kept::End => text::one_line_end(text, width),
            },
            other => other.exact(),
        }
    }
}

/// What stays of a text that is too long to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Its beginning.
    Start,
    /// Its end, the informative part of a path.
    End,
}

/// As C's `%.6g`.
fn six_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:?}").trim_end_matches(".0").to_owned();
    }
    // The exponent after rounding to six digits decides the form.
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        trim(&format!("{value:.decimals$}"))
    } else {
        format!("{}e{exponent}", trim(mantissa))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int8Array, NullArray, StringArray, TimestampSecondArray};
    use std::sync::Arc;

    #[test]
    fn cells_show_floats_with_six_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1 + 0.2, "0.3"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e6"),
            (999_999.9, "1e6"),
            (0.000_012_345_678, "1.23457e-5"),
            (0.001_234_567_8, "0.00123457"),
            (-2.5e-300, "-2.5e-300"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(six_digits(value), text, "{value:?}");
        }
    }

    #[test]
    fn cells_show_every_type() {
        let column = |array: ArrayRef| Column::new(&array);
        let ints = column(Arc::new(Int8Array::from(vec![Some(-3), None])));
        assert_eq!((ints.cell(0), ints.cell(1), ints.cell(2)), (Cell::Int(-3), Cell::Missing, Cell::Missing));
        assert!(ints.is_numeric());
        let floats = column(Arc::new(Float64Array::from(vec![0.1, f64::NAN, 1e16])));
        assert_eq!(floats.cell(0).exact(), "0.1");
        assert_eq!(floats.cell(1), Cell::Missing);
        assert_eq!(floats.cell(2).exact(), "1e16");
        let floats = column(Arc::new(Float32Array::from(vec![0.1_f32])));
        assert_eq!(floats.cell(0).exact(), "0.1");
        let texts = column(Arc::new(StringArray::from(vec!["a\nb", "abcdefgh"])));
        assert_eq!(texts.cell(0).brief(5, Kept::Start), "a b");
        assert_eq!(texts.cell(1).brief(5, Kept::Start), "abcd…");
        assert_eq!(texts.cell(1).brief(5, Kept::End), "…efgh");
        assert_eq!(texts.cell(1).brief(8, Kept::End), "abcdefgh");
        assert_eq!(column(Arc::new(NullArray::new(1))).cell(0), Cell::Missing);
        let times = column(Arc::new(TimestampSecondArray::from(vec![Some(0), None])));
        assert_eq!((times.cell(0), times.cell(1)), (Cell::Text("1970-01-01T00:00:00"), Cell::Missing));
        for zone in ["UTC", "Europe/Berlin", "+02:00"] {
            let times = column(Arc::new(TimestampSecondArray::from(vec![Some(0), None]).with_timezone(zone)));
            let shown = (Cell::Text("1970-01-01T00:00:00Z"), Cell::Missing);
            assert_eq!((times.cell(0), times.cell(1)), shown, "times of zone {zone} are not missing");
        }
    }
}
