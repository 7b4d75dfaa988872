//! Checks of artifacts: those that the indexer writes and reads, and old run markers.

use crate::check::damage::ODD_JSON;
use crate::check::report::{Judged, Outcome};
use crate::check::subject::{GIVE_DATASET, Subject, is_panic, is_undeclared};
use fastrand::Rng;
use kymhost_dataset::{Record, artifact_keys};
use kymhost_plugin::Made;
use kymhost_plugin_api::Artifact;
use std::collections::BTreeSet;

pub(crate) fn artifacts(subject: &Subject<'_>) -> Judged {
    let declared = &subject.indexer.info().writes;
    let extract = |record: &Record| subject.indexer.extract(record, 1, &|| false).map(|produced| produced.artifacts);
    let mut seen = BTreeSet::new();
    for (record, made) in subject.accepted(is_undeclared, extract)? {
        let again = extract(&record).unwrap_or_default();
        if let Some(name) = missing_in(&again, &made).or_else(|| missing_in(&made, &again)) {
            return Err(Outcome::failed(format!(
                "image {}: the artifact '{name}' is not the same after a second extraction",
                record.image_id()
            )));
        }
        seen.extend(made.into_iter().map(|made| made.name));
    }
    match declared.iter().find(|artifact| !seen.contains(&artifact.name)) {
        Some(artifact) if seen.is_empty() => {
            Err(Outcome::warned(format!("it declares '{}', but writes no artifact for any record", artifact.name)))
        }
        _ if declared.is_empty() => Ok("it writes no artifacts".to_owned()),
        _ => Ok(format!("writes {}", seen.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// The name of an artifact that another extraction did not make, or not like this.
fn missing_in(other: &[Made], made: &[Made]) -> Option<String> {
    made.iter().find(|one| !other.contains(one)).map(|one| one.name.clone())
}

pub(crate) fn reads(subject: &Subject<'_>) -> Judged {
    let info = subject.indexer.info();
    let mut read = BTreeSet::new();
    let mut is_accepted = false;
    for record in subject.records()? {
        let (inputs, answers) = subject.all_inputs(&record);
        is_accepted |= answers.hash.is_ok() || answers.rows.is_ok();
        read.extend(inputs.into_iter().map(|input| input.key));
    }
    if !is_accepted {
        return Err(Outcome::skipped(format!("it accepts none of the records; {GIVE_DATASET}")));
    }
    let is_read = |artifact: &&Artifact| {
        let keys = artifact_keys(artifact).unwrap_or_default();
        keys.iter().any(|key| read.contains(key))
    };
    if let Some(own) = info.writes.iter().find(is_read) {
        return Err(Outcome::failed(format!(
            "it reads '{}', which it writes itself: its rows depend on the run before, and kymhost cannot see when they are stale",
            own.name
        )));
    }
    let is_declared = |name: &String| info.reads.contains(name) || info.params_artifacts.contains(name);
    for other in subject.others {
        if let Some(artifact) = other.writes.iter().filter(|artifact| !is_declared(&artifact.name)).find(is_read) {
            return Err(Outcome::failed(format!(
                "it reads '{}', which '{}' writes, but READS does not name it: kymhost may run it first",
                artifact.name, other.name
            )));
        }
    }
    Ok(match info.reads.as_slice() {
        [] => "it reads no artifact of another indexer of its library".to_owned(),
        names => format!("declares '{}'", names.join("', '")),
    })
}

pub(crate) fn old_markers(subject: &Subject<'_>) -> Judged {
    let mut rng = Rng::with_seed(subject.order.seed);
    let mut payloads: Vec<Vec<u8>> = ODD_JSON.iter().map(|text| text.as_bytes().to_vec()).collect();
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
                let odd = rng.choice(ODD_JSON).unwrap_or(&"null");
                members.push(format!("\"{field}\": {odd}"));
            }
        }
        payloads.push(format!("{{{}}}", members.join(", ")).into_bytes());
    }
    payloads.extend([b"".to_vec(), b"\xff".to_vec(), b"{".to_vec()]);
    let mut read = 0;
    for payload in &payloads {
        match subject.indexer.read_old_marker(payload) {
            Ok(marker) => read += usize::from(marker.is_some()),
            Err(failure) if is_panic(&failure) => {
                let payload = String::from_utf8_lossy(payload);
                return Err(Outcome::failed(format!("it panics when it reads {payload}: {}", failure.message)));
            }
            Err(_) => {}
        }
    }
    Ok(format!("{} texts, {read} of them read as markers", payloads.len()))
}
