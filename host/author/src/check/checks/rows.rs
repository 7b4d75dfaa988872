//! Checks of rows.

use crate::check::compare::{difference, schema_conflict};
use crate::check::damage;
use crate::check::other_process::Elsewhere;
use crate::check::report::{Judged, Outcome};
use crate::check::subject::{GIVE_DATASET, Subject, is_bad_table, records, repeats};
use crate::check::task::Task;
use arrow::array::{Array as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use kymhost_dataset::Dataset;
use kymhost_plugin::Failure;
use std::thread;

pub(crate) fn rows_repeat(subject: &Subject<'_>) -> Judged {
    repeats(&subject.ordinary_with_rows()?, |one| subject.rows_change(one))
}

pub(crate) fn rows_elsewhere(subject: &Subject<'_>) -> Judged {
    subject.repeating()?;
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.rows(record)).collect();
    match first_difference(here, subject.in_another_process(Task::Extract, true)?) {
        Some(why) => Err(Outcome::failed(format!("here, then elsewhere: {why}"))),
        None => Ok("the same a second later, in another folder and time zone".to_owned()),
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

/// Threads that extract at the same time.
const THREADS: usize = 4;

/// How often each of them extracts every record.
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
                        order.find_map(|one| subject.rows_change(one))
                    })
                })
            })
            .collect();
        threads.into_iter().find_map(|thread| thread.join().ok().flatten())
    });
    match why {
        Some(why) => Err(Outcome::failed(format!("{THREADS} threads at once: {why}"))),
        None => Ok(format!("{THREADS} threads at once, {} records each", ROUNDS * ordinary.len())),
    }
}

pub(crate) fn two_datasets(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.repeating()?;
    if ordinary.len() < 2 {
        return Err(Outcome::skipped(format!("it accepts fewer than two records; {GIVE_DATASET}")));
    }
    let here: Vec<_> = subject.records()?.iter().map(|record| subject.rows(record)).collect();
    if first_difference(here, subject.in_another_process(Task::Extract, false)?).is_some() {
        return Err(Outcome::skipped("rows differ in another process: see rows_elsewhere"));
    }
    let other = Dataset::open(&subject.order.sandbox.other())?;
    let after: Vec<_> = records(&other)?.iter().map(|record| subject.rows(record)).collect();
    match first_difference(after, subject.in_another_process(Task::ExtractOther, false)?) {
        Some(why) => Err(Outcome::failed(format!("after another dataset, then alone: {why}"))),
        None => Ok("the same before and after another dataset".to_owned()),
    }
}

pub(crate) fn proper_table(subject: &Subject<'_>) -> Judged {
    let tables = subject.accepted(is_bad_table, |record| subject.rows(record))?;
    Ok(format!("{} tables", tables.len()))
}

pub(crate) fn storable(subject: &Subject<'_>) -> Judged {
    let scratch = Dataset::create(&subject.order.sandbox.out().join("scratch.zarr"))?;
    let ordinary = subject.ordinary_with_rows()?;
    for (_, rows) in &ordinary {
        let stored = scratch.write_table("kym_check", rows).and_then(|()| scratch.read_table("kym_check", None));
        let stored = stored.map_err(|error| Outcome::failed(error.to_string()))?;
        let (count, stored) = (rows.num_rows(), stored.map_or(0, |rows| rows.num_rows()));
        if count != stored {
            return Err(Outcome::failed(format!("{count} rows were stored as {stored}")));
        }
    }
    Ok(format!("{} tables stored", ordinary.len()))
}

pub(crate) fn schema_same(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    let Some((full, rows)) = ordinary.iter().find(|(_, rows)| rows.num_rows() > 0) else {
        return Err(Outcome::skipped("no record gives a row"));
    };
    let schema = rows.schema();
    for (record, rows) in &ordinary {
        if let Some(why) = schema_conflict(&schema, &rows.schema(), false) {
            return Err(Outcome::failed(format!("image {}: {why}", record.image_id())));
        }
    }
    let mut without_rows = 0;
    for (what, may_lack, rows) in damage::without_rows(subject, full)? {
        // If there are rows all the same, their columns may depend on the artifact.
        if rows.num_rows() > 0 {
            continue;
        }
        without_rows += 1;
        if let Some(why) = schema_conflict(&schema, &rows.schema(), may_lack) {
            return Err(Outcome::failed(format!("without rows ({what}): {why}")));
        }
    }
    let columns = schema.fields().len();
    Ok(format!("{columns} columns, {} records, {without_rows} tables without rows", ordinary.len()))
}

/// A column as text, or its type if it is not text; `None` if there is no such column.
fn text_column(rows: &RecordBatch, name: &str) -> Option<Result<StringArray, DataType>> {
    let column = rows.column_by_name(name)?;
    let text = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => cast(column, &DataType::Utf8).ok(),
        _ => None,
    };
    let text = text.and_then(|text| text.as_any().downcast_ref::<StringArray>().cloned());
    Some(text.ok_or_else(|| column.data_type().clone()))
}

/// Fails if a column exists and a cell of it is not `expected`.
fn expect_all(rows: &RecordBatch, name: &str, expected: &str) -> Result<(), Outcome> {
    let why = match text_column(rows, name) {
        None => return Ok(()),
        Some(Err(found)) => format!("the column '{name}' is {found}, expected text"),
        Some(Ok(texts)) => match texts.iter().flatten().find(|text| *text != expected) {
            None => return Ok(()),
            Some(other) => format!("the column '{name}' has '{other}', expected '{expected}'"),
        },
    };
    Err(Outcome::failed(why))
}

pub(crate) fn own_rows(subject: &Subject<'_>) -> Judged {
    let ordinary = subject.ordinary_with_rows()?;
    for (record, rows) in &ordinary {
        expect_all(rows, "image_id", record.image_id())?;
    }
    let has = ordinary.iter().any(|(_, rows)| rows.column_by_name("image_id").is_some());
    Ok(if has { "its image_id is the image's" } else { "kymhost adds image_id" }.to_owned())
}

pub(crate) fn provenance(subject: &Subject<'_>) -> Judged {
    for (record, rows) in &subject.ordinary_with_rows()? {
        expect_all(rows, "analysis_version", &subject.indexer.info().analysis_version)?;
        if let Ok(hash) = subject.hash(record) {
            expect_all(rows, "params_hash", &hash)?;
        }
    }
    Ok("no column conflicts with those that kymhost adds".to_owned())
}
