//! The suite as a whole: a process for each check, several at a time, and a report of their results.
//!
//! Responsible for the order of checks, for time limits, and for what the death of a process means. It never loads the
//! library itself.

use crate::check::check_list::Check;
use crate::check::options::Options;
use crate::check::report::{Checked, IndexerReport, Outcome, Report, Status};
use crate::check::samples::Samples;
use crate::check::sandbox::{Sandbox, Snapshot};
use crate::check::task::{Answer, Order, Started, Task, listen};
use crate::error::CheckError;
use kymhost_plugin::{PluginError, check_versions, exit_text, fault_of_declared_name, last_words, read_card};
use kymhost_plugin_api::card::{Card, CardIndexer};
use kymhost_store::text::listed;
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often an indexer is run, at most, to learn what it reads.
const MAX_ROUNDS: usize = 12;
/// How often the suite looks whether it has to stop and whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a process may take to end after its answer, if the check is about that.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// How much of a process's output is read for its last words, in bytes.
const MAX_TAIL_BYTES: usize = 4096;

/// Checks a library. `report_one` gets each check as it ends, in the order of the report: first those of the library, which
/// have no indexer.
///
/// # Errors
/// If the suite itself cannot work: no room for its folders, no such dataset or indexer, an interrupt.
pub fn run(options: &Options, report_one: &mut dyn FnMut(Option<&str>, &Checked)) -> Result<Report, CheckError> {
    let folder = tempfile::Builder::new()
        .prefix("kymhost-check-")
        .tempdir()
        .map_err(|error| CheckError::io("make a temporary folder", error))?;
    let library =
        std::path::absolute(&options.library).map_err(|error| CheckError::no_library(&options.library, error))?;
    let suite = Suite { options, library, folder: folder.path(), made: AtomicUsize::new(0) };

    let (card, checks) = suite.library_checks()?;
    for checked in &checks {
        report_one(None, checked);
    }
    let mut report = Report {
        library: options.library.clone(),
        seed: options.seed,
        is_loaded: checks.iter().all(|checked| checked.outcome.status == Status::Passed),
        checks,
        indexers: Vec::new(),
    };
    let Some(card) = card.filter(|_| report.is_loaded) else { return Ok(report) };
    for indexer in suite.chosen(&card)? {
        let name = &indexer.name;
        let checks = suite.indexer_checks(indexer, &mut |checked| report_one(Some(name), checked))?;
        report.indexers.push(IndexerReport { indexer: name.clone(), checks });
    }
    Ok(report)
}

struct Suite<'a> {
    options: &'a Options,
    library: PathBuf,
    folder: &'a Path,
    /// How many folders were made so far.
    made: AtomicUsize,
}

/// How a process ended.
enum End {
    /// With an answer; and how it ended after it, if the suite waited for that.
    Answer(Answer, Option<Result<ExitStatus, Duration>>),
    /// Without an answer.
    Died(ExitStatus),
    /// Not in time.
    TimedOut,
}

/// The datasets with the records of one indexer.
struct Datasets {
    dataset: PathBuf,
    other: PathBuf,
}

