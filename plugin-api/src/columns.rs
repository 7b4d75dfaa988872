//! The cells of a table artifact, column by column, for indexers that need no Arrow of their own.
//!
//! This file decides which column types can be read as numbers, truth values or text, and makes errors that name
//! artifact and column. It reads no files.
//!
//! It converts cells itself. Arrow's `cast` handles every pair of types: one call adds 10 MB to a plugin.

use crate::{Error, ErrorKind, Result, Table};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Decimal256Type, Decimal32Type, Decimal64Type, DecimalType, Float16Type,
    Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Int8Type, UInt16Type, UInt32Type, UInt64Type, UInt8Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

/// A table artifact read column by column; see [`Record::columns`](crate::Record::columns).
///
/// A file that pandas wrote may have lost types: a column of integers with a missing value holds floats, and a table
/// without rows may have no columns. Therefore floats can be read as integers if all are whole, and a table without
/// rows gives an empty column for any name and type.
///
/// ```
/// use kymhost_plugin_api::prelude::*;
///
/// /// The duration of each event of one region, in seconds.
/// fn durations_s(record: &Record, roi_id: i64) -> Result<Vec<f64>> {
///     let Some(events) = record.columns("velocity_events/events")? else { return Ok(Vec::new()) };
///     let (starts, stops) = (events.f64("t_start_s")?, events.f64("t_end_s")?);
///     let of_roi = events.i64("roi_id")?.into_iter().enumerate().filter(|(_, id)| *id == Some(roi_id));
///     Ok(of_roi.map(|(at, _)| stops[at] - starts[at]).collect())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Columns {
    rows: RecordBatch,
    /// The file that the table was read from, for messages.
    key: String,
}

impl Columns {
    pub(crate) fn new(table: Table, key: String) -> Result<Self> {
        let rows = table
            .into_batch()
            .map_err(|error| Error::new(ErrorKind::Unreadable, format!("cannot read {key} as a table: {error}")))?;
        Ok(Self { rows, key })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns, in their order.
    pub fn names(&self) -> Vec<&str> {
        self.rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// Whether there is a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.rows.column_by_name(name).is_some()
    }

    /// The whole table as an Arrow batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.rows
    }

    /// One number per row, from a column of integers, floats or decimals. A missing cell is `NaN`, as in pandas.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if the column is missing or holds no numbers. The message names artifact and column.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>> {
        let cells = self.cells_of(name, "numbers", float_cells)?;
        Ok(cells.into_iter().map(|cell| cell.unwrap_or(f64::NAN)).collect())
    }

    /// One integer per row, from a column of integers, or of floats that are whole. A missing cell or `NaN` is `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if the column is missing or holds no numbers, or if a number is not whole or does not
    /// fit: an integer must fit `i64`, a float must be at most 2⁵³.
    pub fn i64(&self, name: &str) -> Result<Vec<Option<i64>>> {
        let is_float = self.rows.column_by_name(name).is_some_and(|column| column.data_type().is_floating());
        if !is_float {
            let fit = |cell: Option<i128>| match cell.map(i64::try_from) {
                None => Ok(None),
                Some(Ok(value)) => Ok(Some(value)),
                Some(Err(_)) => Err(self.bad(format!(
                    "has {} in column '{name}', expected whole numbers up to {}",
                    cell.unwrap_or_default(),
                    i64::MAX
                ))),
            };
            return self.cells_of(name, "whole numbers", integer_cells)?.into_iter().map(fit).collect();
        }
        let whole = |value: f64| {
            // Above 2⁵³ a float no longer holds every whole number.
            if value.is_nan() {
                Ok(None)
            } else if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
                Ok(Some(value as i64))
            } else {
                Err(self.bad(format!("has {value:?} in column '{name}', expected whole numbers")))
            }
        };
        self.f64(name)?.into_iter().map(whole).collect()
    }

    /// One truth value per row. A missing cell is `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if the column is missing or holds no truth values.
    pub fn bool(&self, name: &str) -> Result<Vec<Option<bool>>> {
        self.cells_of(name, "truth values", |column| Some(column.as_boolean_opt()?.iter().collect()))
    }

    /// One text per row. A missing cell is `None`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if the column is missing or holds no text.
    pub fn text(&self, name: &str) -> Result<Vec<Option<String>>> {
        self.cells_of(name, "text", text_cells)
    }

    /// The cells of one column as `read` gives them; `None` from `read` means that the type does not fit.
    fn cells_of<T: Clone>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&dyn Array) -> Option<Vec<Option<T>>>,
    ) -> Result<Vec<Option<T>>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let Some(column) = self.rows.column_by_name(name) else {
            return Err(self.bad(format!("has no column '{name}', but {}", self.names().join(", "))));
        };
        let (values, keys) = match column.as_any_dictionary_opt() {
            Some(dictionary) => (dictionary.values(), Some(dictionary)),
            None => (column, None),
        };
        let cells = if *values.data_type() == DataType::Null {
            vec![None; values.len()]
        } else {
            read(values).ok_or_else(|| {
                self.bad(format!("has {} in column '{name}', expected {expected}", values.data_type()))
            })?
        };
        let Some(dictionary) = keys else { return Ok(cells) };
        if cells.is_empty() {
            return Ok(vec![None; column.len()]);
        }
        let (keys, places) = (dictionary.keys(), dictionary.normalized_keys());
        let cell = |(row, place): (usize, usize)| cells.get(place).filter(|_| keys.is_valid(row)).cloned().flatten();
        Ok(places.into_iter().enumerate().map(cell).collect())
    }

    fn bad(&self, why: String) -> Error {
        Error::new(ErrorKind::Unreadable, format!("{} {why}", self.key))
    }
}

