//! Tables there and back, and files that are none.

use super::*;
use arrow::array::{
    BinaryViewArray, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    LargeStringArray, ListArray, NullArray, StringArray, StringViewArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use proptest::prelude::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn file(rows: &RecordBatch, form: TableForm) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&prepare(rows).unwrap(), form, &mut bytes).unwrap();
    bytes
}

fn round(rows: &RecordBatch) -> RecordBatch {
    let bytes = Bytes::from(file(rows, TableForm::Artifact));
    let read = read(bytes.clone(), None).unwrap();
    assert_eq!(read_artifact(bytes).unwrap(), read, "both ways of reading give the same");
    read
}

/// Our own unpacking of pages against the parquet crate's, for every sort of page.
#[test]
fn zstd_pages_equal_the_parquet_crates() {
    use parquet::file::properties::{EnabledStatistics, WriterVersion};
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..900).map(|n| (n % 3 > 0).then(|| (0..n % 5).map(|m| (m != 2).then_some(m)))),
    );
    let rows = batch(vec![
        ("n", Arc::new(Int64Array::from_iter((0..900).map(|n| (n % 7 > 0).then_some(n * n)))) as ArrayRef),
        ("t", Arc::new(StringArray::from_iter((0..900).map(|n| (n % 11 > 0).then(|| (n % 17).to_string()))))),
        ("none", Arc::new(Float64Array::from(vec![None::<f64>; 900]))),
        ("list", Arc::new(lists)),
    ]);
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for dictionary in [false, true] {
            for (groups, fits) in [(1000, true), (400, false)] {
                let properties = WriterProperties::builder()
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(100)
                    .set_write_batch_size(50)
                    .set_max_row_group_row_count(Some(groups))
                    .set_statistics_enabled(EnabledStatistics::Page)
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .build();
                let mut bytes = Vec::new();
                let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).unwrap();
                writer.write(&rows).unwrap();
                writer.close().unwrap();
                let bytes = Bytes::from(bytes);
                assert_eq!(zstd_pages::fits(builder(bytes.clone()).unwrap().metadata()), fits);
                let found = read_artifact(bytes.clone()).unwrap();
                assert_eq!(found, read(bytes.clone(), None).unwrap(), "{version:?}, dictionary {dictionary}");
                assert_eq!(found.columns(), rows.columns());
                // Bytes that are wrong anywhere are an error or a table, as the other way.
                for at in (4..bytes.len()).step_by(bytes.len() / 150) {
                    let mut wrong = bytes.to_vec();
                    wrong[at] ^= 0x55;
                    let _ = read_artifact(wrong.into());
                    let _ = read_artifact(bytes.slice(..at));
                }
            }
        }
    }
}

