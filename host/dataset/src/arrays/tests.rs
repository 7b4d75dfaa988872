//! Arrays there and back, and `.zarray` files that lie.

use super::*;
use kymhost_store::LocalStore;
use proptest::prelude::*;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::open(folder.path()).unwrap();
    (folder, Arc::new(store))
}

fn axes(rank: usize) -> Vec<String> {
    Layout::default_axes(rank)
}

/// Bytes that are no value twice in a row; whole elements.
fn sample(dtype: DType, shape: &[usize]) -> Array {
    let count: usize = shape.iter().product();
    let mut bytes: Vec<u8> = (0..count * dtype.size()).map(|n| (n * 7 % 251) as u8).collect();
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|byte| *byte %= 2);
    }
    Array::new(dtype, shape.to_vec(), axes(shape.len()), bytes).unwrap()
}

fn write(store: &dyn Store, array: &Array, chunks: Option<&[usize]>) {
    store.put_many(&mut encode(&key("g/data"), array, chunks).unwrap().into_iter()).unwrap();
}

#[test]
fn tiff_round_trips_every_dtype_and_rank() {
    let shapes: [&[usize]; 8] = [&[7, 9], &[2, 5, 7], &[2, 3, 4, 5], &[2, 1, 3, 4, 2], &[600, 3], &[0, 4], &[5], &[]];
    for &dtype in DType::ALL {
        for shape in shapes {
            let (_folder, store) = store();
            let array = sample(dtype, shape);
            write(&*store, &array, None);
            assert_eq!(read_now(&*store).unwrap().unwrap(), array, "{dtype} {shape:?}");
            let small: Vec<usize> = shape.iter().map(|length| length / 2 + 1).collect();
            write(&*store, &array, Some(&small));
            assert_eq!(read_now(&*store).unwrap().unwrap(), array, "{dtype} {shape:?} in chunks of {small:?}");
        }
    }
}

#[test]
fn zarray_text_equals_kymflows() {
    for (shape, dtype, chunks, fill) in [
        (vec![30_000, 10], DType::UInt16, "[512,10]", "0"),
        (vec![2, 5, 7], DType::UInt8, "[1,5,7]", "0"),
        (vec![3, 4, 600, 5], DType::Float32, "[1,4,512,1]", "0.0"),
    ] {
        let text = encode(&key("g/data"), &sample(dtype, &shape), None).unwrap().pop().unwrap();
        assert_eq!(text.0.as_str(), "g/data/.zarray");
        let json = Json::parse(&text.1).unwrap();
        let compressor = r#"{"blocksize":0,"clevel":3,"cname":"zstd","id":"blosc","shuffle":2}"#;
        for (name, expected) in
            [("chunks", chunks), ("fill_value", fill), ("filters", "null"), ("order", "\"C\""), ("zarr_format", "2")]
        {
            assert_eq!(json.get(name).unwrap().to_string(), expected, "{shape:?} {name}");
        }
        assert_eq!(json.get("compressor").unwrap(), &Json::parse(compressor.as_bytes()).unwrap());
        assert!(json.get("dimension_separator").is_none());
    }
}

fn read_now(store: &dyn Store) -> Result<Option<Array>, DatasetError> {
    read(store, store, &key("g"), MissingChunks::default())
}

fn zarray(changes: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("chunks", "[2, 2]"),
        ("compressor", "null"),
        ("dtype", "\"<u2\""),
        ("fill_value", "7"),
        ("filters", "null"),
        ("order", "\"C\""),
        ("shape", "[3, 3]"),
        ("zarr_format", "2"),
    ];
    for (name, value) in changes {
        members.retain(|(known, _)| known != name);
        members.push((name, value));
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", members.join(", "))
}

