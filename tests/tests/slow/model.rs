//! Random histories of edits, damage, kills and runs, compared with extracting everything from scratch.
//!
//! Two things are asked of every step. No stale image is missed: what `status` calls fresh, and what a run
//! leaves, has the rows that a new extraction gives. No extraction is needless: an image whose version, params
//! hash and every byte that its extraction read are as they were at its last good extraction, whose rows in the
//! table are still those, and that has no failure pending, is not extracted again, nor called stale.
//!
//! By design: an image whose marker is one of Python's is judged by the old rules, which see params, version
//! and the count of rows alone; another binary of the same version makes nothing stale.
//!
//! `KYMHOST_MODEL_SEED` repeats one history (except for the moments of its timed kills), `KYMHOST_MODEL_HISTORIES` and
//! `KYMHOST_MODEL_STEPS` make more or longer ones.

use arrow::array::RecordBatch;
use fastrand::Rng;
use kymhost_tests::fixture::{Fixture, events, gzip, parquet_bytes};
use kymhost_tests::judge::{self, Lab, MARKER, Row, Rows, TABLE, Truth, Verdicts};
use kymhost_tests::{assert_untouched, copy_tree, damage, snapshot, wait};
use parquet::basic::Compression;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const HISTORIES: u64 = 20;
const STEPS: u64 = 14;
/// Changes of the disk that a run of these small datasets makes, about: where kills are put.
const CHANGES: u64 = 70;

/// Two histories that are always the same: no stale image is missed, and none is extracted needlessly.
#[test]
fn known_histories_miss_nothing_and_redo_nothing() {
    live(1, 2, 8);
}

/// The same for random histories.
#[test]
#[ignore = "slow"]
fn random_histories_miss_nothing_and_redo_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let steps = number("KYMHOST_MODEL_STEPS").unwrap_or(STEPS);
    if let Some(seed) = number("KYMHOST_MODEL_SEED") {
        return History::new(seed).live(steps);
    }
    let histories = number("KYMHOST_MODEL_HISTORIES").unwrap_or(HISTORIES);
    live(fastrand::u64(..u64::MAX / 2), histories, steps);
}

/// Lives through histories of these seeds.
fn live(first: u64, histories: u64, steps: u64) {
    eprintln!("seeds {first} to {}", first + histories - 1);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let history = next.fetch_add(1, Ordering::Relaxed);
                    if history >= histories {
                        return;
                    }
                    History::new(first + history).live(steps);
                }
            });
        }
    });
}

/// All that an image's extraction read, by name. If all of it is unchanged, another extraction is needless.
type Signature = BTreeMap<String, Vec<u8>>;

/// What is known of one image's last good extraction.
#[derive(Debug, Clone)]
struct Good {
    signature: Signature,
    rows: Vec<Row>,
}

/// What is known of one image.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Its last extraction that was committed for certain, and good; none while a failure, or what a kill left,
    /// is pending.
    good: Option<Good>,
    /// Its marker was lost, torn or put back since.
    marker_damaged: bool,
    /// Its marker is one of Python's.
    old_rules: bool,
    /// The last run that tried it certainly failed at it.
    has_failed: bool,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Whole,
    Fault(u64, &'static str),
    KilledAfter(Duration),
}

struct History {
    seed: u64,
    random: Rng,
    lab: Lab,
    data: Fixture,
    known: BTreeMap<String, Known>,
    /// Earlier contents of files.
    earlier: BTreeMap<String, Vec<Vec<u8>>>,
    logged: Vec<String>,
    next_image: u64,
    gone: Vec<String>,
    torn_table: bool,
    /// Copies of images' folders, and whether the marker in them was Python's.
    copies: BTreeMap<String, (PathBuf, bool)>,
}

impl History {
    fn new(seed: u64) -> Self {
        let lab = Lab::new();
        let data = Fixture::new(lab.fresh("data.zarr"));
        let mut history = Self {
            seed,
            random: Rng::with_seed(seed),
            lab,
            data,
            known: BTreeMap::new(),
            earlier: BTreeMap::new(),
            logged: Vec::new(),
            next_image: 0,
            gone: Vec::new(),
            torn_table: false,
            copies: BTreeMap::new(),
        };
        for _ in 0..history.random.u64(2..6) {
            history.add_image();
        }
        history
    }

