//! `params show`, `set` and `unset`: what they write, what they refuse, what becomes stale.
//!
//! Runs these commands with the real program. The rules of edits and schemas are unit tests of `kymhost_index::params`.

use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::{Run, TestDir, assert_untouched, library, snapshot};
use serde_json::{Value, json};
use std::fs;

struct Lab {
    _dir: TestDir,
    data: Fixture,
}

impl Lab {
    /// Images 0 to 2, done by `maker`.
    fn new() -> Self {
        let dir = TestDir::new();
        let data = Fixture::new(dir.join("data.zarr"));
        (0..3).for_each(|image| drop(data.add_image(&image_id(image))));
        let lab = Self { _dir: dir, data };
        lab.command("run --plugin @maker").output().expect_code(0);
        lab
    }

    /// Words of which `@NAME` is an indexer of the fixture plugin and `#N` an image.
    fn command(&self, words: &str) -> Run {
        Run::new(kymhost_tests::words(words, "maker")).dataset(self.data.path())
    }

    fn params(&self, image: u64) -> Option<Value> {
        let text = fs::read(self.data.key(&self.data.image(&image_id(image)).key("maker/params.json"))).ok()?;
        serde_json::from_slice(&text).ok()
    }

    #[track_caller]
    fn reasons(&self) -> Vec<Value> {
        let document = self.command("status --plugin @maker --json").output().expect_code(0).json();
        (0..3).map(|image| document["images"][image]["reason"].clone()).collect()
    }
}

/// `params set` makes exactly the given images stale.
#[test]
fn params_set_makes_only_those_images_stale() {
    let lab = Lab::new();
    let set = lab.command("params set --plugin @maker --image #1 #2 value=4 nested.deep=0.5").output().expect_code(0);
    set.expect_stderr(&["changed the params of 2 recordings", "kymhost run --plugin"]);
    assert_eq!((lab.params(0), lab.params(2)), (None, Some(json!({"value": 4, "nested": {"deep": 0.5}}))));
    // The extraction had looked for the artifact, too, and found none: the reason about params comes first.
    assert_eq!(lab.reasons(), ["FRESH_ROWS", "STALE_PARAMS_CHANGED", "STALE_PARAMS_CHANGED"]);
    let run = lab.command("run --plugin @maker --json").output().expect_code(0).json();
    assert_eq!(run["stats"]["updated"], 2);

    // What is set already is not written again.
    let before = snapshot(lab.data.path());
    let again = lab.command("params set --plugin @maker --image #1 #2 value=4 --json").output().expect_code(0).json();
    assert_eq!(again, json!({"indexer": "maker", "changed": [], "unchanged": 2}));
    assert_untouched(&before, &snapshot(lab.data.path()));

    let unset = lab.command("params unset --plugin @maker --image #1 nested.deep value --json").output().expect_code(0);
    assert_eq!(unset.json()["changed"], json!([image_id(1)]));
    assert_eq!(lab.params(1), Some(json!({"nested": {}})));
    assert_eq!(lab.reasons(), ["FRESH_ROWS", "STALE_PARAMS_CHANGED", "FRESH_ROWS"]);
    lab.command("params set --plugin @maker --all value=9").output().expect_code(0);
    assert_eq!((0..3).map(|image| lab.params(image).expect("params")["value"].clone()).collect::<Vec<_>>(), [9, 9, 9]);
}

/// `params show` includes the schema.
#[test]
fn params_show_includes_schema() {
    let lab = Lab::new();
    lab.command("params set --plugin @maker --image #1 value=4").output().expect_code(0);
    lab.command("params show --plugin @maker").output().expect_code(0).expect_stdout(&[
        "1 recording",
        "\"value\": 4",
        "2 recordings",
        "none (the defaults apply)",
        "\"description\": \"The value in everything that it makes\"",
    ]);
    let shown = lab.command("params show --plugin @maker --image #1 --json").output().expect_code(0).json();
    assert_eq!(shown["schema"]["properties"]["value"]["default"], 0);
    assert_eq!(
        shown["images"],
        json!([{"image_id": image_id(1), "artifact": "maker/params", "params": {"value": 4}, "params_text": "{\"value\":4}"}])
    );
    let info = Run::new(["plugin", "info", &format!("{}:maker", library("maker").display())]).output().expect_code(0);
    info.expect_stdout(&["maker/table", "\"minimum\": 0"]);
    // A broken one is reported, and the others are shown.
    lab.data.put(&lab.data.image(&image_id(1)).key("maker/params.json"), "{");
    let shown = lab.command("params show --plugin @maker --json").output().expect_code(3).json();
    assert!(shown["images"][1]["error"].as_str().is_some_and(|text| text.contains("params.json")), "{shown}");
    assert!(shown["images"][0]["error"].is_null() && shown["images"][2]["error"].is_null(), "{shown}");
}