#[test]
fn zarray_with_wrong_or_huge_claims_is_refused() {
    for (changes, expected) in [
        (vec![("shape", "[4611686018427387904, 4]")], "more than"),
        (vec![("shape", "[100000, 100000]")], "more than"),
        (vec![("shape", "[9223372036854775807, 9223372036854775807]")], "more than"),
        (vec![("chunks", "[4611686018427387904, 4]")], "more than"),
        (vec![("shape", "[4000, 4000]"), ("chunks", "[1, 1]")], "chunks, kymhost's limit"),
        (vec![("shape", "[0, 99999999999]"), ("chunks", "[1, 1]")], ""),
        (vec![("chunks", "[0, 2]")], "length 0"),
        (vec![("chunks", "[2]")], "dimensions"),
        (vec![("shape", "[-3, 3]")], "list of lengths"),
        (vec![("shape", "[3.5, 3]")], "list of lengths"),
        (vec![("shape", "3")], "list of lengths"),
        (vec![("dtype", "\"<M8[ns]\"")], "dtype"),
        (vec![("dtype", "\"|O\"")], "dtype"),
        (vec![("dtype", "\"é\"")], "dtype"),
        (vec![("dtype", "\"\"")], "dtype"),
        (vec![("dtype", "\"|u2\"")], "dtype"),
        (vec![("dtype", "[[\"a\", \"<u2\"]]")], "dtype"),
        (vec![("compressor", "{\"id\": \"lzma\"}")], "compressor"),
        (vec![("filters", "[{\"id\": \"delta\"}]")], "filters"),
        (vec![("order", "\"X\"")], "order"),
        (vec![("dimension_separator", "\"..\"")], "dimension_separator"),
        (vec![("fill_value", "\"x\"")], "fill_value"),
        (vec![("fill_value", "1e300")], "fill_value"),
        (vec![("zarr_format", "3")], "zarr_format"),
    ] {
        match Layout::parse(zarray(&changes).as_bytes()) {
            Ok(_) => assert_eq!(expected, "", "{changes:?}"),
            Err(error) => assert!(!expected.is_empty() && error.contains(expected), "{changes:?}: {error}"),
        }
    }
    assert!(Layout::parse(b"{").is_err());
    assert!(Layout::parse(b"[]").is_err());
}

#[test]
fn filled_missing_chunk_has_fill_value() {
    for (dtype, fill, expected) in [
        ("<u2", "7", 7u16.to_ne_bytes().to_vec()),
        (">u2", "7", 7u16.to_ne_bytes().to_vec()),
        ("<i8", "-3", (-3i64).to_ne_bytes().to_vec()),
        ("<u8", "18446744073709551615", u64::MAX.to_ne_bytes().to_vec()),
        ("<u2", "null", vec![0, 0]),
        ("<u2", "7.0", 7u16.to_ne_bytes().to_vec()),
        ("<f8", "NaN", f64::NAN.to_ne_bytes().to_vec()),
        ("<f8", "\"NaN\"", f64::NAN.to_ne_bytes().to_vec()),
        ("<f4", "\"-Infinity\"", f32::NEG_INFINITY.to_ne_bytes().to_vec()),
        (">f4", "1.5", 1.5f32.to_ne_bytes().to_vec()),
        ("<f2", "1", 0x3c00u16.to_ne_bytes().to_vec()),
        ("<f4", "null", vec![0; 4]),
        ("|b1", "true", vec![1]),
        ("|b1", "1", vec![1]),
        ("|b1", "null", vec![0]),
        ("<c8", "null", vec![0; 8]),
        ("<c8", "[1.5, \"NaN\"]", [1.5f32.to_ne_bytes(), f32::NAN.to_ne_bytes()].concat()),
        ("<c16", "2", [2f64.to_ne_bytes(), 0f64.to_ne_bytes()].concat()),
    ] {
        let (_folder, store) = store();
        let text = zarray(&[("dtype", &format!("\"{dtype}\"")), ("fill_value", fill), ("shape", "[1, 2]")]);
        store.put(&key("g/data/.zarray"), text.as_bytes()).unwrap();
        let array = read(&*store, &*store, &key("g"), MissingChunks::Filled).unwrap().unwrap();
        assert_eq!(array.bytes(), expected.repeat(2), "{dtype} {fill}");
        assert_eq!(array.axes(), ["y", "x"]);
    }
}

