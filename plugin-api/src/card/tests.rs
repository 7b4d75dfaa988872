//! A card's bytes are written as documented, and read from any bytes without a panic.

use super::format::HEADER;
use super::*;
use crate::{Artifact, ArtifactKind, Indexer, Json, Output, Record, Result, Run, Table};
use proptest::prelude::*;

struct Plain;
struct Named;

macro_rules! indexer {
    ($type:ty, $name:literal, $version:literal, $marker:literal, $artifacts:expr) => {
        impl Indexer for $type {
            const NAME: &'static str = $name;
            const ANALYSIS_VERSION: &'static str = $version;
            const MARKER: &'static str = $marker;
            const PARAMS_ARTIFACTS: &'static [&'static str] = $artifacts;
            fn params(&self, _: &Record<'_>) -> Result<Json> {
                Ok(Json::Null)
            }
            fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> {
                Err(crate::Error::msg("no rows here"))
            }
        }
    };
}

indexer!(Plain, "plain", "lab.plain@1", "", &[]);
indexer!(Named, "named", "läb \"quoted\" \\ v2", "named/summary", &["named/params", "named.params"]);

const ENTRIES: &[CardEntry] = &[CardEntry::of::<Plain>(), CardEntry::of::<Named>()];
static CARD: [u8; encoded_len(ENTRIES)] = encode(ENTRIES);

fn section(json: &str) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(json.as_bytes());
    bytes
}

/// What a plugin writes into its card is what a host reads; bytes after the card are ignored.
#[test]
fn card_roundtrip_is_equal() {
    let card = Card::parse(&CARD).expect("our own card");
    assert_eq!((card.api, card.needs_api), (API, ApiVersion { major: 1, minor: 0 }));
    assert_eq!((card.door.as_str(), card.sdk.as_str()), (DOOR, env!("CARGO_PKG_VERSION")));
    assert_eq!((card.rustc.as_str(), card.target.as_str()), (env!("KYMHOST_RUSTC"), TARGET));
    let indexer = |name: &str, analysis_version: &str, marker: &str, artifacts: &[&str]| CardIndexer {
        name: name.into(),
        analysis_version: analysis_version.into(),
        marker: marker.into(),
        params_artifacts: artifacts.iter().map(|name| (*name).into()).collect(),
        writes: Vec::new(),
        reads: Vec::new(),
        params_schema: String::new(),
    };
    assert_eq!(
        card.indexers,
        [
            indexer("plain", "lab.plain@1", "plain_run", &[]),
            indexer("named", "läb \"quoted\" \\ v2", "named/summary", &["named/params", "named.params"]),
        ]
    );
    assert_eq!((marker_name::<Plain>(), marker_name::<Named>()), ("plain_run".into(), "named/summary".into()));
    let mut padded = CARD.to_vec();
    padded.extend([0; 100]);
    assert_eq!(Card::parse(&padded), Ok(card), "what follows is ignored");
}

/// `WRITES`, `READS` and `PARAMS_SCHEMA` appear on the card, and writing needs API 1.1.
#[test]
fn card_lists_writes_reads_and_schema() {
    struct Maker;
    impl Indexer for Maker {
        const NAME: &'static str = "maker";
        const ANALYSIS_VERSION: &'static str = "maker@1";
        const WRITES: &'static [Output] = &[Output::json("m/x"), Output::table("m/x"), Output::array("m/a")];
        const READS: &'static [&'static str] = &["other/t", "other/u"];
        const PARAMS_SCHEMA: &'static str = "{\"type\":\n\"object\"}";
        fn params(&self, _: &Record<'_>) -> Result<Json> {
            Ok(Json::Null)
        }
        fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> {
            Err(crate::Error::msg("no rows here"))
        }
    }
    const BOTH: &[CardEntry] = &[CardEntry::of::<Plain>(), CardEntry::of::<Maker>()];
    const LEN: usize = encoded_len(BOTH);
    let card = Card::parse(&encode::<LEN>(BOTH)).expect("our own card");
    assert_eq!(
        card.needs_api,
        ApiVersion { major: 1, minor: 1 },
        "a plugin that writes artifacts needs a host that accepts them"
    );
    let [plain, maker] = &card.indexers[..] else { panic!("{card:?}") };
    assert_eq!((plain.writes.len(), plain.reads.len(), plain.params_schema.as_str()), (0, 0, ""));
    assert_eq!(
        maker.writes,
        [
            Artifact::new("m/x", ArtifactKind::Json),
            Artifact::new("m/x", ArtifactKind::Parquet),
            Artifact::new("m/a", ArtifactKind::Array)
        ]
    );
    assert_eq!(
        (maker.reads.join(" ").as_str(), maker.params_schema.as_str()),
        ("other/t other/u", Maker::PARAMS_SCHEMA)
    );
}

