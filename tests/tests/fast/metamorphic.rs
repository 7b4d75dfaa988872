//! What must hold between answers, whatever the pixels: the real plugins, by the real program, over recordings
//! that are turns of each other.
//!
//! Tests what each turn does to velocities and events. Which velocity is right for a recording: see `analysis`
//! and `demo`.

use kymhost::dataset::Dataset;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::Array;
use kymhost_tests::streaks::Scan;
use kymhost_tests::table::Table;
use kymhost_tests::tiff::{Layout, Packing, Tiff};
use kymhost_tests::{Run, TestDir};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PLUGINS: [&str; 3] = ["radon_velocity", "event_detection", "velocity_events"];
const WINDOW_LINES: usize = 16;
/// Whole windows: each has its like when time runs backwards.
const LINES: usize = WINDOW_LINES + 4 * 490;
const WIDTH: usize = 28;
/// Of the recordings themselves.
const SECONDS_PER_LINE: f64 = 0.001;
const UM_PER_PIXEL: f64 = 0.5;

/// The recordings that are turned: by pixels a line, with a stall each.
fn bases() -> Vec<Scan> {
    let stall = 800..1200;
    let moving = |seed: u64, speed: f64| {
        Scan::moving(LINES, WIDTH, seed, true, |line| if stall.contains(&line) { 0.0 } else { speed })
    };
    vec![moving(1, 0.6), moving(2, -1.1), moving(3, 2.0)]
}

/// What is measured of one image.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    time: Vec<f64>,
    theta_deg: Vec<Option<f64>>,
    velocity: Vec<Option<f64>>,
    /// The summary row less the image's id, and each event less its.
    summary: Vec<Vec<Value>>,
    events: Vec<Vec<Value>>,
    event_types: Vec<String>,
}

impl Answer {
    fn of(data: &Path, id: &str) -> Self {
        let windows = Table::read(&data.join(format!("images/{id}/analysis/radon_velocity/velocity.parquet")));
        let known = |name: &str| -> Vec<Option<f64>> { windows.column(name).into_iter().map(Value::as_f64).collect() };
        let rows = |name: &str| -> (Table, Vec<Vec<Value>>) {
            let table = Table::read(&data.join(format!("tables/kym_{name}.parquet")));
            // Of the columns that indexers make, not those that say when and from where.
            let own: Vec<usize> = (0..table.columns.len())
                .filter(|at| !["image_id", "kym_image_id"].contains(&table.columns[*at].as_str()))
                .collect();
            let rows = table.rows_of(id).iter().map(|row| own.iter().map(|at| row[*at].clone()).collect()).collect();
            (table, rows)
        };
        let (_, summary) = rows("radon_velocity");
        let (table, events) = rows("velocity_events");
        let type_of = table.columns.iter().position(|column| column == "event_type").expect("event_type");
        let event_types = table.rows_of(id).into_iter().map(|row| row[type_of].as_str().expect("a type").to_owned());
        Self {
            time: known("time").into_iter().map(|time| time.expect("a time")).collect(),
            theta_deg: known("theta_deg"),
            velocity: known("velocity"),
            summary,
            event_types: event_types.collect(),
            events,
        }
    }

    fn count(&self, event_type: &str) -> usize {
        self.event_types.iter().filter(|found| *found == event_type).count()
    }
}

/// Recordings under names, ingested and analysed by the program.
struct Lab {
    dir: TestDir,
}

impl Lab {
    fn new() -> Self {
        let dir = TestDir::in_memory();
        fs::create_dir(dir.join("scans")).expect("a folder");
        Self { dir }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data.zarr")
    }

    fn put(&self, name: &str, tiff: &Tiff, metadata: &Value) {
        fs::write(self.dir.join(format!("scans/{name}.tif")), tiff.bytes()).expect("a TIFF");
        fs::write(self.dir.join(format!("scans/{name}.json")), metadata.to_string()).expect("its JSON");
    }

    /// The answer of each recording.
    fn answers(&self) -> BTreeMap<String, Answer> {
        let data = self.data();
        Run::new(["dataset", "ingest"]).arg(self.dir.join("scans")).dataset(&data).output().expect_code(0);
        run(&data, &[]);
        let sources = Table::read(&data.join("tables/sources.parquet"));
        let files = sources.column("source_primary_path").into_iter().zip(sources.column("image_id"));
        let answer = |(path, id): (&Value, &Value)| {
            let name = Path::new(path.as_str().expect("a path")).file_stem().expect("a name");
            (name.to_string_lossy().into_owned(), Answer::of(&data, id.as_str().expect("an id")))
        };
        files.map(answer).collect()
    }
}

fn run(data: &Path, options: &[&str]) {
    let plugins = PLUGINS.iter().flat_map(|plugin| ["--plugin", plugin]);
    Run::new(["run"]).args(plugins).args(options).dataset(data).output().expect_code(0);
}

fn metadata(seconds_per_line: f64, um_per_pixel: f64) -> Value {
    json!({"header": {"voxels": [seconds_per_line, um_per_pixel]}})
}

