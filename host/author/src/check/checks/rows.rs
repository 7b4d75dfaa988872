//! Checks of rows.

use crate::check::compare::{difference, schema_conflict};
use crate::check::damage;
use crate::check::other_process::Elsewhere;
use crate::check::report::Outcome;
use crate::check::subject::{GIVE_DATASET, Judged, Ordinary, Subject, no_rows, on_a_thread, records};
use crate::check::task::Task;
use arrow::array::{Array as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use kymhost_dataset::Dataset;
use kymhost_plugin::{Failure, FailureKind};
use std::thread;

pub(crate) fn rows_repeat(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    let again = || -> Option<String> { ordinary.iter().rev().find_map(|one| differs(subject, one)) };
    if let Some(why) = again() {
        return Ok(Outcome::failed(why));
    }
    if let Some(why) = on_a_thread(again) {
        return Ok(Outcome::failed(format!("on another thread: {why}")));
    }
    Ok(Outcome::passed(format!("{} records, three times", ordinary.len())))
}

/// How the rows of a record, extracted again, differ.
fn differs(subject: &Subject<'_>, one: &Ordinary) -> Option<String> {
    let why = match subject.rows(&one.record) {
        Ok(rows) => difference(&one.rows, &rows)?,
        Err(failure) => format!("rows, then {}: {}", failure.kind, failure.message),
    };
    Some(format!("image {}: {why}", one.record.image_id()))
}

pub(crate) fn rows_elsewhere(subject: &Subject<'_>) -> Judged {
    subject.repeating()?;
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.rows(record)).collect();
    let there = subject.in_another_process(Task::Extract, true)?;
    match first_difference(here, there) {
        Some(why) => Ok(Outcome::failed(format!("here, then elsewhere: {why}"))),
        None => Ok(Outcome::passed("the same a second later, in another folder and time zone")),
    }
}

fn first_difference(here: Vec<Result<RecordBatch, Failure>>, there: Vec<Elsewhere>) -> Option<String> {
    here.into_iter().zip(there).find_map(|(one, other)| match (one, other.rows) {
        (Ok(one), Ok(other)) => difference(&one, &other),
        (Ok(_), Err(why)) => Some(format!("rows, then {why}")),
        (Err(failure), Ok(_)) => Some(format!("{}, then rows", failure.message)),
        (Err(_), Err(_)) => None,
    })
}

/// Threads that extract at once.
const THREADS: usize = 4;

/// How often each of them does every record.
const ROUNDS: usize = 4;

pub(crate) fn at_once(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.repeating()?;
    let why = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|shift| {
                let ordinary = &ordinary;
                scope.spawn(move || {
                    (0..ROUNDS).find_map(|_| {
                        let mut order = ordinary.iter().cycle().skip(shift).take(ordinary.len());
                        order.find_map(|one| differs(subject, one))
                    })
                })
            })
            .collect();
        threads.into_iter().find_map(|thread| thread.join().ok().flatten())
    });
    Ok(match why {
        Some(why) => Outcome::failed(format!("{THREADS} threads at once: {why}")),
        None => Outcome::passed(format!("{THREADS} threads at once, {} records each", ROUNDS * ordinary.len())),
    })
}

pub(crate) fn two_datasets(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.repeating()?;
    if ordinary.len() < 2 {
        return Err(Outcome::skipped(format!("there are fewer than two records that it takes; {GIVE_DATASET}")));
    }
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.rows(record)).collect();
    if first_difference(here, subject.in_another_process(Task::Extract, false)?).is_some() {
        return Err(Outcome::skipped("rows are others in another process: see rows_elsewhere"));
    }
    let other = Dataset::open(&subject.sandbox.other())?;
    let after: Vec<_> = records(&other)?.iter().map(|record| subject.rows(record)).collect();
    match first_difference(after, subject.in_another_process(Task::ExtractOther, false)?) {
        Some(why) => Ok(Outcome::failed(format!("after another dataset, then by itself: {why}"))),
        None => Ok(Outcome::passed("the same before and after another dataset")),
    }
}

