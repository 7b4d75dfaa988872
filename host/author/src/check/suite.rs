//! The suite as a whole: one process for each check, so many at once, and a report of how they ended.
//!
//! Owns: what is done in which order, times, what a process's death means. Never: loads the library itself.

use crate::check::check_list::Check;
use crate::check::options::Options;
use crate::check::report::{Checked, IndexerReport, Outcome, Report, Status};
use crate::check::samples::Samples;
use crate::check::sandbox::{Sandbox, Snapshot};
use crate::check::task::{Answer, Order, Started, Task, listen};
use crate::error::CheckError;
use kymhost_plugin::{PluginError, check_versions, read_card};
use kymhost_plugin_api::card::{Card, CardIndexer};
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Rounds in which it is learned what an indexer reads, at most.
const MAX_ROUNDS: usize = 12;
/// How often is looked whether to stop, or whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a process may take to end after its answer, where that is what is checked.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// How much of what a process said is shown.
const LAST_WORDS: usize = 300;

/// Checks a library. `tell` hears of each check as it ends, in the order of the report; first of those of the library, which
/// belong to no indexer.
///
/// # Errors
/// Where the suite itself cannot work: no room for its folders, no such dataset or indexer, an interrupt.
pub fn run(options: &Options, tell: &mut dyn FnMut(Option<&str>, &Checked)) -> Result<Report, CheckError> {
    let mut report = Report {
        library: options.library.clone(),
        seed: options.seed,
        is_loaded: false,
        checks: Vec::new(),
        indexers: Vec::new(),
    };
    let folder = tempfile::Builder::new()
        .prefix("kymhost-check-")
        .tempdir()
        .map_err(|error| CheckError::io("make a temporary folder", error))?;
    let library =
        std::path::absolute(&options.library).map_err(|error| CheckError::no_library(&options.library, error))?;
    let suite = Suite { options, library: &library, folder: folder.path(), made: AtomicUsize::new(0) };

    let (card, checks) = suite.library_checks()?;
    for checked in &checks {
        tell(None, checked);
    }
    report.is_loaded = checks.iter().all(|checked| checked.outcome.status == Status::Passed);
    report.checks = checks;
    let Some(card) = card.filter(|_| report.is_loaded) else { return Ok(report) };
    for indexer in suite.chosen(&card)? {
        let name = &indexer.name;
        let checks = suite.indexer_checks(indexer, &mut |checked| tell(Some(name), checked))?;
        report.indexers.push(IndexerReport { indexer: name.clone(), checks });
    }
    Ok(report)
}

struct Suite<'a> {
    options: &'a Options,
    library: &'a Path,
    folder: &'a Path,
    /// Sandboxes so far.
    made: AtomicUsize,
}

/// How a process ended.
enum End {
    /// With an answer; and how it ended after it, where that was waited for.
    Answer(Answer, Option<Result<ExitStatus, Duration>>),
    /// Without one.
    Died(ExitStatus),
    /// Not in time.
    TimedOut,
}

