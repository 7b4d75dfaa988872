//! A workforce of worker processes: one loop around one `poll`.
//!
//! Responsible for the number of workers, for what each gets, and for when one is ended and replaced. It does not load a
//! library itself. `schedule` says why a call always ends.

use crate::death::{Death, said};
use crate::error::{PluginError, Refusal};
use crate::failure::{Failure, FailureKind};
use crate::identity::Identity;
use crate::indexer::Plugin;
use crate::job::{self, Answer, Drive, Job, check_version, threads_per_extraction};
use crate::process::{Heard, Process};
use crate::protocol::{self, Item, PROTOCOL, Reply, Request, Start};
use crate::schedule::{Batch, Schedule};
use crate::workforce::{Extracted, PoolOptions};
use arrow::buffer::Buffer;
use kymhost_dataset::MissingChunks;
use kymhost_plugin_api::Artifact;
use kymhost_store::text::path_text;
use kymhost_store::{SHORTAGE_HELP, is_shortage};
use rustix::event::{PollFd, Timespec, poll};
use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// No request has more images.
const MAX_BATCH: usize = protocol::MAX_ITEMS;
/// If a batch takes less, the next one is twice as large; if it takes over four times as much, half as large.
const SHORT: Duration = Duration::from_millis(5);
/// A worker gets a second batch ahead if its batches take less.
const AHEAD_BELOW: Duration = Duration::from_millis(20);
/// How often the memory of busy workers is checked.
const MEMORY_EVERY: Duration = Duration::from_millis(15);
/// How often it checks whether busy workers have died: a child may hold their pipe open.
const DEATH_EVERY: Duration = Duration::from_millis(100);
/// How long a worker may take to load its library.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// After this many workers in a row that died while loading the library, the run ends.
const MAX_FAILED_STARTS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Started,
    Loading,
    Ready,
}

#[derive(Debug)]
struct Worker {
    process: Process,
    stage: Stage,
    /// Batches that it has not fully answered, the oldest first. Their ranges shrink as answers come.
    queue: VecDeque<(Batch, usize)>,
    /// How many images and requests it has answered.
    answered: u64,
    done: u64,
    /// When it could begin with its current batch.
    since: Instant,
    /// How long its current batch has taken so far, and how long the last one took.
    spent: Duration,
    last: Option<Duration>,
}

/// How many images to send at a time, for each kind of job.
#[derive(Debug)]
struct Sizes {
    params_hash: usize,
    old_marker: usize,
    extract: usize,
}

impl Sizes {
    fn of(&mut self, job: &Job<'_>) -> &mut usize {
        match job {
            Job::Params(..) => &mut self.params_hash,
            Job::OldMarker(_) => &mut self.old_marker,
            Job::Extract(..) => &mut self.extract,
        }
    }
}

/// Worker processes for one indexer over one dataset.
#[derive(Debug)]
pub(crate) struct Processes {
    plugin: Plugin,
    dataset: PathBuf,
    program: PathBuf,
    options: PoolOptions,
    workers: Vec<Worker>,
    sizes: Sizes,
    failed_starts: u32,
    /// How many workers the system allows.
    most: usize,
    identity: Identity,
}

type Ledger = Schedule<Answer>;

impl Processes {
    /// Starts no process yet.
    pub(crate) fn new(plugin: Plugin, dataset: PathBuf, program: PathBuf, options: PoolOptions) -> Self {
        let sizes = Sizes { params_hash: 16, old_marker: 16, extract: 1 };
        let identity = Identity::of(plugin.pin.as_ref());
        Self {
            plugin,
            dataset,
            program,
            options,
            workers: Vec::new(),
            sizes,
            failed_starts: 0,
            most: usize::MAX,
            identity,
        }
    }

    fn jobs(&self) -> usize {
        self.options.jobs.min(self.most).max(1)
    }

    fn refused(&self, refusal: Refusal) -> PluginError {
        refusal.of(&self.plugin.library).with_card(&self.plugin.card)
    }

