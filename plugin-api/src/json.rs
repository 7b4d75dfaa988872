//! JSON as Python reads and writes it: a value, a parser and two printers.
//!
//! Owns: Python's dialect (`NaN`, big integers, last duplicate wins). Never: I/O, hashing.
//! serde_json cannot serve: it refuses `NaN`, stops at depth 128, and its
//! `arbitrary_precision` feature would change every other crate of the build.

use indexmap::IndexMap;
use std::fmt;

/// A JSON object. Keys keep the order in which they first came, as in a Python `dict`.
pub type Object = IndexMap<String, Json>;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 900;
/// How many digits an integer may have (Python's own bound).
pub const MAX_INT_DIGITS: usize = 4300;

/// A JSON value as Python's `json` sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent, of any size.
    Int(Int),
    /// Any other number, `NaN` and the infinities included.
    Float(f64),
    /// Text.
    String(String),
    /// `[…]`
    Array(Vec<Json>),
    /// `{…}`
    Object(Object),
}

/// An integer of up to [`MAX_INT_DIGITS`] digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Int(IntRepr);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum IntRepr {
    Small(i64),
    /// Normalised decimal text that does not fit an `i64`.
    Big(Box<str>),
}

impl Int {
    /// The value, where it fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            IntRepr::Small(value) => Some(value),
            IntRepr::Big(_) => None,
        }
    }
}

impl From<i64> for Int {
    fn from(value: i64) -> Self {
        Self(IntRepr::Small(value))
    }
}

impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            IntRepr::Small(value) => value.fmt(f),
            IntRepr::Big(text) => f.write_str(text),
        }
    }
}

/// Why a text is no JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What was expected or found.
    pub message: String,
    /// Byte offset into the text.
    pub offset: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl std::error::Error for ParseError {}

impl Json {
    /// Reads a whole text, as Python's `json.loads` does.
    ///
    /// # Errors
    /// What Python refuses, and nesting deeper than [`MAX_DEPTH`], lone surrogates, text that is not UTF-8.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let _ = text;
        unimplemented!()
    }

    /// The text that Python's `json.dumps(value, indent=2)` gives: what kymflow keeps in files.
    pub fn to_file_text(&self) -> String {
        unimplemented!()
    }

    /// The member `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number as a float (integers too), if this is a number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => value.as_i64().map(|v| v as f64).or_else(|| value.to_string().parse().ok()),
            _ => None,
        }
    }

    /// The integer, if this is one and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => value.as_i64(),
            _ => None,
        }
    }

    /// The elements, if this is an array.
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }
}
// helper A: add From impls (bool, i64, f64, &str, String, Vec, Object, Option), a `json!`-like macro only if small,
// as_bool, is_null, and all the rest.
