//! Words that several commands print: counts, reasons, lists of recordings.
//!
//! This file must not write to a stream: see [`crate::output`].

use crate::output;
use kymhost_index::ImageFailure;
use kymhost_index::staleness::ImageReport;

/// A number of things in words: `1 row`, `2 rows`.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A number of recordings in words.
pub fn images(count: u64) -> String {
    counted(count as usize, "recording")
}

/// A number of rows in words.
pub fn rows(count: u64) -> String {
    counted(count as usize, "row")
}

/// Failed recordings below a head, up to a bound.
pub fn failure_lines(head: String, failures: &[ImageFailure]) -> Vec<String> {
    let lines = failures.iter().map(|failure| {
        format!("{}  {}: {}", failure.image_id, failure.failure.kind, output::indented(&failure.failure.message))
    });
    [head]
        .into_iter()
        .chain(output::bounded(lines).into_iter().map(|line| format!("  {}", line.replace('\n', "\n  "))))
        .collect()
}

/// A recording with its reason (the code if `codes`), and what the reason is about.
pub fn image_line(image: &ImageReport, codes: bool) -> String {
    let about = match &image.error {
        Some(error) => format!(": {}", output::indented(error)),
        None if image.inputs.is_empty() => String::new(),
        None => format!(": {}", image.inputs.join(", ")),
    };
    let reason = if codes { image.reason.code() } else { image.reason.meaning() };
    format!("{}  {reason}{about}", image.image_id)
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
        let failures: Vec<ImageFailure> = (0..output::MAX_LISTED + 2).map(failure).collect();
        let lines = failure_lines("failed:".into(), &failures);
        assert_eq!(lines.len(), output::MAX_LISTED + 2);
        assert_eq!(lines[1], "  image-0  timeout: too slow\n    after 1 s");
        assert_eq!(lines[output::MAX_LISTED + 1], "  ... and 2 more (--json lists all)");
    }
}
