//! What digests are alike, what differ; and what may be done to a table without changing them.

use super::*;
use crate::merge::Piece;
use crate::merge::tests::merge;
use crate::rewrite::testing;
use arrow::array::*;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Fields, Int32Type, Schema};
use proptest::prelude::*;

fn of(columns: Vec<(&str, ArrayRef)>) -> String {
    rows_digest(&batch(columns))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn x(column: impl Array + 'static) -> String {
    of(vec![("x", Arc::new(column))])
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn decimal(value: i128, precision: u8, scale: i8) -> Decimal128Array {
    Decimal128Array::from(vec![value]).with_precision_and_scale(precision, scale).unwrap()
}

fn list(values: Vec<Option<i32>>) -> ListArray {
    ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(values)])
}

fn recast(array: &ArrayRef, kind: &DataType) -> ArrayRef {
    cast(array, kind).unwrap()
}

fn structure(parts: Vec<(&str, ArrayRef)>) -> StructArray {
    let fields: Fields = parts.iter().map(|(name, part)| Field::new(*name, part.data_type().clone(), true)).collect();
    StructArray::new(fields, parts.into_iter().map(|(_, part)| part).collect(), None)
}

#[test]
fn equal_values_same_digest() {
    let item = Arc::new(Field::new("item", DataType::Float64, true));
    let large_list: ArrayRef = Arc::new(list(vec![Some(1), None]));
    let cases: Vec<(&str, Vec<String>)> = vec![
        (
            "text",
            vec![
                x(StringArray::from(vec!["a", "ü"])),
                x(LargeStringArray::from(vec!["a", "ü"])),
                x(StringViewArray::from(vec!["a", "ü"])),
                x(vec!["a", "ü"].into_iter().collect::<DictionaryArray<Int32Type>>()),
            ],
        ),
        (
            "bytes",
            vec![
                x(BinaryArray::from_vec(vec![b"ab"])),
                x(LargeBinaryArray::from_vec(vec![b"ab"])),
                x(BinaryViewArray::from(vec![&b"ab"[..]])),
                x(FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap()),
            ],
        ),
        (
            "numbers",
            vec![
                x(Int8Array::from(vec![0, 1])),
                x(Int16Array::from(vec![0, 1])),
                x(Int32Array::from(vec![0, 1])),
                x(Int64Array::from(vec![0, 1])),
                x(UInt8Array::from(vec![0, 1])),
                x(UInt16Array::from(vec![0, 1])),
                x(UInt32Array::from(vec![0, 1])),
                x(UInt64Array::from(vec![0, 1])),
                x(Float32Array::from(vec![0.0, 1.0])),
                x(Float64Array::from(vec![-0.0, 1.0])),
                x(BooleanArray::from(vec![false, true])),
            ],
        ),
        ("floats", vec![x(Float32Array::from(vec![0.1])), x(Float64Array::from(vec![f64::from(0.1f32)]))]),
        (
            "integers beyond 2^53",
            vec![
                x(Int64Array::from(vec![(1 << 53) + 1])),
                x(Float64Array::from(vec![(1u64 << 53) as f64])),
                x(UInt64Array::from(vec![1 << 53])),
            ],
        ),
        (
            "missing",
            vec![
                of(vec![("y", ints(&[1]))]),
                of(vec![("x", Arc::new(Float64Array::from(vec![f64::NAN]))), ("y", ints(&[1]))]),
                of(vec![("x", Arc::new(Float64Array::from(vec![None]))), ("y", ints(&[1]))]),
                of(vec![("x", Arc::new(NullArray::new(1))), ("y", ints(&[1]))]),
                of(vec![("x", Arc::new(StringArray::from(vec![None::<&str>]))), ("y", ints(&[1]))]),
                of(vec![("y", ints(&[1])), ("x", new_null_array(large_list.data_type(), 1))]),
                of(vec![("image_id", texts(&["i"])), ("y", ints(&[1])), ("params_hash", ints(&[7]))]),
            ],
        ),
        (
            "time stamps",
            vec![
                x(TimestampSecondArray::from(vec![5])),
                x(TimestampMillisecondArray::from(vec![5_000])),
                x(TimestampMicrosecondArray::from(vec![5_000_000])),
                x(TimestampNanosecondArray::from(vec![5_000_000_000])),
            ],
        ),
        (
            "time stamps of a zone",
            vec![
                x(TimestampSecondArray::from(vec![5]).with_timezone("UTC")),
                x(TimestampMillisecondArray::from(vec![5_000]).with_timezone("+00:00")),
            ],
        ),
        (
            "far times",
            vec![x(TimestampSecondArray::from(vec![1 << 40])), x(TimestampMillisecondArray::from(vec![1000 << 40]))],
        ),
        ("dates", vec![x(Date32Array::from(vec![2])), x(Date64Array::from(vec![2 * 86_400_000]))]),
        (
            "times of day",
            vec![
                x(Time32SecondArray::from(vec![5])),
                x(Time32MillisecondArray::from(vec![5_000])),
                x(Time64MicrosecondArray::from(vec![5_000_000])),
                x(Time64NanosecondArray::from(vec![5_000_000_000])),
            ],
        ),
        (
            "durations",
            vec![x(DurationSecondArray::from(vec![5])), x(DurationNanosecondArray::from(vec![5_000_000_000]))],
        ),
        (
            "decimals",
            vec![
                x(decimal(150, 5, 2)),
                x(decimal(15, 9, 1)),
                x(Decimal256Array::from(vec![i256::from_i128(1500)]).with_precision_and_scale(50, 3).unwrap()),
            ],
        ),
        ("decimal zeros", vec![x(decimal(0, 5, 2)), x(decimal(0, 9, 0))]),
        ("decimals of few digits", vec![x(decimal(3, 5, -2)), x(decimal(300, 9, 0))]),
        (
            "lists",
            vec![
                x(list(vec![Some(1), None])),
                of(vec![("x", recast(&large_list, &DataType::LargeList(Arc::clone(&item))))]),
                of(vec![("x", recast(&large_list, &DataType::FixedSizeList(Arc::clone(&item), 2)))]),
                {
                    let items: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
                    let offsets = arrow::buffer::OffsetBuffer::from_lengths([2]);
                    x(ListArray::new(item, offsets, items, None))
                },
            ],
        ),
        (
            "structures",
            vec![
                x(structure(vec![("a", ints(&[1])), ("b", Arc::new(NullArray::new(1)))])),
                x(structure(vec![("c", Arc::new(Float64Array::from(vec![f64::NAN]))), ("a", ints(&[1]))])),
            ],
        ),
    ];
    for (case, digests) in cases {
        assert_eq!(digests[0].len(), 64, "{case}");
        for (place, digest) in digests.iter().enumerate() {
            assert_eq!(digest, &digests[0], "{case}: number {place}");
        }
    }
}