#[test]
fn columns_round_trip_optional_and_plain() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None, Some(vec![])]);
    let viewed: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "a text too long for a view's own bytes"]));
    let rows = batch(vec![
        ("text", Arc::new(StringArray::from(vec![Some("a"), None, Some("ü")]))),
        ("large", Arc::new(LargeStringArray::from(vec!["a", "b", "c"]))),
        ("view", Arc::new(StringViewArray::from(vec!["a", "b", "c"]))),
        ("bytes", Arc::new(BinaryViewArray::from_iter_values([b"a", b"b", b"c"]))),
        ("category of views", Arc::new(DictionaryArray::new(Int32Array::from(vec![0, 0, 1]), viewed))),
        ("int", Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)]))),
        ("float", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)]))),
        ("half", Arc::new(Float32Array::from(vec![Some(f32::NAN), None, Some(2.0)]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("none", Arc::new(NullArray::new(3))),
        ("time", Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC"))),
        ("category", Arc::new(["x", "y", "x"].into_iter().collect::<DictionaryArray<Int32Type>>())),
        ("list", Arc::new(lists)),
    ]);
    let back = round(&rows);
    assert_eq!(back.num_rows(), 3);
    assert!(back.schema().fields().iter().all(|field| field.is_nullable()));
    for (name, kind) in [
        ("text", DataType::Utf8),
        ("large", DataType::LargeUtf8),
        ("view", DataType::LargeUtf8),
        ("bytes", DataType::LargeBinary),
        ("category of views", DataType::LargeUtf8),
        ("none", DataType::Null),
        ("category", DataType::Utf8),
    ] {
        assert_eq!(back.column_by_name(name).unwrap().data_type(), &kind, "{name}");
    }
    let floats = back.column_by_name("float").unwrap();
    assert_eq!(floats.as_primitive::<Float64Type>(), &Float64Array::from(vec![Some(1.5), None, None]));
    assert_eq!(back.column_by_name("half").unwrap().null_count(), 2);
    for same in ["text", "large", "int", "bool", "time", "list"] {
        assert_eq!(back.column_by_name(same), rows.column_by_name(same), "{same}");
    }
}

/// Files of others may hold views themselves; `prepare` does not see those.
#[test]
fn view_types_are_read_as_plain_text() {
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
    let rows = batch(vec![("image_id", texts)]);
    let mut bytes = Vec::new();
    write(&rows, TableForm::Artifact, &mut bytes).unwrap();
    let back = read(Bytes::from(bytes), None).unwrap();
    assert_eq!(back.column(0).as_string::<i64>(), &LargeStringArray::from(vec![Some("a"), None]));
    assert_eq!(back.schema().field(0).data_type(), &DataType::LargeUtf8);
}

#[test]
fn empty_categories_are_read() {
    let keys = || Int32Array::from(vec![None, None]);
    let some = || Int32Array::from(vec![Some(0), None]);
    let cases: Vec<(&str, DictionaryArray<Int32Type>, ArrayRef)> = vec![
        ("no values", DictionaryArray::new(keys(), Arc::new(NullArray::new(0))), Arc::new(NullArray::new(2))),
        (
            "numbers",
            DictionaryArray::new(some(), Arc::new(Int64Array::from(vec![7]))),
            Arc::new(Int64Array::from(vec![Some(7), None])),
        ),
        (
            "text",
            DictionaryArray::new(some(), Arc::new(LargeStringArray::from(vec!["a"]))),
            Arc::new(LargeStringArray::from(vec![Some("a"), None])),
        ),
    ];
    for (case, column, expected) in cases {
        let rows = batch(vec![("c", Arc::new(column))]);
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let back = read(Bytes::from(bytes), None).unwrap();
        assert_eq!(back.column(0), &expected, "{case}");
    }
}

#[test]
fn pandas_unnamed_row_labels_are_not_a_column() {
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from(vec![1, 2])) };
    let rows = batch(vec![("x", numbers()), ("label", numbers()), ("__index_level_0__", numbers())]);
    let back = round(&rows);
    assert_eq!(back.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["x", "label"]);
    let back = round(&batch(vec![("__index_level_0__", numbers())]));
    assert_eq!((back.num_columns(), back.num_rows()), (0, 2));
}

#[test]
fn empty_table_keeps_columns() {
    let rows = batch(vec![
        ("image_id", Arc::new(NullArray::new(0)) as ArrayRef),
        ("x", Arc::new(Int64Array::from(Vec::<i64>::new()))),
    ]);
    let back = round(&rows);
    assert_eq!((back.num_rows(), back.num_columns()), (0, 2));
    assert_eq!(back.schema().field(0).data_type(), &DataType::Null);
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    assert_eq!(round(&none).num_columns(), 0);
}

#[test]
fn projection_reads_existing_columns_in_order() {
    let rows = batch(vec![
        ("a", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec!["x", "y"]))),
        ("c", Arc::new(Int64Array::from(vec![3, 4]))),
    ]);
    let bytes = Bytes::from(file(&rows, TableForm::Dataset));
    for (asked, expected) in [
        (vec!["c", "a"], vec!["a", "c"]),
        (vec!["b", "missing"], vec!["b"]),
        (vec!["missing"], vec![]),
        (vec![], vec![]),
    ] {
        let part = read(bytes.clone(), Some(&asked)).unwrap();
        let names: Vec<String> = part.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, expected, "{asked:?}");
        assert_eq!(part.num_rows(), 2, "{asked:?}");
    }
    assert_eq!(row_count(bytes).unwrap(), 2);
}

#[test]
fn long_table_is_joined_from_pieces() {
    let count = BATCH_ROWS * 2 + 5;
    let rows = batch(vec![
        ("n", Arc::new(Int32Array::from_iter_values(0..count as i32)) as ArrayRef),
        ("t", Arc::new(StringArray::from_iter_values((0..count).map(|n| (n % 7).to_string())))),
    ]);
    let back = read(Bytes::from(file(&rows, TableForm::Dataset)), None).unwrap();
    assert_eq!(back.columns(), rows.columns());
}

