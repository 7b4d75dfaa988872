//! Words that several commands print: counts, reasons, lists of images.
//!
//! This file must not write to a stream: see [`crate::output`].

use crate::output;
use kymhost_index::ImageFailure;
use kymhost_index::staleness::{ImageReport, Note, Reason};

/// How many failed images the summary names.
const MAX_FAILURES_SHOWN: usize = 20;

/// A number of images in words.
pub fn images(count: u64) -> String {
    if count == 1 { "1 image".to_owned() } else { format!("{count} images") }
}

/// So many rows, in words.
pub fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// Failed images under a head, up to a bound.
pub fn failure_lines(head: String, failures: &[ImageFailure]) -> Vec<String> {
    let lines = failures.iter().map(|failure| {
        format!("{}  {}: {}", failure.image_id, failure.failure.kind, output::indented(&failure.failure.message))
    });
    let listed = output::bounded(lines, MAX_FAILURES_SHOWN, " (--json lists all)");
    [head].into_iter().chain(listed.into_iter().map(|line| format!("  {}", line.replace('\n', "\n  ")))).collect()
}

/// An image with its reason, and what that is about.
pub fn image_line(image: &ImageReport) -> String {
    let about = match &image.error {
        Some(error) => format!(": {}", output::indented(error)),
        None if image.inputs.is_empty() => String::new(),
        None => format!(": {}", image.inputs.join(", ")),
    };
    format!("{}  {}{about}", image.image_id, image.reason.code())
}

/// A reason in plain words.
pub fn reason_meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::FreshRows => "its rows are up to date",
        Reason::FreshZeroRows => "it was run and has no rows",
        Reason::StaleMissingMarker => "it has no run marker: it was never run",
        Reason::StaleMarkerTableMismatch => "its run marker and the table's rows do not agree",
        Reason::StaleVersionChanged => "its rows were made by another version of the indexer",
        Reason::StaleParamsChanged => "its params have changed since its rows were made",
        Reason::StaleUnknown => "its rows cannot be told to be up to date",
        Reason::StaleUnreadable => "it cannot be judged",
        Reason::StaleInterrupted => "a run was killed while it wrote this image's rows",
        Reason::StaleLastRunFailed => "the last run tried it and failed; its rows, if any, are of before",
        Reason::StaleNoReceipt => "it has rows, but no run marker that vouches for them",
        Reason::StaleRowsChanged => "its rows in the table are not those that the run wrote",
        Reason::StaleInputChanged => "something that its rows were made from has changed",
        Reason::StaleInputAppeared => "something that its rows were made without is there now",
        Reason::StaleInputRemoved => "something that its rows were made from is gone",
        Reason::StaleOutputChanged => "an artifact that was made with its rows is gone or was changed",
        Reason::PendingUpstream => {
            "another indexer of this run is to do it first; what it is after that is not known yet"
        }
    }
}

/// A note in plain words.
pub fn note_meaning(note: Note) -> &'static str {
    match note {
        Note::JudgedByOldRules => {
            "judged by the old rules: the run marker names no inputs, so a changed artifact goes unseen"
        }
        Note::AnotherLibrary => "another build of the library, of the same analysis version, made its rows",
        Note::Adopted => "its rows were adopted: a person said that they count",
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
