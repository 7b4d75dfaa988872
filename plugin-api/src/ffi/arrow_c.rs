//! The Arrow C Data Interface in structs of this crate, so that plugin and host may use different versions of Arrow.
//!
//! This file follows <https://arrow.apache.org/docs/format/CDataInterface.html>: a table is one struct array. Arrow
//! itself is only used by the conversions behind a feature.
#![allow(non_local_definitions)]

#[cfg(feature = "tables")]
use crate::{Error, ErrorKind, Result};
use abi_stable::StableAbi;
use std::ffi::{c_char, c_void, CStr};

/// Arrow's `struct ArrowArray`, which its specification freezes.
///
/// The holder owns it and releases it once, by dropping it, from any thread.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct ArrowArray {
    /// The number of elements.
    pub length: i64,
    /// The number of nulls; -1 if they were not counted.
    pub null_count: i64,
    /// The number of elements to skip.
    pub offset: i64,
    /// The number of entries of `buffers`.
    pub n_buffers: i64,
    /// The number of entries of `children`.
    pub n_children: i64,
    /// The buffers.
    pub buffers: *mut *const c_void,
    /// The children.
    #[sabi(unsafe_opaque_field)]
    pub children: *mut *mut ArrowArray,
    /// The dictionary.
    #[sabi(unsafe_opaque_field)]
    pub dictionary: *mut ArrowArray,
    /// Frees everything below; `None` once that has happened.
    #[sabi(unsafe_opaque_field)]
    pub release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    /// Belongs to the producer.
    pub private_data: *mut c_void,
}

/// Arrow's `struct ArrowSchema`, which its specification freezes.
///
/// The holder owns it and releases it once, by dropping it, from any thread.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct ArrowSchema {
    /// The type, in the specification's format strings.
    pub format: *const c_char,
    /// The column's name.
    pub name: *const c_char,
    /// Key-value pairs.
    pub metadata: *const c_char,
    /// Bit flags, e.g. whether the column is nullable.
    pub flags: i64,
    /// The number of entries of `children`.
    pub n_children: i64,
    /// The children.
    #[sabi(unsafe_opaque_field)]
    pub children: *mut *mut ArrowSchema,
    /// The type of the dictionary's values.
    #[sabi(unsafe_opaque_field)]
    pub dictionary: *mut ArrowSchema,
    /// Frees everything below; `None` once that has happened.
    #[sabi(unsafe_opaque_field)]
    pub release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    /// Belongs to the producer.
    pub private_data: *mut c_void,
}

impl Drop for ArrowArray {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the specification has the owner call it once; a producer sets it to null when it is done.
            unsafe { release(self) }
        }
    }
}

impl Drop for ArrowSchema {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: as above.
            unsafe { release(self) }
        }
    }
}

// SAFETY: the specification forbids producers to bind data to a thread, and nothing here mutates behind `&`.
unsafe impl Send for ArrowArray {}
// SAFETY: as above.
unsafe impl Sync for ArrowArray {}
// SAFETY: as above.
unsafe impl Send for ArrowSchema {}
// SAFETY: as above.
unsafe impl Sync for ArrowSchema {}

/// A table that crosses the boundary: a struct array with one child per column. Frozen.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct ArrowTable {
    /// The data.
    pub array: ArrowArray,
    /// Its type.
    pub schema: ArrowSchema,
}

impl ArrowTable {
    /// The number of rows that the struct array claims; 0 if it is negative.
    pub fn num_rows(&self) -> usize {
        usize::try_from(self.array.length).unwrap_or(0)
    }

    /// The names of the columns. A name that is missing or not UTF-8 is empty.
    pub fn column_names(&self) -> Vec<String> {
        let count = usize::try_from(self.schema.n_children).unwrap_or(0);
        if self.schema.children.is_null() {
            return Vec::new();
        }
        (0..count)
            .map(|index| {
                // SAFETY: the specification promises `n_children` valid pointers, and the maker of this value promised
                // to follow the specification (`Table::from_c_data`).
                let child = unsafe { *self.schema.children.add(index) };
                if child.is_null() {
                    return String::new();
                }
                // SAFETY: as above, a valid schema.
                let name = unsafe { (*child).name };
                if name.is_null() {
                    return String::new();
                }
                // SAFETY: as above, null-terminated and alive as long as the schema.
                unsafe { CStr::from_ptr(name) }.to_str().map(str::to_owned).unwrap_or_default()
            })
            .collect()
    }

