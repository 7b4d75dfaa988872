//! Both sides of the boundary in one process: an indexer's object is called with a served record.

use super::contract::{ArrayAbi, ErrorAbi};
use super::*;
use crate::prelude::*;
use abi_stable::std_types::RSlice;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

/// A record with one of everything named `a`, something unreadable named `broken`, and a panic for `panic`.
struct Shelf;

fn shelf<T>(name: &str, value: T) -> Result<Option<T>> {
    match name {
        "a" => Ok(Some(value)),
        "broken" => Err(Error::new(ErrorKind::Unreadable, "key/broken cannot be read")),
        "panic" => panic!("the host's own panic"),
        _ => Ok(None),
    }
}

fn pixels() -> Array {
    Array::new(DType::UInt16, vec![2, 1], vec!["y".into(), "x".into()], vec![1, 0, 2, 0]).expect("an array")
}

static RELEASED: AtomicUsize = AtomicUsize::new(0);

/// Arrow C data with `rows` rows and no columns. It counts its releases.
fn c_table(rows: i64) -> Table {
    unsafe extern "C" fn release_array(array: *mut ArrowArray) {
        RELEASED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: called with the array that holds this callback.
        unsafe { (*array).release = None };
    }
    unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
        RELEASED.fetch_add(1, Ordering::SeqCst);
        // SAFETY: called with the schema that holds this callback.
        unsafe { (*schema).release = None };
    }
    static NO_BUFFERS: [usize; 1] = [0];
    let array = ArrowArray {
        length: rows,
        null_count: 0,
        offset: 0,
        n_buffers: 1,
        n_children: 0,
        buffers: NO_BUFFERS.as_ptr().cast_mut().cast::<*const c_void>(),
        children: std::ptr::null_mut(),
        dictionary: std::ptr::null_mut(),
        release: Some(release_array),
        private_data: std::ptr::null_mut(),
    };
    let schema = ArrowSchema {
        format: c"+s".as_ptr(),
        name: c"".as_ptr(),
        metadata: std::ptr::null(),
        flags: 0,
        n_children: 0,
        children: std::ptr::null_mut(),
        dictionary: std::ptr::null_mut(),
        release: Some(release_schema),
        private_data: std::ptr::null_mut(),
    };
    // SAFETY: a struct array without children, as the specification describes it.
    unsafe { Table::from_c_data(array, schema) }
}

