//! How time and memory grow with the number of images: `cargo bench -p kymhost-tests --bench scale`.
//!
//! Owns: making datasets of several sizes, running whole processes in turn, the table that it prints.
//! Never: judges speed (it fails on errors alone), looks inside the program.
//!
//! `-- --images 100,1000,10000` chooses the sizes, `--repeat N` how often each run is measured.
//! `cargo bench --profile dev …` tries it out on the unoptimised build.

use kymhost_tests::fixture::{self, Fixture, image_id};
use parquet::basic::{Compression, ZstdLevel};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Rows that each image gives.
const ROWS: u64 = 3;
/// How often the process tree is looked at while memory is measured.
const LOOK: Duration = Duration::from_millis(1);

fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut report = String::new();
    heading(&mut report)?;
    let mut lines = Vec::new();
    for &images in &options.images {
        say(&format!("{images} images …"))?;
        lines.push(measure(images, options.repeat)?);
    }
    tables(&mut report, &lines)?;
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

struct Options {
    images: Vec<u64>,
    repeat: usize,
}

impl Options {
    fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { images: Vec::new(), repeat: 0 };
        let mut bench = false;
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // What cargo says when it benches; when it tests all targets it says nothing.
                "--bench" => bench = true,
                "--images" => {
                    let sizes = value()?.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>();
                    options.images = sizes?;
                }
                "--repeat" => options.repeat = value()?.parse()?,
                other => return Err(format!("unknown argument {other}; there are --images and --repeat").into()),
            }
        }
        let (images, repeat): (&[u64], usize) = if bench { (&[100, 1_000, 10_000], 9) } else { (&[20], 1) };
        if options.images.is_empty() {
            options.images = images.to_vec();
        }
        if options.repeat == 0 {
            options.repeat = repeat;
        }
        Ok(options)
    }
}

/// Several measurements of one thing.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn best(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// What was measured at one size.
struct Line {
    images: u64,
    floor: Times,
    nothing: Times,
    one: Times,
    /// The first replace of a new dataset, with no table and no markers.
    first: Duration,
    replace: Times,
    /// Peak memory in KiB: floor, nothing to do, one stale image, replace.
    memory: [u64; 4],
}

fn measure(images: u64, repeat: usize) -> Result<Line> {
    let home = tempfile::Builder::new().prefix("scale-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let dataset = home.path().join("scale.zarr");
    make(&dataset, images)?;
    let subject = Subject { home: home.path().to_path_buf(), dataset };
    // What making it left to be written is not the first run's to wait for.
    rustix::fs::sync();
    let first = subject.replace(images, false)?.0;
    let mut line = Line {
        images,
        floor: Times::default(),
        nothing: Times::default(),
        one: Times::default(),
        first,
        replace: Times::default(),
        memory: [0; 4],
    };

    let mut change = 0;
    for _ in 0..repeat.div_ceil(3) {
        line.replace.0.push(subject.replace(images, false)?.0);
    }
    subject.floor(false)?;
    subject.nothing(images, false)?;
    // In turn, so that whatever else the machine does meets both.
    for _ in 0..repeat {
        line.floor.0.push(subject.floor(false)?.0);
        line.nothing.0.push(subject.nothing(images, false)?.0);
        change += 1;
        subject.edit(images, change)?;
        line.one.0.push(subject.one(images, false)?.0);
    }
    // Looking at memory takes time of its own: in runs of their own, which are not timed.
    line.memory[0] = subject.floor(true)?.1;
    line.memory[1] = subject.nothing(images, true)?.1;
    subject.edit(images, change + 1)?;
    line.memory[2] = subject.one(images, true)?.1;
    line.memory[3] = subject.replace(images, true)?.1;
    Ok(line)
}

/// A dataset of so many images with params and three events each; the events are the same bytes in all.
fn make(path: &Path, images: u64) -> Result<()> {
    let rows = usize::try_from(ROWS)?;
    let events = fixture::parquet_bytes(&fixture::events(rows, 1.0), Compression::ZSTD(ZstdLevel::default()));
    let fixture = Fixture::new(path);
    for number in 0..images {
        let image = fixture.add_image(&image_id(number));
        image.params(&json!({"threshold": number, "window_s": 0.5, "method": "gradient"}));
        fixture.put(&image.key("velocity_events/events.parquet"), &events);
    }
    Ok(())
}

/// One dataset, and the runs over it.
struct Subject {
    home: PathBuf,
    dataset: PathBuf,
}

impl Subject {
    fn floor(&self, memory: bool) -> Result<(Duration, u64)> {
        let program = kymhost_tests::built().join(format!("kymhost-floor{}", std::env::consts::EXE_SUFFIX));
        let mut command = Command::new(program);
        command.arg(&self.dataset);
        let (time, memory, _) = self.process(&mut command, memory)?;
        Ok((time, memory))
    }

    fn nothing(&self, images: u64, memory: bool) -> Result<(Duration, u64)> {
        self.run("incremental", memory, &[("updated", 0), ("skipped", images), ("total_images", images)])
    }

    fn one(&self, images: u64, memory: bool) -> Result<(Duration, u64)> {
        self.run("incremental", memory, &[("updated", 1), ("skipped", images - 1), ("total_images", images)])
    }

    fn replace(&self, images: u64, memory: bool) -> Result<(Duration, u64)> {
        self.run("replace", memory, &[("updated", images), ("failed", 0), ("total_images", images)])
    }

    /// Gives the image in the middle other params.
    fn edit(&self, images: u64, change: u64) -> Result<()> {
        let id = image_id(images / 2);
        let path = self.dataset.join(format!("images/{id}/analysis/velocity_events/params.json"));
        fs::write(path, serde_json::to_string_pretty(&json!({"threshold": -1, "change": change}))?)?;
        Ok(())
    }

    /// A run of the program; an error where its figures are not these.
    fn run(&self, mode: &str, memory: bool, expected: &[(&str, u64)]) -> Result<(Duration, u64)> {
        let mut command = Command::new(kymhost_tests::program());
        command.args(["run", "--json", "--plugin", "velocity_events", "--mode", mode, "--dataset"]).arg(&self.dataset);
        let (time, memory, output) = self.process(&mut command, memory)?;
        let document: Value = serde_json::from_slice(&output)?;
        for (name, value) in expected {
            let found = document.pointer(&format!("/stats/{name}"));
            if found.and_then(Value::as_u64) != Some(*value) {
                return Err(format!("{mode}: {name} is not {value}: {document}").into());
            }
        }
        Ok((time, memory))
    }

    /// Runs a process to its end: the time, the peak memory if asked for, and what it printed.
    fn process(&self, command: &mut Command, memory: bool) -> Result<(Duration, u64, Vec<u8>)> {
        command.env_clear().env("HOME", &self.home).current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let child = command.spawn()?;
        let id = child.id();
        let ended = AtomicBool::new(false);
        let (output, time, memory) = std::thread::scope(|scope| {
            let watch = memory.then(|| scope.spawn(|| peak(id, &ended)));
            let output = child.wait_with_output();
            let time = begun.elapsed();
            ended.store(true, Ordering::Relaxed);
            let memory = watch.map_or(0, |watch| watch.join().unwrap_or_default());
            (output, time, memory)
        });
        let output = output?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{command:?} ended with {}\n{stderr}", output.status).into());
        }
        Ok((time, memory, output.stdout))
    }
}