impl Suite<'_> {
    fn stopped(&self) -> Result<(), CheckError> {
        if self.options.stop.load(Ordering::Relaxed) { Err(CheckError::Interrupted) } else { Ok(()) }
    }

    /// The card, and the checks of the library as a whole, each only where the one before it holds.
    fn library_checks(&self) -> Result<(Option<Card>, Vec<Checked>), CheckError> {
        let mut checks = Vec::new();
        let mut add = |check: Check, outcome: Outcome, start: Instant| {
            checks.push(Checked { check, outcome, seconds: start.elapsed().as_secs_f64() });
        };
        let start = Instant::now();
        let card = match read_card(self.library) {
            Ok(card) => {
                let names: Vec<&str> = card.indexers.iter().map(|indexer| indexer.name.as_str()).collect();
                add(Check::Card, Outcome::passed(format!("lists {}", names.join(", "))), start);
                Some(card)
            }
            Err(error) => {
                add(Check::Card, refused(&error), start);
                None
            }
        };
        let start = Instant::now();
        let fits = card.as_ref().map(|card| check_versions(self.library, card));
        match (&fits, &card) {
            (Some(Ok(())), Some(card)) => {
                add(Check::Api, Outcome::passed(format!("plugin API {}, door {}", card.api, card.door)), start);
            }
            (Some(Err(error)), _) => add(Check::Api, refused(error), start),
            _ => add(Check::Api, Outcome::skipped("there is no card"), start),
        }
        let start = Instant::now();
        if !matches!(fits, Some(Ok(()))) {
            for check in [Check::Load, Check::CardAgrees] {
                add(check, Outcome::skipped("it is not loaded: see the checks before"), start);
            }
            return Ok((None, checks));
        }
        let empty = self.folder.join("empty");
        fs::create_dir_all(&empty).map_err(|error| CheckError::io("make a folder", error))?;
        let (end, sandbox) = self.process(Task::Load, "", &empty, &empty, false)?;
        let (load, agrees) = match end {
            End::Answer(Answer::Loaded, _) => (Outcome::passed("loaded"), Outcome::passed("as its card says")),
            End::Answer(Answer::Refused { code, why, help }, _) if code == "card_mismatch" => {
                (Outcome::passed("loaded"), Outcome::refused(&code, &why, &help))
            }
            End::Answer(Answer::Refused { code, why, help }, _) => {
                (Outcome::refused(&code, &why, &help), Outcome::skipped("it is not loaded: see load"))
            }
            end => (self.crashed(end, &sandbox), Outcome::skipped("it is not loaded: see load")),
        };
        add(Check::Load, load, start);
        add(Check::CardAgrees, agrees, start);
        Ok((card, checks))
    }

    fn chosen<'c>(&self, card: &'c Card) -> Result<Vec<&'c CardIndexer>, CheckError> {
        let Some(name) = &self.options.indexer else { return Ok(card.indexers.iter().collect()) };
        let found: Vec<_> = card.indexers.iter().filter(|indexer| indexer.name == *name).collect();
        if found.is_empty() {
            let names: Vec<&str> = card.indexers.iter().map(|indexer| indexer.name.as_str()).collect();
            return Err(CheckError::UnknownIndexer {
                library: self.options.library.display().to_string(),
                indexer: name.clone(),
                found: names.join(", "),
            });
        }
        Ok(found)
    }

    fn indexer_checks(
        &self,
        indexer: &CardIndexer,
        tell: &mut dyn FnMut(&Checked),
    ) -> Result<Vec<Checked>, CheckError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (dataset, other) =
            (self.folder.join(format!("samples-{number}")), self.folder.join(format!("others-{number}")));
        let mut samples = match &self.options.dataset {
            Some(real) => Samples::of_dataset(&dataset, real)?,
            None => Samples::made_up(&dataset, self.options.seed)?,
        };
        if samples.are_made_up() {
            let named = indexer.params_artifacts.iter().map(|name| format!("analysis/{name}.json"));
            samples.make_sought(&named.collect())?;
            let has_schema = !indexer.params_schema.is_empty();
            // Params that are not known may be refused as unknown: then there are none but those of the schema.
            if has_schema || !self.learn(&indexer.name, &dataset, &mut samples)? {
                for name in &indexer.params_artifacts {
                    samples.make_params(name, &indexer.params_schema)?;
                }
                self.learn(&indexer.name, &dataset, &mut samples)?;
            }
        }
        samples.rotate_into(&other)?;

        let wanted = |check: &Check| {
            !check.is_of_library() && (self.options.only.is_empty() || self.options.only.contains(check))
        };
        let checks: Vec<Check> = Check::ALL.iter().copied().filter(wanted).collect();
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let mut done: Vec<Option<Checked>> = vec![None; checks.len()];
        let mut told = 0;
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..self.options.jobs.clamp(1, checks.len().max(1)) {
                let sender = sender.clone();
                let (next, checks, failure, dataset, other) = (&next, &checks, &failure, &dataset, &other);
                scope.spawn(move || {
                    while let Some(&check) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match self.check(check, indexer, dataset, other) {
                            Ok(checked) => drop(sender.send(checked)),
                            Err(error) => {
                                failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(error);
                                next.store(checks.len(), Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
            drop(sender);
            for checked in receiver {
                if let Some(place) = checks.iter().position(|check| *check == checked.check) {
                    done[place] = Some(checked);
                }
                while let Some(Some(checked)) = done.get(told) {
                    tell(checked);
                    told += 1;
                }
            }
        });
        match failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some(error) => Err(error),
            None => Ok(done.into_iter().flatten().collect()),
        }
    }

    /// Has the indexer run over the made-up records, and makes what it looks for, until it looks for nothing new. Whether it
    /// takes any of them then, or dies of them.
    fn learn(&self, indexer: &str, dataset: &Path, samples: &mut Samples) -> Result<bool, CheckError> {
        let mut takes = true;
        let mut sought = BTreeSet::new();
        let empty = self.folder.join("empty");
        for _ in 0..MAX_ROUNDS {
            let (end, _) = self.process(Task::Seek, indexer, dataset, &empty, false)?;
            // One that dies is judged by the checks.
            let End::Answer(Answer::Sought { keys, taken }, _) = end else { return Ok(true) };
            takes = taken > 0;
            sought.extend(keys);
            if !samples.make_sought(&sought)? {
                break;
            }
        }
        Ok(takes)
    }

    fn check(&self, check: Check, indexer: &CardIndexer, dataset: &Path, other: &Path) -> Result<Checked, CheckError> {
        let start = Instant::now();
        let outcome = match check {
            Check::Name => name_rule(&indexer.name),
            Check::Version => version_rule(&indexer.analysis_version),
            _ => self.check_in_process(check, &indexer.name, dataset, other)?,
        };
        Ok(Checked { check, outcome, seconds: start.elapsed().as_secs_f64() })
    }

    fn check_in_process(
        &self,
        check: Check,
        indexer: &str,
        dataset: &Path,
        other: &Path,
    ) -> Result<Outcome, CheckError> {
        let sandbox = self.sandbox(dataset, other)?;
        let looked = |when: &str| {
            sandbox.snapshot().map_err(|error| CheckError::io(format!("look at the folders {when} a check"), error))
        };
        let before: Option<Snapshot> = (check == Check::WritesNothing).then(|| looked("before")).transpose()?;
        let end = self.process_in(Task::Check(check), indexer, &sandbox, is_ended_by_itself(check))?;
        let outcome = match end {
            End::Answer(Answer::Checked(outcome), end) => match end {
                Some(_) | None if check != Check::Ends => outcome,
                None => outcome,
                Some(Ok(status)) if status.success() => outcome,
                Some(Ok(status)) => Outcome::crashed(format!("after its work the process {}", died(status))),
                Some(Err(waited)) => Outcome::crashed(format!(
                    "after its work the process did not end within {} s",
                    waited.as_secs_f64()
                )),
            },
            End::Answer(other, _) => Outcome::crashed(format!("the process gave another answer: {other:?}")),
            end => self.crashed(end, &sandbox),
        };
        let outcome = match before {
            Some(before) if outcome.status == Status::Passed => wrote(&before.changes(&looked("after")?), outcome),
            _ if check == Check::PrintsNothing && outcome.status == Status::Passed => printed(&sandbox, outcome),
            _ => outcome,
        };
        let _ = fs::remove_dir_all(sandbox.root());
        Ok(outcome)
    }

    fn sandbox(&self, dataset: &Path, other: &Path) -> Result<Sandbox, CheckError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let root = self.folder.join(format!("check-{number}"));
        Sandbox::make(&root, dataset, other).map_err(|error| CheckError::io("make a folder for a check", error))
    }

    fn process(
        &self,
        task: Task,
        indexer: &str,
        dataset: &Path,
        other: &Path,
        wait: bool,
    ) -> Result<(End, Sandbox), CheckError> {
        let sandbox = self.sandbox(dataset, other)?;
        Ok((self.process_in(task, indexer, &sandbox, wait)?, sandbox))
    }

    /// Runs a process to its answer, and ends it; `wait`: has it end by itself.
    fn process_in(&self, task: Task, indexer: &str, sandbox: &Sandbox, wait: bool) -> Result<End, CheckError> {
        self.stopped()?;
        let failed = |error: io::Error| CheckError::io("start a process for a check", error);
        let order = Order {
            program: &self.options.program,
            library: self.library,
            sandbox,
            indexer,
            seed: self.options.seed,
            timeout: self.options.timeout,
            calls: self.options.calls,
        };
        let mut command: Command = order.command(task);
        command.process_group(0).stderr(File::create(sandbox.said()).map_err(failed)?);
        let mut started = Started::new(&mut command).map_err(failed)?;
        let group = i32::try_from(started.child.id()).ok().and_then(Pid::from_raw);
        let Some(output) = started.output.take() else { return Err(failed(io::Error::other("it has no output"))) };
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || drop(sender.send(listen(output))));
        let deadline = Instant::now() + self.options.timeout;
        let answer = loop {
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok(answer) => break Some(answer),
                Err(RecvTimeoutError::Disconnected) => break Some(None),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => break None,
                // What the plugin started may hold the pipe open.
                Err(RecvTimeoutError::Timeout) if matches!(started.child.try_wait(), Ok(Some(_))) => {
                    break Some(receiver.recv_timeout(LAST_BREATH).ok().flatten());
                }
                Err(RecvTimeoutError::Timeout) if self.stopped().is_err() => break None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        let end_now = |started: &mut Started| {
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            let _ = started.child.kill();
            started.child.wait()
        };
        let end = match answer {
            Some(Some(answer)) => {
                let ended = wait.then(|| wait_for(&mut started, LAST_BREATH.min(self.options.timeout)));
                let _ = end_now(&mut started);
                End::Answer(answer, ended)
            }
            Some(None) => match wait_for(&mut started, LAST_BREATH) {
                Ok(status) => {
                    let _ = end_now(&mut started);
                    End::Died(status)
                }
                Err(_) => End::Died(end_now(&mut started).map_err(failed)?),
            },
            None => {
                let _ = end_now(&mut started);
                End::TimedOut
            }
        };
        self.stopped()?;
        Ok(end)
    }

    fn crashed(&self, end: End, sandbox: &Sandbox) -> Outcome {
        let how = match end {
            End::Died(status) => format!("the process {}", died(status)),
            End::TimedOut => {
                format!("the process did not end within {} s (--timeout)", self.options.timeout.as_secs_f64())
            }
            End::Answer(answer, _) => format!("the process gave another answer: {answer:?}"),
        };
        let said = last_words(&sandbox.said());
        Outcome::crashed(if said.is_empty() { how } else { format!("{how}; it said last: {said}") })
    }
}

