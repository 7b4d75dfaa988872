//! Standard output and standard error: the only place that writes to them.
//! Owns: quiet ends of broken pipes, colours, the form of errors. Never: what is said.

use crate::error::{CliError, ErrorDocument};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Writes to standard output. A reader that has gone away (`| head`) is no error: what remains is not written.
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let mut stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::output(&error)),
        _ => Ok(()),
    }
}

/// Puts one JSON document on standard output, indented where a person looks at it.
pub fn document(document: &impl Serialize) -> Result<(), CliError> {
    let indented = io::stdout().is_terminal();
    to_stdout(|out| {
        if indented {
            serde_json::to_writer_pretty(&mut *out, document)?;
        } else {
            serde_json::to_writer(&mut *out, document)?;
        }
        out.write_all(b"\n")
    })
}

/// A line for people on standard error. Nothing to be done where it cannot be written.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(Stderr, "{line}");
}

/// The bar that is on the terminal now.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From here on, whatever else goes to standard error stands above this bar; `None` ends that.
pub fn stand_above(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Standard error, for lines: a progress bar makes room for them.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let write = || io::stderr().lock().write_all(bytes);
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn write_fmt(&mut self, arguments: fmt::Arguments<'_>) -> io::Result<()> {
        // In one piece, so that the bar makes room once.
        self.write_all(arguments.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error for people on standard error and, with `--json`, as a document on standard output.
pub fn error(error: &CliError, json: bool) {
    if json {
        // Where standard output cannot be written there is still the text below.
        let _ = document(&ErrorDocument::new(error));
    }
    say(error_text(error, colours()));
}

fn error_text(error: &CliError, colours: bool) -> String {
    let mut text = format!("{} {}", painted("error:", "1;31", colours), indented(&error.message));
    if let Some(help) = &error.help {
        text.push_str(&format!("\n{} {}", painted("help:", "1;36", colours), indented(help)));
    }
    text
}

/// Later lines of one text, set off from what follows.
pub fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

/// Whether standard error shows colours (`NO_COLOR`, see no-color.org).
pub fn colours() -> bool {
    io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

fn painted(text: &str, code: &str, colours: bool) -> String {
    if colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// At most `limit` of these lines, then how many more there are.
pub fn bounded(lines: impl ExactSizeIterator<Item = String>, limit: usize, more: &str) -> Vec<String> {
    let total = lines.len();
    let mut shown: Vec<String> = lines.take(limit).collect();
    if total > limit {
        shown.push(format!("... and {} more{more}", total - limit));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn an_error_has_message_causes_and_help() {
        let error = CliError::new(Exit::Unusable, "x", "cannot read k\ncaused by: why\n").help("do this\nand that");
        assert_eq!(error_text(&error, false), "error: cannot read k\n  caused by: why\nhelp: do this\n  and that");
        assert!(error_text(&error, true).starts_with("\u{1b}[1;31merror:\u{1b}[0m cannot"));
    }

    #[test]
    fn a_broken_pipe_is_a_quiet_end() {
        let end = |kind| to_stdout(|_| Err(io::Error::from(kind)));
        assert_eq!(end(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(end(io::ErrorKind::StorageFull).unwrap_err().code, "output");
    }

    #[test]
    fn listings_are_bounded() {
        let lines = |n: usize| bounded((0..n).map(|i| i.to_string()), 2, " (--all)");
        assert_eq!(lines(2), ["0", "1"]);
        assert_eq!(lines(5), ["0", "1", "... and 3 more (--all)"]);
    }
}
