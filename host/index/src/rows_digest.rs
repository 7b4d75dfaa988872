//! The digest of an image's rows: over values, not over how they are kept.
//!
//! Responsible for what counts as the same value. It does no I/O.
//!
//! Columns go by name, in the order of their names; the three provenance columns are left out, as are cells that are
//! null or NaN, so a column without values is not a column. A row's place among the image's rows counts. An integer,
//! the same whole float and (for 0 and 1) the same bool are alike; integers beyond 2^53 count as the float nearest to
//! them, because a column that is widened to floats keeps no more. Times count as nanoseconds whatever their unit.
//! Text is its bytes.
//!
//! # The bytes
//!
//! The digest is the SHA-256 of these bytes; all numbers are little-endian.
//!
//! First `DOMAIN` (the text `kymhost rows 1` and a line feed). Then each row:
//! - `01` if the row has values in the same columns as the image's row before it; else `02`, the count of columns that
//!   have a value in it (u32), and for each, in the order of the bytes of their names, length (u32) and name;
//! - for each of these columns, in that order, its cell.
//!
//! A cell is a letter and what follows:
//! - `N`: a number or bool, as the bits of the nearest float64 (u64); -0 as 0, float16 and float32 as what they are;
//! - `T`: text; length in bytes (u64), UTF-8. `B`: bytes of any sort; length (u64), bytes;
//! - `S`: a time stamp without a zone, `U`: one with a zone, `A`: a date, `C`: a time of day, `D`: a duration; nanoseconds (i128);
//! - `X`: a decimal, with no zeros at the end of its digits; the digits as an integer (i256), then how many of them stand
//!   behind the point (i32, negative for zeros before it);
//! - `L`: a list of any sort; count of items (u64), items. `M`: a map; count of entries (u64), key and value of each;
//! - `R`: a structure; count of fields that have a value (u32), for each, in the order of their names, length (u32) and name, cell;
//! - `?`: any other type, which tables do not keep; as `T`, what Arrow prints;
//! - `Z`: an item, key or value that is null or NaN.

use crate::error::IndexError;
use crate::names::TableName;
use crate::provenance::{COLUMNS, IMAGE_ID, TextColumn, runs};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, Schema, TimeUnit, i256};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use kymhost_dataset::{Dataset, hex};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// What every digest begins with; another encoding gets another number.
const DOMAIN: &[u8] = b"kymhost rows 1\n";
/// The row has the columns of the one before.
const SAME_COLUMNS: u8 = 1;
/// The row's columns follow.
const COLUMNS_FOLLOW: u8 = 2;
/// Bytes that are gathered before they are hashed.
const GATHERED: usize = 16 << 10;
/// Lists in lists: deeper than any table goes.
const MAX_NESTING: usize = 32;

/// The digest of one image's rows, lower-case hex SHA-256.
pub fn rows_digest(rows: &RecordBatch) -> String {
    let mut digests = Digests::default();
    let columns = digests.columns(rows);
    let image = digests.image("");
    digests.take(image, &columns, 0..rows.num_rows());
    digests.finish().into_values().next().unwrap_or_default()
}

/// The digest of no rows.
pub(crate) fn no_rows_digest() -> String {
    rows_digest(&RecordBatch::new_empty(Arc::new(Schema::empty())))
}

/// Digests of the rows of many images, fed by the batches of a table in its order.
#[derive(Debug, Default)]
pub struct TableDigests {
    digests: Digests,
}

impl TableDigests {
    /// Takes one more batch of the table (all columns). A row without an image id belongs to no image.
    pub fn add(&mut self, rows: &RecordBatch) {
        let ids = rows.column_by_name(IMAGE_ID).map(without_dictionary);
        let Some(ids) = ids.as_ref().map(TextColumn::over) else { return };
        let columns = self.digests.columns(rows);
        runs(
            rows.num_rows(),
            |a, b| ids.same(a, b),
            |run| {
                if let Some(id) = ids.get(run.start) {
                    let image = self.digests.image(id);
                    self.digests.take(image, &columns, run);
                }
            },
        );
    }