#[test]
fn different_values_different_digest() {
    let empty_list = list(vec![]);
    let digests = [
        ("no rows", of(vec![("x", ints(&[]))])),
        ("a row of nothing", x(NullArray::new(1))),
        ("two rows of nothing", x(NullArray::new(2))),
        ("1", x(Int64Array::from(vec![1]))),
        ("text 1", of(vec![("x", texts(&["1"]))])),
        ("empty text", of(vec![("x", texts(&[""]))])),
        ("bytes 1", x(BinaryArray::from_vec(vec![b"1"]))),
        ("1 elsewhere", of(vec![("y", ints(&[1]))])),
        ("1 twice", of(vec![("x", ints(&[1])), ("y", ints(&[1]))])),
        ("1 in two rows", x(Int64Array::from(vec![1, 1]))),
        ("1, then nothing", x(Int64Array::from(vec![Some(1), None]))),
        ("nothing, then 1", x(Int64Array::from(vec![None, Some(1)]))),
        ("1, then 1 elsewhere", {
            let column = |values: [Option<i64>; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
            of(vec![("x", column([Some(1), None])), ("y", column([None, Some(1)]))])
        }),
        ("1, 2", x(Int64Array::from(vec![1, 2]))),
        ("2, 1", x(Int64Array::from(vec![2, 1]))),
        ("0.1", x(Float64Array::from(vec![0.1]))),
        ("0.1 of 32 bits", x(Float32Array::from(vec![0.1]))),
        ("infinity", x(Float64Array::from(vec![f64::INFINITY]))),
        ("-infinity", x(Float64Array::from(vec![f64::NEG_INFINITY]))),
        ("time stamp", x(TimestampSecondArray::from(vec![1]))),
        ("time stamp of a zone", x(TimestampSecondArray::from(vec![1]).with_timezone("UTC"))),
        ("duration", x(DurationSecondArray::from(vec![1]))),
        ("time of day", x(Time32SecondArray::from(vec![1]))),
        ("date", x(Date32Array::from(vec![1]))),
        ("decimal", x(decimal(1, 5, 0))),
        ("tenth", x(decimal(1, 5, 1))),
        ("list", x(list(vec![Some(1)]))),
        ("list of none", x(list(vec![None]))),
        ("empty list", x(empty_list)),
        ("list of two", x(list(vec![Some(1), Some(1)]))),
        ("structure", x(structure(vec![("a", ints(&[1]))]))),
        ("structure of another name", x(structure(vec![("b", ints(&[1]))]))),
        ("structure of nothing", x(structure(vec![("a", Arc::new(NullArray::new(1)))]))),
        ("texts", of(vec![("x", texts(&["ab", "c"]))])),
        ("texts cut elsewhere", of(vec![("x", texts(&["a", "bc"]))])),
    ];
    for (a, one) in &digests {
        for (b, other) in &digests {
            assert_eq!(a == b, one == other, "{a} and {b}");
        }
    }
}

/// Digests are in markers on disk: they stay what they are.
#[test]
fn digest_encoding_as_documented() {
    let bytes = |text: &str| hex(&Sha256::digest(text.as_bytes()));
    assert_eq!(of(vec![("x", ints(&[]))]), bytes("kymhost rows 1\n"));
    assert_eq!(
        of(vec![("t", Arc::new(StringArray::from(vec![Some("ab"), Some(""), None])))]),
        bytes("kymhost rows 1\n\u{2}\u{1}\0\0\0\u{1}\0\0\0tT\u{2}\0\0\0\0\0\0\0ab\u{1}T\0\0\0\0\0\0\0\0\u{2}\0\0\0\0")
    );
}

/// A table of a few images: numbers in `n0` …, text in `t0` …, lists in `l`.
#[derive(Debug, Clone)]
struct Table {
    ids: Vec<u8>,
    numbers: Vec<Vec<Option<i8>>>,
    texts: Vec<Vec<Option<i8>>>,
}

impl Table {
    fn batch(&self) -> RecordBatch {
        let ids: ArrayRef = Arc::new(self.ids.iter().map(|id| Some(format!("image-{id}"))).collect::<StringArray>());
        let mut columns = vec![("image_id".to_owned(), ids)];
        for (place, numbers) in self.numbers.iter().enumerate() {
            columns.push((format!("n{place}"), Arc::new(numbers.iter().copied().collect::<Int8Array>())));
        }
        for (place, texts) in self.texts.iter().enumerate() {
            let texts = texts.iter().map(|text| text.map(|n| n.to_string())).collect::<StringArray>();
            columns.push((format!("t{place}"), Arc::new(texts)));
        }
        let items = self.numbers.iter().flatten().copied().take(self.ids.len());
        let lists = items.map(|item| item.map(|n| vec![Some(i32::from(n)), None])).collect::<Vec<_>>();
        let mut lists = lists.into_iter().collect::<Vec<_>>();
        lists.resize(self.ids.len(), None);
        columns.push(("l".to_owned(), Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))));
        batch(columns.iter().map(|(name, column)| (name.as_str(), Arc::clone(column))).collect())
    }
}

