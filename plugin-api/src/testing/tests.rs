//! The host for tests behaves like the real one, and its assertions can fail.

use super::*;
use crate::array::{Array, DType};
use crate::prelude::*;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};

/// The message with which a closure panics; `None` if it does not.
fn panic_of(body: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(body)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    Some(text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// An indexer made of two functions.
struct Fake<P, R>(P, R);

impl<P, R> Indexer for Fake<P, R>
where
    P: Fn(&Record<'_>) -> Result<Json> + Send + Sync + 'static,
    R: Fn(&Record<'_>, &Run<'_>) -> Result<Table> + Send + Sync + 'static,
{
    const NAME: &'static str = "fake";
    const ANALYSIS_VERSION: &'static str = "fake@1";

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        (self.0)(record)
    }
    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        (self.1)(record, run)
    }
}

fn no_params(_: &Record<'_>) -> Result<Json> {
    Ok(Json::Null)
}

/// A host whose indexer does this with its record, then fails with "done".
fn probe(body: impl Fn(&Record<'_>) -> Result<()> + Send + Sync + 'static) -> TestHost {
    TestHost::new(Fake(no_params, move |record: &Record<'_>, _: &Run<'_>| {
        body(record)?;
        Err(Error::msg("done"))
    }))
}

fn full() -> TestRecord {
    let record = TestRecord::new()
        .image_id("here")
        .json("b", 1)
        .json_text("a", "[1, NaN]")
        .array("a", &[1_i16, -2], [2])
        .json("fake_run", 5)
        .json("other", RunMarker::new("other", "h", "v", 0, 1).to_json())
        .pixels(&[1_u8, 2, 3, 4, 5, 6], [2, 3])
        .attributes(Json::object([("updated_utc", "now".into()), ("z", 1.into()), ("created_utc", "then".into())]));
    record.unreadable("t", ArtifactKind::Csv)
}

/// An indexer reads what the test added, and the outcome lists what it read.
#[test]
fn record_gives_what_was_added() {
    let host = probe(|record| {
        assert_eq!(record.image_id(), "here");
        assert_eq!(record.json("b")?, Some(1.into()));
        assert_eq!(record.json("fake_run")?, Some(5.into()));
        assert_eq!(record.array("a")?.and_then(|array| array.to_vec::<i16>()), Some(vec![1, -2]));
        let pixels = record.pixels()?.expect("pixels");
        assert_eq!((pixels.dtype(), pixels.shape(), pixels.axis_len("x")), (DType::UInt8, &[2, 3][..], Some(3)));
        assert_eq!(record.attributes()?.to_string(), r#"{"axes":["y","x"],"created_utc":"then","z":1}"#);
        let kinds = [("a", ArtifactKind::Json), ("a", ArtifactKind::Array), ("b", ArtifactKind::Json)];
        let mut expected: Vec<Artifact> = kinds.map(|(name, kind)| Artifact::new(name, kind)).to_vec();
        expected.push(Artifact::new("t", ArtifactKind::Csv));
        assert_eq!(record.artifacts()?, expected);
        assert_eq!((record.json("none")?, record.array("b")?, record.metadata()?), (None, None, None));
        assert_eq!(record.key("a", ArtifactKind::Json), "images/here/analysis/a.json");
        Ok(())
    });
    let outcome = host.extract(&full());
    assert_eq!(outcome.error().message(), "done");
    let read = ["array a", "artifacts", "attributes", "json b", "pixels"];
    assert_eq!(outcome.read(), read);
    assert_eq!(outcome.missed(), ["array b", "json metadata", "json none"]);
}

/// Everything that is made unreadable gives an error that names its key.
#[test]
fn unreadable_artifact_error_names_key() {
    type Read = fn(&Record<'_>) -> Result<()>;
    let whole = || TestRecord::new().pixels(&[1_u8], [1, 1]);
    let cases: [(TestRecord, Read, &str, &str); 8] = [
        (whole().json_text("a", "{"), |r| r.json("a").map(drop), "json a", "images/image-1/analysis/a.json"),
        (whole().unreadable("a", ArtifactKind::Json), |r| r.json("a").map(drop), "json a", "analysis/a.json"),
        (whole().unreadable("a", ArtifactKind::Parquet), |r| r.table("a").map(drop), "parquet a", "a.parquet"),
        (whole().unreadable("a", ArtifactKind::Csv), |r| r.csv("a").map(drop), "csv a", "a.csv.gz"),
        (whole().unreadable("a", ArtifactKind::Array), |r| r.array("a").map(drop), "array a", "analysis_arrays/a"),
        (whole().unreadable_pixels(), |r| r.pixels().map(drop), "pixels", "pixels of images/image-1"),
        (whole().unreadable_attributes(), |r| r.attributes().map(drop), "attributes", ".zattrs"),
        (whole().unreadable_list(), |r| r.artifacts().map(drop), "artifacts", "images/image-1/analysis"),
    ];
    for (record, read, what, key) in cases {
        let outcome = probe(read).extract(&record);
        assert_eq!(outcome.error().kind(), ErrorKind::Unreadable, "{what}");
        assert!(outcome.error().message().contains(key), "{:?} lacks {key}", outcome.error());
        assert_eq!(outcome.read(), [what]);
    }
}

/// A record can be changed and its parts removed; removing nothing panics.
#[test]
fn record_without_removes_artifact() {
    let look = |record: &TestRecord| {
        let host = TestHost::new(Fake(
            |record: &Record<'_>| {
                let pixels = record.pixels()?.map(|pixels| pixels.len());
                Ok(vec![record.json("a")?, record.array("a")?.map(|array| array.len().into()), pixels.map(Json::from)]
                    .into())
            },
            |_: &Record<'_>, _: &Run<'_>| Err(Error::msg("none")),
        ));
        host.params(record).map(|params| params.to_string())
    };
    let ok = |text: &str| Ok(text.to_owned());
    let record = full();
    assert_eq!(look(&record), ok("[[1,NaN],2,6]"));
    assert_eq!(look(&record.clone().json("a", "new")), ok("[\"new\",2,6]"));
    assert_eq!(look(&record.clone().without("a")), ok("[null,null,6]"));
    assert_eq!(look(&record.clone().without_pixels()), ok("[[1,NaN],2,null]"));
    assert_eq!(panic_of(|| drop(record.clone().without("c"))).as_deref(), Some("the record has no artifact 'c'"));
    let wrong = panic_of(|| drop(record.clone().pixels(&[1_u8, 2], [3, 1])));
    assert!(wrong.is_some_and(|text| text.contains("[3, 1] has 3 bytes, got 2")));
}

/// `roi` and `voxels` write the metadata's form, and panic if it has another one.
#[test]
fn metadata_has_rois_and_voxels() {
    let metadata = |record: &TestRecord| {
        TestHost::new(Fake(
            |record: &Record<'_>| Ok(record.metadata()?.into()),
            |_: &Record<'_>, _: &Run<'_>| Err(Error::msg("none")),
        ))
        .params(record)
        .map(|metadata| metadata.to_string())
    };
    let rect = Roi::rect(7).lines(0, 10).pixels(5, -1).name("v").note("n").channel(1).z(2).meta(Json::from("m"));
    let rect_text = r#"{"roi_id":7,"roi_type":"rect","version":"1.0","name":"v","note":"n","channel":1,"z":2,"data":{"x0":5,"x1":-1,"y0":0,"y1":10},"meta":"m"}"#;
    let mask_text =
        r#"{"roi_id":8,"roi_type":"mask","version":"1.0","name":"","note":"","channel":0,"z":0,"data":{},"meta":{}}"#;
    let record = TestRecord::new().roi(rect.clone()).roi(Roi::mask(8)).voxels(0.5, 0.25);
    assert_eq!(
        metadata(&record).as_deref(),
        Ok(&*format!(
            r#"{{"version":"2.0","rois":[{rect_text},{mask_text}],"header":{{"voxels":[0.5,0.25],"voxels_units":["s","um"]}}}}"#
        ))
    );
    let given = TestRecord::new().metadata(Json::object([("rois", Json::Array(vec![1.into()])), ("x", 2.into())]));
    assert_eq!(metadata(&given.roi(rect)).as_deref(), Ok(&*format!(r#"{{"rois":[1,{rect_text}],"x":2}}"#)));
    for (metadata, words) in [
        (TestRecord::new().metadata(5.into()), "not a JSON object"),
        (TestRecord::new().json_text("metadata", "{}"), "not a JSON object"),
        (TestRecord::new().metadata(Json::object([("rois", 5.into())])), "rois are not a list"),
    ] {
        let text = panic_of(|| drop(metadata.roi(Roi::mask(1)))).unwrap_or_default();
        assert!(text.contains(words), "{text:?} lacks {words:?}");
    }
}

/// Threads and cancellation are as the test sets them, for each extraction.
#[test]
fn run_threads_and_cancel_follow_test() {
    let host = || {
        TestHost::new(Fake(no_params, |_: &Record<'_>, run: &Run<'_>| {
            let mut step = 0;
            while !run.cancelled() && step < 5 {
                step += 1;
                run.progress(f64::from(step) / 4.0);
            }
            run.log(LogLevel::Warn, "hm");
            Err(Error::new(ErrorKind::Cancelled, format!("{step} steps with {} threads", run.threads())))
        }))
    };
    for (host, message, steps) in [
        (host(), "5 steps with 1 threads", 5),
        (host().threads(3).cancelled(), "0 steps with 3 threads", 0),
        (host().threads(0).cancelled_after(2), "2 steps with 1 threads", 2),
    ] {
        // The count restarts with each extraction.
        for _ in 0..2 {
            let outcome = host.extract(&TestRecord::new());
            assert_eq!((outcome.error().kind(), outcome.error().message()), (ErrorKind::Cancelled, message));
            assert_eq!(outcome.progress().len(), steps);
            assert_eq!(outcome.log(), [(LogLevel::Warn, "hm".to_owned())]);
        }
    }
}

/// A panic and an invalid or changing params hash fail the image.
#[test]
fn panic_or_bad_hash_is_error() {
    let panicking = TestHost::new(Fake(
        |record: &Record<'_>| match record.json("params")? {
            Some(params) => Ok(params),
            None => panic!("no params"),
        },
        |_: &Record<'_>, _: &Run<'_>| panic!("no rows"),
    ));
    let outcome = panicking.extract(&TestRecord::new());
    let kinds = (outcome.error().kind(), outcome.error().message());
    assert_eq!(kinds, (ErrorKind::Panicked, "no params"));
    assert!(outcome.result().is_err());
    for text in
        [panic_of(|| _ = outcome.rows()), panic_of(|| _ = outcome.params()), panic_of(|| _ = outcome.params_hash())]
    {
        assert!(text.is_some_and(|text| text.contains("Panicked: no params")));
    }
    let outcome = panicking.extract(&TestRecord::new().json("params", 5));
    assert_eq!((outcome.error().kind(), outcome.error().message()), (ErrorKind::Panicked, "no rows"));
    assert_eq!((outcome.params(), outcome.params_hash()), (&5.into(), &*crate::params_hash(&5.into())));

    struct Hash(AtomicU32, &'static str);
    impl Indexer for Hash {
        const NAME: &'static str = "hash";
        const ANALYSIS_VERSION: &'static str = "hash@1";
        fn params(&self, _: &Record<'_>) -> Result<Json> {
            Ok(Json::Null)
        }
        fn params_hash(&self, _: &Record<'_>) -> Result<String> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            Ok(if self.1.is_empty() { String::new() } else { format!("{}{count}", self.1) })
        }
        fn extract_rows(&self, record: &Record<'_>, _: &Run<'_>) -> Result<Table> {
            record.table("t").map(Option::unwrap)
        }
        fn read_old_marker(&self, payload: &Json) -> Option<RunMarker> {
            Some(RunMarker::new("hash", payload.as_str()?, "v", 1, 2))
        }
    }
    let host = TestHost::new(Hash(AtomicU32::new(0), ""));
    let empty = host.params_hash(&TestRecord::new()).map_err(|error| error.message().to_owned());
    assert_eq!(empty, Err("the indexer gave a params hash of 0 bytes, expected 1 to 1024".to_owned()));
    assert_eq!(host.read_old_marker(&"h".into()), Ok(Some(RunMarker::new("hash", "h", "v", 1, 2))));
    assert_eq!(host.read_old_marker(&5.into()), Ok(None));
    #[cfg(feature = "_cast")]
    {
        let host = TestHost::new(Hash(AtomicU32::new(0), "h"));
        let outcome = host.extract(&TestRecord::new().csv("t", "a\n1\n"));
        assert!(outcome.error().message().contains("two answers over the same inputs: h0, then h1"));
    }
}

/// Does what its params say: `["j", 5]` hands over a JSON artifact, `["a"]` an array, `["fail"]` fails.
#[cfg(feature = "_cast")]
struct Writer;

#[cfg(feature = "_cast")]
impl Indexer for Writer {
    const NAME: &'static str = "writer";
    const ANALYSIS_VERSION: &'static str = "writer@1";
    const WRITES: &'static [Output] = &[Output::json("w/j"), Output::array("w/a"), Output::table("w/t")];

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(record.json("orders")?.unwrap_or(Json::Array(Vec::new())))
    }
    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        for order in self.params(record)?.as_array().unwrap_or_default() {
            match order.as_str().unwrap_or_default() {
                "fail" => return Err(Error::msg("told to")),
                "a" => run.put_array("w/a", Array::new(DType::Bool, vec![1], vec!["x".into()], vec![1])?)?,
                "as_json" => run.put_json("w/a", &Json::Null)?,
                "t" => run.put_table("w/t", Table::builder().column("c", vec!["x"])?.build()?)?,
                _ => run.put_json("w/j", order)?,
            }
        }
        match record.table("rows")? {
            Some(rows) => Ok(rows),
            None => Err(Error::msg("no rows")),
        }
    }
}

/// Artifacts are collected in the declared order; undeclared ones and duplicates are refused.
#[cfg(feature = "_cast")]
#[test]
fn handed_over_artifacts_are_collected() {
    let extract = |orders: &[&str]| {
        let orders: Json = orders.iter().copied().collect();
        TestHost::new(Writer).extract(&TestRecord::new().csv("rows", "x\n1\n").json("orders", orders))
    };
    let outcome = extract(&["t", "hello", "a"]);
    let names: Vec<&str> = outcome.artifacts().iter().map(|artifact| artifact.name.as_str()).collect();
    // In the order of the declaration, whatever the order of the calls.
    assert_eq!(names, ["w/j", "w/a", "w/t"]);
    assert_eq!(outcome.json("w/j"), &Json::from("hello"));
    assert_eq!(outcome.array("w/a").to_vec(), Some(vec![true]));
    assert_eq!(outcome.table("w/t").text("c"), [Some("x")]);
    for text in [
        panic_of(|| _ = outcome.json("w/t")),
        panic_of(|| _ = outcome.table("t")),
        panic_of(|| _ = outcome.array("w/j")),
    ] {
        assert!(text.is_some_and(|text| text.contains("was handed over, but")));
    }
    let reader = probe(|record| {
        let rows = record.table("w/t")?.map(|table| table.num_rows());
        assert_eq!((record.json("w/j")?, rows), (Some("hello".into()), Some(1)));
        assert_eq!(record.array("w/a")?.map(|array| array.len()), Some(1));
        Ok(())
    });
    assert_eq!(reader.extract(&TestRecord::new().artifacts_of(&outcome)).error().message(), "done");

    for (orders, words) in [
        (&["hello", "fail"][..], "told to"),
        (&["hello", "again"], "the artifact 'w/j' was handed over twice"),
        (&["as_json"], "the artifact 'w/a' (Json) is not among the indexer's WRITES"),
    ] {
        let outcome = extract(orders);
        assert!(outcome.error().message().contains(words), "{:?}", outcome.error());
        assert!(outcome.artifacts().is_empty(), "{orders:?}");
    }
}

/// The assertions about params hashes fail if they should, and say why.
#[test]
fn params_hash_assertions_can_fail() {
    let host = TestHost::new(Fake(
        |record: &Record<'_>| record.json("p").map(Option::unwrap_or_default),
        |_: &Record<'_>, _: &Run<'_>| Err(Error::msg("none")),
    ));
    let with = |value: i32| TestRecord::new().json("p", value).json("q", value);
    host.assert_params_hash_changes(&with(1), &with(2));
    host.assert_params_hash_stays(&with(1), &with(1).json("q", 5));
    let broken = with(1).json_text("p", "{");
    for (words, text) in [
        ("the same for both", panic_of(|| host.assert_params_hash_changes(&with(1), &with(1)))),
        ("params were Ok(\"1\"), then Ok(\"2\")", panic_of(|| host.assert_params_hash_stays(&with(1), &with(2)))),
        ("Unreadable", panic_of(|| host.assert_params_hash_changes(&with(1), &broken))),
        ("Unreadable", panic_of(|| host.assert_params_hash_stays(&broken, &broken))),
    ] {
        let text = text.unwrap_or_default();
        assert!(text.contains(words), "{text:?} lacks {words:?}");
    }
}

/// `TestHost::new` panics for a name that no card can have.
#[test]
fn bad_indexer_name_is_refused() {
    struct Bad;
    impl Indexer for Bad {
        const NAME: &'static str = "Bad Name";
        const ANALYSIS_VERSION: &'static str = "bad@1";
        fn params(&self, _: &Record<'_>) -> Result<Json> {
            Ok(Json::Null)
        }
        fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> {
            Err(Error::msg("none"))
        }
    }
    assert!(panic_of(|| drop(TestHost::new(Bad))).is_some_and(|text| text.contains("NAME")));
}

/// Axes without names get those that the host gives.
#[test]
fn arrays_get_default_axis_names() {
    let axes = |array: Array| array.axes().join(" ");
    let of = |record: TestRecord| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let host = probe(move |record| {
            let _ = sender.send(record.pixels()?.map(axes).unwrap_or_default());
            Ok(())
        });
        host.extract(&record);
        receiver.recv().expect("an answer")
    };
    let one = &[1_u8];
    for (record, expected) in [
        (TestRecord::new().pixels(one, []), ""),
        (TestRecord::new().pixels(one, [1]), "a0"),
        (TestRecord::new().pixels(one, [1; 2]), "y x"),
        (TestRecord::new().pixels(one, [1; 3]), "z y x"),
        (TestRecord::new().pixels(one, [1; 4]), "z y x c"),
        (TestRecord::new().pixels(one, [1; 5]), "t z y x c"),
        (TestRecord::new().pixels(one, [1; 6]), "a0 a1 a2 a3 a4 a5"),
    ] {
        assert_eq!(of(record), expected);
    }
}

#[cfg(feature = "arrow")]
mod with_arrow {
    use super::*;
    use arrow::array::{ArrayRef, DictionaryArray, Int8Array, RecordBatch, StringViewArray};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    /// An indexer whose rows are a table artifact.
    fn copy() -> TestHost {
        TestHost::new(Fake(no_params, |record: &Record<'_>, _: &Run<'_>| match record.table("t")? {
            Some(table) => Ok(table),
            None => Table::builder().build(),
        }))
    }

    /// Cells are read with their types; a wrong type panics with the column's name.
    #[test]
    fn rows_cells_have_their_types() -> Result<()> {
        let table = Table::builder()
            .column("f", vec![Some(1.5), None])?
            .column("f32", vec![0.5_f32, -0.5])?
            .column("i", vec![Some(1_i64), None])?
            .column("u", vec![1_u64, u64::MAX])?
            .column("i8", Arc::new(Int8Array::from(vec![-1, 1])) as ArrayRef)?
            .column("b", vec![Some(true), None])?
            .column("s", vec![Some("a"), None])?
            .column("view", Arc::new(StringViewArray::from(vec!["v", "w"])) as ArrayRef)?
            .column("d", Arc::new(["p", "p"].into_iter().collect::<DictionaryArray<Int32Type>>()) as ArrayRef)?
            .column("n", Arc::new(arrow::array::NullArray::new(2)) as ArrayRef)?
            .build()?;
        let outcome = copy().extract(&TestRecord::new().table("t", table));
        let rows = outcome.rows();
        assert_eq!((rows.len(), rows.is_empty()), (2, false));
        assert_eq!(rows.columns(), ["f", "f32", "i", "u", "i8", "b", "s", "view", "d", "n"]);
        assert_eq!(rows.f64("f"), [Some(1.5), None]);
        assert_eq!(rows.f64("f32"), [Some(0.5), Some(-0.5)]);
        assert_eq!(rows.i64("i"), [Some(1), None]);
        assert_eq!(rows.i64("i8"), [Some(-1), Some(1)]);
        assert_eq!(rows.bool("b"), [Some(true), None]);
        assert_eq!(rows.text("s"), [Some("a"), None]);
        assert_eq!(rows.text("view"), [Some("v"), Some("w")]);
        assert_eq!(rows.text("d"), [Some("p"), Some("p")]);
        assert_eq!(
            (rows.f64("n"), rows.i64("n"), rows.bool("n"), rows.text("n")),
            (vec![None; 2], vec![None; 2], vec![None; 2], vec![None; 2])
        );
        for (words, text) in [
            ("no column 'x' among", panic_of(|| drop(rows.f64("x")))),
            ("'i' is Int64, not Float64", panic_of(|| drop(rows.f64("i")))),
            ("'f' is Float64, not Int64", panic_of(|| drop(rows.i64("f")))),
            ("'u' does not fit", panic_of(|| drop(rows.i64("u")))),
            ("'s' is Utf8, not Boolean", panic_of(|| drop(rows.bool("s")))),
            ("'b' is Boolean, not text", panic_of(|| drop(rows.text("b")))),
        ] {
            let text = text.unwrap_or_default();
            assert!(text.contains(words), "{text:?} lacks {words:?}");
        }
        let text = panic_of(|| drop(outcome.error().clone())).unwrap_or_default();
        assert!(text.contains("1.5 | 0.5 | 1 | 1 | -1 | true | a | v | p | -"), "{text}");
        assert_eq!(outcome.into_table()?.num_rows(), 2);
        Ok(())
    }

    /// Tables are found as the host finds them, and CSV is read by its rules.
    #[test]
    fn table_prefers_parquet_over_csv() -> Result<()> {
        let table = || Table::builder().column("a", vec![1_i64, 2, 3])?.build();
        let csv = TestRecord::new().csv("t", "x,y\n1,\n2,b\n");
        let outcome = copy().extract(&csv);
        assert_eq!(
            (outcome.rows().i64("x"), outcome.rows().text("y")),
            (vec![Some(1), Some(2)], vec![None, Some("b")])
        );
        assert_eq!((outcome.read(), outcome.missed()), (&["csv t".to_owned()][..], &["parquet t".to_owned()][..]));
        for record in [csv.clone().table("t", table()?), csv.clone().table_from("t", table)] {
            let outcome = copy().extract(&record);
            assert_eq!(outcome.rows().len(), 3);
            assert_eq!((outcome.read(), outcome.missed()), (&["parquet t".to_owned()][..], &[][..]));
        }
        assert_eq!(copy().extract(&TestRecord::new().csv_from("t", table)).rows().len(), 3);
        let outcome = copy().extract(&TestRecord::new().csv("t", "x\n1,2\n"));
        assert_eq!(outcome.error().kind(), ErrorKind::Unreadable);
        assert!(outcome.error().message().contains("images/image-1/analysis/t.csv.gz as CSV: line 2 has 2 cells"));
        let none = copy().extract(&TestRecord::new());
        assert!(none.rows().is_empty() && none.rows().columns().is_empty());
        assert_eq!(none.missed(), ["csv t", "parquet t"]);
        Ok(())
    }

    /// Rows with duplicate or empty column names fail the image.
    #[test]
    fn rows_bad_column_names_are_refused() {
        let make = |names: [&'static str; 2]| {
            let column = || Arc::new(Int8Array::from(vec![1])) as ArrayRef;
            let fields = names.map(|name| arrow::datatypes::Field::new(name, arrow::datatypes::DataType::Int8, true));
            let schema = Arc::new(arrow::datatypes::Schema::new(fields.to_vec()));
            let rows = RecordBatch::try_new(schema, vec![column(), column()]).unwrap();
            copy().extract(&TestRecord::new().table_from("t", move || Table::from_batch(rows.clone())))
        };
        for (names, words) in [(["a", "a"], "two columns 'a'"), (["a", ""], "column 2 of 2 has no name")] {
            let outcome = make(names);
            assert_eq!(outcome.error().kind(), ErrorKind::BadTable);
            assert!(outcome.error().message().contains(words), "{:?}", outcome.error());
        }
        assert_eq!(make(["a", "b"]).rows().len(), 1);
    }

    /// Gives the same rows always. Its artifact depends on `order`: different each time, only the first time, or
    /// always `NaN`.
    #[derive(Default)]
    struct Drift(AtomicU32);

    impl Indexer for Drift {
        const NAME: &'static str = "drift";
        const ANALYSIS_VERSION: &'static str = "drift@1";
        const WRITES: &'static [Output] = &[Output::json("drift/j")];
        fn params(&self, _: &Record<'_>) -> Result<Json> {
            Ok(Json::Null)
        }
        fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            let order = record.json("order")?.unwrap_or_default();
            match order.as_str() {
                Some("once") if count > 0 => {}
                Some("nan") => run.put_json("drift/j", &Json::from(f64::NAN))?,
                _ => run.put_json("drift/j", &count.into())?,
            }
            Table::builder().build()
        }
    }

    /// The assertion fails for rows, artifacts and errors that differ, and says where.
    #[test]
    fn determinism_assertion_can_fail() -> Result<()> {
        let count = AtomicU32::new(0);
        let host = |rows: fn(u32, usize) -> f64| {
            let count = AtomicU32::new(0);
            TestHost::new(Fake(no_params, move |_: &Record<'_>, run: &Run<'_>| {
                Table::builder().column("v", vec![rows(count.fetch_add(1, Ordering::SeqCst), run.threads())])?.build()
            }))
        };
        let record = TestRecord::new();
        host(|_, _| 1.0).assert_deterministic(&record);
        // A `NaN` equals itself in this comparison.
        host(|_, _| f64::NAN).assert_deterministic(&record);
        for (words, rows) in [
            (
                "the rows differ the second time:\nv\n0.0\n\nv\n1.0",
                (|count, _| f64::from(count)) as fn(u32, usize) -> f64,
            ),
            ("the rows differ with more threads", |_, threads| threads as f64),
            ("the rows differ on another thread", |_, _| {
                let is_main = std::thread::current().name().is_some();
                f64::from(u8::from(is_main))
            }),
            ("the rows differ the second time", |count, _| if count == 0 { 0.0 } else { -0.0 }),
        ] {
            let text = panic_of(|| host(rows).assert_deterministic(&record)).unwrap_or_default();
            assert!(text.contains(words), "{text:?} lacks {words:?}");
        }
        for (order, words) in
            [("count", "the artifact 'drift/j' differs the second time"), ("once", "that are handed over differ")]
        {
            let record = TestRecord::new().json("order", order);
            let text = panic_of(|| TestHost::new(Drift::default()).assert_deterministic(&record)).unwrap_or_default();
            assert!(text.contains(words), "{text:?} lacks {words:?}");
        }
        TestHost::new(Drift::default()).assert_deterministic(&TestRecord::new().json("order", "nan"));
        let errors = TestHost::new(Fake(no_params, move |_: &Record<'_>, _: &Run<'_>| {
            Err(Error::msg(format!("number {}", count.fetch_add(1, Ordering::SeqCst))))
        }));
        let text = panic_of(|| errors.assert_deterministic(&record)).unwrap_or_default();
        assert!(text.contains("number 0") && text.contains("number 1"), "{text}");
        Ok(())
    }
}
