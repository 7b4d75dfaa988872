//! Checks that damage an image and look at what the indexer makes of it.
//!
//! Responsible for what is damaged and how. It does not judge the rows of images that are whole.
//!
//! Only what the indexer was seen to read is damaged, one thing at a time, in the first ordinary record.

use crate::check::report::{Judged, Outcome};
use crate::check::samples::{gzip, pixels};
use crate::check::sandbox::copy_tree;
use crate::check::subject::{Answers, Scratch, Subject, is_panic, json_artifacts};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use kymhost_dataset::{Dataset, InputState, Record};
use kymhost_plugin::FailureCause;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// JSON of every type, none of it what an artifact usually is.
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

/// The values that each member of a JSON artifact gets in turn.
const ODD_MEMBERS: &[&str] = &["null", "false", "-1", "0", "1e300", "NaN", "\"text\"", "[]", "{}"];
/// No more members of one artifact are tried.
const MAX_MEMBERS: usize = 16;

/// What is done to an image.
enum Act {
    Remove,
    Bytes(Vec<u8>),
    Table(RecordBatch),
    Array(Array),
}

/// One change to one thing that the indexer reads.
struct Damage {
    /// The key below the image's group.
    key: String,
    /// The change in words, for "if ...".
    what: String,
    act: Act,
}

impl Damage {
    /// `how`: `is missing`, as in "analysis/a.json is missing".
    fn new(key: &str, how: &str, act: Act) -> Self {
        Self { key: key.to_owned(), what: format!("{key} {how}"), act }
    }

    /// Other bytes in place of a file.
    fn bytes(key: &str, how: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(key, how, Act::Bytes(bytes.into()))
    }

    /// A text in place of a file.
    fn text(key: &str, text: &str) -> Self {
        Self::bytes(key, &format!("is {}", text.escape_default()), text)
    }

