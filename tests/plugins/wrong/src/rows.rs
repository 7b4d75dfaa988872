//! Rows as Arrow C data without an Arrow library, including rows that an Arrow library would refuse to make.
//!
//! This file has the buffers and frees them. It does not check that the rows are a valid table.

use kymhost_plugin_api::Table;
use kymhost_plugin_api::c_data::{ArrowArray, ArrowSchema};
use std::ffi::{CString, c_char, c_void};
use std::ptr;

/// A table that is built column by column.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    count: usize,
    columns: Vec<Column>,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
    /// Months, days and nanoseconds, all 0.
    Intervals(usize),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Ints(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::Intervals(count) => *count,
        }
    }

    fn format(&self) -> &'static str {
        match self {
            Self::Ints(_) => "l",
            Self::Floats(_) => "g",
            Self::Texts(_) => "u",
            Self::Intervals(_) => "tin",
        }
    }

    /// The buffers after the validity bitmap, in words of 8 bytes so that they are aligned.
    fn buffers(&self) -> Vec<Vec<u64>> {
        match self {
            Self::Ints(values) => vec![values.iter().map(|value| *value as u64).collect()],
            Self::Floats(values) => vec![values.iter().map(|value| value.to_bits()).collect()],
            Self::Intervals(count) => vec![vec![0; 2 * count]],
            Self::Texts(values) => {
                let mut offsets = 0_i32.to_ne_bytes().to_vec();
                let mut bytes = Vec::new();
                for value in values {
                    bytes.extend(value.bytes());
                    offsets.extend((bytes.len() as i32).to_ne_bytes());
                }
                vec![words(&offsets), words(&bytes)]
            }
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}

impl Rows {
    /// A number of rows without columns.
    pub fn new(count: usize) -> Self {
        Self { count, columns: Vec::new() }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a column of integers.
    pub fn ints(self, name: &str, value: impl FnMut(usize) -> i64) -> Self {
        let values = Values::Ints((0..self.count).map(value).collect());
        self.with(name, values)
    }

    /// Adds a column of floats.
    pub fn floats(self, name: &str, value: impl FnMut(usize) -> f64) -> Self {
        let values = Values::Floats((0..self.count).map(value).collect());
        self.with(name, values)
    }

    /// Adds a column of texts.
    pub fn texts(self, name: &str, value: impl FnMut(usize) -> String) -> Self {
        let values = Values::Texts((0..self.count).map(value).collect());
        self.with(name, values)
    }

    /// Adds a column of a type that Parquet does not have.
    pub fn intervals(self, name: &str) -> Self {
        let values = Values::Intervals(self.count);
        self.with(name, values)
    }

    fn with(mut self, name: &str, values: Values) -> Self {
        self.columns.push(Column { name: name.to_owned(), values });
        self
    }

    /// Removes the last cell of the first column.
    pub fn cut_first_column(&mut self) {
        if let Some(Column { values: Values::Ints(values), .. }) = self.columns.first_mut() {
            values.pop();
        }
    }

    /// The table, valid or not.
    pub fn into_table(self) -> Table {
        let mut arrays = Vec::new();
        let mut schemas = Vec::new();
        for column in &self.columns {
            let values = &column.values;
            arrays.push(boxed(array(values.len(), values.buffers(), Vec::new())));
            schemas.push(boxed(schema(values.format(), &column.name, Vec::new())));
        }
        // SAFETY: both structs have the layout of Arrow's C data interface and own what they point to. Some are not a
        // valid table (a column is shorter than the others, or has no name), which a host must detect.
        unsafe { Table::from_c_data(array(self.count, Vec::new(), arrays), schema("+s", "", schemas)) }
    }
}

fn boxed<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// The memory of an array.
struct ArrayParts {
    pointers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
    _words: Vec<Vec<u64>>,
}

fn array(length: usize, words: Vec<Vec<u64>>, children: Vec<*mut ArrowArray>) -> ArrowArray {
    let mut pointers = vec![ptr::null()];
    pointers.extend(words.iter().map(|words| words.as_ptr().cast::<c_void>()));
    let mut parts = Box::new(ArrayParts { pointers, children, _words: words });
    ArrowArray {
        length: length as i64,
        null_count: 0,
        offset: 0,
        n_buffers: parts.pointers.len() as i64,
        n_children: parts.children.len() as i64,
        buffers: parts.pointers.as_mut_ptr(),
        children: parts.children.as_mut_ptr(),
        dictionary: ptr::null_mut(),
        release: Some(release_array),
        private_data: Box::into_raw(parts).cast(),
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: the owner calls it once, with an array that `array` above made.
    unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        for child in &parts.children {
            // Dropping a child runs its release, unless the consumer has moved it out.
            drop(Box::from_raw(*child));
        }
        (*array).release = None;
    }
}

/// The memory of a schema.
struct SchemaParts {
    format: CString,
    name: CString,
    children: Vec<*mut ArrowSchema>,
}

fn schema(format: &str, name: &str, children: Vec<*mut ArrowSchema>) -> ArrowSchema {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let mut parts = Box::new(SchemaParts { format: text(format), name: text(name), children });
    const NULLABLE: i64 = 2;
    ArrowSchema {
        format: parts.format.as_ptr(),
        name: parts.name.as_ptr(),
        metadata: ptr::null::<c_char>(),
        flags: NULLABLE,
        n_children: parts.children.len() as i64,
        children: parts.children.as_mut_ptr(),
        dictionary: ptr::null_mut(),
        release: Some(release_schema),
        private_data: Box::into_raw(parts).cast(),
    }
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: as above.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        for child in &parts.children {
            drop(Box::from_raw(*child));
        }
        (*schema).release = None;
    }
}
