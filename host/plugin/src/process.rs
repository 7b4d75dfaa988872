//! One worker process as the host sees it: its pipes, its memory and its log.
//!
//! Responsible for starting, reading, writing and ending one process. It does not decide what is sent, and never waits for a
//! plugin.

use crate::protocol::{FrameReader, ProtocolError, Reply};
use rustix::event::PollFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tracing::Level;

/// Set in every worker, so that a program that is not kymhost does not start itself without end.
pub(crate) const INSIDE: &str = "KYMHOST_WORKER";
/// A longer line of a plugin is cut.
const MAX_LINE: usize = 4 << 10;
/// How much of a plugin's output is logged between two answers of its worker, in bytes. More lines are counted.
pub const MAX_LOG_BYTES: usize = 1 << 20;
/// How much of a worker's last output is kept, in bytes.
const TAIL: usize = 4 << 10;
/// Reads in a row of one worker's pipe before the others get their turn.
const MAX_READS: usize = 16;
/// How long a worker that closed its pipe may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// The result of reading a worker's pipe.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Reply(Reply, Vec<u8>),
    /// Nothing more for now.
    Nothing,
    /// The pipe is closed.
    End,
    /// The bytes are not a message.
    Garbage(String),
}

/// A worker process. Dropping it ends it, with all processes of its group.
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
        // With a larger pipe a worker goes on while the host is busy. All works without it.
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

    /// Sends as much of a frame as the pipe takes now; [`Process::write`] sends the rest.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.outgoing.extend(frame);
        self.write();
    }

    /// Sends as much of what waits as the pipe takes now. Reading finds out that a pipe is closed.
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

    /// A frame with a longer body is no answer.
    pub(crate) fn expect_body(&mut self, limit: u64) {
        self.reader.expect_body(limit);
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
                // Possibly in the middle of an answer: its images have no answer then.
                Ok(0) => return Heard::End,
                Ok(_) => self.heard = Instant::now(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) => return Heard::Garbage(ProtocolError::from(error).to_string()),
            }
        }
    }

    /// When the last part of an answer came, if the answer is not complete.
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

    /// Forgets its last words: what it says from now on belongs to its next task.
    pub(crate) fn forget_words(&mut self) {
        self.words.tail.clear();
        self.words.renew();
    }

    /// The end of its output.
    pub(crate) fn tail(&self) -> String {
        self.words.tail()
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether the process is gone. It stays in the process table, so that nobody else gets its group's number.
    pub(crate) fn is_gone(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        self.status.is_some()
            || self.pid().is_none_or(|pid| !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Ok(None)))
    }

    /// Waits a moment for a process that has closed its pipe. Returns whether it ended by itself.
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

    /// Ends the process and its group if they still run. Returns how the process ended.
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

    /// Bytes of resident memory, if the platform reports them.
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(feature = "portable")))]
    pub(crate) fn resident(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).ok()?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        pages.checked_mul(rustix::param::page_size() as u64)
    }

    /// Bytes of resident memory, if the platform reports them.
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
        self.words.renew();
    }
}

/// What a worker writes to standard error: each line goes to the log, the end is kept.
#[derive(Debug)]
struct Words {
    pid: u32,
    /// Bytes that may still be passed on for what is in hand, and lines that were dropped because there were more.
    left: usize,
    dropped: u64,
    line: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Words {
    fn new(pid: u32) -> Self {
        Self { pid, left: MAX_LOG_BYTES, dropped: 0, line: Vec::new(), tail: VecDeque::new() }
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

    /// Passes the current line on to the log.
    fn end(&mut self) {
        if self.line.is_empty() {
            return;
        }
        let Some(left) = self.left.checked_sub(self.line.len()) else {
            self.left = 0;
            self.dropped += 1;
            self.line.clear();
            return;
        };
        self.left = left;
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        let pid = self.pid;
        let (level, text) = level(text).unwrap_or((Level::INFO, text));
        match level {
            Level::ERROR => tracing::error!(target: "plugin", pid, "{text}"),
            Level::WARN => tracing::warn!(target: "plugin", pid, "{text}"),
            Level::INFO => tracing::info!(target: "plugin", pid, "{text}"),
            Level::DEBUG => tracing::debug!(target: "plugin", pid, "{text}"),
            Level::TRACE => tracing::trace!(target: "plugin", pid, "{text}"),
        }
        self.line.clear();
    }

    /// Allows as much output again, and reports how many lines were dropped.
    fn renew(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                target: "plugin",
                pid = self.pid,
                "{} more lines of the plugin were dropped: at most {} KiB are logged at a time",
                self.dropped,
                MAX_LOG_BYTES >> 10
            );
        }
        (self.left, self.dropped) = (MAX_LOG_BYTES, 0);
    }

    fn tail(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The level that a line of a worker's log begins with, and the rest of the line.
fn level(line: &str) -> Option<(Level, &str)> {
    let (word, rest) = line.trim_start().split_once(' ')?;
    let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    let level = levels.into_iter().find(|level| level.as_str() == word)?;
    Some((level, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_bounded_and_keep_the_end() {
        let mut words = Words::new(1);
        for _ in 0..10 {
            words.take(&[b'x'; 3000]);
        }
        assert!(words.line.len() <= MAX_LINE);
        words.take(b"\none\n\n two \nnote: run with backtrace\nthr\x07ee");
        assert_eq!(words.tail.len(), TAIL);
        assert!(words.tail().ends_with("thr\x07ee"));
    }

    #[test]
    fn level_reads_the_first_word() {
        for (line, expected) in [
            (" WARN odd", Some((Level::WARN, "odd"))),
            ("ERROR  bad", Some((Level::ERROR, "bad"))),
            ("WARNING odd", None),
            ("plain", None),
            ("", None),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }
}