    /// The advice for a library that a worker cannot load.
    fn check_help(&self) -> String {
        format!("find out why: kymhost plugin check '{}'", path_text(&self.plugin.library))
    }

    fn start_worker(&mut self) -> Result<(), PluginError> {
        let cannot = |why: String| PluginError::worker(format!("{}: {why}", self.program.display()));
        let mut process = match Process::start(&self.program) {
            Ok(process) => process,
            Err(error) if !self.workers.is_empty() => {
                // The system allows no more processes or files: the workers that run do the work.
                tracing::warn!("cannot start more than {} workers: {error}", self.workers.len());
                self.most = self.workers.len();
                return Ok(());
            }
            Err(error) => {
                let help = is_shortage(&error).then(|| SHORTAGE_HELP.to_owned());
                let why = format!("{}: cannot start it: {error}", self.program.display());
                return Err(PluginError::Worker { why, help });
            }
        };
        let library = self.plugin.library.as_os_str().as_bytes();
        let dataset = self.dataset.as_os_str().as_bytes();
        let start = Request::Start(Start {
            protocol: PROTOCOL,
            indexer: self.plugin.indexer.name.clone(),
            library_bytes: library.len(),
            dataset_bytes: dataset.len(),
            threads: threads_per_extraction(self.jobs()),
            max_memory: self.options.max_memory,
            fill_missing: self.options.missing_chunks == MissingChunks::Filled,
            log: tracing::level_filters::LevelFilter::current().to_string(),
            pin: self.identity.pin(),
        });
        let frame = protocol::frame(&start, &[library, dataset].concat()).map_err(|error| cannot(error.to_string()))?;
        process.send(&frame);
        self.workers.push(Worker {
            process,
            stage: Stage::Started,
            queue: VecDeque::new(),
            answered: 0,
            done: 0,
            since: Instant::now(),
            spent: Duration::ZERO,
            last: None,
        });
        Ok(())
    }

    /// How many images to send now, so that no batch takes too long and the last images go to several workers.
    fn batch_size(&mut self, job: &Job<'_>, ledger: &Ledger) -> usize {
        let share = ledger.remaining() / (2 * self.jobs());
        (*self.sizes.of(job)).min(share.max(1))
    }

    /// Gives work to workers: first to those without any, then one batch ahead to quick ones.
    fn assign(&mut self, job: &Job<'_>, ledger: &mut Ledger) -> Result<(), PluginError> {
        for index in 0..self.workers.len() {
            self.give(index, 0, job, ledger)?;
        }
        while ledger.has_work() {
            let idle = self.workers.iter().position(|worker| worker.queue.is_empty());
            // For a little work no worker is started.
            let portion = match job {
                Job::Extract(..) => *self.sizes.of(job),
                Job::Params(..) | Job::OldMarker(_) => *self.sizes.of(job) * 4,
            };
            let enough = self.workers.len() >= self.jobs().min(job.len().div_ceil(portion.max(1)));
            match idle {
                // The rest needs a fresh worker, so this one is ended.
                Some(index) if ledger.wants_fresh() => drop(self.workers.remove(index)),
                Some(_) => break,
                None if !enough || self.workers.is_empty() => {}
                None if ledger.wants_fresh() && self.workers.len() < self.jobs() => {}
                None => break,
            }
            let before = self.workers.len();
            self.start_worker()?;
            if self.workers.len() == before {
                break;
            }
            self.give(before, 0, job, ledger)?;
        }
        for index in 0..self.workers.len() {
            self.give(index, 1, job, ledger)?;
        }
        Ok(())
    }

    /// Sends a batch to a worker that has exactly `depth` of them, if it may get one more and there is one.
    fn give(&mut self, index: usize, depth: usize, job: &Job<'_>, ledger: &mut Ledger) -> Result<(), PluginError> {
        let limit = self.batch_size(job, ledger);
        let Some(worker) = self.workers.get_mut(index) else { return Ok(()) };
        let quick = depth == 0 || worker.last.is_some_and(|last| last < AHEAD_BELOW);
        if worker.queue.len() != depth || !quick {
            return Ok(());
        }
        let fresh = worker.answered == 0 && depth == 0;
        let Some(batch) = ledger.take(limit, fresh) else { return Ok(()) };
        if depth == 0 {
            worker.since = Instant::now();
            worker.spent = Duration::ZERO;
        }
        worker.process.send(&request(&job.part(&batch.range))?);
        let length = batch.range.len();
        worker.queue.push_back((batch, length));
        Ok(())
    }

