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

fn file(rows: &RecordBatch, form: Form) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&prepare(rows).unwrap(), form, &mut bytes).unwrap();
    bytes
}

fn round(rows: &RecordBatch) -> RecordBatch {
    read(Bytes::from(file(rows, Form::Artifact)), None).unwrap()
}

#[test]
fn columns_of_all_kinds_come_back_optional_and_plain() {
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
fn views_in_a_file_are_read_as_plain_text() {
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
    let rows = batch(vec![("image_id", texts)]);
    let mut bytes = Vec::new();
    write(&rows, Form::Artifact, &mut bytes).unwrap();
    let back = read(Bytes::from(bytes), None).unwrap();
    assert_eq!(back.column(0).as_string::<i64>(), &LargeStringArray::from(vec![Some("a"), None]));
    assert_eq!(back.schema().field(0).data_type(), &DataType::LargeUtf8);
}

#[test]
fn empty_tables_keep_their_columns() {
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
fn a_projection_reads_those_columns_that_there_are_in_the_tables_order() {
    let rows = batch(vec![
        ("a", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec!["x", "y"]))),
        ("c", Arc::new(Int64Array::from(vec![3, 4]))),
    ]);
    let bytes = Bytes::from(file(&rows, Form::Dataset));
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
fn long_tables_are_joined_from_their_pieces() {
    let count = BATCH_ROWS * 2 + 5;
    let rows = batch(vec![
        ("n", Arc::new(Int32Array::from_iter_values(0..count as i32)) as ArrayRef),
        ("t", Arc::new(StringArray::from_iter_values((0..count).map(|n| (n % 7).to_string())))),
    ]);
    let back = read(Bytes::from(file(&rows, Form::Dataset)), None).unwrap();
    assert_eq!(back.columns(), rows.columns());
}

#[test]
fn files_are_packed_as_kymflow_packs_them() {
    let rows = batch(vec![("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    for (form, expected) in [(Form::Dataset, "SNAPPY"), (Form::Artifact, "ZSTD")] {
        let builder = builder(Bytes::from(file(&rows, form))).unwrap();
        let column = builder.metadata().row_group(0).column(0);
        assert!(format!("{:?}", column.compression()).starts_with(expected));
        assert_eq!(column.column_descr().max_def_level(), 1, "optional");
    }
}

#[test]
fn of_pandas_metadata_only_what_is_still_true_is_kept() {
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
fn two_columns_of_one_name_are_not_written() {
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
    file(&rows, Form::Dataset)
}

#[test]
fn truncated_files_are_errors() {
    let whole = small_file();
    for length in 0..whole.len() {
        assert!(read(Bytes::from(whole[..length].to_vec()), None).is_err(), "{length} of {} bytes", whole.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_files_are_tables_or_errors(at in proptest::collection::vec((0usize..10_000, any::<u8>()), 1..6)) {
        let mut bytes = small_file();
        for (position, byte) in at {
            let length = bytes.len();
            bytes[position % length] = byte;
        }
        let _ = read(Bytes::from(bytes), None);
    }
}
