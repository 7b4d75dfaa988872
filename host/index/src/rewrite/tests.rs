//! Rewriting a file against merging in memory, over histories; what is copied, how groups are cut.

use super::layout::Size;
use super::testing::{dataset, write_file};
use super::write::Filling;
use super::*;
use crate::merge::tests::merge;
use crate::provenance::{ANALYSIS_VERSION, COLUMNS, IMAGE_ID, PARAMS_HASH, TextColumn};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray, UInt8Array, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use kymhost_dataset::TableWriter;
use parquet::file::metadata::ParquetMetaData;
use proptest::prelude::*;
use std::sync::Arc;

fn name() -> TableName {
    TableName::of("t").unwrap()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(columns.first().map_or(0, |(_, c)| c.len())));
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).unwrap()
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn piece(image_id: &str, columns: Vec<(&str, ArrayRef)>) -> Piece {
    Piece { image_id: image_id.into(), params_hash: format!("h-{image_id}"), rows: batch(columns) }
}

/// A table of images with so many rows each, one after the other: `x` counts the rows.
fn table(images: &[(&str, usize)]) -> RecordBatch {
    let ids: Vec<&str> = images.iter().flat_map(|(id, rows)| vec![*id; *rows]).collect();
    let label = |text: &'static str| texts(vec![text; ids.len()]);
    let x = ints((0..ids.len()).map(|row| row as i64));
    batch(vec![
        (IMAGE_ID, texts(ids.iter().copied())),
        (ANALYSIS_VERSION, label("v0")),
        (PARAMS_HASH, label("h0")),
        ("x", x),
    ])
}

fn stat(dataset: &Dataset) -> Option<Stat> {
    dataset.table_stat(name().table()).unwrap()
}

fn change(pieces: Vec<Piece>) -> Change {
    Change { pieces, analysis_version: "v1".into(), ..Change::default() }
}

fn done(dataset: &Dataset, change: &Change, target: u64) -> Rewritten {
    let done = rewrite_in_groups(dataset, &name(), stat(dataset), change, target).unwrap().unwrap();
    assert_eq!(done.table, identity(dataset, &name()).unwrap(), "the identity is that of the file as it is");
    done
}

fn read(dataset: &Dataset) -> Option<RecordBatch> {
    dataset.read_table(name().table(), None).unwrap()
}

fn file(dataset: &Dataset) -> TableFile {
    dataset.open_table(name().table()).unwrap().unwrap()
}

fn group_sizes(dataset: &Dataset) -> Vec<u64> {
    file(dataset).group_rows().collect()
}

fn ids(dataset: &Dataset) -> Vec<Option<String>> {
    let table = read(dataset).unwrap();
    let ids = TextColumn::of(&table, IMAGE_ID).unwrap();
    (0..table.num_rows()).map(|row| ids.get(row).map(str::to_owned)).collect()
}

fn column(dataset: &Dataset, name: &str) -> Vec<String> {
    let table = read(dataset).unwrap();
    let column = table.column_by_name(name).unwrap();
    (0..table.num_rows()).map(|row| arrow::util::display::array_value_to_string(column, row).unwrap()).collect()
}

/// The bytes of a row group's columns.
fn bytes_of(file: &[u8], metadata: &ParquetMetaData, group: usize) -> Vec<Vec<u8>> {
    let columns = metadata.row_group(group).columns().iter();
    columns
        .map(|column| {
            let (start, length) = column.byte_range();
            file[usize::try_from(start).unwrap()..usize::try_from(start + length).unwrap()].to_vec()
        })
        .collect()
}

