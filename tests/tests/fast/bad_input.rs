//! Bad input to the whole program: each gives a clear error that names what is wrong, the right exit code, and loses
//! nothing.
//!
//! Good input only appears here to show that the rest of a dataset is still whole.

use kymhost_tests::fixture::{self, Fixture, MARKER, TABLE, batch, floats, image_id, ints, params_hash, texts};
use kymhost_tests::table::Table;
use kymhost_tests::{Output, Run, Snapshot, TestDir, changed, copy_tree, skip, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

// What there is to break.

/// Images of every case.
const IMAGES: u64 = 3;
/// The one that is broken.
const BROKEN: u64 = 1;
/// Events of each image.
const EVENTS: usize = 2;

/// The params of an image, before and after they were changed.
fn params(image: u64, changed: bool) -> Value {
    json!({"threshold": image + if changed { 100 } else { 0 }})
}

/// A dataset whose table was made by a first run; since then the params of all images have changed. It stands in the
/// target folder, for nothing would delete a temporary folder at the end of the process.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad_input.zarr");
        if path.exists() {
            fs::remove_dir_all(&path).expect("remove what an earlier test left");
        }
        let data = Fixture::with_images(&path, IMAGES, EVENTS);
        run("replace", &data).output().expect_code(0);
        for image in 0..IMAGES {
            data.image(&image_id(image)).params(&params(image, true));
        }
        path
    })
}

/// A copy of the base, in a folder that has room for more.
struct World {
    dir: TestDir,
    data: Fixture,
}

impl World {
    fn new() -> Self {
        let dir = TestDir::new();
        let path = dir.join("data.zarr");
        copy_tree(base(), &path);
        // Another user must be able to come here, too.
        allow(dir.path(), 0o755);
        Self { data: Fixture::at(&path), dir }
    }

    fn broken(&self) -> fixture::Image<'_> {
        self.data.image(&image_id(BROKEN))
    }

    fn state(&self) -> Snapshot {
        snapshot(self.data.path())
    }
}

fn run(mode: &str, data: &Fixture) -> Run {
    Run::new(["run", "--json", "--plugin", "velocity_events", "--mode", mode]).dataset(data.path())
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("chmod {}: {error}", path.display()));
}

/// What changed, but for what the host keeps for itself, which a later run clears away.
fn damage(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut names = changed(before, after);
    names.retain(|name| !name.starts_with("index/kymhost/"));
    names
}

/// All that the program said, wherever it said it.
fn said(output: &Output) -> String {
    format!("{}{}", output.stdout(), output.stderr())
}

#[track_caller]
fn assert_says(case: &str, output: &Output, texts: &[&str]) {
    let all = said(output);
    for text in texts {
        assert!(all.contains(text), "{case}: does not say {text:?}\n{output}");
    }
    assert!(!all.contains("panicked at"), "{case}: panicked\n{output}");
    assert!(!all.contains("no images"), "{case}: takes it for no images\n{output}");
}

/// Runs all cases before it fails, so that one run reports all.
fn all<T>(
    cases: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> String,
    check: impl Fn(&T) + std::panic::RefUnwindSafe,
) where
    T: std::panic::RefUnwindSafe,
{
    let mut failed = Vec::new();
    for case in cases {
        if std::panic::catch_unwind(|| check(&case)).is_err() {
            failed.push(name(&case));
        }
    }
    assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
}

// One image is broken: it fails alone.

struct Broken {
    name: &'static str,
    /// What is done to the world.
    harm: fn(&World),
    /// What the failure's message has.
    says: &'static [&'static str],
    kind: &'static str,
}

