//! Tests of `merge`: tables of cases, and a model that takes one image at a time.

use super::types::*;
use super::values::*;
use super::*;
use crate::provenance::{ANALYSIS_VERSION, COLUMNS, IMAGE_ID, IdLookup, PARAMS_HASH, TextColumn};
use arrow::array::*;
use arrow::compute::{concat_batches, filter, filter_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use arrow::datatypes::{Int32Type, TimeUnit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What merging gives.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The new table; `None` where it stays as it is.
    pub table: Option<RecordBatch>,
    /// The pieces left out, in order.
    pub refused: Vec<RefusedPiece>,
}

/// Replaces each piece's image's rows. Pieces come in id order, one an image.
pub(crate) fn merge(
    old: Option<RecordBatch>,
    analysis_version: &str,
    pieces: Vec<Piece>,
) -> Result<Merged, MergeError> {
    let mut old = old.map(|rows| {
        let owners = Owners::of(&rows, &pieces);
        InMemory { schema: rows.schema(), rows, owners }
    });
    let planned = plan(old.as_mut(), analysis_version, &pieces, false)?;
    let refused = planned.refused.clone();
    if !planned.is_changed {
        return Ok(Merged { table: None, refused });
    }
    let mut parts = Vec::new();
    if let Some(old) = old {
        let places: HashSet<usize> = refused.iter().map(|refusal| refusal.piece).collect();
        parts.push(
            planned.kept(&filter_record_batch(&old.rows, &old.owners.kept(&|piece| places.contains(&piece)))?, None)?,
        );
    }
    for rows in planned.batches() {
        parts.push(rows?);
    }
    Ok(Merged { table: Some(concat_batches(&planned.schema, &parts)?), refused })
}

/// A table in memory.
struct InMemory {
    schema: SchemaRef,
    rows: RecordBatch,
    owners: Owners,
}

impl OldTable for InMemory {
    type Error = MergeError;

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn rows(&self) -> u64 {
        self.rows.num_rows() as u64
    }

    fn rows_of(&self, piece: usize) -> u64 {
        self.owners.rows.get(piece).copied().unwrap_or(0)
    }

    fn valued(&mut self, stays: &dyn Fn(usize) -> bool) -> Result<Vec<bool>, MergeError> {
        let mask = self.owners.kept(stays);
        Ok(self.rows.columns().iter().map(|column| has_value(column, Some(&mask))).collect())
    }

    fn fits(&mut self, column: usize, to: &DataType, stays: &dyn Fn(usize) -> bool) -> Result<bool, MergeError> {
        let Some(column) = self.rows.columns().get(column) else { return Ok(true) };
        let column = filter(column, &self.owners.kept(stays))?;
        Ok(can_be(&column, to))
    }

    fn value_bytes(&self, column: usize) -> u64 {
        self.rows.columns().get(column).map_or(0, value_bytes)
    }
}

/// Which piece's image a row of a table in memory belongs to.
struct Owners {
    of_row: Vec<Option<usize>>,
    rows: Vec<u64>,
}

impl Owners {
    fn of(old: &RecordBatch, pieces: &[Piece]) -> Self {
        let ids: Vec<&str> = pieces.iter().map(|piece| piece.image_id.as_str()).collect();
        let mut lookup = IdLookup::new(&ids);
        let column = TextColumn::of(old, IMAGE_ID).unwrap_or(TextColumn::NoText);
        let of_row: Vec<Option<usize>> =
            (0..old.num_rows()).map(|row| column.get(row).and_then(|id| lookup.find(id))).collect();
        let mut rows = vec![0; pieces.len()];
        for &owner in of_row.iter().flatten() {
            if let Some(count) = rows.get_mut(owner) {
                *count += 1;
            }
        }
        Self { of_row, rows }
    }

    /// Which rows stay.
    fn kept(&self, stays: &dyn Fn(usize) -> bool) -> BooleanArray {
        self.of_row.iter().map(|owner| Some(owner.is_none_or(stays))).collect()
    }
}

/// A cell, whatever the column's type.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Missing,
    Number(f64),
    Text(String),
    Other(String),
}