#[test]
fn unchanged_groups_copied_as_bytes() {
    let images: Vec<String> = (0..40).map(|image| format!("i{image:02}")).collect();
    let rows = table(&images.iter().map(|id| (id.as_str(), 5)).collect::<Vec<_>>());
    let (_dir, dataset) = dataset();
    let key = name().key().unwrap();
    for dictionary in [true, false] {
        write_file(&dataset, &name(), &rows, 50, dictionary);
        let before = dataset.store().get(&key, 1 << 20).unwrap().unwrap();
        let metadata = file(&dataset).parquet().clone();
        let done = done(&dataset, &change(vec![piece("i12", vec![("x", ints([-1, -2]))])]), 50);
        assert_eq!(done.groups, (3, 2));
        let after = dataset.store().get(&key, 1 << 20).unwrap().unwrap();
        let new = file(&dataset);
        assert_eq!(group_sizes(&dataset), [50, 45, 50, 50, 2]);
        for group in [0, 2, 3] {
            assert_eq!(
                bytes_of(&before, &metadata, group),
                bytes_of(&after, new.parquet(), group),
                "group {group}, dictionary {dictionary}"
            );
            let (old, new) = (metadata.row_group(group), new.parquet().row_group(group));
            for (old, new) in old.columns().iter().zip(new.columns()) {
                assert_eq!(old.statistics(), new.statistics());
                assert!(new.offset_index_offset().is_none() && new.column_index_offset().is_none());
                assert!(new.bloom_filter_offset().is_none());
            }
        }
        let found = ids(&dataset);
        assert_eq!(found.len(), 197);
        assert_eq!(found.iter().flatten().filter(|id| *id == "i12").count(), 2);
        assert_eq!(column(&dataset, "x")[195..], ["-1", "-2"]);
    }
}

