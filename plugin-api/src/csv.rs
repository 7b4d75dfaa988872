//! Reads CSV artifacts by the rules of pandas' `read_csv`.
//!
//! This file splits the text into cells, recognises missing values and decides the type of each column. It does not
//! know about files, compression or keys. It belongs to the host, and is in this crate so that the module `testing`
//! gives an indexer exactly what the host would. Authors do not use it by name.
//!
//! It does not use the `csv` crate, which cannot report an unclosed quote and cannot distinguish a blank line from a
//! quoted blank cell. If pandas would guess (rows longer than the header, equal column names, numbers out of range),
//! this is an error.

use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, NullArray, UInt64Array};
use arrow_array::{RecordBatch, RecordBatchOptions, StringArray};
use arrow_cast::{cast_with_options, CastOptions};
use arrow_schema::{DataType, Field, Schema};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// How long the text of a file may be, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// How many columns a file may have: each takes some hundred bytes, however little text names it.
pub const MAX_COLUMNS: usize = 1 << 14;
/// How many cells a file may have, including those that pad short rows. Without it a small file with many columns
/// could claim any amount of memory.
pub const MAX_CELLS: usize = 1 << 23;

/// Cells with these texts are missing values, quoted or not.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Why a file cannot be read as a table. The texts name the line or column, but not the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CsvError {
    /// The text is not UTF-8.
    NotUtf8 {
        /// Offset of the first byte that is not, in bytes.
        offset: usize,
    },
    /// There is no line that is not blank.
    NoHeader,
    /// Two columns have the same name.
    DuplicateColumn {
        /// The name.
        name: String,
    },
    /// A row has more cells than the header.
    LongRow {
        /// The line, counted from 1.
        line: usize,
        /// Cells in that line.
        found: usize,
        /// Cells in the header.
        expected: usize,
    },
    /// The text is longer than [`MAX_TEXT_BYTES`].
    TooLong,
    /// The header has more than [`MAX_COLUMNS`] cells.
    TooManyColumns,
    /// The table has more than [`MAX_CELLS`] cells.
    TooManyCells,
    /// The file ends inside a quoted cell.
    UnclosedQuote {
        /// The line in which the quote opens, counted from 1.
        line: usize,
    },
    /// No type fits all cells of a column.
    Column {
        /// The column.
        name: String,
        /// Why.
        why: ColumnError,
    },
    /// Arrow refuses the columns.
    Table {
        /// Arrow's message.
        why: String,
    },
}

/// Why no type fits all cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnError {
    /// A number is out of the range of int64, uint64 and double.
    OutOfRange,
    /// One integer is negative, another is above the range of int64.
    NoCommonInteger,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 { offset } => write!(f, "byte {offset} is not UTF-8"),
            Self::NoHeader => write!(f, "it has no header line"),
            Self::DuplicateColumn { name } => write!(f, "two columns are named '{name}'"),
            Self::LongRow { line, found, expected } => {
                write!(f, "line {line} has {found} cells, the header has {expected}")
            }
            Self::TooLong => write!(f, "its text is longer than {} MiB", MAX_TEXT_BYTES >> 20),
            Self::TooManyColumns => write!(f, "it has more than {MAX_COLUMNS} columns"),
            Self::TooManyCells => write!(f, "it has more than {MAX_CELLS} cells (rows times columns)"),
            Self::UnclosedQuote { line } => write!(f, "the quote that opens in line {line} is never closed"),
            Self::Column { name, why } => write!(f, "column '{name}' has {why}"),
            Self::Table { why } => f.write_str(why),
        }
    }
}

impl fmt::Display for ColumnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "a number out of the range of int64, uint64 and double",
            Self::NoCommonInteger => "integers below 0 and others above the range of int64: no integer type holds both",
        })
    }
}

impl std::error::Error for CsvError {}

/// Reads a whole file: one column per name of the header, all nullable.
///
/// Each column gets the first type that fits all its cells: int64, uint64, double, bool, text. A column without any
/// value is a double. In a file without rows, columns have the type null.
///
/// # Errors
/// [`CsvError`] if the file breaks a rule of pandas' parser, or if pandas would guess.
pub fn parse(bytes: &[u8]) -> Result<RecordBatch, CsvError> {
    read_all(bytes, |_, column| column.to_array())
}

/// Reads a whole file that was written from columns of these types, and restores the types.
///
/// Only empty cells without quotes are missing; no other word is. A column that is not in `types`, or whose cells no
/// longer fit the type, is read as [`parse`] reads it.
///
/// # Errors
/// [`CsvError`], as [`parse`].
pub fn parse_typed(bytes: &[u8], types: &HashMap<String, DataType>) -> Result<RecordBatch, CsvError> {
    read_all(bytes, |name, column| match types.get(name).and_then(|kind| column.to_type(kind)) {
        Some(values) => Ok(values),
        None => column.to_array(),
    })
}

