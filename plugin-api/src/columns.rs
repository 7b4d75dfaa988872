//! The cells of a table artifact, column by column, for indexers that need no Arrow of their own.
//! Owns: which types of columns give numbers, truth values or text, and errors that name artifact and column. Never: reads files.

use crate::{Error, ErrorKind, Result, Table};
use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::{cast_with_options, CastOptions};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

/// A table artifact read by its columns, from [`Record::columns`](crate::Record::columns).
///
/// Types are taken as pandas leaves them: whole numbers may have become floats because one was missing, and an empty table may have lost
/// its columns and their types. So a table without rows gives an empty column of any name and type.
///
/// ```
/// use kymhost_plugin_api::prelude::*;
///
/// /// The duration of each event of one region.
/// fn durations(record: &Record, roi_id: i64) -> Result<Vec<f64>> {
///     let Some(events) = record.columns("velocity_events/events")? else { return Ok(Vec::new()) };
///     let (starts, stops) = (events.f64("t_start_s")?, events.f64("t_end_s")?);
///     let of_roi = events.i64("roi_id")?.into_iter().enumerate().filter(|(_, id)| *id == Some(roi_id));
///     Ok(of_roi.map(|(at, _)| stops[at] - starts[at]).collect())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Columns {
    rows: RecordBatch,
    /// What it was read from, for messages.
    key: String,
}

impl Columns {
    pub(crate) fn new(table: Table, key: String) -> Result<Self> {
        let rows = table
            .into_batch()
            .map_err(|error| Error::new(ErrorKind::Unreadable, format!("cannot read {key} as a table: {error}")))?;
        Ok(Self { rows, key })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns' names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.rows.schema_ref().fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// Whether there is a column of this name.
    pub fn has(&self, name: &str) -> bool {
        self.rows.column_by_name(name).is_some()
    }

    /// All of it, as Arrow has it.
    pub fn batch(&self) -> &RecordBatch {
        &self.rows
    }

    /// A column of numbers, integers too; what is missing is `NaN`, as in pandas.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`], with artifact and column, where there is no such column or it has no numbers.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>> {
        let column = self.column_as(name, DataType::Float64, "numbers", DataType::is_numeric)?;
        Ok(column.as_primitive::<Float64Type>().iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }

    /// A column of integers, or of floats that are whole or missing (`NaN`).
    ///
    /// # Errors
    /// As [`f64`](Self::f64), and where a number is not whole, or too large for `i64`.
    pub fn i64(&self, name: &str) -> Result<Vec<Option<i64>>> {
        let is_float = self.rows.column_by_name(name).is_some_and(|column| column.data_type().is_floating());
        if !is_float {
            let column = self.column_as(name, DataType::Int64, "whole numbers", DataType::is_integer)?;
            return Ok(column.as_primitive::<Int64Type>().iter().collect());
        }
        let whole = |value: f64| {
            // Beyond 2⁵³ not every whole number is a float.
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

    /// A column of truth values.
    ///
    /// # Errors
    /// As [`f64`](Self::f64).
    pub fn bool(&self, name: &str) -> Result<Vec<Option<bool>>> {
        let column = self.column_as(name, DataType::Boolean, "truth values", |is| *is == DataType::Boolean)?;
        Ok(column.as_boolean().iter().collect())
    }

    /// A column of text.
    ///
    /// # Errors
    /// As [`f64`](Self::f64).
    pub fn text(&self, name: &str) -> Result<Vec<Option<String>>> {
        let column = self.column_as(name, DataType::LargeUtf8, "text", DataType::is_string)?;
        Ok(column.as_string::<i64>().iter().map(|cell| cell.map(str::to_owned)).collect())
    }

    fn column_as(&self, name: &str, to: DataType, what: &str, fits: fn(&DataType) -> bool) -> Result<ArrayRef> {
        if self.is_empty() {
            return Ok(arrow::array::new_empty_array(&to));
        }
        let Some(column) = self.rows.column_by_name(name) else {
            return Err(self.bad(format!("has no column '{name}', but {}", self.names().join(", "))));
        };
        let is = match column.data_type() {
            DataType::Dictionary(_, values) => values,
            other => other,
        };
        if !fits(is) && *is != DataType::Null {
            return Err(self.bad(format!("has {is} in column '{name}', expected {what}")));
        }
        cast_with_options(column, &to, &CastOptions { safe: false, ..CastOptions::default() })
            .map_err(|error| self.bad(format!("has a column '{name}' that does not fit: {error}")))
    }

    fn bad(&self, why: String) -> Error {
        Error::new(ErrorKind::Unreadable, format!("{} {why}", self.key))
    }
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

    #[test]
    fn cells_are_taken_as_pandas_leaves_them() {
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

    #[test]
    fn what_is_not_there_is_named() {
        let table = || Table::builder().column("a", vec![1_u64, u64::MAX])?.column("b", vec!["x", "y"])?.build();
        let record = TestRecord::new().table("t", table().expect("a table"));
        let found = look(record.clone(), "c");
        assert_eq!(found[0], "2 false [\"a\", \"b\"]");
        for cell in &found[1..] {
            assert_eq!(cell, "! images/image-1/analysis/t.parquet has no column 'c', but a, b");
        }
        let large = look(record, "a");
        assert!(
            large[2].starts_with("! images/image-1/analysis/t.parquet has a column 'a' that does not fit"),
            "{large:?}"
        );
        // Parquet goes first, a table without rows needs no columns, and absent is none.
        let none = Table::builder().build().expect("a table");
        let both = TestRecord::new().table("t", none).csv("t", "a\n1\n");
        assert_eq!(look(both, "a"), ["0 false []", "[]", "[]", "[]", "[]"]);
        assert_eq!(TestHost::new(Look).params(&TestRecord::new()), Ok("none".into()));
    }
}
