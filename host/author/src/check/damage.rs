//! Checks that take something away from an image, or put something wrong in its place, and look what the indexer makes of it.
//!
//! Owns: what is damaged and how. Never: judges rows that are right.
//!
//! Only what the indexer was seen to read is damaged, one thing at a time, in the first ordinary record.

use crate::check::report::{Outcome, Status};
use crate::check::samples::{gzip, pixels};
use crate::check::sandbox::copy_tree;
use crate::check::subject::{Judged, Ordinary, Scratch, Subject, json_artifacts};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use kymhost_dataset::{Dataset, InputState, Record};
use kymhost_plugin::{Failure, FailureCause, FailureKind};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// JSON of every kind, none of it what an artifact usually is.
pub(crate) const ODD_JSON: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1e308",
    "NaN",
    "-Infinity",
    "123456789012345678901234567890",
    "\"\"",
    "\"text \\u0000 \\ud83d\\ude00\"",
    "[]",
    "[1, \"two\", null, [3.5]]",
    "{}",
    "{\"rois\": 5}",
    "{\"rois\": [null, 1, {}]}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
];

/// What stands in place of each member of a JSON artifact in turn.
const ODD_MEMBERS: &[&str] = &["null", "false", "-1", "0", "1e300", "NaN", "\"text\"", "[]", "{}"];
/// Members of one artifact that are tried, at most.
const MAX_MEMBERS: usize = 16;

/// What is done to an image.
enum Act {
    Remove,
    Bytes(Vec<u8>),
    Table(RecordBatch),
    Array(Array),
}

/// One thing that is done to one thing.
struct Damage {
    /// The key below the image's group.
    key: String,
    /// In words.
    what: String,
    act: Act,
}

/// What an indexer made of a damaged image.
struct Tried {
    hash: Result<String, Failure>,
    rows: Result<RecordBatch, Failure>,
}

impl Tried {
    fn new(subject: &Subject<'_>, record: &Record) -> Self {
        let hash = subject.hash(record);
        let _ = subject.indexer.params(record);
        Self { hash, rows: subject.rows(record) }
    }

    fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.hash.as_ref().err().into_iter().chain(self.rows.as_ref().err())
    }

    fn panicked(&self) -> Option<&Failure> {
        self.failures().find(|failure| failure.kind == FailureKind::Panic)
    }
}

/// The kinds of things that an indexer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Json,
    PackedJson,
    Parquet,
    Csv,
    Array,
    Attributes,
    Pixels,
}

fn kind_of(key: &str) -> Option<Kind> {
    let kinds =
        [(".json", Kind::Json), (".json.gz", Kind::PackedJson), (".parquet", Kind::Parquet), (".csv.gz", Kind::Csv)];
    match key {
        "data" => Some(Kind::Pixels),
        ".zattrs" => Some(Kind::Attributes),
        _ if key.starts_with("analysis_arrays/") => Some(Kind::Array),
        _ => kinds.into_iter().find(|(ending, _)| key.ends_with(ending)).map(|(_, kind)| kind),
    }
}

fn artifact_name(key: &str) -> Option<&str> {
    let array = key.strip_prefix("analysis_arrays/").and_then(|name| name.strip_suffix("/data"));
    let file = key.strip_prefix("analysis/").and_then(|name| {
        [".json", ".json.gz", ".parquet", ".csv.gz"].iter().find_map(|ending| name.strip_suffix(ending))
    });
    array.or(file)
}

/// What the indexer reads of an image.
fn read_of(subject: &Subject<'_>, record: &Record) -> Vec<(String, Kind)> {
    let inputs = subject.inputs(record);
    let there = inputs.into_iter().filter(|input| input.found != InputState::Absent);
    there.filter_map(|input| kind_of(&input.key).map(|kind| (input.key, kind))).collect()
}

/// The record that is damaged: the first that the indexer takes, else the first.
fn patient(subject: &Subject<'_>) -> Result<Record, Outcome> {
    let ordinary = subject.ordinary()?;
    ordinary.into_iter().next().map(|one| one.record).ok_or_else(|| Outcome::skipped("there is no record"))
}