#[test]
fn chunk_of_wrong_length_is_refused() {
    let gzip = |bytes: &[u8]| crate::gzip::compress(bytes).unwrap();
    let blosc = |bytes: u32, length: u32| {
        let mut chunk = vec![2, 1, 0, 2];
        for word in [bytes, 8, length] {
            chunk.extend_from_slice(&word.to_le_bytes());
        }
        chunk.extend_from_slice(&[0; 8]);
        chunk
    };
    for (codec, chunk, expected) in [
        ("null", vec![0; 8], ""),
        ("null", vec![0; 7], "holds 7 bytes"),
        ("null", vec![0; 9], "holds 9 bytes"),
        ("null", vec![], "holds 0 bytes"),
        ("{\"id\": \"gzip\", \"level\": 1}", gzip(&[0; 8]), ""),
        ("{\"id\": \"gzip\", \"level\": 1}", gzip(&[0; 7]), "holds 7 bytes"),
        ("{\"id\": \"gzip\", \"level\": 1}", gzip(&vec![0; 10_000_000]), "more than the 8 bytes"),
        ("{\"id\": \"gzip\", \"level\": 1}", b"junk".to_vec(), "gzip"),
        ("{\"id\": \"zlib\", \"level\": 1}", b"junk".to_vec(), ""),
        ("{\"id\": \"zstd\", \"level\": 1}", zstd::encode_all(&[0u8; 8][..], 1).unwrap(), ""),
        ("{\"id\": \"zstd\", \"level\": 1}", zstd::encode_all(&vec![0u8; 10_000_000][..], 1).unwrap(), "more than"),
        ("{\"id\": \"zstd\", \"level\": 1}", b"junk".to_vec(), ""),
        ("{\"id\": \"blosc\"}", blosc(2_000_000_000, 24), "holds 2000000000 bytes"),
        ("{\"id\": \"blosc\"}", blosc(8, 999), "not a whole Blosc chunk"),
        ("{\"id\": \"blosc\"}", vec![2, 1], "not a whole Blosc chunk"),
    ] {
        let (_folder, store) = store();
        store.put(&key("g/data/.zarray"), zarray(&[("compressor", codec), ("shape", "[2, 2]")]).as_bytes()).unwrap();
        store.put(&key("g/data/0.0"), &chunk).unwrap();
        match read_now(&*store) {
            Ok(array) => assert!(expected.is_empty() && chunk != b"junk", "{codec}: {array:?}"),
            Err(DatasetError::Unreadable { key, found, .. }) => {
                assert!(key.ends_with("g/data/0.0"), "{key}");
                assert!(chunk == b"junk" || (!expected.is_empty() && found.contains(expected)), "{codec}: {found}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn add_image_rejects_wrong_arrays() {
    assert!(check_pixels(&sample(DType::UInt16, &[2, 2])).is_ok());
    assert!(check_pixels(&sample(DType::Int64, &[2, 2])).is_err());
    assert!(check_pixels(&sample(DType::UInt8, &[2])).is_err());
    assert!(check_pixels(&sample(DType::UInt8, &[1, 1, 1, 1, 1, 1])).is_err());
    let array = sample(DType::UInt8, &[2, 2]);
    assert!(encode(&key("d"), &array, Some(&[2])).is_err());
    assert!(encode(&key("d"), &array, Some(&[0, 2])).is_err());
}

#[test]
fn layout_recognizes_chunk_names() {
    let layout = Layout::parse(zarray(&[]).as_bytes()).unwrap();
    for (name, is_chunk) in
        [("0.0", true), ("1.1", true), ("2.0", false), ("0", false), ("0.0.0", false), ("00.0", false), ("a.b", false)]
    {
        assert_eq!(layout.has_chunk(name), is_chunk, "{name}");
    }
    let nested = Layout::parse(zarray(&[("dimension_separator", "\"/\"")]).as_bytes()).unwrap();
    assert!(nested.has_chunk("1/0") && !nested.has_chunk("1.0"));
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(64))]

    #[test]
    fn zarray_of_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Layout::parse(&bytes);
    }

    #[test]
    fn zarray_of_any_values_never_panics(
        name in proptest::sample::select(vec![
            "chunks", "compressor", "dtype", "fill_value", "filters", "order", "shape", "zarr_format", "dimension_separator",
        ]),
        value in "null|true|-?[0-9]{1,20}|\\[([0-9]{1,19},){0,40}[0-9]{1,19}\\]|\"[<>|]?[a-z]?[0-9]{0,2}\"|\\{\"id\": \"[a-z]{0,5}\"\\}|NaN",
    ) {
        // What is taken must also be read without harm: at most its missing chunks are filled in.
        let small = zarray(&[(name, &value)]);
        if let Ok(layout) = Layout::parse(small.as_bytes())
            && layout.array_bytes() < 1 << 20
        {
            let (_folder, store) = store();
            store.put(&key("g/data/.zarray"), small.as_bytes()).unwrap();
            store.put(&key("g/data/0.0"), b"12345678").unwrap();
            let _ = read_now(&*store);
        }
    }

    #[test]
    fn chunk_of_any_bytes_never_panics(
        codec in proptest::sample::select(vec!["blosc", "zlib", "gzip", "zstd"]),
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        header: bool,
    ) {
        let mut chunk = bytes;
        if header && codec == "blosc" && chunk.len() >= 16 {
            let length = chunk.len() as u32;
            chunk[4..8].copy_from_slice(&8u32.to_le_bytes());
            chunk[12..16].copy_from_slice(&length.to_le_bytes());
        }
        let (_folder, store) = store();
        let text = zarray(&[("compressor", &format!("{{\"id\": \"{codec}\"}}")), ("shape", "[2, 2]")]);
        store.put(&key("g/data/.zarray"), text.as_bytes()).unwrap();
        store.put(&key("g/data/0.0"), &chunk).unwrap();
        let _ = read_now(&*store);
    }
}