    /// A text in place of a file that is packed.
    fn packed(key: &str, text: &str) -> Self {
        Self::bytes(key, &format!("is {}", text.escape_default()), gzip(text.as_bytes()))
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

/// What the indexer reads of an image, of the kinds that can be damaged.
fn read_of(subject: &Subject<'_>, record: &Record) -> Vec<(String, Kind)> {
    let inputs = subject.inputs(record);
    let there = inputs.into_iter().filter(|input| input.found != InputState::Absent);
    there.filter_map(|input| kind_of(&input.key).map(|kind| (input.key, kind))).collect()
}

/// The record that is damaged: the first that the indexer accepts.
fn patient(subject: &Subject<'_>) -> Result<Record, Outcome> {
    let ordinary = subject.ordinary()?;
    ordinary.into_iter().next().map(|(record, _)| record).ok_or_else(|| Outcome::skipped("there is no record"))
}

fn apply(patient: &Scratch, damage: &Damage) -> Result<bool, Outcome> {
    let file = patient.file(&damage.key);
    let name = artifact_name(&damage.key);
    match (&damage.act, name) {
        (Act::Remove, _) if file.is_dir() => fs::remove_dir_all(&file)?,
        (Act::Remove, _) => fs::remove_file(&file)?,
        (Act::Bytes(bytes), _) => fs::write(&file, bytes)?,
        // An artifact that cannot be written cannot be read either.
        (Act::Table(rows), Some(name)) => return Ok(patient.record.put_parquet(name, rows).is_ok()),
        (Act::Array(array), Some(name)) => return Ok(patient.record.put_array(name, array).is_ok()),
        (Act::Table(_) | Act::Array(_), None) => return Ok(false),
    }
    Ok(true)
}

/// Undoes a damage. Only what was changed is restored, because there are many damages.
fn undo(patient: &Scratch, damage: &Damage) -> Result<(), Outcome> {
    match damage.act {
        Act::Bytes(_) => patient.restore_file(&damage.key),
        _ => patient.restore(),
    }
}

/// Does one damage after the other, and gives each to `look` with what the indexer answers. Returns how many there were.
fn each(
    subject: &Subject<'_>,
    damages: impl Fn(&Scratch, &str, Kind) -> Vec<Damage>,
    look: &mut dyn FnMut(&Damage, &Answers) -> Result<(), Outcome>,
) -> Result<usize, Outcome> {
    let record = patient(subject)?;
    let patient = Scratch::new(subject, &record)?;
    let mut done = 0;
    for (key, kind) in read_of(subject, &record) {
        for damage in damages(&patient, &key, kind) {
            if apply(&patient, &damage)? {
                done += 1;
                look(&damage, &subject.ask(&record))?;
            }
            undo(&patient, &damage)?;
        }
    }
    Ok(done)
}

/// Fails if the indexer panics.
fn expect_no_panic(what: &str, answers: &Answers) -> Result<(), Outcome> {
    match answers.failures().find(|failure| is_panic(failure)) {
        Some(failure) => Err(Outcome::failed(format!("it panics if {what}: {}", failure.message))),
        None => Ok(()),
    }
}

fn survives(damage: &Damage, answers: &Answers) -> Result<(), Outcome> {
    expect_no_panic(&damage.what, answers)
}

fn cases(done: usize) -> String {
    if done == 0 { "it reads no artifact".to_owned() } else { format!("{done} cases") }
}

pub(crate) fn missing(subject: &Subject<'_>) -> Judged {
    let done = each(subject, removals, &mut survives)?;
    if done == 0 {
        return Ok(cases(0));
    }
    // And all of them together.
    let record = patient(subject)?;
    let patient = Scratch::new(subject, &record)?;
    for (key, kind) in read_of(subject, &record) {
        for damage in removals(&patient, &key, kind) {
            apply(&patient, &damage)?;
        }
    }
    expect_no_panic("all that it reads is missing", &subject.ask(&record))?;
    Ok(cases(done + 1))
}

fn removals(_patient: &Scratch, key: &str, kind: Kind) -> Vec<Damage> {
    // `odd_pixels` removes the pixels.
    if kind == Kind::Pixels { Vec::new() } else { vec![Damage::new(key, "is missing", Act::Remove)] }
}

pub(crate) fn empty(subject: &Subject<'_>) -> Judged {
    let damages = |patient: &Scratch, key: &str, kind: Kind| {
        let no_bytes = Damage::bytes(key, "is of length 0", "");
        match kind {
            Kind::Json => vec![no_bytes, Damage::text(key, "{}"), Damage::text(key, "[]")],
            Kind::PackedJson => vec![no_bytes, Damage::packed(key, "{}")],
            Kind::Parquet => {
                let no_rows = table_of(patient, key, kind)
                    .map(|rows| Damage::new(key, "has no rows", Act::Table(rows.slice(0, 0))));
                let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
                let no_columns = Damage::new(key, "has no columns", Act::Table(none));
                [no_bytes].into_iter().chain(no_rows).chain([no_columns]).collect()
            }
            Kind::Csv => vec![
                no_bytes,
                Damage::bytes(key, "holds nothing", gzip(b"")),
                Damage::bytes(key, "has no rows", gzip(b"roi_id,time\n")),
            ],
            Kind::Array => {
                let none = Array::from_elements::<f64>(&[], vec![0], vec!["time".to_owned()]).ok();
                none.map(|none| Damage::new(key, "has no elements", Act::Array(none))).into_iter().collect()
            }
            Kind::Attributes => vec![Damage::text(key, "{}")],
            Kind::Pixels => Vec::new(),
        }
    };
    Ok(cases(each(subject, damages, &mut survives)?))
}

/// Files that no reader can read, in place of those that are read.
fn corruptions(patient: &Scratch, key: &str, kind: Kind) -> Vec<Damage> {
    let garbage: Vec<u8> = (0..200_u32).map(|number| (number * 37 % 251) as u8 | 0x80).collect();
    if matches!(kind, Kind::Array | Kind::Pixels) {
        let header = format!("{key}/.zarray");
        let start = "{\"shape\": [4";
        return vec![Damage::bytes(&header, "is garbage", garbage), Damage::bytes(&header, "is cut off", start)];
    }
    let mut all = vec![Damage::bytes(key, "is garbage", garbage)];
    if let Ok(mut bytes) = fs::read(patient.file(key)) {
        bytes.truncate(bytes.len() / 2);
        all.push(Damage::bytes(key, "is cut off", bytes));
    }
    all
}

pub(crate) fn corrupt(subject: &Subject<'_>) -> Judged {
    let mut swallowed = None;
    let done = each(subject, corruptions, &mut |damage, answers| {
        survives(damage, answers)?;
        // The indexer need not look at all of the group's attributes.
        if answers.failures().next().is_none() && damage.key != ".zattrs" {
            swallowed.get_or_insert_with(|| damage.what.clone());
        }
        Ok(())
    })?;
    match swallowed {
        Some(what) => Err(Outcome::warned(format!(
            "it gives rows and no error if {what}: a broken file should not look like a missing one"
        ))),
        None => Ok(cases(done)),
    }
}

pub(crate) fn error_texts(subject: &Subject<'_>) -> Judged {
    let mut silent = None;
    let mut seen = 0;
    let damages = |patient: &Scratch, key: &str, kind: Kind| {
        removals(patient, key, kind).into_iter().chain(corruptions(patient, key, kind)).collect()
    };
    each(subject, damages, &mut |damage, answers| {
        for failure in answers.failures() {
            seen += 1;
            if failure.message.trim().is_empty() || failure.cause == Some(FailureCause::NoReason) {
                silent.get_or_insert_with(|| damage.what.clone());
            }
        }
        Ok(())
    })?;
    match silent {
        Some(what) => Err(Outcome::warned(format!("its error has no message if {what}"))),
        None => Ok(format!("{seen} errors")),
    }
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
        Kind::PackedJson => ODD_JSON.iter().map(|text| Damage::packed(key, text)).collect(),
        Kind::Parquet => odd_tables(patient, key, kind),
        Kind::Csv => ["x\n1\n", "a,a\n1,2\n", "roi_id,time\n1\n2,3,4\n", "roi_id,velocity\nx,y\n,\n", "\"\n"]
            .iter()
            .map(|text| Damage::packed(key, text))
            .collect(),
        Kind::Array => odd_arrays(key),
        Kind::Attributes => {
            ["null", "[]", "{\"axes\": 5}", "{\"axes\": []}"].iter().map(|text| Damage::text(key, text)).collect()
        }
        Kind::Pixels => Vec::new(),
    };
    Ok(cases(each(subject, damages, &mut survives)?))
}

fn odd_json(patient: &Scratch, key: &str) -> Vec<Damage> {
    // `empty_artifacts` tries these two.
    let odd = ODD_JSON.iter().filter(|text| !matches!(**text, "{}" | "[]"));
    let mut all: Vec<Damage> = odd.map(|text| Damage::text(key, text)).collect();
    let known = artifact_name(key).and_then(|name| patient.record.json(name).ok().flatten());
    let Some(Json::Object(members)) = known else { return all };
    for member in members.keys().take(MAX_MEMBERS) {
        let changed = |value: Option<Json>| {
            let mut members = members.clone();
            match value {
                Some(value) => members.insert(member.clone(), value),
                None => members.shift_remove(member),
            };
            Json::Object(members).to_file_text()
        };
        all.push(Damage::bytes(key, &format!("has no '{member}'"), changed(None)));
        for text in ODD_MEMBERS {
            if let Ok(value) = Json::parse(text.as_bytes()) {
                all.push(Damage::bytes(key, &format!("has {text} for '{member}'"), changed(Some(value))));
            }
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
        Some(Damage::new(key, &format!("has {what}"), Act::Table(batch)))
    };
    let one_column = rows.project(&[0]).ok().map(|batch| Damage::new(key, "has one column", Act::Table(batch)));
    let one_row = Damage::new(key, "has one row", Act::Table(rows.slice(0, 1)));
    [
        all_of("only text", false, &texts),
        all_of("only NaN", false, &not_numbers),
        all_of("only the smallest integer", false, &minus),
        all_of("only infinity", false, &huge),
        all_of("only nulls", false, &nulls),
        all_of("columns with other names", true, &not_numbers),
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
        ("has int32 and 2 dimensions", Array::from_elements(&[1_i32, 2, 3, 4, 5, 6], vec![2, 3], axes(2))),
        ("is NaN", Array::from_elements(&[f64::NAN; 8], vec![8], axes(1))),
        ("is one uint8", Array::from_elements(&[7_u8], vec![1], axes(1))),
        ("has 4 dimensions", Array::from_elements(&[0.5_f32; 16], vec![2, 2, 2, 2], axes(4))),
    ]
    .into_iter()
    .filter_map(|(how, array)| Some(Damage::new(key, how, Act::Array(array.ok()?))))
    .collect()
}

pub(crate) fn odd_pixels(subject: &Subject<'_>) -> Judged {
    let record = patient(subject)?;
    if !read_of(subject, &record).iter().any(|(_, kind)| *kind == Kind::Pixels) {
        return Ok("it reads no pixels".to_owned());
    }
    let dataset = subject.open()?;
    let images = subject.order.sandbox.dataset().join("images");
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
    let mut look = |what: &str, id: &str| -> Result<(), Outcome> {
        done += 1;
        expect_no_panic(&format!("the pixels are {what}"), &subject.ask(&dataset.record(id)?))
    };
    for (number, (what, dtype, (shape, values))) in cases.into_iter().enumerate() {
        let Ok(array) = pixels(dtype, shape, &values) else { continue };
        let id = format!("odd-pixels-{number}");
        add_like(&dataset, &images, &record, &id, &array)?;
        look(what, &id)?;
    }
    let id = record.image_id();
    fs::remove_dir_all(images.join(id).join("data"))?;
    look("absent", id)?;
    Ok(format!("{done} cases"))
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

/// Tables that the indexer makes of an image that should give no rows: what was done, whether columns may be missing, the
/// rows.
///
/// If a table artifact is missing, columns may be missing, too: they may be those of the artifact.
pub(crate) fn without_rows(
    subject: &Subject<'_>,
    record: &Record,
) -> Result<Vec<(&'static str, bool, RecordBatch)>, Outcome> {
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
        for damage in removals(&patient, key, *kind) {
            apply(&patient, &damage)?;
        }
    }
    if let Ok(rows) = subject.rows(record) {
        found.push(("its artifacts are missing", reads_tables, rows));
    }
    patient.restore()?;
    Ok(found)
}