fn apply(patient: &Scratch, damage: &Damage) -> Result<bool, Outcome> {
    let file = patient.file(&damage.key);
    let name = artifact_name(&damage.key);
    match (&damage.act, name) {
        (Act::Remove, _) if file.is_dir() => fs::remove_dir_all(&file)?,
        (Act::Remove, _) => fs::remove_file(&file)?,
        (Act::Bytes(bytes), _) => fs::write(&file, bytes)?,
        // What cannot be written cannot be read either.
        (Act::Table(rows), Some(name)) => return Ok(patient.record.put_parquet(name, rows).is_ok()),
        (Act::Array(array), Some(name)) => return Ok(patient.record.put_array(name, array).is_ok()),
        (Act::Table(_) | Act::Array(_), None) => return Ok(false),
    }
    Ok(true)
}

/// Undoes a damage; where it was to one file, that alone, for there are many.
fn undo(patient: &Scratch, damage: &Damage) -> Result<(), Outcome> {
    match damage.act {
        Act::Bytes(_) => patient.restore_file(&damage.key),
        _ => patient.restore(),
    }
}

/// Does one damage after the other; `look` gets each, and ends it with an outcome of its own.
fn each(
    subject: &Subject<'_>,
    damages: impl Fn(&Scratch, &str, Kind) -> Vec<Damage>,
    look: &mut dyn FnMut(&Damage, &Tried) -> Option<Outcome>,
) -> Result<Result<usize, Outcome>, Outcome> {
    let record = patient(subject)?;
    let patient = Scratch::new(subject, &record)?;
    let mut done = 0;
    for (key, kind) in read_of(subject, &record) {
        for damage in damages(&patient, &key, kind) {
            if apply(&patient, &damage)? {
                let tried = Tried::new(subject, &record);
                done += 1;
                if let Some(failure) = tried.panicked() {
                    return Ok(Err(Outcome::failed(format!("it panics where {}: {}", damage.what, failure.message))));
                }
                if let Some(outcome) = look(&damage, &tried) {
                    return Ok(Err(outcome));
                }
            }
            undo(&patient, &damage)?;
        }
    }
    Ok(Ok(done))
}

fn told(done: Result<usize, Outcome>) -> Outcome {
    match done {
        Ok(0) => Outcome::passed("it reads no artifact"),
        Ok(done) => Outcome::passed(format!("{done} cases")),
        Err(outcome) => outcome,
    }
}

pub(crate) fn missing(subject: &Subject<'_>) -> Judged {
    let one_by_one = each(subject, |_, key, kind| removals(key, kind), &mut |_, _| None)?;
    let Ok(done) = one_by_one else { return Ok(told(one_by_one)) };
    // And all of it.
    let record = patient(subject)?;
    let patient = Scratch::new(subject, &record)?;
    for (key, kind) in read_of(subject, &record) {
        for damage in removals(&key, kind) {
            apply(&patient, &damage)?;
        }
    }
    if let Some(failure) = Tried::new(subject, &record).panicked() {
        return Ok(Outcome::failed(format!("it panics where all that it reads is missing: {}", failure.message)));
    }
    Ok(told(Ok(if done == 0 { 0 } else { done + 1 })))
}

fn removals(key: &str, kind: Kind) -> Vec<Damage> {
    // Pixels have a check of their own.
    if kind == Kind::Pixels {
        return Vec::new();
    }
    vec![Damage { key: key.to_owned(), what: format!("{key} is missing"), act: Act::Remove }]
}

pub(crate) fn empty(subject: &Subject<'_>) -> Judged {
    let damages = |patient: &Scratch, key: &str, kind: Kind| {
        let bytes = |what: &str, bytes: &[u8]| Damage {
            key: key.to_owned(),
            what: format!("{key} {what}"),
            act: Act::Bytes(bytes.to_vec()),
        };
        match kind {
            Kind::Json => vec![bytes("is of length 0", b""), bytes("is {}", b"{}"), bytes("is []", b"[]")],
            Kind::PackedJson => vec![bytes("is of length 0", b""), bytes("is {}", &gzip(b"{}"))],
            Kind::Parquet => {
                let mut all = vec![bytes("is of length 0", b"")];
                if let Some(rows) = table_of(patient, key, kind) {
                    let what = format!("{key} has no rows");
                    all.push(Damage { key: key.to_owned(), what, act: Act::Table(rows.slice(0, 0)) });
                }
                let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
                let what = format!("{key} has no columns");
                all.push(Damage { key: key.to_owned(), what, act: Act::Table(none) });
                all
            }
            Kind::Csv => vec![
                bytes("is of length 0", b""),
                bytes("holds nothing", &gzip(b"")),
                bytes("has no rows", &gzip(b"roi_id,time\n")),
            ],
            Kind::Array => match Array::from_elements::<f64>(&[], vec![0], vec!["time".to_owned()]) {
                Ok(none) => {
                    let what = format!("{key} has no elements");
                    vec![Damage { key: key.to_owned(), what, act: Act::Array(none) }]
                }
                Err(_) => Vec::new(),
            },
            Kind::Attributes => vec![bytes("is {}", b"{}")],
            Kind::Pixels => Vec::new(),
        }
    };
    Ok(told(each(subject, damages, &mut |_, _| None)?))
}