fn primitive_cells<A: ArrowPrimitiveType, T>(
    column: &dyn Array,
    convert: impl Fn(A::Native) -> T,
) -> Option<Vec<Option<T>>> {
    Some(column.as_primitive_opt::<A>()?.iter().map(|cell| cell.map(&convert)).collect())
}

fn float_cells(column: &dyn Array) -> Option<Vec<Option<f64>>> {
    match column.data_type() {
        DataType::Float16 => primitive_cells::<Float16Type, _>(column, f64::from),
        DataType::Float32 => primitive_cells::<Float32Type, _>(column, f64::from),
        DataType::Float64 => primitive_cells::<Float64Type, _>(column, |value| value),
        DataType::Decimal32(_, scale) => decimal_cells::<Decimal32Type>(column, *scale),
        DataType::Decimal64(_, scale) => decimal_cells::<Decimal64Type>(column, *scale),
        DataType::Decimal128(_, scale) => decimal_cells::<Decimal128Type>(column, *scale),
        DataType::Decimal256(_, scale) => decimal_cells::<Decimal256Type>(column, *scale),
        _ => Some(integer_cells(column)?.into_iter().map(|cell| cell.map(|value| value as f64)).collect()),
    }
}

/// The double that is nearest to each decimal: its text, read as Rust reads a float.
fn decimal_cells<D: DecimalType>(column: &dyn Array, scale: i8) -> Option<Vec<Option<f64>>> {
    primitive_cells::<D, _>(column, |value| D::format_decimal(value, u8::MAX, scale).parse().unwrap_or(f64::NAN))
}

fn integer_cells(column: &dyn Array) -> Option<Vec<Option<i128>>> {
    match column.data_type() {
        DataType::Int8 => primitive_cells::<Int8Type, _>(column, i128::from),
        DataType::Int16 => primitive_cells::<Int16Type, _>(column, i128::from),
        DataType::Int32 => primitive_cells::<Int32Type, _>(column, i128::from),
        DataType::Int64 => primitive_cells::<Int64Type, _>(column, i128::from),
        DataType::UInt8 => primitive_cells::<UInt8Type, _>(column, i128::from),
        DataType::UInt16 => primitive_cells::<UInt16Type, _>(column, i128::from),
        DataType::UInt32 => primitive_cells::<UInt32Type, _>(column, i128::from),
        DataType::UInt64 => primitive_cells::<UInt64Type, _>(column, i128::from),
        _ => None,
    }
}