impl HostRecord for Shelf {
    fn image_id(&self) -> &str {
        "image-1"
    }
    fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match name {
            "no_json" => Ok(Some(b"{".to_vec())),
            _ => shelf(name, br#"{"x": NaN}"#.to_vec()),
        }
    }
    fn key(&self, name: &str, kind: ArtifactKind) -> String {
        if kind == ArtifactKind::Json {
            format!("shelf/{name}.json")
        } else {
            String::new()
        }
    }
    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>> {
        match (name, kind) {
            ("csv_only", ArtifactKind::Csv) => Ok(Some(c_table(2))),
            _ => shelf(name, c_table(3)),
        }
    }
    fn pixels(&self) -> Result<Option<Array>> {
        Ok(Some(pixels()))
    }
    fn array(&self, name: &str) -> Result<Option<Array>> {
        shelf(name, pixels())
    }
    fn attributes(&self) -> Result<Vec<u8>> {
        Ok(br#"{"axes": ["y", "x"]}"#.to_vec())
    }
    fn artifacts(&self) -> Result<Vec<Artifact>> {
        Ok(vec![Artifact::new("a", ArtifactKind::Json), Artifact::new("b", ArtifactKind::Csv)])
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl HostRun for Log {
    fn cancelled(&self) -> bool {
        panic!("cancelled panics")
    }
    fn threads(&self) -> usize {
        0
    }
    fn log(&self, level: LogLevel, message: &str) {
        self.0.lock().expect("log").push(format!("{level:?} {message}"));
    }
    fn progress(&self, fraction: f64) {
        self.0.lock().expect("log").push(format!("{fraction}"));
    }
    fn put_json(&self, name: &str, text: &[u8]) -> Result<()> {
        self.put(name, String::from_utf8_lossy(text).into_owned())
    }
    fn put_table(&self, name: &str, table: Table) -> Result<()> {
        self.put(name, format!("{} rows", table.num_rows()))
    }
    fn put_array(&self, name: &str, array: Array) -> Result<()> {
        self.put(name, format!("{:?}", array.shape()))
    }
}

impl Log {
    fn put(&self, name: &str, what: String) -> Result<()> {
        match name {
            "panic" => panic!("the host's own panic"),
            "refused" => Err(Error::msg("not declared")),
            _ => {
                self.0.lock().expect("log").push(format!("{name}: {what}"));
                Ok(())
            }
        }
    }
}

/// A plugin reads through the boundary what the host has; errors and panics of the host become errors.
#[test]
fn served_record_gives_host_values() {
    let served = ServedRecord(Shelf);
    let record = served.to_record();
    assert_eq!(record.image_id(), "image-1");
    assert!(
        matches!(record.json("a"), Ok(Some(json)) if json.get("x").and_then(Json::as_f64).is_some_and(f64::is_nan))
    );
    assert_eq!(record.pixels(), Ok(Some(pixels())));
    assert_eq!(record.array("a"), Ok(Some(pixels())));
    assert_eq!(record.attributes(), Ok(Json::object([("axes", Json::from(vec!["y", "x"]))])));
    assert_eq!(
        record.artifacts(),
        Ok(vec![Artifact::new("a", ArtifactKind::Json), Artifact::new("b", ArtifactKind::Csv)])
    );
    let rows = |table: Result<Option<Table>>| table.map(|table| table.map(|table| table.num_rows()));
    for (name, table, parquet, csv) in
        [("a", Some(3), Some(3), Some(3)), ("csv_only", Some(2), None, Some(2)), ("none", None, None, None)]
    {
        assert_eq!(rows(record.table(name)), Ok(table), "{name}");
        assert_eq!(rows(record.parquet(name)), Ok(parquet), "{name}");
        assert_eq!(rows(record.csv(name)), Ok(csv), "{name}");
    }
    assert_eq!((record.json("none"), record.array("none"), record.metadata()), (Ok(None), Ok(None), Ok(None)));

    let kinds = |name: &str| {
        [
            record.json(name).map(drop),
            record.table(name).map(drop),
            record.parquet(name).map(drop),
            record.csv(name).map(drop),
            record.array(name).map(drop),
        ]
        .map(|result| result.map_err(|error| (error.kind(), error.message().to_owned())))
    };
    for result in kinds("broken") {
        assert_eq!(result, Err((ErrorKind::Unreadable, "key/broken cannot be read".into())));
    }
    for result in kinds("panic") {
        assert_eq!(result, Err((ErrorKind::Panicked, "the host's own panic".into())));
    }
    let error = record.json("no_json").expect_err("no JSON");
    assert_eq!(error.kind(), ErrorKind::Unreadable);
    assert!(error.message().contains("shelf/no_json.json"), "{error}");
    // A host that does not know the key: the text still names the artifact.
    assert_eq!(record.key("b", ArtifactKind::Csv), "the artifact 'b' of image image-1");
}

/// A panic of the host gives a safe default, and other calls still work.
#[test]
fn host_panic_does_not_cross() {
    let served = ServedRun(Log::default());
    let run = served.to_run();
    assert!(run.cancelled());
    assert_eq!(run.threads(), 1);
    run.log(LogLevel::Warn, "hm");
    run.progress(0.5);
    served.to_ref().log(200, "later".into());
    assert_eq!(*served.0 .0.lock().expect("log"), ["Warn hm", "0.5", "Debug later"]);
}

/// Artifacts reach the host; its refusals and panics become errors of the plugin.
#[test]
fn run_hands_over_artifacts() {
    let served = ServedRun(Log::default());
    let run = served.to_run();
    let put = |name: &str| {
        [
            run.put_json(name, &Json::object([("x", Json::Float(f64::NAN))])),
            run.put_table(name, c_table(4)),
            run.put_array(name, pixels()),
        ]
        .map(|result| result.map_err(|error| (error.kind(), error.message().to_owned())))
    };
    assert_eq!(put("a"), [const { Ok(()) }; 3]);
    assert_eq!(*served.0 .0.lock().expect("log"), ["a: {\n  \"x\": NaN\n}", "a: 4 rows", "a: [2, 1]"]);
    let failed = |kind, text: &str| [0; 3].map(|_| Err((kind, text.to_owned())));
    assert_eq!(put("refused"), failed(ErrorKind::Failed, "not declared"));
    assert_eq!(put("panic"), failed(ErrorKind::Panicked, "the host's own panic"));
    let unknown = ArrayAbi { dtype: 99, ..ArrayAbi::from(pixels()) };
    let refused = served.to_ref().put_array("a".into(), unknown).into_result();
    assert_eq!(refused.map_err(|error| error.kind), Err(ErrorKind::Unsupported as u8));
}

/// An indexer that does nothing, with these constants.
macro_rules! indexer_with {
    ($name:ident, $marker:literal, $writes:expr) => {
        struct $name;
        impl Indexer for $name {
            const NAME: &'static str = "own";
            const ANALYSIS_VERSION: &'static str = "tests.own@1";
            const MARKER: &'static str = $marker;
            const WRITES: &'static [Output] = $writes;
            fn params(&self, _record: &Record<'_>) -> Result<Json> {
                Ok(Json::Null)
            }
            fn extract_rows(&self, _record: &Record<'_>, _run: &Run<'_>) -> Result<Table> {
                Table::builder().build()
            }
        }
    };
}

/// The marker is a JSON artifact; without a name of its own it has the default name.
#[test]
fn writes_with_run_marker_is_refused() {
    use crate::card::CardEntry;
    indexer_with!(ByDefault, "", &[Output::json("own_run")]);
    indexer_with!(DefaultTable, "", &[Output::table("own_run")]);
    indexer_with!(Explicit, "mine", &[Output::json("mine")]);
    indexer_with!(ExplicitTable, "mine", &[Output::table("mine"), Output::array("mine")]);
    indexer_with!(ExplicitAndDefault, "mine", &[Output::json("own_run")]);
    indexer_with!(Longer, "", &[Output::json("own_runs"), Output::json("own_ru"), Output::json("own/own_run")]);
    let is_refused = |of: fn() -> CardEntry| std::panic::catch_unwind(of).is_err();
    for (indexer, of, expected) in [
        ("ByDefault", CardEntry::of::<ByDefault> as fn() -> CardEntry, true),
        ("DefaultTable", CardEntry::of::<DefaultTable>, false),
        ("Explicit", CardEntry::of::<Explicit>, true),
        ("ExplicitTable", CardEntry::of::<ExplicitTable>, false),
        ("ExplicitAndDefault", CardEntry::of::<ExplicitAndDefault>, false),
        ("Longer", CardEntry::of::<Longer>, false),
    ] {
        assert_eq!(is_refused(of), expected, "{indexer}");
    }
}

/// The trait object lists what the indexer declares, and nothing if it declares nothing.
#[test]
fn indexer_object_lists_declarations() {
    struct Maker;
    impl Indexer for Maker {
        const NAME: &'static str = "maker";
        const ANALYSIS_VERSION: &'static str = "maker@1";
        const WRITES: &'static [Output] = &[Output::json("m/p"), Output::table("m/t"), Output::array("m/a")];
        const READS: &'static [&'static str] = &["other/t"];
        const PARAMS_SCHEMA: &'static str = r#"{"type": "object"}"#;
        fn params(&self, _: &Record<'_>) -> Result<Json> {
            Ok(Json::Null)
        }
        fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> {
            Ok(c_table(0))
        }
    }
    let object = indexer_object(Maker);
    let writes: Vec<_> = object.writes().into_iter().map(|output| (output.0.into_string(), output.1)).collect();
    assert_eq!(writes, [("m/p".to_owned(), 0), ("m/t".to_owned(), 1), ("m/a".to_owned(), 3)]);
    assert_eq!(object.reads().into_iter().map(String::from).collect::<Vec<_>>(), ["other/t"]);
    assert_eq!(object.params_schema().as_str(), r#"{"type": "object"}"#);
    let plain = indexer_object(Actor(""));
    assert!(plain.writes().is_empty() && plain.reads().is_empty() && plain.params_schema().is_empty());
}

struct Actor(&'static str);

impl Indexer for Actor {
    const NAME: &'static str = "actor";
    const ANALYSIS_VERSION: &'static str = "actor@1";

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        match self.0 {
            "panic" => panic!("params of {}", record.image_id()),
            "error" => Err(Error::msg("no params")),
            "unreadable" => record.json("broken").map(Option::unwrap_or_default),
            _ => Ok(Json::from("ä")),
        }
    }
    fn extract_rows(&self, _: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        struct Odd;
        impl Drop for Odd {
            fn drop(&mut self) {
                panic!("a payload whose drop panics");
            }
        }
        match self.0 {
            "panic" => std::panic::panic_any(Odd),
            "error" => Err(Error::new(ErrorKind::Cancelled, "stopped")),
            "unreadable" => Err(std::io::Error::other("disk").into()),
            _ => Ok(c_table(run.threads() as i64)),
        }
    }
    fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
        assert!(self.0 != "panic", "old marker");
        Some(RunMarker::new("actor", "h", "v", u64::try_from(payload.get("n")?.as_i64()?).ok()?, 1))
    }
}

/// Whatever a method of an indexer does, the host gets a value or an error.
#[test]
fn indexer_errors_and_panics_become_answers() {
    let record = ServedRecord(Shelf);
    let run = ServedRun(Log::default());
    let ok = |text: &str| Ok::<_, (u8, String)>(text.to_owned());
    let bad = |kind: ErrorKind, text: &str| Err((kind as u8, text.to_owned()));
    let hash = crate::params_hash(&Json::from("ä"));
    for (how, params, params_hash, rows, marker) in [
        ("fine", ok("\"\\u00e4\""), ok(&hash), ok("1 rows"), ok("n_rows 4")),
        (
            "panic",
            bad(ErrorKind::Panicked, "params of image-1"),
            bad(ErrorKind::Panicked, "params of image-1"),
            bad(ErrorKind::Panicked, "a panic without text"),
            bad(ErrorKind::Panicked, "old marker"),
        ),
        (
            "error",
            bad(ErrorKind::Failed, "no params"),
            bad(ErrorKind::Failed, "no params"),
            bad(ErrorKind::Cancelled, "stopped"),
            ok("n_rows 4"),
        ),
        (
            "unreadable",
            bad(ErrorKind::Unreadable, "key/broken cannot be read"),
            bad(ErrorKind::Unreadable, "key/broken cannot be read"),
            bad(ErrorKind::Failed, "disk"),
            ok("n_rows 4"),
        ),
    ] {
        let object = indexer_object(Actor(how));
        let error = |error: ErrorAbi| (error.kind, error.message.into_string());
        assert_eq!(
            (object.name().as_str(), object.analysis_version().as_str(), object.marker_name().as_str()),
            ("actor", "actor@1", "actor_run")
        );
        assert!(object.params_artifacts().is_empty());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = object.params(record.to_ref()).into_result().map(|bytes| text(&bytes)).map_err(error);
        assert_eq!(found, params, "{how}");
        let found = object.params_hash(record.to_ref()).into_result().map(Into::into).map_err(error);
        assert_eq!(found, params_hash, "{how}");
        let found = object
            .extract_rows(record.to_ref(), run.to_ref())
            .into_result()
            .map(|table| format!("{} rows", table.num_rows()))
            .map_err(error);
        assert_eq!(found, rows, "{how}");
        let found = object
            .read_old_marker(RSlice::from_slice(br#"{"n": 4}"#))
            .into_result()
            .map(|marker| {
                let json = marker.into_option().and_then(|bytes| Json::parse(&bytes).ok()).unwrap_or(Json::Null);
                format!("n_rows {}", json.get("n_rows").and_then(Json::as_i64).unwrap_or(-1))
            })
            .map_err(error);
        assert_eq!(found, marker, "{how}");
    }
    let object = indexer_object(Actor("fine"));
    for (payload, expected) in [(&b"{}"[..], Ok(false)), (b"{", Err(ErrorKind::Unreadable as u8))] {
        let found = object.read_old_marker(RSlice::from_slice(payload)).into_result();
        assert_eq!(found.map(|marker| marker.is_some()).map_err(|error| error.kind), expected);
    }
}

/// A number of a later version is a failure, is skipped, or is reported as unsupported.
#[test]
fn unknown_numbers_have_fallbacks() {
    for (kind, expected) in [(0, ErrorKind::Failed), (5, ErrorKind::BadTable), (200, ErrorKind::Failed)] {
        let error = Error::from(ErrorAbi { kind, message: "m".into() });
        assert_eq!((error.kind(), error.message()), (expected, "m"));
    }
    assert_eq!(artifact_kind(3), Some(ArtifactKind::Array));
    assert_eq!(artifact_kind(4), None);
    let array = ArrayAbi::from(pixels());
    for (array, kind) in [
        (ArrayAbi { dtype: 99, ..array.clone() }, ErrorKind::Unsupported),
        (ArrayAbi { shape: vec![3, 1].into(), ..array.clone() }, ErrorKind::Unreadable),
    ] {
        assert_eq!(Array::try_from(array).map_err(|error| error.kind()), Err(kind));
    }
}

/// `export_plugin!` exports the symbol that abi_stable looks up.
#[test]
fn exported_name_is_abi_stables() {
    assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    assert!(include_str!("../macros.rs").contains("export_name = \"_1as_0lib_1header_0root_bmodule_bloader\""));
}

/// Dropping a table calls both release callbacks once.
#[test]
fn c_data_drop_releases_once() {
    let before = RELEASED.load(Ordering::SeqCst);
    drop(c_table(1));
    // Other tests release tables too, so the count may be higher.
    assert!(RELEASED.load(Ordering::SeqCst) >= before + 2);
    let (mut array, mut schema) = c_table(1).into_c_data();
    array.release = None;
    schema.release = None;
    drop((array, schema));
}

/// A C plugin that hands over a table gives both structs away, whatever else is wrong: also if one of them is NULL.
#[test]
fn c_table_without_part_is_released() {
    static GONE: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn release_array(array: *mut ArrowArray) {
        GONE.fetch_add(1, Ordering::SeqCst);
        // SAFETY: called with the array that holds this callback.
        unsafe { (*array).release = None };
    }
    unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
        GONE.fetch_add(1, Ordering::SeqCst);
        // SAFETY: called with the schema that holds this callback.
        unsafe { (*schema).release = None };
    }
    let log = Log::default();
    let run = CRun::new(&log);
    // SAFETY: made above.
    let put_table = unsafe { (*run.as_ptr()).put_table }.expect("a function");
    let nowhere = std::ptr::null();
    for (has_array, has_schema, to, name, status) in [
        (true, true, run.as_ptr(), c"a", 0),
        (true, true, run.as_ptr(), c"refused", -1),
        (true, true, nowhere, c"a", -1),
        (false, true, run.as_ptr(), c"a", -1),
        (true, false, run.as_ptr(), c"a", -1),
        (false, false, run.as_ptr(), c"a", -1),
    ] {
        let (mut array, mut schema) = c_table(1).into_c_data();
        array.release = Some(release_array);
        schema.release = Some(release_schema);
        let before = GONE.load(Ordering::SeqCst);
        let of_array = if has_array { std::ptr::addr_of_mut!(array) } else { std::ptr::null_mut() };
        let of_schema = if has_schema { std::ptr::addr_of_mut!(schema) } else { std::ptr::null_mut() };
        // SAFETY: a run that is alive or null, a text, and C data that is given away.
        let found = unsafe { put_table(to, name.as_ptr(), of_array, of_schema, std::ptr::null_mut()) };
        let story = format!("array {has_array}, schema {has_schema}, {name:?}");
        assert_eq!(found == 0, status == 0, "{story}");
        let released = GONE.load(Ordering::SeqCst) - before;
        assert_eq!(released, usize::from(has_array) + usize::from(has_schema), "{story}");
        assert_eq!((array.release.is_none(), schema.release.is_none()), (has_array, has_schema), "{story}");
    }
}

#[cfg(feature = "tables")]
mod with_arrow {
    use super::*;

    /// A table of C data whose columns have these lengths.
    fn with_lengths(rows: i64, lengths: &[i64]) -> ArrowTable {
        let columns = lengths.iter().enumerate().fold(Table::builder(), |builder, (index, _)| {
            builder.column(format!("c{index}"), vec![1.0, 2.0, 3.0]).expect("a column")
        });
        let mut table = columns.build().expect("a table").into_c_table();
        table.array.length = rows;
        for (index, length) in lengths.iter().enumerate() {
            // SAFETY: the table has as many children, made above.
            unsafe { (**table.array.children.add(index)).length = *length };
        }
        table
    }

    /// Columns of different lengths and wrong schemas are a `BadTable` error.
    #[test]
    fn ragged_or_damaged_table_is_refused() {
        for (rows, lengths, expected) in [
            (3, &[3, 3][..], Ok(3)),
            (2, &[3, 3], Ok(2)),
            (0, &[], Ok(0)),
            (3, &[3, 2], Err("'c1' has 2 rows, expected 3")),
            (2, &[2, 3], Err("'c1' has 3 rows, expected 2")),
            (3, &[2, 2], Err("'c0' has 2 rows, expected 3")),
            (-1, &[3], Err("negative")),
            (i64::MAX, &[3], Err("'c0' has 3 rows")),
        ] {
            match (with_lengths(rows, lengths).into_batch(), expected) {
                (Ok(batch), Ok(rows)) => assert_eq!(batch.num_rows(), rows),
                (Err(error), Err(words)) => {
                    assert_eq!(error.kind(), ErrorKind::BadTable);
                    assert!(error.message().contains(words), "{error}");
                }
                (found, expected) => panic!("{rows} {lengths:?}: {found:?}, expected {expected:?}"),
            }
        }
        let mut no_struct = with_lengths(3, &[3]);
        no_struct.schema.format = c"g".as_ptr();
        let mut children = with_lengths(3, &[3]);
        children.array.n_children = 2;
        let mut unknown = with_lengths(3, &[3]);
        unknown.schema.format = c"?what".as_ptr();
        assert_eq!(children.into_batch().map_err(|error| error.kind()), Err(ErrorKind::BadTable));
        for mut table in [no_struct, unknown] {
            // The borrowed format does not belong to the producer, so its release must not run; the rest leaks.
            table.schema.release = None;
            assert_eq!(table.into_batch().map_err(|error| error.kind()), Err(ErrorKind::BadTable));
        }
    }
}
