//! Checks of the library's own affairs: that it takes records, has a marker of its own, and leaves nothing behind.

use crate::check::other_process::used;
use crate::check::report::Outcome;
use crate::check::subject::{GIVE_DATASET, Judged, Subject, no_rows};
use crate::check::task::{Answer, Task};
use crate::check::writes::verdict;
use kymhost_plugin::FailureKind;
use kymhost_plugin_api::ArtifactKind;
use std::collections::BTreeSet;

pub(crate) fn marker(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let marker = &info.marker_name;
    let key = |name: &str| -> Result<BTreeSet<String>, Outcome> {
        let Some(record) = subject.records()?.into_iter().next() else { return Ok(BTreeSet::new()) };
        let watched = record.watched("kymhost-check/none");
        let _ = watched.json_bytes(name);
        Ok(watched.inputs().unwrap_or_default().into_iter().map(|input| input.key).collect())
    };
    let own = key(marker)?;
    if own.is_empty() {
        return Ok(Outcome::failed(format!("'{marker}' is no name of an artifact")));
    }
    for taken in info.params_artifacts.iter().map(String::as_str).chain(["metadata"]) {
        if key(taken)? == own {
            return Ok(Outcome::failed(format!(
                "its run marker '{marker}' is kept where the artifact '{taken}' is: each run would overwrite it"
            )));
        }
    }
    for made in info.writes.iter().filter(|made| made.kind == ArtifactKind::Json) {
        if key(&made.name)? == own {
            return Ok(Outcome::failed(format!(
                "its run marker '{marker}' is kept where the artifact '{}' is that it makes: each run would overwrite it",
                made.name
            )));
        }
    }
    Ok(Outcome::passed(marker.clone()))
}

pub(crate) fn extracts(subject: &Subject<'_>) -> Judged {
    let records = subject.records()?;
    let (mut rows, mut taken, mut why) = (0, 0, None);
    for record in &records {
        for failure in [subject.hash(record).err(), subject.rows(record).map(|r| rows += r.num_rows()).err()] {
            match failure {
                Some(failure) if failure.kind == FailureKind::Panic => {
                    return Ok(Outcome::failed(format!("image {} panics: {}", record.image_id(), failure.message)));
                }
                Some(failure) => drop(why.get_or_insert(failure)),
                None => {}
            }
        }
        taken += usize::from(subject.rows(record).is_ok());
    }
    match why {
        Some(failure) if taken == 0 => Err(no_rows(&failure)),
        _ if rows == 0 => Err(Outcome::skipped(format!("no record gives a row; {GIVE_DATASET}"))),
        _ => Ok(Outcome::passed(format!("{rows} rows of {taken} of {} records", records.len()))),
    }
}

/// Has the indexer do all that it can, for what is looked at from outside.
pub(crate) fn use_it(subject: &Subject<'_>) -> Judged {
    let mut taken = 0;
    let records = subject.records()?;
    for record in &records {
        let _ = subject.hash(record);
        let _ = subject.indexer.params(record);
        taken += usize::from(subject.rows(record).is_ok());
    }
    let _ = subject.indexer.read_old_marker(b"{\"n_events\": 1}");
    Ok(Outcome::passed(format!("{taken} of {} records extracted", records.len())))
}

/// What it writes into its folders the suite sees afterwards.
pub(crate) fn writes_nothing(subject: &Subject<'_>) -> Judged {
    let (answer, _) = subject.answer_of_another(Task::UseDenied, false)?;
    let free = used(subject).map_err(Outcome::skipped)?;
    match answer {
        Some(Answer::Used { used: denied }) => Ok(verdict(&free, denied.as_ref())),
        _ => Ok(Outcome::failed("where it may not write elsewhere than in its own folders, its process dies")),
    }
}