fn read_all(
    bytes: &[u8],
    mut read_column: impl FnMut(&str, &Column<'_>) -> Result<ArrayRef, ColumnError>,
) -> Result<RecordBatch, CsvError> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(CsvError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| CsvError::NotUtf8 { offset: error.valid_up_to() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut splitter = Splitter { text, at: 0, line: 1 };

    let mut header = Cells::default();
    if !splitter.read_row(&mut header, MAX_COLUMNS)? {
        return Err(CsvError::NoHeader);
    }
    let width = header.len();
    let names = (0..width).map(|column| match header.get(column) {
        "" => format!("Unnamed: {column}"),
        name => name.to_owned(),
    });
    let names: Vec<String> = names.collect();
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(CsvError::DuplicateColumn { name: name.clone() });
    }

    let mut cells = Cells::default();
    let mut rows = 0;
    loop {
        let before = cells.len();
        let line = splitter.skip_blank_lines();
        if !splitter.read_row(&mut cells, before + MAX_COLUMNS)? {
            break;
        }
        rows += 1;
        let found = cells.len() - before;
        if found > width {
            return Err(CsvError::LongRow { line, found, expected: width });
        }
        if before + width > MAX_CELLS {
            return Err(CsvError::TooManyCells);
        }
        cells.pad(width - found);
    }

    let mut fields = Vec::with_capacity(width);
    let mut columns = Vec::with_capacity(width);
    for (place, name) in names.into_iter().enumerate() {
        let column = Column { cells: &cells, place, width, rows };
        let values = read_column(&name, &column).map_err(|why| CsvError::Column { name: name.clone(), why })?;
        fields.push(Field::new(name, values.data_type().clone(), true));
        columns.push(values);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| CsvError::Table { why: error.to_string() })
}

/// The texts of all cells, row by row.
#[derive(Default)]
struct Cells {
    text: String,
    ends: Vec<usize>,
    /// Whether each cell began with a quote. An empty cell that did is an empty text; one that did not is missing.
    quoted: Vec<bool>,
}

impl Cells {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(place).and_then(|&end| self.text.get(start..end)).unwrap_or_default()
    }

    fn end_cell(&mut self, quoted: bool) {
        self.ends.push(self.text.len());
        self.quoted.push(quoted);
    }

    fn pad(&mut self, count: usize) {
        self.ends.resize(self.ends.len() + count, self.text.len());
        self.quoted.resize(self.ends.len(), false);
    }

    /// The text of a cell, unless it is empty and without quotes.
    fn given(&self, place: usize) -> Option<&str> {
        let text = self.get(place);
        (!text.is_empty() || self.quoted.get(place).copied().unwrap_or_default()).then_some(text)
    }
}

struct Splitter<'a> {
    text: &'a str,
    at: usize,
    /// The line of the byte at `at`, counted from 1, for messages.
    line: usize,
}

impl<'a> Splitter<'a> {
    /// Skips lines of blanks and tabs, and returns the number of the next line. A line ends with `\n`, `\r` or
    /// `\r\n`.
    fn skip_blank_lines(&mut self) -> usize {
        let mut place = self.at;
        while let Some(&byte) = self.text.as_bytes().get(place) {
            place += 1;
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.end_line(place),
                _ => return self.line,
            }
        }
        self.at = place;
        self.line
    }

    /// Continues at `next`; the byte before it ends a line.
    fn end_line(&mut self, next: usize) {
        let is_pair = self.text.as_bytes().get(next.wrapping_sub(2)..next) == Some(b"\r\n");
        self.line += usize::from(!is_pair);
        self.at = next;
    }

    /// Appends the cells of the next line that is not blank, up to `limit` cells in all. Returns `false` at the end of
    /// the text.
    fn read_row(&mut self, cells: &mut Cells, limit: usize) -> Result<bool, CsvError> {
        self.skip_blank_lines();
        if self.at >= self.text.len() {
            return Ok(false);
        }
        while self.read_cell(cells)? {
            if cells.len() >= limit {
                return Err(CsvError::TooManyColumns);
            }
        }
        Ok(true)
    }

    /// Appends one cell. Returns whether a comma ended it.
    fn read_cell(&mut self, cells: &mut Cells) -> Result<bool, CsvError> {
        let quoted = self.byte() == Some(b'"');
        if quoted {
            let first_line = self.line;
            loop {
                self.at += 1;
                let (quoted, _) = self.rest().split_once('"').ok_or(CsvError::UnclosedQuote { line: first_line })?;
                cells.text.push_str(quoted);
                self.line += quoted.matches('\n').count();
                self.at += quoted.len() + 1;
                // Two quotes in a quoted cell stand for one.
                if self.byte() != Some(b'"') {
                    break;
                }
                cells.text.push('"');
            }
        }
        // Between the closing quote and the end of the cell, a quote is an ordinary character.
        let rest = self.rest();
        let length = rest.bytes().position(|byte| matches!(byte, b',' | b'\n' | b'\r')).unwrap_or(rest.len());
        cells.text.push_str(rest.get(..length).unwrap_or_default());
        cells.end_cell(quoted);
        self.at += length;
        match self.byte() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => {
                self.end_line(self.at + 1);
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// The first type that fits one cell.
enum Cell {
    Missing,
    Int(i64),
    /// An integer above the range of `i64`.
    UInt(u64),
    /// An integer outside the range of both, or a number too large for a double.
    OutOfRange,
    Float(f64),
    Bool(bool),
    Text,
}

fn read(cell: &str) -> Cell {
    if MISSING.contains(&cell) {
        return Cell::Missing;
    }
    match cell {
        "True" | "TRUE" | "true" => return Cell::Bool(true),
        "False" | "FALSE" | "false" => return Cell::Bool(false),
        _ => {}
    }
    // Infinities may not have blanks around them; numbers may have those that C's `isspace` accepts.
    let unsigned = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Cell::Float(if cell.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let number = cell.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Cell::Text;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match (number.parse(), number.parse()) {
            (Ok(value), _) => Cell::Int(value),
            (_, Ok(value)) => Cell::UInt(value),
            _ => Cell::OutOfRange,
        };
    }
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() => Cell::Float(value),
        Ok(_) => Cell::OutOfRange,
        Err(_) => Cell::Text,
    }
}

/// One column of the cells.
struct Column<'a> {
    cells: &'a Cells,
    place: usize,
    width: usize,
    rows: usize,
}