const fn unreadable(name: &'static str, says: &'static [&'static str], harm: fn(&World)) -> Broken {
    Broken { name, harm, says, kind: "unreadable" }
}

const PARAMS: &[&str] = &["velocity_events/params.json"];
const PARAMS_GZ: &[&str] = &["velocity_events/params.json.gz"];
const EVENTS_PARQUET: &[&str] = &["velocity_events/events.parquet"];
const EVENTS_CSV: &[&str] = &["velocity_events/events.csv.gz"];

fn put(world: &World, name: &str, bytes: impl AsRef<[u8]>) {
    world.data.put(&world.broken().key(name), bytes);
}

fn put_params(world: &World, bytes: impl AsRef<[u8]>) {
    put(world, "velocity_events/params.json", bytes);
}

fn put_params_gz(world: &World, bytes: impl AsRef<[u8]>) {
    world.data.remove(&world.broken().key("velocity_events/params.json"));
    put(world, "velocity_events/params.json.gz", bytes);
}

fn put_csv(world: &World, bytes: impl AsRef<[u8]>) {
    world.data.remove(&world.broken().key("velocity_events/events.parquet"));
    put(world, "velocity_events/events.csv.gz", bytes);
}

fn put_fifo(world: &World, name: &str) {
    let path = world.data.key(&world.broken().key(name));
    fs::remove_file(&path).expect("remove what is in the way");
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo can be started");
    assert!(made.success(), "mkfifo {}", path.display());
}

/// Moves a file out of the dataset and leaves a link to it.
fn lead_out(world: &World, key: &str) {
    let outside = world.dir.join("outside");
    fs::rename(world.data.key(key), &outside).expect("move it out");
    world.data.link(key, &outside);
}

fn broken() -> Vec<Broken> {
    vec![
        unreadable("params cut", PARAMS, |w| w.data.cut(&w.broken().key("velocity_events/params.json"))),
        unreadable("params empty", PARAMS, |w| put_params(w, "")),
        unreadable("params no JSON", PARAMS, |w| put_params(w, "threshold = 1\n")),
        unreadable("params with more behind", PARAMS, |w| put_params(w, "{\"threshold\": 1} {}")),
        unreadable("params with a byte order mark", PARAMS, |w| put_params(w, "\u{feff}{}")),
        unreadable("params not UTF-8", PARAMS, |w| put_params(w, b"{\"threshold\": \"\xff\xfe\"}")),
        unreadable("params with a lone surrogate", PARAMS, |w| put_params(w, r#"{"name": "\ud800"}"#)),
        unreadable("params nested 100,000 deep", PARAMS, |w| put_params(w, "[".repeat(100_000))),
        unreadable("params nested 100,000 objects deep", PARAMS, |w| {
            put_params(w, format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)));
        }),
        unreadable("params with an integer of 5,000 digits", PARAMS, |w| {
            put_params(w, format!("{{\"threshold\": {}}}", "7".repeat(5_000)));
        }),
        unreadable("params a FIFO", PARAMS, |w| put_fifo(w, "velocity_events/params.json")),
        unreadable("params lead out", PARAMS, |w| lead_out(w, &w.broken().key("velocity_events/params.json"))),
        unreadable("params lead in circles", PARAMS, |w| {
            let key = w.broken().key("velocity_events/params.json");
            w.data.remove(&key);
            w.data.link(&key, &w.data.key(&key));
        }),
        unreadable("gzipped params cut", PARAMS_GZ, |w| {
            let bytes = fixture::gzip(br#"{"threshold": 123456789, "method": "gradient"}"#);
            put_params_gz(w, &bytes[..bytes.len() - 12]);
        }),
        unreadable("gzipped params with a wrong sum", PARAMS_GZ, |w| {
            let mut bytes = fixture::gzip(br#"{"threshold": 123456789, "method": "gradient"}"#);
            let sum = bytes.len() - 8;
            bytes[sum] ^= 0xff;
            put_params_gz(w, bytes);
        }),
        unreadable("gzipped params no gzip", PARAMS_GZ, |w| put_params_gz(w, "{\"threshold\": 1}")),
        unreadable("gzipped params empty", PARAMS_GZ, |w| put_params_gz(w, "")),
        unreadable("gzipped params a bomb", PARAMS_GZ, |w| put_params_gz(w, fixture::gzip_bomb(1 << 10, b' '))),
        unreadable("gzipped params cut JSON", PARAMS_GZ, |w| put_params_gz(w, fixture::gzip(b"{\"threshold\": "))),
        unreadable("events cut", EVENTS_PARQUET, |w| w.data.cut(&w.broken().key("velocity_events/events.parquet"))),
        unreadable("events garbled", EVENTS_PARQUET, |w| {
            w.data.garble(&w.broken().key("velocity_events/events.parquet"));
        }),
        unreadable("events empty", EVENTS_PARQUET, |w| put(w, "velocity_events/events.parquet", "")),
        unreadable("events nothing but magic", EVENTS_PARQUET, |w| {
            put(w, "velocity_events/events.parquet", "PAR1PAR1PAR1");
        }),
        unreadable("events with a lying footer length", EVENTS_PARQUET, |w| {
            put(w, "velocity_events/events.parquet", b"PAR1\xff\xff\xff\x7fPAR1");
        }),
        unreadable("events are text", EVENTS_PARQUET, |w| put(w, "velocity_events/events.parquet", "a,b\n1,2\n")),
        unreadable("events a FIFO", EVENTS_PARQUET, |w| put_fifo(w, "velocity_events/events.parquet")),
        unreadable("events lead out", EVENTS_PARQUET, |w| {
            lead_out(w, &w.broken().key("velocity_events/events.parquet"));
        }),
        unreadable("CSV no gzip", EVENTS_CSV, |w| put_csv(w, "a,b\n1,2\n")),
        unreadable("CSV cut", EVENTS_CSV, |w| {
            let bytes = fixture::gzip(b"roi_id,event_id,score\n1,0,0.123456789\n1,1,0.987654321\n");
            put_csv(w, &bytes[..bytes.len() / 2]);
        }),
        unreadable("CSV with a long row", EVENTS_CSV, |w| put_csv(w, fixture::gzip(b"a,b\n1,2\n1,2,3\n"))),
        unreadable("CSV with duplicate headers", EVENTS_CSV, |w| put_csv(w, fixture::gzip(b"a,a\n1,2\n"))),
        unreadable("CSV not UTF-8", EVENTS_CSV, |w| put_csv(w, fixture::gzip(b"a,b\n\xff,2\n"))),
        unreadable("CSV with an open quote", EVENTS_CSV, |w| put_csv(w, fixture::gzip(b"a,b\n\"1,2\n3,4\n"))),
        unreadable("CSV with a number out of range", EVENTS_CSV, |w| {
            put_csv(w, fixture::gzip(b"a,b\n99999999999999999999999,2\n"));
        }),
        unreadable("CSV a bomb", EVENTS_CSV, |w| put_csv(w, fixture::gzip_bomb(16 << 10, b'\n'))),
        Broken {
            name: "events with text where the table has numbers",
            harm: |w| {
                let rows = batch([("roi_id", ints([1])), ("score", texts(["high"]))]);
                w.broken().parquet("velocity_events/events", &rows);
            },
            says: &["score"],
            kind: "bad_table",
        },
    ]
}

/// The others are committed; the broken one keeps its rows, marker and files; once it is repaired all is well.
fn check_broken(case: &Broken, mode: &str) {
    let name = case.name;
    let world = World::new();
    let old = Table::read(&world.data.key(TABLE));
    (case.harm)(&world);
    let before = world.state();

    let output = run(mode, &world.data).output();
    assert_eq!(output.code(), Some(3), "{name}: exit code\n{output}");
    assert_says(name, &output, case.says);
    let document = output.json();
    let failures = document["failures"].as_array().cloned().unwrap_or_default();
    let failed: Vec<_> = failures.iter().map(|failure| (&failure["image_id"], &failure["kind"])).collect();
    let id = image_id(BROKEN);
    assert_eq!(failed, [(&json!(id), &json!(case.kind))], "{name}: failures\n{output}");
    let message = failures[0]["message"].as_str().unwrap_or_default();
    for text in case.says {
        assert!(message.contains(text), "{name}: the failure does not say {text:?}\n{output}");
    }
    let expected = [("updated", IMAGES - 1), ("failed", 1), ("not_run", 0), ("total_images", IMAGES)];
    for (figure, value) in expected {
        assert_eq!(document["stats"][figure], json!(value), "{name}: {figure}\n{output}");
    }

    // Nothing is lost: only the table, and what a commit of the others writes, is other than before.
    let after = world.state();
    let own = format!("images/{id}/");
    let touched = damage(&before, &after);
    let stray: Vec<_> = touched
        .iter()
        .filter(|key| {
            let of_image = key.ends_with("/.zattrs") || key.ends_with(&format!("{MARKER}.json"));
            key.starts_with(&own) || !(*key == TABLE || *key == ".zattrs" || key.starts_with("images/") && of_image)
        })
        .collect();
    assert!(stray.is_empty(), "{name}: also wrote {stray:?}\n{output}");
    let new = Table::read(&world.data.key(TABLE));
    assert_eq!(new.columns, old.columns, "{name}: columns");
    assert_eq!(new.rows_of(&id), old.rows_of(&id), "{name}: the failed image's old rows");
    for image in (0..IMAGES).filter(|image| *image != BROKEN) {
        check_updated(name, &world.data, &new, image);
    }

    // Repaired, it is found stale and done.
    world.data.remove(&format!("images/{id}"));
    copy_tree(&base().join("images").join(&id), &world.data.key(&format!("images/{id}")));
    let output = run("incremental", &world.data).output().expect_code(0);
    assert_eq!(output.json()["stats"]["updated"], 1, "{name}: after the repair\n{output}");
    check_updated(name, &world.data, &Table::read(&world.data.key(TABLE)), BROKEN);
}

/// The image's rows and marker are those of its changed params.
#[track_caller]
fn check_updated(name: &str, data: &Fixture, table: &Table, image: u64) {
    let id = image_id(image);
    assert_eq!(table.rows_of(&id).len(), EVENTS, "{name}: rows of image {image}");
    let hash = params_hash(&params(image, true));
    let place = table.columns.iter().position(|column| column == "params_hash").expect("a column params_hash");
    for row in table.rows_of(&id) {
        assert_eq!(row[place], json!(hash), "{name}: params_hash of image {image}");
    }
    let marker = fs::read(data.key(&data.image(&id).key(&format!("{MARKER}.json")))).expect("a marker");
    let marker: Value = serde_json::from_slice(&marker).expect("a marker in JSON");
    assert_eq!(marker["params_hash"], json!(hash), "{name}: marker of image {image}");
    assert_eq!(marker["n_rows"], json!(EVENTS), "{name}: marker of image {image}");
}

/// One broken image fails alone, in mode `replace`.
#[test]
fn broken_image_fails_alone_in_replace() {
    all(broken(), |case| case.name.to_owned(), |case| check_broken(case, "replace"));
}

/// One broken image fails alone, in mode `incremental`.
#[test]
fn broken_image_fails_alone_in_incremental() {
    all(broken(), |case| case.name.to_owned(), |case| check_broken(case, "incremental"));
}

/// If the params of one image are broken, `status` still judges the others.
#[test]
fn status_with_broken_params_judges_others() {
    let world = World::new();
    put_params(&world, "{");
    let before = world.state();
    let output = Run::new(["status", "--json", "--plugin", "velocity_events"]).dataset(world.data.path()).output();
    let document = output.json();
    let reasons: Vec<_> = (0..IMAGES as usize).map(|image| &document["images"][image]["reason"]).collect();
    assert_eq!(reasons, ["STALE_PARAMS_CHANGED", "STALE_UNREADABLE", "STALE_PARAMS_CHANGED"], "{output}");
    let error = document["images"][BROKEN as usize]["error"].to_string();
    assert!(error.contains("velocity_events/params.json"), "{output}");
    assert_eq!(damage(&before, &world.state()), Vec::<String>::new(), "status wrote");
}

/// `radon` does not mistake broken metadata for absent metadata.
#[test]
fn radon_broken_metadata_is_an_error() {
    let world = World::new();
    put(&world, "metadata.json", "{\"rois\": [");
    let run = Run::new(["run", "--json", "--plugin", "radon", "--mode", "replace"]).dataset(world.data.path());
    let output = run.output().expect_code(3);
    assert_says("radon", &output, &["analysis/metadata.json"]);
    let document = output.json();
    assert_eq!(document["stats"]["updated"], IMAGES - 1, "{output}");
    assert_eq!(document["failures"][0]["kind"], "unreadable", "{output}");
    let status = Run::new(["status", "--json", "--plugin", "radon"]).dataset(world.data.path()).output();
    let reasons: Vec<_> = (0..IMAGES as usize).map(|image| status.json()["images"][image]["reason"].clone()).collect();
    assert_eq!(reasons, ["FRESH_ZERO_ROWS", "STALE_UNREADABLE", "FRESH_ZERO_ROWS"], "{status}");
}

/// An invalid marker counts as missing. Then only the image's rows say whether it is fresh.
#[test]
fn invalid_marker_counts_as_missing() {
    let valid = json!({
        "marker_version": "1", "indexer_name": "velocity_events", "params_hash": params_hash(&params(BROKEN, false)),
        "analysis_version": fixture::VELOCITY_EVENTS, "n_rows": EVENTS, "ran_utc_epoch_ns": 1, "status": "ok"
    });
    let without = |field: &str| {
        let mut marker = valid.clone();
        marker.as_object_mut().expect("an object").remove(field);
        marker
    };
    let with = |field: &str, value: Value| {
        let mut marker = valid.clone();
        marker[field] = value;
        marker
    };
    let cases = [
        ("valid", valid.clone(), true),
        ("another field", with("note", json!([1])), true),
        ("no object", json!([1, 2]), false),
        ("no version", without("marker_version"), false),
        ("no hash", without("params_hash"), false),
        ("no rows", without("n_rows"), false),
        ("another version", with("marker_version", json!("2")), false),
        ("version a number", with("marker_version", json!(1)), false),
        ("rows a float", with("n_rows", json!(2.0)), false),
        ("rows below none", with("n_rows", json!(-1)), false),
        ("rows beyond bounds", with("n_rows", json!(1e300)), false),
        ("no time", with("ran_utc_epoch_ns", json!(0)), false),
        ("a blank name", with("indexer_name", json!("  ")), false),
    ];
    let world = World::new();
    for (name, marker, counts) in cases {
        world.broken().json(MARKER, &marker);
        let output = Run::new(["status", "--json", "--plugin", "velocity_events"]).dataset(world.data.path()).output();
        let image = output.json()["images"][BROKEN as usize].clone();
        assert_eq!(image["has_run_marker"], json!(counts), "{name}\n{output}");
        assert_eq!(image["reason"], "STALE_PARAMS_CHANGED", "{name}\n{output}");
    }
}

/// By the predecessor's rules a marker that cannot be read is named and fails its image; a replace run, which
/// needs none, puts a good one in its place. By ours it counts as none, and any run does.
#[test]
fn broken_marker_named_and_replaceable() {
    let world = World::new();
    let key = world.broken().key(&format!("{MARKER}.json"));
    for bytes in ["{\"marker_version\": ", "", "\u{feff}{}"] {
        world.data.put(&key, bytes);
        let before = world.state();
        let output = run("incremental", &world.data).args(["--compat", "kymflow"]).output().expect_code(3);
        let document = output.json();
        assert_eq!(document["failures"][0]["kind"], "unreadable", "{output}");
        assert_says("a broken marker", &output, &[&key]);
        assert_eq!(before[&key], world.state()[&key], "the broken marker was touched");
        for mode in ["replace", "incremental"] {
            world.data.put(&key, bytes);
            run(mode, &world.data).output().expect_code(0);
            check_updated("a broken marker", &world.data, &Table::read(&world.data.key(TABLE)), BROKEN);
        }
    }
}

// A plugin that returns something that is not a table, or a table that does not fit.

/// One image's rows are bad: that image fails alone, with the rows that it had.
#[test]
fn bad_plugin_table_fails_its_image() {
    let cases = [
        ("ragged", "bad_table", "ragged"),
        ("duplicate", "bad_table", "'a'"),
        ("unnamed", "bad_table", "name"),
        ("text", "bad_table", "value"),
        ("err", "error", "told to err"),
        ("panic", "panic", "told to panic"),
    ];
    let plugin = kymhost_tests::library("misbehave");
    let plugin = format!("{}:misbehave", plugin.display());
    let rules: &[&[&str]] =
        &[&["--mode", "replace"], &["--mode", "incremental"], &["--mode", "replace", "--in-process"]];
    for (order, kind, says) in cases {
        for rule in rules {
            let name = format!("{order} {rule:?}");
            let world = World::new();
            let run =
                || Run::new(["run", "--json", "--plugin", &plugin]).args(*rule).dataset(world.data.path()).output();
            run().expect_code(0);
            let key = "tables/kym_misbehave.parquet";
            let old = Table::read(&world.data.key(key));
            for image in 0..IMAGES {
                world.data.image(&image_id(image)).json("params", &json!({"threshold": image}));
            }
            world.broken().json("misbehave", &json!({"do": order}));

            let output = run();
            assert_eq!(output.code(), Some(3), "{name}\n{output}");
            let failure = &output.json()["failures"][0];
            assert_eq!(failure["image_id"], json!(image_id(BROKEN)), "{name}\n{output}");
            assert_eq!(failure["kind"], kind, "{name}\n{output}");
            assert!(failure["message"].as_str().is_some_and(|message| message.contains(says)), "{name}\n{output}");
            assert_eq!(output.json()["stats"]["updated"], IMAGES - 1, "{name}\n{output}");
            let new = Table::read(&world.data.key(key));
            assert_eq!(new.columns, old.columns, "{name}");
            assert_eq!(new.rows_of(&image_id(BROKEN)), old.rows_of(&image_id(BROKEN)), "{name}: its old rows");
            for image in (0..IMAGES).filter(|image| *image != BROKEN) {
                assert_ne!(new.rows_of(&image_id(image)), old.rows_of(&image_id(image)), "{name}: image {image}");
            }
        }
    }
}

// The whole run is refused, and writes nothing.

struct Refused {
    name: &'static str,
    harm: fn(&World),
    /// The arguments; `{data}` is the dataset, `{dir}` the folder around it.
    args: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const REPLACE: &[&str] = &["run", "--plugin", "velocity_events", "--mode", "replace", "--dataset", "{data}"];
const INCREMENTAL: &[&str] = &["run", "--plugin", "velocity_events", "--mode", "incremental", "--dataset", "{data}"];
const STATUS: &[&str] = &["status", "--plugin", "velocity_events", "--dataset", "{data}"];

fn nothing(_: &World) {}

/// A case for each of run (both modes) and status.
fn everywhere(name: &'static str, says: &'static [&'static str], harm: fn(&World)) -> Vec<Refused> {
    let runs = [REPLACE, INCREMENTAL, STATUS];
    runs.into_iter().map(|args| Refused { name, harm, args, code: 5, says }).collect()
}

/// A name, and what is done to the dataset.
type Harm = (&'static str, fn(&World));

/// Ways in which a table is broken.
const BROKEN_TABLES: [Harm; 3] = [
    ("a table that is cut", |w| w.data.cut(TABLE)),
    ("a table that is empty", |w| w.data.put(TABLE, "")),
    ("a table that is text", |w| w.data.put(TABLE, "image_id\n1\n")),
];

/// A table that cannot be read does not stop a run that makes all of it again. The old file is kept elsewhere.
#[test]
fn broken_table_kept_aside_by_replace() {
    for (name, harm) in BROKEN_TABLES {
        let world = World::new();
        harm(&world);
        let broken = fs::read(world.data.key(TABLE)).expect("the broken table");
        run("replace", &world.data).output().expect_code(0);
        let table = Table::read(&world.data.key(TABLE));
        for image in 0..IMAGES {
            check_updated(name, &world.data, &table, image);
        }
        let aside = fs::read_dir(world.data.key("index/kymhost/aside")).expect("what was moved aside");
        let aside: Vec<_> = aside.map(|entry| fs::read(entry.expect("an entry").path()).expect("a file")).collect();
        assert_eq!(aside, [broken], "{name}");
    }
}

fn refused() -> Vec<Refused> {
    let one = |name, code, says, args| Refused { name, harm: nothing, args, code, says };
    let mut cases = vec![
        one(
            "an unknown mode",
            2,
            &["sometimes", "replace", "incremental"],
            &["run", "--plugin", "velocity_events", "--mode", "sometimes", "--dataset", "{data}"],
        ),
        one("an unknown flag", 2, &["--no-such-flag"], &["run", "--no-such-flag"]),
        one("an unknown subcommand", 2, &["frobnicate"], &["frobnicate"]),
        one("a run without a plugin", 2, &["--plugin"], &["run", "--dataset", "{data}"]),
        one(
            "an unknown plugin",
            5,
            &["nobody", "velocity_events"],
            &["run", "--plugin", "nobody", "--dataset", "{data}"],
        ),
        one(
            "a plugin's file that is absent",
            5,
            &["absent.so"],
            &["run", "--plugin", "{dir}/absent.so", "--dataset", "{data}"],
        ),
        one("status of an unknown plugin", 5, &["nobody"], &["status", "--plugin", "nobody", "--dataset", "{data}"]),
        one("a name that is not allowed", 5, &["../evil"], &["run", "--plugin", "../evil", "--dataset", "{data}"]),
        one(
            "an unknown dataset",
            5,
            &["absent.zarr"],
            &["run", "--plugin", "velocity_events", "--dataset", "{dir}/absent.zarr"],
        ),
        one(
            "a folder that is not a dataset",
            5,
            &["dataset"],
            &["run", "--plugin", "velocity_events", "--dataset", "{data}/images"],
        ),
        one("no dataset at all", 5, &["--dataset", "KYMHOST_DATASET"], &["status", "--plugin", "velocity_events"]),
        one("an unknown table", 2, &["nobody"], &["table", "show", "nobody", "--dataset", "{data}"]),
        one(
            "an unknown image",
            2,
            &["nobody"],
            &["table", "show", "velocity_events", "--image", "nobody", "--dataset", "{data}"],
        ),
        one(
            "a table's name that leads out",
            2,
            &["../../secret"],
            &["table", "show", "../../secret", "--dataset", "{data}"],
        ),
        Refused {
            name: "a plugin that is text",
            harm: |w| fs::write(w.dir.join("text.so"), "not a library\n").expect("write"),
            args: &["run", "--plugin", "{dir}/text.so", "--dataset", "{data}"],
            code: 5,
            says: &["text.so"],
        },
        Refused {
            name: "a dataset that is a file",
            harm: |w| fs::write(w.dir.join("file.zarr"), "").expect("write"),
            args: &["run", "--plugin", "velocity_events", "--dataset", "{dir}/file.zarr"],
            code: 5,
            says: &["file.zarr"],
        },
        Refused {
            name: "a dataset of Zarr v3",
            harm: |w| {
                fs::create_dir(w.dir.join("three.zarr")).expect("make a folder");
                let group = r#"{"zarr_format": 3, "node_type": "group"}"#;
                fs::write(w.dir.join("three.zarr/zarr.json"), group).expect("write");
            },
            args: &["run", "--plugin", "velocity_events", "--dataset", "{dir}/three.zarr"],
            code: 5,
            says: &["three.zarr"],
        },
        Refused {
            name: "showing a broken table",
            harm: |w| w.data.cut(TABLE),
            args: &["table", "show", "velocity_events", "--dataset", "{data}"],
            code: 5,
            says: &[TABLE],
        },
    ];
    // Mode `replace` keeps a copy of such a table (see `broken_table_kept_aside_by_replace`).
    for args in [INCREMENTAL, STATUS] {
        for (name, harm) in BROKEN_TABLES {
            cases.push(Refused { name, harm, args, code: 5, says: &[TABLE, "run --mode replace"] });
        }
    }
    cases.extend(everywhere("a table that leads out", &[TABLE], |w| lead_out(w, TABLE)));
    cases.extend(everywhere("a table that is a FIFO", &[TABLE], |w| {
        w.data.remove(TABLE);
        let made = Command::new("mkfifo").arg(w.data.key(TABLE)).status().expect("mkfifo can be started");
        assert!(made.success());
    }));
    cases.extend(everywhere("images a file", &["images"], |w| {
        w.data.remove("images");
        w.data.put("images", "");
    }));
    cases.extend(everywhere("images absent", &["images"], |w| w.data.remove("images")));
    cases.extend(everywhere("images lead out", &["images"], |w| {
        fs::rename(w.data.key("images"), w.dir.join("outside")).expect("move it out");
        w.data.link("images", &w.dir.join("outside"));
    }));
    // A folder under a key is not a table (for the predecessor neither), but it is in the way of one; and a run
    // writes the root's attributes: what it cannot read it must not lose.
    for args in [REPLACE, INCREMENTAL] {
        let harm: fn(&World) = |w| {
            w.data.remove(TABLE);
            fs::create_dir(w.data.key(TABLE)).expect("make a folder");
        };
        cases.push(Refused { name: "a table that is a folder", harm, args, code: 5, says: &[TABLE] });
        let (name, says): (_, &[&str]) = ("the root's attributes cut", &[".zattrs"]);
        cases.push(Refused { name, harm: |w| w.data.cut(".zattrs"), args, code: 5, says });
    }
    cases
}

fn check_refused(case: &Refused) {
    let world = World::new();
    (case.harm)(&world);
    let dir = world.dir.path().display().to_string();
    let data = world.data.path().display().to_string();
    let args: Vec<String> = case.args.iter().map(|arg| arg.replace("{data}", &data).replace("{dir}", &dir)).collect();
    for json in [false, true] {
        let name = format!("{} ({}{})", case.name, case.args.join(" "), if json { " --json" } else { "" });
        let takes_json =
            matches!(case.args.first(), Some(&("run" | "status"))) && !case.args.contains(&"--no-such-flag");
        if json && !takes_json {
            continue;
        }
        let before = snapshot(world.dir.path());
        let output = Run::new(&args).args(json.then_some("--json")).output();
        assert_eq!(output.code(), Some(case.code), "{name}: exit code\n{output}");
        assert_says(&name, &output, case.says);
        if json {
            let error = &output.json()["error"];
            assert!(error["code"].is_string() || error["code"].is_number(), "{name}: error.code\n{output}");
            let message = error["message"].as_str().unwrap_or_default();
            let help = error["help"].as_str().unwrap_or_default();
            for text in case.says {
                assert!(message.contains(text) || help.contains(text), "{name}: error lacks {text:?}\n{output}");
            }
        } else {
            assert_eq!(output.stdout(), "", "{name}: stdout\n{output}");
        }
        let mut touched = changed(&before, &snapshot(world.dir.path()));
        touched.retain(|key| !key.starts_with("data.zarr/index/kymhost/"));
        assert!(touched.is_empty(), "{name}: wrote {touched:?}\n{output}");
    }
}

#[test]
fn bad_input_is_refused() {
    all(refused(), |case| format!("{} ({})", case.name, case.args.join(" ")), check_refused);
}

/// With two datasets in the working folder, kymhost does not guess.
#[test]
fn two_datasets_in_folder_are_ambiguous() {
    let dir = TestDir::new();
    Fixture::with_images(dir.join("one.zarr"), 1, 1);
    let status = || Run::new(["status", "--json", "--plugin", "velocity_events"]).folder(dir.path());
    let output = status().output();
    assert_eq!(output.json()["images"].as_array().map(Vec::len), Some(1), "{output}");
    Fixture::with_images(dir.join("two.zarr"), 1, 1);
    status().output().expect_code(5);
}

// Links and attributes of one image: what it must not lose or follow.

/// A record that leads out is never read as one: neither followed nor written to.
#[test]
fn record_link_outside_not_followed() {
    for mode in ["replace", "incremental"] {
        let world = World::new();
        let id = image_id(BROKEN);
        let outside = world.dir.join("outside");
        fs::rename(world.data.key(&format!("images/{id}")), &outside).expect("move it out");
        world.data.link(&format!("images/{id}"), &outside);
        let before = snapshot(&outside);
        let output = run(mode, &world.data).output();
        assert!(matches!(output.code(), Some(3 | 5)), "exit code\n{output}");
        assert_says("a record that leads out", &output, &[&id]);
        assert_eq!(changed(&before, &snapshot(&outside)), Vec::<String>::new(), "wrote outside\n{output}");
        let table = Table::read(&world.data.key(TABLE));
        assert_eq!(table.rows_of(&id), Table::read(&base().join(TABLE)).rows_of(&id), "its old rows\n{output}");
    }
}

/// A marker's place that leads out is not written through.
#[test]
fn marker_link_outside_not_written() {
    for mode in ["replace", "incremental"] {
        let world = World::new();
        let key = world.broken().key(&format!("{MARKER}.json"));
        lead_out(&world, &key);
        let before = fs::read(world.dir.join("outside")).expect("the file outside");
        let output = run(mode, &world.data).output();
        assert_says("a marker that leads out", &output, &[]);
        assert_eq!(fs::read(world.dir.join("outside")).expect("the file outside"), before, "{mode}\n{output}");
    }
}

/// Attributes that cannot be read are named and kept: a run must not write over them.
#[test]
fn broken_image_attributes_are_kept() {
    for mode in ["replace", "incremental"] {
        let world = World::new();
        let key = format!("images/{}/.zattrs", image_id(BROKEN));
        world.data.cut(&key);
        let before = fs::read(world.data.key(&key)).expect("attributes");
        let output = run(mode, &world.data).output().expect_code(3);
        assert_says("broken attributes", &output, &[&key]);
        let document = output.json();
        assert_eq!((&document["stats"]["failed"], &document["stats"]["updated"]), (&json!(1), &json!(IMAGES - 1)));
        assert_eq!(document["failures"][0]["kind"], "unreadable", "{output}");
        assert_eq!(fs::read(world.data.key(&key)).expect("attributes"), before, "{mode}\n{output}");
        Table::read(&world.data.key(TABLE));
    }
}

// Tables of others.

/// A table that has rows of images without provenance is not an error: those images are stale, the others' rows
/// stay if the option says so.
#[test]
fn table_without_provenance_is_updated() {
    for mode in ["replace", "incremental"] {
        let world = World::new();
        let (known, gone) = (image_id(0), image_id(99));
        let rows = batch([("image_id", texts([known.as_str(), gone.as_str()])), ("score", floats([-1.0, -2.0]))]);
        world.data.put_table("kym_velocity_events", &rows);
        let output = run(mode, &world.data).args(["--orphans", "keep"]).output().expect_code(0);
        assert_eq!(output.json()["stats"]["updated"], IMAGES, "{output}");
        let table = Table::read(&world.data.key(TABLE));
        assert_eq!(table.columns[..2], ["image_id", "score"], "columns that were there come first");
        assert_eq!(table.rows.len(), 1 + EVENTS * IMAGES as usize, "{table:?}");
        assert_eq!(table.rows_of(&gone)[0][1], json!(-2.0), "the row of an image that is gone");
        for image in 0..IMAGES {
            check_updated("without provenance", &world.data, &table, image);
        }
    }
}

/// A table without `image_id` has no rows of any image; its rows stay.
#[test]
fn table_without_image_id_keeps_rows() {
    for mode in ["replace", "incremental"] {
        let world = World::new();
        world.data.put_table("kym_velocity_events", &batch([("score", floats([-1.0, -2.0]))]));
        run(mode, &world.data).output().expect_code(0);
        let table = Table::read(&world.data.key(TABLE));
        assert_eq!(table.rows.len(), 2 + EVENTS * IMAGES as usize, "{table:?}");
        assert_eq!(table.column("score")[..2], [&json!(-1.0), &json!(-2.0)]);
        for image in 0..IMAGES {
            check_updated("without image_id", &world.data, &table, image);
        }
    }
}

// `dataset validate` says all that is wrong.

struct Invalid {
    /// What is broken, in the root.
    key: fn() -> String,
    harm: fn(&World, &str),
}

fn invalid() -> Vec<Invalid> {
    fn of_image(rest: &str) -> String {
        format!("images/{}/{rest}", image_id(BROKEN))
    }
    let cut: fn(&World, &str) = |world, key| world.data.cut(key);
    vec![
        Invalid { key: || ".zattrs".into(), harm: cut },
        Invalid { key: || of_image(".zattrs"), harm: cut },
        Invalid { key: || of_image(".zgroup"), harm: cut },
        Invalid { key: || of_image("data/.zarray"), harm: cut },
        Invalid { key: || of_image("data/.zarray"), harm: |w, key| w.data.put(key, "{}") },
        Invalid {
            key: || of_image("data/.zarray"),
            harm: |w, key| {
                let array = json!({
                    "chunks": [u64::MAX, u64::MAX], "compressor": null, "dtype": "<u2", "fill_value": 0,
                    "filters": null, "order": "C", "shape": [u64::MAX, u64::MAX], "zarr_format": 2
                });
                w.data.put_json(key, &array);
            },
        },
        Invalid { key: || of_image("data/0.0"), harm: cut },
        Invalid { key: || of_image("data"), harm: |world, key| world.data.remove(&format!("{key}/0.0")) },
        Invalid { key: || of_image("data/0.0"), harm: |w, key| lead_out(w, key) },
        Invalid {
            key: || of_image("data/0.0"),
            harm: |w, key| {
                let array = json!({
                    "chunks": [4, 3], "dtype": "<u2", "fill_value": 0, "filters": null, "order": "C", "shape": [4, 3],
                    "compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0},
                    "zarr_format": 2
                });
                w.data.put_json(&of_image("data/.zarray"), &array);
                w.data.put(key, [0xa5; 64]);
            },
        },
        Invalid { key: || of_image("analysis/velocity_events/params.json"), harm: cut },
        Invalid { key: || of_image("analysis/velocity_events/events.parquet"), harm: cut },
        Invalid { key: || of_image("analysis/velocity_events/summary.json"), harm: cut },
        Invalid { key: || of_image("analysis/old.json.gz"), harm: |w, key| w.data.put(key, fixture::gzip(b"{")) },
        Invalid { key: || of_image("analysis/old.csv.gz"), harm: |w, key| w.data.put(key, "no gzip") },
        Invalid { key: || TABLE.into(), harm: cut },
        Invalid { key: || "index/manifest.json.gz".into(), harm: |w, key| w.data.put(key, fixture::gzip(b"[1,")) },
    ]
}

#[test]
fn validate_names_what_is_broken() {
    let validate = |world: &World| Run::new(["dataset", "validate"]).dataset(world.data.path()).output();
    validate(&World::new()).expect_code(0);
    all(
        invalid().into_iter().enumerate(),
        |(number, case)| format!("{number}: {}", (case.key)()),
        |(number, case)| {
            let world = World::new();
            let key = (case.key)();
            (case.harm)(&world, &key);
            let before = world.state();
            let output = validate(&world);
            assert_eq!(output.code(), Some(5), "{number} {key}: exit code\n{output}");
            assert_says(&key, &output, &[&key]);
            assert_eq!(damage(&before, &world.state()), Vec::<String>::new(), "validate wrote");
        },
    );
}

/// `dataset validate` reports all problems in one go.
#[test]
fn validate_reports_all_problems_at_once() {
    let world = World::new();
    let broken = image_id(BROKEN);
    let other = image_id(2);
    let keys = [
        format!("images/{broken}/data/.zarray"),
        format!("images/{broken}/analysis/velocity_events/params.json"),
        format!("images/{other}/analysis/velocity_events/events.parquet"),
        format!("images/{other}/data/0.0"),
        TABLE.to_owned(),
    ];
    for key in &keys {
        world.data.cut(key);
    }
    let output = Run::new(["dataset", "validate"]).dataset(world.data.path()).output().expect_code(5);
    assert_says("all at once", &output, &keys.iter().map(String::as_str).collect::<Vec<_>>());
}

// Disks and users.

/// What is put before a command so that permissions apply to it; `None`, reported as skipped, if that is not possible.
fn unprivileged() -> Option<Vec<String>> {
    if !rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(kymhost_tests::program()).arg("--version");
    match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Some(words.map(str::to_owned).to_vec()),
        _ => {
            skip("we are root, and cannot run the program as another user with setpriv");
            None
        }
    }
}

/// If the images cannot be listed, that is an error and not an empty dataset.
#[test]
fn unlistable_images_are_an_error() {
    let Some(user) = unprivileged() else { return };
    for command in ["run", "status"] {
        let world = World::new();
        allow(&world.data.key("images"), 0o311);
        let run = Run::new([command, "--plugin", "velocity_events"]).dataset(world.data.path()).under(&user);
        let output = run.folder(world.dir.path()).output();
        allow(&world.data.key("images"), 0o755);
        assert_eq!(output.code(), Some(5), "{output}");
        assert_says("unlistable", &output, &["images", "ermission denied"]);
    }
}

/// A file without read permission fails its image alone.
#[test]
fn unreadable_file_fails_its_image() {
    let Some(user) = unprivileged() else { return };
    for name in ["velocity_events/params.json", "velocity_events/events.parquet"] {
        let world = World::new();
        let key = world.broken().key(name);
        allow(&world.data.key(&key), 0o000);
        // What the extraction alone reads, the predecessor's rules do not look at.
        let by_old = if name.ends_with("params.json") { "STALE_UNREADABLE" } else { "STALE_PARAMS_CHANGED" };
        for (rules, expected) in [(&[][..], "STALE_UNREADABLE"), (&["--compat", "kymflow"], by_old)] {
            let status = Run::new(["status", "--json", "--plugin", "velocity_events"]).args(rules);
            let output = status.dataset(world.data.path()).under(&user).folder(world.dir.path()).output();
            let image = output.json()["images"][BROKEN as usize].clone();
            assert_eq!(image["reason"], expected, "{output}");
            let says = image["error"].as_str().is_some_and(|error| error.contains(&key));
            assert_eq!(says, expected == "STALE_UNREADABLE", "{output}");
        }
    }
}

/// A read-only dataset can be read, and a run on it fails with a clear error.
#[test]
fn read_only_dataset_is_readable() {
    let Some(user) = unprivileged() else { return };
    let world = World::new();
    let folders: Vec<PathBuf> =
        world.state().keys().filter(|key| key.ends_with('/')).map(|key| world.data.key(key)).collect();
    let lock = |mode: u32| {
        allow(world.data.path(), mode);
        folders.iter().for_each(|folder| allow(folder, mode));
    };
    lock(0o555);
    let before = world.state();
    let as_user = |run: Run| run.under(&user).folder(world.dir.path()).output();
    let status = as_user(Run::new(["status", "--json", "--plugin", "velocity_events"]).dataset(world.data.path()));
    let validate = as_user(Run::new(["dataset", "validate"]).dataset(world.data.path()));
    let table = as_user(Run::new(["table", "show", "velocity_events", "--format", "csv"]).dataset(world.data.path()));
    let runs = ["replace", "incremental"].map(|mode| as_user(run(mode, &world.data)));
    let after = world.state();
    lock(0o755);
    kymhost_tests::assert_untouched(&before, &after);
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(validate.code(), Some(0), "{validate}");
    assert_eq!(table.code(), Some(0), "{table}");
    for output in runs {
        assert_eq!(output.code(), Some(5), "{output}");
        assert_says("read-only", &output, &["ermission denied", "data.zarr"]);
    }
}

/// A small file system of its own, unmounted with it.
struct SmallDisk {
    at: TestDir,
}

impl SmallDisk {
    fn mount(kib: u64) -> Option<Self> {
        let at = TestDir::new();
        let size = format!("size={kib}k");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at.path());
        match command.stdin(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => Some(Self { at }),
            _ => {
                skip("a small file system cannot be mounted here");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

/// The old table and all markers are whole, nothing is left lying in `tables/`, and with room again all is done.
fn check_full(data: &Fixture, before: &Snapshot, output: &Output, make_room: impl FnOnce()) {
    assert_eq!(output.code(), Some(5), "exit code\n{output}");
    assert!(!said(output).contains("panicked at"), "{output}");
    let damage = damage(before, &snapshot(data.path()));
    assert!(damage.is_empty(), "changed {damage:?}\n{output}");
    make_room();
    let output = run("incremental", data).output().expect_code(0);
    assert_eq!(output.json()["stats"]["updated"], IMAGES, "{output}");
    let table = Table::read(&data.key(TABLE));
    for image in 0..IMAGES {
        check_updated("with room again", data, &table, image);
    }
}

/// A full disk loses no rows.
#[test]
fn full_disk_loses_nothing() {
    for mode in ["replace", "incremental"] {
        let Some(disk) = SmallDisk::mount(1024) else { return };
        let path = disk.at.join("data.zarr");
        copy_tree(base(), &path);
        let data = Fixture::at(&path);
        let filler = disk.at.join("filler");
        let mut bytes = 2 << 20;
        let mut file = fs::File::create(&filler).expect("a file");
        while bytes > 0 {
            let block = vec![1u8; bytes.min(4096)];
            if std::io::Write::write_all(&mut file, &block).is_err() {
                break;
            }
            bytes -= block.len();
        }
        drop(file);
        let before = snapshot(data.path());
        let output = run(mode, &data).output();
        assert_says("a full disk", &output, &["No space left", "data.zarr"]);
        check_full(&data, &before, &output, || fs::remove_file(&filler).expect("make room"));
    }
}

/// The same for a limit of file size: a table larger than the process may write.
#[test]
fn too_large_table_loses_nothing() {
    let world = World::new();
    // Columns of noise that no codec makes small.
    let mut random = fastrand::Rng::with_seed(7);
    for image in 0..IMAGES {
        let rows = batch([
            ("roi_id", ints((0..20_000).map(|_| random.i64(..)))),
            ("score", floats((0..20_000).map(|_| random.f64()))),
        ]);
        world.data.image(&image_id(image)).parquet("velocity_events/events", &rows);
    }
    let before = world.state();
    // 64 blocks: 32 or 64 KiB, by the shell's blocks.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"];
    let output = run("replace", &world.data).under(limited).output();
    assert_eq!(output.code(), Some(5), "exit code\n{output}");
    assert_says("too large", &output, &[TABLE]);
    let damage = damage(&before, &world.state());
    assert!(damage.is_empty(), "changed {damage:?}\n{output}");
    run("replace", &world.data).output().expect_code(0);
    assert_eq!(Table::read(&world.data.key(TABLE)).rows.len(), 20_000 * IMAGES as usize);
}