fn cell(column: &ArrayRef, row: usize) -> Cell {
    if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return Cell::Missing;
    }
    match column.data_type() {
        DataType::Boolean => Cell::Number(f64::from(u8::from(column.as_boolean().value(row)))),
        DataType::Utf8 => Cell::Text(column.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => Cell::Text(column.as_string::<i64>().value(row).into()),
        other if other.is_numeric() => {
            let number = cast_to(column, &DataType::Float64).unwrap();
            Cell::Number(number.as_primitive::<Float64Type>().value(row))
        }
        _ => Cell::Other(arrow::util::display::array_value_to_string(column, row).unwrap()),
    }
}

type Cells = (Vec<String>, Vec<Vec<Cell>>);

fn cells(batch: &RecordBatch) -> Cells {
    let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let rows = (0..batch.num_rows()).map(|row| batch.columns().iter().map(|c| cell(c, row)).collect()).collect();
    (names, rows)
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(columns.first().map_or(0, |(_, c)| c.len())));
    let arrays = columns.into_iter().map(|(_, c)| c).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap()
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}
fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}
fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}
fn nulls(data_type: &DataType, rows: usize) -> ArrayRef {
    new_null_array(data_type, rows)
}

fn piece(image_id: &str, columns: Vec<(&str, ArrayRef)>) -> Piece {
    Piece { image_id: image_id.into(), params_hash: format!("h-{image_id}"), rows: batch(columns) }
}

/// A table of the images told, with one column more.
fn table(ids: &[&str], name: &str, column: ArrayRef) -> RecordBatch {
    let same = |text| texts(&vec![text; ids.len()]);
    batch(vec![(IMAGE_ID, texts(ids)), (ANALYSIS_VERSION, same("v0")), (PARAMS_HASH, same("h0")), (name, column)])
}

fn column_types(batch: &RecordBatch) -> Vec<(String, DataType)> {
    batch.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
}

/// Merges a column `x` of a kept image and of a new one, and tells its type and cells.
fn merged_x(old: ArrayRef, new: ArrayRef) -> Result<(DataType, Vec<Cell>), String> {
    let ids = vec!["kept"; old.len()];
    let merged = merge(Some(table(&ids, "x", old)), "v1", vec![piece("new", vec![("x", new)])]).unwrap();
    if let [refusal] = merged.refused.as_slice() {
        assert!(merged.table.is_none());
        return Err(refusal.why.clone());
    }
    let table = merged.table.unwrap();
    let x = table.column_by_name("x").unwrap();
    Ok((x.data_type().clone(), (0..x.len()).map(|row| cell(x, row)).collect()))
}

