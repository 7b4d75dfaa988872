//! Words that several commands print: counts, reasons, lists of images.
//!
//! This file must not write to a stream: see [`crate::output`].

use crate::output;
use kymhost_index::ImageFailure;
use kymhost_index::staleness::{ImageReport, Note, Reason};

/// How many failed images a summary lists.
const MAX_FAILURES_SHOWN: usize = 20;

/// A number of images in words.
pub fn images(count: u64) -> String {
    if count == 1 { "1 recording".to_owned() } else { format!("{count} recordings") }
}

/// A number of rows in words.
pub fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// Failed images below a head, up to a bound.
pub fn failure_lines(head: String, failures: &[ImageFailure]) -> Vec<String> {
    let lines = failures.iter().map(|failure| {
        format!("{}  {}: {}", failure.image_id, failure.failure.kind, output::indented(&failure.failure.message))
    });
    let listed = output::bounded(lines, MAX_FAILURES_SHOWN, " (--json lists all)");
    [head].into_iter().chain(listed.into_iter().map(|line| format!("  {}", line.replace('\n', "\n  ")))).collect()
}

/// An image with its reason (the code if `codes`), and what the reason is about.
pub fn image_line(image: &ImageReport, codes: bool) -> String {
    let about = match &image.error {
        Some(error) => format!(": {}", output::indented(error)),
        None if image.inputs.is_empty() => String::new(),
        None => format!(": {}", image.inputs.join(", ")),
    };
    let reason = if codes { image.reason.code() } else { reason_meaning(image.reason) };
    format!("{}  {reason}{about}", image.image_id)
}

/// A reason in plain words.
pub fn reason_meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::FreshRows => "up to date",
        Reason::FreshZeroRows => "up to date, with no rows",
        Reason::StaleMissingMarker => "never computed",
        Reason::StaleMarkerTableMismatch => "the run marker and the table's rows disagree",
        Reason::StaleVersionChanged => "the indexer has another analysis version now",
        Reason::StaleParamsChanged => "the params changed",
        Reason::StaleUnknown => "cannot tell whether its rows are up to date",
        Reason::StaleUnreadable => "cannot be checked, because something is unreadable",
        Reason::StaleInterrupted => "a run was killed while it wrote the rows",
        Reason::StaleLastRunFailed => "the last run failed for this recording; its rows, if any, are from an earlier run",
        Reason::StaleNoReceipt => "it has rows, but no run marker that says how they were computed",
        Reason::StaleRowsChanged => "its rows in the table are not those that the run wrote",
        Reason::StaleInputChanged => "an input changed",
        Reason::StaleInputAppeared => "an input that was missing last time now exists",
        Reason::StaleInputRemoved => "an input no longer exists",
        Reason::StaleOutputChanged => "an artifact that the indexer wrote was deleted or changed",
        Reason::PendingUpstream => "waits for another indexer of this run",
    }
}

/// A note in plain words.
pub fn note_meaning(note: Note) -> &'static str {
    match note {
        Note::JudgedByOldRules => {
            "checked by kymflow's rules: the run marker names no inputs, so changed inputs go unnoticed"
        }
        Note::AnotherLibrary => "computed by another build of the library with the same analysis version",
        Note::Adopted => "adopted: a person accepted its rows as up to date",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin::{Failure, FailureKind};

    #[test]
    fn failures_are_listed_up_to_a_bound() {
        let failure = |i| ImageFailure {
            image_id: format!("image-{i}"),
            failure: Failure::new(FailureKind::Timeout, "too slow\nafter 1 s".into()),
        };
        let failures: Vec<ImageFailure> = (0..MAX_FAILURES_SHOWN + 2).map(failure).collect();
        let lines = failure_lines("failed:".into(), &failures);
        assert_eq!(lines.len(), MAX_FAILURES_SHOWN + 2);
        assert_eq!(lines[1], "  image-0  timeout: too slow\n    after 1 s");
        assert_eq!(lines[MAX_FAILURES_SHOWN + 1], "  ... and 2 more (--json lists all)");
    }
}
