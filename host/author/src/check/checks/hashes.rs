//! Checks of params hashes.

use crate::check::checks::library::marker;
use crate::check::compare::{all_changed, difference, one_changed};
use crate::check::report::{Outcome, Status};
use crate::check::subject::{Judged, Subject, is_bad_hash, json_artifacts, on_a_thread};
use crate::check::task::Task;
use kymhost_plugin_api::RunMarker;

/// Whether a hash has what no hash has.
pub(crate) fn is_odd(hash: &str) -> bool {
    hash.chars().any(|c| c.is_control() || c.is_whitespace())
}

pub(crate) fn hash_form(subject: &Subject<'_>) -> Judged {
    for record in subject.records()? {
        match subject.hash(&record) {
            Ok(hash) if is_odd(&hash) => {
                return Ok(Outcome::failed(format!("it has blanks or control characters: {hash:?}")));
            }
            Ok(_) => {}
            Err(failure) if is_bad_hash(&failure) => return Ok(Outcome::failed(failure.message)),
            Err(_) => {}
        }
    }
    let hashes = subject.hashes()?;
    Ok(Outcome::passed(hashes.first().map(|(_, hash)| hash.clone()).unwrap_or_default()))
}

pub(crate) fn hash_repeats(subject: &Subject<'_>) -> Judged {
    let hashes = subject.hashes()?;
    let again = || -> Option<String> {
        for (record, hash) in hashes.iter().rev() {
            match subject.hash(record) {
                Ok(second) if second == *hash => {}
                Ok(second) => return Some(format!("image {}: {hash}, then {second}", record.image_id())),
                Err(failure) => return Some(format!("image {}: {hash}, then {}", record.image_id(), failure.message)),
            }
        }
        None
    };
    if let Some(why) = again() {
        return Ok(Outcome::failed(why));
    }
    if let Some(why) = on_a_thread(again) {
        return Ok(Outcome::failed(format!("on another thread: {why}")));
    }
    Ok(Outcome::passed(format!("{} records, three times", hashes.len())))
}

pub(crate) fn hash_elsewhere(subject: &Subject<'_>) -> Judged {
    subject.repeating_hashes()?;
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.hash(record)).collect();
    for (one, other) in here.into_iter().zip(subject.in_another_process(Task::Extract, true)?) {
        match (one, other.hash) {
            (Ok(one), Ok(other)) if one == other => {}
            (Ok(one), Ok(other) | Err(other)) => return Ok(Outcome::failed(format!("{one} here, {other} elsewhere"))),
            (Err(_), _) => {}
        }
    }
    Ok(Outcome::passed("the same a second later, in another folder and time zone"))
}

pub(crate) fn hash_follows_params(subject: &Subject<'_>) -> Judged {
    if marker(subject)?.status != Status::Passed {
        return Err(Outcome::skipped("its run marker has no place of its own: see marker"));
    }
    let hashes = subject.repeating_hashes()?;
    let Some((record, before)) = hashes.first() else { return Ok(Outcome::skipped("there is no record")) };
    let watched = record.watched(&subject.indexer.info().marker_name);
    let _ = subject.hash(&watched);
    let _ = subject.indexer.params(&watched);
    let read = json_artifacts(&watched.inputs().unwrap_or_default());
    let declared = &subject.indexer.info().params_artifacts;
    let mut unheeded = Vec::new();
    let rows_repeat = subject.repeating().is_ok();
    for name in read.iter().chain(declared.iter().filter(|name| !read.contains(name))) {
        let Ok(Some(original)) = record.json(name) else { continue };
        record.put_json(name, &all_changed(&original))?;
        if subject.hash(record).as_ref() == Ok(before) {
            unheeded.push(name.clone());
        } else if rows_repeat {
            // Rows that follow one of its values, when the hash does not, would be stale and not be seen to be.
            for (leaf, changed) in one_changed(&original) {
                record.put_json(name, &original)?;
                let rows = subject.rows(record);
                record.put_json(name, &changed)?;
                if subject.hash(record).as_ref() != Ok(before) {
                    continue;
                }
                if let (Ok(one), Ok(two)) = (rows, subject.rows(record))
                    && let Some(why) = difference(&one, &two)
                {
                    return Ok(Outcome::failed(format!(
                        "'{leaf}' of the artifact '{name}' changes the rows ({why}) and not params_hash"
                    )));
                }
            }
        }
        record.put_json(name, &original)?;
    }
    // Of several names the first that exists counts: the others may be there and not be read.
    let declared_read = declared.iter().any(|name| read.contains(name));
    let fault = unheeded.iter().find(|name| declared.contains(name) && read.contains(name));
    Ok(match (fault, unheeded.iter().find(|name| read.contains(name))) {
        (Some(name), _) => {
            Outcome::failed(format!("it stays {before} when every value of its params artifact '{name}' changes"))
        }
        (None, Some(name)) => {
            Outcome::warned(format!("params read the artifact '{name}', but nothing of it changes params_hash"))
        }
        _ if !declared.is_empty() && !declared_read => Outcome::warned(format!(
            "its card says that '{}' holds its params, but they are not made of it",
            declared.join("', '")
        )),
        _ if read.is_empty() => Outcome::passed("its params are made of no JSON artifact"),
        _ => Outcome::passed(format!("follows '{}'", read.join("', '"))),
    })
}

pub(crate) fn ignores_markers(subject: &Subject<'_>) -> Judged {
    if marker(subject)?.status != Status::Passed {
        return Err(Outcome::skipped("its run marker has no place of its own: see marker"));
    }
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
    for (record, hash) in hashes.unwrap_or_default() {
        if subject.hash(&record).as_ref() != Ok(&hash) {
            return Ok(Outcome::failed(
                "params_hash changes once there is a run marker: each run would make its own images stale",
            ));
        }
    }
    for one in ordinary.unwrap_or_default() {
        if !matches!(subject.rows(&one.record), Ok(rows) if difference(&one.rows, &rows).is_none()) {
            return Ok(Outcome::failed("rows are other ones once there is a run marker"));
        }
    }
    Ok(Outcome::passed("the same with run markers"))
}
