//! What a plugin writes elsewhere than in the folders of its check.
//!
//! Owns: how many bytes a process has written, having the system refuse writes, what both say of a plugin. Never: looks into
//! folders (see [`super::sandbox`]).
//!
//! The system does not say who wrote a file, and other processes write, too. So the plugin is used twice, in a process that may
//! write wherever its user may, and in one that may write nowhere but in its own folders (Landlock, which needs no privileges). What it then
//! cannot write, or cannot do without, it writes elsewhere. Pipes and sockets are written in both alike.

use crate::check::report::Outcome;
use crate::check::sandbox::Sandbox;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// What came of using an indexer on all records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Use {
    /// Bytes that the process wrote, less those that it printed; `None` where the system does not tell.
    pub written_bytes: Option<u64>,
    /// Of each record, why there are no rows; `None` where there are.
    pub failures: Vec<Option<String>>,
}

/// How much this process, with the children that it has waited for, has written into files, pipes and sockets, less what it
/// printed. Linux only; grows.
pub(crate) fn written_bytes(sandbox: &Sandbox) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/io").ok()?;
    let all: u64 = text.lines().find_map(|line| line.strip_prefix("wchar:"))?.trim().parse().ok()?;
    let length = |file: &Path| fs::metadata(file).map_or(0, |file| file.len());
    Some(all.saturating_sub(length(&sandbox.printed()) + length(&sandbox.said())))
}

/// Has the system refuse this thread, and those that it starts, every write but those below the sandbox and to devices. Whether
/// the system can.
#[cfg(all(target_os = "linux", not(feature = "portable")))]
pub(crate) fn deny_writes(sandbox: &Sandbox) -> bool {
    use landlock::{
        ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
    };
    let writes = AccessFs::from_write(ABI::V3);
    // Devices and what the kernel makes are no files; but below /dev are folders for files, too.
    let devices = fs::read_dir("/dev").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let devices = devices.filter(|path| !path.ends_with("shm") && !path.ends_with("mqueue"));
    let allowed: Vec<_> = devices.chain([sandbox.root().to_owned(), "/proc".into()]).collect();
    let restrict = || {
        let rules = Ruleset::default().handle_access(writes)?.create()?;
        rules.add_rules(path_beneath_rules(&allowed, writes))?.restrict_self()
    };
    restrict().is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Has the system refuse writes, which this one cannot.
#[cfg(not(all(target_os = "linux", not(feature = "portable"))))]
pub(crate) fn deny_writes(_sandbox: &Sandbox) -> bool {
    false
}

/// What two uses say: one where it might write anywhere, and one where it might not, if there is one.
pub(crate) fn verdict(free: &Use, denied: Option<&Use>) -> Outcome {
    let taken = free.failures.iter().filter(|failure| failure.is_none()).count();
    let records = free.failures.len();
    let done = format!("{taken} of {records} records extracted");
    let Some(denied) = denied else {
        return match free.written_bytes {
            Some(bytes) if bytes > 0 => Outcome::warned(format!(
                "it wrote {bytes} bytes, and nothing of it in its folders; this system cannot tell whether into files, pipes or sockets"
            )),
            Some(_) => Outcome::passed(done),
            None => Outcome::passed(format!("{done}; what is written elsewhere is not seen on this system")),
        };
    };
    let needs = free.failures.iter().zip(&denied.failures).find_map(|(free, denied)| match (free, denied) {
        (None, Some(why)) => Some(why),
        _ => None,
    });
    if let Some(why) = needs {
        return Outcome::failed(format!("where it may not write elsewhere than in its own folders it gives up: {why}"));
    }
    let (free, denied) = (free.written_bytes.unwrap_or_default(), denied.written_bytes.unwrap_or_default());
    // What threads tell each other through pipes is never twice the same, but about.
    if free > denied.saturating_mul(2) {
        return Outcome::failed(format!(
            "it writes {} bytes elsewhere than in its own folders (strace -f -e trace=%file shows where)",
            free - denied
        ));
    }
    Outcome::passed(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Status;

    fn used(written_bytes: Option<u64>, failures: &[Option<&str>]) -> Use {
        Use { written_bytes, failures: failures.iter().map(|failure| failure.map(str::to_owned)).collect() }
    }

    #[test]
    fn what_is_written_elsewhere_is_told_from_what_is_not() {
        let fine = [None, Some("no params")];
        let cases = [
            (used(Some(0), &fine), Some(used(Some(0), &fine)), Status::Passed, "1 of 2 records"),
            (used(Some(12), &fine), Some(used(Some(0), &fine)), Status::Failed, "writes 12 bytes elsewhere"),
            (used(Some(0), &fine), Some(used(Some(0), &[Some("no"), None])), Status::Failed, "gives up: no"),
            // Pipes and sockets.
            (used(Some(800), &fine), Some(used(Some(792), &fine)), Status::Passed, ""),
            (used(Some(8), &fine), Some(used(Some(16), &fine)), Status::Passed, ""),
            (used(Some(4800), &fine), Some(used(Some(800), &fine)), Status::Failed, "4000 bytes"),
            // An error that is there in any case is its own affair.
            (used(Some(0), &[Some("a")]), Some(used(Some(0), &[Some("b")])), Status::Passed, "0 of 1"),
            // Systems that have less to tell.
            (used(Some(12), &fine), None, Status::Warned, "12 bytes"),
            (used(Some(0), &fine), None, Status::Passed, "1 of 2"),
            (used(None, &fine), None, Status::Passed, "not seen"),
            (used(None, &fine), Some(used(None, &fine)), Status::Passed, ""),
        ];
        for (free, denied, status, words) in cases {
            let found = verdict(&free, denied.as_ref());
            assert!(found.status == status && found.message.contains(words), "{free:?} {denied:?}: {found:?}");
        }
    }
}
