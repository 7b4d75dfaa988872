//! The worker process: loads one library and answers requests over its standard input and output.
//!
//! Responsible for all that happens in a worker: it takes the pipes away from the plugin and ends with the host. It does not
//! write to the dataset and does not decide what runs next.

use crate::error::{PluginError, Refusal};
use crate::failure::{Failure, FailureKind};
use crate::identity::LibraryFile;
use crate::indexer::Indexer;
use crate::job;
use crate::library::load_identified;
use crate::protocol::{self, FrameReader, Item, Marker, PROTOCOL, ProtocolError, Reply, Request, Start, WireArtifact};
use crate::workforce::ParamsReading;
use kymhost_dataset::{Dataset, MissingChunks};
use kymhost_store::is_shortage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tracing_subscriber::filter::LevelFilter;

/// Answers are sent after this time or this many bytes, also in the middle of a batch.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
const FLUSH_BYTES: usize = 1 << 20;

/// Runs the hidden subcommand `worker`: loads one library and answers requests over standard input and output. Call it before
/// anything else uses standard output.
pub fn worker_main() -> ExitCode {
    if io::stdin().is_terminal() {
        complain("only kymhost itself starts `kymhost worker`: its input is not text");
        return ExitCode::from(2);
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the worker ends: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line for the host, which reads standard error. If nobody reads it any more, that is fine.
fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn serve() -> Result<(), ProtocolError> {
    let (mut input, mut output) = take_pipes()?;
    watch_host(&input)?;
    send(&mut output, &Reply::Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into() }, &[])?;

    let mut reader = FrameReader::default();
    let Some((request, body)) = reader.wait::<Request>(&mut input)? else { return Ok(()) };
    let (start, indexer, library, dataset) = match prepare(request, &body) {
        Ok(ready) => ready,
        Err(Refusal { code, why, help }) => {
            let help = Some(help).filter(|help| !help.is_empty());
            return send(&mut output, &Reply::Refused { code: code.into(), message: why, help }, &[]);
        }
    };
    let info = indexer.info();
    let (name, analysis_version) = (info.name.clone(), info.analysis_version.clone());
    let ready = Reply::Ready { indexer: name, analysis_version, library };
    send(&mut output, &ready, &[])?;

    let mut number = 0;
    while let Some((request, body)) = reader.wait::<Request>(&mut input)? {
        let mut answers = Answers::new(&mut output, number);
        number += 1;
        match request {
            Request::Start(_) => return Err(io::Error::other("the host sent a second start").into()),
            Request::ParamsHash { images, with_params } => {
                for image in &images {
                    let item = match job::params(&*indexer, &dataset, image, with_params) {
                        Ok(reading) => Item::Hash(reading),
                        Err(failure) => Item::failed(failure),
                    };
                    answers.push(item)?;
                }
            }
            Request::Extract { images, known } => {
                let mut known = known.into_iter();
                for image in &images {
                    let known = known.next().flatten();
                    let item = extract(&*indexer, &dataset, image, known, start.threads, &mut answers.body);
                    answers.push(item)?;
                }
            }
            Request::OldMarker { lengths } => {
                let mut rest = body.as_slice();
                for length in lengths {
                    let Some((payload, after)) = rest.split_at_checked(length) else {
                        return Err(ProtocolError::Truncated);
                    };
                    rest = after;
                    let item = match indexer.read_old_marker(payload) {
                        Ok(marker) => Item::Marker(marker.map(Marker::from)),
                        Err(failure) => Item::failed(failure),
                    };
                    answers.push(item)?;
                }
            }
        }
        answers.finish()?;
    }
    Ok(())
}

/// Takes the pipes to the host away from the plugin: its `println!` goes to standard error, and it cannot read input.
pub fn take_pipes() -> io::Result<(File, File)> {
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let output = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((File::from(input), File::from(output)))
}

/// Starts a thread that ends this process and its group when the host is gone, whatever the plugin is doing. A signal on the
/// parent's death would not be quicker, and would not end the processes that the plugin started.
pub fn watch_host(input: &File) -> io::Result<()> {
    let wire: OwnedFd = input.try_clone()?.into();
    let parent = rustix::process::getppid();
    let look_again = Timespec { tv_sec: 1, tv_nsec: 0 };
    let watchdog = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        loop {
            let mut watched = [PollFd::new(&wire, PollFlags::empty())];
            let gone = match poll(&mut watched, Some(&look_again)) {
                Ok(_) => !watched.iter().all(|fd| fd.revents().is_empty()),
                Err(error) => error != rustix::io::Errno::INTR,
            };
            if gone || rustix::process::getppid() != parent {
                end_group();
            }
        }
    });
    match watchdog {
        Ok(_) => Ok(()),
        Err(error) if is_shortage(&error) => end_with_parent(),
        Err(error) => Err(error),
    }
}

