//! Every form of input against every way in which it can change, or seem to.

use super::*;
use crate::Dataset;
use crate::InputsError;
use crate::input_digest::FINE_NS;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::{ArtifactKind, Json, RunMarker};
use kymhost_store::{LocalStore, MAX_DOCUMENT_BYTES, Stat, Store, Synced};
use std::fs::{self, File, FileTimes};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The reader's own run marker.
const OWN: &str = "mine_run";

/// An image in a dataset, and its folder.
struct Place {
    _folder: tempfile::TempDir,
    record: Record,
    image: PathBuf,
}

fn pixels() -> Array {
    let axes = ["y", "x"].map(str::to_owned).to_vec();
    Array::new(DType::UInt8, vec![4, 4], axes, (1..17).collect()).unwrap()
}

fn place() -> Place {
    // In memory if there is such a place: a sync of it takes no time.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let dataset = Dataset::create(&folder.path().join("d.zarr")).unwrap();
    let record = dataset.add_image(Some("i"), &pixels(), Some(&[2, 2])).unwrap();
    record.put_json("params", &Json::parse(b"{\"n\": 1}").unwrap()).unwrap();
    let rows = [("n", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)];
    record.put_parquet("table", &RecordBatch::try_from_iter(rows).unwrap()).unwrap();
    record.put_array("maps/speed", &pixels()).unwrap();
    let image = folder.path().join("d.zarr/images/i");
    let place = Place { _folder: folder, record, image };
    place.put("analysis/csv.csv.gz", &crate::gzip::compress(b"n\n1\n").unwrap());
    place.put("analysis/packed.json.gz", &crate::gzip::compress(b"{}").unwrap());
    place.put("analysis/broken.json", b"{");
    place
}

impl Place {
    fn at(&self, key: &str) -> PathBuf {
        self.image.join(key)
    }
    fn bytes(&self, key: &str) -> Vec<u8> {
        fs::read(self.at(key)).unwrap()
    }
    fn put(&self, key: &str, bytes: &[u8]) {
        fs::create_dir_all(self.at(key).parent().unwrap()).unwrap();
        fs::write(self.at(key), bytes).unwrap();
    }
    /// The last chunk is left out, as some writers do, and that is recorded.
    fn empty_chunk(&self) {
        self.remove("data/1.1");
        let dataset = Dataset::open(self.image.parent().unwrap().parent().unwrap()).unwrap();
        assert_eq!(dataset.fill_missing_chunks("i").unwrap(), 1);
    }
    fn remove(&self, key: &str) {
        fs::remove_file(self.at(key)).unwrap();
    }
    /// Another time of the last change, the same bytes.
    fn touch(&self, key: &str) {
        File::options().write(true).open(self.at(key)).unwrap().set_modified(SystemTime::now()).unwrap();
    }
    /// One byte is another; length and mtime are as before.
    fn flip(&self, key: &str) {
        let mtime = fs::metadata(self.at(key)).unwrap().modified().unwrap();
        let mut bytes = self.bytes(key);
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(self.at(key), bytes).unwrap();
        let file = File::options().write(true).open(self.at(key)).unwrap();
        file.set_times(FileTimes::new().set_modified(mtime)).unwrap();
        assert_eq!(fs::metadata(self.at(key)).unwrap().modified().unwrap(), mtime);
    }
    fn append(&self, key: &str, more: &[u8]) {
        self.put(key, &[self.bytes(key), more.to_vec()].concat());
    }
    /// Attributes with a member set.
    fn set_attribute(&self, key: &str, name: &str, value: &str) {
        let Json::Object(mut members) = Json::parse(&self.bytes(key)).unwrap() else { panic!("no object") };
        members.insert(name.to_owned(), Json::parse(value.as_bytes()).unwrap());
        self.put(key, Json::Object(members).to_file_text().as_bytes());
    }
    /// Until what was written can be trusted.
    fn settle(&self) {
        std::thread::sleep(Duration::from_nanos(FINE_NS.unsigned_abs()) + Duration::from_millis(5));
        assert!(self.record.store().sync());
    }
    /// What was read by `read`, long enough after the last write.
    fn read(&self, read: &dyn Fn(&Record)) -> Vec<Input> {
        self.settle();
        let watched = self.record.watched(OWN);
        read(&watched);
        watched.inputs().unwrap()
    }
}