/// Whether the process of a check has to end by itself: what is buffered is printed then.
fn is_ended_by_itself(check: Check) -> bool {
    matches!(check, Check::Ends | Check::PrintsNothing)
}

fn printed(sandbox: &Sandbox, outcome: Outcome) -> Outcome {
    match fs::metadata(sandbox.printed()) {
        Ok(file) if file.len() > 0 => Outcome::warned(format!(
            "it printed {} bytes, which go to standard error: {}",
            file.len(),
            last_words(&sandbox.printed())
        )),
        _ => outcome,
    }
}

/// Waits for a process to end by itself; how long it was waited where it did not.
fn wait_for(started: &mut Started, patience: Duration) -> Result<ExitStatus, Duration> {
    let deadline = Instant::now() + patience;
    loop {
        if let Ok(Some(status)) = started.child.try_wait() {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(patience);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn died(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = [(4, "SIGILL"), (6, "SIGABRT"), (7, "SIGBUS"), (8, "SIGFPE"), (9, "SIGKILL"), (11, "SIGSEGV")];
            let name = name.iter().find(|(number, _)| *number == signal).map_or("", |(_, name)| name);
            format!("died of signal {signal} {name}").trim_end().to_owned()
        }
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The end of what a process said, as one line.
fn last_words(file: &Path) -> String {
    let said = fs::read(file).unwrap_or_default();
    let said = String::from_utf8_lossy(said.get(said.len().saturating_sub(4096)..).unwrap_or_default()).into_owned();
    let line: Vec<&str> = said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = line.join(" ");
    let skip = line.chars().count().saturating_sub(LAST_WORDS);
    line.chars().skip(skip).collect()
}

fn refused(error: &PluginError) -> Outcome {
    match error {
        PluginError::Refused { refusal, .. } => Outcome::refused(refusal.code, &refusal.why, &refusal.help),
        other => Outcome::failed(other.to_string()),
    }
}

/// Which names indexers may have.
fn name_rule(name: &str) -> Outcome {
    if name.is_empty() || name.len() > 200 {
        return Outcome::failed(format!("the name has {} characters, expected 1 to 200", name.len()));
    }
    if let Some(odd) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '_')) {
        return Outcome::failed(format!("'{name}' has the character {odd:?}, expected a-z, 0-9 and _"));
    }
    if name.starts_with("kym_") {
        return Outcome::failed(format!("'{name}' begins with kym_, which kymhost puts before it; leave that off"));
    }
    Outcome::passed(format!("its table is tables/kym_{name}.parquet"))
}

/// Which analysis versions can be told apart, by people too.
fn version_rule(version: &str) -> Outcome {
    if version.trim() != version || version.is_empty() {
        return Outcome::failed(format!("'{version}' has blanks around it, or nothing in it"));
    }
    if !version.chars().any(|c| c.is_ascii_digit()) {
        return Outcome::failed(format!("'{version}' has no number that a later version could raise"));
    }
    Outcome::passed(version)
}

fn wrote(changes: &[String], outcome: Outcome) -> Outcome {
    match changes {
        [] => outcome,
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            Outcome::failed(format!("it {first}{more}; what is to be kept is handed to the host"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_names_and_versions() {
        for (name, fits) in
            [("stalls", true), ("a_1", true), ("", false), ("Stalls", false), ("a-b", false), ("kym_a", false)]
        {
            assert_eq!(name_rule(name).status == Status::Passed, fits, "{name}");
        }
        assert_eq!(name_rule(&"a".repeat(201)).status, Status::Failed);
        for (version, fits) in [("lab.stalls@1", true), ("0.1", true), ("", false), ("v1 ", false), ("latest", false)] {
            assert_eq!(version_rule(version).status == Status::Passed, fits, "{version}");
        }
    }
}
