//! `dataset ingest`, `dataset export`: the real program over files of every sort.
//!
//! Tests which files are imported and how, which are reported, what a second run does, and what an export gives
//! back. For speed, see the benchmark `ingest`.

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use kymhost::dataset::Dataset;
use kymhost_plugin_api::array::DType;
use kymhost_plugin_api::{ArtifactKind, Json};
use kymhost_tests::fixture::{Fixture, batch, floats, gzip, ints, parquet_bytes, texts};
use kymhost_tests::tiff::{Kind, Layout, Packing, Page, Tiff, page};
use kymhost_tests::{
    Brake, Output, Run, TestDir, assert_untouched, changed, copy_tree, kill_in_the_midst, library, seed, shared,
    snapshot, wait, wait_for,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A folder of recordings and a dataset that is not there yet.
struct Lab {
    dir: TestDir,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { dir: TestDir::in_memory() };
        fs::create_dir(lab.files()).expect("a folder");
        lab
    }

    fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("lab.zarr")
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.files().join(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("folders");
        fs::write(&path, bytes).expect("a file");
        path
    }

    fn ingest(&self, args: &[&str]) -> Output {
        Run::new(["dataset", "ingest"]).arg(self.files()).dataset(&self.data()).args(args).output()
    }

    /// Its document, and that nothing of the dataset is damaged.
    #[track_caller]
    fn document(&self, args: &[&str], code: i32) -> Value {
        let document = self.ingest(args).expect_code(code).json();
        if self.data().exists() {
            assert_eq!(self.dataset().validate(), []);
        }
        document
    }

    fn dataset(&self) -> Dataset {
        Dataset::open(&self.data()).expect("a dataset")
    }

    /// The id of the image that a file became.
    #[track_caller]
    fn image(&self, document: &Value, name: &str) -> String {
        file(document, name)["image_id"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} has no image: {document:#}"))
            .to_owned()
    }
}

/// What a document says of a file.
#[track_caller]
fn file<'a>(document: &'a Value, name: &str) -> &'a Value {
    let files = document["files"].as_array().expect("files");
    let found = files.iter().find(|file| file["path"].as_str().is_some_and(|path| path.ends_with(&format!("/{name}"))));
    found.unwrap_or_else(|| panic!("no file {name} in {document:#}"))
}

fn outcomes(document: &Value) -> BTreeMap<String, String> {
    let files = document["files"].as_array().expect("files").iter();
    let name = |path: &Value| Path::new(path.as_str().expect("a path")).file_name().expect("a name").to_owned();
    files
        .map(|file| {
            let name = name(&file["path"]).to_string_lossy().into_owned();
            (name, file["outcome"].as_str().expect("an outcome").to_owned())
        })
        .collect()
}

fn small() -> Vec<u8> {
    Tiff::new(page(9, 5, 2, Kind::Uint, 1)).bytes()
}

const PLAIN: [(&str, usize, Kind, DType); 5] = [
    ("uint8", 1, Kind::Uint, DType::UInt8),
    ("uint16", 2, Kind::Uint, DType::UInt16),
    ("int16", 2, Kind::Int, DType::Int16),
    ("float32", 4, Kind::Float, DType::Float32),
    ("float64", 8, Kind::Float, DType::Float64),
];

/// Every type, byte order, form and packing: the pixels are those of the file.
#[test]
fn tiff_of_every_form_is_read() {
    let lab = Lab::new();
    let mut expected: BTreeMap<String, (DType, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, size, kind, dtype) in PLAIN {
        for big_endian in [false, true] {
            for (layout, cut) in
                [(Layout::Strips(7), "strips"), (Layout::Strips(1000), "one"), (Layout::Tiles(16, 32), "tiles")]
            {
                for packing in [Packing::None, Packing::PackBits, Packing::Lzw, Packing::Deflate, Packing::Zstd] {
                    for pages in [1, 3] {
                        let seed = expected.len() as u64;
                        let pages: Vec<Page> = (0..pages).map(|at| page(50, 21, size, kind, seed * 5 + at)).collect();
                        let bytes = pages.iter().flat_map(|page| page.bytes.clone()).collect();
                        let mut shape = vec![50, 21];
                        if pages.len() > 1 {
                            shape.insert(0, pages.len());
                        }
                        // Every second one with 64-bit offsets, every third with differences.
                        let tiff = Tiff {
                            big_endian,
                            big_tiff: seed % 2 == 1,
                            layout,
                            packing,
                            photometric: 1,
                            samples: 1,
                            // (libtiff knows them of these compressions alone.)
                            differences: kind != Kind::Float
                                && seed.is_multiple_of(3)
                                && [Packing::Lzw, Packing::Deflate, Packing::Zstd].contains(&packing),
                            pages,
                        };
                        let file = format!("{name}-{big_endian}-{cut}-{packing:?}-{}.tif", shape.len());
                        lab.put(&file, tiff.bytes());
                        expected.insert(file, (dtype, shape, bytes));
                    }
                }
            }
        }
    }
    let chunks: Value = {
        // Longer and wider than a chunk: 512 lines of at most 512 pixels, and one page of a stack.
        let plane = || page(600, 530, 1, Kind::Uint, 7);
        lab.put("wide.tif", Tiff::new(plane()).bytes());
        expected.insert("wide.tif".into(), (DType::UInt8, vec![600, 530], plane().bytes));
        lab.put("deep.tif", Tiff { pages: vec![plane(), plane()], ..Tiff::new(plane()) }.bytes());
        expected.insert("deep.tif".into(), (DType::UInt8, vec![2, 600, 530], [plane().bytes, plane().bytes].concat()));
        json!({"wide.tif": [512, 512], "deep.tif": [1, 512, 512], "uint8-false-one-Lzw-2.tif": [50, 21]})
    };
    let white = Tiff { photometric: 0, ..Tiff::new(page(9, 5, 2, Kind::Uint, 3)) };
    lab.put("white.tif", white.bytes());
    expected.insert("white.tif".into(), (DType::UInt16, vec![9, 5], white.pages[0].bytes.clone()));

    let document = lab.document(&["--json"], 0);
    assert_eq!(document["added"], expected.len());
    let dataset = lab.dataset();
    for (name, (dtype, shape, bytes)) in &expected {
        let found = dataset.find_record(&lab.image(&document, name)).unwrap().pixels().unwrap().unwrap();
        assert_eq!((found.dtype(), found.shape()), (*dtype, shape.as_slice()), "{name}");
        assert_eq!(found.axes(), if shape.len() == 2 { &["y", "x"][..] } else { &["z", "y", "x"][..] }, "{name}");
        assert!(found.bytes() == bytes, "{name}: the pixels are others");
    }
    for (name, chunks) in chunks.as_object().unwrap() {
        let path = lab.data().join(format!("images/{}/data/.zarray", lab.image(&document, name)));
        let layout: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(&layout["chunks"], chunks, "{name}");
    }
}

/// What libtiff and others read otherwise than a plain decoder: tags that count for nothing, and pages that are none.
#[test]
fn misleading_tiff_tags_are_handled() {
    const PREDICTOR: u16 = 317;
    let plain = || Tiff::new(page(20, 5, 2, Kind::Uint, 4));
    let three = || Tiff { pages: vec![page(20, 5, 2, Kind::Uint, 4); 3], ..plain() };
    let mut with_thumbnail = plain();
    with_thumbnail.pages.push(page(10, 3, 1, Kind::Uint, 5));
    let mut thumbnail_first = plain();
    thumbnail_first.pages.insert(0, page(10, 3, 1, Kind::Uint, 5));
    let mut pyramid = plain();
    pyramid.pages.extend([page(10, 2, 2, Kind::Uint, 5), page(5, 1, 2, Kind::Uint, 6)]);
    let (uint16, packbits) = (DType::UInt16, Tiff { packing: Packing::PackBits, ..plain() });
    type Case = (&'static str, Vec<u8>, DType, usize, Option<&'static str>);
    let mut cases: Vec<Case> = vec![
        // libtiff knows predictors of LZW, Deflate, LZMA and Zstandard alone.
        ("packbits.tif", packbits.bytes_with(&[(0, PREDICTOR, 2)]), uint16, 1, Some("predictor")),
        ("unpacked.tif", plain().bytes_with(&[(0, PREDICTOR, 2)]), uint16, 1, Some("predictor")),
        ("odd.tif", packbits.bytes_with(&[(0, PREDICTOR, 77)]), uint16, 1, Some("predictor")),
        // Nobody said what the numbers are: unsigned, as tifffile has it.
        ("undefined.tif", plain().bytes_with(&[(0, 339, 4)]), uint16, 1, None),
        ("lsb-named.tif", plain().bytes_with(&[(0, 266, 1)]), uint16, 1, None),
        // Smaller pictures of the recording.
        ("thumbnail.tif", with_thumbnail.bytes_with(&[(1, 254, 1)]), uint16, 1, Some("1 of its 2 pages")),
        ("thumbnail-first.tif", thumbnail_first.bytes_with(&[(0, 254, 1)]), uint16, 1, Some("1 of its 2 pages")),
        ("pyramid.tif", pyramid.bytes_with(&[(1, 254, 1), (2, 254, 1)]), uint16, 1, Some("2 of its 3 pages")),
        ("old-pyramid.tif", pyramid.bytes_with(&[(1, 255, 2), (2, 255, 2)]), uint16, 1, Some("2 of its 3 pages")),
        ("mask.tif", with_thumbnail.bytes_with(&[(1, 254, 4)]), uint16, 1, Some("1 of its 2 pages")),
        // One that no decoder could read does not matter.
        ("unread.tif", with_thumbnail.bytes_with(&[(1, 254, 1), (1, 262, 99)]), uint16, 1, Some("1 of its 2 pages")),
        ("middle.tif", three().bytes_with(&[(1, 254, 1)]), uint16, 2, Some("1 of its 3 pages")),
        // Pages of a recording, whatever else is said of them.
        ("pages.tif", three().bytes_with(&[(0, 254, 2), (1, 254, 2), (2, 254, 2)]), uint16, 3, None),
        ("all-reduced.tif", three().bytes_with(&[(0, 254, 1), (1, 254, 1), (2, 254, 1)]), uint16, 3, None),
    ];
    for big_endian in [false, true] {
        for big_tiff in [false, true] {
            let tiff = Tiff { big_endian, big_tiff, packing: Packing::PackBits, ..plain() };
            let name = ["a.tif", "b.tif", "c.tif", "d.tif"][usize::from(big_endian) * 2 + usize::from(big_tiff)];
            cases.push((name, tiff.bytes_with(&[(0, PREDICTOR, 2), (0, 339, 4)]), uint16, 1, Some("predictor")));
        }
    }
    let lab = Lab::new();
    for (name, bytes, ..) in &cases {
        lab.put(name, bytes);
    }
    // Differences that a compression has are still summed up.
    let summed = Tiff { packing: Packing::Deflate, differences: true, ..plain() };
    lab.put("summed.tif", summed.bytes_with(&[(0, 339, 4)]));
    lab.put("reversed.tif", plain().bytes_with(&[(0, 266, 2)]));
    let document = lab.document(&["--json"], 3);
    let reversed = file(&document, "reversed.tif");
    assert_eq!(
        (&document["failed"], &reversed["error"]["kind"]),
        (&json!(1), &json!("unsupported_tiff")),
        "{document:#}"
    );
    assert!(reversed["error"]["message"].as_str().unwrap().contains("FillOrder"), "{reversed:#}");
    let plane = page(20, 5, 2, Kind::Uint, 4).bytes;
    cases.push(("summed.tif", Vec::new(), uint16, 1, None));
    for (name, _, dtype, pages, note) in &cases {
        let found = lab.dataset().find_record(&lab.image(&document, name)).unwrap().pixels().unwrap().unwrap();
        assert_eq!((found.dtype(), found.bytes()), (*dtype, plane.repeat(*pages).as_slice()), "{name}");
        let notes = file(&document, name)["notes"].as_array().cloned().unwrap_or_default();
        let says = |note: &str| notes.iter().any(|told| told.as_str().unwrap().contains(note));
        assert!(note.map_or(notes.is_empty(), says), "{name}: {notes:?}");
    }
}

