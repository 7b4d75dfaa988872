//! JSON as Python reads and writes it: a value, a parser and a printer.
//!
//! This file implements Python's dialect: `NaN` and infinities, integers of any size, and the last of duplicate keys
//! wins. It does no I/O and no hashing.
//!
//! serde_json cannot be used: it refuses `NaN`, stops at depth 128, and its feature `arbitrary_precision` would
//! change every other crate of the build.
//!
//! ```
//! use kymhost_plugin_api::json::{Json, ParseError};
//!
//! let params = Json::parse(br#"{"window": 16, "limits": [0.5, NaN]}"#)?;
//! assert_eq!(params.get("window").and_then(Json::as_i64), Some(16));
//! let limits = params.get("limits").and_then(Json::as_array).unwrap_or_default();
//! assert!(limits[1].as_f64().is_some_and(f64::is_nan));
//! # Ok::<(), ParseError>(())
//! ```

use indexmap::IndexMap;
use std::borrow::Cow;
use std::fmt;

/// A JSON object. Keys keep the order in which they first appeared, as in a Python `dict`.
pub type Object = IndexMap<String, Json>;

/// How deeply arrays and objects may be nested.
pub const MAX_DEPTH: usize = 900;
/// How many digits an integer may have, which is Python's own limit.
pub const MAX_INT_DIGITS: usize = 4300;

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

/// An integer of up to [`MAX_INT_DIGITS`] digits.
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
    fn from_checked_text(text: &str) -> Self {
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

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseError {
    /// What was expected and what was found.
    pub message: String,
    /// The position in the text, in bytes.
    pub offset: usize,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.message, self.offset)
    }
}

impl std::error::Error for ParseError {}

impl Json {
    /// Parses a whole text, as Python's `json.loads` does.
    ///
    /// # Errors
    /// [`ParseError`] for everything that Python refuses, for nesting deeper than [`MAX_DEPTH`], for lone surrogates,
    /// and for text that is not UTF-8.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text)
            .map_err(|error| ParseError { message: "bytes that are not UTF-8".into(), offset: error.valid_up_to() })?;
        Parser { text, at: 0 }.document()
    }

    /// The text that Python's `json.dumps(value, indent=2)` gives. kymflow and kymhost write it to files.
    pub fn to_file_text(&self) -> String {
        self.print(Style { indent: true, ascii: true, sorted: false })
    }

    pub(crate) fn print(&self, style: Style) -> String {
        let mut printer = Printer { out: String::with_capacity(128), style, depth: 0 };
        printer.value(self);
        printer.out
    }

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

/// The text that Python's `json.dumps(value, separators=(",", ":"))` gives: one line, ASCII, keys in their order.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(Style { indent: false, ascii: true, sorted: false }))
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

/// A container whose end has not been read yet.
enum Open {
    Array(Vec<Json>),
    /// The members so far, and the key whose value comes next.
    Object(Object, String),
}

