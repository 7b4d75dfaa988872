//! Checks of an indexer's behaviour as a whole: that it accepts records, has its own marker, and leaves nothing behind.

use crate::check::other_process::used;
use crate::check::report::{Judged, Outcome};
use crate::check::subject::{GIVE_DATASET, Subject, is_panic};
use crate::check::task::{Answer, Task};
use crate::check::writes::verdict;
use kymhost_dataset::artifact_keys;
use kymhost_plugin_api::{Artifact, ArtifactKind};

pub(crate) fn marker(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let marker = &info.marker_name;
    let keys = |name: &str| artifact_keys(&Artifact::new(name, ArtifactKind::Json)).ok();
    let Some(own) = keys(marker) else {
        return Err(Outcome::failed(format!("its run marker '{marker}' is not a valid name of an artifact")));
    };
    let read = info.params_artifacts.iter().map(String::as_str).chain(["metadata"]);
    let written = info.writes.iter().filter(|artifact| artifact.kind == ArtifactKind::Json);
    let mut others = read.chain(written.map(|artifact| artifact.name.as_str()));
    match others.find(|other| keys(other).as_ref() == Some(&own)) {
        Some(other) => Err(Outcome::failed(format!(
            "its run marker '{marker}' has the same file as the artifact '{other}', so each run would overwrite it"
        ))),
        None => Ok(marker.clone()),
    }
}

pub(crate) fn extracts(subject: &Subject<'_>) -> Judged {
    let accepted = subject.accepted(is_panic, |record| match subject.hash(record) {
        Err(failure) if is_panic(&failure) => Err(failure),
        _ => subject.rows(record),
    })?;
    match accepted.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>() {
        0 => Err(Outcome::skipped(format!("no record gives a row; {GIVE_DATASET}"))),
        rows => Ok(format!("{rows} rows from {} of {} records", accepted.len(), subject.records()?.len())),
    }
}

/// Uses the indexer; the suite looks at the process from outside.
pub(crate) fn use_it(subject: &Subject<'_>) -> Judged {
    Ok(used(subject).map_err(Outcome::skipped)?.summary())
}

/// Looks for writes outside of the sandbox. The suite compares the folders of the sandbox afterwards.
pub(crate) fn writes_nothing(subject: &Subject<'_>) -> Judged {
    let (answer, _) = subject.answer_of_another(Task::UseDenied, false)?;
    let free = used(subject).map_err(Outcome::skipped)?;
    match answer {
        Some(Answer::Used { used: denied }) => verdict(&free, denied.as_ref()),
        _ => Err(Outcome::failed("its process dies if the system refuses writes outside of its own folders")),
    }
}