#[test]
fn layouts() {
    let copy = |kept| Size { kept, copyable: true };
    let decode = |kept| Size { kept, copyable: false };
    // (case, old groups, new rows, parts: their old groups, c for copied, n for new rows)
    let cases: Vec<(&str, Vec<Size>, u64, Vec<&str>)> = vec![
        ("nothing", vec![], 0, vec![]),
        ("new rows alone", vec![], 7, vec!["n"]),
        ("all is copied", vec![copy(100), copy(100)], 0, vec!["0c", "1c"]),
        ("others' small groups are left", vec![copy(3), copy(3), copy(3)], 0, vec!["0c", "1c", "2c"]),
        ("a full tail is left", vec![copy(100), copy(100)], 5, vec!["0c", "1c", "n"]),
        ("a small tail is filled", vec![copy(100), copy(99)], 5, vec!["0c", "1n"]),
        ("a changed tail", vec![copy(100), decode(99)], 5, vec!["0c", "1n"]),
        ("a changed group", vec![copy(100), decode(90), copy(100)], 0, vec!["0c", "1", "2c"]),
        ("a crumb takes the next along", vec![copy(100), decode(24), copy(100), copy(100)], 0, vec!["0c", "12", "3c"]),
        ("a crumb at the end stays", vec![copy(100), decode(24)], 0, vec!["0c", "1"]),
        ("two that fit in one", vec![copy(60), decode(40), copy(100)], 0, vec!["01", "2c"]),
        ("two that fit in one, the other way", vec![decode(40), copy(60), copy(100)], 0, vec!["01", "2c"]),
        ("neighbours are written together", vec![decode(90), decode(90), copy(90)], 0, vec!["01", "2c"]),
        ("a group that goes", vec![copy(100), decode(0), copy(100)], 0, vec!["0c", "2c"]),
        ("a group that goes between small ones", vec![copy(50), decode(0), copy(50)], 0, vec!["02"]),
        ("all go", vec![decode(0), decode(0)], 0, vec![]),
        ("a large one", vec![decode(1000), copy(100)], 0, vec!["0", "1c"]),
        ("a large one's end may be small", vec![decode(1000), copy(50)], 0, vec!["01"]),
    ];
    for (case, old, new_rows, expected) in cases {
        let found: Vec<String> = layout(old, new_rows, 100)
            .iter()
            .map(|part| {
                let groups: String = part.groups.iter().map(ToString::to_string).collect();
                format!("{groups}{}{}", if part.is_copied { "c" } else { "" }, if part.has_new { "n" } else { "" })
            })
            .collect();
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn groups_cut_between_images() {
    let (_dir, dataset) = dataset();
    // One large group, as Python writes it, in batches.
    let images: Vec<String> = (0..100).map(|image| format!("i{image:02}")).collect();
    let rows = table(&images.iter().map(|id| (id.as_str(), 700)).collect::<Vec<_>>());
    write_file(&dataset, &name(), &rows, 1_000_000, true);
    assert_eq!(group_sizes(&dataset), [70_000]);
    let done_once = done(&dataset, &change(vec![piece("i00", vec![("x", ints([1]))])]), 10_000);
    assert_eq!(done_once.groups, (0, 7));
    assert_eq!(group_sizes(&dataset), [10_500, 10_500, 10_500, 10_500, 10_500, 10_500, 6_301]);
    // An image of many rows is cut within, at twice as many.
    let many = piece("big", vec![("x", ints(0..45_000))]);
    done(&dataset, &change(vec![many]), 10_000);
    assert_eq!(group_sizes(&dataset)[6..], [20_000, 20_000, 11_301]);
    // A table without images is cut anywhere.
    write_file(&dataset, &name(), &batch(vec![("y", ints(0..25_000))]), 1_000_000, true);
    done(&dataset, &change(vec![piece("a", vec![("y", ints([1]))])]), 10_000);
    assert_eq!(group_sizes(&dataset), [10_000, 10_000, 5_001]);
}

#[test]
fn foreign_tables_rewritten() {
    let (_dir, dataset) = dataset();
    let new = || change(vec![piece("a", vec![("x", ints([7]))])]);
    let some = |texts: &[&str]| texts.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>();

    // None yet.
    let first = done(&dataset, &new(), 100);
    assert_eq!((ids(&dataset), first.groups, first.widened), (some(&["a"]), (0, 1), vec![]));
    // Nothing to do: nothing is written.
    let before = stat(&dataset);
    let none = done(&dataset, &change(vec![piece("z", vec![("x", ints([]))])]), 100);
    assert_eq!((stat(&dataset), none.groups), (before, (0, 0)));
    assert!(rewrite(&dataset, &name(), None, &new()).unwrap().is_none(), "there is one meanwhile");

    // Empty, with columns; then the new rows' columns are the table's.
    write_file(&dataset, &name(), &table(&[]), 10, true);
    done(&dataset, &new(), 100);
    assert_eq!(ids(&dataset), some(&["a"]));
    assert_eq!(read(&dataset).unwrap().schema().field(0).name(), "x");

    // Image ids that are all missing, of type Null, as pandas writes them, and of numbers.
    for id in [Arc::new(NullArray::new(2)) as ArrayRef, new_null_array(&DataType::Float64, 2)] {
        write_file(&dataset, &name(), &batch(vec![(IMAGE_ID, id), ("x", ints([1, 2]))]), 10, true);
        done(&dataset, &new(), 100);
        assert_eq!(ids(&dataset), [None, None, Some("a".to_owned())]);
        assert_eq!(column(&dataset, "x"), ["1", "2", "7"]);
    }
    write_file(&dataset, &name(), &batch(vec![(IMAGE_ID, ints([1, 2])), ("x", ints([1, 2]))]), 10, true);
    let done_with_numbers = done(&dataset, &new(), 100);
    assert!(done_with_numbers.refused[0].why.contains("'image_id'"), "{:?}", done_with_numbers.refused);

    // Two columns of one name.
    write_file(&dataset, &name(), &batch(vec![("x", ints([1])), ("x", ints([2]))]), 10, true);
    let error = rewrite(&dataset, &name(), stat(&dataset), &new()).unwrap_err().to_string();
    assert!(error.contains("two columns named 'x'") && error.contains("kym_t"), "{error}");

    // Row labels of pandas are no column, also where groups would be copied.
    let labelled = |rows: &RecordBatch| {
        let mut columns: Vec<(String, ArrayRef)> =
            vec![("__index_level_0__".to_owned(), ints(0..rows.num_rows() as i64))];
        columns
            .extend(rows.schema().fields().iter().zip(rows.columns()).map(|(f, c)| (f.name().clone(), Arc::clone(c))));
        batch(columns.iter().map(|(n, c)| (n.as_str(), Arc::clone(c))).collect())
    };
    write_file(&dataset, &name(), &labelled(&table(&[("b", 5), ("a", 5)])), 5, true);
    let done_labelled = done(&dataset, &new(), 5);
    assert_eq!(done_labelled.groups, (1, 1));
    assert_eq!(column(&dataset, "x"), ["0", "1", "2", "3", "4", "7"]);
    assert_eq!(read(&dataset).unwrap().num_columns(), 4);

    // Columns that may not be missing: the file's form is another, so nothing can be copied.
    let required = RecordBatch::try_from_iter(vec![
        (IMAGE_ID, texts(["b", "a"])),
        (ANALYSIS_VERSION, texts(["v", "v"])),
        (PARAMS_HASH, texts(["h", "h"])),
        ("x", ints([1, 2])),
    ]);
    write_file(&dataset, &name(), &required.unwrap(), 1, true);
    assert_eq!(done(&dataset, &new(), 1).groups, (0, 2));
    assert_eq!(column(&dataset, "x"), ["1", "7"]);

    // Damaged.
    dataset.store().put(&name().key().unwrap(), b"PAR1 nothing PAR1").unwrap();
    let error = rewrite(&dataset, &name(), stat(&dataset), &new()).unwrap_err();
    assert!(error.is_broken_table(), "{error:?}");
}

#[test]
fn categories_copied_as_text() {
    let (_dir, dataset) = dataset();
    let rows = table(&[("a", 3), ("b", 3), ("c", 3)]);
    let category = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let column =
            if field.name() == "x" { Arc::clone(column) } else { arrow::compute::cast(column, &category).unwrap() };
        (field.name().clone(), column, true)
    });
    let rows = RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap();
    write_file(&dataset, &name(), &rows, 3, true);
    assert_eq!(done(&dataset, &change(vec![piece("b", vec![("x", ints([7]))])]), 3).groups.0, 2);
    let found: Vec<String> = ids(&dataset).into_iter().flatten().collect();
    assert_eq!(found, ["a", "a", "a", "c", "c", "c", "b"]);
    assert_eq!(column(&dataset, "x"), ["0", "1", "2", "6", "7", "8", "7"]);
}