/// What is left without a thread: the system ends this process with its parent, though not what a plugin started.
#[cfg(all(any(target_os = "linux", target_os = "android"), not(feature = "portable")))]
fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Elsewhere the worker ends when it next reads from its closed pipe.
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(feature = "portable"))))]
fn end_with_parent() -> io::Result<()> {
    Ok(())
}

fn end_group() {
    let this = rustix::process::getpid();
    // Only our own group: if a user starts it by hand, it may be in the shell's group.
    if rustix::process::getpgrp() == this {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    let _ = rustix::process::kill_process(this, Signal::KILL);
}

type Loaded = (Box<dyn Indexer>, LibraryFile);

fn prepare(request: Request, body: &[u8]) -> Result<(Start, Box<dyn Indexer>, LibraryFile, Dataset), Refusal> {
    let Request::Start(start) = request else {
        return Err(refused("protocol", "the first request is not Start"));
    };
    if start.protocol != PROTOCOL {
        let why = format!("the host has worker protocol {}, this worker has {PROTOCOL}", start.protocol);
        return Err(refused("protocol", why));
    }
    let (library, dataset) =
        paths(&start, body).ok_or_else(|| refused("protocol", "the lengths of the paths do not match the body"))?;
    log_to_stderr(&start.log);
    if let Some(bytes) = start.max_memory {
        limit_memory(bytes);
    }
    // The library first, because its constructors may end this process.
    let (indexer, library) = load(&library, &start)?;
    let dataset = Dataset::open(&dataset).map_err(|error| refused("dataset", error.to_string()))?;
    let missing = if start.fill_missing { MissingChunks::Filled } else { MissingChunks::Unreadable };
    let dataset = dataset.with_missing_chunks(missing);
    Ok((start, indexer, library, dataset))
}

fn load(library: &Path, start: &Start) -> Result<Loaded, Refusal> {
    let loaded = load_identified(library, start.pin.as_ref())
        .and_then(|(indexers, file)| job::pick(indexers, library, &start.indexer).map(|indexer| (indexer, file)));
    loaded.map_err(|error| match error {
        PluginError::Refused { refusal, .. } => refusal,
        other => refused("plugin", other.to_string()),
    })
}

/// A refusal for which the host has the advice.
fn refused(code: &'static str, why: impl Into<String>) -> Refusal {
    Refusal::new(code, why, "")
}

fn paths(start: &Start, body: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let (library, dataset) = body.split_at_checked(start.library_bytes)?;
    let path = |bytes: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
    (dataset.len() == start.dataset_bytes).then(|| (path(library), path(dataset)))
}

/// The host logs each line with the level that it begins with.
fn log_to_stderr(level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let format = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).without_time().with_target(false);
    // A second subscriber in one process is refused; then the first one stays.
    let _ = format.with_max_level(level).try_init();
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(feature = "portable")))]
fn limit_memory(bytes: u64) {
    // How much a plugin may allocate beyond `--max-memory` before allocations fail. Not all of it is resident, and the host
    // should notice first and report it.
    const HEADROOM: u64 = 256 << 20;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = bytes.saturating_add((bytes / 2).max(HEADROOM));
    let Rlimit { current, maximum } = getrlimit(Resource::Data);
    let wanted = current.map_or(wanted, |now| now.min(wanted));
    // Only a second limit: the host watches the memory, too.
    let _ = setrlimit(Resource::Data, Rlimit { current: Some(wanted), maximum });
}

