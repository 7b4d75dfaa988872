//! Markers with receipts: what is written is read back, and a text is read as a parsed value is.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

fn input(key: &str, found: InputState) -> Input {
    Input { key: key.into(), found }
}

fn file(key: &str, size: u64, times: Option<(i64, i64)>) -> Input {
    let times = times.map(|(mtime_ns, ctime_ns)| Times { mtime_ns, ctime_ns, inode: Some(9) });
    input(key, InputState::File { size, times, sha256: "ab".repeat(32) })
}

fn receipt() -> Receipt {
    Receipt {
        format: FORMAT,
        library_sha256: "1".repeat(64),
        rows_sha256: "2".repeat(64),
        params: Some(r#"{"a":"b\\c","é":1.0}"#.into()),
        inputs: RecordedInputs {
            params: Some(vec![file("analysis/velocity_events/params.json", 12, Some((-5, 7)))]),
            rows: Some(vec![
                input("analysis/gone.parquet", InputState::Absent),
                input("analysis", InputState::Listing { sha256: "l".into() }),
                input(".zattrs", InputState::Attributes { sha256: "a".into() }),
                input("data", InputState::Array { size: 9, chunks: 2, stats_sha256: None, sha256: "x".into() }),
                input(
                    "b",
                    InputState::Array { size: 9, chunks: 2, stats_sha256: Some("s".into()), sha256: "x".into() },
                ),
                file("young", u64::MAX, None),
            ]),
        },
        outputs: Vec::new(),
        adopted: None,
    }
}

fn marker() -> RunMarker {
    RunMarker::new("stalls", "h".repeat(64), "lab.stalls@1", 3, 1_790_000_000_000_000_000)
}

fn text_of(receipt: &Receipt) -> String {
    to_json(&marker(), receipt.clone()).to_file_text()
}

/// Both ways, which must agree: what they read.
fn both(text: &[u8]) -> Option<ReadMarker> {
    let slow = Json::parse(text).ok().and_then(|payload| read_json(&payload));
    if let Some(fast) = read_text(text) {
        assert_eq!(Some(fast), slow, "{}", String::from_utf8_lossy(text));
    }
    assert_eq!(read(text), slow, "{}", String::from_utf8_lossy(text));
    slow
}

#[test]
fn written_format() {
    let text = text_of(&receipt());
    let expected = format!(
        r#"{{"marker_version":"1","indexer_name":"stalls","params_hash":"{h}","analysis_version":"lab.stalls@1","n_rows":3,"ran_utc_epoch_ns":1790000000000000000,"status":"ok","kymhost":{{"format":2,"library_sha256":"{one}","rows_sha256":"{two}","params":"{{\"a\":\"b\\\\c\",\"\u00e9\":1.0}}","inputs":{{"params":[{{"key":"analysis/velocity_events/params.json","state":"file","size":12,"mtime_ns":-5,"ctime_ns":7,"inode":9,"sha256":"{ab}"}}],"rows":[{{"key":"analysis/gone.parquet","state":"absent"}},{{"key":"analysis","state":"listing","sha256":"l"}},{{"key":".zattrs","state":"attributes","sha256":"a"}},{{"key":"data","state":"array","size":9,"chunks":2,"sha256":"x"}},{{"key":"b","state":"array","size":9,"chunks":2,"stats_sha256":"s","sha256":"x"}},{{"key":"young","state":"file","size":18446744073709551615,"sha256":"{ab}"}}]}}}}}}"#,
        h = "h".repeat(64),
        one = "1".repeat(64),
        two = "2".repeat(64),
        ab = "ab".repeat(32),
    );
    assert_eq!(Json::parse(text.as_bytes()).unwrap().to_string(), expected);
    // Ours are read the fast way.
    assert_eq!(read_text(text.as_bytes()), Some(ReadMarker { marker: marker(), receipt: Some(receipt()) }));
    // kymflow's own marker comes first, as it was.
    let plain = marker().to_json().to_file_text();
    assert!(text.starts_with(plain.trim_end_matches("\n}")), "{text}");
    assert_eq!(both(plain.as_bytes()), Some(ReadMarker { marker: marker(), receipt: None }));
}

/// What kymhost wrote before it recorded inodes is read: the same, without them.
#[test]
fn format_1_is_read() {
    let text = text_of(&receipt()).replace("\"format\": 2", "\"format\": 1");
    let text = text.lines().filter(|line| !line.contains("\"inode\"")).collect::<Vec<_>>().join("\n");
    let mut expected = Receipt { format: 1, ..receipt() };
    for input in expected.inputs.params.iter_mut().flatten() {
        if let InputState::File { times: Some(times), .. } = &mut input.found {
            times.inode = None;
        }
    }
    assert_eq!(both(text.as_bytes()).unwrap().receipt, Some(expected));
}

#[test]
fn long_params_not_kept() {
    for (bytes, is_kept) in [(MAX_PARAMS_BYTES, true), (MAX_PARAMS_BYTES + 1, false)] {
        let long = Receipt { params: Some("é".repeat(bytes / 2) + &"x".repeat(bytes % 2)), ..receipt() };
        assert_eq!(long.params.as_ref().unwrap().len(), bytes);
        let read = both(text_of(&long).as_bytes()).unwrap().receipt.unwrap();
        assert_eq!(read.params.is_some(), is_kept, "{bytes}");
    }
    // Nor are they read where another wrote them.
    let long = format!("\"params\": \"{}\"", "x".repeat(MAX_PARAMS_BYTES + 1));
    let text = text_of(&Receipt { params: None, ..receipt() }).replace("\"params\": null", &long);
    assert_eq!(both(text.as_bytes()).unwrap().receipt.unwrap().params, None);
}

#[test]
fn unusual_marker_texts_read_as_python_reads() {
    // (what is replaced, by what, whether the marker is valid, whether it has a receipt)
    let cases: &[(&str, &str, bool, bool)] = &[
        // The marker's own fields, by the rules of Python.
        ("\"n_rows\": 3", "\"n_rows\": true", true, true),
        ("\"n_rows\": 3", "\"n_rows\": -0", true, true),
        ("\"n_rows\": 3", "\"n_rows\": 3.0", false, false),
        ("\"n_rows\": 3", "\"n_rows\": 3e0", false, false),
        ("\"n_rows\": 3", "\"n_rows\": 99999999999999999999999", true, true),
        ("\"n_rows\": 3", "\"n_rows\": 1, \"n_rows\": 3", true, true),
        ("\"n_rows\": 3", "\"n_rows\": 3, \"n_rows\": null", false, false),
        ("\"n_rows\": 3", "\"n_rows\": 3, \"more\": NaN", true, true),
        ("\"n_rows\": 3", "\"n_rows\": 3, \"more\": \"\\ud800\"", false, false),
        ("\"n_rows\": 3", "\"n_rows\": 3, \"\\ud800\": 1", false, false),
        ("\"n_rows\": 3", "\"n_rows\": 3, \"\\u006d\\u006fre\": {}", true, true),
        ("\"n_rows\": 3", "\"\\u006e_rows\": 3", true, true),
        ("\"status\": \"ok\"", "\"status\": \"\\ud83d\\ude00\"", true, true),
        ("\"status\": \"ok\"", "\"status\": \"\\ud83d\"", false, false),
        ("\"status\": \"ok\"", "\"status\": \"tab\there\"", false, false),
        ("\"indexer_name\": \"stalls\"", "\"indexer_name\": \" \\u001c\\u00a0\"", false, false),
        ("\"indexer_name\": \"stalls\"", "\"indexer_name\": \"é\"", true, true),
        ("\"marker_version\": \"1\"", "\"marker_version\": \"2\"", false, false),
        ("1790000000000000000", "0", false, false),
        ("1790000000000000000", "-1", false, false),
        ("1790000000000000000", "9223372036854775808", true, true),
        ("{\n  \"marker", "\u{feff}{\n  \"marker", false, false),
        ("{\n  \"marker", "{} {\n  \"marker", false, false),
        // Ours: another form, or malformed, is none; more is ignored.
        ("\"format\": 2", "\"format\": 3", true, false),
        ("\"format\": 2", "\"format\": 0", true, false),
        ("\"format\": 2", "\"format\": 1", true, true),
        ("\"inode\": 9", "\"inode\": -9", true, false),
        ("\"inode\": 9,", "", true, true),
        ("\"format\": 2", "\"format\": 2, \"more\": \"\\ud800\"", false, false),
        ("\"format\": 2", "\"format\": 2, \"more\": \"\\uDfff\"", false, false),
        ("\"format\": 2", "\"format\": 2, \"more\": \"\\uD83D\\uDE00\"", true, true),
        ("\"format\": 2", "\"format\": 2.0", true, false),
        ("\"format\": 2", "\"format\": true", true, false),
        ("\"format\": 2", "\"format\": 2, \"more\": [[{}]]", true, true),
        ("\"format\": 2", "\"format\": 3, \"format\": 2", true, true),
        ("\"format\": 2,", "", true, false),
        ("\"rows_sha256\"", "\"rows\"", true, false),
        ("\"state\": \"absent\"", "\"state\": \"lost\"", true, false),
        ("\"state\": \"absent\"", "\"state\": {\"absent\": null}", true, false),
        ("\"state\": \"absent\"", "\"state\": \"absent\", \"more\": 1", true, true),
        ("\"state\": \"absent\"", "\"state\": \"absent\", \"size\": 5", true, true),
        ("\"state\": \"absent\"", "\"state\": \"absent\", \"size\": \"5\"", true, false),
        ("\"state\": \"absent\"", "\"state\": \"file\"", true, false),
        ("\"mtime_ns\": -5,", "", true, false),
        ("\"mtime_ns\": -5", "\"mtime_ns\": 1e3", true, false),
        ("\"mtime_ns\": -5", "\"mtime_ns\": -9223372036854775809", true, false),
        ("\"size\": 12", "\"size\": -12", true, false),
        ("\"size\": 12", "\"size\": true", true, false),
        ("\"stats_sha256\": \"s\",", "\"stats_sha256\": null,", true, true),
        ("\"stats_sha256\": \"s\",", "\"stats_sha256\": 1,", true, false),
        ("\"inputs\": {", "\"inputs\": null, \"more\": {", true, false),
        ("\"inputs\": {", "\"inputs\": {\"more\": NaN,", true, true),
        ("\"rows\": [", "\"rows\": null, \"more\": [", true, true),
        ("\"rows\": [", "\"rows\": {}, \"more\": [", true, false),
        ("\"kymhost\": {", "\"kymhost\": [], \"other\": {", true, false),
        ("\"kymhost\": {", "\"kymhost\": null, \"other\": {", true, false),
    ];
    let text = text_of(&receipt());
    for (old, new, is_valid, has_receipt) in cases {
        assert!(text.contains(old), "{old}");
        let read = both(text.replacen(old, new, 1).as_bytes());
        assert_eq!(
            (read.is_some(), read.is_some_and(|read| read.receipt.is_some())),
            (*is_valid, *has_receipt),
            "{new}"
        );
    }
    // serde takes a list for a struct.
    let values = r#"["1","n","h","v",1,1,"ok",{"format":1}]"#;
    assert_eq!(both(values.as_bytes()), None);
    let list = r#"[1,"l","r",null,[null,null],null]"#;
    let plain = marker().to_json().to_string();
    let text = plain.replacen("\"status\"", &format!("\"kymhost\":{list},\"status\""), 1);
    assert_eq!(both(text.as_bytes()), Some(ReadMarker { marker: marker(), receipt: None }));
    // Nesting: as deep as Python's reader of ours goes, and deeper.
    for (depth, is_valid) in [(500, true), (MAX_DEPTH, false)] {
        let deep = format!("\"more\": {}{}, \"n_rows\"", "[".repeat(depth), "]".repeat(depth));
        let text = text_of(&receipt()).replacen("\"n_rows\"", &deep, 1);
        assert_eq!(both(text.as_bytes()).is_some(), is_valid, "{depth}");
    }
    for (digits, is_valid) in [(MAX_INT_DIGITS, true), (MAX_INT_DIGITS + 1, false)] {
        let long = format!("\"format\": 2, \"more\": {}", "9".repeat(digits));
        let text = text_of(&receipt()).replacen("\"format\": 2", &long, 1);
        assert_eq!(both(text.as_bytes()).is_some_and(|read| read.receipt.is_some()), is_valid, "{digits}");
    }
    assert_eq!(both(b"{\"marker_version\": \"1\xff\"}"), None);
}

#[test]
fn freshened_marker_keeps_everything_else() {
    let text = text_of(&receipt()).replacen("\"n_rows\"", "\"of_python\": [NaN], \"n_rows\"", 1).replacen(
        "\"format\"",
        "\"of_tomorrow\": {}, \"format\"",
        1,
    );
    let rows = Some(vec![file("new", 1, Some((1, 2)))]);
    let mut with = Freshening { inputs: RecordedInputs { params: None, rows: rows.clone() }, outputs: None };
    let fresh = freshened(text.as_bytes(), &with).unwrap();
    let expected = RecordedInputs { rows, ..receipt().inputs };
    assert_eq!(
        both(&fresh).unwrap(),
        ReadMarker { marker: marker(), receipt: Some(Receipt { inputs: expected, ..receipt() }) }
    );
    let fresh = String::from_utf8(fresh).unwrap();
    assert!(fresh.contains("\"of_python\"") && fresh.contains("\"of_tomorrow\""), "{fresh}");
    with.inputs.params = Some(vec![]);
    let read = both(&freshened(text.as_bytes(), &with).unwrap()).unwrap().receipt.unwrap();
    assert_eq!(read.inputs, with.inputs);
    // A receipt without artifacts gets none; one with some gets those of now.
    let with_outputs = Freshening { outputs: Some(vec![file("made", 2, Some((3, 4)))]), ..Freshening::default() };
    assert_eq!(both(&freshened(text.as_bytes(), &with_outputs).unwrap()).unwrap().receipt, Some(receipt()));
    let made = Receipt { outputs: vec![file("made", 2, None)], ..receipt() };
    let fresh = freshened(text_of(&made).as_bytes(), &with_outputs).unwrap();
    let expected = Receipt { outputs: vec![file("made", 2, Some((3, 4)))], ..receipt() };
    assert_eq!(both(&fresh).unwrap().receipt, Some(expected));
    // Python has written it meanwhile.
    for other in [marker().to_json().to_file_text(), "{".into(), "{}".into(), text.replacen("1", "2", 1)] {
        assert_eq!(freshened(other.as_bytes(), &with), None, "{other}");
    }
}

fn found() -> impl Strategy<Value = InputState> {
    let digest = || "[0-9a-f]{0,4}";
    prop_oneof![
        Just(InputState::Absent),
        (any::<u64>(), any::<Option<(i64, i64)>>(), digest()).prop_map(|(size, times, sha256)| {
            let times = times.map(|(mtime_ns, ctime_ns)| Times { mtime_ns, ctime_ns, inode: Some(9) });
            InputState::File { size, times, sha256 }
        }),
        (any::<u64>(), any::<u64>(), prop::option::of(digest()), digest())
            .prop_map(|(size, chunks, stats_sha256, sha256)| InputState::Array { size, chunks, stats_sha256, sha256 }),
        digest().prop_map(|sha256| InputState::Attributes { sha256 }),
        digest().prop_map(|sha256| InputState::Listing { sha256 }),
    ]
}

fn inputs() -> impl Strategy<Value = Option<Vec<Input>>> {
    let input = (".{0,6}", found()).prop_map(|(key, found)| Input { key, found });
    prop::option::of(prop::collection::vec(input, 0..4))
}

fn markers() -> impl Strategy<Value = ReadMarker> {
    let adopted = (prop::option::of(".{0,3}"), prop::option::of(".{0,3}"), ".{0,6}", any::<i64>()).prop_map(
        |(params_hash, analysis_version, reason, utc_epoch_ns)| Adoption {
            params_hash,
            analysis_version,
            reason,
            utc_epoch_ns,
        },
    );
    let receipt =
        (".{0,4}", ".{0,4}", prop::option::of(".{0,9}"), inputs(), inputs(), inputs(), prop::option::of(adopted))
            .prop_map(|(library_sha256, rows_sha256, kept_params, params, rows, outputs, adopted)| Receipt {
                format: FORMAT,
                library_sha256,
                rows_sha256,
                params: kept_params,
                inputs: RecordedInputs { params, rows },
                outputs: outputs.unwrap_or_default(),
                adopted,
            });
    let marker = ("[a-z\u{e9}]{1,4}", ".{0,4}", ".{0,4}", any::<u64>(), 1..i64::MAX);
    (marker, receipt).prop_map(|((name, hash, version, n_rows, time), receipt)| ReadMarker {
        marker: RunMarker::new(name, hash, version, n_rows, time),
        receipt: Some(receipt),
    })
}

/// Pieces that texts of markers are made of, and some that should not be there.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\ud83d\\ude00",
    "null",
    "true",
    "NaN",
    "-Infinity",
    "0",
    "-0",
    "1",
    "2",
    "1.0",
    "1e5",
    "99999999999999999999",
    "18446744073709551615",
    " ",
    "\t",
    "\u{1}",
    "\u{feff}",
    "\"n_rows\":",
    "\"format\":",
    "\"kymhost\":",
    "\"key\":",
    "\"state\":",
    "\"file\"",
    "\"absent\"",
    "\"inputs\":{",
    "\"params\":",
    "\"rows\":[",
    "\"x\":1,",
];

proptest! {
    #[test]
    fn written_marker_is_read_back(read in markers()) {
        let payload = to_json(&read.marker, read.receipt.clone().unwrap());
        for text in [payload.to_file_text(), payload.to_string()] {
            prop_assert_eq!(both(text.as_bytes()), Some(read.clone()));
        }
    }

    #[test]
    fn text_and_json_agree_on_damaged_markers(
        read in markers(),
        edits in prop::collection::vec((any::<Index>(), any::<Index>(), 0usize..4), 1..4),
    ) {
        let mut text = to_json(&read.marker, read.receipt.clone().unwrap()).to_string().into_bytes();
        for (at, piece, removed) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + removed * removed).min(text.len());
            text.splice(at..end, piece.get(PIECES).bytes());
        }
        both(&text);
    }

    #[test]
    fn text_and_json_agree_on_any_bytes(read in markers(), at in any::<Index>(), byte in any::<u8>(), cut in any::<Option<Index>>()) {
        let mut text = to_json(&read.marker, read.receipt.clone().unwrap()).to_file_text().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len()));
        }
        both(&text);
    }
}