#[test]
fn types_are_widened() {
    use Cell::{Missing, Number, Text};
    let n = Number;
    let t = |text: &str| Text(text.into());
    let list = |values: Vec<Option<i32>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(values)]))
    };
    let renamed = {
        let field = Arc::new(Field::new("element", DataType::Int64, false));
        DataType::List(field)
    };
    let dictionary: ArrayRef = Arc::new(["b", "a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>());
    let stamp: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5]));
    let large: ArrayRef = Arc::new(LargeStringArray::from(vec!["l"]));
    let cases: Vec<(&str, ArrayRef, ArrayRef, DataType, Vec<Cell>)> = vec![
        ("same", ints(&[1]), ints(&[2]), DataType::Int64, vec![n(1.), n(2.)]),
        ("integer with float", ints(&[1]), floats(&[0.5]), DataType::Float64, vec![n(1.), n(0.5)]),
        ("float with integer", floats(&[0.5]), ints(&[1]), DataType::Float64, vec![n(0.5), n(1.)]),
        (
            "small integer with small float",
            Arc::new(Int8Array::from(vec![1])),
            Arc::new(Float32Array::from(vec![0.5])),
            DataType::Float64,
            vec![n(1.), n(0.5)],
        ),
        (
            "signed with uint64",
            ints(&[-1]),
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            DataType::Float64,
            vec![n(-1.), n(u64::MAX as f64)],
        ),
        (
            "signed with as wide unsigned",
            Arc::new(Int32Array::from(vec![-1])),
            Arc::new(UInt32Array::from(vec![u32::MAX])),
            DataType::Int64,
            vec![n(-1.), n(4294967295.)],
        ),
        (
            "narrow with wide",
            Arc::new(Int16Array::from(vec![-1])),
            Arc::new(UInt8Array::from(vec![255])),
            DataType::Int16,
            vec![n(-1.), n(255.)],
        ),
        (
            "bool with integer",
            Arc::new(BooleanArray::from(vec![true])),
            ints(&[7]),
            DataType::Int64,
            vec![n(1.), n(7.)],
        ),
        (
            "float with bool",
            floats(&[0.5]),
            Arc::new(BooleanArray::from(vec![true])),
            DataType::Float64,
            vec![n(0.5), n(1.)],
        ),
        (
            "bool with bool",
            Arc::new(BooleanArray::from(vec![true])),
            Arc::new(BooleanArray::from(vec![false])),
            DataType::Boolean,
            vec![n(1.), n(0.)],
        ),
        ("text of two sizes", texts(&["s"]), large.clone(), DataType::Utf8, vec![t("s"), t("l")]),
        ("large text with text", large.clone(), texts(&["s"]), DataType::LargeUtf8, vec![t("l"), t("s")]),
        ("dictionary", texts(&["s"]), dictionary.clone(), DataType::Utf8, vec![t("s"), t("b"), t("a"), t("b")]),
        (
            "text view",
            large.clone(),
            Arc::new(StringViewArray::from(vec!["w"])),
            DataType::LargeUtf8,
            vec![t("l"), t("w")],
        ),
        (
            "NaN is missing",
            floats(&[f64::NAN, 1.]),
            floats(&[f64::NAN]),
            DataType::Float64,
            vec![Missing, n(1.), Missing],
        ),
        ("NaN throughout says no type", ints(&[1]), floats(&[f64::NAN]), DataType::Int64, vec![n(1.), Missing]),
        (
            "missing throughout says no type",
            nulls(&DataType::Float64, 1),
            texts(&["s"]),
            DataType::Utf8,
            vec![Missing, t("s")],
        ),
        ("null type takes any", nulls(&DataType::Null, 1), ints(&[3]), DataType::Int64, vec![Missing, n(3.)]),
        ("nothing changes for nulls", ints(&[3]), nulls(&DataType::Null, 1), DataType::Int64, vec![n(3.), Missing]),
        (
            "text's size is the table's even when it has none",
            nulls(&DataType::LargeUtf8, 1),
            texts(&["s"]),
            DataType::LargeUtf8,
            vec![Missing, t("s")],
        ),
        (
            "a declared type goes before null",
            nulls(&DataType::Null, 1),
            nulls(&DataType::Float64, 1),
            DataType::Float64,
            vec![Missing, Missing],
        ),
        (
            "lists of other item names and types",
            list(vec![Some(1), None]),
            {
                let offsets = arrow::buffer::OffsetBuffer::from_lengths([1]);
                let DataType::List(field) = &renamed else { unreachable!() };
                Arc::new(ListArray::new(Arc::clone(field), offsets, ints(&[9]), None))
            },
            DataType::new_list(DataType::Int64, true),
            vec![Cell::Other("[1, ]".into()), Cell::Other("[9]".into())],
        ),
        (
            "decimals of other digits",
            Arc::new(Decimal128Array::from(vec![12345]).with_precision_and_scale(5, 2).unwrap()),
            Arc::new(Decimal128Array::from(vec![12345]).with_precision_and_scale(5, 4).unwrap()),
            DataType::Decimal128(7, 4),
            vec![n(123.45), n(1.2345)],
        ),
        (
            "microseconds of pandas 3, nanoseconds of pandas 2",
            stamp.clone(),
            Arc::new(TimestampNanosecondArray::from(vec![5001])),
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            vec![Cell::Other("1970-01-01T00:00:00.000005".into()), Cell::Other("1970-01-01T00:00:00.000005001".into())],
        ),
        (
            "a time beyond the range of nanoseconds",
            Arc::new(TimestampNanosecondArray::from(vec![5000])),
            Arc::new(TimestampMicrosecondArray::from(vec![32_503_680_000_000_000])),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            vec![Cell::Other("1970-01-01T00:00:00.000005".into()), Cell::Other("3000-01-01T00:00:00".into())],
        ),
        (
            "durations",
            Arc::new(DurationSecondArray::from(vec![5])),
            Arc::new(DurationMillisecondArray::from(vec![5001])),
            DataType::Duration(TimeUnit::Millisecond),
            vec![Cell::Other("PT5S".into()), Cell::Other("PT5.001S".into())],
        ),
        (
            "timestamps",
            stamp.clone(),
            stamp.clone(),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            vec![Cell::Other("1970-01-01T00:00:00.000005".into()); 2],
        ),
        (
            "timestamps of two resolutions",
            stamp.clone(),
            Arc::new(TimestampNanosecondArray::from(vec![5000])),
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            vec![Cell::Other("1970-01-01T00:00:00.000005".into()); 2],
        ),
        (
            "a finer table's timestamps in a zone",
            Arc::new(TimestampNanosecondArray::from(vec![5000]).with_timezone("+00:00")),
            Arc::new(TimestampMillisecondArray::from(vec![1]).with_timezone("+00:00")),
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
            vec![Cell::Other("1970-01-01T00:00:00.000005Z".into()), Cell::Other("1970-01-01T00:00:00.001Z".into())],
        ),
        (
            "durations of two resolutions",
            Arc::new(DurationSecondArray::from(vec![1])),
            Arc::new(DurationMillisecondArray::from(vec![1500])),
            DataType::Duration(TimeUnit::Millisecond),
            vec![Cell::Other("PT1S".into()), Cell::Other("PT1.5S".into())],
        ),
    ];
    for (case, old, new, data_type, expected) in cases {
        match merged_x(old, new) {
            Ok((found, cells)) => {
                if let (DataType::List(found), DataType::List(expected)) = (&found, &data_type) {
                    assert_eq!(found.data_type(), expected.data_type(), "{case}");
                } else {
                    assert_eq!(found, data_type, "{case}");
                }
                assert_eq!(cells, expected, "{case}");
            }
            Err(why) => panic!("{case}: {why}"),
        }
    }
}

