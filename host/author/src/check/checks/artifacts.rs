//! Checks of artifacts: those that it hands over, those that it reads, and old run markers.

use crate::check::damage;
use crate::check::report::Outcome;
use crate::check::subject::{GIVE_DATASET, Judged, Subject, is_undeclared, no_rows};
use fastrand::Rng;
use kymhost_dataset::{Record, artifact_keys};
use kymhost_plugin::{FailureKind, Made};
use kymhost_plugin_api::Artifact;
use std::collections::BTreeSet;

pub(crate) fn artifacts(subject: &Subject<'_>) -> Judged {
    let declared = &subject.indexer.info().writes;
    let extract = |record: &Record| subject.indexer.extract(record, 1, &|| false).map(|produced| produced.artifacts);
    let mut seen = BTreeSet::new();
    let mut why = None;
    let mut taken = 0;
    for record in subject.records()? {
        let made = match extract(&record) {
            Ok(made) => made,
            Err(failure) if is_undeclared(&failure) => return Ok(Outcome::failed(failure.message)),
            Err(failure) => {
                why.get_or_insert(failure);
                continue;
            }
        };
        taken += 1;
        let again = extract(&record).unwrap_or_default();
        if let Some(name) = other_artifact(&made, &again).or_else(|| other_artifact(&again, &made)) {
            return Ok(Outcome::failed(format!(
                "image {}: the artifact '{name}' is not the same when it is made twice",
                record.image_id()
            )));
        }
        seen.extend(made.into_iter().map(|made| made.name));
    }
    match why {
        Some(failure) if taken == 0 => return Err(no_rows(&failure)),
        _ => {}
    }
    let never = declared.iter().find(|artifact| !seen.contains(&artifact.name));
    Ok(match never {
        Some(artifact) if seen.is_empty() => {
            Outcome::warned(format!("it declares '{}', and hands nothing over for any record", artifact.name))
        }
        _ if declared.is_empty() => Outcome::passed("it hands nothing over"),
        _ => Outcome::passed(format!("hands over {}", seen.into_iter().collect::<Vec<_>>().join(", "))),
    })
}

/// An artifact that the other extraction did not make so.
fn other_artifact(made: &[Made], others: &[Made]) -> Option<String> {
    made.iter().find(|one| !others.contains(one)).map(|one| one.name.clone())
}

pub(crate) fn reads(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let mut read = BTreeSet::new();
    let mut taken = 0;
    for record in subject.records()? {
        // Nothing is its own here: what it writes itself is to be seen, too.
        let watched = record.watched("kymhost-check/none");
        taken += usize::from(subject.hash(&watched).is_ok());
        let _ = subject.indexer.params(&watched);
        taken += usize::from(subject.rows(&watched).is_ok());
        read.extend(watched.inputs().unwrap_or_default().into_iter().map(|input| input.key));
    }
    if taken == 0 {
        return Err(Outcome::skipped(format!("it takes no record; {GIVE_DATASET}")));
    }
    let is_read = |artifact: &&Artifact| {
        let keys = artifact_keys(artifact).unwrap_or_default();
        keys.iter().any(|key| read.contains(key))
    };
    if let Some(own) = info.writes.iter().find(is_read) {
        return Ok(Outcome::failed(format!(
            "it reads '{}', which it writes itself: its rows depend on the run before, and nothing tells when they are stale",
            own.name
        )));
    }
    let is_declared = |name: &String| info.reads.contains(name) || info.params_artifacts.contains(name);
    for other in subject.others {
        if let Some(artifact) = other.writes.iter().filter(|artifact| !is_declared(&artifact.name)).find(is_read) {
            return Ok(Outcome::failed(format!(
                "it reads '{}', which '{}' writes, but its READS does not name it: it may run before that",
                artifact.name, other.name
            )));
        }
    }
    Ok(Outcome::passed(match info.reads.as_slice() {
        [] => "it reads nothing that an indexer of its library writes".to_owned(),
        names => format!("declares '{}'", names.join("', '")),
    }))
}

pub(crate) fn old_markers(subject: &Subject<'_>) -> Judged {
    let mut rng = Rng::with_seed(subject.seed);
    let mut payloads: Vec<Vec<u8>> = damage::ODD_JSON.iter().map(|text| text.as_bytes().to_vec()).collect();
    let fields = [
        "marker_version",
        "indexer_name",
        "params_hash",
        "analysis_version",
        "n_rows",
        "n_events",
        "ran_utc_epoch_ns",
        "computed_utc_epoch_ns",
        "status",
    ];
    for _ in 0..400 {
        let mut members = Vec::new();
        for field in fields {
            if rng.u8(..) < 200 {
                let odd = rng.usize(..damage::ODD_JSON.len());
                members.push(format!("\"{field}\": {}", damage::ODD_JSON.get(odd).unwrap_or(&"null")));
            }
        }
        payloads.push(format!("{{{}}}", members.join(", ")).into_bytes());
    }
    payloads.extend([b"".to_vec(), b"\xff".to_vec(), b"{".to_vec()]);
    let mut read = 0;
    for payload in &payloads {
        match subject.indexer.read_old_marker(payload) {
            Ok(marker) => read += usize::from(marker.is_some()),
            Err(failure) if failure.kind == FailureKind::Panic => {
                let payload = String::from_utf8_lossy(payload);
                return Ok(Outcome::failed(format!("it panics at {payload}: {}", failure.message)));
            }
            Err(_) => {}
        }
    }
    Ok(Outcome::passed(format!("{} payloads, {read} of them taken for markers", payloads.len())))
}
