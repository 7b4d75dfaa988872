//! One worker process as the host sees it: its pipes, its memory, its words, its death.
//!
//! Owns: starting, reading, writing and ending one process. Never: what is sent or why; never waits for a plugin.

use crate::failure::{Failure, FailureKind};
use crate::protocol::{FrameReader, ProtocolError, Reply};
use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Set in every worker, so that a program which is not kymhost does not start itself for ever.
pub(crate) const INSIDE: &str = "KYMHOST_WORKER";
/// A longer line of a plugin is cut.
const MAX_LINE: usize = 4 << 10;
/// How much of what a worker said last is kept.
const TAIL: usize = 4 << 10;
/// Reads in a row of one worker's pipe before the others get their turn.
const MAX_READS: usize = 16;
/// How long a worker that closed its pipe may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// What reading a worker's pipe came to.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Reply(Reply, Vec<u8>),
    /// Nothing more for now.
    Nothing,
    /// The pipe is closed.
    End,
    /// What came is no message.
    Garbage(String),
}

/// A worker process. Dropping it ends it, with all that its plugin started in its group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    outgoing: VecDeque<u8>,
    reader: FrameReader,
    heard: Instant,
    reads: usize,
    words: Words,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `program worker` in a process group of its own.
    pub(crate) fn start(program: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("worker").env(INSIDE, "1").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other("the worker's pipes are missing"));
        };
        let words = Words::new(child.id());
        let process = Self {
            child,
            stdin,
            stdout,
            stderr: Some(stderr),
            outgoing: VecDeque::new(),
            reader: FrameReader::default(),
            heard: Instant::now(),
            reads: 0,
            words,
            status: None,
        };
        rustix::io::ioctl_fionbio(&process.stdin, true)?;
        rustix::io::ioctl_fionbio(&process.stdout, true)?;
        if let Some(stderr) = &process.stderr {
            rustix::io::ioctl_fionbio(stderr, true)?;
        }
        // A larger pipe lets a worker go on while the host is busy. Without it all works.
        #[cfg(all(target_os = "linux", not(feature = "portable")))]
        let _ = rustix::pipe::fcntl_setpipe_size(&process.stdout, 1 << 20);
        Ok(process)
    }

    /// Which pipes to wait for, and for what.
    pub(crate) fn watch(&self) -> impl Iterator<Item = (rustix::fd::BorrowedFd<'_>, PollFlags)> {
        let stdin = (!self.outgoing.is_empty()).then(|| (self.stdin.as_fd(), PollFlags::OUT));
        let stderr = self.stderr.as_ref().map(|stderr| (stderr.as_fd(), PollFlags::IN));
        [Some((self.stdout.as_fd(), PollFlags::IN)), stdin, stderr].into_iter().flatten()
    }

    /// Sends a frame, as far as the pipe takes it now; [`Process::write`] sends the rest.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.outgoing.extend(frame);
        self.write();
    }

    /// Sends what waits, as far as the pipe takes it now. A closed pipe shows when reading.
    pub(crate) fn write(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stdin.write(self.outgoing.as_slices().0) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    /// Begins a turn of [`Process::hear`].
    pub(crate) fn turn(&mut self) {
        self.reads = 0;
    }

    /// The next message, without waiting.
    pub(crate) fn hear(&mut self) -> Heard {
        loop {
            match self.reader.next::<Reply>() {
                Ok(Some((reply, body))) => return Heard::Reply(reply, body),
                Ok(None) => {}
                Err(error) => return Heard::Garbage(error.to_string()),
            }
            if self.reads >= MAX_READS {
                return Heard::Nothing;
            }
            self.reads += 1;
            match self.reader.fill(&mut self.stdout) {
                // Also in the middle of an answer: the images in it are not answered then.
                Ok(0) => return Heard::End,
                Ok(_) => self.heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) => return Heard::Garbage(ProtocolError::from(error).to_string()),
            }
        }
    }

    /// When part of an answer came last, if an answer has begun and not ended.
    pub(crate) fn answering_since(&self) -> Option<Instant> {
        (!self.reader.is_empty()).then_some(self.heard)
    }

    /// Takes what the worker and its plugin wrote to standard error, without waiting.
    pub(crate) fn listen(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut bytes = [0; 4096];
        for _ in 0..MAX_READS {
            match stderr.read(&mut bytes) {
                Ok(0) => {
                    self.stderr = None;
                    break;
                }
                Ok(read) => self.words.take(bytes.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.stderr = None;
                    break;
                }
            }
        }
        if self.stderr.is_none() {
            self.words.end();
        }
    }

    /// What it says from here on belongs to what it does next.
    pub(crate) fn forget_words(&mut self) {
        self.words.tail.clear();
    }

    /// Its last words, in one line.
    pub(crate) fn last_words(&self) -> String {
        self.words.last()
    }

    /// All of the last words, for telling one death from another.
    pub(crate) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.words.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether the process is gone. Leaves its entry in the process table, and so its group's number, alone.
    pub(crate) fn is_gone(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        self.status.is_some()
            || self.pid().is_none_or(|pid| !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Ok(None)))
    }

    /// Waits a moment for a process that has closed its pipe; whether it is gone by itself.
    pub(crate) fn dies(&self) -> bool {
        let deadline = Instant::now() + LAST_BREATH;
        while !self.is_gone() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Ends the process and its group, if they are not gone already, and tells how the process ended.
    pub(crate) fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        if let Some(pid) = self.pid() {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }

    /// Bytes of resident memory, where the platform tells.
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(feature = "portable")))]
    pub(crate) fn resident(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        pages.checked_mul(rustix::param::page_size() as u64)
    }

    /// Bytes of resident memory, where the platform tells.
    #[cfg(not(all(any(target_os = "linux", target_os = "android"), not(feature = "portable"))))]
    pub(crate) fn resident(&self) -> Option<u64> {
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end();
        self.listen();
        self.words.end();
    }
}