/// What no reader can read, in place of what is read.
fn corruptions(patient: &Scratch, key: &str, kind: Kind) -> Vec<Damage> {
    let garbage: Vec<u8> = (0..200_u32).map(|number| (number * 37 % 251) as u8 | 0x80).collect();
    let damage = |key: String, what: String, bytes: Vec<u8>| Damage { key, what, act: Act::Bytes(bytes) };
    if matches!(kind, Kind::Array | Kind::Pixels) {
        let header = format!("{key}/.zarray");
        return vec![
            damage(header.clone(), format!("{header} is garbage"), garbage),
            damage(header.clone(), format!("{header} is cut off"), b"{\"shape\": [4".to_vec()),
        ];
    }
    let mut all = vec![damage(key.to_owned(), format!("{key} is garbage"), garbage)];
    if let Ok(mut bytes) = fs::read(patient.file(key)) {
        bytes.truncate(bytes.len() / 2);
        all.push(damage(key.to_owned(), format!("{key} is cut off"), bytes));
    }
    all
}

pub(crate) fn corrupt(subject: &Subject<'_>) -> Judged {
    let mut swallowed = None;
    let done = each(subject, corruptions, &mut |damage, tried| {
        // The group's attributes have more readers than the indexer.
        if tried.hash.is_ok() && tried.rows.is_ok() && damage.key != ".zattrs" {
            swallowed.get_or_insert_with(|| damage.what.clone());
        }
        None
    })?;
    let outcome = told(done);
    Ok(match swallowed {
        Some(what) if outcome.status == Status::Passed => Outcome::warned(format!(
            "there are rows and no error where {what}: a broken file should not look like a missing one"
        )),
        _ => outcome,
    })
}

pub(crate) fn error_texts(subject: &Subject<'_>) -> Judged {
    let mut silent = None;
    let mut seen = 0;
    let all = |patient: &Scratch, key: &str, kind: Kind| {
        let mut all = removals(key, kind);
        all.extend(corruptions(patient, key, kind));
        all
    };
    let record = patient(subject)?;
    let patient = Scratch::new(subject, &record)?;
    for (key, kind) in read_of(subject, &record) {
        for damage in all(&patient, &key, kind) {
            if apply(&patient, &damage)? {
                for failure in Tried::new(subject, &record).failures() {
                    seen += 1;
                    if failure.message.trim().is_empty() || failure.cause == Some(FailureCause::NoReason) {
                        silent.get_or_insert_with(|| damage.what.clone());
                    }
                }
            }
            patient.restore()?;
        }
    }
    Ok(match silent {
        Some(what) => Outcome::warned(format!("its error says nothing where {what}")),
        None => Outcome::passed(format!("{seen} errors")),
    })
}

fn table_of(patient: &Scratch, key: &str, kind: Kind) -> Option<RecordBatch> {
    let name = artifact_name(key)?;
    match kind {
        Kind::Parquet => patient.record.parquet(name).ok().flatten(),
        _ => patient.record.csv(name).ok().flatten(),
    }
}

pub(crate) fn odd(subject: &Subject<'_>) -> Judged {
    let damages = |patient: &Scratch, key: &str, kind: Kind| match kind {
        Kind::Json => odd_json(patient, key),
        Kind::PackedJson => ODD_JSON.iter().map(|text| whole(key, text, gzip(text.as_bytes()))).collect(),
        Kind::Parquet => odd_tables(patient, key, kind),
        Kind::Csv => ["x\n1\n", "a,a\n1,2\n", "roi_id,time\n1\n2,3,4\n", "roi_id,velocity\nx,y\n,\n", "\"\n"]
            .iter()
            .map(|text| whole(key, text, gzip(text.as_bytes())))
            .collect(),
        Kind::Array => odd_arrays(key),
        Kind::Attributes => ["null", "[]", "{\"axes\": 5}", "{\"axes\": []}"]
            .iter()
            .map(|text| whole(key, text, text.as_bytes().to_vec()))
            .collect(),
        Kind::Pixels => Vec::new(),
    };
    Ok(told(each(subject, damages, &mut |_, _| None)?))
}