    /// Waits until a worker answers or one has to be checked.
    fn wait(&self) -> Result<(), PluginError> {
        let now = Instant::now();
        let mut timeout = DEATH_EVERY;
        if self.options.max_memory.is_some() {
            timeout = timeout.min(MEMORY_EVERY);
        }
        for worker in self.workers.iter().filter(|worker| !worker.queue.is_empty()) {
            if let Some(deadline) = self.deadline(worker) {
                timeout = timeout.min(deadline.saturating_duration_since(now) + Duration::from_millis(1));
            }
        }
        let mut watched: Vec<PollFd<'_>> = self
            .workers
            .iter()
            .flat_map(|worker| worker.process.watch())
            .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))
            .collect();
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 10_000_000 });
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(PluginError::worker(format!("cannot wait for workers: {error}"))),
        }
    }

    /// The deadline of a busy worker.
    fn deadline(&self, worker: &Worker) -> Option<Instant> {
        let limit = if worker.stage == Stage::Ready { self.options.timeout? } else { LOAD_WITHIN };
        // A long answer may take time, but its parts must keep coming.
        let since = worker.process.answering_since().map_or(worker.since, |heard| heard.max(worker.since));
        since.checked_add(limit)
    }

    /// Reads all answers of one worker. Returns how it died, if it did.
    fn attend(&mut self, index: usize, job: &Job<'_>, ledger: &mut Ledger) -> Result<Option<Death>, PluginError> {
        let Some(worker) = self.workers.get_mut(index) else { return Ok(None) };
        let most = match job {
            // A worker hands over no more than it may hold.
            Job::Extract(..) => self.options.max_memory.unwrap_or(protocol::MAX_BODY),
            Job::Params(..) | Job::OldMarker(_) => 0,
        };
        worker.process.expect_body(most);
        worker.process.turn();
        worker.process.write();
        loop {
            let Some(worker) = self.workers.get_mut(index) else { return Ok(None) };
            match worker.process.hear() {
                Heard::Reply(reply, body) => {
                    if let Some(why) = self.take_reply(index, reply, body, job, ledger)? {
                        return Ok(Some(Death::Mute(why)));
                    }
                }
                Heard::Nothing => {
                    worker.process.listen();
                    return Ok(None);
                }
                Heard::Garbage(why) => return Ok(Some(Death::Mute(why))),
                Heard::End => {
                    if !worker.process.dies() {
                        return Ok(Some(Death::Mute("it closed its pipe".into())));
                    }
                    return Ok(Some(ended(&mut worker.process)?));
                }
            }
        }
    }

    /// Takes one message. `Some` is why the message is wrong.
    fn take_reply(
        &mut self,
        index: usize,
        reply: Reply,
        body: Vec<u8>,
        job: &Job<'_>,
        ledger: &mut Ledger,
    ) -> Result<Option<String>, PluginError> {
        let Some(worker) = self.workers.get_mut(index) else { return Ok(None) };
        match (reply, worker.stage) {
            (Reply::Hello { protocol, version }, Stage::Started) => {
                if protocol != PROTOCOL {
                    let program = self.program.display();
                    let why = format!(
                        "{program} (version {version}) has worker protocol {protocol}, this host has {PROTOCOL}"
                    );
                    return Err(PluginError::Worker {
                        why,
                        help: Some("use the same version of kymhost for both".into()),
                    });
                }
                worker.stage = Stage::Loading;
            }
            (Reply::Ready { indexer, analysis_version, library }, Stage::Loading) => {
                worker.stage = Stage::Ready;
                worker.since = Instant::now();
                self.failed_starts = 0;
                // Otherwise every image would fail, and none is to blame.
                if let (Some(allowed), Some(used)) = (self.options.max_memory, worker.process.resident())
                    && used > allowed
                {
                    return Err(too_little_memory(used, allowed));
                }
                check_version(&self.plugin, &indexer, &analysis_version)?;
                self.identity.check(&self.plugin.library, library)?;
            }
            (Reply::Refused { code, message, help }, Stage::Started | Stage::Loading) => {
                return Err(match code.as_str() {
                    "protocol" | "dataset" => PluginError::Worker { why: message, help },
                    code => {
                        let help = help.unwrap_or_else(|| self.check_help());
                        self.refused(Refusal::new(known_code(code), message, help))
                    }
                });
            }
            (Reply::Results { request, from, micros, items }, Stage::Ready) => {
                let expected = worker.queue.front().map(|(batch, length)| (worker.done, length - batch.range.len()));
                if expected != Some((request, from)) {
                    return Ok(Some("an answer to another request".into()));
                }
                return Ok(self.take_results(index, Duration::from_micros(micros), items, body, job, ledger).err());
            }
            (reply, stage) => return Ok(Some(format!("{reply:?} while {stage:?}").chars().take(200).collect())),
        }
        Ok(None)
    }

    fn take_results(
        &mut self,
        index: usize,
        took: Duration,
        items: Vec<Item>,
        body: Vec<u8>,
        job: &Job<'_>,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let worker = self.workers.get_mut(index).ok_or("no such worker")?;
        let body = Buffer::from_vec(body);
        let mut offset = 0;
        for item in items {
            let (batch, _) = worker.queue.front_mut().ok_or("an answer without a request")?;
            let image = batch.range.next().ok_or("more answers than images")?;
            let answer = match (item, job) {
                (Item::Hash(reading), Job::Params(..)) => Answer::Params(protocol::checked(reading)),
                (Item::Marker(marker), Job::OldMarker(_)) => Answer::Marker(marker.map(Into::into)),
                (Item::Rows { params, inputs, bytes, artifacts }, Job::Extract(..)) => {
                    let lengths = artifacts.iter().map(|artifact| artifact.bytes);
                    let all = lengths.fold(bytes, usize::saturating_add);
                    if body.len() - offset < all {
                        batch.range.start = image;
                        return Err("rows or artifacts beyond the end of the body".into());
                    }
                    let rows = protocol::read_rows(body.slice_with_length(offset, bytes))
                        .map_err(|error| format!("the rows cannot be read: {error}"));
                    offset += bytes;
                    let mut made = Ok(Vec::with_capacity(artifacts.len()));
                    for artifact in artifacts {
                        let bytes = body.slice_with_length(offset, artifact.bytes);
                        offset += artifact.bytes;
                        if let Ok(list) = &mut made {
                            match artifact.read(bytes) {
                                Ok(one) => list.push(one),
                                Err(why) => made = Err(why),
                            }
                        }
                    }
                    let (params, inputs) = (protocol::checked(params), protocol::sorted(inputs));
                    match rows.and_then(|rows| Ok((rows, made?))) {
                        Ok((rows, artifacts)) => Answer::Rows(Extracted { rows, params, inputs, artifacts }),
                        Err(message) => {
                            let inputs = job::union(&params.inputs, &inputs);
                            Answer::Failed(Failure { inputs, ..Failure::new(FailureKind::BadTable, message) })
                        }
                    }
                }
                (Item::Failed { kind, message, cause, inputs }, _) => {
                    let inputs = protocol::sorted(inputs);
                    Answer::Failed(Failure { inputs, cause, ..protocol::failure(&kind, message) })
                }
                (Item::Hash(_) | Item::Marker(_) | Item::Rows { .. }, _) => {
                    batch.range.start = image;
                    return Err("an answer to another request".into());
                }
            };
            let bytes = answer.bytes();
            ledger.answer(image, answer, bytes);
            worker.answered += 1;
        }
        if offset != body.len() {
            return Err("a body longer than its rows".into());
        }
        worker.spent = worker.spent.saturating_add(took);
        worker.since = Instant::now();
        worker.process.forget_words();
        if let Some((_, length)) = worker.queue.pop_front_if(|(batch, _)| batch.range.is_empty()) {
            worker.done += 1;
            let spent = std::mem::take(&mut worker.spent);
            worker.last = Some(spent);
            let size = self.sizes.of(job);
            if spent < SHORT && length >= *size {
                *size = (*size * 2).min(MAX_BATCH);
            } else if spent > SHORT * 4 {
                *size = (length / 2).clamp(1, *size);
            }
        }
        Ok(())
    }

    /// Why a silent worker has to be ended.
    fn examine(&mut self, index: usize, now: Instant) -> Result<Option<Death>, PluginError> {
        let Some(worker) = self.workers.get(index).filter(|worker| !worker.queue.is_empty()) else { return Ok(None) };
        if let (Some(allowed), Some(used)) = (self.options.max_memory, worker.process.resident())
            && used > allowed
        {
            if worker.stage != Stage::Ready {
                return Err(too_little_memory(used, allowed));
            }
            return Ok(Some(Death::Memory { used, allowed }));
        }
        let late = self.deadline(worker).is_some_and(|deadline| now > deadline);
        if late {
            if worker.stage != Stage::Ready {
                let why = format!("a worker did not load it within {} s", LOAD_WITHIN.as_secs());
                return Err(self.refused(Refusal::new("load_timeout", why, self.check_help())));
            }
            return Ok(self.options.timeout.map(Death::Timeout));
        }
        Ok(None)
    }

    /// Removes a dead worker. Its current image fails or is run again.
    fn bury(&mut self, index: usize, death: &Death, job: &Job<'_>, ledger: &mut Ledger) -> Result<(), PluginError> {
        let mut worker = self.workers.remove(index);
        // An error here is harmless: the process was killed.
        let _ = worker.process.end();
        worker.process.listen();
        let tail = worker.process.tail();
        let said = said(&tail);
        tracing::debug!(?death, said, "a worker ended");
        if worker.stage != Stage::Ready {
            self.failed_starts += 1;
            let (_, what) = death.describe(&tail);
            // The first one may have been killed from outside.
            if self.failed_starts >= MAX_FAILED_STARTS {
                let program = self.program.display();
                return Err(match worker.stage {
                    Stage::Started => {
                        PluginError::worker(format!("{program} does not work as a worker: it {what}{said}"))
                    }
                    _ => {
                        let why = format!("loading it ended the worker: it {what}{said}");
                        self.refused(Refusal::new("load_crash", why, self.check_help()))
                    }
                });
            }
        } else if let Some((batch, _)) = worker.queue.pop_front() {
            let blame = worker.answered == 0 || death.is_the_image_s();
            if let Some(image) = ledger.died(batch, blame) {
                let failure = death.failure(&tail, &format!("in {}", job.describe(image)));
                ledger.answer(image, Answer::Failed(failure), 0);
            }
        }
        worker.queue.into_iter().for_each(|(batch, _)| ledger.put_back(batch));
        Ok(())
    }

    /// Passes answers on in order; `false` if it has to stop. Workers are not charged for the time.
    fn deliver(&mut self, ledger: &mut Ledger, sink: &mut dyn FnMut(usize, Answer) -> bool) -> bool {
        let Some(mut next) = ledger.next_answer() else { return true };
        let before = Instant::now();
        loop {
            if !sink(next.0, next.1) {
                return false;
            }
            match ledger.next_answer() {
                Some(answer) => next = answer,
                None => break,
            }
        }
        let spent = before.elapsed();
        for worker in &mut self.workers {
            worker.since += spent;
        }
        true
    }

    fn run(&mut self, job: Job<'_>, sink: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError> {
        let mut ledger = Ledger::new(job.len());
        let mut looked = Instant::now();
        // Quick params hashes do not mean quick extractions: an image that is sent ahead could wait behind a slow one.
        self.workers.iter_mut().for_each(|worker| worker.last = None);
        while !ledger.is_done() && !self.options.stop.load(Ordering::Relaxed) {
            self.assign(&job, &mut ledger)?;
            self.wait()?;
            let now = Instant::now();
            let look_for_deaths = now.duration_since(looked) >= DEATH_EVERY;
            if look_for_deaths {
                looked = now;
            }
            // From the end, because dead workers are removed.
            for index in (0..self.workers.len()).rev() {
                // Before its pipe is read, so that the pipe has all that it wrote before it died.
                let gone = look_for_deaths && self.workers.get(index).is_some_and(|worker| worker.process.is_gone());
                let mut death = self.attend(index, &job, &mut ledger)?;
                if death.is_none() {
                    death = match self.workers.get_mut(index) {
                        Some(worker) if gone => Some(ended(&mut worker.process)?),
                        _ => self.examine(index, now)?,
                    };
                }
                if let Some(death) = death {
                    self.bury(index, &death, &job, &mut ledger)?;
                }
            }
            if !self.deliver(&mut ledger, sink) && !self.options.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.options.stop.load(Ordering::Relaxed) {
                // The missing answers are given up. The result of the sink does not matter any more.
                for (index, answer) in ledger.stop() {
                    sink(index, answer);
                }
            }
        }
        Ok(())
    }
}