/// Open containers are kept on the heap, so that nesting needs no stack.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn document(mut self) -> Result<Json, ParseError> {
        if self.text.starts_with('\u{feff}') {
            return Err(self.error("a byte order mark, which JSON does not allow,"));
        }
        let mut open: Vec<Open> = Vec::new();
        loop {
            let mut value = match self.next_token() {
                Some(opening @ (b'[' | b'{')) => {
                    if open.len() >= MAX_DEPTH {
                        return Err(self.error(format!("nesting deeper than {MAX_DEPTH}")));
                    }
                    self.at += 1;
                    match (opening, self.next_token()) {
                        (b'[', Some(b']')) => {
                            self.at += 1;
                            Json::Array(Vec::new())
                        }
                        (b'[', _) => {
                            open.push(Open::Array(Vec::new()));
                            continue;
                        }
                        (_, Some(b'}')) => {
                            self.at += 1;
                            Json::Object(Object::new())
                        }
                        _ => {
                            let key = self.key()?;
                            open.push(Open::Object(Object::new(), key));
                            continue;
                        }
                    }
                }
                Some(b'"') => Json::String(self.string()?.into_owned()),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b'n') => self.word("null", Json::Null)?,
                Some(b't') => self.word("true", Json::Bool(true))?,
                Some(b'f') => self.word("false", Json::Bool(false))?,
                Some(b'N') => self.word("NaN", Json::Float(f64::NAN))?,
                Some(b'I') => self.word("Infinity", Json::Float(f64::INFINITY))?,
                _ => return Err(self.unexpected("a value")),
            };
            // The value is complete: add it to its container, which may then be complete too.
            loop {
                let token = self.next_token();
                match open.last_mut() {
                    None if token.is_none() => return Ok(value),
                    None => return Err(self.unexpected("the end")),
                    Some(Open::Array(items)) => {
                        items.push(value);
                        match token {
                            Some(b',') => {
                                self.at += 1;
                                break;
                            }
                            Some(b']') => {
                                self.at += 1;
                                value = Json::Array(std::mem::take(items));
                            }
                            _ => return Err(self.unexpected("',' or ']'")),
                        }
                    }
                    Some(Open::Object(members, key)) => {
                        members.insert(std::mem::take(key), value);
                        match token {
                            Some(b',') => {
                                self.at += 1;
                                self.next_token();
                                *key = self.key()?;
                                break;
                            }
                            Some(b'}') => {
                                self.at += 1;
                                value = Json::Object(std::mem::take(members));
                            }
                            _ => return Err(self.unexpected("',' or '}'")),
                        }
                    }
                }
                open.pop();
            }
        }
    }

    /// Skips white space and returns the byte after it without consuming that.
    fn next_token(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        for (skipped, &byte) in rest.iter().enumerate() {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                self.at += skipped;
                return Some(byte);
            }
        }
        self.at += rest.len();
        None
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, ParseError> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.unexpected("a value"))
        }
    }

    /// Reads a member's key and its colon.
    fn key(&mut self) -> Result<String, ParseError> {
        if self.byte() != Some(b'"') {
            return Err(self.unexpected("a key in double quotes"));
        }
        let key = self.string()?.into_owned();
        if self.next_token() != Some(b':') {
            return Err(self.unexpected("':'"));
        }
        self.at += 1;
        Ok(key)
    }

    fn number(&mut self) -> Result<Json, ParseError> {
        let start = self.at;
        let negative = self.byte() == Some(b'-');
        if negative {
            self.at += 1;
            if self.byte() == Some(b'I') {
                return self.word("Infinity", Json::Float(f64::NEG_INFINITY));
            }
        }
        let first = self.byte();
        let digits = self.digits();
        if digits == 0 {
            return Err(self.unexpected("a digit"));
        }
        if first == Some(b'0') && digits > 1 {
            self.at = start;
            return Err(self.error("a number with a leading zero"));
        }
        let mut is_int = true;
        if self.byte() == Some(b'.') {
            is_int = false;
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.unexpected("a digit"));
            }
        }
        if let Some(b'e' | b'E') = self.byte() {
            is_int = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.unexpected("a digit"));
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if is_int {
            if digits > MAX_INT_DIGITS {
                self.at = start;
                return Err(self.error(format!("an integer of {digits} digits (at most {MAX_INT_DIGITS} are read)")));
            }
            return Ok(Json::Int(Int::from_checked_text(text)));
        }
        match text.parse() {
            Ok(value) => Ok(Json::Float(value)),
            Err(_) => Err(self.unexpected("a number")),
        }
    }

    /// Skips digits and returns their number.
    fn digits(&mut self) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        count
    }

    /// Reads text in quotes. It is borrowed if nothing in it is escaped.
    fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        self.at += 1;
        let run = self.plain_run();
        if self.byte() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(run));
        }
        let mut text = run.to_owned();
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escaped()?);
                }
                Some(byte) if byte < 0x20 => return Err(self.error("a control character in a text")),
                _ => return Err(self.error("a text without a closing quote")),
            }
            text.push_str(self.plain_run());
        }
    }

    /// Skips to the next byte that ends the text or needs care.
    fn plain_run(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// The character of the escape sequence after its backslash.
    fn escaped(&mut self) -> Result<char, ParseError> {
        let character = match self.byte() {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.escaped_unicode(),
            _ => return Err(self.error("an unknown escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn escaped_unicode(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        let mut code = self.code_unit()?;
        if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
            self.at += 1;
            let low = self.code_unit()?;
            // If this is not a low surrogate, the high one stands alone and is refused below.
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| {
            self.at = start;
            self.error("a lone surrogate, which is not a character,")
        })
    }

    /// Reads `uXXXX`.
    fn code_unit(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for place in 1..=4 {
            let digit = self.text.as_bytes().get(self.at + place).and_then(|&byte| char::from(byte).to_digit(16));
            match digit {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.error("an escape \\u without four hexadecimal digits")),
            }
        }
        self.at += 5;
        Ok(code)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { message: message.into(), offset: self.at }
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        match self.rest().chars().next() {
            Some(found) => self.error(format!("expected {expected}, found {found:?}")),
            None => self.error(format!("expected {expected}, found the end")),
        }
    }
}

/// How a value is printed.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// One element per line, indented by two blanks per level; otherwise no blanks at all.
    pub(crate) indent: bool,
    /// Escape everything but printable ASCII; otherwise only what must be escaped.
    pub(crate) ascii: bool,
    /// Sort keys by code point; otherwise keep their order.
    pub(crate) sorted: bool,
}

struct Printer {
    out: String,
    style: Style,
    depth: usize,
}

impl Printer {
    fn value(&mut self, value: &Json) {
        match value {
            Json::Null => self.out.push_str("null"),
            Json::Bool(true) => self.out.push_str("true"),
            Json::Bool(false) => self.out.push_str("false"),
            Json::Int(value) => self.int(value),
            Json::Float(value) => push_float(&mut self.out, *value),
            Json::String(text) => self.string(text),
            Json::Array(items) => self.array(items),
            Json::Object(members) => self.object(members),
        }
    }