#[test]
fn incompatible_types_refused() {
    let structure: ArrayRef =
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int64, true)), ints(&[1]))]));
    let other: ArrayRef =
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("b", DataType::Int64, true)), ints(&[1]))]));
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)])]));
    let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5]));
    let zoned: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5]).with_timezone("UTC"));
    let cases: Vec<(ArrayRef, ArrayRef, [&str; 2])> = vec![
        (texts(&["s"]), ints(&[1]), ["Utf8", "Int64"]),
        (floats(&[1.]), texts(&["s"]), ["Float64", "Utf8"]),
        (Arc::new(BooleanArray::from(vec![true])), texts(&["s"]), ["Boolean", "Utf8"]),
        (list.clone(), ints(&[1]), ["List", "Int64"]),
        (ints(&[1]), structure.clone(), ["Int64", "Struct"]),
        (structure, other, ["Struct", "Struct"]),
        (micros, zoned, ["µs", "UTC"]),
        (texts(&["s"]), list, ["Utf8", "List"]),
        (
            ints(&[1]),
            Arc::new(IntervalDayTimeArray::from(vec![arrow::datatypes::IntervalDayTime::ZERO])),
            ["Interval", "cannot keep"],
        ),
    ];
    for (old, new, words) in cases {
        let why = merged_x(old, new).unwrap_err();
        assert!(why.contains("'x'") && words.iter().all(|word| why.contains(word)), "{words:?}: {why}");
    }
    let twice = merge(None, "v", vec![piece("a", vec![("x", ints(&[1])), ("x", ints(&[2]))])]).unwrap();
    assert!(twice.table.is_none() && twice.refused[0].why.contains("twice"));
    let old = batch(vec![(IMAGE_ID, texts(&["a"])), ("x", ints(&[1])), ("x", ints(&[1]))]);
    assert!(matches!(merge(Some(old), "v", vec![]), Err(MergeError::DuplicateColumn(name)) if name == "x"));
}