    /// One digest for each image that has rows.
    pub fn finish(self) -> HashMap<String, String> {
        self.digests.finish()
    }
}

/// The digests of all images in a table on disk, read in batches; empty if there is no table.
///
/// # Errors
/// [`kymhost_dataset::DatasetError::Unreadable`] if the table is not Parquet.
pub fn table_digests(dataset: &Dataset, name: &TableName) -> Result<HashMap<String, String>, IndexError> {
    let mut digests = TableDigests::default();
    if let Some(file) = dataset.open_table(name.table())? {
        let columns: Vec<usize> = (0..file.schema().fields().len()).collect();
        // Group by group: memory is reserved for the rows of one group.
        for group in 0..file.parquet().num_row_groups() {
            for batch in file.batches(vec![group], &columns)? {
                digests.add(&batch?);
            }
        }
    }
    Ok(digests.finish())
}

/// The digest of one column's cells, as [`rows_digest`] encodes them: missing ones (`NaN` is one) and where they are,
/// an integer and the same whole float alike, whatever the column's type.
pub(crate) fn cells_digest(column: &ArrayRef) -> String {
    let length = column.len();
    let column = Column::of(column, MAX_NESTING);
    let (mut hash, mut bytes) = (Sha256::new_with_prefix(DOMAIN), Vec::new());
    for row in 0..length {
        column.put_item(row, &mut bytes);
        if bytes.len() >= GATHERED {
            hash.update(&bytes);
            bytes.clear();
        }
    }
    hash.update(&bytes);
    hex(&hash.finalize())
}

/// An image whose rows are being hashed.
#[derive(Debug)]
struct Image {
    hash: Sha256,
    /// The columns that had a value in its last row, as bits by the number of their names.
    last: Option<Vec<u64>>,
}

#[derive(Debug, Default)]
struct Digests {
    /// The numbers of columns' names.
    names: HashMap<String, usize>,
    places: HashMap<String, usize>,
    images: Vec<Image>,
    bytes: Vec<u8>,
    mask: Vec<u64>,
}

/// The columns of a batch that count, in the order of their names.
struct Columns(Vec<(usize, String, Column)>);

impl Digests {
    fn columns(&mut self, rows: &RecordBatch) -> Columns {
        let schema = rows.schema_ref();
        let counted = schema.fields().iter().zip(rows.columns()).filter(|(f, _)| !COLUMNS.contains(&f.name().as_str()));
        let mut columns: Vec<(usize, String, Column)> = counted
            .map(|(field, column)| {
                let next = self.names.len();
                let number = *self.names.entry(field.name().clone()).or_insert(next);
                (number, field.name().clone(), Column::of(column, MAX_NESTING))
            })
            .collect();
        columns.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        self.mask = vec![0; self.names.len().div_ceil(64)];
        Columns(columns)
    }

    fn image(&mut self, id: &str) -> usize {
        if let Some(&place) = self.places.get(id) {
            return place;
        }
        let place = self.images.len();
        self.images.push(Image { hash: Sha256::new_with_prefix(DOMAIN), last: None });
        self.places.insert(id.to_owned(), place);
        place
    }