/// The sum of the peaks (`VmHWM`, KiB) of a process and all that it started. Pages that several of them share count for
/// each, and their peaks need not fall together: the truth is at most this.
fn peak(root: u32, ended: &AtomicBool) -> u64 {
    let mut peaks: BTreeMap<u32, u64> = BTreeMap::new();
    while !ended.load(Ordering::Relaxed) {
        for process in tree(root) {
            if let Some(kib) = high_water(process) {
                let peak = peaks.entry(process).or_default();
                *peak = kib.max(*peak);
            }
        }
        std::thread::sleep(LOOK);
    }
    peaks.values().sum()
}

/// A process and all below it.
fn tree(root: u32) -> BTreeSet<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        // The program's name, in parentheses, may hold anything: what follows its last one is state and parent.
        let stat = id.and_then(|_| fs::read_to_string(entry.path().join("stat")).ok());
        let parent = stat
            .as_deref()
            .and_then(|stat| stat.rsplit_once(')'))
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(id.zip(parent));
    }
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        for (id, parent) in &parents {
            if found.contains(parent) {
                found.insert(*id);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn high_water(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn say(text: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(())
}

/// The machine, in one line.
fn heading(report: &mut String) -> Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unnamed processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "dev build: NOT FOR COMPARING" } else { "release build" };
    writeln!(report, "{model}, {cores} cores, Linux {}, {}, {build}\n", kernel.trim(), file_system())?;
    Ok(())
}

/// The file system that the datasets are on.
fn file_system() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let mount = mounts.filter(|(at, _)| folder.starts_with(at)).max_by_key(|(at, _)| at.len());
    mount.map_or_else(|| "an unknown file system".into(), |(_, kind)| kind.to_owned())
}

fn tables(report: &mut String, lines: &[Line]) -> Result<()> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let both = |times: &Times| format!("{:.1} / {:.1}", ms(times.best()), ms(times.median()));
    writeln!(report, "Time in ms, best / median:\n")?;
    writeln!(report, "| images | floor | nothing to do | one stale image | first replace | replace again |")?;
    writeln!(report, "| ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for line in lines {
        let cells = [&line.floor, &line.nothing, &line.one].map(both).join(" | ");
        let (first, again) = (ms(line.first), both(&line.replace));
        writeln!(report, "| {} | {cells} | {first:.1} | {again} |", line.images)?;
    }
    writeln!(report, "\nPeak memory in MiB, the program and its workers together:\n")?;
    writeln!(report, "| images | floor | nothing to do | one stale image | replace |")?;
    writeln!(report, "| ---: | ---: | ---: | ---: | ---: |")?;
    for line in lines {
        let cells = line.memory.map(|kib| format!("{:.1}", kib as f64 / 1024.0)).join(" | ");
        writeln!(report, "| {} | {cells} |", line.images)?;
    }
    writeln!(report)?;
    for line in lines {
        let bound = ms(line.floor.median()) * 2.0 + 20.0;
        let found = ms(line.nothing.median());
        let verdict = if found <= bound { "within" } else { "ABOVE" };
        let (images, factor) = (line.images, found / ms(line.floor.median()));
        writeln!(
            report,
            "{images} images, nothing to do: {found:.1} ms, {factor:.2} × the floor; {verdict} 2 × floor + 20 ms = {bound:.1} ms."
        )?;
    }
    let (Some(smallest), Some(largest)) = (lines.first(), lines.last()) else { return Ok(()) };
    type Measure = fn(&Line) -> Duration;
    let measures: [(&str, Measure); 2] =
        [("First replace", |line| line.first), ("Replace again", |line| line.replace.median())];
    for (what, time) in measures {
        let each = |line: &Line| ms(time(line)) * 1e3 / line.images as f64;
        let (small, large) = (each(smallest), each(largest));
        writeln!(
            report,
            "{what}, each image: {small:.0} µs of {} images, {large:.0} µs of {}: a factor of {:.2}.",
            smallest.images,
            largest.images,
            large / small
        )?;
    }
    Ok(())
}
