//! From a folder of line scans to a table of events, by the real program and its three plugins.
//!
//! Owns: the commands in their order over real recordings, and what a replaced file and a changed param do. Never: the numbers of a
//! window or a trace (`analysis`).

use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, assert_untouched, library, linescans, snapshot};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const PLUGINS: [&str; 3] = ["radon_velocity", "event_detection", "velocity_events"];

struct Lab {
    dir: TestDir,
}

impl Lab {
    fn folder(&self) -> PathBuf {
        self.dir.join("recordings")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data.zarr")
    }

    fn command(&self, words: &[&str]) -> Run {
        Run::new(words.iter().map(|word| (*word).to_owned())).dataset(&self.data())
    }

    fn ingest(&self) -> Value {
        let folder = self.folder();
        self.command(&["dataset", "ingest", "--json", &folder.to_string_lossy()]).output().expect_code(0).json()
    }

    /// How many images each plugin did.
    #[track_caller]
    fn run(&self) -> Vec<Value> {
        let mut words = vec!["run".to_owned(), "--json".to_owned()];
        for plugin in PLUGINS {
            words.extend(["--plugin".to_owned(), library(plugin).to_string_lossy().into_owned()]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let document = self.command(&words).output().expect_code(0).json();
        let runs = document["runs"].as_array().expect("runs");
        assert_eq!(runs.iter().map(|run| &run["indexer"]).collect::<Vec<_>>(), PLUGINS, "{document:#}");
        runs.iter().map(|run| run["stats"]["updated"].clone()).collect()
    }

    fn table(&self, name: &str) -> Table {
        Table::read(&self.data().join(format!("tables/kym_{name}.parquet")))
    }

    /// Which image was made of which recording.
    fn images(&self) -> BTreeMap<String, String> {
        let sources = Table::read(&self.data().join("tables/sources.parquet"));
        let paths = sources.column("source_primary_path");
        let name = |path: &Value| {
            let path = PathBuf::from(path.as_str().expect("a path"));
            path.file_stem().expect("a name").to_string_lossy().into_owned()
        };
        let ids = sources.column("image_id").into_iter().map(|id| id.as_str().expect("an id").to_owned());
        paths.into_iter().map(name).zip(ids).collect()
    }
}

#[test]
fn from_tiffs_to_events() {
    let Some(shared) = linescans::folder() else { return };
    let lab = Lab { dir: TestDir::new() };
    fs::create_dir(lab.folder()).unwrap();
    let mut recordings = 0;
    for entry in fs::read_dir(&shared).unwrap() {
        let path = entry.unwrap().path();
        // Without kymflow's velocities and events: all is made here.
        if path.extension().is_some_and(|ending| ["tif", "txt", "json"].iter().any(|wanted| ending == *wanted)) {
            let name = path.file_name().unwrap();
            fs::write(lab.folder().join(name), fs::read(&path).unwrap()).unwrap();
            recordings += usize::from(path.extension().is_some_and(|ending| ending == "tif"));
        }
    }
    assert_eq!(lab.ingest()["added"], recordings);
    assert_eq!(lab.run(), [recordings, recordings, recordings]);
    compare_with_kymflow(&lab);

    // Again: nothing to do, and the run touches nothing.
    assert_eq!(lab.ingest()["unchanged"], recordings);
    let before = snapshot(&lab.data());
    assert_eq!(lab.run(), [0, 0, 0]);
    assert_untouched(&before, &snapshot(&lab.data()));

    // One param of one image: that image's events are found again, and no velocity.
    let images = lab.images();
    let id = &images["Capillary1_0001"];
    let detection = library("event_detection");
    let detection = detection.to_string_lossy();
    let set = ["params", "set", "--plugin", &detection, "--image", id, "baseline_drop.mad_k=2.5"];
    lab.command(&set).output().expect_code(0);
    assert_eq!(lab.run(), [0, 1, 1]);

    // One recording replaced by its mirror in time: that image alone is done again, and flows the other way.
    let mean = |lab: &Lab, id: &str| -> f64 {
        let table = lab.table("radon_velocity");
        let rows = table.column("image_id").into_iter().zip(table.column("vel_mean"));
        rows.filter(|(image, _)| *image == id).map(|(_, mean)| mean.as_f64().unwrap()).next().unwrap()
    };
    let turned = &images["20250722_A89_0003"];
    let forth = mean(&lab, turned);
    let scan = linescans::all().unwrap().into_iter().find(|scan| scan.name == "20250722_A89_0003").unwrap();
    let path = lab.folder().join("20250722_A89_0003.tif");
    let mut bytes = fs::read(&path).unwrap();
    let pixels: Vec<u8> =
        scan.pixels.chunks(scan.width).rev().flatten().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let plain: Vec<u8> = scan.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
    let start = bytes.windows(64).position(|window| *window == plain[..64]).expect("the pixels in one piece");
    bytes[start..start + pixels.len()].copy_from_slice(&pixels);
    fs::write(&path, bytes).unwrap();
    assert_eq!(lab.ingest()["reingested"], 1);
    assert_eq!(lab.run(), [1, 1, 1]);
    let back = mean(&lab, lab.images().get("20250722_A89_0003").unwrap());
    assert!(forth * back < 0.0 && (forth + back).abs() < 0.02 * forth.abs(), "{forth} {back}");
}

/// The table `velocity_events` has the expected events of the default params.
fn compare_with_kymflow(lab: &Lab) {
    let expected: Value =
        serde_json::from_slice(&fs::read(linescans::folder().unwrap().join("expected_events.json")).unwrap()).unwrap();
    let images = lab.images();
    let table = lab.table("velocity_events");
    let column = |name: &str| table.column(name);
    let defaults = &expected[0]["params"];
    let mut compared = 0;
    for case in expected.as_array().unwrap().iter().filter(|case| case["params"] == *defaults) {
        let name = case["trace"].as_str().unwrap().trim_end_matches(".radon.csv.gz");
        let (image, roi) = (&images[name], &case["roi_id"]);
        let is_here = |row: &usize| column("image_id")[*row] == image && column("roi_id")[*row] == roi;
        let rows: Vec<usize> = (0..table.rows.len()).filter(is_here).collect();
        let events = case["events"].as_array().unwrap();
        assert_eq!(rows.len(), events.len(), "{name} ROI {roi}");
        for (k, (row, event)) in rows.into_iter().zip(events).enumerate() {
            assert_eq!(*column("event_id")[row], json!(format!("{roi}-{k}")));
            for same in ["event_type", "machine_type", "i_start", "i_peak", "i_end", "n_valid_in_event"] {
                assert_eq!(*column(same)[row], event[same], "{name} ROI {roi}, event {k}: {same}");
            }
            // Velocities have the same digits as kymflow's; times and what comes of them are not rounded to float32 here.
            for (ours, theirs, relative) in [
                ("peak_value", "score_peak", 1e-9),
                ("baseline_before", "baseline_before", 1e-9),
                ("baseline_after", "baseline_after", 1e-9),
                ("nan_fraction_in_event", "nan_fraction_in_event", 1e-9),
                ("score", "strength", 1e-6),
                ("t_start_s", "t_start", 1e-6),
                ("t_end_s", "t_end", 1e-6),
                ("peak_t_s", "t_peak", 1e-6),
                ("duration_sec", "duration_sec", 1e-5),
            ] {
                let (ours, theirs) = (column(ours)[row].as_f64(), event[theirs].as_f64());
                let same = match (ours, theirs) {
                    (Some(ours), Some(theirs)) => (ours - theirs).abs() <= relative * theirs.abs(),
                    (ours, theirs) => ours == theirs,
                };
                assert!(same, "{name} ROI {roi}, event {k}: {ours:?}, expected {theirs:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}