/// Wrong `writes`, `reads` or `params_schema` are an error that names the key; unknown kinds are left out.
#[test]
fn card_bad_writes_or_reads_is_refused() {
    let parse = |more: &str| {
        let base = r#""card":1,"api":"1.0","needs_api":"1.0","door":"d","sdk":"s","rustc":"r","target":"t""#;
        let json = format!(r#"{{{base},"indexers":[{{"name":"a","analysis_version":"v","marker":"m",{more}}}]}}"#);
        Card::parse(&section(&json)).map(|card| (card.indexers[0].writes.len(), card.indexers[0].reads.len()))
    };
    let wrong = |result: Result<_, CardError>| match result {
        Err(CardError::Key { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    assert_eq!(parse(r#""writes":[{"name":"a","kind":"json","more":1},{"name":"b","kind":"hologram"}]"#), Ok((1, 0)));
    assert_eq!(parse(r#""reads":["a","b"],"params_schema":"{}""#), Ok((0, 2)));
    for more in
        [r#""writes":1"#, r#""writes":["a"]"#, r#""writes":[{"name":"a"}]"#, r#""writes":[{"name":"","kind":"json"}]"#]
    {
        assert_eq!(wrong(parse(more)), "writes", "{more}");
    }
    assert_eq!(wrong(parse(r#""reads":[1]"#)), "reads");
    assert_eq!(wrong(parse(r#""params_schema":1"#)), "params_schema");
    for (schema, expected) in [("{}", ""), (r#""""#, ""), (r#"{"b":1,"a":2}"#, r#"{"a":2,"b":1}"#), (r#""{ }""#, "{ }")]
    {
        assert_eq!(schema_of(&Json::parse(schema.as_bytes()).expect("JSON")).as_deref(), Some(expected));
    }
}

/// A card is valid JSON even if a name contains control characters.
#[test]
fn card_control_characters_are_escaped() {
    const CONTROL: &[CardEntry] = &[CardEntry {
        name: "a\n\u{1f}\u{0}b",
        analysis_version: "",
        marker: "",
        params_artifacts: &[],
        writes: &[],
        reads: &[],
        params_schema: "",
    }];
    const LEN: usize = encoded_len(CONTROL);
    let text = String::from_utf8(encode::<LEN>(CONTROL)[HEADER..].to_vec()).expect("text");
    assert!(text.contains(r#"{"name":"a\u000a\u001f\u0000b""#), "{text}");
}

/// Unknown keys are ignored; missing or wrong values of known keys are errors that name the key.
#[test]
fn card_wrong_key_is_refused_unknown_ignored() {
    let base = r#""card":1,"api":"1.0","needs_api":"1.0","door":"d","sdk":"s","rustc":"r","target":"t""#;
    let one = r#""indexers":[{"name":"a","analysis_version":"v","marker":"m"}]"#;
    let key = |key: &'static str| move |error: &CardError| matches!(error, CardError::Key { key: k, .. } if *k == key);
    type Check = Box<dyn Fn(&CardError) -> bool>;
    let cases: Vec<(String, Option<Check>)> = vec![
        (format!("{{{base},{one}}}"), None),
        (format!(r#"{{{base},{one},"later":{{"x":[1,NaN]}}}}"#), None),
        (format!(r#"{{{base},"indexers":[{{"name":"a","analysis_version":"v","marker":"m","more":1}}]}}"#), None),
        (format!("{{{base}}}"), Some(Box::new(key("indexers")))),
        (format!(r#"{{{base},"indexers":[]}}"#), Some(Box::new(key("indexers")))),
        (format!(r#"{{{base},"indexers":[1]}}"#), Some(Box::new(key("indexers")))),
        (format!(r#"{{{base},"indexers":[{{"name":"a","marker":"m"}}]}}"#), Some(Box::new(key("analysis_version")))),
        (
            format!(r#"{{{base},"indexers":[{{"name":"a\nb","analysis_version":"v","marker":"m"}}]}}"#),
            Some(Box::new(key("name"))),
        ),
        (
            format!(r#"{{{base},"indexers":[{{"name":"{}","analysis_version":"v","marker":"m"}}]}}"#, "x".repeat(257)),
            Some(Box::new(key("name"))),
        ),
        (
            format!(
                r#"{{{base},"indexers":[{{"name":"a","analysis_version":"v","marker":"m","params_artifacts":[1]}}]}}"#
            ),
            Some(Box::new(key("params_artifacts"))),
        ),
        (
            format!(
                "{{{base},{}}}",
                one.replace("}]", "},{\"name\":\"a\",\"analysis_version\":\"w\",\"marker\":\"m\"}]")
            ),
            Some(Box::new(|error| matches!(error, CardError::DuplicateIndexer(name) if name == "a"))),
        ),
        (format!("{{{base},{one}}}").replace("\"1.0\"", "\"1\""), Some(Box::new(key("api")))),
        (format!("{{{base},{one}}}").replace("\"1.0\"", "\"1.0.0\""), Some(Box::new(key("api")))),
        (format!("{{{base},{one}}}").replace("\"1.0\"", "\"+1.0\""), Some(Box::new(key("api")))),
        (format!("{{{base},{one}}}").replace("\"1.0\"", "\"1.99999999999\""), Some(Box::new(key("api")))),
        (format!("{{{base},{one}}}").replace("\"card\":1", "\"card\":\"1\""), Some(Box::new(key("card")))),
        (
            format!("{{{base},{one}}}").replace("\"card\":1", "\"card\":2"),
            Some(Box::new(|error| matches!(error, CardError::NewerFormat { found: 2 }))),
        ),
        ("[]".into(), Some(Box::new(key("card")))),
        ("{".into(), Some(Box::new(|error| matches!(error, CardError::NotJson(_))))),
    ];
    for (json, expected) in cases {
        match (Card::parse(&section(&json)), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(check)) => assert!(check(&error), "{json}: {error}"),
            (result, _) => panic!("{json}: {result:?}"),
        }
    }
}

/// Bytes that are cut off, too long or without the magic bytes are an error of their own kind.
#[test]
fn card_bad_bytes_are_refused() {
    let too_long = [&MAGIC[..], &u32::MAX.to_le_bytes(), b"{}"].concat();
    for (bytes, expected) in [
        (&b""[..], CardError::Truncated { expected: 12, found: 0 }),
        (&MAGIC[..], CardError::Truncated { expected: 12, found: 8 }),
        (&CARD[..CARD.len() - 1], CardError::Truncated { expected: CARD.len(), found: CARD.len() - 1 }),
        (b"KYMCARD\0\0\0\0\0", CardError::NoMagic),
        (&too_long, CardError::TooLong { found: u32::MAX }),
    ] {
        assert_eq!(Card::parse(bytes), Err(expected));
    }
}

proptest! {
    /// Random bytes and damaged cards give a card or an error.
    #[test]
    fn card_any_bytes_do_not_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..CARD.len(),
        replaced in any::<u8>(),
    ) {
        let _ = Card::parse(&bytes);
        let _ = Card::parse(&section(&String::from_utf8_lossy(&bytes)));
        let mut damaged = CARD.to_vec();
        damaged[at] = replaced;
        let _ = Card::parse(&damaged);
    }
}