    fn take(&mut self, image: usize, columns: &Columns, rows: std::ops::Range<usize>) {
        let Self { images, bytes, mask, .. } = self;
        let Some(image) = images.get_mut(image) else { return };
        for row in rows {
            mask.fill(0);
            for (number, _, column) in &columns.0 {
                if let Some(word) = mask.get_mut(number / 64) {
                    *word |= u64::from(column.has(row)) << (number % 64);
                }
            }
            let has = |number: usize| mask.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1);
            if image.last.as_ref().is_some_and(|last| same_bits(last, mask)) {
                bytes.push(SAME_COLUMNS);
            } else {
                bytes.push(COLUMNS_FOLLOW);
                let count: u32 = mask.iter().map(|word| word.count_ones()).sum();
                bytes.extend_from_slice(&count.to_le_bytes());
                for (_, name, _) in columns.0.iter().filter(|(number, ..)| has(*number)) {
                    put_name(name, bytes);
                }
                let last = image.last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(mask);
            }
            for (_, _, column) in columns.0.iter().filter(|(number, ..)| has(*number)) {
                column.put(row, bytes);
            }
            if bytes.len() >= GATHERED {
                image.hash.update(&*bytes);
                bytes.clear();
            }
        }
        image.hash.update(&*bytes);
        bytes.clear();
        // Do not keep the memory of one enormous cell.
        bytes.shrink_to(4 * GATHERED);
    }

    fn finish(mut self) -> HashMap<String, String> {
        let images = std::mem::take(&mut self.images);
        let mut digests: Vec<String> = images.into_iter().map(|image| hex(&image.hash.finalize())).collect();
        let places = self.places.into_iter();
        places.filter_map(|(id, place)| Some((id, std::mem::take(digests.get_mut(place)?)))).collect()
    }
}

/// Whether two sets of bits are the same; missing words are zero.
fn same_bits(a: &[u64], b: &[u64]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.iter().enumerate().all(|(place, word)| short.get(place).copied().unwrap_or(0) == *word)
}

fn put_name(name: &str, out: &mut Vec<u8>) {
    // A name of 4 GiB would not fit in a table.
    out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn put_bytes(letter: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(letter);
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(value);
}

/// A column ready to be encoded: what takes time for each type is done once for all its rows.
struct Column {
    /// Which rows have a value; `None`: all.
    present: Option<NullBuffer>,
    cells: Cells,
}

enum Cells {
    Numbers(Vec<u64>),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextViews(StringViewArray),
    Bytes(arrow::array::BinaryArray),
    LargeBytes(arrow::array::LargeBinaryArray),
    ByteViews(BinaryViewArray),
    FixedBytes(arrow::array::FixedSizeBinaryArray),
    Times { letter: u8, values: ScalarBuffer<i64>, nanos: i128 },
    Decimals { values: ScalarBuffer<i128>, scale: i8 },
    WideDecimals { values: ScalarBuffer<i256>, scale: i8 },
    Lists { spans: Spans, items: Box<Column> },
    Maps { spans: Spans, keys: Box<Column>, values: Box<Column> },
    Structures(Vec<(String, Column)>),
    Others(Vec<String>),
    Nothing,
}

/// Where each row's items stand.
enum Spans {
    Small(ScalarBuffer<i32>),
    Large(ScalarBuffer<i64>),
    Fixed(usize),
}

impl Spans {
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        fn between<T: Copy + TryInto<usize>>(offsets: &[T], row: usize) -> std::ops::Range<usize> {
            let at = |place: usize| offsets.get(place).and_then(|&offset| offset.try_into().ok()).unwrap_or(0);
            at(row)..at(row + 1)
        }
        match self {
            Self::Small(offsets) => between(offsets, row),
            Self::Large(offsets) => between(offsets, row),
            Self::Fixed(size) => row * size..(row + 1) * size,
        }
    }
}

fn without_dictionary(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(_, values) => {
            cast(column, values).map_or_else(|_| Arc::clone(column), |plain| without_dictionary(&plain))
        }
        _ => Arc::clone(column),
    }
}