/// The same with one ROI.
fn with_roi(lines: (usize, usize), pixels: (usize, usize)) -> Value {
    let mut metadata = metadata(SECONDS_PER_LINE, UM_PER_PIXEL);
    let data = json!({"x0": pixels.0, "x1": pixels.1, "y0": lines.0, "y1": lines.1});
    metadata["rois"] = json!([{"roi_id": 1, "roi_type": "rect", "version": "1.0", "name": "", "note": "", "channel": 1,
        "z": 0, "data": data, "meta": {}}]);
    metadata
}

/// What a turn does to an answer.
enum Relation {
    /// Nothing: the same windows, velocities, events, to the last bit.
    Nothing,
    /// The same, this many seconds later. Row numbers are of the ROI and stay.
    Later(f64),
    /// The same angles; velocities times this, to a float32's precision, and times times that.
    Scales(f64, f64),
    /// The opposite direction; with `true` the last window first.
    Opposite(bool),
    /// The same angles, but for one step in a few windows.
    NearlyNothing,
}

/// The same angle or the opposite one, seen from the other side: the difference in degrees.
fn off(theta: f64, expected: f64) -> f64 {
    let off = (theta - expected).rem_euclid(180.0);
    off.min(180.0 - off)
}

fn close(found: Option<f64>, expected: Option<f64>, relative: f64) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= relative * expected.abs(),
        (found, expected) => found == expected,
    }
}

fn check(name: &str, relation: &Relation, found: &Answer, base: &Answer) {
    assert_eq!(found.theta_deg.len(), base.theta_deg.len(), "{name}");
    match *relation {
        Relation::Nothing => assert_eq!(found, base, "{name}"),
        Relation::Later(seconds) => {
            assert_eq!((&found.theta_deg, &found.velocity), (&base.theta_deg, &base.velocity), "{name}");
            let later = found.time.iter().zip(&base.time).all(|(found, base)| (found - base - seconds).abs() < 1e-9);
            assert!(later, "{name}");
            assert_eq!(found.event_types, base.event_types, "{name}");
        }
        Relation::Scales(velocities, times) => {
            assert_eq!(found.theta_deg, base.theta_deg, "{name}");
            for (at, velocity) in base.velocity.iter().enumerate() {
                let expected = velocity.map(|velocity| velocity * velocities);
                assert!(close(found.velocity[at], expected, 1e-6), "{name}, window {at}: {:?}", found.velocity[at]);
                assert!(close(Some(found.time[at]), Some(base.time[at] * times), 1e-12), "{name}, window {at}");
            }
        }
        Relation::Opposite(backwards) => {
            let mut found = found.clone();
            if backwards {
                found.theta_deg.reverse();
                found.velocity.reverse();
            }
            // The method turns a window about a pixel, not about its middle, so the mirrored window is not
            // sampled in mirrored places: the first, coarse search, in steps of a degree, may end a step to the
            // side; seldom two.
            let angles = found.theta_deg.iter().zip(&base.theta_deg);
            let pairs = angles.map(|(found, base)| (found.expect("an angle"), 180.0 - base.expect("an angle")));
            let mut offs: Vec<f64> = pairs.map(|(found, expected)| off(found, expected)).collect();
            offs.sort_by(f64::total_cmp);
            let of_hundred = |many: usize| offs[(offs.len() - 1) * many / 100];
            assert!(of_hundred(95) <= 1.0 && of_hundred(100) <= 2.0, "{name}: {offs:?}");
            let (mut sum, mut expected) = (0.0, 0.0);
            for (found, base) in found.velocity.iter().zip(&base.velocity) {
                if let (Some(found), Some(base)) = (found, base) {
                    sum += found;
                    expected -= base;
                }
            }
            assert!(sum * expected > 0.0 && (sum - expected).abs() < 0.01 * expected.abs(), "{name}: {sum} {expected}");
            // A stall is one either way.
            for event_type in ["baseline_drop", "baseline_rise", "zero_gap"] {
                let of = |answer: &Answer| answer.count(event_type).min(1);
                assert_eq!(of(&found), of(base), "{name}: {event_type}");
            }
        }
        Relation::NearlyNothing => {
            let same = found.theta_deg.iter().zip(&base.theta_deg).filter(|(found, base)| found == base).count();
            assert!(same * 100 >= base.theta_deg.len() * 99, "{name}: {same}");
            for (found, base) in found.theta_deg.iter().zip(&base.theta_deg) {
                assert!(off(found.expect("an angle"), base.expect("an angle")) <= 0.25, "{name}: {found:?} {base:?}");
            }
        }
    }
}