#[test]
fn gzip_equals_kymflows() {
    let rows = batch(vec![("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    for (form, expected) in [(TableForm::Dataset, "SNAPPY"), (TableForm::Artifact, "ZSTD")] {
        let builder = builder(Bytes::from(file(&rows, form))).unwrap();
        let column = builder.metadata().row_group(0).column(0);
        assert!(format!("{:?}", column.compression()).starts_with(expected));
        assert_eq!(column.column_descr().max_def_level(), 1, "optional");
    }
}

#[test]
fn pandas_metadata_keeps_only_what_is_true() {
    let pandas = r#"{"index_columns": [{"kind": "range"}], "columns": [
        {"name": "i", "field_name": "i", "pandas_type": "int64", "numpy_type": "Int64", "metadata": null},
        {"name": "f", "field_name": "f", "pandas_type": "int64", "numpy_type": "Int64", "metadata": null},
        {"name": "t", "field_name": "t", "pandas_type": "unicode", "numpy_type": "object", "metadata": null},
        {"name": "c", "field_name": "c", "pandas_type": "categorical", "numpy_type": "int8", "metadata": {}},
        {"name": "gone", "field_name": "gone", "pandas_type": "int64", "numpy_type": "Int64", "metadata": null}
    ], "pandas_version": "2.3.0"}"#;
    let columns = |int: ArrayRef| {
        vec![
            ("i", int),
            ("f", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef),
            ("t", Arc::new(StringArray::from(vec!["a"]))),
            ("c", Arc::new(["x"].into_iter().collect::<DictionaryArray<Int32Type>>())),
        ]
    };
    let with = |rows: RecordBatch, text: &str| {
        let metadata = HashMap::from([(PANDAS.to_owned(), text.to_owned()), ("other".to_owned(), "x".to_owned())]);
        let schema = Arc::new(rows.schema().as_ref().clone().with_metadata(metadata));
        RecordBatch::try_new(schema, rows.columns().to_vec()).unwrap()
    };
    let rows = with(batch(columns(Arc::new(Int64Array::from(vec![1])))), pandas);
    let back = round(&rows);
    let kept = Json::parse(back.schema().metadata()[PANDAS].as_bytes()).unwrap();
    assert_eq!(kept.get("index_columns").unwrap().to_string(), "[]");
    let kept = kept.get("columns").and_then(Json::as_array).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].get("name").and_then(Json::as_str), Some("i"));
    assert!(!back.schema().metadata().contains_key("other"));
    for (rows, text) in [
        (batch(columns(Arc::new(Float64Array::from(vec![1.0])))), pandas),
        (batch(columns(Arc::new(Int64Array::from(vec![1])))), "{broken"),
        (batch(columns(Arc::new(Int64Array::from(vec![1])))), "[]"),
    ] {
        assert!(round(&with(rows, text)).schema().metadata().is_empty(), "{text}");
    }
}

#[test]
fn duplicate_columns_are_not_written() {
    let one = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("a", DataType::Int64, true)]);
    let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(&one), one]).unwrap();
    assert!(prepare(&rows).unwrap_err().contains("'a'"));
}

/// A small file of several columns.
fn small_file() -> Vec<u8> {
    let rows = batch(vec![
        ("a", Arc::new(StringArray::from(vec!["x", "y", "x"])) as ArrayRef),
        ("b", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)]))),
        ("c", Arc::new(["x", "y", "x"].into_iter().collect::<DictionaryArray<Int32Type>>())),
    ]);
    file(&rows, TableForm::Dataset)
}

#[test]
fn truncated_table_is_an_error() {
    let whole = small_file();
    for length in 0..whole.len() {
        assert!(read(Bytes::from(whole[..length].to_vec()), None).is_err(), "{length} of {} bytes", whole.len());
    }
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(100))]

    #[test]
    fn damaged_table_never_panics(at in proptest::collection::vec((0usize..10_000, any::<u8>()), 1..6)) {
        let mut bytes = small_file();
        for (position, byte) in at {
            let length = bytes.len();
            bytes[position % length] = byte;
        }
        let _ = read(Bytes::from(bytes), None);
    }
}
