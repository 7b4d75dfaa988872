//! Words that several commands print: counts, reasons, lists of images.
//!
//! This file must not write to a stream: see [`crate::output`].

use crate::output;
use kymhost_index::ImageFailure;
use kymhost_index::staleness::ImageReport;

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
        let failures: Vec<ImageFailure> = (0..MAX_FAILURES_SHOWN + 2).map(failure).collect();
        let lines = failure_lines("failed:".into(), &failures);
        assert_eq!(lines.len(), MAX_FAILURES_SHOWN + 2);
        assert_eq!(lines[1], "  image-0  timeout: too slow\n    after 1 s");
        assert_eq!(lines[MAX_FAILURES_SHOWN + 1], "  ... and 2 more (--json lists all)");
    }
}