#[test]
fn refused_image_keeps_rows_others_continue() {
    let old = table(&["a", "b", "c"], "x", texts(&["ta", "tb", "tc"]));
    // Only b's new rows fit with the old ones of a, which keeps them as its own new ones are refused.
    let pieces = vec![
        piece("a", vec![("x", ints(&[1]))]),
        piece("b", vec![("x", texts(&["nb"]))]),
        piece("d", vec![("x", ints(&[4]))]),
    ];
    let merged = merge(Some(old.clone()), "v1", pieces).unwrap();
    assert_eq!(merged.refused.iter().map(|r| r.piece).collect::<Vec<_>>(), [0, 2]);
    let (_, rows) = cells(&merged.table.unwrap());
    let text = |t: &str| Cell::Text(t.into());
    let found: Vec<(Cell, Cell)> = rows.iter().map(|row| (row[0].clone(), row[3].clone())).collect();
    assert_eq!(found, [(text("a"), text("ta")), (text("c"), text("tc")), (text("b"), text("nb")),]);

    // Where all rows are replaced the old type binds nobody.
    let pieces = ["a", "b", "c"].map(|id| piece(id, vec![("x", ints(&[1]))])).to_vec();
    let merged = merge(Some(old.clone()), "v1", pieces).unwrap();
    assert_eq!(merged.refused, []);
    assert_eq!(merged.table.unwrap().column_by_name("x").unwrap().data_type(), &DataType::Int64);

    // Rows that come back make their type count again, also for an image that had fitted before it.
    let old = table(&["b"], "x", texts(&["tb"]));
    let pieces = vec![
        piece("a", vec![("x", ints(&[1]))]),
        piece("b", vec![("x", texts(&["nb"]))]),
        piece("c", vec![("y", ints(&[3]))]),
    ];
    let merged = merge(Some(old), "v1", pieces).unwrap();
    assert_eq!(merged.refused.iter().map(|r| r.piece).collect::<Vec<_>>(), [0], "b fits with what it had");
    let merged = merged.table.unwrap();
    let column = |name: &str| -> Vec<Cell> {
        let column = merged.column_by_name(name).unwrap();
        (0..merged.num_rows()).map(|row| cell(column, row)).collect()
    };
    assert_eq!(column(IMAGE_ID), [text("b"), text("c")]);
    assert_eq!(column("x"), [text("nb"), Cell::Missing]);

    // All refused: the table stays as it is, or absent.
    let unfit = || {
        vec![piece(
            "a",
            vec![
                ("image_id", ints(&[1])),
                ("x", nulls(&DataType::new_large_list(DataType::Date32, true), 1)),
                ("y", Arc::new(IntervalYearMonthArray::from(vec![1]))),
            ],
        )]
    };
    assert!(merge(None, "v1", unfit()).unwrap().table.is_none());
    assert!(merge(Some(table(&["a"], "x", ints(&[1]))), "v1", unfit()).unwrap().table.is_none());
}

#[test]
fn one_odd_type_does_not_refuse_other_images() {
    let ids = ["a", "b", "c", "d"];
    let old = || table(&ids, "x", ints(&[1, 2, 3, 4]));
    let all = |odd: &str| {
        let column = |id: &str| if id == odd { texts(&["t"]) } else { ints(&[9]) };
        ids.iter().map(|id| piece(id, vec![("x", column(id))])).collect::<Vec<_>>()
    };
    for (place, odd) in ids.iter().enumerate() {
        let merged = merge(Some(old()), "v1", all(odd)).unwrap();
        assert_eq!(merged.refused.iter().map(|r| r.piece).collect::<Vec<_>>(), [place], "{odd}");
        let merged = merged.table.unwrap();
        let x = merged.column_by_name("x").unwrap();
        assert_eq!(x.data_type(), &DataType::Int64, "{odd}");
        assert_eq!((0..4).filter(|&row| cell(x, row) == Cell::Number(9.)).count(), 3, "{odd}");
    }
}