    /// Refuses columns of different lengths. Arrow would silently cut all of them to the shortest.
    #[cfg(feature = "tables")]
    fn check_lengths(&self) -> Result<()> {
        let bad = |why: String| Error::new(ErrorKind::BadTable, why);
        if self.array.release.is_none() || self.schema.release.is_none() {
            return Err(bad("the table was released before it was handed over".into()));
        }
        if self.array.length < 0 || self.array.offset < 0 {
            return Err(bad("the table has a negative length or offset".into()));
        }
        if self.array.n_children != self.schema.n_children || self.array.n_children < 0 {
            return Err(bad(format!(
                "the table has {} columns, its schema {}",
                self.array.n_children, self.schema.n_children
            )));
        }
        if self.array.n_children > 0 && (self.array.children.is_null() || self.schema.children.is_null()) {
            return Err(bad("the table's columns are missing".into()));
        }
        let needed = self.array.offset.saturating_add(self.array.length);
        let mut first = None;
        for (index, name) in self.column_names().into_iter().enumerate() {
            // SAFETY: the count is the array's own, the pointer is not null; see `column_names`.
            let child = unsafe { *self.array.children.add(index) };
            if child.is_null() {
                return Err(bad(format!("column '{name}' is missing")));
            }
            // SAFETY: as above.
            let length = unsafe { (*child).length };
            let expected = *first.get_or_insert(length);
            if length != expected || length < needed {
                return Err(bad(format!(
                    "the table is ragged: column '{name}' has {length} rows, expected {}",
                    expected.max(needed)
                )));
            }
        }
        Ok(())
    }
}

#[cfg(feature = "tables")]
mod conversions {
    use super::{ArrowArray, ArrowSchema, ArrowTable};
    use crate::{Error, ErrorKind, Result};
    use arrow_array::ffi::{from_ffi, to_ffi, FFI_ArrowArray, FFI_ArrowSchema};
    use arrow_array::{make_array, Array, RecordBatch, StructArray};
    use arrow_schema::{DataType, Schema};
    use std::mem::{align_of, size_of, transmute};
    use std::panic::{catch_unwind, AssertUnwindSafe};
    use std::sync::Arc;

    const _: () = assert!(
        size_of::<ArrowArray>() == size_of::<FFI_ArrowArray>()
            && align_of::<ArrowArray>() == align_of::<FFI_ArrowArray>()
            && size_of::<ArrowSchema>() == size_of::<FFI_ArrowSchema>()
            && align_of::<ArrowSchema>() == align_of::<FFI_ArrowSchema>()
    );

    impl ArrowTable {
        /// Exports a batch without copying. Schema metadata is dropped, that of fields is kept.
        pub fn from_batch(batch: RecordBatch) -> Result<Self> {
            let (array, schema) = to_ffi(&StructArray::from(batch).into_data())
                .map_err(|error| Error::new(ErrorKind::BadTable, error))?;
            // SAFETY: both are the specification's struct, and both release on drop, so a transmute moves the
            // ownership.
            Ok(unsafe {
                Self {
                    array: transmute::<FFI_ArrowArray, ArrowArray>(array),
                    schema: transmute::<FFI_ArrowSchema, ArrowSchema>(schema),
                }
            })
        }

        /// Imports the table without copying, except for buffers that are not aligned, and checks all of it.
        ///
        /// # Errors
        /// [`ErrorKind::BadTable`] if the data breaks Arrow's specification, or columns differ in length.
        pub fn into_batch(self) -> Result<RecordBatch> {
            self.check_lengths()?;
            // Arrow asserts some of the things that a foreign producer may get wrong.
            catch_unwind(AssertUnwindSafe(|| import(self)))
                .unwrap_or_else(|payload| Err(super::super::guard::payload_text(payload)))
                .map_err(|why| Error::new(ErrorKind::BadTable, format!("the rows are not valid Arrow data: {why}")))
        }
    }

    fn import(table: ArrowTable) -> Result<RecordBatch, String> {
        let ArrowTable { array, schema } = table;
        // SAFETY: as in `from_batch`, in the other direction.
        let (array, schema) = unsafe {
            (transmute::<ArrowArray, FFI_ArrowArray>(array), transmute::<ArrowSchema, FFI_ArrowSchema>(schema))
        };
        let data_type = DataType::try_from(&schema).map_err(|error| error.to_string())?;
        let DataType::Struct(fields) = data_type else {
            return Err(format!("expected a struct array, found {data_type}"));
        };
        if array.is_empty() {
            // Arrow's import takes the text of an empty slice for absent, and its validation then refuses the offsets.
            return Ok(RecordBatch::new_empty(Arc::new(Schema::new(fields))));
        }
        // SAFETY: the table's maker promised the specification. Lengths are checked above, contents below.
        let mut data = unsafe { from_ffi(array, &schema) }.map_err(|error| error.to_string())?;
        data.align_buffers();
        data.validate_full().map_err(|error| error.to_string())?;
        let array = make_array(data);
        if array.null_count() > 0 {
            return Err("whole rows are null".to_owned());
        }
        let array = array.as_any().downcast_ref::<StructArray>().ok_or("expected a struct array")?;
        Ok(RecordBatch::from(array))
    }
}

impl crate::Table {
    /// A table of Arrow C data, for plugins that use an Arrow library of their own.
    ///
    /// # Safety
    /// Both must follow the Arrow C Data Interface: a struct array with one child per column, and its schema.
    pub unsafe fn from_c_data(array: ArrowArray, schema: ArrowSchema) -> Self {
        Self::from_c_table(ArrowTable { array, schema })
    }

    /// The table as Arrow C data. The caller owns both structs; dropping them releases them.
    pub fn into_c_data(self) -> (ArrowArray, ArrowSchema) {
        let ArrowTable { array, schema } = self.into_c_table();
        (array, schema)
    }
}