impl Suite<'_> {
    fn stopped(&self) -> Result<(), CheckError> {
        if self.options.stop.load(Ordering::Relaxed) { Err(CheckError::Interrupted) } else { Ok(()) }
    }

    /// The card, and the checks of the library as a whole. Each needs the one before.
    fn library_checks(&self) -> Result<(Option<Card>, Vec<Checked>), CheckError> {
        let mut checks = Vec::new();
        let mut start = Instant::now();
        let mut add = |check: Check, outcome: Outcome| {
            checks.push(Checked { check, outcome, seconds: start.elapsed().as_secs_f64() });
            start = Instant::now();
        };
        let card = read_card(&self.library);
        add(
            Check::Card,
            match &card {
                Ok(card) => Outcome::passed(format!("lists {}", names(card))),
                Err(error) => refused(error),
            },
        );
        let fits = card.as_ref().map(|card| check_versions(&self.library, card));
        add(
            Check::Api,
            match (&card, &fits) {
                (Ok(card), Ok(Ok(()))) => Outcome::passed(format!("plugin API {}, door {}", card.api, card.door)),
                (_, Ok(Err(error))) => refused(error),
                _ => Outcome::skipped("there is no card"),
            },
        );
        let (Ok(card), Ok(Ok(()))) = (&card, fits) else {
            for check in [Check::Load, Check::CardAgrees] {
                add(check, Outcome::skipped("the library is not loaded: see the checks before"));
            }
            return Ok((None, checks));
        };
        let empty = self.empty_folder()?;
        let sandbox = self.sandbox(&Datasets { dataset: empty.clone(), other: empty })?;
        let not_loaded = || Outcome::skipped("the library is not loaded: see load");
        let (load, agrees) = match self.process(Task::Load, "", &sandbox, false)? {
            End::Answer(Answer::Loaded, _) => (Outcome::passed("loaded"), Outcome::passed("matches its card")),
            End::Answer(Answer::Refused { code, why, help }, _) if code == "card_mismatch" => {
                (Outcome::passed("loaded"), Outcome::refused(&code, &why, &help))
            }
            End::Answer(Answer::Refused { code, why, help }, _) => (Outcome::refused(&code, &why, &help), not_loaded()),
            end => (self.crashed(end, &sandbox), not_loaded()),
        };
        add(Check::Load, load);
        add(Check::CardAgrees, agrees);
        Ok((Some(card.clone()), checks))
    }

    fn chosen<'c>(&self, card: &'c Card) -> Result<Vec<&'c CardIndexer>, CheckError> {
        let Some(name) = &self.options.indexer else { return Ok(card.indexers.iter().collect()) };
        let found: Vec<_> = card.indexers.iter().filter(|indexer| indexer.name == *name).collect();
        if found.is_empty() {
            let library = self.options.library.display().to_string();
            return Err(CheckError::UnknownIndexer { library, indexer: name.clone(), found: names(card) });
        }
        Ok(found)
    }

    fn indexer_checks(
        &self,
        indexer: &CardIndexer,
        report_one: &mut dyn FnMut(&Checked),
    ) -> Result<Vec<Checked>, CheckError> {
        let datasets = self.make_samples(indexer)?;
        let is_wanted = |check: &Check| {
            !check.is_of_library() && (self.options.only.is_empty() || self.options.only.contains(check))
        };
        let checks: Vec<Check> = Check::ALL.iter().copied().filter(is_wanted).collect();
        let next = AtomicUsize::new(0);
        let mut failure = None;
        let mut done: Vec<Option<Checked>> = vec![None; checks.len()];
        let mut reported = 0;
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..self.options.jobs.clamp(1, checks.len().max(1)) {
                let sender = sender.clone();
                let (next, checks, datasets) = (&next, &checks, &datasets);
                scope.spawn(move || {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(&check) = checks.get(place) else { break };
                        let _ = sender.send((place, self.check(check, indexer, datasets)));
                    }
                });
            }
            drop(sender);
            for (place, checked) in receiver {
                match checked {
                    Ok(checked) => done[place] = Some(checked),
                    Err(error) => {
                        next.store(checks.len(), Ordering::Relaxed);
                        failure.get_or_insert(error);
                    }
                }
                while let Some(Some(checked)) = done.get(reported) {
                    report_one(checked);
                    reported += 1;
                }
            }
        });
        failure.map_or_else(|| Ok(done.into_iter().flatten().collect()), Err)
    }

    /// Makes the datasets for the checks of an indexer.
    fn make_samples(&self, indexer: &CardIndexer) -> Result<Datasets, CheckError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let folder = |name: &str| self.folder.join(format!("{name}-{number}"));
        let datasets = Datasets { dataset: folder("samples"), other: folder("others") };
        let mut samples = match &self.options.dataset {
            Some(real) => Samples::of_dataset(&datasets.dataset, real)?,
            None => Samples::made_up(&datasets.dataset, self.options.seed)?,
        };
        if samples.are_made_up() {
            let params = indexer.params_artifacts.iter().map(|name| format!("analysis/{name}.json"));
            samples.make_missing(&params.collect())?;
            let has_schema = !indexer.params_schema.is_empty();
            // The indexer may refuse params that it does not know: then there are only those of the schema.
            if has_schema || !self.learn(&indexer.name, &datasets, &mut samples)? {
                for name in &indexer.params_artifacts {
                    samples.make_params(name, &indexer.params_schema)?;
                }
                self.learn(&indexer.name, &datasets, &mut samples)?;
            }
        }
        samples.rotate_into(&datasets.other)?;
        Ok(datasets)
    }

    /// Runs the indexer over the made-up records and makes what it looks for, until it looks for nothing new. Returns whether
    /// it accepts any of them then, or dies.
    fn learn(&self, indexer: &str, datasets: &Datasets, samples: &mut Samples) -> Result<bool, CheckError> {
        let mut accepts = true;
        let mut missing = BTreeSet::new();
        let datasets = Datasets { dataset: datasets.dataset.clone(), other: self.empty_folder()? };
        for _ in 0..MAX_ROUNDS {
            let end = self.process(Task::Seek, indexer, &self.sandbox(&datasets)?, false)?;
            // If it dies, the checks report that.
            let End::Answer(Answer::Missing { keys, taken }, _) = end else { return Ok(true) };
            accepts = taken > 0;
            missing.extend(keys);
            if !samples.make_missing(&missing)? {
                break;
            }
        }
        Ok(accepts)
    }

    fn check(&self, check: Check, indexer: &CardIndexer, datasets: &Datasets) -> Result<Checked, CheckError> {
        let start = Instant::now();
        let outcome = match check {
            Check::Name => name_rule(&indexer.name),
            Check::Version => version_rule(&indexer.analysis_version),
            _ => self.check_in_process(check, &indexer.name, datasets)?,
        };
        Ok(Checked { check, outcome, seconds: start.elapsed().as_secs_f64() })
    }

    fn check_in_process(&self, check: Check, indexer: &str, datasets: &Datasets) -> Result<Outcome, CheckError> {
        let sandbox = self.sandbox(datasets)?;
        let snapshot = || sandbox.snapshot().map_err(|error| CheckError::io("read the folders of a check", error));
        let before: Option<Snapshot> = (check == Check::WritesNothing).then(snapshot).transpose()?;
        // What is buffered is printed when the process ends by itself.
        let ends_by_itself = matches!(check, Check::Ends | Check::PrintsNothing);
        let mut outcome = match self.process(Task::Check(check), indexer, &sandbox, ends_by_itself)? {
            End::Answer(Answer::Checked(outcome), end) => match end {
                Some(Ok(status)) if check == Check::Ends && !status.success() => {
                    Outcome::crashed(format!("after its work the plugin {}", exit_text(status, &tail(&sandbox.said()))))
                }
                Some(Err(waited)) if check == Check::Ends => Outcome::crashed(format!(
                    "after its work the process did not end within {} s",
                    waited.as_secs_f64()
                )),
                _ => outcome,
            },
            end => self.crashed(end, &sandbox),
        };
        if outcome.status == Status::Passed {
            if let Some(before) = before {
                outcome = wrote(&before.changes(&snapshot()?)).unwrap_or(outcome);
            } else if check == Check::PrintsNothing {
                outcome = printed(&sandbox).unwrap_or(outcome);
            }
        }
        let _ = fs::remove_dir_all(sandbox.root());
        Ok(outcome)
    }

    fn empty_folder(&self) -> Result<PathBuf, CheckError> {
        let empty = self.folder.join("empty");
        fs::create_dir_all(&empty).map_err(|error| CheckError::io("make a folder", error))?;
        Ok(empty)
    }

    fn sandbox(&self, datasets: &Datasets) -> Result<Sandbox, CheckError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let root = self.folder.join(format!("check-{number}"));
        Sandbox::make(&root, &datasets.dataset, &datasets.other)
            .map_err(|error| CheckError::io("make a folder for a check", error))
    }

    /// Runs a process to its answer, and ends it. `ends_by_itself`: first waits for its end.
    fn process(&self, task: Task, indexer: &str, sandbox: &Sandbox, ends_by_itself: bool) -> Result<End, CheckError> {
        self.stopped()?;
        let failed = |error: io::Error| CheckError::io("start a process for a check", error);
        let order = Order {
            program: self.options.program.clone(),
            library: self.library.clone(),
            sandbox: sandbox.clone(),
            indexer: indexer.to_owned(),
            seed: self.options.seed,
            timeout: self.options.timeout,
            calls: self.options.calls,
        };
        let mut command = order.command(task);
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
                // A process that the plugin started may hold the pipe open.
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
                let ended = ends_by_itself.then(|| wait_for(&mut started, LAST_BREATH.min(self.options.timeout)));
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
        let tail = tail(&sandbox.said());
        let how = match end {
            End::Died(status) => format!("the plugin {}", exit_text(status, &tail)),
            End::TimedOut => {
                format!("the process did not end within {} s (--timeout)", self.options.timeout.as_secs_f64())
            }
            End::Answer(answer, _) => format!("the process gave an unexpected answer: {answer:?}"),
        };
        let said = last_words(&tail);
        Outcome::crashed(if said.is_empty() { how } else { format!("{how}; it said: {said}") })
    }
}