fn text_cells(column: &dyn Array) -> Option<Vec<Option<String>>> {
    let owned = |cell: Option<&str>| cell.map(str::to_owned);
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().map(owned).collect(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().map(owned).collect(),
        DataType::Utf8View => column.as_string_view().iter().map(owned).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::testing::{TestHost, TestRecord};

    /// Each column of the artifact `t` as each type, as text.
    struct Look;

    impl Indexer for Look {
        const NAME: &'static str = "look";
        const ANALYSIS_VERSION: &'static str = "look@1";
        fn params(&self, record: &Record<'_>) -> Result<Json> {
            let Some(columns) = record.columns("t")? else { return Ok("none".into()) };
            let column = record.json("column")?.unwrap_or_default();
            let name = column.as_str().unwrap_or_default();
            let or_error = |text: Result<String>| text.unwrap_or_else(|error| format!("! {error}"));
            Ok(vec![
                format!("{} {} {:?}", columns.len(), columns.has(name), columns.names()),
                or_error(columns.f64(name).map(|cells| format!("{cells:?}"))),
                or_error(columns.i64(name).map(|cells| format!("{cells:?}"))),
                or_error(columns.bool(name).map(|cells| format!("{cells:?}"))),
                or_error(columns.text(name).map(|cells| format!("{cells:?}"))),
            ]
            .into())
        }
        fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> {
            Table::builder().build()
        }
    }

    fn look(record: TestRecord, column: &str) -> Vec<String> {
        let params = TestHost::new(Look).params(&record.json("column", column)).expect("params");
        let items = params.as_array().unwrap_or_default();
        items.iter().map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Each type that pandas writes is read as numbers, integers, truth values or text, or is refused.
    #[test]
    fn columns_pandas_types_are_converted() {
        let file = "images/image-1/analysis/t.csv.gz";
        let has = |what: &str, name: &str, expected: &str| {
            format!("! {file} has {what} in column '{name}', expected {expected}")
        };
        // The text of a CSV file with one column; then what it is as numbers, whole numbers, truth values and text.
        let cases = [
            (
                "i\n1\n2\n",
                ["[1.0, 2.0]", "[Some(1), Some(2)]", &has("Int64", "i", "truth values"), &has("Int64", "i", "text")],
            ),
            (
                "i\n1.0\nNaN\n",
                ["[1.0, NaN]", "[Some(1), None]", &has("Float64", "i", "truth values"), &has("Float64", "i", "text")],
            ),
            (
                "i\n1.5\n0\n",
                [
                    "[1.5, 0.0]",
                    &has("1.5", "i", "whole numbers"),
                    &has("Float64", "i", "truth values"),
                    &has("Float64", "i", "text"),
                ],
            ),
            (
                "i\n1e300\n",
                [
                    "[1e300]",
                    &has("1e300", "i", "whole numbers"),
                    &has("Float64", "i", "truth values"),
                    &has("Float64", "i", "text"),
                ],
            ),
            (
                "i\ntrue\nnull\n",
                [
                    &has("Boolean", "i", "numbers"),
                    &has("Boolean", "i", "whole numbers"),
                    "[Some(true), None]",
                    &has("Boolean", "i", "text"),
                ],
            ),
            (
                "i\na\nnull\n",
                [
                    &has("LargeUtf8", "i", "numbers"),
                    &has("LargeUtf8", "i", "whole numbers"),
                    &has("LargeUtf8", "i", "truth values"),
                    "[Some(\"a\"), None]",
                ],
            ),
            ("i\n", ["[]", "[]", "[]", "[]"]),
        ];
        for (text, expected) in cases {
            let found = look(TestRecord::new().csv("t", text), "i");
            assert_eq!(found[1..], expected, "{text:?}");
        }
        let nothing =
            Table::builder().column("i", vec![None::<f64>, None]).and_then(|table| table.build()).expect("a table");
        let nothing = look(TestRecord::new().table("t", nothing), "i");
        assert_eq!(nothing[0], "2 true [\"i\"]");
        assert_eq!(nothing[1..3], ["[NaN, NaN]", "[None, None]"]);
    }

    /// The error names the file, the missing column and the columns that exist.
    #[test]
    fn columns_missing_column_is_named() {
        let table = || Table::builder().column("a", vec![1_u64, u64::MAX])?.column("b", vec!["x", "y"])?.build();
        let record = TestRecord::new().table("t", table().expect("a table"));
        let found = look(record.clone(), "c");
        assert_eq!(found[0], "2 false [\"a\", \"b\"]");
        for cell in &found[1..] {
            assert_eq!(cell, "! images/image-1/analysis/t.parquet has no column 'c', but a, b");
        }
        let large = look(record, "a");
        assert!(
            large[2].starts_with("! images/image-1/analysis/t.parquet has 18446744073709551615 in column 'a'"),
            "{large:?}"
        );
        // Parquet is preferred, a table without rows needs no columns, and an absent artifact is `None`.
        let none = Table::builder().build().expect("a table");
        let both = TestRecord::new().table("t", none).csv("t", "a\n1\n");
        assert_eq!(look(both, "a"), ["0 false []", "[]", "[]", "[]", "[]"]);
        assert_eq!(TestHost::new(Look).params(&TestRecord::new()), Ok("none".into()));
    }

    /// Every type gives the cells that Arrow's own conversion gives, also from a dictionary.
    #[cfg(feature = "arrow")]
    #[test]
    fn columns_every_type_equals_arrow_cast() {
        use super::Columns;
        use arrow::array::{Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, StringArray};
        use arrow::compute::{cast, take};
        use arrow::datatypes::{DataType, Float64Type, Int64Type};
        use std::sync::Arc;

        fn read(column: ArrayRef) -> Columns {
            let table = Table::builder().column("c", column).and_then(|table| table.build()).expect("a table");
            Columns::new(table, "key".into()).expect("columns")
        }
        fn in_dictionary(column: &ArrayRef) -> ArrayRef {
            let values = take(column, &arrow::array::Int8Array::from(vec![2, 1, 0]), None).expect("cells");
            let keys = arrow::array::Int8Array::from(vec![Some(2), None, Some(0)]);
            Arc::new(arrow::array::DictionaryArray::new(keys, values))
        }
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(100)]));
        let large: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-99_999.5)]));
        let digits: ArrayRef =
            Arc::new(StringArray::from(vec![Some("0.1"), None, Some("-12345678901234567890.123456789")]));
        let integers = {
            use DataType::*;
            [Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64]
        };
        let mut columns: Vec<ArrayRef> = integers.iter().map(|to| cast(&numbers, to).expect("numbers")).collect();
        columns.extend([DataType::Float16, DataType::Float32].map(|to| cast(&large, &to).expect("numbers")));
        columns.extend([DataType::Decimal32(7, 1), DataType::Decimal64(12, 3)].map(|to| cast(&large, &to).expect("t")));
        columns.extend(
            [DataType::Decimal128(38, 9), DataType::Decimal256(60, 30)].map(|to| cast(&digits, &to).expect("t")),
        );
        columns.push(Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, (1 << 53) + 1])));
        columns.push(Arc::new(arrow::array::UInt64Array::from(vec![u64::MAX, 0, (1 << 60) + 1])));
        for column in columns {
            for column in [in_dictionary(&column), column] {
                let expected = cast(&column, &DataType::Float64).expect("numbers");
                let expected: Vec<u64> = expected
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|cell| cell.unwrap_or(f64::NAN).to_bits())
                    .collect();
                let found = read(Arc::clone(&column)).f64("c").expect("numbers");
                assert_eq!(found.into_iter().map(f64::to_bits).collect::<Vec<_>>(), expected, "{column:?}");
                let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
                let is_integer = match column.data_type() {
                    DataType::Dictionary(_, values) => values.is_integer(),
                    other => other.is_integer(),
                };
                if is_integer {
                    let expected = arrow::compute::cast_with_options(&column, &DataType::Int64, &strict).ok();
                    let expected = expected.map(|cells| cells.as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
                    assert_eq!(read(Arc::clone(&column)).i64("c").ok(), expected, "{column:?}");
                }
            }
        }
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
        for to in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View] {
            let column = cast(&texts, &to).expect("text");
            assert_eq!(
                read(Arc::clone(&column)).text("c"),
                Ok(vec![Some("a".into()), None, Some(String::new())]),
                "{to}"
            );
            assert_eq!(read(in_dictionary(&column)).text("c"), Ok(vec![Some("a".into()), None, Some(String::new())]));
        }
    }
}