/// What looking again came to, by name; what is reported of the input as it is now must hold in turn.
fn word(place: &Place, input: &Input) -> &'static str {
    let held = check_input(&place.record, OWN, input).unwrap();
    let (word, now) = match held {
        InputCheck::Same => ("same", input.clone()),
        InputCheck::SameContent(now) => ("same content", now),
        InputCheck::Changed(now) => ("changed", now),
        InputCheck::Appeared(now) => ("appeared", now),
        InputCheck::Removed => ("removed", Input { key: input.key.clone(), found: InputState::Absent }),
    };
    assert_eq!(now.key, input.key);
    if !matches!(word, "same") {
        assert_eq!(look(&place.record, OWN, input).unwrap(), now, "{word} {}", input.key);
        assert_eq!(check_input(&place.record, OWN, &now).unwrap(), InputCheck::Same, "{now:?}");
    }
    word
}

type Read = fn(&Record);
type Edit = fn(&Place);

#[track_caller]
fn check(name: &str, prepare: Edit, read: Read, edit: Edit, expected: &[(&str, &str)]) {
    let place = place();
    prepare(&place);
    let inputs = place.read(&read);
    for input in &inputs {
        assert_eq!(
            check_input(&place.record, OWN, input).unwrap(),
            InputCheck::Same,
            "{name}: {input:?} before the edit"
        );
        assert!(!input.found.lacks_times(), "{name}: {input:?}");
    }
    edit(&place);
    place.settle();
    let found: Vec<_> = inputs.iter().map(|input| (input.key.as_str(), word(&place, input))).collect();
    assert_eq!(found, expected, "{name}");
}

const NOTHING: Edit = |_| {};

#[test]
fn file_input_changes_with_size_times_content() {
    let read: Read = |record| drop(record.json("params"));
    let key = "analysis/params.json";
    for (name, edit, expected) in [
        ("nothing", NOTHING, "same"),
        ("touched", |place: &Place| place.touch("analysis/params.json"), "same content"),
        (
            "written again",
            |place| place.put("analysis/params.json", &place.bytes("analysis/params.json")),
            "same content",
        ),
        ("flipped", |place| place.flip("analysis/params.json"), "changed"),
        ("longer", |place| place.append("analysis/params.json", b"\n"), "changed"),
        ("broken", |place| place.put("analysis/params.json", b"{"), "changed"),
        ("removed", |place| place.remove("analysis/params.json"), "removed"),
        ("packed next to it", |place| place.put("analysis/params.json.gz", b"x"), "same"),
        ("other keys", |place| place.put("analysis/other.json", b"{}"), "same"),
    ] as [(&str, Edit, &str); 9]
    {
        check(name, NOTHING, read, edit, &[(key, expected)]);
    }
    check(
        "a link inside the dataset",
        |place| {
            fs::rename(place.at("analysis/params.json"), place.at("elsewhere")).unwrap();
            std::os::unix::fs::symlink("../elsewhere", place.at("analysis/params.json")).unwrap();
        },
        read,
        |place| place.flip("elsewhere"),
        &[(key, "changed")],
    );
}

