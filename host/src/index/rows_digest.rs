//! The digest of an image's rows: over values, not over how they are kept.
//!
//! Owns: what counts as the same value. Never: I/O.
//!
//! Columns go by name, in the order of their names; the three provenance columns are left out, as are cells that are
//! null or NaN, so a column without values is no column. A row's place among the image's rows counts. An integer, the
//! same whole float and (for 0 and 1) the same bool are alike; integers beyond 2^53 count as the float nearest to them, because
//! a column that is widened to floats keeps no more. Times count as nanoseconds whatever their unit. Text is its bytes.
//!
//! # The bytes
//!
//! The digest is the SHA-256 of these bytes; all numbers are little-endian.
//!
//! First [`DOMAIN`]. Then each row:
//! - `01` where the row has values in the same columns as the image's row before it; else `02`, the count of columns that
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

use super::IndexError;
use super::names::TableName;
use super::provenance::{COLUMNS, IMAGE_ID, TextColumn};
use crate::dataset::Dataset;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType, Float64Type, Int64Type,
    TimeUnit, i256,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
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
