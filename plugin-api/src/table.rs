//! A table: an indexer's rows, or the contents of a table artifact.
//!
//! This file is the safe API over Arrow C data. It does not know Parquet or CSV; the host does.

use crate::ffi::ArrowTable;

/// Named columns of one length, kept as Arrow C data.
#[derive(Debug)]
pub struct Table {
    data: ArrowTable,
}

impl Table {
    pub(crate) fn from_c_table(data: ArrowTable) -> Self {
        Self { data }
    }

    pub(crate) fn into_c_table(self) -> ArrowTable {
        self.data
    }

    /// The number of rows.
    pub fn num_rows(&self) -> usize {
        self.data.num_rows()
    }

    /// The names of the columns, in their order. A name that is missing or not UTF-8 is empty.
    pub fn column_names(&self) -> Vec<String> {
        self.data.column_names()
    }
}

#[cfg(feature = "tables")]
mod with_arrow {
    use super::Table;
    use crate::ffi::ArrowTable;
    use crate::{Error, ErrorKind, Result};
    use arrow_array::{
        ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
        StringArray, UInt64Array,
    };
    use arrow_schema::{Field, Schema};
    use std::sync::Arc;

    impl Table {
        /// Makes a table of a batch, without copying. Schema metadata is dropped, that of fields is kept.
        ///
        /// # Errors
        /// [`ErrorKind::BadTable`] if the type of a column cannot be expressed in Arrow C data.
        pub fn from_batch(batch: RecordBatch) -> Result<Self> {
            ArrowTable::from_batch(batch).map(Self::from_c_table)
        }

        /// The table as a batch, without copying. All of it is checked.
        ///
        /// # Errors
        /// [`ErrorKind::BadTable`] if the data breaks Arrow's specification or columns differ in length.
        pub fn into_batch(self) -> Result<RecordBatch> {
            self.into_c_table().into_batch()
        }

        /// Starts a table that is built column by column.
        pub fn builder() -> TableBuilder {
            TableBuilder::default()
        }
    }

    /// Builds a [`Table`] column by column, without naming Arrow types.
    #[derive(Debug, Default)]
    pub struct TableBuilder {
        fields: Vec<Field>,
        columns: Vec<ArrayRef>,
    }

    impl TableBuilder {
        /// Adds a column.
        ///
        /// # Errors
        /// [`ErrorKind::BadTable`] if the name is empty or used before, or if the length differs from that of the
        /// earlier columns.
        pub fn column(mut self, name: impl Into<String>, values: impl IntoColumn) -> Result<Self> {
            let name = name.into();
            let bad = |why: String| Err(Error::new(ErrorKind::BadTable, why));
            if name.is_empty() {
                return bad("a column has no name".to_owned());
            }
            if self.fields.iter().any(|field| *field.name() == name) {
                return bad(format!("there are two columns '{name}'"));
            }
            let values = values.into_column();
            if let Some(first) = self.columns.first() {
                if first.len() != values.len() {
                    return bad(format!(
                        "the table is ragged: column '{name}' has {} rows, expected {}",
                        values.len(),
                        first.len()
                    ));
                }
            }
            self.fields.push(Field::new(name, values.data_type().clone(), true));
            self.columns.push(values);
            Ok(self)
        }

        /// Finishes the table. Without any column it has no rows.
        ///
        /// # Errors
        /// [`ErrorKind::BadTable`] if the type of a column cannot be expressed in Arrow C data.
        pub fn build(self) -> Result<Table> {
            let rows = self.columns.first().map_or(0, |column| column.len());
            let batch = RecordBatch::try_new_with_options(
                Arc::new(Schema::new(self.fields)),
                self.columns,
                &RecordBatchOptions::new().with_row_count(Some(rows)),
            )
            .map_err(|error| Error::new(ErrorKind::BadTable, error))?;
            Table::from_batch(batch)
        }
    }

    /// A value that [`TableBuilder::column`] accepts: a `Vec` of numbers, bools or text, a `Vec` of `Option`s of
    /// these if cells may be missing, or any Arrow array.
    pub trait IntoColumn {
        /// The column as an Arrow array.
        fn into_column(self) -> ArrayRef;
    }