#[test]
fn absent_input_that_appears_is_a_change() {
    let read: Read = |record| drop(record.json("gone"));
    let (plain, packed) = ("analysis/gone.json", "analysis/gone.json.gz");
    for (name, edit, expected) in [
        ("nothing", NOTHING, ["same", "same"]),
        ("plain", |place: &Place| place.put("analysis/gone.json", b"{}"), ["appeared", "same"]),
        ("packed", |place| place.put("analysis/gone.json.gz", b"x"), ["same", "appeared"]),
        ("a folder", |place| fs::create_dir(place.at("analysis/gone.json")).unwrap(), ["same", "same"]),
    ] as [(&str, Edit, [&str; 2]); 4]
    {
        check(name, NOTHING, read, edit, &[(plain, expected[0]), (packed, expected[1])]);
    }
    let packed: Read = |record| drop(record.json("packed"));
    for (name, edit, expected) in [
        ("nothing", NOTHING, ["same", "same"]),
        ("plain before it", |place: &Place| place.put("analysis/packed.json", b"{}"), ["appeared", "same"]),
        ("flipped", |place| place.flip("analysis/packed.json.gz"), ["same", "changed"]),
        ("removed", |place| place.remove("analysis/packed.json.gz"), ["same", "removed"]),
    ] as [(&str, Edit, [&str; 2]); 4]
    {
        let expected = [("analysis/packed.json", expected[0]), ("analysis/packed.json.gz", expected[1])];
        check(name, NOTHING, packed, edit, &expected);
    }
    for (name, read, key, made) in [
        ("pixels", (|record| drop(record.pixels())) as Read, "data", "data/.zarray"),
        (
            "an array",
            |record| drop(record.array("a/b")),
            "analysis_arrays/a/b/data",
            "analysis_arrays/a/b/data/.zarray",
        ),
    ] {
        let place = place();
        let _ = fs::remove_file(place.at("data/.zarray"));
        let inputs = place.read(&read);
        assert_eq!(inputs, [Input { key: key.to_owned(), found: InputState::Absent }], "{name}");
        assert_eq!(word(&place, &inputs[0]), "same", "{name}");
        place.put(made, b"{}");
        place.settle();
        assert_eq!(word(&place, &inputs[0]), "appeared", "{name}");
    }
}

#[test]
fn table_names_are_files() {
    for (read, key) in [
        ((|record| drop(record.parquet("table"))) as Read, "analysis/table.parquet"),
        (|record| drop(record.csv("csv")), "analysis/csv.csv.gz"),
    ] {
        for (edit, expected) in [
            (NOTHING, "same"),
            (
                (|place| ["table.parquet", "csv.csv.gz"].iter().for_each(|f| place.flip(&format!("analysis/{f}"))))
                    as Edit,
                "changed",
            ),
            (
                |place| ["table.parquet", "csv.csv.gz"].iter().for_each(|f| place.touch(&format!("analysis/{f}"))),
                "same content",
            ),
            (
                |place| ["table.parquet", "csv.csv.gz"].iter().for_each(|f| place.remove(&format!("analysis/{f}"))),
                "removed",
            ),
        ] {
            check(key, NOTHING, read, edit, &[(key, expected)]);
        }
    }
}