#[test]
fn columns_and_rows_keep_order() {
    let v = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let none: Vec<(&str, ArrayRef)> = vec![("x", nulls(&DataType::Float64, 0)), ("y", nulls(&DataType::Utf8, 0))];
    let prov =
        |names: &[&'static str]| -> Vec<String> { names.iter().chain(&COLUMNS).map(|n| (*n).to_owned()).collect() };
    // (case, old, pieces, columns, image of each row; None: as it was)
    type Case = (&'static str, Option<RecordBatch>, Vec<Piece>, Option<(Vec<String>, Vec<&'static str>)>);
    let cases: Vec<Case> = vec![
        ("no table, no rows", None, vec![piece("a", none.clone())], Some((prov(&["x", "y"]), vec![]))),
        (
            "no table, no rows twice: the last one's columns",
            None,
            vec![piece("a", none.clone()), piece("b", vec![("z", nulls(&DataType::Int64, 0))])],
            Some((prov(&["z"]), vec![])),
        ),
        (
            "rows, then none of other columns",
            None,
            vec![piece("a", vec![("q", ints(&[1]))]), piece("b", none.clone())],
            Some((prov(&["q"]), vec!["a"])),
        ),
        (
            "provenance keeps its place",
            None,
            vec![piece(
                "a",
                vec![("params_hash", ints(&[1])), ("q", ints(&[1])), ("image_id", nulls(&DataType::Null, 1))],
            )],
            Some((v(&["params_hash", "q", "image_id", "analysis_version"]), vec!["a"])),
        ),
        (
            "an image without rows stays out",
            Some(table(&["a", "b"], "x", ints(&[1, 2]))),
            vec![piece("c", none.clone())],
            None,
        ),
        (
            "an image loses its rows",
            Some(table(&["a", "b"], "x", ints(&[1, 2]))),
            vec![piece("a", none.clone())],
            Some((v(&["image_id", "analysis_version", "params_hash", "x"]), vec!["b"])),
        ),
        (
            "the last rows go: the new columns stay",
            Some(table(&["a", "a"], "old", ints(&[1, 2]))),
            vec![piece("a", none.clone())],
            Some((prov(&["x", "y"]), vec![])),
        ),
        (
            "an empty table takes the new columns",
            Some(table(&[], "old", ints(&[]))),
            vec![piece("a", vec![("q", texts(&["s"]))])],
            Some((prov(&["q"]), vec!["a"])),
        ),
        (
            "replacing one at a time keeps older columns",
            Some(table(&["b", "a", "b"], "old", ints(&[1, 2, 3]))),
            vec![piece("a", vec![("q", ints(&[1]))]), piece("b", vec![("r", ints(&[1, 2]))])],
            Some((v(&["image_id", "analysis_version", "params_hash", "old", "q", "r"]), vec!["a", "b", "b"])),
        ),
        (
            "replacing the only image forgets them",
            Some(table(&["a"], "old", ints(&[1]))),
            vec![piece("a", vec![("q", ints(&[1]))])],
            Some((prov(&["q"]), vec!["a"])),
        ),
        (
            "rows of other images stay first, in their order",
            Some(table(&["z", "b", "a", "z"], "x", ints(&[1, 2, 3, 4]))),
            vec![piece("a", vec![("x", ints(&[5, 6]))]), piece("c", vec![("x", ints(&[7]))])],
            Some((v(&["image_id", "analysis_version", "params_hash", "x"]), vec!["z", "b", "z", "a", "a", "c"])),
        ),
        ("nothing to do", Some(table(&["a"], "x", ints(&[1]))), vec![], None),
        ("nothing at all", None, vec![], None),
    ];
    for (case, old, pieces, expected) in cases {
        let merged = merge(old, "v1", pieces).unwrap();
        assert_eq!(merged.refused, [], "{case}");
        match (merged.table, expected) {
            (None, None) => {}
            (Some(table), Some((columns, images))) => {
                assert_eq!(cells(&table).0, columns, "{case}");
                let ids = TextColumn::of(&table, IMAGE_ID).unwrap();
                let found: Vec<&str> = (0..table.num_rows()).map(|row| ids.get(row).unwrap()).collect();
                assert_eq!(found, images, "{case}");
            }
            (found, expected) => panic!("{case}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn table_without_image_id_keeps_rows() {
    let old = batch(vec![("x", ints(&[1, 2]))]);
    let table = merge(Some(old), "v1", vec![piece("a", vec![("x", ints(&[3]))])]).unwrap().table.unwrap();
    let (names, rows) = cells(&table);
    assert_eq!(names, ["x", "image_id", "analysis_version", "params_hash"]);
    assert_eq!(
        rows.iter().map(|row| row[1].clone()).collect::<Vec<_>>(),
        [Cell::Missing, Cell::Missing, Cell::Text("a".into())]
    );
}

#[test]
fn pandas_metadata_kept_while_columns_same() {
    let describe = |batch: RecordBatch| {
        let schema = batch.schema().as_ref().clone();
        let metadata = HashMap::from([("pandas".to_owned(), "{}".to_owned()), ("lab".to_owned(), "x".to_owned())]);
        batch.with_schema(Arc::new(Schema::new_with_metadata(schema.fields().clone(), metadata))).unwrap()
    };
    let old = describe(table(&["a"], "x", ints(&[1])));
    for (new, kept) in [(("x", ints(&[2])), true), (("x", floats(&[2.5])), false), (("y", ints(&[2])), false)] {
        let case = format!("{new:?}");
        let table = merge(Some(old.clone()), "v1", vec![piece("b", vec![new])]).unwrap().table.unwrap();
        let schema = table.schema();
        assert_eq!(schema.metadata().get("pandas").is_some(), kept, "{case}");
        assert!(schema.metadata().get("lab").is_some(), "{case}");
    }
}

#[test]
fn every_kept_type_round_trips() {
    use DataType::*;
    let field = |data_type: &DataType| Arc::new(Field::new("item", data_type.clone(), true));
    let flat = [
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(3),
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time32(TimeUnit::Millisecond),
        Time64(TimeUnit::Microsecond),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Duration(TimeUnit::Second),
        Duration(TimeUnit::Nanosecond),
        Decimal128(20, 3),
        Decimal256(60, 3),
        Dictionary(Box::new(Int8), Box::new(Utf8)),
    ];
    let mut all = flat.to_vec();
    for inner in &flat {
        all.extend([
            List(field(inner)),
            LargeList(field(inner)),
            FixedSizeList(field(inner), 2),
            Struct(vec![field(inner)].into()),
        ]);
    }
    for data_type in all {
        let rows = batch(vec![("x", nulls(&data_type, 2)), ("n", ints(&[1, 2]))]);
        let merged = merge(None, "v1", vec![Piece { image_id: "a".into(), params_hash: "h".into(), rows }]).unwrap();
        assert_eq!(merged.refused, [], "{data_type}");
        let table = merged.table.unwrap();
        let mut bytes = Vec::new();
        let written = parquet::arrow::ArrowWriter::try_new(&mut bytes, table.schema(), None).and_then(|mut writer| {
            writer.write(&table)?;
            writer.close()
        });
        assert!(written.is_ok(), "{data_type}: {written:?}");
        let read = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::of(bytes))
            .unwrap()
            .build()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(column_types(&read), column_types(&table), "{data_type}");
    }
    for data_type in
        [Interval(arrow::datatypes::IntervalUnit::DayTime), Struct(arrow::datatypes::Fields::empty()), Decimal32(4, 2)]
    {
        assert_eq!(kept_type(&data_type), None, "{data_type}");
    }
}

mod bytes {
    //! Bytes as the Parquet reader takes them.
    pub fn of(bytes: Vec<u8>) -> std::fs::File {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        file
    }
}

/// A column of some type from small numbers; 100 stands for NaN where the type has it.
fn column_from(kind: u8, values: &[Option<i8>]) -> ArrayRef {
    let values = values.iter().copied();
    let text = |v: Option<i8>| v.map(|v| v.to_string());
    match kind {
        0 => Arc::new(values.map(|v| v.map(i64::from)).collect::<Int64Array>()),
        1 => Arc::new(
            values.map(|v| v.map(|v| if v == 100 { f64::NAN } else { f64::from(v) })).collect::<Float64Array>(),
        ),
        2 => Arc::new(values.map(|v| v.map(|v| v.unsigned_abs())).collect::<UInt8Array>()),
        3 => Arc::new(values.map(|v| v.map(|v| v > 0)).collect::<BooleanArray>()),
        4 => Arc::new(values.map(|v| v.map(|v| u64::from(v.unsigned_abs()))).collect::<UInt64Array>()),
        5 => Arc::new(NullArray::new(values.len())),
        6 => Arc::new(values.map(text).collect::<StringArray>()),
        7 => Arc::new(values.map(text).collect::<LargeStringArray>()),
        _ => {
            let texts: Vec<Option<String>> = values.map(text).collect();
            Arc::new(texts.iter().map(|t| t.as_deref()).collect::<DictionaryArray<Int32Type>>())
        }
    }
}

/// Columns `n0` … hold numbers, `t0` … text, so that all go together; the others are the provenance columns.
#[derive(Debug, Clone)]
struct Rows {
    columns: Vec<(String, u8)>,
    cells: Vec<Vec<Option<i8>>>,
}

impl Rows {
    fn batch(&self) -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, (name, kind))| {
                let values: Vec<Option<i8>> = self.cells.iter().map(|row| row[place]).collect();
                let column: ArrayRef = if name == IMAGE_ID && *kind >= 6 {
                    Arc::new(values.iter().map(|v| v.map(|v| image(v.unsigned_abs()))).collect::<StringArray>())
                } else {
                    column_from(*kind, &values)
                };
                (name.as_str(), column)
            })
            .collect();
        let rows = batch(columns);
        let options = RecordBatchOptions::new().with_row_count(Some(self.cells.len()));
        RecordBatch::try_new_with_options(rows.schema(), rows.columns().to_vec(), &options).unwrap()
    }
}