fn whole(key: &str, text: &str, bytes: Vec<u8>) -> Damage {
    Damage { key: key.to_owned(), what: format!("{key} is {}", text.escape_default()), act: Act::Bytes(bytes) }
}

fn odd_json(patient: &Scratch, key: &str) -> Vec<Damage> {
    // What is empty has a check of its own.
    let odd = ODD_JSON.iter().filter(|text| !matches!(**text, "{}" | "[]"));
    let mut all: Vec<Damage> = odd.map(|text| whole(key, text, text.as_bytes().to_vec())).collect();
    let known = artifact_name(key).and_then(|name| patient.record.json(name).ok().flatten());
    let Some(Json::Object(members)) = known else { return all };
    for member in members.keys().take(MAX_MEMBERS) {
        let others = members.iter().filter(|(key, _)| *key != member).map(|(key, value)| (key.clone(), value.clone()));
        let without = Json::object(others);
        all.push(Damage {
            key: key.to_owned(),
            what: format!("{key} has no '{member}'"),
            act: Act::Bytes(without.to_file_text().into_bytes()),
        });
        for text in ODD_MEMBERS {
            let Ok(value) = Json::parse(text.as_bytes()) else { continue };
            let mut members = members.clone();
            members.insert(member.clone(), value);
            all.push(Damage {
                key: key.to_owned(),
                what: format!("'{member}' of {key} is {text}"),
                act: Act::Bytes(Json::Object(members).to_file_text().into_bytes()),
            });
        }
    }
    all
}