#[test]
fn array_input_changes_with_files_and_axes() {
    let read: Read = |record| drop(record.pixels());
    for (name, edit, expected) in [
        ("nothing", NOTHING, "same"),
        ("a chunk touched", |place: &Place| place.touch("data/0.1"), "same content"),
        ("a chunk flipped", |place| place.flip("data/1.0"), "changed"),
        ("a chunk longer", |place| place.append("data/0.0", b"x"), "changed"),
        ("a chunk added", |place| place.put("data/1.1", b"x"), "changed"),
        (
            "two chunks exchanged",
            |place| {
                fs::rename(place.at("data/0.0"), place.at("x")).unwrap();
                fs::rename(place.at("data/0.1"), place.at("data/0.0")).unwrap();
                fs::rename(place.at("x"), place.at("data/0.1")).unwrap();
            },
            "changed",
        ),
        ("a file that is not a chunk", |place| place.put("data/2.0", b"x"), "same"),
        (".zarray touched", |place| place.touch("data/.zarray"), "same content"),
        (".zarray longer", |place| place.append("data/.zarray", b" "), "changed"),
        (".zarray broken", |place| place.put("data/.zarray", b"{"), "changed"),
        (".zarray removed", |place| place.remove("data/.zarray"), "removed"),
        ("other axes", |place| place.set_attribute(".zattrs", "axes", "[\"t\", \"x\"]"), "changed"),
        ("axes that cannot be read", |place| place.put(".zattrs", b"{"), "changed"),
        ("default axes", |place| place.remove(".zattrs"), "same"),
        ("another attribute", |place| place.set_attribute(".zattrs", "note", "1"), "same"),
        ("updated_utc", |place| place.set_attribute(".zattrs", "updated_utc", "\"2001-01-01T00:00:00Z\""), "same"),
    ] as [(&str, Edit, &str); 16]
    {
        check(name, Place::empty_chunk, read, edit, &[("data", expected)]);
    }
    // Without a decision about them, missing chunks are no content to compare with.
    for prepare in [NOTHING, Place::empty_chunk] {
        let place = place();
        prepare(&place);
        let inputs = place.read(&read);
        place.remove("data/0.1");
        let error = check_input(&place.record, OWN, &inputs[0]).unwrap_err().to_string();
        assert!(error.contains("of 4 chunks of the pixels"), "{error}");
    }
    let read: Read = |record| drop(record.array("maps/speed"));
    for (name, edit, expected) in [
        ("nothing", NOTHING, "same"),
        ("a chunk", |place: &Place| place.flip("analysis_arrays/maps/speed/data/0.0"), "changed"),
        ("the pixels", |place| place.flip("data/0.0"), "same"),
        ("the image's attributes", |place| place.set_attribute(".zattrs", "axes", "[\"t\", \"x\"]"), "same"),
        (
            "its own attributes",
            |place| place.set_attribute("analysis_arrays/maps/speed/.zattrs", "axes", "[\"t\", \"x\"]"),
            "changed",
        ),
    ] as [(&str, Edit, &str); 5]
    {
        check(name, NOTHING, read, edit, &[("analysis_arrays/maps/speed/data", expected)]);
    }
}

#[test]
fn attributes_input_ignores_updated_utc() {
    let read: Read = |record| drop(record.attributes_text());
    for (name, edit, expected) in [
        ("nothing", NOTHING, "same"),
        ("touched", |place: &Place| place.touch(".zattrs"), "same"),
        ("written otherwise", |place| place.append(".zattrs", b" \n"), "same"),
        (
            "another order",
            |place| {
                let Json::Object(mut members) = Json::parse(&place.bytes(".zattrs")).unwrap() else {
                    panic!("no object")
                };
                members.reverse();
                place.put(".zattrs", Json::Object(members).to_file_text().as_bytes());
            },
            "same",
        ),
        ("updated_utc", |place| place.set_attribute(".zattrs", "updated_utc", "7"), "same"),
        ("a value", |place| place.set_attribute(".zattrs", "note", "7"), "changed"),
        ("broken", |place| place.put(".zattrs", b"{"), "changed"),
        ("removed", |place| place.remove(".zattrs"), "changed"),
    ] as [(&str, Edit, &str); 8]
    {
        check(name, NOTHING, read, edit, &[(".zattrs", expected)]);
    }
    // None at all, and none but that which does not count, are alike.
    check(
        "appeared",
        |place| place.remove(".zattrs"),
        read,
        |place| place.put(".zattrs", b"{\"updated_utc\": 1}"),
        &[(".zattrs", "same")],
    );
    check(
        "appeared with a value",
        |place| place.remove(".zattrs"),
        read,
        |place| place.put(".zattrs", b"{\"a\": 1}"),
        &[(".zattrs", "changed")],
    );
}

fn put_marker(place: &Place, name: &str) {
    place.record.put_json(name, &RunMarker::new("other", "h", "v@1", 3, 7).to_json()).unwrap();
}

