//! Standard output and standard error: the only file that writes to them.

use crate::error::{CliError, ErrorDocument};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// Writes to standard output. If the reader has gone away (`| head`), the rest is dropped without an error.
pub fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let mut stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::output(&error)),
        _ => Ok(()),
    }
}

/// Prints one JSON document on standard output, indented on a terminal.
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

/// Prints a result on standard output: its document with `--json`, else text.
pub fn result(
    json: bool,
    document: &impl Serialize,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    if json { self::document(document) } else { to_stdout(text) }
}

/// Prints a line for people on standard error. If that fails, there is nobody to report it to.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(Stderr, "{line}");
}

/// The progress bar on the terminal.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Prints everything else on standard error above this bar from now on. `None` ends that.
pub fn stand_above(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Standard error for lines. A progress bar makes room for them.
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
        // Write in one piece, so that the bar makes room once.
        self.write_all(arguments.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error for people on standard error and, with `--json`, as a document on standard output.
pub fn error(error: &CliError, json: bool) {
    if json {
        // If this fails, the text below is still printed.
        let _ = document(&ErrorDocument::new(error));
    }
    say(error_text(error, colours()));
}

/// An error as people read it.
pub fn error_text(error: &CliError, colours: bool) -> String {
    let mut text = format!("{} {}", painted("error:", "1;31", colours), indented(&error.said.what));
    if let Some(why) = &error.said.why {
        text.push_str(&indented(&format!("\n{why}")));
    }
    if let Some(help) = &error.said.help {
        text.push_str(&format!("\n{} {}", painted("help:", "1;36", colours), indented(help)));
    }
    text
}

/// Indents the later lines of a text.
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

/// How many lines a list for people has at most.
pub const MAX_LISTED: usize = 20;

/// The first lines of a list, then a line that says how many more there are.
pub fn bounded(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let total = lines.len();
    let mut shown: Vec<String> = lines.take(MAX_LISTED).collect();
    if total > MAX_LISTED {
        shown.push(format!("... and {} more (--json lists all)", total - MAX_LISTED));
    }
    shown
}

/// Writes the first lines of a list, indented.
pub fn write_list(out: &mut dyn Write, lines: impl ExactSizeIterator<Item = String>) -> io::Result<()> {
    bounded(lines).iter().try_for_each(|line| writeln!(out, "  {}", line.replace('\n', "\n  ")))
}

/// Prints the first lines of a list on standard error.
pub fn say_list(lines: impl Iterator<Item = String>) {
    bounded(lines.collect::<Vec<_>>().into_iter()).iter().for_each(say);
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_store::Class;

    #[test]
    fn error_text_has_what_why_and_help() {
        let error = CliError::new(Class::Unusable, "x", "cannot read k", "do this\nand that").why("one\ntwo\n");
        assert_eq!(error_text(&error, false), "error: cannot read k\n  one\n  two\nhelp: do this\n  and that");
        assert!(error_text(&error, true).starts_with("\u{1b}[1;31merror:\u{1b}[0m cannot"));
    }

    #[test]
    fn broken_pipe_is_not_an_error() {
        let end = |kind| to_stdout(|_| Err(io::Error::from(kind)));
        assert_eq!(end(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(end(io::ErrorKind::StorageFull).unwrap_err().code(), "output");
    }

    #[test]
    fn bounded_says_how_many_more() {
        let lines = |n: usize| bounded((0..n).map(|i| i.to_string()));
        assert_eq!(lines(MAX_LISTED).last().map(String::as_str), Some("19"));
        assert_eq!(lines(MAX_LISTED + 3)[MAX_LISTED - 1..], ["19", "... and 3 more (--json lists all)"]);
    }
}
