//! The progress bar of a run.
//! Owns: when it is shown and what it says. Never: anything else on standard error.

use super::interrupt::Interrupt;
use super::{logging, output};
use crate::index::{Holder, Observer};
use crate::plugin::Failure;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::Duration;

/// Shows a run's progress on a terminal; nothing anywhere else.
pub struct Progress {
    bar: Option<ProgressBar>,
    indexer: String,
    failed: u64,
    quiet: bool,
    interrupt: Interrupt,
}

impl Progress {
    /// A bar named for the indexer, unless standard error is no terminal, or is asked to be quiet, or shows logs.
    pub fn new(indexer: &str, quiet: bool, verbose: u8, interrupt: &Interrupt) -> Self {
        let shown = !quiet && !logging::is_loud(verbose) && io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_prefix(indexer.to_owned());
            bar.set_style(style("{spinner} {prefix}: {msg}"));
            bar.set_message("judging images");
            bar.enable_steady_tick(Duration::from_millis(120));
            output::stand_above(Some(bar.clone()));
            bar
        });
        Self { bar, indexer: indexer.to_owned(), failed: 0, quiet, interrupt: interrupt.clone() }
    }

    /// Takes the bar off the terminal.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            output::stand_above(None);
            bar.finish_and_clear();
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
            bar.set_style(style("{spinner} {prefix} [{wide_bar}] {pos}/{len} images{msg} ({eta} left)"));
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
            output::say("interrupted: writing what is done (interrupt again to end at once)");
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
