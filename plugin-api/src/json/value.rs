//! A JSON value in memory.
//!
//! Reading and writing text is done in `parse` and `print`.

use indexmap::IndexMap;
use std::fmt;

/// A JSON object. Keys keep the order in which they first appeared, as in a Python `dict`.
pub type Object = IndexMap<String, Json>;

/// A JSON value as Python's `json` sees it.
///
/// Equality compares what is kept. `1` is not `1.0`; they have different hashes too. `NaN` equals nothing, not even
/// itself; compare [`crate::canonical_json`] texts if it should. The order of an object's members does not matter.
///
/// ```
/// use kymhost_plugin_api::Json;
/// let params = Json::object([("window", 5.into()), ("thresholds", vec![0.5, 1e-5].into())]);
/// assert_eq!(params.to_string(), r#"{"window":5,"thresholds":[0.5,1e-05]}"#);
/// assert_eq!(Json::parse(br#"{"window": 5, "thresholds": [0.5, 1e-5]}"#)?, params);
/// # Ok::<(), kymhost_plugin_api::json::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction and exponent, of any size.
    Int(Int),
    /// Any other number, including `NaN` and the infinities.
    Float(f64),
    /// Text.
    String(String),
    /// `[…]`
    Array(Vec<Json>),
    /// `{…}`
    Object(Object),
}

/// An integer of up to [`MAX_INT_DIGITS`](super::MAX_INT_DIGITS) digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Int(IntRepr);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum IntRepr {
    Small(i64),
    /// Decimal text without leading zeros, of a value that does not fit an `i64`.
    Big(Box<str>),
}

impl Int {
    /// The value, if it fits an `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            IntRepr::Small(value) => Some(value),
            IntRepr::Big(_) => None,
        }
    }

    /// The value, if it fits a `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match &self.0 {
            IntRepr::Small(value) => u64::try_from(*value).ok(),
            IntRepr::Big(text) => text.parse().ok(),
        }
    }

    /// Whether it is less than 0.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            IntRepr::Small(value) => *value < 0,
            IntRepr::Big(text) => text.starts_with('-'),
        }
    }

    /// From text that the parser has checked to be `-?(0|[1-9][0-9]*)`.
    pub(super) fn from_checked_text(text: &str) -> Self {
        Self(text.parse().map_or_else(|_| IntRepr::Big(text.into()), IntRepr::Small))
    }
}

impl From<i64> for Int {
    fn from(value: i64) -> Self {
        Self(IntRepr::Small(value))
    }
}

impl From<u64> for Int {
    fn from(value: u64) -> Self {
        Self(i64::try_from(value).map_or_else(|_| IntRepr::Big(value.to_string().into()), IntRepr::Small))
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

impl Json {
    /// An object with these members. The last of equal keys wins.
    pub fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Json)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The member `key`, if this is an object that has it.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(object) => object.get(key),
            _ => None,
        }
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The truth value, if this is `true` or `false`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number as a float, if this is a number. Integers are rounded to the nearest float.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(Int(IntRepr::Small(value))) => Some(*value as f64),
            Self::Int(Int(IntRepr::Big(text))) => text.parse().ok(),
            _ => None,
        }
    }

    /// The integer, if this is one and fits an `i64`.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => value.as_i64(),
            _ => None,
        }
    }

    /// The integer, if this is one and fits a `u64`.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Int(value) => value.as_u64(),
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

macro_rules! from {
    ($($type:ty, $value:ident => $json:expr;)+) => {$(
        impl From<$type> for Json {
            fn from($value: $type) -> Self {
                $json
            }
        }
    )+};
}

from! {
    bool, value => Self::Bool(value);
    i32, value => Self::Int(i64::from(value).into());
    u32, value => Self::Int(i64::from(value).into());
    i64, value => Self::Int(value.into());
    u64, value => Self::Int(value.into());
    usize, value => Self::Int((value as u64).into());
    Int, value => Self::Int(value);
    f32, value => Self::Float(value.into());
    f64, value => Self::Float(value);
    &str, value => Self::String(value.into());
    String, value => Self::String(value);
    Object, value => Self::Object(value);
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Json>> FromIterator<T> for Json {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::Array(items.into_iter().map(Into::into).collect())
    }
}