fn arb_table() -> impl Strategy<Value = Table> {
    (0..40usize, 0..4usize, 0..3usize).prop_flat_map(|(rows, numbers, texts)| {
        let column = || proptest::collection::vec(proptest::option::weighted(0.8, any::<i8>()), rows);
        let ids = proptest::collection::vec(0..4u8, rows);
        (ids, proptest::collection::vec(column(), numbers), proptest::collection::vec(column(), texts))
            .prop_map(|(ids, numbers, texts)| Table { ids, numbers, texts })
    })
}

fn digests<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> HashMap<String, String> {
    let mut digests = TableDigests::default();
    batches.into_iter().for_each(|batch| digests.add(batch));
    digests.finish()
}

fn with_columns(rows: &RecordBatch, columns: Vec<(String, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns.iter().map(|(n, c)| Field::new(n, c.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(16))]
    #[test]
    fn digest_ignores_changes_that_keep_values(
        table in arb_table(),
        cut in proptest::collection::vec(0..40usize, 0..4),
        seed in any::<u64>(),
        kinds in proptest::collection::vec(0..4usize, 8),
    ) {
        let rows = table.batch();
        let expected = digests([&rows]);
        let columns: Vec<(String, ArrayRef)> = rows
            .schema()
            .fields()
            .iter()
            .zip(rows.columns())
            .map(|(field, column)| (field.name().clone(), Arc::clone(column)))
            .collect();

        // Each image's own rows, as a worker has them.
        for (id, digest) in &expected {
            let own: BooleanArray = table.ids.iter().map(|own| Some(&format!("image-{own}") == id)).collect();
            let own = arrow::compute::filter_record_batch(&rows, &own).unwrap();
            prop_assert_eq!(&rows_digest(&own), digest);
        }

        // Split anywhere.
        let mut cut: Vec<usize> = cut.into_iter().map(|at| at.min(rows.num_rows())).chain([0, rows.num_rows()]).collect();
        cut.sort_unstable();
        let parts: Vec<RecordBatch> = cut.windows(2).map(|ends| rows.slice(ends[0], ends[1] - ends[0])).collect();
        prop_assert_eq!(&digests(&parts), &expected);

        // Wider types.
        let wider = columns.iter().zip(kinds.iter().cycle()).map(|((name, column), kind)| {
            let kinds = match (column.data_type(), name.as_str()) {
                (DataType::Int8, _) => [DataType::Int64, DataType::Float64, DataType::Float32, DataType::Int16],
                (DataType::Utf8, _) => {
                    let category = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                    [DataType::LargeUtf8, DataType::Utf8View, category, DataType::Utf8]
                }
                _ => [const { DataType::Null }; 4].map(|_| DataType::new_large_list(DataType::Float64, true)),
            };
            (name.clone(), cast(column, &kinds[*kind]).unwrap())
        });
        let wider = with_columns(&rows, wider.collect());
        prop_assert_eq!(&digests([&wider]), &expected);
        prop_assert_eq!(&digests([&parts[0], &wider.slice(cut[1], rows.num_rows() - cut[1])]), &expected);

        // Another order of columns, and one of nothing.
        let mut other = columns.clone();
        other.push(("nothing".to_owned(), new_null_array(&DataType::Utf8, rows.num_rows())));
        other.push(("params_hash".to_owned(), new_null_array(&DataType::Utf8, rows.num_rows())));
        let count = other.len();
        other.rotate_left(usize::try_from(seed % count as u64).unwrap());
        prop_assert_eq!(&digests([&with_columns(&rows, other)]), &expected);

        // Written and read.
        let (_dir, dataset) = testing::dataset();
        let name = TableName::of("t").unwrap();
        dataset.write_table(name.table(), &wider).unwrap();
        prop_assert_eq!(&table_digests(&dataset, &name).unwrap(), &expected);
        testing::write_file(&dataset, &name, &rows, 7, seed % 2 == 0);
        prop_assert_eq!(&table_digests(&dataset, &name).unwrap(), &expected);

        // Another order of the images' rows, each image's kept.
        let mut order: Vec<u32> = (0..u32::try_from(rows.num_rows()).unwrap()).collect();
        order.sort_by_key(|&row| table.ids[row as usize]);
        let order: ArrayRef = Arc::new(UInt32Array::from(order));
        let sorted = columns.iter().map(|(name, column)| {
            (name.clone(), arrow::compute::take(column, &order, None).unwrap())
        });
        prop_assert_eq!(&digests([&with_columns(&rows, sorted.collect())]), &expected);

        // Merged, with another image's rows of wider types.
        let piece = Piece {
            image_id: "other".to_owned(),
            params_hash: "h".to_owned(),
            rows: batch(vec![("n0", Arc::new(Float64Array::from(vec![0.5]))), ("new", ints(&[1]))]),
        };
        if let Some(merged) = merge(Some(rows.clone()), "v", vec![piece.clone()]).unwrap().table {
            let mut found = digests([&merged]);
            prop_assert_eq!(found.remove("other"), Some(rows_digest(&piece.rows)));
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn changed_cell_changes_digest_of_its_image_only(
        table in arb_table(),
        row in any::<prop::sample::Index>(),
        column in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!table.ids.is_empty() && table.numbers.len() + table.texts.len() > 0);
        let mut changed = table.clone();
        let row = row.index(table.ids.len());
        let columns = changed.numbers.iter_mut().chain(&mut changed.texts);
        let mut columns: Vec<&mut Vec<Option<i8>>> = columns.collect();
        let place = column.index(columns.len());
        let cell = &mut columns[place][row];
        *cell = match *cell {
            None => Some(0),
            Some(value) if value % 3 == 0 => None,
            Some(value) => Some(value.wrapping_add(1)),
        };
        let (before, after) = (digests([&table.batch()]), digests([&changed.batch()]));
        for (id, digest) in &before {
            prop_assert_eq!(&after[id] != digest, *id == format!("image-{}", table.ids[row]), "{}", id);
        }
    }
}

#[test]
fn row_without_image_in_no_digest() {
    let id: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a")]));
    let rows = batch(vec![("image_id", id), ("x", ints(&[1, 2, 3]))]);
    let found = digests([&rows]);
    assert_eq!(found, HashMap::from([("a".to_owned(), of(vec![("x", ints(&[1, 3]))]))]));
    for id in [ints(&[1, 2, 3]), Arc::new(NullArray::new(3)) as ArrayRef] {
        assert_eq!(digests([&batch(vec![("image_id", id), ("x", ints(&[1, 2, 3]))])]), HashMap::new());
    }
    assert_eq!(digests([&batch(vec![("x", ints(&[1]))])]), HashMap::new());
    let twice = concat_batches(&rows.schema(), [&rows, &rows]).unwrap();
    assert_eq!(digests([&rows, &rows]), digests([&twice]));
    assert_ne!(digests([&rows, &rows]), found);
}