impl Drive for Processes {
    fn declared(&self) -> &[Artifact] {
        &self.plugin.indexer.writes
    }

    fn library_sha256(&mut self) -> Result<String, PluginError> {
        self.identity.sha256(&self.plugin.library)
    }

    fn drive(&mut self, job: Job<'_>, deliver: &mut dyn FnMut(usize, Answer) -> bool) -> Result<(), PluginError> {
        let result = self.run(job, deliver);
        // After a stop or a failure, running work is cancelled. Workers only read, so nothing is lost.
        if result.is_err() {
            self.workers.clear();
        }
        self.workers.retain(|worker| worker.queue.is_empty());
        result
    }
}

fn ended(process: &mut Process) -> Result<Death, PluginError> {
    process.end().map(Death::Ended).map_err(|error| PluginError::worker(format!("cannot wait for a worker: {error}")))
}

fn request(job: &Job<'_>) -> Result<Vec<u8>, PluginError> {
    let frame = match job {
        Job::Params(images, with_params) => {
            protocol::frame(&Request::ParamsHash { images: images.to_vec(), with_params: *with_params }, &[])
        }
        Job::Extract(images, readings) => {
            let known = images.iter().map(|image| readings.get(image).cloned());
            let known = if readings.is_empty() { Vec::new() } else { known.collect() };
            protocol::frame(&Request::Extract { images: images.to_vec(), known }, &[])
        }
        Job::OldMarker(payloads) => {
            let lengths = payloads.iter().map(Vec::len).collect();
            protocol::frame(&Request::OldMarker { lengths }, &payloads.concat())
        }
    };
    frame.map_err(|error| PluginError::worker(format!("cannot send a request to a worker: {error}")))
}

/// The error for a limit that no worker can keep.
fn too_little_memory(used: u64, allowed: u64) -> PluginError {
    let why = format!(
        "--max-memory allows {} MiB, but a worker with the plugin loaded uses {} MiB before its first image",
        allowed >> 20,
        used >> 20
    );
    PluginError::Worker { why, help: Some("give a larger --max-memory".into()) }
}

/// The codes of refusals that a worker may send.
const REFUSAL_CODES: [&str; 19] = [
    "unreadable",
    "no_library",
    "truncated",
    "no_card",
    "bad_card",
    "platform",
    "api_major",
    "api_minor",
    "door",
    "open",
    "no_root",
    "abi_header",
    "layout",
    "init",
    "bad_door",
    "card_mismatch",
    "no_indexer",
    "changed",
    "plugin",
];

/// The code of a worker's refusal, which a spoiled worker may have made up.
fn known_code(code: &str) -> &'static str {
    REFUSAL_CODES.iter().copied().find(|known| *known == code).unwrap_or("refused")
}