#[test]
fn listing_input_ignores_run_markers() {
    let read: Read = |record| {
        let names: Vec<_> =
            record.artifacts_of_others(OWN).unwrap().into_iter().map(|artifact| artifact.name).collect();
        assert!(!names.iter().any(|name| name.ends_with("_run")), "{names:?}");
    };
    for (name, edit, expected) in [
        ("nothing", NOTHING, "same"),
        ("a value", |place: &Place| place.flip("analysis/table.parquet"), "same"),
        ("an artifact", |place| place.put("analysis/new.json", b"{}"), "changed"),
        ("an artifact in a folder", |place| place.put("analysis/a/new.csv.gz", b"x"), "changed"),
        ("an array", |place| drop(place.record.put_array("new", &pixels())), "changed"),
        ("another form of it", |place| place.put("analysis/params.csv.gz", b"x"), "changed"),
        ("packed next to plain", |place| place.put("analysis/params.json.gz", b"x"), "same"),
        ("one removed", |place| place.remove("analysis/params.json"), "changed"),
        ("the own marker", |place| place.put("analysis/mine_run.json", b"{\"broken\": "), "same"),
        ("another's marker", |place| put_marker(place, "other_run"), "same"),
        (
            "a marker with escapes in it",
            |place| {
                let text = RunMarker::new("o", "h", "v@1", 3, 7).to_json().to_file_text();
                place.put("analysis/other_run.json", text.replace("marker_v", "marker\\u005fv").as_bytes());
            },
            "same",
        ),
        ("no valid marker", |place| place.put("analysis/not_run.json", b"{\"marker_version\": \"1\"}"), "changed"),
    ] as [(&str, Edit, &str); 12]
    {
        check(name, NOTHING, read, edit, &[("analysis", expected)]);
    }
}

#[test]
fn unreadable_input_is_recorded() {
    check("broken JSON", NOTHING, |record| drop(record.json("broken")), NOTHING, &[("analysis/broken.json", "same")]);
    check(
        "repaired JSON",
        NOTHING,
        |record| drop(record.json("broken")),
        |place| place.put("analysis/broken.json", b"{}"),
        &[("analysis/broken.json", "changed")],
    );
    let broken: Edit = |place| place.put(".zattrs", b"{");
    let repaired: Edit = |place| place.put(".zattrs", b"{}");
    check("attributes", broken, |record| drop(record.attributes_text()), NOTHING, &[(".zattrs", "same")]);
    check("attributes", broken, |record| drop(record.attributes_text()), repaired, &[(".zattrs", "changed")]);
    check("axes", broken, |record| drop(record.pixels()), NOTHING, &[("data", "same")]);
    check("axes", broken, |record| drop(record.pixels()), repaired, &[("data", "changed")]);
    let chunk: Edit = |place| place.flip("data/0.0");
    check("chunk", |place| place.put("data/0.1", b"x"), |record| drop(record.pixels()), NOTHING, &[("data", "same")]);
    // Not the one at which the reading stopped: it would show once that one is repaired.
    check(
        "chunk",
        |place| place.put("data/0.1", b"x"),
        |record| drop(record.pixels()),
        |p| p.flip("data/1.1"),
        &[("data", "changed")],
    );
    check("chunk", |place| place.put("data/.zarray", b"{"), |record| drop(record.pixels()), chunk, &[("data", "same")]);

    // More than is ever handed over. A plugin may make rows all the same, and they are fresh while it stays so.
    let long: Edit =
        |place| File::create(place.at("analysis/long.json")).unwrap().set_len(MAX_DOCUMENT_BYTES + 1).unwrap();
    let short: Edit = |place| place.put("analysis/long.json", b"{}");
    let key = "analysis/long.json";
    check("long", long, |record| assert!(record.json("long").is_err()), NOTHING, &[(key, "same")]);
    check("long", long, |record| assert!(record.json("long").is_err()), short, &[(key, "changed")]);

    // What is not a file cannot be read at all.
    let place = place();
    place.remove("analysis/params.json");
    std::os::unix::fs::symlink("/dev/null", place.at("analysis/params.json")).unwrap();
    let inputs = place.read(&|record| assert!(record.json("params").is_err()));
    assert_eq!(inputs.len(), 1);
    assert!(inputs[0].found.is_unread(), "{inputs:?}");
    assert_eq!(check_input(&place.record, OWN, &inputs[0]).unwrap(), InputCheck::Same);
    assert!(look(&place.record, OWN, &inputs[0]).is_err());
    place.remove("analysis/params.json");
    assert_eq!(word(&place, &inputs[0]), "removed");
    place.put("analysis/params.json", b"");
    place.settle();
    assert_eq!(word(&place, &inputs[0]), "changed");
}