    impl IntoColumn for ArrayRef {
        fn into_column(self) -> ArrayRef {
            self
        }
    }

    macro_rules! into_column {
        ($($value:ty => $array:ty),+ $(,)?) => {$(
            impl IntoColumn for Vec<$value> {
                fn into_column(self) -> ArrayRef {
                    Arc::new(<$array>::from(self))
                }
            }
        )+};
    }

    into_column! {
        f32 => Float32Array, Option<f32> => Float32Array,
        f64 => Float64Array, Option<f64> => Float64Array,
        i32 => Int32Array, Option<i32> => Int32Array,
        i64 => Int64Array, Option<i64> => Int64Array,
        u64 => UInt64Array, Option<u64> => UInt64Array,
        bool => BooleanArray, Option<bool> => BooleanArray,
        String => StringArray, Option<String> => StringArray,
        &str => StringArray, Option<&str> => StringArray,
    }
}

#[cfg(feature = "tables")]
pub use with_arrow::{IntoColumn, TableBuilder};

#[cfg(all(test, feature = "arrow"))]
mod tests {
    use super::Table;
    use crate::{ErrorKind, Result};
    use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
    use arrow::datatypes::Schema;
    use std::sync::Arc;

    /// A built table has the given names, values and missing cells.
    #[test]
    fn built_table_has_values_and_nulls() -> Result<()> {
        let table = Table::builder()
            .column("f", vec![1.5, -0.0])?
            .column("of", vec![None, Some(2.0)])?
            .column("i", vec![1_i64, i64::MIN])?
            .column("oi", vec![Some(7_i64), None])?
            .column("b", vec![true, false])?
            .column("s", vec!["a", ""])?
            .column("os", vec![None, Some("b".to_owned())])?
            .column("any", Arc::new(Int64Array::from(vec![4, 5])) as ArrayRef)?
            .build()?;
        assert_eq!(table.num_rows(), 2);
        assert_eq!(table.column_names(), ["f", "of", "i", "oi", "b", "s", "os", "any"]);
        let batch = table.into_batch()?;
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 8));
        let nulls: Vec<_> = batch.columns().iter().map(|column| column.null_count()).collect();
        assert_eq!(nulls, [0, 1, 0, 1, 0, 0, 1, 0]);
        let text = batch.column(6).as_any().downcast_ref::<StringArray>().map(|column| column.value(1).to_owned());
        assert_eq!(text.as_deref(), Some("b"));
        Ok(())
    }

    /// Duplicate and empty names and other lengths are a `BadTable` error.
    #[test]
    fn builder_bad_column_is_refused() -> Result<()> {
        let begun = || Table::builder().column("a", vec![1.0, 2.0]);
        for (columns, words) in [
            (begun()?.column("a", vec![1.0, 2.0]), "two columns 'a'"),
            (begun()?.column("", vec![1.0, 2.0]), "no name"),
            (begun()?.column("b", vec![1.0]), "'b' has 1 rows, expected 2"),
        ] {
            match columns {
                Ok(_) => panic!("{words} was accepted"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::BadTable);
                    assert!(error.message().contains(words), "{error}");
                }
            }
        }
        Ok(())
    }

    /// Batches, also sliced or empty ones, come back with the same columns.
    #[test]
    fn batch_roundtrip_keeps_all_columns() -> Result<()> {
        let columns = |batch: &RecordBatch| -> Vec<_> { batch.columns().to_vec() };
        let full = Table::builder()
            .column("a", vec![1.0, 2.0, 3.0])?
            .column("b", vec!["x", "y", "z"])?
            .build()?
            .into_batch()?;
        let no_columns = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            vec![],
            &RecordBatchOptions::new().with_row_count(Some(3)),
        )?;
        for batch in [full.clone(), full.slice(1, 2), full.slice(3, 0), no_columns] {
            let back = Table::from_batch(batch.clone())?.into_batch()?;
            assert_eq!(back.num_rows(), batch.num_rows());
            assert_eq!(columns(&back), columns(&batch));
        }
        Ok(())
    }
}
