//! What a plugin writes outside of the folders of its check.
//!
//! Responsible for counting the bytes that a process writes, for making the system refuse writes, and for the verdict. It
//! does not compare folders: see [`super::sandbox`].
//!
//! The system does not say who wrote a file, and other processes write, too. So the plugin is used twice: in a process that
//! may write wherever its user may, and in one that may write only in its own folders (Landlock, which needs no
//! privileges). A plugin that writes less in the second one, or fails there, writes elsewhere. Writes to pipes and sockets
//! are the same in both.

use crate::check::report::{Judged, Outcome};
use crate::check::sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// What an indexer did with all records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Use {
    /// Bytes that the process wrote, without those that it printed; `None` if the system does not report them.
    pub written_bytes: Option<u64>,
    /// For each record, why there are no rows; `None` if there are.
    pub failures: Vec<Option<String>>,
}

impl Use {
    /// How many records it accepted.
    pub(crate) fn summary(&self) -> String {
        let accepted = self.failures.iter().filter(|failure| failure.is_none()).count();
        format!("{accepted} of {} records extracted", self.failures.len())
    }
}

/// How many bytes this process and the children that it waited for have written to files, pipes and sockets so far, without
/// those that it printed. Linux only.
pub(crate) fn written_bytes(sandbox: &Sandbox) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let all: u64 = text.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()?;
    let length = |file: &Path| fs::metadata(file).map_or(0, |file| file.len());
    Some(all.saturating_sub(length(&sandbox.printed()) + length(&sandbox.said())))
}

/// Makes the system refuse all writes of this thread and of those that it starts, except in the sandbox and to devices.
/// Returns whether the system can do that.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(crate) fn deny_writes(sandbox: &Sandbox) -> bool {
    use landlock::{
        ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
    };
    let writes = AccessFs::from_write(ABI::V3);
    // Devices are not files, but /dev has folders for files, too.
    let devices = fs::read_dir("/dev").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let devices = devices.filter(|path| !path.ends_with("shm") && !path.ends_with("mqueue"));
    let allowed: Vec<_> = devices.chain([sandbox.root().to_owned(), "/proc".into()]).collect();
    let restrict = || {
        let rules = Ruleset::default().handle_access(writes)?.create()?;
        rules.add_rules(path_beneath_rules(&allowed, writes))?.restrict_self()
    };
    restrict().is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// This system cannot refuse writes.
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub(crate) fn deny_writes(_sandbox: &Sandbox) -> bool {
    false
}

/// Judges two uses: one that could write anywhere, and one that could not, if there is one.
pub(crate) fn verdict(free: &Use, denied: Option<&Use>) -> Judged {
    let done = free.summary();
    let Some(denied) = denied else {
        return match free.written_bytes {
            Some(bytes) if bytes > 0 => Err(Outcome::warned(format!(
                "it wrote {bytes} bytes outside of its folders; this system does not report whether to files, pipes or sockets"
            ))),
            Some(_) => Ok(done),
            None => Ok(format!("{done}; this system does not report writes outside of its folders")),
        };
    };
    let needs = free.failures.iter().zip(&denied.failures).find_map(|(free, denied)| match (free, denied) {
        (None, Some(why)) => Some(why),
        _ => None,
    });
    if let Some(why) = needs {
        return Err(Outcome::failed(format!("it fails if it may write only in its own folders: {why}")));
    }
    let (free, denied) = (free.written_bytes.unwrap_or_default(), denied.written_bytes.unwrap_or_default());
    // Threads that talk through pipes never write exactly the same number of bytes twice.
    if free > denied.saturating_mul(2) {
        return Err(Outcome::failed(format!(
            "it writes {} bytes outside of its own folders (strace -f -e trace=%file shows where)",
            free - denied
        )));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    fn used(written_bytes: Option<u64>, failures: &[Option<&str>]) -> Use {
        Use { written_bytes, failures: failures.iter().map(|failure| failure.map(str::to_owned)).collect() }
    }

    #[test]
    fn verdict_finds_writes_elsewhere() {
        let fine = [None, Some("no params")];
        let cases = [
            (used(Some(0), &fine), Some(used(Some(0), &fine)), Status::Passed, "1 of 2 records"),
            (used(Some(12), &fine), Some(used(Some(0), &fine)), Status::Failed, "writes 12 bytes outside"),
            (used(Some(0), &fine), Some(used(Some(0), &[Some("no"), None])), Status::Failed, "own folders: no"),
            // Pipes and sockets.
            (used(Some(800), &fine), Some(used(Some(792), &fine)), Status::Passed, ""),
            (used(Some(8), &fine), Some(used(Some(16), &fine)), Status::Passed, ""),
            (used(Some(4800), &fine), Some(used(Some(800), &fine)), Status::Failed, "4000 bytes"),
            // An error in both uses says nothing about writes.
            (used(Some(0), &[Some("a")]), Some(used(Some(0), &[Some("b")])), Status::Passed, "0 of 1"),
            // Systems that report less.
            (used(Some(12), &fine), None, Status::Warned, "12 bytes"),
            (used(Some(0), &fine), None, Status::Passed, "1 of 2"),
            (used(None, &fine), None, Status::Passed, "does not report"),
            (used(None, &fine), Some(used(None, &fine)), Status::Passed, ""),
        ];
        for (free, denied, status, words) in cases {
            let found = verdict(&free, denied.as_ref()).map_or_else(|outcome| outcome, Outcome::passed);
            assert!(found.status == status && found.message.contains(words), "{free:?} {denied:?}: {found:?}");
        }
    }
}