#[test]
fn messages_and_own_artifacts_are_not_inputs() {
    let place = place();
    put_marker(&place, OWN);
    let inputs = place.read(&|record| {
        assert!(record.json(OWN).unwrap().is_some());
        assert!(record.json_bytes(&format!(" {OWN}/")).unwrap().is_some());
        record.describe_artifact("params", ArtifactKind::Json);
        record.describe_artifact("maps/speed", ArtifactKind::Array);
    });
    assert_eq!(inputs, []);
    assert_eq!(place.record.inputs(), Ok(Vec::new()), "nobody watches it");
    let inputs = place.read(&|record| {
        drop(record.parquet(OWN));
        drop(record.json("params"));
        drop(record.json("params"));
    });
    let keys: Vec<_> = inputs.iter().map(|input| input.key.as_str()).collect();
    assert_eq!(keys, ["analysis/mine_run.parquet", "analysis/params.json"]);
}

#[test]
fn inputs_report_moved_and_too_many() {
    let place = place();
    let watched = place.record.watched(OWN);
    drop(watched.json("params"));
    place.flip("analysis/params.json");
    drop(watched.json("params"));
    drop(watched.pixels());
    place.flip("data/0.0");
    drop(watched.pixels());
    let expected = ["analysis/params.json", "data"].map(str::to_owned).to_vec();
    assert_eq!(watched.inputs(), Err(InputsError::Moved(expected)));

    let watched = place.record.watched(OWN);
    let long = "n".repeat(crate::limits::MAX_INPUT_KEY_BYTES / 8);
    for number in 0..8 {
        assert_eq!(watched.inputs().map(|inputs| inputs.len()), Ok(number));
        assert!(watched.parquet(&format!("{number}{long}")).unwrap().is_none());
    }
    assert_eq!(watched.inputs(), Err(InputsError::TooMany));
}