/// On other systems the limit covers too little or too much.
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(feature = "portable"))))]
fn limit_memory(_bytes: u64) {}

fn extract(
    indexer: &dyn Indexer,
    dataset: &Dataset,
    image: &str,
    known: Option<ParamsReading>,
    threads: usize,
    body: &mut Vec<u8>,
) -> Item {
    let before = body.len();
    // To cancel, the host ends this process.
    let extracted = match job::extract(indexer, dataset, image, known, threads, &|| false) {
        Ok(extracted) => extracted,
        Err(failure) => return Item::failed(failure),
    };
    let written = protocol::write_rows(&extracted.rows, body).map_err(|error| error.to_string());
    let bytes = body.len() - before;
    let written = written.and_then(|()| {
        let made = extracted.artifacts.into_iter();
        made.map(|made| WireArtifact::write(made, body).map_err(|error| error.to_string())).collect::<Result<_, _>>()
    });
    let all = body.len() - before;
    let written = match written {
        Ok(_) if all as u64 > protocol::MAX_BODY / 2 => Err(format!("they take {all} bytes")),
        other => other,
    };
    match written {
        Ok(artifacts) => Item::Rows { params: extracted.params, inputs: extracted.inputs, bytes, artifacts },
        Err(why) => {
            body.truncate(before);
            let message = format!("the rows and artifacts cannot be sent to the host: {why}");
            let inputs = job::union(&extracted.params.inputs, &extracted.inputs);
            Item::failed(Failure { inputs, ..Failure::new(FailureKind::BadTable, message) })
        }
    }
}

/// The answers to one request that are not sent yet.
struct Answers<'a> {
    output: &'a mut File,
    request: u64,
    sent: usize,
    items: Vec<Item>,
    /// About how long their header is.
    header: usize,
    body: Vec<u8>,
    since: Instant,
}

impl<'a> Answers<'a> {
    fn new(output: &'a mut File, request: u64) -> Self {
        Self { output, request, sent: 0, items: Vec::new(), header: 0, body: Vec::new(), since: Instant::now() }
    }

    fn push(&mut self, item: Item) -> Result<(), ProtocolError> {
        self.header += item.bytes();
        self.items.push(item);
        if self.body.len() + self.header >= FLUSH_BYTES || self.since.elapsed() >= FLUSH_AFTER {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ProtocolError> {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let items = std::mem::take(&mut self.items);
        self.header = 0;
        let body = std::mem::take(&mut self.body);
        let (request, from) = (self.request, self.sent);
        self.sent += items.len();
        send(self.output, &Reply::Results { request, from, micros, items }, &body)?;
        self.since = Instant::now();
        Ok(())
    }

    fn finish(mut self) -> Result<(), ProtocolError> {
        if self.items.is_empty() { Ok(()) } else { self.flush() }
    }
}

fn send(output: &mut File, reply: &Reply, body: &[u8]) -> Result<(), ProtocolError> {
    output.write_all(&protocol::frame(reply, body)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_sent_before_the_header_is_too_long() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut output = path.reopen().unwrap();
        let mut answers = Answers::new(&mut output, 3);
        for _ in 0..200 {
            let message = "m".repeat(1 << 19);
            answers.push(Item::failed(Failure::new(FailureKind::Error, message))).unwrap();
        }
        answers.finish().unwrap();
        let (mut reader, mut input) = (FrameReader::default(), path.reopen().unwrap());
        let mut seen = 0;
        while let Some((reply, _)) = reader.wait::<Reply>(&mut input).unwrap() {
            let Reply::Results { request, from, items, .. } = reply else { panic!("{reply:?}") };
            assert_eq!((request, from), (3, seen));
            assert!(items.len() <= 2, "{} in one frame", items.len());
            seen += items.len();
        }
        assert_eq!(seen, 200);
    }
}
