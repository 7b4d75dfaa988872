use super::*;
use kymhost_dataset::{InputState, Times};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;

struct Lab {
    folder: tempfile::TempDir,
    dataset: Dataset,
    name: TableName,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dataset = Dataset::create(&folder.path().join("data.zarr")).unwrap();
        Self { folder, dataset, name: TableName::of("stalls").unwrap() }
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder.path().join(format!("data.zarr/index/kymhost/{kind}/kym_stalls.json"))
    }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn intent(ids: &[&str]) -> Pending {
    without_artifacts(ids.iter().copied())
}

fn seal() -> Seal {
    let table = Identity { size: 7, mtime_ns: i64::MAX, ctime_ns: -1, footer_sha256: "ab".into() };
    Seal { table, altered: set(&["a", "b"]), receipts: [u64::MAX, 0, 7].into_iter().collect() }
}

fn failures() -> Failures {
    let inputs = vec![
        Input { key: "analysis/x.json".into(), found: InputState::Absent },
        Input {
            key: "analysis/y.json".into(),
            found: InputState::File {
                size: 3,
                times: Some(Times { mtime_ns: 1, ctime_ns: 2, inode: Some(3) }),
                sha256: "cd".into(),
            },
        },
        Input { key: "z".into(), found: InputState::File { size: u64::MAX, times: None, sha256: "cd".into() } },
        Input {
            key: "data".into(),
            found: InputState::Array { size: 1, chunks: 2, stats_sha256: None, sha256: "ef".into() },
        },
        Input { key: ".zattrs".into(), found: InputState::Attributes { sha256: "01".into() } },
        Input { key: "analysis".into(), found: InputState::Listing { sha256: "23".into() } },
    ];
    let failure = PastFailure {
        kind: "panic".into(),
        message: "it \u{1f40d} \"broke\"\n".into(),
        library_sha256: "0".repeat(64),
        utc_epoch_ns: 1,
        inputs,
    };
    Failures::from([("a".to_owned(), failure)])
}

#[test]
fn what_is_written_is_read() {
    let lab = Lab::new();
    let (dataset, name) = (&lab.dataset, &lab.name);
    assert_eq!(read_seal(dataset, name).unwrap(), None);
    assert_eq!(read_intent(dataset, name).unwrap(), None);
    assert_eq!(read_failures(dataset, name).unwrap(), Failures::new());

    write_seal(dataset, name, &seal()).unwrap();
    write_intent(dataset, name, &intent(&["x"])).unwrap();
    write_failures(dataset, name, &failures()).unwrap();
    assert_eq!(read_seal(dataset, name).unwrap(), Some(seal()));
    assert_eq!(read_intent(dataset, name).unwrap(), Some(Intent::Images(intent(&["x"]))));
    assert_eq!(read_failures(dataset, name).unwrap(), failures());
    // One table's are not another's.
    assert_eq!(read_seal(dataset, &TableName::of("radon").unwrap()).unwrap(), None);

    remove_seal(dataset, name).unwrap();
    for _ in 0..2 {
        write_intent(dataset, name, &Pending::new()).unwrap();
        write_failures(dataset, name, &Failures::new()).unwrap();
    }
    for kind in [SEALS, INTENTS, FAILURES] {
        assert!(!lab.path(kind).exists(), "{kind}");
    }
}

#[test]
fn unreadable_document_counts_as_safest_case() {
    let lab = Lab::new();
    let (dataset, name) = (&lab.dataset, &lab.name);
    write_seal(dataset, name, &seal()).unwrap();
    write_intent(dataset, name, &intent(&["x", "y"])).unwrap();
    write_failures(dataset, name, &failures()).unwrap();
    let check = |case: &str| {
        assert_eq!(read_seal(dataset, name).unwrap(), None, "{case}");
        assert_eq!(read_intent(dataset, name).unwrap(), Some(Intent::Unreadable), "{case}");
        assert_eq!(read_failures(dataset, name).unwrap(), Failures::new(), "{case}");
    };
    let whole = [SEALS, INTENTS, FAILURES].map(|kind| (lab.path(kind), fs::read(lab.path(kind)).unwrap()));
    // Torn at every byte: never an error, never part of what was meant.
    for cut in 0..whole.iter().map(|(_, text)| text.len()).min().unwrap() {
        for (path, text) in &whole {
            fs::write(path, &text[..cut]).unwrap();
        }
        check(&format!("cut at {cut}"));
    }
    for (case, text) in [
        ("no JSON", "\0\0\0"),
        ("a list", "[]"),
        ("another form", r#"{"format": 2, "images": ["x"], "failures": {}, "altered": [], "table": {}}"#),
        ("a form that is no number", r#"{"format": "1", "images": ["x"], "failures": {}}"#),
        ("no form", r#"{"images": ["x"], "failures": {}}"#),
        ("other types", r#"{"format": 1, "images": {"x": 1}, "failures": [], "altered": 1, "table": {"size": -1}}"#),
        ("artifacts of another type", r#"{"format": 1, "images": ["x"], "artifacts": ["x"]}"#),
        ("no content", r#"{"format": 1}"#),
        ("more after it", r#"{"format": 1, "images": ["x"], "failures": {}} {}"#),
    ] {
        for (path, _) in &whole {
            fs::write(path, text).unwrap();
        }
        check(case);
    }
    for (path, _) in &whole {
        fs::File::create(path).unwrap().set_len(MAX_LEDGER_BYTES + 1).unwrap();
    }
    check("too large");
    // An empty list names nobody, nor do artifacts of images that are not in it.
    fs::write(&whole[1].0, r#"{"format": 1, "images": [], "artifacts": {"x": {"k": ""}}}"#).unwrap();
    assert_eq!(read_intent(dataset, name).unwrap(), None);
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(16))]

    #[test]
    fn state_files_round_trip(
        altered in prop::collection::btree_set(".*", 0..4),
        images in prop::collection::btree_map(".*", prop::collection::btree_map(".*", ".*", 0..3), 1..4),
        numbers in any::<(u64, i64, i64)>(),
        texts in any::<[String; 4]>(),
        marks in prop::collection::vec(any::<u64>(), 0..4),
    ) {
        let lab = Lab::new();
        let (dataset, name) = (&lab.dataset, &lab.name);
        let [footer_sha256, kind, message, key] = texts;
        let table = Identity { size: numbers.0, mtime_ns: numbers.1, ctime_ns: numbers.2, footer_sha256 };
        let seal = Seal { table, altered, receipts: marks.into_iter().collect() };
        write_seal(dataset, name, &seal).unwrap();
        prop_assert_eq!(read_seal(dataset, name).unwrap(), Some(seal));

        write_intent(dataset, name, &images).unwrap();
        prop_assert_eq!(read_intent(dataset, name).unwrap(), Some(Intent::Images(images.clone())));

        let times = Some(Times { mtime_ns: numbers.1, ctime_ns: numbers.2, inode: Some(numbers.0) });
        let found = InputState::File { size: numbers.0, times, sha256: kind.clone() };
        let failure = PastFailure {
            kind, message, library_sha256: key.clone(), utc_epoch_ns: numbers.1, inputs: vec![Input { key, found }],
        };
        let failures: Failures = images.into_keys().map(|id| (id, failure.clone())).collect();
        write_failures(dataset, name, &failures).unwrap();
        prop_assert_eq!(read_failures(dataset, name).unwrap(), failures);
    }
}
