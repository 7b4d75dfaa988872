//! Measuring whole processes: time, peak memory, the machine.
//!
//! Times and watches a process, and gives medians and a line about the machine. It does not decide what runs or
//! how long it should take.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What goes wrong when measuring ends the benchmark.
pub type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How often the process tree is looked at while memory is measured.
const LOOK: Duration = Duration::from_millis(1);

/// Several measurements of one thing.
#[derive(Debug, Default)]
pub struct Times(pub Vec<Duration>);

impl Times {
    /// The shortest.
    pub fn best(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    /// The one in the middle.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Runs a process to its end, in the folder `home` and with an empty environment: the time, the peak memory in KiB if
/// asked for, and what it printed.
pub fn process(home: &Path, command: &mut Command, memory: bool) -> Result<(Duration, u64, Vec<u8>)> {
    command.env_clear().env("HOME", home).current_dir(home);
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

/// A line for who waits.
pub fn say(text: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(())
}

/// The machine and the file system that a folder is on, in one line.
pub fn heading(report: &mut String, folder: &Path) -> Result<()> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unnamed processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "dev build: NOT FOR COMPARING" } else { "release build" };
    writeln!(report, "{model}, {cores} cores, Linux {}, {}, {build}\n", kernel.trim(), file_system(folder))?;
    Ok(())
}

/// The file system that a folder is on.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let mount = mounts.filter(|(at, _)| folder.starts_with(at)).max_by_key(|(at, _)| at.len());
    mount.map_or_else(|| "an unknown file system".into(), |(_, kind)| kind.to_owned())
}

/// A time in milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