#[test]
fn young_file_times_settle_later() {
    let place = place();
    place.settle();
    for round in 0..5 {
        place.put("analysis/params.json", format!("{{\"n\": {round}}}").as_bytes());
        place.put("data/0.0", &place.bytes("data/0.0"));
        let watched = place.record.watched(OWN);
        drop((watched.json("params"), watched.pixels()));
        let inputs = watched.inputs().unwrap();
        for input in &inputs {
            assert!(input.found.lacks_times(), "{input:?}");
            let wait = settles_in(&place.record, input).expect("a time to wait for");
            assert!(wait <= Duration::from_millis(20), "{wait:?}");
        }
        // Changed with the same size, so soon that the times may be the same.
        place.put("analysis/params.json", format!("{{\"n\": {}}}", round + 1).as_bytes());
        assert!(matches!(check_input(&place.record, OWN, &inputs[0]), Ok(InputCheck::Changed(_))));
        place.put("analysis/params.json", format!("{{\"n\": {round}}}").as_bytes());
        assert!(settle(&place.record, &inputs, Duration::from_secs(10)));
        for input in &inputs {
            match check_input(&place.record, OWN, input).unwrap() {
                InputCheck::SameContent(now) => {
                    assert!(!now.found.lacks_times(), "{now:?}");
                    assert_eq!(settles_in(&place.record, &now), None);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn future_times_are_not_trusted() {
    let place = place();
    let future = SystemTime::now() + Duration::from_secs(3600);
    let set = || {
        let file = File::options().write(true).open(place.at("analysis/params.json")).unwrap();
        file.set_modified(future).unwrap();
    };
    set();
    let inputs = place.read(&|record| drop(record.json("params")));
    assert!(inputs[0].found.lacks_times(), "{inputs:?}");
    assert!(settles_in(&place.record, &inputs[0]).unwrap() > Duration::from_secs(3000), "nobody waits for it");
    assert_eq!(check_input(&place.record, OWN, &inputs[0]).unwrap(), InputCheck::Same);
    place.flip("analysis/params.json");
    set();
    assert!(matches!(check_input(&place.record, OWN, &inputs[0]), Ok(InputCheck::Changed(_))));
}

#[test]
fn times_are_trusted_after_their_resolution() {
    let now = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_700_000_001);
    let ago = |nanos: i64| {
        let nanos_abs = Duration::from_nanos(nanos.unsigned_abs());
        if nanos < 0 { now + nanos_abs } else { now - nanos_abs }
    };
    const MS: i64 = 1_000_000;
    let whole = |seconds_ago: i64| seconds_ago * 1000 * MS + 700 * MS + 1;
    for (mtime, ctime, trusted) in [
        (1000 * MS, 1000 * MS, true),
        (21 * MS, 21 * MS, true),
        (20 * MS + 1, 20 * MS + 1, true),
        (20 * MS, 20 * MS, false),
        (19 * MS, 500 * MS, false),
        (500 * MS, 19 * MS, false),
        (0, 0, false),
        (-1, 500 * MS, false),
        (500 * MS, -3_600_000 * MS, false),
        // A file system that keeps whole seconds.
        (whole(2), whole(2), true),
        (whole(1), whole(1), false),
        (whole(3), whole(1), false),
        // One that does not, at a whole second by chance or by `touch`.
        (whole(1), 500 * MS, true),
        (whole(0), whole(0) - 1, true),
    ] {
        let stat = Stat { size: 1, modified: Some(ago(mtime)), changed: Some(ago(ctime)), identity: (1, 2) };
        let age = Age::of(&stat, now, Some(Synced { began: now, ended: now }));
        assert_eq!(age.times().is_some(), trusted, "{mtime} {ctime}");
        if let Some(times) = age.times() {
            assert_eq!(Some(times.mtime_ns), checked_epoch_ns(ago(mtime)));
            assert_eq!(Some(times.ctime_ns), checked_epoch_ns(ago(ctime)));
        }
    }
    let unknown = Stat { size: 1, modified: None, changed: Some(ago(0)), identity: (1, 2) };
    assert!(Age::of(&unknown, now, None).times().is_none());
}

#[test]
fn input_with_bad_key_is_an_error() {
    let place = place();
    for key in ["", "..", "../j/data", "/etc/passwd", "analysis//x.json", "a\\b"] {
        for found in [InputState::Absent, InputState::File { size: 1, times: None, sha256: "a".into() }] {
            let input = Input { key: key.to_owned(), found };
            assert!(check_input(&place.record, OWN, &input).is_err(), "{key}");
            assert!(look(&place.record, OWN, &input).is_err(), "{key}");
        }
    }
}

#[test]
fn input_link_that_leads_out_is_not_read() {
    let place = place();
    let inputs = place.read(&|record| drop(record.json("params")));
    let outside = tempfile::tempdir().unwrap();
    fs::copy(place.at("analysis/params.json"), outside.path().join("params.json")).unwrap();
    fs::rename(place.at("analysis"), place.at("aside")).unwrap();
    std::os::unix::fs::symlink(outside.path(), place.at("analysis")).unwrap();
    assert!(check_input(&place.record, OWN, &inputs[0]).is_err());
}

#[test]
fn glance_agrees_with_stat() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let store = LocalStore::open(root).unwrap();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/b/file"), b"abc").unwrap();
    std::os::unix::fs::symlink("b/file", root.join("a/link")).unwrap();
    std::os::unix::fs::symlink("b", root.join("a/folder_link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("a/out")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("a/dangling")).unwrap();
    let long = "x".repeat(300);
    for key in [
        "a",
        "a/b",
        "a/b/file",
        "a/b/none",
        "a/b/file/below",
        "a/link",
        "a/folder_link/file",
        "a/out",
        "a/dangling",
        &long,
    ] {
        let key = Key::new(key).unwrap();
        match (store.glance(&key), store.stat(&key)) {
            (Ok(glance), Ok(stat)) => assert_eq!(glance, stat, "{key}"),
            (glance, stat) => assert!(glance.is_err() && stat.is_err(), "{key}: {glance:?} {stat:?}"),
        }
    }
}

/// The times of a file are trusted if nothing that was written through a mapped file can come after them unseen.
#[test]
fn times_are_trusted_after_write_back_or_sync() {
    let start = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let at = |ms: u64| start + Duration::from_millis(ms);
    let synced = |began: u64, ended: u64| Some(Synced { began: at(began), ended: at(ended) });
    // A file of the time 1 ms, read at a time, with a moment of a sync: what its times are.
    let cases = [
        ("at once", 5, None, "young"),
        ("soon", 50, None, "unsynced"),
        ("after a minute", 60_000, None, "unsynced"),
        ("after the time of the write-back", 130_000, None, "settled"),
        ("after a sync", 50, synced(30, 40), "settled"),
        ("during a sync", 35, synced(30, 40), "unsynced"),
        ("after a sync that began before the times could be told apart", 50, synced(15, 16), "unsynced"),
        ("after a sync that came first", 50, synced(0, 1), "unsynced"),
    ];
    for (what, read, synced, expected) in cases {
        let stat = Stat { size: 1, modified: Some(at(1)), changed: Some(at(1)), identity: (1, 2) };
        let found = match Age::of(&stat, at(read), synced) {
            Age::Settled(times) => {
                assert_eq!(times.inode, Some(2));
                "settled"
            }
            Age::Young(_) => "young",
            Age::Unsynced => "unsynced",
            Age::Unknown => "unknown",
        };
        assert_eq!(found, expected, "{what}");
    }
}

/// Another file in the place of one is seen, though its size and times are the same.
#[test]
fn another_file_of_same_size_and_times_is_hashed() {
    let place = place();
    let inputs = place.read(&|record| drop((record.json("params"), record.pixels(), record.array("maps/speed"))));
    for input in inputs {
        assert_eq!(check_input(&place.record, OWN, &input).unwrap(), InputCheck::Same, "{input:?}");
        // As if it had been read from another file of the same times.
        let mut other = input.clone();
        match &mut other.found {
            InputState::File { times: Some(times), .. } => times.inode = times.inode.map(|inode| inode + 1),
            InputState::Array { stats_sha256: Some(stats), .. } => *stats = "0".repeat(64),
            other => panic!("{other:?}"),
        }
        assert_eq!(check_input(&place.record, OWN, &other).unwrap(), InputCheck::SameContent(input.clone()));
        // As an older kymhost recorded it.
        if let InputState::File { times: Some(times), .. } = &mut other.found {
            times.inode = None;
            assert_eq!(check_input(&place.record, OWN, &other).unwrap(), InputCheck::SameContent(input));
        }
    }
    let stats = |device: u64, inode: u64| {
        let time = Some(UNIX_EPOCH + Duration::from_secs(1));
        let mut fold = Fold::new(None);
        fold.add("0.0", &Stat { size: 1, modified: time, changed: time, identity: (device, inode) }, SystemTime::now());
        fold.stats_now()
    };
    assert_ne!(stats(1, 1), stats(1, 2), "another file");
    assert_eq!(stats(1, 1), stats(2, 1), "another mount");
}