fn image(number: u8) -> String {
    format!("image-{}", number % 6)
}

fn arb_rows(image_id: bool) -> impl Strategy<Value = Rows> {
    let name = prop_oneof![
        (0..3u8).prop_map(|i| format!("n{i}")),
        (0..3u8).prop_map(|i| format!("t{i}")),
        Just(ANALYSIS_VERSION.to_owned()),
        Just(PARAMS_HASH.to_owned()),
        Just(IMAGE_ID.to_owned()),
    ];
    let columns = proptest::collection::vec((name, 0..6u8, 5..9u8), 0..6);
    (columns, 0..4usize).prop_flat_map(move |(columns, rows)| {
        let mut kept: Vec<(String, u8)> = Vec::new();
        for (name, number, text) in columns {
            if !kept.iter().any(|(n, _)| n == &name) {
                kept.push((name.clone(), if name.starts_with('n') { number } else { text }));
            }
        }
        if image_id && !kept.iter().any(|(n, _)| n == IMAGE_ID) {
            kept.insert(0, (IMAGE_ID.to_owned(), 6));
        }
        let cell = prop_oneof![Just(None), Just(Some(100)), any::<i8>().prop_map(Some)];
        proptest::collection::vec(proptest::collection::vec(cell, kept.len()), rows * (1 + usize::from(image_id) * 2))
            .prop_map(move |cells| Rows { columns: kept.clone(), cells })
    })
}

