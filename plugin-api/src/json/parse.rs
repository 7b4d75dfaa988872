//! From text to a value, as Python's `json.loads` does it.

use super::value::{Int, Json, Object};
use std::fmt;

/// How deeply arrays and objects may be nested.
pub const MAX_DEPTH: usize = 900;
/// How many digits an integer may have, which is Python's own limit.
pub const MAX_INT_DIGITS: usize = 4300;
/// The memory that the value of one text may take, in bytes, if the caller names no other limit. Without it a text
/// makes up to 270 times its own length.
pub const MAX_VALUE_BYTES: usize = 1 << 30;

/// What a value takes in its array or object. Arrays grow by doubling, so up to half of an array's places are empty.
const VALUE_BYTES: usize = 2 * size_of::<Json>();
/// What an array takes that has an element: places for the first four.
const ARRAY_BYTES: usize = 4 * size_of::<Json>();
/// What an object takes that has a member, beside the members: its table, and places for the first four of them.
const OBJECT_BYTES: usize = 4 * MEMBER_BYTES + 64;
/// What a member takes beside its value and the bytes of its key.
const MEMBER_BYTES: usize = size_of::<String>() + size_of::<Json>() + 16;

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
    /// for text that is not UTF-8, and for a value that takes more than [`MAX_VALUE_BYTES`].
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        Self::parse_within(text, MAX_VALUE_BYTES)
    }

    /// Parses a whole text whose value may take so many bytes of memory, by an estimate that is never too low.
    ///
    /// # Errors
    /// As [`Json::parse`], with `limit` for [`MAX_VALUE_BYTES`]. Then at most `limit` bytes were taken.
    pub fn parse_within(text: &[u8], limit: usize) -> Result<Self, ParseError> {
        let text = utf8(text)?;
        Parser { text, at: 0, keeps: true, limit, left: limit }.document()
    }

    /// Whether a text is what [`Json::parse`] reads, without making its value: next to no memory is taken.
    ///
    /// # Errors
    /// As [`Json::parse`], except that the value may be of any size.
    pub fn check(text: &[u8]) -> Result<(), ParseError> {
        let text = utf8(text)?;
        Parser { text, at: 0, keeps: false, limit: 0, left: 0 }.document().map(drop)
    }
}

fn utf8(text: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(text)
        .map_err(|error| ParseError { message: "bytes that are not UTF-8".into(), offset: error.valid_up_to() })
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
    /// Whether the value is made; else the text is only checked.
    keeps: bool,
    /// How many bytes the value may take, and how many of them are left.
    limit: usize,
    left: usize,
}

impl<'a> Parser<'a> {
    fn document(mut self) -> Result<Json, ParseError> {
        if self.text.starts_with('\u{feff}') {
            return Err(self.error("a byte order mark, which JSON does not allow,"));
        }
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.take(VALUE_BYTES)?;
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
                            self.take(ARRAY_BYTES)?;
                            open.push(Open::Array(Vec::new()));
                            continue;
                        }
                        (_, Some(b'}')) => {
                            self.at += 1;
                            Json::Object(Object::new())
                        }
                        _ => {
                            self.take(OBJECT_BYTES)?;
                            let key = self.key()?;
                            open.push(Open::Object(Object::new(), key));
                            continue;
                        }
                    }
                }
                Some(b'"') => Json::String(self.string()?),
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
                        if self.keeps {
                            items.push(value);
                        }
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
                        if self.keeps {
                            members.insert(std::mem::take(key), value);
                        }
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

    /// Counts what is about to be made.
    fn take(&mut self, bytes: usize) -> Result<(), ParseError> {
        if !self.keeps {
            return Ok(());
        }
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.error(format!("its values take more than {} MiB of memory", self.limit >> 20))),
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
        self.take(MEMBER_BYTES)?;
        let key = self.string()?;
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
            self.take(digits)?;
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

    /// Reads text in quotes.
    fn string(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let run = self.plain_run();
            self.take(run.len())?;
            if self.keeps {
                text.push_str(run);
            }
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.take(4)?;
                    let character = self.escaped()?;
                    if self.keeps {
                        text.push(character);
                    }
                }
                Some(byte) if byte < 0x20 => return Err(self.error("a control character in a text")),
                _ => return Err(self.error("a text without a closing quote")),
            }
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