    // Not inlined into `value`, whose stack frame exists once per level.
    #[inline(never)]
    fn int(&mut self, value: &Int) {
        use fmt::Write as _;
        let _ = write!(self.out, "{value}");
    }

    #[inline(never)]
    fn array(&mut self, items: &[Json]) {
        if items.is_empty() {
            self.out.push_str("[]");
            return;
        }
        self.out.push('[');
        self.depth += 1;
        for (place, item) in items.iter().enumerate() {
            self.begin_item(place);
            self.value(item);
        }
        self.end(']');
    }

    #[inline(never)]
    fn object(&mut self, members: &Object) {
        if members.is_empty() {
            self.out.push_str("{}");
            return;
        }
        self.out.push('{');
        self.depth += 1;
        // The order of UTF-8 bytes is the order of code points, by which Python sorts.
        if self.style.sorted && !members.keys().is_sorted() {
            let mut sorted: Vec<(&String, &Json)> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (place, (key, value)) in sorted.into_iter().enumerate() {
                self.member(place, key, value);
            }
        } else {
            for (place, (key, value)) in members.iter().enumerate() {
                self.member(place, key, value);
            }
        }
        self.end('}');
    }

    fn member(&mut self, place: usize, key: &str, value: &Json) {
        self.begin_item(place);
        self.string(key);
        self.out.push_str(if self.style.indent { ": " } else { ":" });
        self.value(value);
    }

    fn begin_item(&mut self, place: usize) {
        if place > 0 {
            self.out.push(',');
        }
        self.line();
    }

    fn end(&mut self, closing: char) {
        self.depth -= 1;
        self.line();
        self.out.push(closing);
    }

    fn line(&mut self) {
        if self.style.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.depth));
        }
    }

    #[inline(never)]
    fn string(&mut self, text: &str) {
        let ascii = self.style.ascii;
        let must_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\' || (ascii && byte >= 0x7f);
        self.out.push('"');
        let mut rest = text;
        // A byte that must be escaped is ASCII or the first byte of a character, so it is at a character boundary.
        while let Some((plain, behind)) =
            rest.bytes().position(must_escape).and_then(|place| rest.split_at_checked(place))
        {
            self.out.push_str(plain);
            let mut characters = behind.chars();
            if let Some(character) = characters.next() {
                self.escape(character);
            }
            rest = characters.as_str();
        }
        self.out.push_str(rest);
        self.out.push('"');
    }

    fn escape(&mut self, character: char) {
        match character {
            '"' => self.out.push_str("\\\""),
            '\\' => self.out.push_str("\\\\"),
            '\u{8}' => self.out.push_str("\\b"),
            '\u{c}' => self.out.push_str("\\f"),
            '\n' => self.out.push_str("\\n"),
            '\r' => self.out.push_str("\\r"),
            '\t' => self.out.push_str("\\t"),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    self.out.push_str("\\u");
                    for shift in [12, 8, 4, 0] {
                        let digit = u32::from(*unit >> shift & 0xf);
                        self.out.push(char::from_digit(digit, 16).unwrap_or('0'));
                    }
                }
            }
        }
    }
}

/// Prints a float as Python's `repr` does, and `NaN` and infinities as Python's `json` does.
#[inline(never)]
fn push_float(out: &mut String, value: f64) {
    if !value.is_finite() {
        out.push_str(match value {
            _ if value.is_nan() => "NaN",
            _ if value > 0.0 => "Infinity",
            _ => "-Infinity",
        });
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // All digits, and the position of the decimal point among them.
    let mut digits = [0u8; 32];
    let mut count = 0;
    for (slot, digit) in digits.iter_mut().zip(whole.bytes().chain(fraction.bytes())) {
        *slot = digit;
        count += 1;
    }
    let digits = digits.get(..count).unwrap_or_default();
    let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
    let digits = digits.get(leading..).unwrap_or_default();
    let trailing = digits.iter().rev().take_while(|&&digit| digit == b'0').count();
    let digits = digits.get(..digits.len() - trailing).unwrap_or_default();
    let digits = std::str::from_utf8(digits).unwrap_or_default();
    let point = whole.len() as i32 - leading as i32 + exponent.parse().unwrap_or(0);

    if value.is_sign_negative() {
        out.push('-');
    }
    let digit_count = digits.len() as i32;
    if digits.is_empty() {
        out.push_str("0.0");
    } else if !(-3..=16).contains(&point) {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let exponent = point - 1;
        out.push_str(if exponent < 0 { "e-" } else { "e+" });
        let exponent = exponent.unsigned_abs();
        if exponent < 10 {
            out.push('0');
        }
        out.push_str(&exponent.to_string());
    } else if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        out.push_str(digits);
    } else if point >= digit_count {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', (point - digit_count) as usize));
        out.push_str(".0");
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        out.push_str(whole);
        out.push('.');
        out.push_str(fraction);
    }
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