type Model = Option<(Vec<String>, Vec<BTreeMap<String, Cell>>)>;

fn model_of(batch: &RecordBatch) -> (Vec<String>, Vec<BTreeMap<String, Cell>>) {
    let (names, rows) = cells(&without_dictionaries(batch));
    let rows = rows
        .into_iter()
        .map(|row| {
            let present =
                |cell: &Cell| !matches!(cell, Cell::Missing) && !matches!(cell, Cell::Number(n) if n.is_nan());
            names.iter().cloned().zip(row).filter(|(_, cell)| present(cell)).collect()
        })
        .collect();
    (names, rows)
}

fn without_dictionaries(rows: &RecordBatch) -> RecordBatch {
    let columns = rows.columns().iter().map(|c| cast_to(c, &kept_type(c.data_type()).unwrap()).unwrap());
    let schema = rows.schema();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let fields: Vec<Field> =
        schema.fields().iter().map(|f| f.as_ref().clone().with_data_type(kept_type(f.data_type()).unwrap())).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns.collect(), &options).unwrap()
}

/// What the predecessor does, an image at a time.
fn model_merge(table: &mut Model, image: &str, hash: &str, rows: &RecordBatch) {
    let (mut names, mut new) = model_of(rows);
    for (name, value) in COLUMNS.into_iter().zip([image, "v1", hash]) {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
        for row in &mut new {
            row.insert(name.to_owned(), Cell::Text(value.to_owned()));
        }
    }
    if let Some((_, old)) = table {
        old.retain(|row| row.get(IMAGE_ID) != Some(&Cell::Text(image.to_owned())));
    }
    match table {
        Some((columns, old)) if !old.is_empty() => {
            if !new.is_empty() {
                for name in names {
                    if !columns.contains(&name) {
                        columns.push(name);
                    }
                }
                old.extend(new);
            }
        }
        _ => *table = Some((names, new)),
    }
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(100))]
    #[test]
    fn merge_of_many_equals_merges_of_one(
        old in proptest::option::of(any::<bool>().prop_flat_map(arb_rows)),
        pieces in proptest::collection::btree_map(0..6u8, arb_rows(false), 0..6),
    ) {
        let old = old.map(|rows| without_dictionaries(&rows.batch()));
        let mut model: Model = old.as_ref().map(model_of);
        let pieces: Vec<Piece> = pieces
            .into_iter()
            .map(|(number, rows)| Piece {
                image_id: image(number), params_hash: format!("h{number}"), rows: rows.batch(),
            })
            .collect();
        for piece in &pieces {
            model_merge(&mut model, &piece.image_id, &piece.params_hash, &piece.rows);
        }
        let merged = merge(old.clone(), "v1", pieces).unwrap();
        prop_assert_eq!(merged.refused, vec![]);
        if let Some(table) = &merged.table {
            let floats = table.columns().iter().filter(|c| c.data_type() == &DataType::Float64);
            for column in floats {
                let column = column.as_primitive::<Float64Type>();
                prop_assert!((0..column.len()).all(|row| column.is_null(row) || !column.value(row).is_nan()));
            }
        }
        let found = merged.table.or(old).map(|table| model_of(&table));
        prop_assert_eq!(found, model);
    }
}