impl<'a> Column<'a> {
    fn cells(&self) -> impl Iterator<Item = Cell> + use<'a> {
        let (cells, place, width) = (self.cells, self.place, self.width);
        (0..self.rows).map(move |row| read(cells.get(row * width + place)))
    }

    /// The values as this type. `None` if one does not fit, or if text cannot represent values of this type without
    /// loss.
    fn to_type(&self, kind: &DataType) -> Option<ArrayRef> {
        let is_text = matches!(kind, DataType::Utf8 | DataType::LargeUtf8);
        let texts = StringArray::from_iter((0..self.rows).map(|row| {
            let place = row * self.width + self.place;
            // In a table of one column, a missing value is written as an empty text, because an empty line would be
            // skipped.
            let empty_is_text = is_text && self.width > 1;
            self.cells.given(place).filter(|text| empty_is_text || !text.is_empty())
        }));
        match kind {
            DataType::Null => {
                (texts.null_count() == self.rows).then(|| Arc::new(NullArray::new(self.rows)) as ArrayRef)
            }
            DataType::Utf8 => Some(Arc::new(texts)),
            DataType::Boolean
            | DataType::LargeUtf8
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Float32
            | DataType::Float64
            | DataType::Date32
            | DataType::Timestamp(_, _) => {
                let options = CastOptions { safe: false, ..CastOptions::default() };
                cast_with_options(&texts, kind, &options).ok()
            }
            _ => None,
        }
    }

    /// The values, of the first type that fits every cell: int64, uint64, double, bool, text.
    fn to_array(&self) -> Result<ArrayRef, ColumnError> {
        let (mut has_int, mut has_negative, mut has_uint, mut has_float) = (false, false, false, false);
        let (mut has_bool, mut has_text, mut has_out_of_range) = (false, false, false);
        for cell in self.cells() {
            match cell {
                Cell::Missing => {}
                Cell::Int(value) => {
                    has_int = true;
                    has_negative |= value < 0;
                }
                Cell::UInt(_) => has_uint = true,
                Cell::OutOfRange => has_out_of_range = true,
                Cell::Float(_) => has_float = true,
                Cell::Bool(_) => has_bool = true,
                Cell::Text => has_text = true,
            }
        }
        let has_number = has_int || has_uint || has_float || has_out_of_range;
        if has_text || (has_bool && has_number) {
            let values = (0..self.rows).map(|row| {
                let text = self.cells.get(row * self.width + self.place);
                (!MISSING.contains(&text)).then_some(text)
            });
            return Ok(Arc::new(LargeStringArray::from_iter(values)));
        }
        if has_out_of_range {
            return Err(ColumnError::OutOfRange);
        }
        if has_bool {
            return Ok(Arc::new(BooleanArray::from_iter(self.cells().map(|cell| match cell {
                Cell::Bool(value) => Some(value),
                _ => None,
            }))));
        }
        if has_uint && has_negative && !has_float {
            return Err(ColumnError::NoCommonInteger);
        }
        if has_float || (!has_number && self.rows > 0) {
            return Ok(Arc::new(Float64Array::from_iter(self.cells().map(|cell| match cell {
                Cell::Int(value) => Some(value as f64),
                Cell::UInt(value) => Some(value as f64),
                Cell::Float(value) => Some(value),
                _ => None,
            }))));
        }
        if has_uint {
            return Ok(Arc::new(UInt64Array::from_iter(self.cells().map(|cell| match cell {
                Cell::Int(value) => u64::try_from(value).ok(),
                Cell::UInt(value) => Some(value),
                _ => None,
            }))));
        }
        if has_int {
            return Ok(Arc::new(Int64Array::from_iter(self.cells().map(|cell| match cell {
                Cell::Int(value) => Some(value),
                _ => None,
            }))));
        }
        Ok(Arc::new(NullArray::new(self.rows)))
    }
}

#[cfg(test)]
mod tests;