pub(crate) fn proper_table(subject: &Subject<'_>) -> Judged {
    let mut tables = 0;
    let mut why = None;
    for record in subject.records()? {
        match subject.rows(&record) {
            Ok(_) => tables += 1,
            Err(failure) if failure.kind == FailureKind::BadTable => return Ok(Outcome::failed(failure.message)),
            Err(failure) => drop(why.get_or_insert(failure)),
        }
    }
    match why {
        Some(failure) if tables == 0 => Err(no_rows(&failure)),
        _ => Ok(Outcome::passed(format!("{tables} tables"))),
    }
}

pub(crate) fn storable(subject: &Subject<'_>) -> Judged {
    let scratch = Dataset::create(&subject.sandbox.out().join("scratch.zarr"))?;
    let ordinary = subject.ordinary_with_rows()?;
    for one in &ordinary {
        let kept = scratch.write_table("kym_check", &one.rows).and_then(|()| scratch.read_table("kym_check", None));
        match kept {
            Ok(Some(rows)) if rows.num_rows() == one.rows.num_rows() => {}
            Ok(rows) => {
                let rows = rows.map_or(0, |rows| rows.num_rows());
                return Ok(Outcome::failed(format!("{} rows were kept as {rows}", one.rows.num_rows())));
            }
            Err(error) => return Ok(Outcome::failed(error.to_string())),
        }
    }
    Ok(Outcome::passed(format!("{} tables kept", ordinary.len())))
}

pub(crate) fn schema_same(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    let Some(full) = ordinary.iter().find(|one| one.rows.num_rows() > 0) else {
        return Err(Outcome::skipped("no record gives a row"));
    };
    let schema = full.rows.schema();
    for one in &ordinary {
        if let Some(why) = schema_conflict(&schema, &one.rows.schema(), false) {
            return Ok(Outcome::failed(format!("image {}: {why}", one.record.image_id())));
        }
    }
    let mut without_rows = 0;
    for (what, may_lack, rows) in damage::without_rows(subject, full)? {
        without_rows += usize::from(rows.num_rows() == 0);
        // Rows that are there all the same are another case: columns may then depend on the artifact.
        if rows.num_rows() == 0
            && let Some(why) = schema_conflict(&schema, &rows.schema(), may_lack)
        {
            return Ok(Outcome::failed(format!("with no rows ({what}): {why}")));
        }
    }
    let columns = schema.fields().len();
    Ok(Outcome::passed(format!("{columns} columns, {} records, {without_rows} tables without rows", ordinary.len())))
}

/// A column as text, where it is there and of a type that can be.
fn text_column(rows: &RecordBatch, name: &str) -> Option<Result<StringArray, DataType>> {
    let column = rows.column_by_name(name)?;
    let text = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => cast(column, &DataType::Utf8).ok(),
        _ => None,
    };
    let text = text.and_then(|text| text.as_any().downcast_ref::<StringArray>().cloned());
    Some(text.ok_or_else(|| column.data_type().clone()))
}

/// What is wrong with a column whose every cell should be this.
fn not_all(rows: &RecordBatch, name: &str, expected: &str) -> Option<String> {
    match text_column(rows, name)? {
        Err(found) => Some(format!("the column '{name}' is {found}, expected text")),
        Ok(texts) => {
            let other = texts.iter().flatten().find(|text| *text != expected)?;
            Some(format!("the column '{name}' says '{other}', expected '{expected}'"))
        }
    }
}

pub(crate) fn own_rows(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    for one in &ordinary {
        if let Some(why) = not_all(&one.rows, "image_id", one.record.image_id()) {
            return Ok(Outcome::failed(why));
        }
    }
    let has = ordinary.iter().any(|one| one.rows.column_by_name("image_id").is_some());
    Ok(Outcome::passed(if has { "its image_id is the image's" } else { "the host adds image_id" }))
}

pub(crate) fn provenance(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    for one in &ordinary {
        let version = &subject.indexer.info().analysis_version;
        let hash = subject.hash(&one.record).ok();
        let wrong = not_all(&one.rows, "analysis_version", version)
            .or_else(|| not_all(&one.rows, "params_hash", hash.as_deref()?));
        if let Some(why) = wrong {
            return Ok(Outcome::failed(why));
        }
    }
    Ok(Outcome::passed("nothing that the host would say otherwise"))
}