impl Column {
    fn of(column: &ArrayRef, nesting: usize) -> Self {
        use DataType as T;
        let column = &without_dictionary(column);
        let mut present = column.logical_nulls();
        let below = nesting.saturating_sub(1);
        let cells = match column.data_type() {
            T::Null => Some(Cells::Nothing),
            T::Boolean
            | T::Int8
            | T::Int16
            | T::Int32
            | T::Int64
            | T::UInt8
            | T::UInt16
            | T::UInt32
            | T::UInt64
            | T::Float16
            | T::Float32
            | T::Float64 => cast(column, &T::Float64).ok().map(|numbers| {
                let numbers = numbers.as_primitive::<Float64Type>().values();
                if numbers.iter().any(|number| number.is_nan()) {
                    let are = BooleanBuffer::collect_bool(numbers.len(), |row| {
                        numbers.get(row).is_some_and(|number| !number.is_nan())
                    });
                    present = NullBuffer::union(present.as_ref(), Some(&NullBuffer::new(are)));
                }
                // Adding 0 turns -0 into 0 and changes no other value.
                Cells::Numbers(numbers.iter().map(|number| (number + 0.0).to_bits()).collect())
            }),
            T::Utf8 => Some(Cells::Text(column.as_string::<i32>().clone())),
            T::LargeUtf8 => Some(Cells::LargeText(column.as_string::<i64>().clone())),
            T::Utf8View => Some(Cells::TextViews(column.as_string_view().clone())),
            T::Binary => Some(Cells::Bytes(column.as_binary::<i32>().clone())),
            T::LargeBinary => Some(Cells::LargeBytes(column.as_binary::<i64>().clone())),
            T::BinaryView => Some(Cells::ByteViews(column.as_binary_view().clone())),
            T::FixedSizeBinary(_) => Some(Cells::FixedBytes(column.as_fixed_size_binary().clone())),
            T::Date32 => times(b'A', column, 86_400_000_000_000),
            T::Date64 => times(b'A', column, 1_000_000),
            T::Time32(unit) | T::Time64(unit) => times(b'C', column, nanos(*unit)),
            T::Timestamp(unit, None) => times(b'S', column, nanos(*unit)),
            T::Timestamp(unit, Some(_)) => times(b'U', column, nanos(*unit)),
            T::Duration(unit) => times(b'D', column, nanos(*unit)),
            T::Decimal128(_, scale) => {
                let values = column.as_primitive::<Decimal128Type>().values().clone();
                Some(Cells::Decimals { values, scale: *scale })
            }
            T::Decimal256(_, scale) => {
                let values = column.as_primitive::<Decimal256Type>().values().clone();
                Some(Cells::WideDecimals { values, scale: *scale })
            }
            T::List(_) if nesting > 0 => {
                let lists = column.as_list::<i32>();
                let items = Box::new(Self::of(lists.values(), below));
                Some(Cells::Lists { spans: Spans::Small(lists.offsets().inner().clone()), items })
            }
            T::LargeList(_) if nesting > 0 => {
                let lists = column.as_list::<i64>();
                let items = Box::new(Self::of(lists.values(), below));
                Some(Cells::Lists { spans: Spans::Large(lists.offsets().inner().clone()), items })
            }
            T::FixedSizeList(_, size) if nesting > 0 => {
                let items = Box::new(Self::of(column.as_fixed_size_list().values(), below));
                Some(Cells::Lists { spans: Spans::Fixed(usize::try_from(*size).unwrap_or(0)), items })
            }
            T::Map(..) if nesting > 0 => {
                let maps = column.as_map();
                let (keys, values) = (Self::of(maps.keys(), below), Self::of(maps.values(), below));
                let spans = Spans::Small(maps.offsets().inner().clone());
                Some(Cells::Maps { spans, keys: Box::new(keys), values: Box::new(values) })
            }
            T::Struct(fields) if nesting > 0 => {
                let parts = fields.iter().zip(column.as_struct().columns());
                let mut parts: Vec<_> =
                    parts.map(|(field, part)| (field.name().clone(), Self::of(part, below))).collect();
                parts.sort_by(|(a, _), (b, _)| a.cmp(b));
                Some(Cells::Structures(parts))
            }
            _ => None,
        };
        Self { present, cells: cells.unwrap_or_else(|| Cells::Others(printed(column))) }
    }

    fn has(&self, row: usize) -> bool {
        !matches!(self.cells, Cells::Nothing)
            && self.present.as_ref().is_none_or(|present| row < present.len() && present.is_valid(row))
    }