/// Files that cannot be read are reported, each with a kind, and the rest are imported.
#[test]
fn bad_files_reported_rest_imported() {
    let lab = Lab::new();
    let good = small();
    // In a plain little-endian file the directory stands at its end; its entries have 12 bytes.
    let directory = u32::from_le_bytes(good[4..8].try_into().unwrap()) as usize;
    let with_tag = |tag: u16, value: u32| {
        let mut bytes = good.clone();
        let entry = (0..).map(|n| directory + 2 + n * 12).find(|at| bytes[*at..at + 2] == tag.to_le_bytes()).unwrap();
        bytes[entry + 8..entry + 12].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let mut looped = good.clone();
    let link = looped.len() - 4;
    looped[link..].copy_from_slice(&(directory as u32).to_le_bytes());
    let mut unlike = Tiff::new(page(9, 5, 2, Kind::Uint, 1));
    unlike.pages.push(page(9, 6, 2, Kind::Uint, 1));
    let mut other_type = Tiff::new(page(9, 5, 2, Kind::Uint, 1));
    other_type.pages.push(page(9, 5, 2, Kind::Int, 1));
    let rgb = Tiff { photometric: 2, samples: 3, ..Tiff::new(Page { width: 2, ..page(9, 6, 1, Kind::Uint, 1) }) };
    let lzw = Tiff { packing: Packing::Lzw, ..Tiff::new(page(90, 50, 2, Kind::Uint, 1)) }.bytes();
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("empty.tif", vec![], "broken_tiff", ""),
        ("text.tif", b"these are notes".to_vec(), "broken_tiff", ""),
        ("head.tif", good[..8].to_vec(), "broken_tiff", ""),
        ("cut-directory.tif", good[..good.len() - 20].to_vec(), "broken_tiff", ""),
        ("cut-pixels.tif", lzw[lzw.len() / 2..].to_vec(), "broken_tiff", ""),
        ("no-lines.tif", with_tag(257, 0), "broken_tiff", ""),
        ("other-lines.tif", with_tag(257, 900), "broken_tiff", ""),
        ("huge.tif", with_tag(257, u32::MAX), "broken_tiff", ""),
        ("loop.tif", looped, "broken_tiff", ""),
        ("no-compression.tif", with_tag(259, 61), "unsupported_tiff", ""),
        ("pages.tif", unlike.bytes(), "unsupported_tiff", "page 2 is 9 x 6 of uint16, page 1 9 x 5 of uint16"),
        ("types.tif", other_type.bytes(), "unsupported_tiff", "page 2 is 9 x 5 of int16"),
        ("rgb.tif", rgb.bytes(), "unsupported_tiff", "RGB"),
        ("uint32.tif", Tiff::new(page(9, 5, 4, Kind::Uint, 1)).bytes(), "unsupported_tiff", "32 bits"),
    ];
    for (name, bytes, ..) in &cases {
        lab.put(name, bytes);
    }
    // One strip, so that a size is all that is wrong with it.
    let one =
        Tiff { layout: Layout::Strips(1 << 30), packing: Packing::Deflate, ..Tiff::new(page(9, 5, 2, Kind::Uint, 1)) };
    let mut bomb = one.bytes();
    let directory = u32::from_le_bytes(bomb[4..8].try_into().unwrap()) as usize;
    bomb[directory + 2 + 12 + 8..directory + 2 + 12 + 12].copy_from_slice(&400_000_000u32.to_le_bytes());
    lab.put("bomb.tif", &bomb);
    bomb[directory + 2 + 12 + 8..directory + 2 + 12 + 12].copy_from_slice(&1_000_000_000u32.to_le_bytes());
    lab.put("giant.tif", &bomb);
    lab.put("good.tif", &good);
    lab.put("rois.tif", &good);
    lab.put("rois.json", r#"{"rois": {"1": 2}}"#);
    lab.put("json.tif", &good);
    lab.put("json.json", "{");
    lab.put("csv.tif", &good);
    lab.put("csv.a.csv", "a,b\n1,2,3\n");
    lab.put("npy.tif", &good);
    lab.put("npy.a.npy", "no array");
    lab.put("twice.tif", &good);
    lab.put("twice.a.csv", "a\n1\n");
    lab.put("twice.a.csv.gz", gzip(b"a\n1\n"));

    let output =
        Run::new(["dataset", "ingest", "--json"]).arg(lab.files()).dataset(&lab.data()).output().expect_code(3);
    let document = output.json();
    assert!(!output.stderr().contains("panicked") && !output.stderr().contains("internal error"), "{output}");
    for (name, _, kind, says) in &cases {
        let file = file(&document, name);
        assert_eq!((&file["outcome"], &file["error"]["kind"]), (&json!("failed"), &json!(kind)), "{name}: {file:#}");
        assert!(file["error"]["message"].as_str().unwrap().contains(says), "{name}: {file:#}");
        assert!(file["image_id"].is_null(), "{name}");
    }
    for (name, kind, says) in [
        ("bomb.tif", "broken_tiff", "cannot hold"),
        ("giant.tif", "too_large", "more than"),
        ("rois.tif", "metadata", "rois.json: its 'rois'"),
        ("json.tif", "metadata", "json.json: it is not JSON"),
        ("csv.tif", "sidecar", "csv.a.csv: line 2"),
        ("npy.tif", "sidecar", "npy.a.npy:"),
        ("twice.tif", "sidecar", "both become the artifact 'a'"),
    ] {
        let file = file(&document, name);
        assert_eq!(file["error"]["kind"], kind, "{file:#}");
        assert!(file["error"]["message"].as_str().unwrap().contains(says), "{file:#}");
    }
    assert_eq!((&document["added"], &document["failed"]), (&json!(1), &json!(cases.len() + 7)));
    assert_eq!(lab.dataset().image_ids().unwrap(), [lab.image(&document, "good.tif")]);
    assert_eq!(lab.dataset().validate(), []);
    // In text output, too. A bad file that is repaired is imported.
    lab.put("json.json", "{}");
    lab.ingest(&[]).expect_code(3).expect_stderr(&["rgb.tif: unsupported_tiff: ", "1 added", "1 unchanged"]);
}

const HEADER: &str = "\"[General]\"\t\"\"\r\n\"Date\"\t\"07/22/2025 12:13:14.620 PM\"\r\n\"[Dimensions]\"\t\"\"\r\n\
    \"X Dimension\"\t\"5, 0.0 - 2.0 [um], 0.400 [um/pixel]\"\r\n\"T Dimension\"\t\"1, 0.000 - 0.018 [s], Interval FreeRun\"\r\n\
    \"[Image]\"\t\"\"\r\n\"Image Size\"\t\"5 * 9 [pixel]\"\r\n\"[Reference Image]\"\t\"\"\r\n\"Image Size\"\t\"512 * 512 [pixel]\"\r\n";

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Headers, ROIs and artifacts next to a recording.
#[test]
fn companion_files_become_artifacts() {
    let lab = Lab::new();
    for name in ["bare.tif", "olympus.tif", "both.tif", "sub/both.tif"] {
        lab.put(name, small());
    }
    lab.put("olympus.txt", HEADER);
    lab.put("both.txt", HEADER);
    lab.put(
        "both.json",
        json!({"version": "1.0", "header": {"voxels": [0.5, 2.0], "labels": ["a", "b"]},
            "experiment_metadata": {"species": "mouse"},
            "rois": [{"id": 7, "channel": 2, "z": 0, "name": "n", "note": "m", "revision": 3,
                "dim0_start": 1, "dim0_stop": 8, "dim1_start": 2, "dim1_stop": 4}]})
        .to_string(),
    );
    lab.put("both.radon.csv.gz", gzip(b"roi_id,time,note\n1,0.5,NA\n2,,x\n"));
    lab.put("both.events.csv", "a,b\n1,true\n");
    lab.put("both.deep name.json", "\u{feff}{\"n\": NaN}");
    let rows = batch([("n", ints([1, 2])), ("t", texts(["", "NA"]))]);
    lab.put("both.rows.parquet", parquet_bytes(&rows, parquet::basic::Compression::SNAPPY));
    lab.put("both.f.npy", npy("<u2", "True", "(2, 3)", &[0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5, 0]));
    let document = lab.document(&["--json"], 0);
    assert_eq!(document["added"], 4);
    let metadata = |name: &str| -> Value {
        let record = lab.dataset().find_record(&lab.image(&document, name)).unwrap();
        serde_json::from_slice(&record.json_bytes("metadata").unwrap().unwrap()).unwrap()
    };
    let whole = json!([{"roi_id": 1, "roi_type": "rect", "version": "1.0", "name": "", "note": "", "channel": 1, "z": 0,
        "data": {"x0": 0, "x1": 5, "y0": 0, "y1": 9}, "meta": {}}]);
    assert_eq!(
        metadata("bare.tif"),
        json!({"version": "2.0", "experiment_metadata": {}, "rois": whole,
            "header": {"shape": [9, 5], "ndim": 2, "labels": ["time (s)", "space (um)"]}})
    );
    assert_eq!(
        metadata("olympus.tif"),
        json!({"version": "2.0", "experiment_metadata": {}, "rois": whole,
            "header": {"shape": [9, 5], "ndim": 2, "voxels": [0.018 / 9.0, 0.4], "voxels_units": ["s", "um"],
                "labels": ["time (s)", "space (um)"], "physical_size": [9.0 * (0.018 / 9.0), 2.0],
                "acquired_local_epoch_ns": 1_753_186_394_620_000_000_i64}})
    );
    let both = metadata("files/both.tif");
    assert_eq!(both["header"]["voxels"], json!([0.5, 2.0]));
    assert_eq!(both["header"]["acquired_local_epoch_ns"], 1_753_186_394_620_000_000_i64);
    assert_eq!(both["experiment_metadata"], json!({"species": "mouse"}));
    assert_eq!(
        both["rois"],
        json!([{"roi_id": 7, "roi_type": "rect", "version": "1.0", "name": "n", "note": "m", "channel": 2, "z": 0,
            "data": {"x0": 2, "x1": 4, "y0": 1, "y1": 8}, "meta": {"revision": 3}}])
    );
    let record = lab.dataset().find_record(&lab.image(&document, "files/both.tif")).unwrap();
    let artifacts: Vec<(String, ArtifactKind)> =
        record.artifacts().unwrap().into_iter().map(|artifact| (artifact.name, artifact.kind)).collect();
    assert_eq!(
        artifacts,
        [
            ("deep_name".to_owned(), ArtifactKind::Json),
            ("events".to_owned(), ArtifactKind::Parquet),
            ("f".to_owned(), ArtifactKind::Array),
            ("metadata".to_owned(), ArtifactKind::Json),
            ("provenance".to_owned(), ArtifactKind::Json),
            ("radon".to_owned(), ArtifactKind::Parquet),
            ("rows".to_owned(), ArtifactKind::Parquet),
        ]
    );
    let radon = record.parquet("radon").unwrap().unwrap();
    let types: Vec<DataType> = radon.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Int64, DataType::Float64, DataType::LargeUtf8]);
    assert!(radon.column(1).is_null(1) && radon.column(2).is_null(0));
    let array = record.array("f").unwrap().unwrap();
    assert_eq!((array.axes(), array.shape()), (&["a0".to_owned(), "a1".to_owned()][..], &[2, 3][..]));
    assert_eq!(array.to_vec::<u16>().unwrap(), [0, 1, 2, 3, 4, 5]);
    // Where each came from.
    let provenance: Value = serde_json::from_slice(&record.json_bytes("provenance").unwrap().unwrap()).unwrap();
    let path = fs::canonicalize(lab.files().join("both.tif")).unwrap();
    assert_eq!(provenance["source_primary_path"], path.to_str().unwrap());
    assert_eq!(provenance["original_path"], path.to_str().unwrap());
    let sources = lab.dataset().read_table("sources", None).unwrap().unwrap();
    let names: Vec<String> = sources.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["source_primary_path", "image_id", "source_mtime_ns", "source_size_bytes", "ingested_epoch_ns"]);
    let row = (0..4).find(|&row| sources.column(0).as_string::<i32>().value(row) == path.to_str().unwrap()).unwrap();
    let int = |column: usize| sources.column(column).as_primitive::<Int64Type>().value(row);
    let modified = fs::metadata(&path).unwrap().modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!((int(2), int(3)), (modified.as_nanos() as i64, small().len() as i64));
}