/// What a worker says on standard error: passed on to the log line by line, its end kept.
#[derive(Debug)]
struct Words {
    pid: u32,
    line: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Words {
    fn new(pid: u32) -> Self {
        Self { pid, line: Vec::new(), tail: VecDeque::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            for part in text.chunks(MAX_LINE) {
                if self.line.len() + part.len() > MAX_LINE {
                    self.end();
                }
                self.line.extend_from_slice(part);
            }
            if ends {
                self.end();
            }
        }
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    /// Passes on the line begun.
    fn end(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        let pid = self.pid;
        match level(text) {
            Some((tracing::Level::ERROR, rest)) => tracing::error!(target: "plugin", pid, "{rest}"),
            Some((tracing::Level::WARN, rest)) => tracing::warn!(target: "plugin", pid, "{rest}"),
            Some((tracing::Level::DEBUG, rest)) => tracing::debug!(target: "plugin", pid, "{rest}"),
            Some((tracing::Level::TRACE, rest)) => tracing::trace!(target: "plugin", pid, "{rest}"),
            Some((_, rest)) => tracing::info!(target: "plugin", pid, "{rest}"),
            None => tracing::info!(target: "plugin", pid, "{text}"),
        }
        self.line.clear();
    }

    fn last(&self) -> String {
        const LINES: usize = 3;
        const CHARACTERS: usize = 500;
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let said = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: "));
        let lines: Vec<&str> = said.collect();
        let kept = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("; ");
        let cut = kept.chars().count().saturating_sub(CHARACTERS);
        kept.chars().skip(cut).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// The level that a line of a worker's log begins with, and the rest of the line.
fn level(line: &str) -> Option<(tracing::Level, &str)> {
    let (word, rest) = line.trim_start().split_once(' ')?;
    let level = match word {
        "ERROR" => tracing::Level::ERROR,
        "WARN" => tracing::Level::WARN,
        "INFO" => tracing::Level::INFO,
        "DEBUG" => tracing::Level::DEBUG,
        "TRACE" => tracing::Level::TRACE,
        _ => return None,
    };
    Some((level, rest.trim_start()))
}

/// How a worker came to its end.
#[derive(Debug)]
pub(crate) enum Death {
    /// By itself.
    Ended(ExitStatus),
    /// Ended by us: it answered nothing for so long.
    Timeout(Duration),
    /// Ended by us: it used so many bytes of so many allowed.
    Memory { used: u64, allowed: u64 },
    /// Ended by us: it lives, but does not speak as it should.
    Mute(String),
}

impl Death {
    /// Whether the image in hand is guilty whatever the worker did before.
    pub(crate) fn is_the_image_s(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// The failure of the image that the worker had in hand. `tail` is what it said last, `words` that in one line.
    pub(crate) fn failure(&self, tail: &str, words: &str, doing: &str) -> Failure {
        let (kind, what) = self.describe(tail);
        let said = if words.is_empty() { String::new() } else { format!("; it said: {words}") };
        Failure::new(kind, format!("the plugin {what} {doing}{said}"))
    }

    /// What sort of end, and what happened, as in "the plugin …".
    pub(crate) fn describe(&self, tail: &str) -> (FailureKind, String) {
        match self {
            Self::Timeout(limit) => {
                (FailureKind::Timeout, format!("took longer than the {} s of --timeout", limit.as_secs_f64()))
            }
            Self::Memory { used, allowed } => {
                let (used, allowed) = (used >> 20, allowed >> 20);
                let what = format!("used {used} MiB of memory, more than the {allowed} MiB of --max-memory,");
                (FailureKind::Memory, what)
            }
            Self::Mute(why) => (FailureKind::Error, format!("spoiled the worker's answers ({why})")),
            Self::Ended(status) => match status.signal() {
                Some(number) if number == Signal::ABORT.as_raw() => abort(tail),
                Some(number) if number == Signal::KILL.as_raw() => {
                    let what = "was killed by SIGKILL (by somebody, or by the system when memory ran out)";
                    (FailureKind::Signal, what.to_owned())
                }
                Some(number) => (FailureKind::Signal, format!("was killed by {}", signal_name(number))),
                None => {
                    (FailureKind::Exit, format!("ended the process with exit code {}", status.code().unwrap_or(-1)))
                }
            },
        }
    }
}

fn abort(tail: &str) -> (FailureKind, String) {
    let out_of_memory =
        tail.contains("std::bad_alloc") || tail.contains("memory allocation of") && tail.contains("failed");
    if out_of_memory {
        (FailureKind::Memory, "asked for more memory than it may have and aborted".into())
    } else if tail.contains("has overflowed its stack") {
        (FailureKind::Abort, "overflowed its stack (SIGABRT)".into())
    } else {
        (FailureKind::Abort, "aborted (SIGABRT)".into())
    }
}

fn signal_name(number: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::SEGV, "SIGSEGV (it touched memory that is not its own)"),
        (Signal::BUS, "SIGBUS (it touched memory that is not there)"),
        (Signal::ILL, "SIGILL (an instruction that this processor does not have)"),
        (Signal::FPE, "SIGFPE (a division that cannot be done)"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::SYS, "SIGSYS"),
        (Signal::TERM, "SIGTERM"),
        (Signal::INT, "SIGINT"),
        (Signal::HUP, "SIGHUP"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::XCPU, "SIGXCPU (its processor time ran out)"),
        (Signal::XFSZ, "SIGXFSZ (a file grew too large)"),
    ];
    let known = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_kind() {
        let ended = |raw| Death::Ended(ExitStatus::from_raw(raw));
        let cases = [
            (ended(6), "", FailureKind::Abort, "aborted"),
            (ended(6), "thread 'main' has overflowed its stack\nfatal", FailureKind::Abort, "overflowed its stack"),
            (ended(6), "memory allocation of 800 bytes failed", FailureKind::Memory, "more memory"),
            (ended(6), "terminate called after throwing an instance of 'std::bad_alloc'", FailureKind::Memory, "mem"),
            (ended(11), "", FailureKind::Signal, "SIGSEGV"),
            (ended(9), "", FailureKind::Signal, "SIGKILL"),
            (ended(63), "", FailureKind::Signal, "signal 63"),
            (ended(7 << 8), "", FailureKind::Exit, "exit code 7"),
            (ended(0), "", FailureKind::Exit, "exit code 0"),
            (Death::Timeout(Duration::from_millis(1500)), "", FailureKind::Timeout, "1.5 s"),
            (Death::Memory { used: 300 << 20, allowed: 200 << 20 }, "", FailureKind::Memory, "300 MiB"),
            (Death::Mute("x".into()), "", FailureKind::Error, "x"),
        ];
        for (death, tail, kind, part) in cases {
            let (got, what) = death.describe(tail);
            assert_eq!(got, kind, "{death:?}");
            assert!(what.contains(part), "{what}");
        }
    }

    #[test]
    fn words_are_bounded_and_the_last_are_kept() {
        let mut words = Words::new(1);
        for _ in 0..10 {
            words.take(&[b'x'; 3000]);
        }
        assert!(words.line.len() <= MAX_LINE);
        words.take(b"\none\n\n two \nnote: run with backtrace\nthr\x07ee");
        assert_eq!(words.tail.len(), TAIL);
        assert_eq!(words.last(), "one; two; thr ee");
        words.take("é".repeat(2000).as_bytes());
        assert!(words.last().chars().count() <= 500);
    }

    #[test]
    fn levels_are_recognised() {
        for (line, expected) in [
            (" WARN odd", Some((tracing::Level::WARN, "odd"))),
            ("ERROR  bad", Some((tracing::Level::ERROR, "bad"))),
            ("WARNING odd", None),
            ("plain", None),
            ("", None),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }
}
