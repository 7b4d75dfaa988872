//! What reads damaged files.

use crate::{damage, template};
use kymhost::dataset::{Dataset, Payload};
use kymhost::index::{Compat, Observer, VerifyOptions, status, verify};
use kymhost::ingest::{self, IngestObserver, IngestOptions};
use kymhost::plugin::{Place, PoolOptions, SearchPath, find_plugin, open_pool, read_card_file};
use kymhost::store::LocalStore;
use kymhost_plugin_api::Json;
use kymhost_tests::{Run, TestDir, library};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often the built program reads what the library has read: it takes some hundred times as long.
const PROGRAM_EVERY: u64 = 200;

/// A damaged file.
pub(crate) struct Input {
    /// The file that it takes the place of.
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    path: PathBuf,
    whole: Vec<u8>,
}

/// Something that reads files.
pub(crate) trait Target {
    fn name(&self) -> &'static str;
    /// A new input, in its place.
    fn next(&mut self, random: &mut fastrand::Rng) -> Input;
    /// Reads it; an error is a rule that was broken.
    fn read(&mut self, input: &Input) -> Result<(), String>;
    /// Puts the whole file back.
    fn restore(&mut self, input: &Input) {
        fs::write(&input.path, &input.whole).expect("the file as it was");
    }
}

pub(crate) fn all() -> Result<Vec<Box<dyn Target>>, Box<dyn Error>> {
    Ok(vec![
        Box::new(Files::new("dataset", |folder| template::dataset(&folder.join("d.zarr")).map(drop), read_dataset)?),
        Box::new(Files::new("recordings", |folder| template::recordings(&folder.join("scans")), read_recordings)?),
        Box::new(Files::new("card", small_library, read_card)?),
        Box::new(Files::new("lock", lock_file, read_lock)?),
        Box::new(Files::new("text", texts, read_text)?),
    ])
}

/// Reads what is in a folder, as the n-th input.
type Read = fn(&Path, u64) -> Result<(), String>;

/// Files in a folder, read by one function.
struct Files {
    name: &'static str,
    dir: TestDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    others: Vec<Vec<u8>>,
    read: Read,
    turn: u64,
}

impl Files {
    fn new(
        name: &'static str,
        make: fn(&Path) -> Result<(), Box<dyn Error>>,
        read: Read,
    ) -> Result<Self, Box<dyn Error>> {
        let dir = TestDir::in_memory();
        make(dir.path())?;
        let mut files = Vec::new();
        for path in template::files(dir.path())? {
            files.push((path.clone(), fs::read(path)?));
        }
        let others = files.iter().map(|(_, bytes)| bytes.clone()).filter(|bytes| bytes.len() < 1 << 20).collect();
        Ok(Self { name, dir, files, others, read, turn: 0 })
    }
}

impl Target for Files {
    fn name(&self) -> &'static str {
        self.name
    }

    fn next(&mut self, random: &mut fastrand::Rng) -> Input {
        let (path, whole) = &self.files[random.usize(..self.files.len())];
        let file = path.strip_prefix(self.dir.path()).unwrap_or(path).display().to_string();
        let bytes = damage::damaged(random, &file, whole, &self.others);
        fs::write(path, &bytes).expect("a damaged file");
        Input { file, bytes, path: path.clone(), whole: whole.clone() }
    }

    fn read(&mut self, _: &Input) -> Result<(), String> {
        self.turn += 1;
        (self.read)(self.dir.path(), self.turn)
    }
}

/// Everything that reads a dataset without writing. Errors are what is expected.
fn read_dataset(folder: &Path, turn: u64) -> Result<(), String> {
    let root = folder.join("d.zarr");
    let store = LocalStore::open(&root).map_err(|error| error.to_string())?;
    let _ = kymhost::dataset::validate(Arc::new(store));
    if let Ok(dataset) = Dataset::open(&root) {
        let _ = (dataset.info(), dataset.view(), dataset.check_manifest());
        for image in dataset.image_ids().unwrap_or_default() {
            let Ok(record) = dataset.record(&image) else { continue };
            let _ = (record.pixels(), record.attributes(), record.attributes_text());
            for artifact in record.artifacts().unwrap_or_default() {
                let _ = Payload::kept(&record, &artifact.name, artifact.kind);
            }
        }
        let plugin = find_plugin(&library("velocity_events").to_string_lossy(), &SearchPath::default());
        let plugin = plugin.map_err(|error| error.to_string())?;
        let options = PoolOptions { in_process: true, jobs: 1, ..PoolOptions::default() };
        let mut pool = open_pool(&plugin, &dataset, &options).map_err(|error| error.to_string())?;
        let _ = status(&dataset, &plugin.indexer, pool.as_mut(), Compat::default(), None);
        let _ = verify(&dataset, &plugin.indexer, pool.as_mut(), &VerifyOptions::default(), &mut Quiet);
    }
    if turn.is_multiple_of(PROGRAM_EVERY) { run_program(folder, &root) } else { Ok(()) }
}