/// The names of a card's indexers.
fn names(card: &Card) -> String {
    card.indexers.iter().map(|indexer| indexer.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The warning for a process that has printed something.
fn printed(sandbox: &Sandbox) -> Option<Outcome> {
    let bytes = fs::metadata(sandbox.printed()).map_or(0, |file| file.len());
    (bytes > 0).then(|| {
        let said = last_words(&tail(&sandbox.printed()));
        Outcome::warned(format!("it prints {bytes} bytes, which users see on standard error: {said}"))
    })
}

/// Waits until a process ends by itself; how long, if it does not.
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

/// The end of a process's output.
fn tail(file: &Path) -> String {
    let said = fs::read(file).unwrap_or_default();
    let start = said.len().saturating_sub(MAX_TAIL_BYTES);
    String::from_utf8_lossy(said.get(start..).unwrap_or_default()).into_owned()
}

fn refused(error: &PluginError) -> Outcome {
    match error {
        PluginError::Refused { refusal, .. } => Outcome::refused(refusal.code, &refusal.why, &refusal.help),
        other => Outcome::failed(other.to_string()),
    }
}

/// Which names indexers may have.
fn name_rule(name: &str) -> Outcome {
    match fault_of_declared_name(name) {
        Some(why) => Outcome::failed(format!("'{name}' cannot name an indexer: {why}")),
        None => Outcome::passed(format!("its table is tables/kym_{name}.parquet")),
    }
}

/// Which analysis versions a person can tell apart.
fn version_rule(version: &str) -> Outcome {
    if version.trim() != version || version.is_empty() {
        return Outcome::failed(format!("'{version}' is empty, or begins or ends with a blank"));
    }
    if !version.chars().any(|c| c.is_ascii_digit()) {
        return Outcome::failed(format!("'{version}' has no number for a later version to raise"));
    }
    Outcome::passed(version)
}

/// The failure for a plugin that has changed its folders.
fn wrote(changes: &[String]) -> Option<Outcome> {
    let changes = (!changes.is_empty()).then(|| listed(changes, 1))?;
    Some(Outcome::failed(format!("it {changes}; to keep something, hand it to kymhost as an artifact")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_version_rules_accept_plain_ones() {
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
