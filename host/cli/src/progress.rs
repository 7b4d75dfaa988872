//! Progress bars: when they are shown, and what they say.

use crate::interrupt::Interrupt;
use crate::{logging, output};
use indicatif::{ProgressBar, ProgressStyle};
use kymhost_index::{Holder, Observer};
use kymhost_plugin::Failure;
use std::io::{self, IsTerminal};
use std::time::Duration;

/// A bar with a name and a message, unless standard error is not a terminal, or is to be quiet, or shows logs.
fn bar(name: &str, message: &'static str, quiet: bool, verbose: u8) -> Option<ProgressBar> {
    let shown = !quiet && !logging::is_loud(verbose) && io::stderr().is_terminal();
    shown.then(|| {
        let bar = ProgressBar::new_spinner();
        bar.set_prefix(name.to_owned());
        bar.set_style(style("{spinner} {prefix}: {msg}"));
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        output::stand_above(Some(bar.clone()));
        bar
    })
}

/// Takes a bar off the terminal.
fn clear(bar: Option<ProgressBar>) {
    if let Some(bar) = bar {
        output::stand_above(None);
        bar.finish_and_clear();
    }
}

/// Shows a run's progress on a terminal, and nothing elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    indexer: String,
    failed: u64,
    quiet: bool,
    interrupt: Interrupt,
}

impl Progress {
    /// A bar named after the indexer.
    pub fn new(indexer: &str, quiet: bool, verbose: u8, interrupt: &Interrupt) -> Self {
        let bar = bar(indexer, "checking which recordings are stale", quiet, verbose);
        Self { bar, indexer: indexer.to_owned(), failed: 0, quiet, interrupt: interrupt.clone() }
    }

    /// Takes the bar off the terminal.
    pub fn finish(self) {
        clear(self.bar);
    }
}

/// Shows how many files are done on a terminal, and nothing elsewhere.
pub struct FileProgress {
    bar: Option<ProgressBar>,
    failed: u64,
}

impl FileProgress {
    /// A bar with this name.
    pub fn new(name: &str, quiet: bool, verbose: u8) -> Self {
        Self { bar: bar(name, "looking for recordings", quiet, verbose), failed: 0 }
    }

    /// Takes the bar off the terminal.
    pub fn finish(self) {
        clear(self.bar);
    }
}

impl kymhost_ingest::IngestObserver for FileProgress {
    fn planned(&mut self, to_do: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(to_do as u64);
            bar.set_style(style("{spinner} {prefix} [{wide_bar}] {pos}/{len} recordings{msg} ({eta} left)"));
            bar.set_message("");
        }
    }

    fn file_done(&mut self, failed: bool) {
        let Some(bar) = &self.bar else { return };
        bar.inc(1);
        if failed {
            self.failed += 1;
            bar.set_message(format!(", {} failed", self.failed));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Observer for Progress {
    fn planned(&mut self, to_do: usize, _total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(to_do as u64);
            bar.set_style(style("{spinner} {prefix} [{wide_bar}] {pos}/{len} recordings{msg} ({eta} left)"));
            bar.set_message("");
        }
    }

    fn image_done(&mut self, _image_id: &str, failure: Option<&Failure>) {
        let Some(bar) = &self.bar else { return };
        bar.inc(1);
        if failure.is_some() {
            self.failed += 1;
            bar.set_message(format!(", {} failed", self.failed));
        }
    }

    fn committing(&mut self) {
        if self.interrupted() && !self.quiet {
            output::say("interrupted: committing finished recordings (interrupt again to end at once)");
        }
        if let Some(bar) = &self.bar {
            bar.set_style(style("{spinner} {prefix}: writing the table"));
        }
    }

    fn waiting(&mut self, holder: &Holder) {
        if !self.quiet {
            output::say(format_args!("{}: waiting for {holder}", self.indexer));
        }
        if let Some(bar) = &self.bar {
            bar.set_style(style("{spinner} {prefix}: {msg}"));
            bar.set_message("waiting for another run");
        }
    }

    fn interrupted(&mut self) -> bool {
        self.interrupt.exit().is_some()
    }
}