/// Only what is new or has changed is done; what a person edited in the dataset, and what others made, stays.
#[test]
fn second_ingest_imports_new_and_changed() {
    let lab = Lab::new();
    for name in ["a.tif", "b.tif", "c.tif"] {
        lab.put(name, small());
    }
    lab.put("a.side.json", "1");
    lab.put("a.other.json", "1");
    // A dry run writes nothing, not even the dataset.
    let document = lab.document(&["--json", "--dry-run"], 0);
    assert_eq!((&document["added"], &document["created"]), (&json!(3), &json!(true)));
    assert!(!lab.data().exists());
    let first = lab.document(&["--json"], 0);
    assert_eq!((&first["added"], &first["created"]), (&json!(3), &json!(true)));
    let before = snapshot(&lab.data());
    let again = lab.document(&["--json"], 0);
    assert_eq!((&again["added"], &again["unchanged"], &again["created"]), (&json!(0), &json!(3), &json!(false)));
    let locks = |snapshot: &kymhost_tests::Snapshot| {
        snapshot
            .iter()
            .filter(|(name, _)| !name.starts_with("index/kymhost/"))
            .map(|(n, s)| (n.clone(), s.clone()))
            .collect()
    };
    assert_untouched(&locks(&before), &locks(&snapshot(&lab.data())));

    // Someone draws an ROI and runs an analysis.
    let (a, b) = (lab.image(&first, "a.tif"), lab.image(&first, "b.tif"));
    let edited = json!({"version": "2.0", "header": {"shape": [9, 5]}, "experiment_metadata": {"by": "me"}, "rois": [{"roi_id": 9}]});
    let fixture = Fixture::at(lab.data());
    fixture.image(&a).json("metadata", &edited);
    fixture.image(&a).json("mine", &json!(5));
    fixture.image(&a).json("side", &json!("edited"));
    fixture.image(&a).json("other", &json!("edited"));
    // The files change: other pixels, of another shape; a sidecar; one is new; one is gone.
    let new = page(1200, 4, 2, Kind::Uint, 9);
    lab.put("a.tif", Tiff::new(new.clone()).bytes());
    lab.put("a.other.json", "22");
    lab.put("b.json", r#"{"rois": [{"id": 3}]}"#);
    fs::remove_file(lab.files().join("c.tif")).unwrap();
    lab.put("d.tif", small());
    let before = snapshot(&lab.data());
    let dry = lab.document(&["--json", "--dry-run"], 0);
    assert_untouched(&before, &snapshot(&lab.data()));
    assert_eq!((&dry["reingested"], &dry["added"]), (&json!(2), &json!(1)));
    let skipped = lab.document(&["--json", "--changed", "skip"], 0);
    let words = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(n, w)| ((*n).to_owned(), (*w).to_owned())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        outcomes(&skipped),
        words(&[("a.tif", "skipped_changed"), ("b.tif", "skipped_changed"), ("d.tif", "added")])
    );
    assert_eq!(skipped["vanished"][0]["image_id"], lab.image(&first, "c.tif"));
    let third = lab.document(&["--json"], 0);
    assert_eq!(outcomes(&third), words(&[("a.tif", "reingested"), ("b.tif", "reingested"), ("d.tif", "unchanged")]));
    assert_eq!(
        (lab.image(&third, "a.tif"), lab.image(&third, "b.tif")),
        (a.clone(), b.clone()),
        "images keep their ids"
    );
    assert!(file(&third, "b.tif")["why"].as_str().unwrap().contains("b.json is new"), "{third:#}");
    assert_eq!(lab.dataset().image_ids().unwrap().len(), 4, "the image whose file is gone stays");

    let record = lab.dataset().find_record(&a).unwrap();
    let pixels = record.pixels().unwrap().unwrap();
    assert_eq!((pixels.shape(), pixels.bytes()), (&[1200, 4][..], new.bytes.as_slice()));
    let json = |name: &str| -> Value { serde_json::from_slice(&record.json_bytes(name).unwrap().unwrap()).unwrap() };
    let metadata = json("metadata");
    assert_eq!(metadata["rois"], edited["rois"], "ROIs edited in the dataset stay");
    assert_eq!(metadata["experiment_metadata"], json!({"by": "me"}));
    assert_eq!(metadata["header"]["shape"], json!([1200, 4]), "the header is new");
    assert_eq!((json("mine"), json("side"), json("other")), (json!(5), json!("edited"), json!(22)));
    let of_b = lab.dataset().find_record(&b).unwrap().json("metadata").unwrap().unwrap();
    let roi = &of_b.get("rois").and_then(Json::as_array).unwrap()[0];
    assert_eq!(roi.get("roi_id").and_then(Json::as_i64), Some(3), "ROIs that were not edited are the file's");
    let done = lab.document(&["--json"], 0);
    assert_eq!(done["unchanged"], 3);
    // What only looks changed is read, but its pixels are left alone.
    let file = fs::File::options().append(true).open(lab.files().join("d.tif")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    let before = snapshot(&lab.data());
    assert_eq!(lab.document(&["--json"], 0)["reingested"], 1);
    let touched = changed(&before, &snapshot(&lab.data()));
    assert!(!touched.iter().any(|key| key.contains("/data/")), "{touched:?}");
}

/// Which dataset, and what cannot be done at all.
#[test]
fn imported_files_land_in_documented_places() {
    let lab = Lab::new();
    // Nothing to ingest makes no dataset.
    lab.ingest(&[]).expect_code(0).expect_stderr(&["no TIFF file"]);
    assert!(!lab.data().exists());
    lab.put("a.tif", small());
    lab.put("notes.txt", "no recording");
    let code = |output: Output| output.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
    let run = |paths: &[&Path]| Run::new(["dataset", "ingest", "--json"]).args(paths).dataset(&lab.data()).output();
    assert_eq!(code(run(&[&lab.files().join("absent")]).expect_code(2)), "unreadable_path");
    assert_eq!(code(run(&[&lab.files().join("notes.txt")]).expect_code(2)), "no_recording");
    let none = Run::new(["dataset", "ingest", "--json"]).arg(lab.files()).output().expect_code(5);
    assert_eq!(code(none), "no_dataset");
    let full = Run::new(["dataset", "ingest", "--json"]).arg(lab.files()).dataset(&lab.files()).output().expect_code(5);
    assert_eq!(code(full), "not_a_dataset", "a folder with something else in it is not made a dataset");
    // A file alone, and an empty folder as the dataset.
    fs::create_dir(lab.data()).unwrap();
    let output = run(&[&lab.files().join("a.tif")]).expect_code(0);
    assert_eq!(output.json()["added"], 1);
    lab.ingest(&[]).expect_code(0).expect_stderr(&["1 unchanged", "next: kymhost status --dataset"]);
    // An image that was deleted comes back with its file.
    let id = &lab.dataset().image_ids().unwrap()[0];
    lab.dataset().delete_image(id).unwrap();
    assert_eq!(lab.document(&["--json"], 0)["added"], 1);
    // Another ingest at work.
    let lock = fs::File::options().write(true).open(lab.data().join("index/kymhost/locks/ingest.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(code(run(&[&lab.files()]).expect_code(4)), "locked");
}

/// Nothing is written into a dataset but what is its own, and nothing of it is read as a recording.
#[test]
fn export_and_dataset_must_not_overlap() {
    let lab = Lab::new();
    lab.put("a.tif", small());
    lab.document(&["--json"], 0);
    let link = |to: &Path, name: &str| {
        let at = lab.dir.join(name);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, &at).unwrap();
    };
    let id = lab.dataset().image_ids().unwrap()[0].clone();
    link(&lab.data(), "link");
    link(&lab.data().join("images"), "tree/images");
    link(&lab.data().join("tables"), "rows/tables");
    link(&lab.data(), &format!("image/images/{id}"));
    fs::create_dir(lab.dir.join("free")).unwrap();
    let before = snapshot(lab.dir.path());
    for (target, data) in [
        ("lab.zarr", "lab.zarr"),
        ("lab.zarr/x", "lab.zarr"),
        ("lab.zarr/images", "lab.zarr"),
        ("lab.zarr/new/folder", "lab.zarr"),
        ("link", "lab.zarr"),
        ("link/new", "lab.zarr"),
        ("lab.zarr", "link"),
        ("free/../lab.zarr/new", "link"),
        ("tree", "lab.zarr"),
        ("rows", "lab.zarr"),
        (".", "lab.zarr"),
    ] {
        let run = |overwrite: &[&str]| {
            let run = Run::new(["dataset", "export", "--json"]).arg(lab.dir.join(target)).args(overwrite);
            run.dataset(&lab.dir.join(data)).output().expect_code(6).json()
        };
        for document in [run(&[]), run(&["--overwrite"])] {
            assert_eq!(document["error"]["code"], "overlaps_dataset", "{target} of {data}: {document:#}");
        }
        assert_untouched(&before, &snapshot(lab.dir.path()));
    }
    // A link in the place of one image.
    let run = Run::new(["dataset", "export", "--json", "--overwrite"]).arg(lab.dir.join("image")).dataset(&lab.data());
    assert_eq!(run.output().expect_code(3).json()["failed"], 1);
    assert_eq!(lab.dataset().validate(), []);
    let run = |paths: &[&str], data: &str| {
        let run = Run::new(["dataset", "ingest", "--json"]).args(paths.iter().map(|path| lab.dir.join(path)));
        run.dataset(&lab.dir.join(data)).output()
    };
    fs::write(lab.data().join("stray.tif"), small()).unwrap();
    for path in ["lab.zarr", "link", "lab.zarr/images", "lab.zarr/stray.tif"] {
        let refused = run(&["files", path], "lab.zarr").expect_code(6).json();
        assert_eq!(refused["error"]["code"], "overlaps_dataset", "{path}");
    }
    fs::remove_file(lab.data().join("stray.tif")).unwrap();
    // A folder that holds the dataset is looked through, but for the dataset: whatever that is called.
    fs::rename(lab.data(), lab.dir.join("data")).unwrap();
    fs::write(lab.dir.join("data/stray.tif"), small()).unwrap();
    let document = run(&["."], "data").expect_code(0).json();
    assert_eq!((&document["added"], &document["unchanged"]), (&json!(0), &json!(1)), "{document:#}");
}

/// kymflow's own sources table and provenance are understood.
#[test]
fn recordings_ingested_by_kymflow_are_known() {
    let lab = Lab::new();
    let path = lab.put("a.tif", small());
    let path = fs::canonicalize(path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    let mtime = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let fixture = Fixture::new(lab.data());
    let id = kymhost_tests::fixture::image_id(1);
    fixture.add_image(&id).json("provenance", &json!({"source_primary_path": path, "source_name": "a.tif"}));
    let sources = batch([
        ("source_primary_path", texts([path.to_str().unwrap()])),
        ("image_id", texts([id.as_str()])),
        ("source_mtime_ns", ints([mtime])),
        ("source_size_bytes", ints([metadata.len() as i64])),
        ("ingested_epoch_ns", ints([1])),
    ]);
    fixture.put_table("sources", &sources);
    let document = lab.document(&["--json"], 0);
    assert_eq!((&document["unchanged"], &document["added"]), (&json!(1), &json!(0)));
    // Without the table its provenance still says which file it is. When it was read is unknown.
    fixture.remove("tables/sources.parquet");
    let document = lab.document(&["--json"], 0);
    assert_eq!((&document["reingested"], lab.image(&document, "a.tif")), (&json!(1), id));
    assert_eq!(lab.document(&["--json"], 0)["unchanged"], 1);
}

/// All that a dataset holds, in a form that can be compared: kinds, values, types, bytes.
fn contents(dataset: &Dataset) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for id in dataset.image_ids().unwrap() {
        let record = dataset.find_record(&id).unwrap();
        all.insert(format!("{id} pixels"), format!("{:?}", record.pixels().unwrap()));
        for artifact in record.artifacts().unwrap() {
            let name = &artifact.name;
            let value = match artifact.kind {
                ArtifactKind::Json if name == "provenance" => {
                    let mut value: Value = serde_json::from_slice(&record.json_bytes(name).unwrap().unwrap()).unwrap();
                    value.as_object_mut().unwrap().remove("kymhost");
                    value.to_string()
                }
                ArtifactKind::Json => record.json(name).unwrap().unwrap().to_file_text(),
                ArtifactKind::Parquet => format!("{:?}", record.parquet(name).unwrap().unwrap()),
                ArtifactKind::Csv => format!("{:?}", record.csv_gz_bytes(name).unwrap().unwrap()),
                _ => format!("{:?}", record.array(name).unwrap().unwrap()),
            };
            all.insert(format!("{id} {name} {:?}", artifact.kind), value);
        }
    }
    all
}

/// A dataset that is exported and ingested again is the same.
#[test]
fn export_reingests_unchanged() {
    let lab = Lab::new();
    for (name, size, kind, _) in PLAIN {
        lab.put(&format!("{name}.tif"), Tiff::new(page(600, 7, size, kind, 3)).bytes());
    }
    let mut stack = Tiff::new(page(4, 3, 1, Kind::Uint, 1));
    stack.pages.push(page(4, 3, 1, Kind::Uint, 2));
    lab.put("stack.tif", stack.bytes());
    lab.put("stack.txt", HEADER);
    let document = lab.document(&["--json"], 0);
    let dataset = lab.dataset();
    let id = lab.image(&document, "uint16.tif");
    let record = dataset.find_record(&id).unwrap();
    let rows: RecordBatch = batch([
        ("n", ints([i64::MIN, i64::MAX])),
        ("d", floats([0.1 + 0.2, f64::INFINITY])),
        ("t", texts(["", "NA,\n\"q\""])),
    ]);
    for name in ["velocity_events/events", "Velocity_events/events", "plain", "image", "export"] {
        record.put_parquet(name, &rows).unwrap();
        record
            .put_json(
                name,
                &Json::parse(br#"{"a": [1, NaN, "\u00e4"], "big": 123456789012345678901234567890}"#).unwrap(),
            )
            .unwrap();
    }
    let fixture = Fixture::at(lab.data());
    fixture.image(&id).csv("plain", "a,b\n01,NA\n");
    fixture.image(&id).json_gz("old", &json!({"packed": true}));
    record.put_array("deep/array", &record.pixels().unwrap().unwrap()).unwrap();
    dataset
        .write_table("kym_mine", &batch([("image_id", texts([id.as_str(), "other"])), ("v", floats([0.5, 1e-7]))]))
        .unwrap();

    let out = lab.dir.join("out");
    let export = |args: &[&str]| Run::new(["dataset", "export"]).arg(&out).dataset(&lab.data()).args(args).output();
    let told = export(&["--json"]).expect_code(0).json();
    assert_eq!((told["images"].as_array().unwrap().len(), &told["failed"]), (6, &json!(0)));
    for file in [
        "image.tif",
        "metadata.json",
        "provenance.json",
        "Velocity_events/events.csv",
        "velocity_events/events-2.csv",
        "velocity_events/events-2.json",
        "plain.csv",
        "plain.csv.gz",
        "plain.json",
        "old.json",
        "export.json",
        "export-2.json",
        "array_artifacts/deep/array.npy",
    ] {
        assert!(out.join("images").join(&id).join(file).is_file(), "{file} is missing");
    }
    assert_eq!(
        fs::read_to_string(out.join("tables/kym_mine.csv")).unwrap(),
        format!("image_id,v\n{id},0.5\nother,1e-7\n")
    );
    // The TIFF is the recording's: ingested alone, without its listing, it has the same pixels.
    let copy = Lab::new();
    copy_tree(&out, &copy.files());
    let again = copy.document(&["--json"], 0);
    assert_eq!(again["added"], 6);
    assert_eq!(contents(&copy.dataset()), contents(&dataset));
    assert_eq!(copy.document(&["--json"], 0)["unchanged"], 6);
    // Into a dataset that has these images already: other ids, the same contents.
    let document =
        Run::new(["dataset", "ingest", "--json"]).arg(&out).dataset(&lab.data()).output().expect_code(0).json();
    assert_eq!(document["added"], 6);
    assert_eq!(lab.dataset().image_ids().unwrap().len(), 12);

    // A folder with something in it.
    assert_eq!(export(&["--json"]).expect_code(6).json()["error"]["code"], "not_empty");
    record.put_json("plain", &Json::from(1)).unwrap();
    fs::remove_file(lab.data().join(format!("images/{id}/analysis/image.parquet"))).unwrap();
    export(&["--overwrite", "--image", &id]).expect_code(0);
    let folder = out.join("images").join(&id);
    assert!(!folder.join("image.csv").exists(), "an artifact that is gone is gone from the export");
    assert_eq!(fs::read_to_string(folder.join("plain.json")).unwrap(), "1");
    assert_eq!(fs::read_to_string(out.join("tables/kym_mine.csv")).unwrap(), format!("image_id,v\n{id},0.5\n"));
    // Nothing of it leads out of the dataset's or the folder's way.
    assert_eq!(
        export(&["--json", "--overwrite", "--image", "../x"]).expect_code(2).json()["error"]["code"],
        "unknown_image"
    );
    // A listing that names a file elsewhere is refused.
    let listing = fs::read_to_string(folder.join("export.json")).unwrap();
    fs::write(folder.join("export.json"), listing.replace("\"plain.json\"", "\"../../../secret.json\"")).unwrap();
    let other = Lab::new();
    copy_tree(&folder, &other.files().join("image"));
    let refused = other.document(&["--json"], 3);
    assert_eq!(file(&refused, "image.tif")["error"]["kind"], "sidecar");
    assert!(file(&refused, "image.tif")["error"]["message"].as_str().unwrap().contains("not below its folder"));
}

/// A damaged image fails alone.
#[test]
fn export_reports_unreadable_parts() {
    let lab = Lab::new();
    lab.put("a.tif", small());
    lab.put("b.tif", small());
    let document = lab.document(&["--json"], 0);
    let a = lab.image(&document, "a.tif");
    Fixture::at(lab.data()).cut(&format!("images/{a}/data/0.0"));
    let run = Run::new(["dataset", "export", "--json"]).arg(lab.dir.join("out")).dataset(&lab.data());
    let told = run.output().expect_code(3).json();
    let of =
        |id: &str| told["images"].as_array().unwrap().iter().find(|image| image["image_id"] == id).unwrap().clone();
    assert!(of(&a)["error"].as_str().unwrap().contains("data/0.0"));
    assert!(of(&lab.image(&document, "b.tif"))["files"].as_u64().unwrap() >= 3);
    assert!(!lab.dir.join("out/images").join(&a).join("export.json").exists());
    // An image without pixels: what is missing is called by its place.
    let b = lab.image(&document, "b.tif");
    Fixture::at(lab.data()).remove(&format!("images/{b}/data"));
    let run = Run::new(["dataset", "export", "--json"]).arg(lab.dir.join("again")).dataset(&lab.data());
    let told = run.output().expect_code(3).json();
    let images = told["images"].as_array().unwrap().iter();
    let error =
        images.filter(|image| image["image_id"] == b).map(|image| image["error"].to_string()).collect::<String>();
    assert!(error.contains(&format!("images/{b}/data ")) || error.contains(&format!("images/{b}/data:")), "{error}");
    assert!(!error.contains("analysis_arrays"), "{error}");
}

/// How far it is, is shown on a terminal, and nowhere else.
#[test]
fn progress_shows_on_terminal() {
    let lab = Lab::new();
    for number in 0..60 {
        lab.put(&format!("{number:02}.tif"), Tiff::new(page(4000, 40, 2, Kind::Uint, number)).bytes());
    }
    let plain = lab.ingest(&["--jobs", "1", "--dry-run"]).expect_code(0);
    assert!(!plain.stderr().contains(['\r', '\u{1b}']), "{plain}");
    if !Path::new("/usr/bin/script").exists() {
        return kymhost_tests::skip("there is no `script` to give the program a terminal");
    }
    let words = [lab.files(), lab.data()].map(|path| path.display().to_string());
    let program = kymhost_tests::program();
    let line = format!("'{}' dataset ingest --jobs 1 '{}' --dataset '{}'", program.display(), words[0], words[1]);
    let terminal = Run::program(Path::new("/usr/bin/script"), ["-qefc", &line, "/dev/null"]).env("TERM", "xterm");
    let shown = terminal.output().expect_code(0);
    let shown = String::from_utf8_lossy(shown.stdout_bytes()).into_owned();
    assert!(shown.contains("ingest [") && shown.contains("/60 recordings"), "{shown:?}");
    assert!(!shown.ends_with("recordings"), "the bar is taken away: {shown:?}");
    assert!(shown.contains("60 recordings: 60 added"), "{shown:?}");
}

/// What failed, or was killed half way, never comes back as a recording; what an earlier export wrote stays.
#[test]
fn partial_export_is_not_a_recording() {
    let lab = Lab::new();
    lab.put("a.tif", small());
    lab.put("b.tif", small());
    lab.put("b.z.csv", "n\n1\n");
    let document = lab.document(&["--json"], 0);
    let b = lab.image(&document, "b.tif");
    let out = lab.dir.join("out");
    let export = |to: &Path, code| {
        let run = Run::new(["dataset", "export", "--json", "--overwrite"]).arg(to).dataset(&lab.data());
        run.output().expect_code(code).json()
    };
    export(&out, 0);
    let folder = out.join("images").join(&b);
    fs::write(folder.join("notes.md"), "mine").unwrap();
    let whole = snapshot(&folder);
    // An artifact that cannot be read, behind pixels that can.
    Fixture::at(lab.data()).cut(&format!("images/{b}/analysis/z.parquet"));
    assert_eq!(export(&out, 3)["failed"], 1);
    assert_untouched(&whole, &snapshot(&folder));
    let fresh = lab.dir.join("fresh");
    assert_eq!(export(&fresh, 3)["failed"], 1);
    let left: Vec<_> = fs::read_dir(fresh.join("images")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [lab.image(&document, "a.tif").as_str()]);
    for (from, count) in [(&out, 2), (&fresh, 1)] {
        let copy = Lab::new();
        copy_tree(from, &copy.files());
        assert_eq!(copy.document(&["--json"], 0)["added"], count);
    }
    // Once it is repaired, it is overwritten, and files that are not ours stay.
    lab.dataset().find_record(&b).unwrap().put_parquet("z", &batch([("n", ints([5]))])).unwrap();
    export(&out, 0);
    assert_eq!(fs::read_to_string(folder.join("z.csv")).unwrap(), "n\n5\n");
    assert_eq!(fs::read_to_string(folder.join("notes.md")).unwrap(), "mine");
    let hidden = |folder: &Path| {
        fs::read_dir(folder).unwrap().any(|e| e.unwrap().file_name().to_string_lossy().starts_with('.'))
    };
    assert!(!hidden(&folder) && !hidden(&out.join("images")) && !hidden(&out.join("tables")));

    // Killed: each folder with a TIFF has all that its listing names.
    let many = Lab::new();
    for number in 0..12 {
        many.put(&format!("{number}.tif"), Tiff::new(page(900, 40, 2, Kind::Uint, number)).bytes());
        many.put(&format!("{number}.z.csv"), "n\n1\n");
    }
    many.document(&["--json"], 0);
    let run = |out: &Path| Run::new(["dataset", "export", "--overwrite"]).arg(out).dataset(&many.data());
    let begun = Instant::now();
    run(&many.dir.join("measured")).output().expect_code(0);
    let took = begun.elapsed();
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut checked = 0;
    for kill in 0..8 {
        // Once it has written a folder; then at a random moment, over what the one before it left.
        let out = many.dir.join(format!("out{}", kill / 2));
        if kill % 2 == 0 {
            let mut child = run(&out).start(many.dir.path());
            wait_for("a folder", || {
                let mut folders = fs::read_dir(out.join("images")).into_iter().flatten().flatten();
                let is_there = |folder: fs::DirEntry| {
                    !folder.file_name().to_string_lossy().starts_with('.') && folder.path().join("image.tif").exists()
                };
                folders.any(is_there).then_some(())
            });
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            kill_in_the_midst(took.mul_f64(random.f64()), || (run(&out).start(many.dir.path()), ()));
        }
        for entry in fs::read_dir(out.join("images")).into_iter().flatten() {
            let folder = entry.unwrap().path();
            if folder.file_name().unwrap().to_string_lossy().starts_with('.') || !folder.join("image.tif").exists() {
                continue;
            }
            checked += 1;
            let listing: Value = serde_json::from_slice(&fs::read(folder.join("export.json")).unwrap()).unwrap();
            let files = listing["artifacts"].as_array().unwrap();
            assert_eq!(files.len(), 3, "KYMHOST_SEED={seed}");
            for file in files {
                assert!(
                    folder.join(file["file"].as_str().unwrap()).is_file(),
                    "KYMHOST_SEED={seed}: {file} of {folder:?}"
                );
            }
        }
    }
    assert!(checked > 0, "KYMHOST_SEED={seed}: {checked} folders looked at");
}

/// How many changes of the disk a run makes, by the log that builds for debugging write.
fn changes_of_the_disk(run: Run, log: &Path) -> usize {
    run.env("KYMHOST_FAULT_LOG", log).output().expect_code(0);
    let changes = fs::read_to_string(log).expect("the log of changes").lines().count();
    assert!(changes > 30, "the program numbers its changes only when built for debugging");
    changes
}

/// `NAME.<part>/<name>.csv` next to `NAME.tif` is an artifact with a `/` in its name, and an analysis finds it.
#[test]
fn companion_folder_gives_names_with_slash() {
    let lab = Lab::new();
    lab.put("a.tif", small());
    let mut csv = "roi_id,channel,time,velocity\n".to_owned();
    for sample in 0..400 {
        let speed = if sample < 200 { 4.0 } else { 1.0 };
        csv += &format!("1,1,{},{}\n", f64::from(sample) * 0.01, speed + f64::from(sample % 3) * 0.01);
    }
    lab.put("a.radon_velocity/velocity.csv", &csv);
    lab.put("a.radon_velocity/deep/er/rows.csv.gz", gzip(b"n\n1\n"));
    lab.put("a.event_detection/params.json", r#"{"zero_gap": {"eps0": 0.1}}"#);
    lab.put("a.masks/m.npy", npy("|u1", "False", "(2,)", &[1, 2]));
    lab.put("a.masks/.hidden.json", "{");
    lab.put("a.masks/readme.txt", "no artifact");
    // A folder with recordings is not a folder of artifacts, whatever its name.
    lab.put("a.more/b.tif", small());
    lab.put("a.more/b.json", r#"{"rois": [{"id": 5}]}"#);
    lab.put("a.more/c.json", "{}");
    let document = lab.document(&["--json"], 0);
    assert_eq!(document["added"], 2);
    let id = lab.image(&document, "files/a.tif");
    let names = |id: &str| -> Vec<String> {
        lab.dataset().find_record(id).unwrap().artifacts().unwrap().into_iter().map(|artifact| artifact.name).collect()
    };
    let own = ["event_detection/params", "masks/m", "metadata", "provenance", "radon_velocity/deep/er/rows"];
    assert_eq!(names(&id), [&own[..], &["radon_velocity/velocity"]].concat());
    assert_eq!(names(&lab.image(&document, "a.more/b.tif")), ["metadata", "provenance"]);
    // The analysis runs on what kymflow measured, with these params, and its events are there to be indexed.
    let run = |plugin: &str, code: i32| {
        let run = Run::new(["run", "--json", "--plugin"]).arg(library(plugin)).args(["--image", &id]);
        run.dataset(&lab.data()).output().expect_code(code).json()
    };
    assert_eq!(run("event_detection", 0)["stats"]["updated"], 1);
    let record = lab.dataset().find_record(&id).unwrap();
    let events = record.parquet("velocity_events/events").unwrap().unwrap();
    assert!(events.num_rows() >= 1, "the speed falls from 4 to 1");
    let params: Value = serde_json::from_slice(&record.json_bytes("velocity_events/params").unwrap().unwrap()).unwrap();
    assert_eq!(params["zero_gap"]["eps0"], json!(0.1));
    assert_eq!(run("velocity_events", 0)["stats"]["updated"], 1);
    // Files in the folder are watched like those next to the recording: other params, other events.
    assert_eq!(lab.document(&["--json"], 0)["unchanged"], 2);
    lab.put("a.event_detection/params.json", r#"{"zero_gap": {"eps0": 0.25}}"#);
    let document = lab.document(&["--json"], 0);
    let why = file(&document, "files/a.tif")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("a.event_detection/params.json was modified"), "{why}");
    assert_eq!(run("event_detection", 0)["stats"]["updated"], 1);
    // kymflow's own params of the events belong to somebody else: the analysis does not overwrite them unasked.
    lab.put("a.velocity_events/params.json", r#"{"from": "kymflow"}"#);
    assert_eq!(lab.document(&["--json"], 0)["reingested"], 1);
    let record = lab.dataset().find_record(&id).unwrap();
    assert_eq!(record.json("velocity_events/params").unwrap(), Some(Json::parse(br#"{"from": "kymflow"}"#).unwrap()));
    // Two files that become one artifact.
    lab.put("a.masks/m.npy", npy("|u1", "False", "(2,)", &[3, 4]));
    lab.put(
        "a.radon_velocity/velocity.parquet",
        parquet_bytes(&batch([("n", ints([1]))]), parquet::basic::Compression::SNAPPY),
    );
    let refused = lab.document(&["--json"], 3);
    let message = file(&refused, "files/a.tif")["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("both become the artifact 'radon_velocity/velocity'"), "{message}");
}

/// A deleted file is a change that is reported once. What came from it stays, also if the recording is read
/// again later.
#[test]
fn artifact_of_deleted_file_stays() {
    let lab = Lab::new();
    let touch = |name: &str, second: u64| {
        let file = fs::File::options().append(true).open(lab.files().join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
    };
    lab.put("a.tif", small());
    let header = json!({"voxels": [0.5, 2.0], "labels": ["t", "s"]});
    let rois = json!([{"id": 7, "dim0_start": 1, "dim0_stop": 8, "dim1_start": 2, "dim1_stop": 4}]);
    lab.put("a.json", json!({"header": header, "experiment_metadata": {"species": "mouse"}, "rois": rois}).to_string());
    lab.put("a.ev.csv", "n\n1\n");
    lab.put("b.tif", small());
    lab.put("b.txt", HEADER);
    lab.put("c.tif", small());
    lab.put("c.json", r#"{"rois": [{"id": 1}]}"#);
    let first = lab.document(&["--json"], 0);
    let ids = ["a.tif", "b.tif", "c.tif"].map(|name| lab.image(&first, name));
    let json_of = |id: &str, name: &str| -> Value {
        let record = lab.dataset().find_record(id).unwrap();
        serde_json::from_slice(&record.json_bytes(name).unwrap().unwrap()).unwrap()
    };
    let metadata = |at: usize| json_of(&ids[at], "metadata");
    let before = [metadata(0), metadata(1)];
    for name in ["a.json", "a.ev.csv", "b.txt", "c.json"] {
        fs::remove_file(lab.files().join(name)).unwrap();
    }
    // Someone has edited the ROIs of one in the dataset.
    let mut edited = metadata(2);
    edited["rois"][0]["name"] = json!("mine");
    Fixture::at(lab.data()).image(&ids[2]).json("metadata", &edited);
    for args in [&["--json", "--dry-run"][..], &["--json", "--changed", "skip"], &["--json"]] {
        let document = lab.document(args, 0);
        let why = |name: &str| file(&document, name)["why"].as_str().unwrap_or_default().to_owned();
        assert_eq!(why("a.tif"), "a.ev.csv is gone", "{document:#}");
        assert_eq!((why("b.tif"), why("c.tif")), ("b.txt is gone".to_owned(), "c.json is gone".to_owned()));
        if !args.contains(&"skip") {
            let notes = file(&document, "a.tif")["notes"].to_string();
            assert!(notes.contains("a.json is gone; what came from it stays"), "{notes}");
            assert!(notes.contains("a.ev.csv is gone; what came from it stays"), "{notes}");
        }
    }
    let stays = || {
        assert_eq!(metadata(0), before[0]);
        assert_eq!(metadata(1), before[1]);
        assert_eq!(metadata(2)["rois"], edited["rois"]);
        assert!(lab.dataset().find_record(&ids[0]).unwrap().parquet("ev").unwrap().is_some());
    };
    stays();
    // Told once, and not forgotten: the recording is read again, and again.
    assert_eq!(lab.document(&["--json"], 0)["unchanged"], 3);
    for second in [1, 2] {
        touch("a.tif", second);
        touch("b.tif", second);
        touch("c.tif", second);
        assert_eq!(lab.document(&["--json"], 0)["reingested"], 3);
        stays();
    }
    // Longer pixels: what was said of a line stays true, what is computed from it is new.
    lab.put("a.tif", Tiff::new(page(18, 5, 2, Kind::Uint, 1)).bytes());
    lab.document(&["--json"], 0);
    let header = &metadata(0)["header"];
    assert_eq!((&header["shape"], &header["voxels"]), (&json!([18, 5]), &json!([0.5, 2.0])));
    assert_eq!((&header["physical_size"], &header["labels"]), (&json!([9.0, 10.0]), &json!(["t", "s"])));
    assert_eq!(metadata(0)["rois"], before[0]["rois"]);
    // They come back: they count again, even if they are unchanged.
    lab.put("a.json", "{}");
    lab.put("a.ev.csv", "n\n2\n");
    let document = lab.document(&["--json"], 0);
    assert!(file(&document, "a.tif")["why"].as_str().unwrap().contains("is new"), "{document:#}");
    assert_eq!(metadata(0)["experiment_metadata"], json!({}), "a JSON without content resets the metadata");
    assert!(metadata(0)["header"]["voxels"].is_null());
    let rows = lab.dataset().find_record(&ids[0]).unwrap().parquet("ev").unwrap().unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), 2);
}

/// A dry run reads everything: it reports what would fail, and has the exit code of the run.
#[test]
fn ingest_dry_run_reports_failures() {
    let lab = Lab::new();
    let good = small();
    lab.put("good.tif", &good);
    lab.put("known.tif", &good);
    lab.put("known.txt", HEADER);
    lab.document(&["--json"], 0);
    let lzw = Tiff { packing: Packing::Lzw, ..Tiff::new(page(90, 50, 2, Kind::Uint, 1)) }.bytes();
    lab.put("text.tif", "no TIFF");
    lab.put("cut.tif", &lzw[lzw.len() / 2..]);
    lab.put("json.tif", &good);
    lab.put("json.json", "{");
    lab.put("csv.tif", &good);
    lab.put("csv.a.csv", "a,b\n1,2,3\n");
    lab.put("long.tif", &good);
    lab.put("long.txt", vec![b'x'; 2 << 20]);
    lab.put("twice.tif", &good);
    lab.put("twice.a.csv", "a\n1\n");
    lab.put("twice.a.parquet", parquet_bytes(&batch([("n", ints([1]))]), parquet::basic::Compression::SNAPPY));
    lab.put("known.json", "[]");
    std::os::unix::fs::symlink("nowhere.tif", lab.files().join("dangling.tif")).unwrap();
    lab.put("new.tif", &good);
    lab.put("noted.tif", &good);
    lab.put("noted.txt", "notes of mine");
    let before = snapshot(&lab.data());
    let dry = lab.document(&["--json", "--dry-run"], 3);
    assert_untouched(&before, &snapshot(&lab.data()));
    // Also without a dataset, and in words.
    let nowhere = lab.dir.join("none.zarr");
    let none = Run::new(["dataset", "ingest", "--json", "--dry-run"]).arg(lab.files()).dataset(&nowhere).output();
    let none = none.expect_code(3).json();
    assert!(!nowhere.exists());
    lab.ingest(&["--dry-run"]).expect_code(3).expect_stderr(&["json.tif: metadata: ", "2 would be added", "8 failed"]);
    let real = lab.document(&["--json"], 3);
    let told = |document: &Value| -> BTreeMap<String, Value> {
        let files = document["files"].as_array().unwrap().iter();
        let mut all: BTreeMap<String, Value> =
            files.map(|file| (file["path"].as_str().unwrap().to_owned(), file.clone())).collect();
        all.values_mut().for_each(|file| drop(file.as_object_mut().unwrap().remove("image_id")));
        all
    };
    assert_eq!(told(&dry), told(&real));
    for count in ["added", "reingested", "unchanged", "failed", "not_done"] {
        assert_eq!(dry[count], real[count], "{count}");
    }
    assert_eq!((&real["added"], &real["failed"], &real["unchanged"]), (&json!(2), &json!(8), &json!(1)));
    assert_eq!((&none["added"], &none["failed"]), (&json!(3), &json!(8)));
}

/// Damaged pixels in the dataset do not prevent the import of a recording that has changed.
#[test]
fn changed_file_replaces_damaged_pixels() {
    let lab = Lab::new();
    lab.put("a.tif", small());
    let id = lab.image(&lab.document(&["--json"], 0), "a.tif");
    Fixture::at(lab.data()).cut(&format!("images/{id}/data/0.0"));
    assert_ne!(lab.dataset().validate(), []);
    let new = page(12, 5, 2, Kind::Uint, 8);
    lab.put("a.tif", Tiff::new(new.clone()).bytes());
    assert_eq!(lab.document(&["--json"], 0)["reingested"], 1);
    assert!(lab.dataset().find_record(&id).unwrap().pixels().unwrap().unwrap().bytes() == new.bytes);
}

/// A moved folder is ingested as new images, but not without a word.
#[test]
fn moved_recording_is_reported() {
    let lab = Lab::new();
    lab.put("old/a.tif", small());
    lab.put("old/b.tif", Tiff::new(page(30, 5, 2, Kind::Uint, 1)).bytes());
    let first = lab.document(&["--json"], 0);
    fs::rename(lab.files().join("old"), lab.files().join("new")).unwrap();
    lab.put("new/c.tif", Tiff::new(page(40, 5, 2, Kind::Uint, 1)).bytes());
    for args in [&["--json", "--dry-run"][..], &["--json"]] {
        let document = lab.document(args, 0);
        assert_eq!(document["added"], 3);
        for name in ["a.tif", "b.tif"] {
            let notes = file(&document, name)["notes"].to_string();
            let id = lab.image(&first, name);
            assert!(notes.contains(&format!("files/old/{name}, which is gone")) && notes.contains(&id), "{notes}");
        }
        assert!(file(&document, "c.tif")["notes"].is_null());
    }
    // Known now: not reported again.
    assert_eq!(lab.document(&["--json"], 0)["unchanged"], 3);
}

/// Killed before or in the midst of any change of the disk: no image is half, the next run completes it,
/// nothing is there twice.
#[test]
fn ingest_killed_at_few_changes_recovers() {
    killed_at_any_change(6);
}

/// The same, many times.
#[test]
#[ignore = "slow"]
fn ingest_killed_at_many_changes_recovers() {
    killed_at_any_change(60);
}

fn killed_at_any_change(kills: usize) {
    const FILES: usize = 24;
    let lab = Lab::new();
    let mut expected = Vec::new();
    for number in 0..FILES {
        let page = page(1500, 6, 2, Kind::Uint, number as u64);
        lab.put(&format!("{number:02}.tif"), Tiff { packing: Packing::Deflate, ..Tiff::new(page.clone()) }.bytes());
        lab.put(&format!("{number:02}.side.csv"), format!("n\n{number}\n"));
        expected.push(page.bytes);
    }
    let measured = lab.dir.join("measured.zarr");
    let run = Run::new(["dataset", "ingest"]).arg(lab.files()).dataset(&measured);
    let changes = changes_of_the_disk(run, &lab.dir.join("changes"));
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut killed, mut partial) = (0, 0);
    for kill in 0..kills {
        let data = lab.dir.join(format!("{kill}.zarr"));
        let run = || Run::new(["dataset", "ingest", "--json"]).arg(lab.files()).dataset(&data);
        let fault = format!("{}:{}", random.usize(1..changes), ["KILL", "TORN"][kill % 2]);
        // Workers share the work as it comes, so that a run may make a change less than another.
        killed += usize::from(run().env("KYMHOST_FAULT", fault).output().signal() == Some(9));
        // A kill before the dataset's last file leaves a folder that is none.
        if data.exists() && Dataset::open(&data).is_err() {
            fs::remove_dir_all(&data).unwrap();
        }
        if data.exists() {
            let dataset = Dataset::open(&data).unwrap();
            let ids = dataset.image_ids().unwrap();
            partial += usize::from(!ids.is_empty() && ids.len() < FILES);
            assert_eq!(dataset.validate(), [], "KYMHOST_SEED={seed}, kill {kill}");
            for id in ids {
                let record = dataset.find_record(&id).unwrap();
                assert!(
                    record.parquet("side").unwrap().is_some(),
                    "KYMHOST_SEED={seed}, kill {kill}: an image is half"
                );
                assert!(
                    record.json("metadata").unwrap().is_some(),
                    "KYMHOST_SEED={seed}, kill {kill}: an image is half"
                );
            }
        }
        let document = run().output().expect_code(0).json();
        assert_eq!(document["files"].as_array().unwrap().len(), FILES);
        let dataset = Dataset::open(&data).unwrap();
        assert_eq!(
            dataset.image_ids().unwrap().len(),
            FILES,
            "KYMHOST_SEED={seed}, kill {kill}: nothing is there twice or missing"
        );
        let sources = dataset.read_table("sources", None).unwrap().unwrap();
        assert_eq!(sources.num_rows(), FILES, "KYMHOST_SEED={seed}, kill {kill}");
        for (number, bytes) in expected.iter().enumerate() {
            let id = lab.image(&document, &format!("{number:02}.tif"));
            assert!(dataset.find_record(&id).unwrap().pixels().unwrap().unwrap().bytes() == bytes);
        }
        fs::remove_dir_all(&data).unwrap();
    }
    assert!(killed > kills / 2, "KYMHOST_SEED={seed}: only {killed} runs were killed");
    eprintln!("{killed} of {kills} were killed, {partial} of them with some images done");
}

/// A signal ends it after what is done is published.
#[test]
fn ingest_signal_publishes_finished_images() {
    let lab = Lab::new();
    for number in 0..60 {
        lab.put(&format!("{number:02}.tif"), Tiff::new(page(4000, 40, 2, Kind::Uint, number)).bytes());
    }
    let run = || Run::new(["dataset", "ingest", "--jobs", "1"]).arg(lab.files()).dataset(&lab.data());
    let log = lab.dir.join("changes");
    let mut brake = Brake::new(&log);
    let mut child = run().env("KYMHOST_FAULT_LOG", &log).start(lab.dir.path());
    // Until the first image is being written, under a temporary name. The brake holds the others back.
    let has_folder = |place: &str| {
        let entries = fs::read_dir(lab.data().join(place)).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| entry.path().is_dir())
    };
    while !has_folder("images") && !has_folder("index/kymhost/tmp") {
        brake.advance();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    brake.release();
    let status = wait(&mut child, Duration::from_secs(600)).expect("it ends");
    assert_eq!(status.code(), Some(130));
    let done = lab.dataset().image_ids().unwrap().len();
    assert!((1..60).contains(&done), "{done} images were published");
    assert_eq!(lab.dataset().read_table("sources", None).unwrap().unwrap().num_rows(), done);
    let rest = run().arg("--json").output().expect_code(0).json();
    assert_eq!(rest["added"].as_u64().unwrap() as usize + done, 60);
}

/// The real recordings: pixels are the TIFFs', the metadata are the facts of the JSON.
#[test]
fn real_recordings_keep_pixels_and_metadata() {
    let Some(folder) = shared().map(|shared| shared.join("linescans")).filter(|folder| folder.is_dir()) else { return };
    let lab = Lab::new();
    let run = || Run::new(["dataset", "ingest", "--json"]).arg(&folder).dataset(&lab.data());
    let document = run().output().expect_code(0).json();
    let tiffs: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "tif"))
        .collect();
    assert!(!tiffs.is_empty());
    assert_eq!(document["added"], tiffs.len());
    for path in &tiffs {
        let name = path.file_name().unwrap().to_str().unwrap();
        let record = lab.dataset().find_record(&lab.image(&document, name)).unwrap();
        let pixels = record.pixels().unwrap().unwrap();
        assert!(pixels.bytes() == plain_pixels(&fs::read(path).unwrap()), "{name}: the pixels are others");
        let theirs: Value = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let ours: Value = serde_json::from_slice(&record.json_bytes("metadata").unwrap().unwrap()).unwrap();
        assert_eq!(ours["version"], "2.0");
        for (member, value) in theirs["header"].as_object().unwrap() {
            assert_eq!(&ours["header"][member], value, "{name}: {member}");
        }
        assert!(ours["header"]["acquired_local_epoch_ns"].as_i64().unwrap() > 1_600_000_000_000_000_000, "{name}");
        assert_eq!(ours["experiment_metadata"], theirs["experiment_metadata"]);
        let rois = theirs["rois"].as_array().unwrap();
        assert_eq!(ours["rois"].as_array().unwrap().len(), rois.len());
        for (ours, theirs) in ours["rois"].as_array().unwrap().iter().zip(rois) {
            assert_eq!((&ours["roi_id"], &ours["roi_type"]), (&theirs["id"], &json!("rect")));
            let data = json!({"x0": theirs["dim1_start"], "x1": theirs["dim1_stop"],
                "y0": theirs["dim0_start"], "y1": theirs["dim0_stop"]});
            assert_eq!(ours["data"], data, "{name}");
            assert_eq!(ours["meta"]["img_mean"], theirs.get("img_mean").cloned().unwrap_or(Value::Null));
        }
        let radon = record.parquet("radon").unwrap().unwrap();
        assert!(radon.num_rows() > 1000);
        // The header alone gives the same voxels, to the digits that it has.
        let alone = lab.dir.join("alone");
        fs::create_dir_all(&alone).unwrap();
        fs::copy(path, alone.join(name)).unwrap();
        fs::copy(path.with_extension("txt"), alone.join(name).with_extension("txt")).unwrap();
    }
    let other = lab.dir.join("alone.zarr");
    let document = Run::new(["dataset", "ingest", "--json"])
        .arg(lab.dir.join("alone"))
        .dataset(&other)
        .output()
        .expect_code(0)
        .json();
    for path in &tiffs {
        let theirs: Value = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let id = lab.image(&document, path.file_name().unwrap().to_str().unwrap());
        let record = Dataset::open(&other).unwrap().find_record(&id).unwrap();
        let ours: Value = serde_json::from_slice(&record.json_bytes("metadata").unwrap().unwrap()).unwrap();
        for axis in 0..2 {
            let found = ours["header"]["voxels"][axis].as_f64().unwrap();
            let expected = theirs["header"]["voxels"][axis].as_f64().unwrap();
            assert!((found / expected - 1.0).abs() < 1e-12, "{}: {found} {expected}", path.display());
        }
    }
    assert_eq!(run().output().expect_code(0).json()["unchanged"], tiffs.len());
}

/// The pixels of a TIFF of 16-bit strips without compression, by the few tags that say where they stand.
fn plain_pixels(file: &[u8]) -> Vec<u8> {
    let little = &file[..2] == b"II";
    let number = |at: usize, bytes: usize| -> usize {
        let mut wide = [0u8; 8];
        for (place, byte) in file[at..at + bytes].iter().enumerate() {
            wide[if little { place } else { bytes - 1 - place }] = *byte;
        }
        u64::from_le_bytes(wide) as usize
    };
    let directory = number(4, 4);
    let values = |tag: usize| -> Vec<usize> {
        let entry = (0..number(directory, 2)).map(|n| directory + 2 + n * 12).find(|at| number(*at, 2) == tag);
        let Some(entry) = entry else { return Vec::new() };
        let size = if number(entry + 2, 2) == 3 { 2 } else { 4 };
        let count = number(entry + 4, 4);
        let at = if count * size <= 4 { entry + 8 } else { number(entry + 8, 4) };
        (0..count).map(|n| number(at + n * size, size)).collect()
    };
    assert!(matches!(values(259).as_slice(), [] | [1]), "a packed TIFF");
    let mut pixels = Vec::new();
    for (offset, count) in values(273).into_iter().zip(values(279)) {
        pixels.extend_from_slice(&file[offset..offset + count]);
    }
    if !little {
        pixels.chunks_exact_mut(2).for_each(<[u8]>::reverse);
    }
    pixels
}

/// One row an image, also of broken ones, in every form.
#[test]
fn view_table_lists_recordings() {
    let lab = Lab::new();
    lab.put("a.tif", small());
    lab.put("a.txt", HEADER);
    lab.put(
        "a.json",
        json!({"experiment_metadata": {"note": "left, \"vessel\""}, "rois": [{"id": 1}, {"id": 2}]}).to_string(),
    );
    for name in ["b.tif", "c.tif", "d.tif", "e.tif"] {
        lab.put(name, small());
    }
    let document = lab.document(&["--json"], 0);
    let ids: Vec<String> = ["a", "b", "c", "d", "e"].map(|name| lab.image(&document, &format!("{name}.tif"))).to_vec();
    let events = |ids: &[&str]| batch([("image_id", texts(ids.iter().copied())), ("v", ints(ids.iter().map(|_| 1)))]);
    lab.dataset().write_table("kym_events", &events(&[&ids[0], &ids[1], &ids[0], "gone"])).unwrap();
    lab.dataset().write_table("kym_nobody", &batch([("v", ints([1]))])).unwrap();
    let view = |args: &[&str]| Run::new(["dataset", "view-table"]).dataset(&lab.data()).args(args).output();
    let rows = |output: &Output| -> BTreeMap<String, Value> {
        let all = output.json();
        let all = all.as_array().unwrap().iter();
        all.map(|row| (row["image_id"].as_str().unwrap().to_owned(), row.clone())).collect()
    };
    let before = snapshot(&lab.data());
    let whole = view(&["--json"]).expect_code(0);
    assert_untouched(&before, &snapshot(&lab.data()));
    let path = fs::canonicalize(lab.files().join("a.tif")).unwrap();
    assert_eq!(
        rows(&whole)[&ids[0]],
        json!({"image_id": ids[0], "original_path": path, "acquired_local": "2025-07-22T12:13:14.620",
            "shape": "9 x 5", "dtype": "uint16", "axes": "y x", "n_rois": 2, "notes": "left, \"vessel\"",
            "has_metadata": true, "has_voxels": true, "has_experiment_metadata": true, "has_rois": true,
            "has_provenance": true, "acquired_local_epoch_ns": 1_753_186_394_620_000_000_i64,
            "n_rows_kym_events": 2, "n_rows_kym_nobody": 0, "n_rows_sources": 1, "error": null})
    );
    let b = &rows(&whole)[&ids[1]];
    assert_eq!(
        (&b["has_voxels"], &b["has_experiment_metadata"], &b["notes"]),
        (&json!(false), &json!(false), &json!(null))
    );
    assert_eq!((&b["n_rows_kym_events"], &b["acquired_local"]), (&json!(1), &json!(null)));

    // Broken in every way: the others are as they were.
    let fixture = Fixture::at(lab.data());
    fixture.put(&format!("images/{}/analysis/metadata.json", ids[1]), "{");
    fixture.put(&format!("images/{}/data/.zarray", ids[2]), "[]");
    fixture.remove(&format!("images/{}/data", ids[3]));
    fixture.remove(&format!("images/{}/analysis", ids[4]));
    fixture.cut("tables/kym_nobody.parquet");
    let broken = view(&["--json"])
        .expect_code(3)
        .expect_stderr(&["kym_nobody cannot be read", "3 recordings cannot be read completely"]);
    let broken = rows(&broken);
    assert_eq!(broken.len(), 5);
    for (number, says) in [(1, "metadata.json"), (2, ".zarray"), (3, "no pixels")] {
        let row = &broken[&ids[number]];
        assert!(row["error"].as_str().unwrap().contains(says), "{row:#}");
        assert_eq!(row["n_rows_sources"], 1);
    }
    assert_eq!((&broken[&ids[1]]["shape"], &broken[&ids[1]]["n_rois"]), (&json!("9 x 5"), &json!(null)));
    assert_eq!((&broken[&ids[2]]["shape"], &broken[&ids[2]]["n_rois"]), (&json!(null), &json!(1)));
    let bare = &broken[&ids[4]];
    assert_eq!(
        (&bare["error"], &bare["has_metadata"], &bare["has_provenance"]),
        (&json!(null), &json!(false), &json!(false))
    );
    assert_eq!(broken[&ids[0]]["n_rows_kym_nobody"], json!(null));

    // Every form, to a file and to standard output.
    view(&[]).expect_code(3).expect_stdout(&["image_id", "9 x 5", &ids[0]]);
    view(&["--limit", "2"]).expect_code(3).expect_stderr(&["and 3 more rows"]);
    let out = lab.dir.join("view.csv");
    view(&["--format", "csv", "--output", out.to_str().unwrap()]).expect_code(3);
    let csv = fs::read_to_string(&out).unwrap();
    assert!(
        csv.starts_with("image_id,original_path,acquired_local,shape,") && csv.contains("\"left, \"\"vessel\"\"\""),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 6);
    let parquet = view(&["--format", "parquet"]).expect_code(3);
    assert_eq!(&parquet.stdout_bytes()[..4], b"PAR1");
    view(&["--json", "--format", "csv"]).expect_code(2);
}

/// Metadata that is not in the expected form is reported, and the cell stays empty.
#[test]
fn view_table_reports_broken_metadata() {
    let lab = Lab::new();
    let cases = [
        ("list", json!([]), "it is not an object"),
        ("header", json!({"header": 5}), "'header' is not an object"),
        ("experiment", json!({"experiment_metadata": [1]}), "'experiment_metadata' is not an object"),
        ("rois", json!({"rois": {"a": 1}}), "'rois' is not a list"),
        ("time", json!({"header": {"acquired_local_epoch_ns": "noon"}}), "'acquired_local_epoch_ns' is not an integer"),
        ("half", json!({"header": {"acquired_local_epoch_ns": 0.5}}), "'acquired_local_epoch_ns' is not an integer"),
        ("float", json!({"header": {"acquired_local_epoch_ns": 1.753_186_394_62e18}}), ""),
        ("empty", json!({}), ""),
        ("nulls", json!({"header": null, "rois": null, "experiment_metadata": null}), ""),
    ];
    for (name, ..) in &cases {
        lab.put(&format!("{name}.tif"), small());
    }
    let document = lab.document(&["--json"], 0);
    for (name, metadata, _) in &cases {
        let id = lab.image(&document, &format!("{name}.tif"));
        Fixture::at(lab.data()).image(&id).json("metadata", metadata);
    }
    let view = Run::new(["dataset", "view-table", "--json"]).dataset(&lab.data()).output().expect_code(3).json();
    for (name, metadata, says) in &cases {
        let id = lab.image(&document, &format!("{name}.tif"));
        let row = view.as_array().unwrap().iter().find(|row| row["image_id"] == id).unwrap();
        match row["error"].as_str() {
            None => assert_eq!(*says, "", "{name}: {row:#}"),
            Some(error) => assert!(!says.is_empty() && error.contains(says), "{name}: {row:#}"),
        }
        assert_eq!((&row["shape"], &row["has_metadata"]), (&json!("9 x 5"), &json!(true)), "{name}");
        let rois = if metadata["rois"].is_object() { json!(null) } else { json!(0) };
        assert_eq!(row["n_rois"], rois, "{name}");
        let time = if *name == "float" { json!(1_753_186_394_620_000_000_i64) } else { json!(null) };
        assert_eq!(row["acquired_local_epoch_ns"], time, "{name}");
    }
}
