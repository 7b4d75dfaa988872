//! From a value to text, as Python's `json.dumps` does it.

use super::value::{Int, Json, Object};
use std::fmt;

impl Json {
    /// The text that Python's `json.dumps(value, indent=2)` gives. kymflow and kymhost write it to files.
    pub fn to_file_text(&self) -> String {
        self.print(Style { indent: true, ascii: true, sorted: false })
    }

    pub(crate) fn print(&self, style: Style) -> String {
        let mut printer = Printer { out: String::with_capacity(128), style, depth: 0 };
        printer.value(self);
        printer.out
    }
}

/// The text that Python's `json.dumps(value, separators=(",", ":"))` gives: one line, ASCII, keys in their order.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(Style { indent: false, ascii: true, sorted: false }))
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
pub(super) fn push_float(out: &mut String, value: f64) {
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