#[test]
fn rows_removed_and_relabelled() {
    let (_dir, dataset) = dataset();
    let images = [("a", 4), ("b", 4), ("c", 4), ("d", 4)];
    write_file(&dataset, &name(), &table(&images), 4, true);
    let both = Change {
        remove: ["a".to_owned(), "nobody".to_owned()].into(),
        relabel: vec![("c".to_owned(), "new".to_owned()), ("nobody else".to_owned(), "x".to_owned())],
        metadata: vec![("kymhost.library".to_owned(), "1".to_owned())],
        ..change(vec![])
    };
    assert_eq!(done(&dataset, &both, 4).groups, (2, 1));
    assert_eq!(column(&dataset, PARAMS_HASH), [["h0"; 4], ["new"; 4], ["h0"; 4]].concat());
    assert_eq!(column(&dataset, ANALYSIS_VERSION), [["v0"; 4], ["v1"; 4], ["v0"; 4]].concat());
    assert_eq!(column(&dataset, "x"), ["4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"]);

    // Pairs of ours in the metadata stay until they are replaced.
    let pairs = || {
        let file = file(&dataset);
        let pairs = file.parquet().file_metadata().key_value_metadata().unwrap().clone();
        let ours = pairs.into_iter().filter(|pair| pair.key.starts_with("kymhost"));
        ours.map(|pair| (pair.key, pair.value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(pairs(), both.metadata);
    let other = |key: &str| Change {
        metadata: vec![(key.to_owned(), "2".to_owned())],
        ..change(vec![piece("b", vec![("x", ints([1]))])])
    };
    done(&dataset, &other("kymhost.more"), 4);
    done(&dataset, &other("kymhost.library"), 4);
    assert_eq!(pairs(), [("kymhost.more".to_owned(), "2".to_owned()), ("kymhost.library".to_owned(), "2".to_owned())]);

    // All leave: the columns stay.
    let all = Change { remove: images.map(|(id, _)| id.to_owned()).into(), ..change(vec![]) };
    let gone = done(&dataset, &all, 4);
    assert_eq!(gone.groups, (0, 0));
    assert_eq!(read(&dataset).unwrap().num_rows(), 0);
    assert_eq!(read(&dataset).unwrap().num_columns(), 4);

    // Labels that there are none of yet, or nothing in.
    let relabel = Change { relabel: vec![("b".to_owned(), "new".to_owned())], ..change(vec![]) };
    let nothing = || new_null_array(&DataType::Float64, 3);
    for columns in [
        vec![(IMAGE_ID, texts(["a", "b", "b"])), ("x", ints([1, 2, 3]))],
        vec![(IMAGE_ID, texts(["a", "b", "b"])), (PARAMS_HASH, nothing()), (ANALYSIS_VERSION, nothing())],
    ] {
        write_file(&dataset, &name(), &batch(columns), 2, true);
        assert_eq!(done(&dataset, &relabel, 4).widened, []);
        assert_eq!(column(&dataset, PARAMS_HASH), ["", "new", "new"]);
        assert_eq!(column(&dataset, ANALYSIS_VERSION), ["", "v1", "v1"]);
    }
    let numbers = batch(vec![(IMAGE_ID, texts(["a", "b"])), (PARAMS_HASH, ints([1, 2]))]);
    write_file(&dataset, &name(), &numbers, 2, true);
    let error = rewrite(&dataset, &name(), stat(&dataset), &relabel).unwrap_err().to_string();
    assert!(error.contains("'params_hash'") && error.contains("Int64"), "{error}");
}

#[test]
fn widened_columns_reported() {
    let (_dir, dataset) = dataset();
    let old = batch(vec![
        (IMAGE_ID, texts(["a", "b"])),
        ("int", ints([1, 2])),
        ("same", ints([1, 2])),
        ("none", Arc::new(NullArray::new(2))),
        ("empty", new_null_array(&DataType::Utf8, 2)),
    ]);
    write_file(&dataset, &name(), &old, 1, true);
    let half: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let new = vec![("int", Arc::clone(&half)), ("same", ints([1])), ("none", ints([1])), ("empty", half)];
    let found = done(&dataset, &change(vec![piece("b", new)]), 10);
    let widening =
        |column: &str, from: &str, to: &str| Widening { column: column.into(), from: from.into(), to: to.into() };
    assert_eq!(found.widened, [widening("int", "Int64", "Float64")]);
    assert_eq!(column(&dataset, "int"), ["1.0", "0.5"]);
}

#[test]
fn rewrite_leaves_table_changed_by_another_program() {
    let (_dir, dataset) = dataset();
    write_file(&dataset, &name(), &table(&[("a", 3)]), 10, true);
    let seen = stat(&dataset);
    write_file(&dataset, &name(), &table(&[("a", 2)]), 10, true);
    let new = change(vec![piece("a", vec![("x", ints([1]))])]);
    assert!(rewrite(&dataset, &name(), seen, &new).unwrap().is_none());
    dataset.store().put(&name().key().unwrap(), b"broken").unwrap();
    assert!(rewrite(&dataset, &name(), seen, &new).unwrap().is_none());
    dataset.store().delete(&name().key().unwrap()).unwrap();
    assert!(rewrite(&dataset, &name(), seen, &new).unwrap().is_none());
    assert!(stat(&dataset).is_none());
}

/// Whatever a row holds, what is held for a row group is bounded.
#[test]
fn large_rows_end_groups_early() {
    let mut seed = 1u64;
    let mut noise = || {
        let bytes = (0..10_000).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'0' + (seed >> 58) as u8)
        });
        bytes.collect::<String>()
    };
    let mut rows = || {
        let large: Vec<String> = (0..10).map(|_| noise()).collect();
        batch(vec![(IMAGE_ID, texts(["a"; 10])), ("x", texts(large.iter().map(String::as_str)))])
    };
    let mut file: Vec<u8> = Vec::new();
    let writer = TableWriter::new(&mut file, rows().schema_ref(), &[]).unwrap();
    let mut filling =
        Filling { writer, target: 1_000_000, most_bytes: 1 << 20, image_id: Some(0), last: None, left: 1_000 };
    let mut most = 0;
    for _ in 0..100 {
        assert!(filling.add(&rows()).is_ok());
        most = most.max(filling.writer.bytes_in_group());
    }
    let groups = filling.writer.groups();
    assert!((5..20).contains(&groups) && most < 2 << 20, "{groups} groups, up to {most} bytes");
}