/// Wrong params are refused, and nothing is written.
#[test]
fn wrong_params_refused_nothing_written() {
    let lab = Lab::new();
    lab.data.image(&image_id(2)).json("maker/params", &json!({"value": 1}));
    let before = snapshot(lab.data.path());
    let cases: &[(&str, i32, &str, &str)] = &[
        ("set --plugin @maker --all value=-1", 2, "params_invalid", "value: -1"),
        ("set --plugin @maker --all value=left", 2, "params_invalid", "value:"),
        ("set --plugin @maker --all vaule=1", 2, "params_invalid", "'vaule'"),
        ("set --plugin @maker --image #2 value.deep=1", 2, "usage", "'value' is a number"),
        ("set --plugin @maker --all value", 2, "usage", "KEY=VALUE"),
        ("unset --plugin @maker --all value=1", 2, "usage", "KEY"),
        ("set --plugin @maker value=1", 2, "usage", "--image"),
        ("set --plugin @maker --all --image #1 value=1", 2, "usage", "--image"),
        ("set --plugin @maker --image #1", 2, "usage", "KEY=VALUE"),
        ("set --plugin @maker --image value=1", 2, "usage", "--image"),
        ("set --plugin @maker --image nowhere value=1", 2, "unknown_image", "nowhere"),
        ("set --plugin @doubler --all value=1", 2, "no_params", "doubler"),
    ];
    for (words, code, name, says) in cases {
        let error = lab.command(&format!("params {words} --json")).output().expect_code(*code).json();
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(error["error"]["code"], *name, "{words}: {error}");
        assert!(message.contains(says), "{words}: {message}");
        assert_untouched(&before, &snapshot(lab.data.path()));
    }
}

/// Params that a plugin writes cannot be set, and the error names the plugin.
#[test]
fn params_written_by_plugin_refused() {
    let lab = Lab::new();
    let before = snapshot(lab.data.path());
    let error = lab.command("params set --plugin @written --all value=1 --json").output().expect_code(6).json();
    assert_eq!(error["error"]["code"], "written_by_plugin");
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("'maker/json'") && message.contains("the indexer 'maker'"), "{message}");
    assert_untouched(&before, &snapshot(lab.data.path()));
}

/// The indexer that made them need not be installed: its run marker says whose they are.
#[test]
fn params_made_by_a_run_refused() {
    let lab = Lab::new();
    let image = lab.data.image(&image_id(1));
    image.json("maker/params", &json!({"value": 3}));
    let text = fs::read(lab.data.key(&image.key("maker_run.json"))).expect("a run marker");
    let mut marker: Value = serde_json::from_slice(&text).expect("JSON");
    marker["indexer_name"] = json!("stranger");
    let mut output = marker["kymhost"]["outputs"][0].clone();
    output["key"] = json!("analysis/maker/params.json");
    marker["kymhost"]["outputs"] = json!([output]);
    image.json("of/stranger", &marker);
    let before = snapshot(lab.data.path());
    for words in ["set --plugin @maker --all value=1", "unset --plugin @maker --image #1 value"] {
        let error = lab.command(&format!("params {words} --json")).output().expect_code(6).json();
        assert_eq!(error["error"]["code"], "written_by_plugin", "{error}");
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("'maker/params'") && message.contains("the indexer 'stranger'"), "{message}");
        assert_untouched(&before, &snapshot(lab.data.path()));
    }
    lab.command("params set --plugin @maker --image #0 #2 value=1").output().expect_code(0);
}

/// Params that are not a JSON object are shown and never overwritten.
#[test]
fn params_not_an_object_kept() {
    for (held, shown) in [(json!([1, 2]), "not a JSON object: ["), (json!(null), "not a JSON object: null")] {
        let lab = Lab::new();
        lab.data.image(&image_id(1)).json("maker/params", &held);
        lab.command("params show --plugin @maker --image #1").output().expect_code(0).expect_stdout(&[shown]);
        let document = lab.command("params show --plugin @maker --image #1 --json").output().expect_code(0).json();
        assert_eq!(document["images"][0]["params"], held);
        let before = snapshot(lab.data.path());
        for words in ["set --plugin @maker --all value=1", "unset --plugin @maker --image #1 value"] {
            let error = lab.command(&format!("params {words} --json")).output().expect_code(6).json();
            assert_eq!(error["error"]["code"], "params_no_object", "{error}");
            let message = error["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("'maker/params'") && message.contains("params.json"), "{message}");
            assert!(error["error"]["help"].as_str().is_some_and(|help| help.contains("params show")), "{error}");
            assert_untouched(&before, &snapshot(lab.data.path()));
        }
    }
}

/// A key with a dot in it is written in quotes.
#[test]
fn params_key_with_dot_is_quoted() {
    let lab = Lab::new();
    lab.command(r#"params set --plugin @maker --image #1 nested."a.b"=4"#).output().expect_code(0);
    assert_eq!(lab.params(1), Some(json!({"nested": {"a.b": 4}})));
    lab.command(r#"params unset --plugin @maker --image #1 nested."a.b""#).output().expect_code(0);
    assert_eq!(lab.params(1), Some(json!({"nested": {}})));
}