/// The built program over a copy: its exit codes are documented, and neither 1 (a bug) nor a signal is among them.
fn run_program(folder: &Path, root: &Path) -> Result<(), String> {
    let copy = folder.join("copy.zarr");
    kymhost_tests::copy_tree(root, &copy);
    let commands: [&[&str]; 6] =
        [&["status"], &["run"], &["verify"], &["table", "show", "velocity_events"], &["dataset", "validate"], &["run"]];
    let mut result = Ok(());
    for words in commands {
        let mut run = Run::new(words).env("KYMHOST_DATASET", &copy);
        if ["status", "run", "verify"].contains(&words[0]) {
            run = run.arg("--plugin").arg(library("velocity_events"));
        }
        let output = run.output();
        if !matches!(output.code(), Some(0 | 3 | 4 | 5 | 6 | 10)) {
            result = Err(format!("`kymhost {}` ended badly\n{output}", words.join(" ")));
            break;
        }
    }
    fs::remove_dir_all(&copy).expect("no copy is left");
    result
}

/// Nobody watches.
struct Quiet;
impl IngestObserver for Quiet {}
impl Observer for Quiet {}

fn read_recordings(folder: &Path, _: u64) -> Result<(), String> {
    let paths = [folder.join("scans")];
    if let Ok(found) = ingest::find(&paths, &folder.join("d.zarr")) {
        let options = IngestOptions { jobs: 1, reingest: true, dry_run: true, stop: Arc::default() };
        let _ = ingest::ingest(None, found, &options, &mut Quiet);
    }
    Ok(())
}

/// A library in C has some kilobytes: most of what is damaged is its card and the tables that lead there.
fn small_library(folder: &Path) -> Result<(), Box<dyn Error>> {
    let library = kymhost_tests::c::intensity_c().ok_or("there is no C compiler")?;
    Ok(fs::copy(library, folder.join("lib.so")).map(drop)?)
}

fn read_card(folder: &Path, _: u64) -> Result<(), String> {
    let _ = read_card_file(&folder.join("lib.so"));
    Ok(())
}

fn lock_file(folder: &Path) -> Result<(), Box<dyn Error>> {
    let plugin = library("radon");
    let words = ["plugin", "add"];
    let output = Run::new(words).arg(&plugin).env("XDG_DATA_HOME", folder.join("home")).output();
    output.expect_code(0);
    fs::rename(folder.join("home/kymhost/plugins.lock.json"), folder.join("plugins.lock.json"))?;
    Ok(fs::remove_dir_all(folder.join("home"))?)
}

fn read_lock(folder: &Path, _: u64) -> Result<(), String> {
    let store = LocalStore::open(folder).map_err(|error| error.to_string())?;
    let _ = Place::of_user(&store).read();
    Ok(())
}

fn texts(folder: &Path) -> Result<(), Box<dyn Error>> {
    fs::write(folder.join("a.json"), "{\"a\": [1, -2.5e3, true, null, \"\\u00e9\"], \"b\": {\"c\": [[], {}]}}")?;
    fs::write(folder.join("a.csv"), "a,b,\"c \"\"d\"\"\"\n1,,x\n2,0.5,NaN\n\n3,1e400,\"y\nz\"\n")?;
    Ok(())
}

fn read_text(folder: &Path, _: u64) -> Result<(), String> {
    let read = |name: &str| fs::read(folder.join(name)).map_err(|error| error.to_string());
    if let Ok(value) = Json::parse(&read("a.json")?) {
        let text = kymhost_plugin_api::canonical_json(&value);
        let again = Json::parse(text.as_bytes()).map_err(|error| format!("{error}: {text}"))?;
        if kymhost_plugin_api::canonical_json(&again) != text {
            return Err("a JSON text is read otherwise once it was written".to_owned());
        }
    }
    let _ = kymhost_plugin_api::csv::parse(&read("a.csv")?);
    Ok(())
}
