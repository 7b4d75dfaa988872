//! How a process that ran a plugin ended, and its last words, in messages.
//!
//! Pure rules: it ends no process and reads no pipe.

use crate::failure::{Failure, FailureKind};
use kymhost_store::text::one_line_end;
use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

/// How many lines of its last output a message has.
const MAX_LINES: usize = 3;
/// How many characters of them.
const MAX_CHARACTERS: usize = 500;

/// The last words in the output of a process, as one line.
pub fn last_words(tail: &str) -> String {
    let lines: Vec<&str> =
        tail.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: ")).collect();
    let last = lines.get(lines.len().saturating_sub(MAX_LINES)..).unwrap_or_default();
    one_line_end(&last.join("; "), MAX_CHARACTERS)
}

/// Its last words for the end of a message; empty if there are none.
pub(crate) fn said(tail: &str) -> String {
    match last_words(tail) {
        words if words.is_empty() => words,
        words => format!("; it said: {words}"),
    }
}

/// How a process that ran a plugin ended, as in "the plugin ...". `tail` is the end of its output.
pub fn exit_text(status: ExitStatus, tail: &str) -> String {
    Death::Ended(status).describe(tail).1
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) enum Death {
    /// By itself.
    Ended(ExitStatus),
    /// We ended it because it gave no answer for this long.
    Timeout(Duration),
    /// We ended it because it used more bytes than allowed.
    Memory { used: u64, allowed: u64 },
    /// We ended it because its answers break the protocol.
    Mute(String),
}

impl Death {
    /// Whether its current image is to blame, whatever the worker did before.
    pub(crate) fn is_the_image_s(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// The failure of the worker's current image. `tail` is the end of its output.
    pub(crate) fn failure(&self, tail: &str, doing: &str) -> Failure {
        let (kind, what) = self.describe(tail);
        Failure::new(kind, format!("the plugin {what} {doing}{}", said(tail)))
    }

    /// The kind of its failure, and what happened, as in "the plugin ...".
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
            Self::Mute(why) => (FailureKind::Error, format!("broke the answers of its worker ({why})")),
            Self::Ended(status) => match status.signal() {
                Some(number) if number == Signal::ABORT.as_raw() => abort(tail),
                Some(number) if number == Signal::KILL.as_raw() => {
                    let what = "was killed by SIGKILL (by another process, or by the system because memory ran out)";
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
        (FailureKind::Memory, "asked for more memory than it may use and aborted".into())
    } else if tail.contains("has overflowed its stack") {
        (FailureKind::Abort, "overflowed its stack (SIGABRT)".into())
    } else {
        (FailureKind::Abort, "aborted (SIGABRT)".into())
    }
}

fn signal_name(number: i32) -> String {
    const NAMES: [(Signal, &str); 16] = [
        (Signal::SEGV, "SIGSEGV (it used memory that is not its own)"),
        (Signal::BUS, "SIGBUS (it used memory that does not exist)"),
        (Signal::ILL, "SIGILL (it ran an instruction that this processor does not have)"),
        (Signal::FPE, "SIGFPE (it divided by zero, or an integer overflowed)"),
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
        (Signal::XCPU, "SIGXCPU (it used up its processor time)"),
        (Signal::XFSZ, "SIGXFSZ (it wrote a file that is too large)"),
    ];
    let known = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_lines() {
        assert_eq!(last_words("zero\none\n\n two \nnote: run with backtrace\nthr\x07ee"), "one; two; thr\u{fffd}ee");
        assert_eq!(last_words("\n"), "");
        assert_eq!(last_words(&"é".repeat(2000)).chars().count(), MAX_CHARACTERS);
    }

    #[test]
    fn death_has_kind_and_words() {
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
}