#[test]
fn turned_recording_gives_turned_result() {
    let scale = || metadata(SECONDS_PER_LINE, UM_PER_PIXEL);
    let packed = |scan: &Scan| Tiff {
        big_endian: true,
        big_tiff: true,
        layout: Layout::Tiles(16, 32),
        packing: Packing::Zstd,
        ..Tiff::new(scan.page())
    };
    type Turn = (&'static str, Box<dyn Fn(&Scan) -> Tiff>, Value, Relation);
    let plain =
        |turn: fn(&Scan) -> Scan| -> Box<dyn Fn(&Scan) -> Tiff> { Box::new(move |scan| Tiff::new(turn(scan).page())) };
    let same: fn(&Scan) -> Scan = Scan::clone;
    let turns: Vec<Turn> = vec![
        ("again", plain(same), scale(), Relation::Nothing),
        ("packed", Box::new(packed), scale(), Relation::Nothing),
        ("backwards", plain(Scan::backwards), scale(), Relation::Opposite(true)),
        ("mirrored", plain(Scan::mirrored), scale(), Relation::Opposite(false)),
        ("wide-pixels", plain(same), metadata(SECONDS_PER_LINE, 3.0 * UM_PER_PIXEL), Relation::Scales(3.0, 1.0)),
        ("slow-lines", plain(same), metadata(4.0 * SECONDS_PER_LINE, UM_PER_PIXEL), Relation::Scales(0.25, 4.0)),
        ("both", plain(same), metadata(2.0 * SECONDS_PER_LINE, 2.0 * UM_PER_PIXEL), Relation::Scales(1.0, 2.0)),
        ("contrast", plain(|scan| scan.map(|value| 2 * value)), scale(), Relation::Scales(1.0, 1.0)),
        ("brighter", plain(|scan| scan.map(|value| value + 1000)), scale(), Relation::NearlyNothing),
        (
            "framed",
            plain(|scan| scan.framed(100, 9)),
            with_roi((100, 100 + LINES), (9, 9 + WIDTH)),
            Relation::Later(100.0 * SECONDS_PER_LINE),
        ),
    ];
    let lab = Lab::new();
    let bases = bases();
    for (number, base) in bases.iter().enumerate() {
        lab.put(&format!("{number}-base"), &Tiff::new(base.page()), &scale());
        for (name, turn, metadata, _) in &turns {
            lab.put(&format!("{number}-{name}"), &turn(base), metadata);
        }
    }
    for (name, value) in [("black", 0), ("grey", 1234), ("white", u16::MAX)] {
        lab.put(name, &Tiff::new(Scan::blank(LINES, WIDTH, value).page()), &scale());
    }
    let answers = lab.answers();
    for number in 0..bases.len() {
        let base = &answers[&format!("{number}-base")];
        // There is something to be turned: a velocity in nearly all windows, and a stall.
        let known = base.velocity.iter().flatten().count();
        assert!(known * 100 >= 98 * base.velocity.len(), "{number}: {known}");
        assert!(base.count("baseline_drop") > 0 && base.count("baseline_rise") > 0, "{number}: {:?}", base.event_types);
        for (name, _, _, relation) in &turns {
            check(&format!("{number}-{name}"), relation, &answers[&format!("{number}-{name}")], base);
        }
    }
    for name in ["black", "grey", "white"] {
        let blank = &answers[name];
        assert_eq!(blank.theta_deg.len(), 491, "{name}");
        assert!(blank.theta_deg.iter().chain(&blank.velocity).all(Option::is_none), "{name}: a velocity of nothing");
        // That nothing is known all the time is an event; that the flow changes is none.
        assert_eq!(blank.event_types, ["nan_gap"], "{name}");
    }
}

/// The same pixels in other chunks, by more and fewer workers and threads: the same tables and artifacts.
#[test]
fn chunks_workers_threads_change_nothing() {
    let dir = TestDir::in_memory();
    let make = |name: &str, chunks: Option<&[usize]>| -> PathBuf {
        let path = dir.join(name);
        let dataset = Dataset::create(&path).expect("a dataset");
        for (number, scan) in bases().iter().enumerate() {
            let axes = vec!["y".to_owned(), "x".to_owned()];
            let pixels = Array::from_elements(&scan.pixels, vec![scan.lines, scan.width], axes).expect("pixels");
            let id = format!("00000000-0000-4000-8000-00000000000{number}");
            let record = dataset.add_image(Some(&id), &pixels, chunks).expect("an image");
            let text = metadata(SECONDS_PER_LINE, UM_PER_PIXEL).to_string();
            record.put_json("metadata", &Json::parse(text.as_bytes()).expect("JSON")).expect("its metadata");
        }
        path
    };
    let answers = |data: &Path| -> Vec<Answer> {
        (0..3).map(|number| Answer::of(data, &format!("00000000-0000-4000-8000-00000000000{number}"))).collect()
    };
    let usual = make("usual.zarr", None);
    run(&usual, &["--jobs", "1"]);
    let expected = answers(&usual);
    assert!(expected.iter().all(|answer| answer.count("baseline_drop") > 0));
    type Case<'a> = (&'a str, Option<&'a [usize]>, &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        ("lines.zarr", Some(&[8, WIDTH]), &[]),
        ("columns.zarr", Some(&[LINES, 1]), &[]),
        ("odd.zarr", Some(&[37, 11]), &[]),
        ("one.zarr", Some(&[4096, 4096]), &["--jobs", "2"]),
        ("many.zarr", None, &["--jobs", "8"]),
        ("here.zarr", None, &["--in-process", "--jobs", "3"]),
    ];
    for (name, chunks, options) in cases {
        let data = make(name, chunks);
        run(&data, options);
        assert_eq!(answers(&data), expected, "{name}");
    }
}