/// A table that another program has made: rows of images and of none, one among the other.
#[derive(Debug, Clone)]
struct Foreign {
    ids: Vec<Option<u8>>,
    large: bool,
    numbers: bool,
    labels: bool,
}

impl Foreign {
    fn table(&self) -> RecordBatch {
        let ids = self.ids.iter().map(|id| id.map(image));
        let ids: ArrayRef = if self.large {
            Arc::new(ids.collect::<LargeStringArray>())
        } else {
            Arc::new(ids.collect::<StringArray>())
        };
        let label = || texts(vec!["old"; self.ids.len()]);
        let n = ints((0..self.ids.len()).map(|row| row as i64));
        let n = if self.numbers { n } else { arrow::compute::cast(&n, &DataType::Utf8).unwrap() };
        let mut columns = vec![("n", n), (IMAGE_ID, ids), ("none", new_null_array(&DataType::Float64, self.ids.len()))];
        if self.labels {
            columns.extend([(PARAMS_HASH, label()), (ANALYSIS_VERSION, label())]);
        }
        batch(columns)
    }
}

fn arb_foreign() -> impl Strategy<Value = Foreign> {
    let ids = proptest::collection::vec(proptest::option::weighted(0.9, 0..8u8), 0..60);
    (ids, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(ids, large, numbers, labels)| Foreign {
        ids,
        large,
        numbers,
        labels,
    })
}

