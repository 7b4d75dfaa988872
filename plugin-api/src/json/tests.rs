//! The parser and printer keep their promises, for chosen texts and for random values.

use super::arbitrary;
use super::print::push_float;
use super::*;
use crate::canonical_json;
use proptest::prelude::*;

fn canonical(text: &str) -> Result<String, ParseError> {
    Json::parse(text.as_bytes()).map(|value| canonical_json(&value))
}

/// Each text that Python accepts has the value that Python gives it.
#[test]
fn parse_accepts_what_python_accepts() {
    let cases: &[(&str, &str)] = &[
        (" \t\r\n1 \t\r\n", "1"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("0e5", "0.0"),
        ("1E+2", "100.0"),
        ("-12", "-12"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("1e400", "Infinity"),
        ("-1e99999999999999999999", "-Infinity"),
        ("1e-99999999999999999999", "0.0"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("1e15", "1000000000000000.0"),
        ("1e16", "1e+16"),
        ("9999999999999998.0", "9999999999999998.0"),
        ("123456789012345680.0", "1.2345678901234568e+17"),
        ("1e22", "1e+22"),
        ("1e23", "1e+23"),
        ("1e100", "1e+100"),
        ("0.0001", "0.0001"),
        ("0.00012345", "0.00012345"),
        ("0.00001", "1e-05"),
        ("0.000012345", "1.2345e-05"),
        ("1e-10", "1e-10"),
        ("738059175079396.25", "738059175079396.2"),
        ("100.0", "100.0"),
        ("120.50", "120.5"),
        ("[NaN,Infinity,-Infinity]", "[NaN,Infinity,-Infinity]"),
        (r#""\/\"\\\b\f\n\r\t\u0041""#, r#""/\"\\\b\f\n\r\tA""#),
        (r#""\ud83D\uDe00""#, "\"😀\""),
        ("\"\u{7f}\u{2028}é\"", "\"\u{7f}\u{2028}é\""),
        (r#""\u0000\u001f""#, r#""\u0000\u001f""#),
        (r#"{"b":1,"a":2,"b":3}"#, r#"{"a":2,"b":3}"#),
        (r#"{"":[ ],"a" : { } , "\u0061b":[1 ,2]}"#, r#"{"":[],"a":{},"ab":[1,2]}"#),
        (r#"{"～":1,"😀":2}"#, r#"{"～":1,"😀":2}"#),
        ("\"\u{feff}\"", "\"\u{feff}\""),
        ("null", "null"),
        ("[true,false]", "[true,false]"),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text).as_deref(), Ok(*expected), "{text}");
    }
}

/// Each text that Python refuses is refused, with the position of the fault.
#[test]
fn parse_refuses_and_gives_offset() {
    let cases: &[(&[u8], usize)] = &[
        (b"", 0),
        (b"  ", 2),
        (b"\xef\xbb\xbf{}", 0),
        (b"\"a\xff\"", 2),
        (b"\"\xed\xa0\x80\"", 1),
        (b"nul", 0),
        (b"nan", 0),
        (b"-NaN", 1),
        (b"+1", 0),
        (b"-", 1),
        (b"--1", 1),
        (b".5", 0),
        (b"1.", 2),
        (b"1.e5", 2),
        (b"1e", 2),
        (b"1e+", 3),
        (b"01", 0),
        (b"-01", 0),
        (b"00.5", 0),
        (b"0x1", 1),
        (b"1 2", 2),
        (b"1,", 1),
        (b"[", 1),
        (b"[1", 2),
        (b"[1,", 3),
        (b"[1,]", 3),
        (b"[,1]", 1),
        (b"[1}", 2),
        (b"]", 0),
        (b"{", 1),
        (b"{1:2}", 1),
        (b"{'a':1}", 1),
        (b"{\"a\"}", 4),
        (b"{\"a\":}", 5),
        (b"{\"a\":1,}", 7),
        (b"{\"a\":1 \"b\":2}", 7),
        (b"{\"a\":1]", 6),
        (b"\"", 1),
        (b"\"a\\", 3),
        (b"\"\t\"", 1),
        (b"\"a\\n\x00\"", 4),
        (b"\"\\x41\"", 2),
        (b"\"\\u12g4\"", 2),
        (b"\"\\u12", 2),
        (b"\"\\u+123\"", 2),
        (b"\"\\ud800\"", 2),
        (b"\"\\ud800x\"", 2),
        (b"\"\\udc00\\ud800\"", 2),
        (b"\"\\ud800\\u0041\"", 2),
        (b"\"\\ud800\\ud800\"", 2),
        (b"1\xc2\xa0", 1),
        (b"1\x0b", 1),
        (b"1\x00", 1),
        (b"// x\n1", 0),
    ];
    for (text, offset) in cases {
        let error = Json::parse(text).expect_err(&String::from_utf8_lossy(text));
        assert_eq!(error.offset, *offset, "{} in {:?}", error, String::from_utf8_lossy(text));
    }
}

/// The limit of Python's `int` applies to integers only.
#[test]
fn parse_integer_above_4300_digits_is_refused() {
    for (sign, zeros, accepted) in [("", 4299, true), ("-", 4299, true), ("", 4300, false), ("-", 4300, false)] {
        let text = format!("{sign}1{}", "0".repeat(zeros));
        assert_eq!(canonical(&text).ok(), accepted.then_some(text));
    }
    // The limit is for integers only.
    assert_eq!(canonical(&format!("0.{}1", "0".repeat(5000))).as_deref(), Ok("0.0"));
}

/// The last value of a duplicate key is kept, in the place of the first.
#[test]
fn parse_duplicate_key_keeps_first_place() {
    let value = Json::parse(br#"{"b": 1, "a": {"x": 1}, "b": [2], "a": null}"#).unwrap();
    assert_eq!(value.to_string(), r#"{"b":[2],"a":null}"#);
}

/// Both text forms are those of Python's `json.dumps`.
#[test]
fn print_equals_python() {
    let value =
        Json::parse(r#"{"b":[],"a":{},"l":[1,[2.5],{"é":"😀\u007f\n\"\\/"}],"n":NaN,"i":-Infinity}"#.as_bytes());
    let value = value.unwrap();
    let file_text = r#"{
  "b": [],
  "a": {},
  "l": [
    1,
    [
      2.5
    ],
    {
      "\u00e9": "\ud83d\ude00\u007f\n\"\\/"
    }
  ],
  "n": NaN,
  "i": -Infinity
}"#;
    assert_eq!(value.to_file_text(), file_text);
    let line = r#"{"b":[],"a":{},"l":[1,[2.5],{"\u00e9":"\ud83d\ude00\u007f\n\"\\/"}],"n":NaN,"i":-Infinity}"#;
    assert_eq!(value.to_string(), line);
}

/// Rust values become JSON values, and can be read back.
#[test]
fn rust_values_convert_to_json() {
    let value = Json::object([
        ("bool", true.into()),
        ("ints", vec![Json::from(-1i32), 2u32.into(), i64::MIN.into(), u64::MAX.into(), 3usize.into()].into()),
        ("floats", vec![1.0, f64::INFINITY].into()),
        ("texts", ["a", "b"].into_iter().collect()),
        ("some", Some("x").into()),
        ("none", None::<i64>.into()),
    ]);
    assert_eq!(
        value.to_string(),
        r#"{"bool":true,"ints":[-1,2,-9223372036854775808,18446744073709551615,3],"floats":[1.0,Infinity],"texts":["a","b"],"some":"x","none":null}"#
    );
    assert_eq!(value.get("bool").and_then(Json::as_bool), Some(true));
    assert!(value.get("none").is_some_and(Json::is_null));
    let ints = value.get("ints").and_then(Json::as_array).unwrap();
    assert_eq!(ints.iter().map(Json::as_i64).collect::<Vec<_>>(), [Some(-1), Some(2), Some(i64::MIN), None, Some(3)]);
    assert_eq!(ints.iter().map(Json::as_u64).collect::<Vec<_>>(), [None, Some(2), None, Some(u64::MAX), Some(3)]);
    assert_eq!(ints[3].as_f64(), Some(18446744073709551615.0));
    assert_eq!(Json::parse(b"18446744073709551615").unwrap(), u64::MAX.into());
}

/// Everything that is done with a value works at the greatest depth, with a thread's default stack in a debug build.
#[test]
fn deep_nesting_fits_default_stack() {
    let work = || {
        for (opening, closing) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"b":1,"a":"#, "}]")] {
            let per_turn = opening.matches(['[', '{']).count();
            let turns = MAX_DEPTH / per_turn;
            let text = |turns: usize| format!("{}1{}", opening.repeat(turns), closing.repeat(turns));
            let value = Json::parse(text(turns).as_bytes()).unwrap();
            assert_eq!(Json::parse(canonical_json(&value).as_bytes()).unwrap(), value.clone());
            assert_eq!(Json::parse(value.to_file_text().as_bytes()).unwrap(), value);
            assert!(format!("{value:?}").len() > MAX_DEPTH);
            let error = Json::parse(text(turns + 1).as_bytes()).unwrap_err();
            assert_eq!(error.offset, opening.len() * turns, "{error}");
        }
        for endless in ["[", r#"{"a":"#] {
            assert!(Json::parse(endless.repeat(1_000_000).as_bytes()).is_err());
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

/// Compares values so that NaN equals NaN.
fn same(a: &Json, b: &Json) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

proptest! {
    /// Every text form of a value is parsed to the same value.
    #[test]
    fn print_parse_roundtrip_is_equal(value in arbitrary::json()) {
        for text in [value.to_file_text(), value.to_string()] {
            prop_assert!(text.is_ascii());
            let read = Json::parse(text.as_bytes()).unwrap();
            prop_assert!(same(&read, &value), "{}", text);
        }
        let text = canonical_json(&value);
        prop_assert_eq!(canonical_json(&Json::parse(text.as_bytes()).unwrap()), text);
    }

    /// Random bytes give a value or an error.
    #[test]
    fn parse_any_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = Json::parse(&bytes);
    }

    /// Random sequences of JSON's tokens give a value or an error.
    #[test]
    fn parse_any_near_json_does_not_panic(
        text in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d83d", "dc00", "\\n", "-", "0", "17", ".", "e", "E+", "NaN",
            "Infinity", "null", "true", "a", " ", "\n", "\u{1}", "é", "😀", "\u{feff}",
        ]), 0..16).prop_map(|parts| parts.concat()),
    ) {
        match Json::parse(text.as_bytes()) {
            Ok(value) => prop_assert!(same(&Json::parse(value.to_string().as_bytes()).unwrap(), &value)),
            Err(error) => prop_assert!(error.offset <= text.len()),
        }
    }

    /// A cut or damaged text gives a value or an error.
    #[test]
    fn parse_damaged_text_does_not_panic(
        value in arbitrary::json(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut text = canonical_json(&value).into_bytes();
        let place = place.index(text.len());
        let _ = Json::parse(&text[..place]);
        text[place] = byte;
        let _ = Json::parse(&text);
    }

    /// A printed float is read back to the same bits.
    #[test]
    fn float_roundtrip_keeps_every_bit(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(!value.is_nan());
        let mut text = String::new();
        push_float(&mut text, value);
        match Json::parse(text.as_bytes()) {
            Ok(Json::Float(read)) => prop_assert_eq!(read.to_bits(), bits),
            other => prop_assert!(false, "{text}: {other:?}"),
        }
    }
}

/// What a value takes on the heap, by its capacities.
fn heap_bytes(value: &Json) -> usize {
    match value {
        Json::String(text) => text.capacity(),
        Json::Array(items) => items.capacity() * size_of::<Json>() + items.iter().map(heap_bytes).sum::<usize>(),
        Json::Object(members) => {
            let inside: usize = members.iter().map(|(key, value)| key.capacity() + heap_bytes(value)).sum();
            // An entry, and its place in the table, of which a part stays empty.
            members.capacity() * (size_of::<String>() + size_of::<Json>() + 16) + inside
        }
        _ => 0,
    }
}

/// The largest limit under which a text is refused.
fn estimated_bytes(text: &[u8]) -> usize {
    let (mut low, mut high) = (0, MAX_VALUE_BYTES);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if Json::parse_within(text, middle).is_ok() {
            high = middle
        } else {
            low = middle
        }
    }
    high
}

/// Texts that make many times their length take at least what is counted, and stop at the limit.
#[test]
fn parse_within_counts_what_is_made() {
    let texts = ["0,", "[],", "[0],", "{},", r#"{"":0},"#, r#"{"a":{"b":[1]}},"#, r#""abc","#, r#""\n","#];
    for element in texts {
        let text = format!("[{}0]", element.repeat(1000));
        let value = Json::parse(text.as_bytes()).unwrap();
        let estimated = estimated_bytes(text.as_bytes());
        assert!(estimated >= heap_bytes(&value), "{element}: {estimated} < {}", heap_bytes(&value));
        assert!(estimated <= 4 * heap_bytes(&value) + 1000, "{element}: {estimated} > 4 * {}", heap_bytes(&value));
        let error = Json::parse_within(text.as_bytes(), estimated - 1).unwrap_err();
        assert!(error.message.starts_with("its values take more than"), "{error}");
    }
}

proptest! {
    /// No value takes more than was counted for it.
    #[test]
    fn parse_within_never_counts_too_little(value in arbitrary::json()) {
        let text = value.to_string();
        let read = Json::parse(text.as_bytes()).unwrap();
        prop_assert!(estimated_bytes(text.as_bytes()) >= heap_bytes(&read), "{text}");
    }
}

proptest! {
    /// A check finds what a parse finds.
    #[test]
    fn check_agrees_with_parse(value in arbitrary::json(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = value.to_string().into_bytes();
        prop_assert_eq!(Json::check(&text), Ok(()));
        let place = cut.index(text.len());
        text[place] = byte;
        prop_assert_eq!(Json::check(&text), Json::parse(&text).map(drop));
    }
}

/// A value that would take 4 GiB is checked without making it.
#[test]
fn check_takes_no_memory_for_values() {
    let text = format!("[{}0]", r#"{"":0},"#.repeat(1 << 20));
    assert!(Json::parse_within(text.as_bytes(), 64 << 20).is_err());
    assert_eq!(Json::check(text.as_bytes()), Ok(()));
}