    fn live(mut self, steps: u64) {
        for _ in 0..steps {
            for _ in 0..self.random.u32(0..4) {
                self.edit();
            }
            self.step();
        }
    }

    fn log(&mut self, what: impl Into<String>) {
        self.logged.push(what.into());
    }

    fn story(&self) -> String {
        let last = self.logged.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n  ");
        format!("KYMHOST_MODEL_SEED={}, of {} events the last are\n  {last}\n", self.seed, self.logged.len())
    }

    fn choose<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.random.usize(..of.len())]
    }

    fn some_image(&mut self) -> String {
        let images: Vec<String> = self.known.keys().cloned().collect();
        self.choose(&images).clone()
    }

    // Edits.

    fn add_image(&mut self) {
        // Ids in any order.
        let number = self.next_image;
        self.next_image += 1;
        let id = match self.gone.pop() {
            Some(id) if self.random.bool() => id,
            _ => format!("{:08x}-0000-4000-8000-{number:012x}", self.random.u32(..)),
        };
        self.log(format!("add image {id}"));
        self.data.add_image(&id);
        self.known.insert(id.clone(), Known::default());
        for _ in 0..self.random.u32(0..5) {
            self.edit_artifact(&id);
        }
        self.edit_params(&id);
    }

    fn edit(&mut self) {
        let image = self.some_image();
        match self.random.u32(0..40) {
            0..=7 => self.edit_artifact(&image),
            8..=11 => self.edit_params(&image),
            12 | 13 => self.edit_scale(&image),
            14 | 15 => self.touch(&image),
            16 | 17 => self.rewrite_same(&image),
            18 | 19 => self.revert(&image),
            20 => self.disguise(&image),
            21 => self.gzip_or_not(&image),
            22 => self.updated_utc(&image),
            23 | 24 => self.attribute(&image),
            25 if self.known.len() < 8 => self.add_image(),
            26 if self.known.len() > 1 => self.delete_image(&image),
            27 => {
                self.log("another build of the library");
                self.lab.swap_library();
            }
            28..=31 => self.damage_table(),
            32..=34 => self.damage_marker(&image),
            35 => self.break_params(&image),
            36 => self.unrelated(&image),
            37 if self.random.u32(0..3) == 0 => self.lose_table(),
            38 | 39 => self.back_up_or_restore(&image),
            _ => {}
        }
    }

    /// Writes a file, in place or by rename, and keeps what was there.
    fn put(&mut self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.data.key(key);
        if let Ok(old) = fs::read(&path) {
            self.earlier.entry(key.to_owned()).or_default().push(old);
        }
        if self.random.bool() {
            self.data.put(key, bytes);
        } else {
            let half = format!("{key}.half");
            self.data.put(&half, bytes);
            fs::rename(self.data.key(&half), path).expect("rename");
        }
    }

    fn remove(&mut self, key: &str) {
        if let Ok(old) = fs::read(self.data.key(key)) {
            self.earlier.entry(key.to_owned()).or_default().push(old);
            self.data.remove(key);
        }
    }

    fn edit_artifact(&mut self, image: &str) {
        let key = |name: &str| format!("images/{image}/{name}");
        match self.random.u32(0..12) {
            kind @ 0..=4 => {
                let name = key(if kind % 2 == 0 { "analysis/a.json" } else { "analysis/deep/b.json" });
                let value = match self.random.u32(0..12) {
                    0 => json!({"fail": true}),
                    1 => json!({"rows": 0}),
                    n @ 2..=4 => json!({"v": n, "rows": n + 2}),
                    n => json!({"v": n % 4}),
                };
                self.log(format!("{name}: {value}"));
                let text = if self.random.bool() { value.to_string() } else { format!("{value:#}") };
                self.put(&name, text);
            }
            5 | 6 => {
                let names = ["analysis/a.json", "analysis/deep/b.json", "analysis/t.parquet", "analysis/t.csv.gz"];
                let name = key(self.choose::<&str>(&names));
                self.log(format!("remove {name}"));
                self.remove(&name);
            }
            7 | 8 => {
                let name = key("analysis/t.parquet");
                let rows = self.random.usize(0..3);
                let seed = f64::from(self.random.u32(0..3));
                self.log(format!("{name}: {rows} rows of {seed}"));
                self.put(&name, parquet_bytes(&events(rows, seed), Compression::SNAPPY));
            }
            9 => {
                let name = key("analysis/t.csv.gz");
                let cell = self.random.u32(0..3);
                self.log(format!("{name}: {cell}"));
                self.put(&name, gzip(format!("x,y\n{cell},a\n").as_bytes()));
            }
            10 => {
                let value = self.random.u8(0..3);
                self.log(format!("pixels of {image}: {value}"));
                self.put(&key("data/0.0"), [value; 24]);
            }
            _ => {
                let value = self.random.u8(0..3);
                let base = key("analysis_arrays/x");
                self.log(format!("{base}: {value}"));
                let array = json!({
                    "chunks": [2], "compressor": null, "dtype": "|u1", "fill_value": 0, "filters": null, "order": "C",
                    "shape": [4], "zarr_format": 2
                });
                if !self.data.key(&format!("{base}/data/.zarray")).exists() {
                    self.data.put_json(&key("analysis_arrays/.zgroup"), &json!({"zarr_format": 2}));
                    self.data.put_json(&format!("{base}/.zgroup"), &json!({"zarr_format": 2}));
                    self.data.put_json(&format!("{base}/.zattrs"), &json!({"axes": ["a0"]}));
                    self.data.put_json(&format!("{base}/data/.zarray"), &array);
                }
                let chunk = self.random.u8(0..2);
                self.put(&format!("{base}/data/{chunk}"), [value; 2]);
            }
        }
    }

    fn edit_params(&mut self, image: &str) {
        let orders = [
            json!(["json", "a"]),
            json!(["json", "deep/b"]),
            json!(["table", "t"]),
            json!(["parquet", "t"]),
            json!(["csv", "t"]),
            json!(["array", "x"]),
            json!(["pixels"]),
            json!(["attributes"]),
            json!(["list"]),
        ];
        let read: Vec<Value> = (0..self.random.u32(0..5)).map(|_| self.choose(&orders).clone()).collect();
        let mut params = json!({"read": read});
        for flag in ["scale", "float", "extra"] {
            if self.random.u32(0..3) == 0 {
                params[flag] = true.into();
            }
        }
        match self.random.u32(0..10) {
            0 => params["fail"] = true.into(),
            1 => params["rows"] = 0.into(),
            n @ 2..=4 => params["rows"] = n.into(),
            _ => {}
        }
        self.log(format!("params of {image}: {params}"));
        self.put(&format!("images/{image}/analysis/reader/params.json"), params.to_string());
    }

    fn edit_scale(&mut self, image: &str) {
        let value = json!({"s": self.random.u32(0..2)});
        let text = if self.random.bool() { value.to_string() } else { format!("{value:#}\n") };
        self.log(format!("scale of {image}: {text:?}"));
        self.put(&format!("images/{image}/analysis/reader/scale.json"), text);
    }

    /// Files that extractions can read, of one image.
    fn files_of(&self, image: &str) -> Vec<String> {
        let prefix = format!("images/{image}/");
        let files = judge::files(&self.data).into_iter();
        files.filter(|name| name.starts_with(&prefix) && !name.ends_with('/') && !name.contains(MARKER)).collect()
    }

    fn touch(&mut self, image: &str) {
        let files = self.files_of(image);
        let key = self.choose(&files).clone();
        let time = match self.random.u32(0..3) {
            0 => SystemTime::now(),
            1 => SystemTime::now() - Duration::from_secs(86_400 * 365),
            _ => SystemTime::now() + Duration::from_secs(3600),
        };
        self.log(format!("touch {key}"));
        let file = fs::File::open(self.data.key(&key)).expect("a file");
        file.set_times(fs::FileTimes::new().set_modified(time)).expect("set times");
    }

    fn rewrite_same(&mut self, image: &str) {
        let files = self.files_of(image);
        let key = self.choose(&files).clone();
        self.log(format!("the same bytes again: {key}"));
        let bytes = fs::read(self.data.key(&key)).expect("a file");
        self.put(&key, bytes);
    }

    fn revert(&mut self, image: &str) {
        let prefix = format!("images/{image}/");
        let keys: Vec<String> = self.earlier.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        if keys.is_empty() {
            return;
        }
        let key = self.choose(&keys).clone();
        let contents = self.earlier[&key].clone();
        let content = self.choose(&contents).clone();
        self.log(format!("earlier bytes again: {key}"));
        self.put(&key, content);
    }

    /// Other content of the same length, with the earlier time of last change.
    fn disguise(&mut self, image: &str) {
        let key = format!("images/{image}/analysis/a.json");
        let path = self.data.key(&key);
        let Ok(text) = fs::read_to_string(&path) else { return };
        let Some(at) = text.find(|c: char| c.is_ascii_digit()) else { return };
        let mut bytes = text.into_bytes();
        bytes[at] = b'0' + (bytes[at] - b'0' + 1) % 4;
        let modified = fs::metadata(&path).and_then(|meta| meta.modified()).expect("a time");
        self.log(format!("other content under the old time: {key}"));
        self.put(&key, bytes);
        let file = fs::File::open(&path).expect("a file");
        file.set_times(fs::FileTimes::new().set_modified(modified)).expect("set times");
    }

    fn gzip_or_not(&mut self, image: &str) {
        let plain = format!("images/{image}/analysis/a.json");
        let packed = format!("{plain}.gz");
        if let Ok(bytes) = fs::read(self.data.key(&plain)) {
            self.log(format!("{plain} becomes {packed}"));
            self.put(&packed, gzip(&bytes));
            self.remove(&plain);
        } else if self.data.key(&packed).exists() {
            self.log(format!("remove {packed}"));
            self.remove(&packed);
        }
    }

    fn change_attributes(&mut self, image: &str, change: impl FnOnce(&mut Value)) {
        let key = format!("images/{image}/.zattrs");
        let bytes = fs::read(self.data.key(&key)).expect("attributes");
        let mut attributes: Value = serde_json::from_slice(&bytes).expect("JSON");
        change(&mut attributes);
        self.put(&key, format!("{attributes:#}"));
    }

    fn updated_utc(&mut self, image: &str) {
        self.log(format!("updated_utc of {image}"));
        let second = self.random.u32(10..60);
        self.change_attributes(image, |attributes| {
            attributes["updated_utc"] = format!("2026-03-01T00:00:{second}Z").into();
        });
    }

    fn attribute(&mut self, image: &str) {
        let value = self.random.u32(0..3);
        self.log(format!("attribute 'note' of {image}: {value}"));
        self.change_attributes(image, |attributes| attributes["note"] = value.into());
    }

    fn unrelated(&mut self, image: &str) {
        let key = format!("images/{image}/analysis/other-{}.json", self.random.u32(0..2));
        self.log(format!("{key} comes or goes"));
        if self.data.key(&key).exists() {
            self.data.remove(&key);
        } else {
            self.data.put(&key, "{}");
        }
    }

    fn break_params(&mut self, image: &str) {
        let key = format!("images/{image}/analysis/reader/params.json");
        if self.data.key(&key).exists() {
            self.log(format!("half of {key}"));
            let bytes = fs::read(self.data.key(&key)).expect("params");
            self.put(&key, &bytes[..bytes.len() / 2]);
        }
    }

    fn delete_image(&mut self, image: &str) {
        self.log(format!("delete image {image}"));
        self.data.remove(&format!("images/{image}"));
        self.known.remove(image);
        let prefix = format!("images/{image}/");
        self.earlier.retain(|key, _| !key.starts_with(&prefix));
        self.gone.push(image.to_owned());
    }

    /// Copies an image's folder, marker and all, or puts an earlier copy in its place, as one does with a backup.
    fn back_up_or_restore(&mut self, image: &str) {
        let folder = self.data.key(&format!("images/{image}"));
        let known = self.known.get_mut(image).expect("an image that is there");
        match self.copies.remove(image) {
            None => {
                let copy = self.lab.fresh("backup");
                copy_tree(&folder, &copy);
                self.copies.insert(image.to_owned(), (copy, known.old_rules));
                self.log(format!("back up {image}"));
            }
            Some((copy, old_rules)) => {
                fs::remove_dir_all(&folder).expect("remove the image");
                copy_tree(&copy, &folder);
                known.marker_damaged = true;
                known.old_rules = old_rules;
                self.log(format!("restore {image} from its backup"));
            }
        }
    }

    fn damage_table(&mut self) {
        let path = self.data.key(TABLE);
        if !path.exists() || self.torn_table {
            return;
        }
        let table = damage::read(&path);
        let rows = table.num_rows();
        let groups = self.random.usize(1..8);
        let all: Vec<usize> = (0..rows).collect();
        let image_of = damage::image_of_rows(&table);
        let changed: Option<RecordBatch> = match self.random.u32(0..8) {
            0 => Some(table.clone()),
            1 => Some(damage::retyped(&table, "place")),
            2 => {
                let mut places = all;
                places.sort_by(|a, b| image_of[*b].cmp(&image_of[*a]));
                self.log("images in another order");
                Some(damage::rows_at(&table, &places))
            }
            _ if rows == 0 => None,
            3 => {
                let lost = self.random.usize(..rows);
                self.log(format!("row {lost} of {} lost", image_of[lost]));
                Some(damage::rows_at(&table, &all.into_iter().filter(|row| *row != lost).collect::<Vec<_>>()))
            }
            4 => {
                let doubled = self.random.usize(..rows);
                self.log(format!("row {doubled} of {} doubled", image_of[doubled]));
                let mut places = all;
                places.insert(doubled, doubled);
                Some(damage::rows_at(&table, &places))
            }
            5 => {
                let lost = image_of[self.random.usize(..rows)].clone();
                self.log(format!("all rows of {lost} lost"));
                Some(damage::rows_at(&table, &all.into_iter().filter(|row| image_of[*row] != lost).collect::<Vec<_>>()))
            }
            _ => {
                let columns = ["digest", "value", "place", "note", "params_hash", "analysis_version", "extra"];
                let column = *self.choose(&columns);
                let row = self.random.usize(..rows);
                let missing = self.random.u32(0..4) == 0;
                let salt = self.random.i64(0..1 << 40);
                self.log(format!("{column} of row {row} of {} altered (missing: {missing})", image_of[row]));
                damage::altered(&table, column, row, missing, salt)
            }
        };
        if let Some(table) = changed {
            self.log(format!("the table is written again, {} rows instead of {rows}", table.num_rows()));
            damage::write(&path, &table, groups);
        }
    }

    fn lose_table(&mut self) {
        let path = self.data.key(TABLE);
        let Ok(bytes) = fs::read(&path) else { return };
        if self.random.bool() {
            self.log("the table is deleted");
            fs::remove_file(path).expect("remove the table");
            self.torn_table = false;
        } else {
            self.log("the table is torn");
            fs::write(path, &bytes[..self.random.usize(..bytes.len())]).expect("tear the table");
            self.torn_table = true;
        }
    }

    fn damage_marker(&mut self, image: &str) {
        let key = self.data.image(image).key(&format!("{MARKER}.json"));
        let path = self.data.key(&key);
        let Ok(bytes) = fs::read(&path) else { return };
        let what = self.random.u32(0..5);
        let known = self.known.get_mut(image).expect("an image that is there");
        match what {
            0 => {
                known.marker_damaged = true;
                fs::remove_file(path).expect("remove the marker");
            }
            1 => {
                known.marker_damaged = true;
                fs::write(path, &bytes[..self.random.usize(..bytes.len())]).expect("tear the marker");
            }
            2 | 3 => {
                let Ok(Value::Object(mut marker)) = serde_json::from_slice::<Value>(&bytes) else { return };
                known.old_rules = true;
                marker.remove("kymhost");
                fs::write(path, format!("{:#}", Value::Object(marker))).expect("another marker");
            }
            _ => fs::write(path, bytes).expect("the same marker"),
        }
        let words = ["deleted", "torn", "Python's", "Python's", "written again"];
        self.log(format!("marker of {image}: {}", words[what as usize]));
    }

    // Runs.

    fn step(&mut self) {
        let end = match self.random.u32(0..13) {
            0..=7 => End::Whole,
            8 | 9 => End::Fault(self.random.u64(1..CHANGES), "KILL"),
            10 => End::Fault(self.random.u64(1..CHANGES), "EIO"),
            11 => End::Fault(self.random.u64(1..CHANGES), "ENOSPC"),
            _ => End::KilledAfter(Duration::from_millis(self.random.u64(1..80))),
        };
        let replace = self.random.u32(0..8) == 0;
        let only = (self.random.u32(0..6) == 0).then(|| self.some_image());
        if self.torn_table {
            return self.repair_table();
        }
        let before = snapshot(self.data.path());
        let truth = self.lab.truth(&self.data, &self.story());
        let verdicts = self.lab.status(&self.data, &self.story());
        assert_untouched(&before, &snapshot(self.data.path()));
        let found = judge::rows(&self.data, &self.story());
        let clean = self.expect_truth(&verdicts, &found, &truth);

        let log = self.lab.fresh("log");
        let mut run = self.lab.run(&self.data).env("KYMHOST_READER_LOG", &log);
        if replace {
            run = run.args(["--mode", "replace"]);
        }
        if let Some(image) = &only {
            run = run.args(["--image", image]);
        }
        if self.random.u32(0..3) == 0 {
            run = run.arg("--in-process");
        }
        if self.random.u32(0..3) == 0 {
            run = run.args(["--checkpoint", "0"]);
        }
        self.log(format!("run, {}, of {only:?}, {end:?}", if replace { "replace" } else { "incremental" }));
        let done = match end {
            End::Whole => Some(run.output()),
            End::Fault(number, fault) => {
                let output = run.env("KYMHOST_FAULT", format!("{number}:{fault}")).output();
                judge::expect_no_panic(&output, &self.story());
                (output.code() == Some(0)).then_some(output)
            }
            End::KilledAfter(moment) => {
                let mut child = run.start(self.lab.path());
                std::thread::sleep(moment);
                let _ = child.kill();
                wait(&mut child, Duration::from_secs(60));
                None
            }
        };
        let extracted = extracted(&log);
        let after = judge::rows(&self.data, &self.story());
        match done {
            Some(output) => {
                let failed = judge::failed(&output);
                let expected = if failed.is_empty() { 0 } else { 3 };
                assert_eq!(output.code(), Some(expected), "{}{output}", self.story());
                self.after_whole_run(
                    replace,
                    only.as_deref(),
                    &verdicts,
                    &clean,
                    &extracted,
                    &failed,
                    &found,
                    &after,
                    &truth,
                );
                // A run with nothing to do writes nothing, so it leaves what a killed run left.
                let document = output.json();
                let has_written = document["commits"] != 0 || document["freshened"] != 0;
                let strays = judge::strays(&self.data);
                let is_clean = strays.is_empty() || end != End::Whole || !has_written;
                assert!(is_clean, "{}left: {strays:?}\n{output}", self.story());
            }
            None => {
                self.log("(it did not end well)");
                judge::expect_unmixed(&after, &found, &with_old(&truth, &found), &self.story());
                for (image, known) in &mut self.known {
                    if replace || !clean.contains(image) {
                        known.good = None;
                        known.has_failed = false;
                    }
                }
            }
        }
        let verdicts = self.lab.status(&self.data, &self.story());
        self.expect_truth(&verdicts, &after, &truth);
    }

    /// Checks what `status` says against the truth; gives the images that it would be needless to extract.
    #[track_caller]
    fn expect_truth(&self, verdicts: &Verdicts, found: &Rows, truth: &Truth) -> BTreeSet<String> {
        let story = self.story();
        let mut clean = BTreeSet::new();
        assert_eq!(
            verdicts.0.keys().collect::<Vec<_>>(),
            self.known.keys().collect::<Vec<_>>(),
            "{story}images judged"
        );
        for (image, known) in &self.known {
            let rows = judge::of(found, image);
            let fresh = verdicts.reason(image).starts_with("FRESH_");
            if fresh && !self.may_go_unseen(image, rows) {
                judge::expect_truly_fresh(image, verdicts, found, truth, &story);
            }
            let reason = verdicts.reason(image);
            assert!(
                !known.has_failed || ["STALE_LAST_RUN_FAILED", "STALE_UNREADABLE"].contains(&reason),
                "{story}the last run failed at {image}, and status says {reason}"
            );
            let Some(good) = &known.good else { continue };
            if !known.marker_damaged
                && good.rows == rows
                && signature(&self.data, image).as_ref() == Some(&good.signature)
            {
                assert!(fresh, "{story}nothing of {image} has changed, and status says {}", verdicts.reason(image));
                clean.insert(image.clone());
            }
        }
        clean
    }

    /// Whether the old rules, which alone judge an image with a marker of Python's, say fresh whatever else has
    /// changed.
    fn may_go_unseen(&self, image: &str, rows: &[Row]) -> bool {
        if !self.known[image].old_rules {
            return false;
        }
        let marker = fs::read(self.data.key(&self.data.image(image).key(&format!("{MARKER}.json"))));
        let marker: Value = marker.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let Some(hash) = judge::current_params_hash(&self.data, image) else { return false };
        marker["params_hash"] == hash.as_str()
            && marker["n_rows"] == rows.len()
            && rows.iter().all(|row| row["params_hash"] == hash.as_str() && row["analysis_version"] == judge::VERSION)
    }

    #[allow(clippy::too_many_arguments)]
    fn after_whole_run(
        &mut self,
        replace: bool,
        only: Option<&str>,
        verdicts: &Verdicts,
        clean: &BTreeSet<String>,
        extracted: &[String],
        failed: &BTreeSet<String>,
        found: &Rows,
        after: &Rows,
        truth: &Truth,
    ) {
        let story = self.story();
        let once: BTreeSet<String> = extracted.iter().cloned().collect();
        assert_eq!(once.len(), extracted.len(), "{story}extracted more than once: {extracted:?}");
        let mut stale = if replace { truth.images.clone() } else { verdicts.stale() };
        stale.retain(|image| only.is_none_or(|only| only == image));
        let tried: BTreeSet<String> = once.union(failed).cloned().collect();
        assert_eq!(tried, stale, "{story}what was tried (left) and what status called stale (right)");
        for image in &once {
            assert!(replace || !clean.contains(image), "{story}needless extraction of {image}");
        }
        assert_eq!(*failed, truth.failing.intersection(&stale).cloned().collect(), "{story}failures (left: the run's)");
        for image in after.keys().filter(|_| only.is_none()) {
            assert!(self.known.contains_key(image), "{story}rows of {image}, which is not in the dataset");
        }
        for (image, known) in &mut self.known {
            let now = judge::of(after, image);
            if failed.contains(image) {
                assert_eq!(now, judge::of(found, image), "{story}{image} failed and did not keep its rows");
                known.good = None;
                known.has_failed = true;
            } else if once.contains(image) {
                assert_eq!(now, judge::of(&truth.rows, image), "{story}{image} was extracted (left: in the table)");
                let signature = signature(&self.data, image).expect("the params were read");
                *known = Known { good: Some(Good { signature, rows: now.to_vec() }), ..Known::default() };
            } else {
                assert_eq!(now, judge::of(found, image), "{story}rows of {image} changed, which was fresh");
            }
        }
    }

    /// A table that cannot be read: nothing is done but a replace.
    fn repair_table(&mut self) {
        let before = snapshot(self.data.path());
        let story = self.story();
        for run in [self.lab.run(&self.data), self.lab.command(&self.data, &["status"])] {
            let output = run.output();
            assert_eq!(output.code(), Some(5), "{story}a torn table\n{output}");
        }
        assert_untouched(&before, &snapshot(self.data.path()));
        let truth = self.lab.truth(&self.data, &story);
        let output = self.lab.run(&self.data).args(["--mode", "replace"]).output();
        if output.code() == Some(5) {
            // No image can be extracted, so there is nothing to make the table from: nothing is written.
            assert_eq!(truth.failing, judge::images(&self.data), "{story}{output}");
            assert_untouched(&before, &snapshot(self.data.path()));
            self.log("no image can be extracted; a person removes the table");
            fs::remove_file(self.data.path().join(TABLE)).expect("the torn table");
            self.torn_table = false;
            self.known.values_mut().for_each(|known| known.good = None);
            return;
        }
        let failed = judge::failed(&output);
        assert_eq!(output.code(), Some(if failed.is_empty() { 0 } else { 3 }), "{story}{output}");
        assert_eq!(failed, truth.failing, "{story}{output}");
        self.log("a run in replace mode makes the table again");
        self.torn_table = false;
        let after = judge::rows(&self.data, &story);
        judge::expect_up_to_date(&after, &Rows::new(), &truth, &story);
        for (image, known) in &mut self.known {
            known.good = None;
            known.has_failed = failed.contains(image);
            if !known.has_failed {
                *known = Known::default();
                let signature = signature(&self.data, image).expect("the params were read");
                known.good = Some(Good { signature, rows: judge::of(&after, image).to_vec() });
            }
        }
    }
}