/// New rows of an image: how many, and of which types.
#[derive(Debug, Clone)]
struct New {
    image: u8,
    rows: Vec<Option<i8>>,
    n: u8,
    t: u8,
    late: bool,
}

impl New {
    fn piece(&self) -> Piece {
        let values = || self.rows.iter().copied();
        let n: ArrayRef = match self.n {
            0..=4 => Arc::new(values().map(|v| v.map(i64::from)).collect::<Int64Array>()),
            5 => Arc::new(values().map(|v| v.map(|v| f64::from(v) / 2.0)).collect::<Float64Array>()),
            6 => Arc::new(values().map(|v| v.map(|v| v.unsigned_abs())).collect::<UInt8Array>()),
            7 => Arc::new(NullArray::new(self.rows.len())),
            8 => Arc::new(values().map(|v| v.map(|v| v.to_string())).collect::<StringArray>()),
            _ => new_null_array(&DataType::Float64, self.rows.len()),
        };
        let t: ArrayRef = match self.t {
            0 => Arc::new(values().map(|v| v.map(|v| v.to_string())).collect::<StringArray>()),
            1 => Arc::new(values().map(|v| v.map(|v| v.to_string())).collect::<LargeStringArray>()),
            2 => Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                values().map(|v| v.map(|v| vec![Some(i32::from(v)), None])),
            )),
            _ => Arc::new(values().map(|v| v.map(i64::from)).collect::<TimestampMicrosecondArray>()),
        };
        let mut columns = vec![("n", n)];
        columns.push((["t", "u", "l", "s"][usize::from(self.t % 4)], t));
        if self.late {
            columns.insert(0, ("late", ints((0..self.rows.len()).map(|row| row as i64))));
        }
        piece(&image(self.image), columns)
    }
}