    fn put(&self, row: usize, out: &mut Vec<u8>) {
        match &self.cells {
            Cells::Numbers(numbers) => {
                out.push(b'N');
                out.extend_from_slice(&numbers.get(row).copied().unwrap_or(0).to_le_bytes());
            }
            Cells::Text(texts) => put_bytes(b'T', texts.value(row).as_bytes(), out),
            Cells::LargeText(texts) => put_bytes(b'T', texts.value(row).as_bytes(), out),
            Cells::TextViews(texts) => put_bytes(b'T', texts.value(row).as_bytes(), out),
            Cells::Bytes(values) => put_bytes(b'B', values.value(row), out),
            Cells::LargeBytes(values) => put_bytes(b'B', values.value(row), out),
            Cells::ByteViews(values) => put_bytes(b'B', values.value(row), out),
            Cells::FixedBytes(values) => put_bytes(b'B', values.value(row), out),
            Cells::Times { letter, values, nanos } => {
                out.push(*letter);
                let time = i128::from(values.get(row).copied().unwrap_or(0)) * nanos;
                out.extend_from_slice(&time.to_le_bytes());
            }
            Cells::Decimals { values, scale } => {
                put_decimal(i256::from_i128(values.get(row).copied().unwrap_or(0)), *scale, out);
            }
            Cells::WideDecimals { values, scale } => {
                put_decimal(values.get(row).copied().unwrap_or(i256::ZERO), *scale, out);
            }
            Cells::Lists { spans, items } => {
                let span = spans.of(row);
                out.push(b'L');
                out.extend_from_slice(&(span.len() as u64).to_le_bytes());
                span.for_each(|item| items.put_item(item, out));
            }
            Cells::Maps { spans, keys, values } => {
                let span = spans.of(row);
                out.push(b'M');
                out.extend_from_slice(&(span.len() as u64).to_le_bytes());
                for entry in span {
                    keys.put_item(entry, out);
                    values.put_item(entry, out);
                }
            }
            Cells::Structures(parts) => {
                let count = parts.iter().filter(|(_, part)| part.has(row)).count();
                out.push(b'R');
                out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
                for (name, part) in parts.iter().filter(|(_, part)| part.has(row)) {
                    put_name(name, out);
                    part.put(row, out);
                }
            }
            Cells::Others(texts) => put_bytes(b'?', texts.get(row).map_or("", String::as_str).as_bytes(), out),
            Cells::Nothing => out.push(b'Z'),
        }
    }

    fn put_item(&self, row: usize, out: &mut Vec<u8>) {
        if self.has(row) { self.put(row, out) } else { out.push(b'Z') }
    }
}

fn nanos(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn times(letter: u8, column: &ArrayRef, nanos: i128) -> Option<Cells> {
    let small = match column.data_type() {
        DataType::Date32 | DataType::Time32(_) => Some(cast(column, &DataType::Int32).ok()?),
        _ => None,
    };
    let values = cast(small.as_ref().unwrap_or(column), &DataType::Int64).ok()?;
    Some(Cells::Times { letter, values: values.as_primitive::<Int64Type>().values().clone(), nanos })
}

/// A decimal without zeros at its end.
fn put_decimal(value: i256, scale: i8, out: &mut Vec<u8>) {
    let mut scale = i32::from(scale);
    let mut value = value;
    if value == i256::ZERO {
        scale = 0;
    } else if let Some(mut small) = value.to_i128() {
        while small % 10 == 0 {
            small /= 10;
            scale -= 1;
        }
        value = i256::from_i128(small);
    } else {
        let ten = i256::from_i128(10);
        while let (Some(i256::ZERO), Some(tenth)) = (value.checked_rem(ten), value.checked_div(ten)) {
            value = tenth;
            scale -= 1;
        }
    }
    out.push(b'X');
    out.extend_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&scale.to_le_bytes());
}

/// Values of a type that tables do not keep, as Arrow prints them.
fn printed(column: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default();
    let Ok(formatter) = ArrayFormatter::try_new(column, &options) else { return Vec::new() };
    (0..column.len()).map(|row| formatter.value(row).try_to_string().unwrap_or_default()).collect()
}

#[cfg(test)]
#[path = "rows_digest_tests.rs"]
mod tests;
