//! Checks of params hashes.

use crate::check::checks::library::marker;
use crate::check::compare::{all_changed, difference, one_changed};
use crate::check::report::{Judged, Outcome};
use crate::check::subject::{Subject, is_bad_hash, json_artifacts, repeats};
use crate::check::task::Task;
use kymhost_plugin_api::RunMarker;

/// Whether a hash has characters that no hash may have.
pub(crate) fn is_odd(hash: &str) -> bool {
    hash.chars().any(|c| c.is_control() || c.is_whitespace())
}

pub(crate) fn hash_form(subject: &Subject<'_>) -> Judged {
    let hashes = subject.accepted(is_bad_hash, |record| subject.hash(record))?;
    if let Some((_, hash)) = hashes.iter().find(|(_, hash)| is_odd(hash)) {
        return Err(Outcome::failed(format!("it has blanks or control characters: {hash:?}")));
    }
    Ok(hashes.into_iter().next().map(|(_, hash)| hash).unwrap_or_default())
}

pub(crate) fn hash_repeats(subject: &Subject<'_>) -> Judged {
    repeats(&subject.hashes()?, |one| subject.hash_change(one))
}

pub(crate) fn hash_elsewhere(subject: &Subject<'_>) -> Judged {
    subject.repeating_hashes()?;
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.hash(record)).collect();
    for (one, other) in here.into_iter().zip(subject.in_another_process(Task::Extract, true)?) {
        match (one, other.hash) {
            (Ok(one), Ok(other)) if one == other => {}
            (Ok(one), Ok(other) | Err(other)) => return Err(Outcome::failed(format!("{one} here, {other} elsewhere"))),
            (Err(_), _) => {}
        }
    }
    Ok("the same a second later, in another folder and time zone".to_owned())
}

/// Checks that look at markers need one that is no other artifact.
fn need_own_marker(subject: &Subject<'_>) -> Result<(), Outcome> {
    marker(subject).map(drop).map_err(|_| Outcome::skipped("its run marker has no file of its own: see marker"))
}

pub(crate) fn hash_follows_params(subject: &Subject<'_>) -> Judged {
    need_own_marker(subject)?;
    let hashes = subject.repeating_hashes()?;
    let Some((record, before)) = hashes.first() else { return Err(Outcome::skipped("there is no record")) };
    let watched = record.watched(&subject.indexer.info().marker_name);
    let _ = subject.hash(&watched);
    let _ = subject.indexer.params(&watched);
    let read = json_artifacts(&watched.inputs().unwrap_or_default());
    let declared = &subject.indexer.info().params_artifacts;
    let is_same = || subject.hash(record).as_ref() == Ok(before);
    let mut without_effect = Vec::new();
    let rows_repeat = subject.repeating().is_ok();
    for name in read.iter().chain(declared.iter().filter(|name| !read.contains(name))) {
        let Ok(Some(original)) = record.json(name) else { continue };
        record.put_json(name, &all_changed(&original))?;
        if is_same() {
            without_effect.push(name.clone());
        } else if rows_repeat {
            // If rows depend on a value and the hash does not, rows get stale and nobody notices.
            for (leaf, changed) in one_changed(&original) {
                record.put_json(name, &original)?;
                let rows = subject.rows(record);
                record.put_json(name, &changed)?;
                if is_same()
                    && let (Ok(one), Ok(two)) = (rows, subject.rows(record))
                    && let Some(why) = difference(&one, &two)
                {
                    return Err(Outcome::failed(format!(
                        "'{leaf}' of the artifact '{name}' changes the rows ({why}), but not params_hash"
                    )));
                }
            }
        }
        record.put_json(name, &original)?;
    }
    // Of several declared names the first that exists counts: the others need not be read.
    let is_declared_read = declared.iter().any(|name| read.contains(name));
    let fault = without_effect.iter().find(|name| declared.contains(name) && read.contains(name));
    match (fault, without_effect.iter().find(|name| read.contains(name))) {
        (Some(name), _) => {
            Err(Outcome::failed(format!("it stays {before} if all values of its params artifact '{name}' change")))
        }
        (None, Some(name)) => {
            Err(Outcome::warned(format!("params reads the artifact '{name}', but params_hash does not depend on it")))
        }
        _ if !declared.is_empty() && !is_declared_read => Err(Outcome::warned(format!(
            "its card declares '{}' as params artifacts, but params reads none of them",
            declared.join("', '")
        ))),
        _ if read.is_empty() => Ok("params reads no JSON artifact".to_owned()),
        _ => Ok(format!("depends on '{}'", read.join("', '"))),
    }
}

pub(crate) fn ignores_markers(subject: &Subject<'_>) -> Judged {
    need_own_marker(subject)?;
    let hashes = subject.repeating_hashes();
    let ordinary = subject.repeating();
    if let (Err(why), Err(_)) = (&hashes, &ordinary) {
        return Err(why.clone());
    }
    let info = subject.indexer.info();
    for (number, record) in subject.records()?.iter().enumerate() {
        for name in [info.marker_name.as_str(), "kymhost_check_run"] {
            let marker = RunMarker::new(&info.name, "h", &info.analysis_version, 3 + number as u64, 1_700_000_000);
            record.put_json(name, &marker.to_json())?;
        }
    }
    if hashes.unwrap_or_default().iter().any(|one| subject.hash_change(one).is_some()) {
        return Err(Outcome::failed(
            "params_hash changes when the image gets a run marker, so each run makes its own images stale",
        ));
    }
    if ordinary.unwrap_or_default().iter().any(|one| subject.rows_change(one).is_some()) {
        return Err(Outcome::failed("rows change when the image gets a run marker"));
    }
    Ok("the same with run markers".to_owned())
}