fn odd_tables(patient: &Scratch, key: &str, kind: Kind) -> Vec<Damage> {
    let Some(rows) = table_of(patient, key, kind) else { return Vec::new() };
    let count = rows.num_rows();
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["text"; count]));
    let not_numbers: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN; count]));
    let minus: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN; count]));
    let huge: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY; count]));
    let nulls = new_null_array(&DataType::Float64, count);
    let all_of = |what: &str, rename: bool, values: &ArrayRef| {
        let fields: Vec<Field> = rows
            .schema()
            .fields()
            .iter()
            .enumerate()
            .map(|(number, field)| {
                let name = if rename { format!("x{number}") } else { field.name().clone() };
                Field::new(name, values.data_type().clone(), true)
            })
            .collect();
        let columns = vec![Arc::clone(values); fields.len()];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()?;
        Some(Damage { key: key.to_owned(), what: format!("{key} has {what}"), act: Act::Table(batch) })
    };
    let one_column = rows.project(&[0]).ok().map(|batch| Damage {
        key: key.to_owned(),
        what: format!("{key} has one column"),
        act: Act::Table(batch),
    });
    let one_row = Damage { key: key.to_owned(), what: format!("{key} has one row"), act: Act::Table(rows.slice(0, 1)) };
    [
        all_of("nothing but text", false, &texts),
        all_of("nothing but NaN", false, &not_numbers),
        all_of("nothing but the least integer", false, &minus),
        all_of("nothing but infinity", false, &huge),
        all_of("nothing but nulls", false, &nulls),
        all_of("columns of other names", true, &not_numbers),
        one_column,
        Some(one_row),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn odd_arrays(key: &str) -> Vec<Damage> {
    let axes = |count: usize| (0..count).map(|number| format!("axis{number}")).collect::<Vec<_>>();
    [
        ("is of int32 and 2 dimensions", Array::from_elements(&[1_i32, 2, 3, 4, 5, 6], vec![2, 3], axes(2))),
        ("is NaN", Array::from_elements(&[f64::NAN; 8], vec![8], axes(1))),
        ("is one uint8", Array::from_elements(&[7_u8], vec![1], axes(1))),
        ("has 4 dimensions", Array::from_elements(&[0.5_f32; 16], vec![2, 2, 2, 2], axes(4))),
    ]
    .into_iter()
    .filter_map(|(what, array)| {
        Some(Damage { key: key.to_owned(), what: format!("{key} {what}"), act: Act::Array(array.ok()?) })
    })
    .collect()
}

pub(crate) fn odd_pixels(subject: &Subject<'_>) -> Judged {
    let record = patient(subject)?;
    if !read_of(subject, &record).iter().any(|(_, kind)| *kind == Kind::Pixels) {
        return Ok(Outcome::passed("it reads no pixels"));
    }
    let dataset = subject.open()?;
    let images = subject.sandbox.dataset().join("images");
    let constant = |shape: &[usize], value: f64| (shape.to_vec(), vec![value; shape.iter().product()]);
    let cases = [
        ("of length 0 in time", DType::UInt16, constant(&[0, 16], 0.0)),
        ("of length 0 in space", DType::UInt16, constant(&[16, 0], 0.0)),
        ("of no length at all", DType::Float32, constant(&[0, 0], 0.0)),
        ("one pixel", DType::UInt8, constant(&[1, 1], 9.0)),
        ("one line", DType::UInt16, constant(&[1, 24], 9.0)),
        ("one place", DType::UInt16, constant(&[24, 1], 9.0)),
        ("all 0", DType::UInt16, constant(&[24, 16], 0.0)),
        ("all alike", DType::Int16, constant(&[24, 16], -7.0)),
        ("all NaN", DType::Float32, constant(&[24, 16], f64::NAN)),
        ("all infinite", DType::Float64, constant(&[24, 16], f64::INFINITY)),
        ("the largest", DType::Float64, constant(&[24, 16], f64::MAX)),
        ("3-dimensional", DType::UInt16, constant(&[6, 5, 4], 3.0)),
        ("5-dimensional", DType::UInt8, constant(&[2, 2, 2, 2, 2], 3.0)),
    ];
    let mut done = 0;
    let mut look = |what: &str, id: &str| -> Result<Option<Outcome>, Outcome> {
        done += 1;
        let tried = Tried::new(subject, &dataset.record(id)?);
        Ok(tried
            .panicked()
            .map(|failure| Outcome::failed(format!("it panics where the pixels are {what}: {}", failure.message))))
    };
    for (number, (what, dtype, (shape, values))) in cases.into_iter().enumerate() {
        let Ok(array) = pixels(dtype, shape, &values) else { continue };
        let id = format!("odd-pixels-{number}");
        add_like(&dataset, &images, &record, &id, &array)?;
        if let Some(outcome) = look(what, &id)? {
            return Ok(outcome);
        }
    }
    let id = record.image_id();
    fs::remove_dir_all(images.join(id).join("data"))?;
    if let Some(outcome) = look("absent", id)? {
        return Ok(outcome);
    }
    Ok(Outcome::passed(format!("{done} cases")))
}

/// Adds an image with these pixels and another's artifacts.
fn add_like(dataset: &Dataset, images: &Path, like: &Record, id: &str, pixels: &Array) -> Result<(), Outcome> {
    dataset.add_image(Some(id), pixels, None)?;
    for folder in ["analysis", "analysis_arrays"] {
        let from = images.join(like.image_id()).join(folder);
        if from.is_dir() {
            copy_tree(&from, &images.join(id).join(folder))?;
        }
    }
    Ok(())
}

/// Tables that the indexer makes of an image that should give no rows: what was done, whether columns may be lacking, the rows.
///
/// Columns may be lacking where a table artifact is missing, for they may be that artifact's.
pub(crate) fn without_rows(
    subject: &Subject<'_>,
    full: &Ordinary,
) -> Result<Vec<(&'static str, bool, RecordBatch)>, Outcome> {
    let record = &full.record;
    let patient = Scratch::new(subject, record)?;
    let read = read_of(subject, record);
    let mut found = Vec::new();
    let mut reads_tables = false;
    let mut emptied = false;
    for (key, kind) in &read {
        if !matches!(kind, Kind::Parquet | Kind::Csv) {
            continue;
        }
        reads_tables = true;
        if let (Some(rows), Some(name)) = (table_of(&patient, key, *kind), artifact_name(key)) {
            if *kind == Kind::Csv {
                fs::remove_file(patient.file(key))?;
            }
            emptied |= patient.record.put_parquet(name, &rows.slice(0, 0)).is_ok();
        }
    }
    if emptied && let Ok(rows) = subject.rows(record) {
        found.push(("its tables have no rows", false, rows));
    }
    patient.restore()?;
    for name in json_artifacts(&subject.inputs(record)) {
        let file = patient.file(&format!("analysis/{name}.json"));
        if file.is_file() {
            fs::write(file, b"{}")?;
        }
    }
    if let Ok(rows) = subject.rows(record) {
        found.push(("its JSON artifacts are {}", false, rows));
    }
    patient.restore()?;
    for (key, kind) in &read {
        for damage in removals(key, *kind) {
            apply(&patient, &damage)?;
        }
    }
    if let Ok(rows) = subject.rows(record) {
        found.push(("its artifacts are missing", reads_tables, rows));
    }
    patient.restore()?;
    Ok(found)
}