/// The rows of a new extraction, or the earlier ones if there can be none.
fn with_old(truth: &Truth, old: &Rows) -> Rows {
    let mut rows = truth.rows.clone();
    for image in &truth.failing {
        rows.insert(image.clone(), judge::of(old, image).to_vec());
    }
    rows
}

/// The images that a run's extractions were of, from the file that the indexer wrote.
fn extracted(log: &Path) -> Vec<String> {
    fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// What an extraction of the image would read now, by code that knows nothing of the host; `None` where the
/// params are broken.
fn signature(data: &Fixture, image: &str) -> Option<Signature> {
    let base = data.key(&format!("images/{image}"));
    let mut found = Signature::new();
    let first = |found: &mut Signature, names: &[String]| {
        for name in names {
            if let Ok(bytes) = fs::read(base.join("analysis").join(name)) {
                found.insert(name.clone(), bytes);
                return;
            }
            found.insert(name.clone(), b"\0absent".to_vec());
        }
    };
    first(&mut found, &["reader/params.json".into(), "reader/params.json.gz".into()]);
    found.insert("\0hash".into(), judge::current_params_hash(data, image)?.into_bytes());
    let params: Value = match found.get("reader/params.json").filter(|bytes| *bytes != b"\0absent") {
        Some(bytes) => serde_json::from_slice(bytes).ok()?,
        None => json!({}),
    };
    for order in params["read"].as_array().into_iter().flatten() {
        let name = order[1].as_str().unwrap_or_default();
        match order[0].as_str().unwrap_or_default() {
            "json" => first(&mut found, &[format!("{name}.json"), format!("{name}.json.gz")]),
            "table" => first(&mut found, &[format!("{name}.parquet"), format!("{name}.csv.gz")]),
            "parquet" => first(&mut found, &[format!("{name}.parquet")]),
            "csv" => first(&mut found, &[format!("{name}.csv.gz")]),
            "array" => array(&base.join("analysis_arrays").join(name), name, &mut found),
            "pixels" => array(&base, "\0pixels", &mut found),
            "attributes" => {
                let bytes = fs::read(base.join(".zattrs")).unwrap_or_default();
                let mut value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                if let Some(members) = value.as_object_mut() {
                    members.remove("updated_utc");
                }
                found.insert("\0attributes".into(), value.to_string().into_bytes());
            }
            "list" => {
                let names = judge::files(&Fixture::at(&base));
                let artifacts = names.into_iter().filter(|name| {
                    name.starts_with("analysis") && !name.ends_with('/') && !name.contains(MARKER)
                        // A chunk is not an artifact.
                        && (!name.starts_with("analysis_arrays") || name.ends_with("data/.zarray"))
                });
                found.insert("\0list".into(), artifacts.collect::<Vec<_>>().join("\n").into_bytes());
            }
            _ => {}
        }
    }
    Some(found)
}

fn array(group: &Path, name: &str, found: &mut Signature) {
    let axes = fs::read(group.join(".zattrs")).unwrap_or_default();
    let axes: Value = serde_json::from_slice(&axes).unwrap_or_default();
    found.insert(format!("{name} axes"), axes["axes"].to_string().into_bytes());
    for file in judge::files(&Fixture::at(group.join("data"))) {
        let bytes = fs::read(group.join("data").join(&file)).unwrap_or_default();
        found.insert(format!("{name} {file}"), bytes);
    }
}