fn image(number: u8) -> String {
    format!("image-{number}")
}

fn arb_new() -> impl Strategy<Value = New> {
    let rows = proptest::collection::vec(proptest::option::weighted(0.8, any::<i8>()), 0..9);
    (0..8u8, rows, 0..10u8, 0..4u8, proptest::bool::weighted(0.1)).prop_map(|(image, rows, n, t, late)| New {
        image,
        rows,
        n,
        t,
        late,
    })
}

#[derive(Debug, Clone)]
struct Step {
    pieces: Vec<New>,
    remove: BTreeSet<u8>,
    relabel: BTreeSet<u8>,
    /// Another program writes the table again, in groups of so many rows.
    foreign: Option<usize>,
}

fn arb_step() -> impl Strategy<Value = Step> {
    let some = |most: usize| proptest::collection::btree_set(0..8u8, 0..most);
    let pieces = proptest::collection::vec(arb_new(), 0..4);
    (pieces, some(2), some(2), proptest::option::weighted(0.3, 1..20usize)).prop_map(
        |(mut pieces, remove, relabel, foreign)| {
            pieces.sort_by_key(|new| new.image);
            pieces.dedup_by_key(|new| new.image);
            Step { pieces, remove, relabel, foreign }
        },
    )
}

/// What [`rewrite`] does to rows that stay, in memory.
fn model(old: Option<RecordBatch>, change: &Change) -> (Option<RecordBatch>, Vec<RefusedPiece>) {
    let Some(table) = old else {
        let merged = merge(None, "v1", change.pieces.clone()).unwrap();
        return (merged.table, merged.refused);
    };
    let has_piece = |id: &str| change.pieces.iter().any(|piece| piece.image_id == id);
    let ids = TextColumn::of(&table, IMAGE_ID);
    let id = |row: usize| ids.and_then(|ids| ids.get(row)).filter(|id| !has_piece(id));
    let stays: BooleanArray =
        (0..table.num_rows()).map(|row| Some(!id(row).is_some_and(|id| change.remove.contains(id)))).collect();
    let kept = filter_record_batch(&table, &stays).unwrap();
    let ids = TextColumn::of(&kept, IMAGE_ID);
    let hash = |row: usize| {
        let id = ids.and_then(|ids| ids.get(row)).filter(|id| !has_piece(id))?;
        change.relabel.iter().find(|(image, _)| image == id).map(|(_, hash)| hash.as_str())
    };
    let mut columns: Vec<(String, ArrayRef)> = kept
        .schema()
        .fields()
        .iter()
        .zip(kept.columns())
        .map(|(field, column)| (field.name().clone(), Arc::clone(column)))
        .collect();
    if (0..kept.num_rows()).any(|row| hash(row).is_some()) {
        for label in [ANALYSIS_VERSION, PARAMS_HASH] {
            let old = TextColumn::of(&kept, label).unwrap_or(TextColumn::NoText);
            let new = |row: usize| match hash(row) {
                Some(hash) => Some(if label == PARAMS_HASH { hash } else { "v1" }),
                None => old.get(row),
            };
            let column: ArrayRef = Arc::new((0..kept.num_rows()).map(new).collect::<StringArray>());
            match columns.iter_mut().find(|(name, _)| name == label) {
                Some((_, place)) => *place = column,
                None => columns.push((label.to_owned(), column)),
            }
        }
    }
    let relabelled = batch(columns.iter().map(|(name, column)| (name.as_str(), Arc::clone(column))).collect());
    let merged = merge(Some(relabelled.clone()), "v1", change.pieces.clone()).unwrap();
    (Some(merged.table.unwrap_or(relabelled)), merged.refused)
}

