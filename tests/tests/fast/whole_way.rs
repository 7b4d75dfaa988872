//! From a folder of line scans to a table of events: the commands of README as they stand there, by the real
//! program and its three plugins.
//!
//! Each command does what README says, and exactly what changed runs again. The numbers of windows and traces are in
//! `analysis`.

use kymhost_tests::streaks::Scan;
use kymhost_tests::table::Table;
use kymhost_tests::tiff::Tiff;
use kymhost_tests::{Run, Snapshot, TestDir, assert_untouched, changed, linescans, program, repository, snapshot};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const HEADING: &str = "## From line scans to events\n";
const PLUGINS: [&str; 3] = ["radon_velocity", "event_detection", "velocity_events"];

/// A command of README and what it says of it.
struct Command {
    line: String,
    comment: String,
}

/// The commands under the heading, less those that say where the program and the data are.
fn commands() -> Vec<Command> {
    let readme = fs::read_to_string(repository().join("README.md")).expect("README");
    let (_, section) = readme.split_once(HEADING).expect("the section");
    let (_, block) = section.split_once("```sh\n").expect("its commands");
    let (block, _) = block.split_once("```").expect("their end");
    let lines = block.lines().filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("alias kymhost=") && *line != "cd /where/your/data/is");
    let split = lines.map(|line| line.split_once(" # ").unwrap_or((line, "")));
    split.map(|(line, comment)| Command { line: line.trim().to_owned(), comment: comment.trim().to_owned() }).collect()
}

/// A working folder with `linescans` and `corrected` in it.
struct Lab {
    dir: TestDir,
    /// The recording that is replaced, and the one of which a param changes.
    replaced: String,
    edited: String,
    exported: Vec<String>,
}

