//! Canonical JSON equals Python's recorded vectors, Python itself and a second implementation.

use super::*;
use crate::json::arbitrary;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Writes past the test harness, which hides the output of passing tests.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn shared() -> PathBuf {
    std::env::var_os("KYMHOST_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
}

/// Vectors recorded from Python: a text, then its canonical form, or that Python refuses it.
#[test]
fn canonical_json_equals_recorded_vectors() {
    for folder in ["pandas2", "pandas3"] {
        let file = shared().join("conformance").join(folder).join("params_hash.jsonl");
        let Ok(lines) = std::fs::read_to_string(&file) else {
            skipped(&format!("{} is absent", file.display()));
            continue;
        };
        let mut count = 0;
        for line in lines.lines() {
            let vector = Json::parse(line.as_bytes()).unwrap();
            let field = |name| vector.get(name).and_then(Json::as_str);
            let text = field("json").unwrap();
            match Json::parse(text.as_bytes()) {
                Ok(value) => {
                    assert_eq!(Some(canonical_json(&value).as_str()), field("canonical"), "{text}");
                    assert_eq!(Some(params_hash(&value).as_str()), field("sha256"), "{text}");
                }
                Err(error) => assert!(field("error").is_some(), "{text}: {error}"),
            }
            count += 1;
        }
        assert!(count > 100, "{} has {count} vectors", file.display());
    }
}

/// Hashes that Python's `hashlib` gave.
#[test]
fn params_hash_known_values() {
    for (text, hash) in [
        ("{}", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        ("{\"a\":1}", "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"),
        ("{ \"a\": 1e0 }", "c29a44abc114a1d75486434c013102c9e736f526b4fd19658d9492b7b224de6d"),
    ] {
        assert_eq!(params_hash(&Json::parse(text.as_bytes()).unwrap()), hash, "{text}");
    }
}

/// A second implementation, as simple as possible, over serde_json's value.
fn naive_canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_f64() => naive_float(number.as_f64().unwrap()),
        Value::Number(number) => number.to_string(),
        Value::String(text) => naive_string(text),
        Value::Array(items) => format!("[{}]", items.iter().map(naive_canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.chars().collect::<Vec<_>>());
            let member = |(key, value): &(&String, &Value)| format!("{}:{}", naive_string(key), naive_canonical(value));
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
    }
}

fn naive_string(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|character| match character {
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            '\n' => "\\n".into(),
            '\r' => "\\r".into(),
            '\t' => "\\t".into(),
            '\u{8}' => "\\b".into(),
            '\u{c}' => "\\f".into(),
            '\0'..='\u{1f}' => format!("\\u{:04x}", character as u32),
            _ => character.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// The fewest digits that give the value back, found by trying. `{:e}` rounds, so they are the nearest of that
/// length.
fn naive_float(value: f64) -> String {
    let digits = (0..17).map(|places| format!("{value:.places$e}")).find(|text| text.parse::<f64>() == Ok(value));
    let digits = digits.unwrap();
    let (mantissa, exponent) = digits.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    if (-4..16).contains(&exponent) {
        let places = mantissa.len().saturating_sub(if value.is_sign_negative() { 3 } else { 2 }) as i32 - exponent;
        // Rounding to this many places gives the same digits again: they are the value's digits at that precision.
        let text = format!("{value:.0$}", places.max(1) as usize);
        if places >= 0 {
            return text;
        }
        // Digits before the point that the shortest form leaves out are zeros.
        let zeros = places.unsigned_abs() as usize;
        return format!("{}{}.0", &text[..text.len() - 2 - zeros], "0".repeat(zeros));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Converts without text, because serde_json rounds some floats when it reads them.
fn to_serde(value: &Json) -> serde_json::Value {
    match value {
        Json::Null => serde_json::Value::Null,
        Json::Bool(value) => (*value).into(),
        Json::Int(value) => value.as_i64().map_or_else(|| value.as_u64().unwrap().into(), serde_json::Value::from),
        Json::Float(value) => (*value).into(),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(to_serde).collect(),
        Json::Object(members) => members.iter().map(|(key, value)| (key.clone(), to_serde(value))).collect(),
    }
}

proptest! {
    /// Two implementations print the same text.
    #[test]
    fn canonical_json_equals_naive_printer(value in arbitrary::plain_json()) {
        prop_assert_eq!(canonical_json(&value), naive_canonical(&to_serde(&value)));
    }

    /// Objects with the same members in another order have the same hash.
    #[test]
    fn params_hash_ignores_key_order(value in arbitrary::json()) {
        if let Json::Object(members) = &value {
            let turned = Json::object(members.clone().into_iter().rev());
            prop_assert_eq!(params_hash(&turned), params_hash(&value));
        }
    }
}

/// Runs Python once over many texts: it must accept the same texts and print the same values.
#[test]
fn canonical_json_equals_python() {
    const PROGRAM: &str = r#"
import json, sys
for line in sys.stdin:
    text = json.loads(line)
    try:
        value = json.loads(text)
        out = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        out.encode()
        print(json.dumps([out, json.dumps(value, indent=2)]))
    except ValueError:
        print("null")
"#;
    let python = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let Ok(mut python) = python else {
        skipped("python3 is absent: canonical JSON was not compared with Python's");
        return;
    };
    let mut runner = TestRunner::default();
    let values = arbitrary::json();
    let near_json = prop::collection::vec(
        prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\\u", "d83d", "dc00", "\\n", "-", "0", "17", ".", "e", "E+",
            "NaN", "Infinity", "null", "true", " ", "\n", "\t", "é", "😀",
        ]),
        1..8,
    );
    let mut texts: Vec<String> = Vec::new();
    for _ in 0..400 {
        let value = values.new_tree(&mut runner).unwrap().current();
        texts.extend([value.to_string(), value.to_file_text(), canonical_json(&value)]);
        for _ in 0..4 {
            texts.push(near_json.new_tree(&mut runner).unwrap().current().concat());
            texts.push(Json::Float(f64::from_bits(any::<u64>().new_tree(&mut runner).unwrap().current())).to_string());
        }
    }
    let lines: String = texts.iter().map(|text| Json::from(text.as_str()).to_string() + "\n").collect();
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), texts.len());
    for (text, answer) in texts.iter().zip(answers.lines()) {
        let ours = Json::parse(text.as_bytes()).ok();
        let ours = ours.map(|value| vec![canonical_json(&value), value.to_file_text()]);
        assert_eq!(Json::from(ours), Json::parse(answer.as_bytes()).unwrap(), "{text:?}");
    }
}