/// A table as it comes back from a file of its own.
fn through_a_file(table: Option<RecordBatch>) -> Option<RecordBatch> {
    let (_dir, other) = dataset();
    if let Some(table) = &table {
        other.write_table(name().table(), table).unwrap();
    }
    read(&other)
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(16))]
    #[test]
    fn rewrite_equals_merge_in_memory(
        first in proptest::option::of((arb_foreign(), 1..40usize)),
        steps in proptest::collection::vec(arb_step(), 1..7),
        target in 1..24u64,
    ) {
        let (_dir, dataset) = dataset();
        if let Some((foreign, group_rows)) = &first {
            write_file(&dataset, &name(), &foreign.table(), *group_rows, true);
        }
        let mut expected = read(&dataset);
        for step in &steps {
            if let (Some(rows), Some(table)) = (step.foreign, &expected) {
                write_file(&dataset, &name(), table, rows, rows % 2 == 0);
            }
            let change = Change {
                remove: step.remove.iter().map(|&number| image(number)).collect(),
                relabel: step.relabel.iter().map(|&number| (image(number), format!("r{number}"))).collect(),
                ..change(step.pieces.iter().map(New::piece).collect())
            };
            let found = done(&dataset, &change, target);
            let (table, refused) = model(expected, &change);
            prop_assert_eq!(found.refused, refused);
            expected = through_a_file(table);
            prop_assert_eq!(&read(&dataset), &expected);
            if let Some(table) = &expected {
                prop_assert_eq!(found.groups == (0, 0) || found.groups.0 + found.groups.1 == group_sizes(&dataset).len(), true);
                for label in COLUMNS.iter().filter_map(|label| table.column_by_name(label)) {
                    prop_assert!(!matches!(TextColumn::over(label), TextColumn::NoText));
                }
            }
        }
    }

    #[test]
    fn group_count_stays_bounded(
        changes in proptest::collection::vec((0..30u8, 0..8usize, proptest::bool::weighted(0.1)), 1..40),
        first in proptest::collection::vec(0..8usize, 30),
        target in 8..40u64,
    ) {
        let (_dir, dataset) = dataset();
        let new = |number: u8, rows: usize| piece(&image(number), vec![("x", ints(0..rows as i64))]);
        let all = first.iter().zip(0..).map(|(&rows, number)| new(number, rows)).collect();
        done(&dataset, &change(all), target);
        for (number, rows, removed) in changes {
            let change = match removed {
                true => Change { remove: [image(number)].into(), ..change(vec![]) },
                false => change(vec![new(number, rows)]),
            };
            done(&dataset, &change, target);
            let sizes = group_sizes(&dataset);
            let rows: u64 = sizes.iter().sum();
            prop_assert!(sizes.len() as u64 <= 2 * rows / target + 2, "{:?} for {}", sizes, target);
            prop_assert!(sizes.iter().all(|&size| size > 0 && size <= 5 * target / 2 + 8), "{:?} for {}", sizes, target);
        }
    }
}

#[test]
fn damaged_file_gives_error_or_table() {
    let (_dir, dataset) = dataset();
    let key = name().key().unwrap();
    write_file(&dataset, &name(), &table(&[("a", 20), ("b", 20), ("c", 20)]), 20, true);
    let whole = dataset.store().get(&key, 1 << 20).unwrap().unwrap();
    let new = change(vec![piece("b", vec![("x", ints([1]))])]);
    for at in (0..whole.len()).step_by(7) {
        let mut wrong = whole.clone();
        wrong[at] ^= 0x55;
        dataset.store().put(&key, &wrong).unwrap();
        let _ = rewrite_in_groups(&dataset, &name(), stat(&dataset), &new, 20);
        dataset.store().put(&key, &whole[..at]).unwrap();
        assert!(rewrite_in_groups(&dataset, &name(), stat(&dataset), &new, 20).is_err(), "{at}");
    }
}