impl Lab {
    fn data(&self) -> PathBuf {
        self.dir.join("scans.zarr")
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

    /// Types a command of README in, with this lab's names; all that it says.
    #[track_caller]
    fn type_in(&mut self, command: &Command) -> String {
        let mut line = command.line.replace("NAME", &self.replaced);
        if line.contains("IMAGE ") {
            line = line.replace("IMAGE ", &format!("{} ", self.images()[&self.edited]));
        }
        if line.starts_with("export ") {
            self.exported.push(line);
            return String::new();
        }
        let exported: String = self.exported.iter().map(|line| format!("{line}; ")).collect();
        let script = format!("kymhost() {{ '{}' \"$@\"; }}; {exported}{line}", program().display());
        let output = Run::program(Path::new("sh"), ["-c", &script]).folder(self.dir.path()).output().expect_code(0);
        format!("{}{}", output.stdout(), output.stderr())
    }

    fn table(&self, name: &str) -> Table {
        Table::read(&self.data().join(format!("tables/kym_{name}.parquet")))
    }

    fn mean_velocity(&self, recording: &str) -> f64 {
        let (table, id) = (self.table("radon_velocity"), &self.images()[recording]);
        let rows = table.column("image_id").into_iter().zip(table.column("vel_mean"));
        rows.filter(|(image, _)| *image == id).map(|(_, mean)| mean.as_f64().expect("a mean")).next().expect("a row")
    }
}

/// How many images each plugin did.
#[track_caller]
fn updated(said: &str) -> Vec<usize> {
    let count = |plugin: &&str| -> usize {
        let (_, after) = said.split_once(&format!("{plugin}: ")).unwrap_or_else(|| panic!("{plugin}: {said}"));
        after
            .split_once(" computed")
            .and_then(|(count, _)| count.parse().ok())
            .unwrap_or_else(|| panic!("{plugin}: {said}"))
    };
    PLUGINS.iter().map(count).collect()
}

/// The images of which a run wrote anything.
fn touched(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    let keys = changed(before, after);
    let images = keys.iter().filter_map(|key| key.strip_prefix("images/")?.split('/').next());
    images.map(str::to_owned).collect()
}

/// Goes through README. `after_first`: what is to be said of the first answer.
fn go(mut lab: Lab, after_first: impl Fn(&Lab)) {
    let tiffs = fs::read_dir(lab.dir.join("linescans")).unwrap().map(|entry| entry.unwrap().path());
    let count = tiffs.filter(|path| path.extension().is_some_and(|ending| ending == "tif")).count();
    assert!(count > 1);
    let mut told = BTreeSet::new();
    let mut forth = 0.0;
    for command in commands() {
        let before = if lab.data().exists() { snapshot(&lab.data()) } else { Snapshot::new() };
        let said = lab.type_in(&command);
        let after = if lab.data().exists() { snapshot(&lab.data()) } else { Snapshot::new() };
        let of = |recording: &str| BTreeSet::from([lab.images()[recording].clone()]);
        told.insert(command.comment.clone());
        match command.comment.as_str() {
            "adds every recording" => {
                assert!(said.contains(&format!("{count} recordings: {count} added, 0 unchanged")), "{said}");
            }
            "every image, by each plugin" => {
                assert_eq!(updated(&said), [count; 3], "{said}");
                forth = lab.mean_velocity(&lab.replaced);
                after_first(&lab);
            }
            "one row per event" => {
                assert!(said.contains("event_type") || said.contains("event_id"), "{said}");
                assert_untouched(&before, &after);
            }
            "nothing new" => {
                assert!(said.contains(&format!("0 added, {count} unchanged")), "{said}");
                // Who held the lock last is written into it.
                let written = changed(&before, &after);
                assert!(written.iter().all(|key| key == "index/kymhost/locks/ingest.lock"), "{written:?}");
            }
            "nothing to do" => {
                assert_eq!(updated(&said), [0; 3], "{said}");
                assert_untouched(&before, &after);
            }
            "one recording is replaced" => assert_untouched(&before, &after),
            "reads that one again" => {
                assert!(said.contains(&format!("1 imported again, {} unchanged", count - 1)), "{said}");
                assert_eq!(touched(&before, &after), of(&lab.replaced));
            }
            "its image, by each plugin" => {
                assert_eq!(updated(&said), [1; 3], "{said}");
                assert_eq!(touched(&before, &after), of(&lab.replaced));
                // It was replaced by its mirror in time.
                let back = lab.mean_velocity(&lab.replaced);
                assert!(forth * back < 0.0 && (forth + back).abs() < 0.02 * forth.abs(), "{forth} {back}");
            }
            "which IMAGE is which recording" => {
                let images = lab.images();
                assert!(images.iter().all(|(name, id)| said.contains(name) && said.contains(id)), "{said}");
                assert_untouched(&before, &after);
            }
            "its events, no velocities" => {
                assert_eq!(updated(&said), [0, 1, 1], "{said}");
                assert_eq!(touched(&before, &after), of(&lab.edited));
                let is_velocity = |key: &String| key.contains("analysis/radon_velocity/");
                assert!(!changed(&before, &after).iter().any(is_velocity));
            }
            "" => {}
            other => panic!("README says '{other}' of `{}`: what is that?", command.line),
        }
    }
    let expected = 11;
    assert_eq!(told.len(), expected, "README lacks a step: {told:#?}");
    let csv = fs::read_to_string(lab.dir.join("events.csv")).expect("the table as CSV");
    assert_eq!(csv.lines().count(), 1 + lab.table("velocity_events").rows.len());
}

#[test]
fn readme_commands_work_on_made_line_scans() {
    let dir = TestDir::in_memory();
    fs::create_dir(dir.join("linescans")).unwrap();
    fs::create_dir(dir.join("corrected")).unwrap();
    let write = |folder: &str, name: &str, scan: &Scan| {
        fs::write(dir.join(folder).join(format!("{name}.tif")), Tiff::new(scan.page()).bytes()).unwrap();
    };
    for (at, name) in ["day-1-a", "day-1-b", "day-2"].into_iter().enumerate() {
        let stall = 700..1100;
        let scan = Scan::moving(2000, 24, at as u64, true, |line| if stall.contains(&line) { 0.0 } else { 1.5 });
        write("linescans", name, &scan);
        let json = json!({"header": {"voxels": [0.002, 0.4]}});
        fs::write(dir.join(format!("linescans/{name}.json")), json.to_string()).unwrap();
        write("corrected", name, &scan.backwards());
    }
    let lab = Lab { dir, replaced: "day-2".to_owned(), edited: "day-1-a".to_owned(), exported: Vec::new() };
    go(lab, |lab| {
        // 1.5 pixels a line of 0.4 um and 2 ms, but for a fifth of the time.
        let table = lab.table("radon_velocity");
        for mean in table.column("vel_mean") {
            let mean = mean.as_f64().expect("a mean");
            assert!((mean - 0.3 * 0.8).abs() < 0.05 * 0.24, "{mean}");
        }
    });
}

#[test]
fn readme_commands_work_on_real_line_scans() {
    let Some(shared) = linescans::folder() else { return };
    let dir = TestDir::in_memory();
    fs::create_dir(dir.join("linescans")).unwrap();
    fs::create_dir(dir.join("corrected")).unwrap();
    for entry in fs::read_dir(&shared).unwrap() {
        let path = entry.unwrap().path();
        // Copied by content: the originals cannot be written to.
        fs::write(dir.join("linescans").join(path.file_name().unwrap()), fs::read(&path).unwrap()).unwrap();
    }
    let name = "20250722_A89_0003";
    let scan = linescans::all().unwrap().into_iter().find(|scan| scan.name == name).unwrap();
    let scan = Scan { lines: scan.lines, width: scan.width, pixels: scan.pixels };
    fs::write(dir.join(format!("corrected/{name}.tif")), Tiff::new(scan.backwards().page()).bytes()).unwrap();
    let lab = Lab { dir, replaced: name.to_owned(), edited: "Capillary1_0001".to_owned(), exported: Vec::new() };
    go(lab, compare_with_kymflow);
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
            // Velocities have the same digits as kymflow's; times and what comes of them are not rounded to
            // float32 here.
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
