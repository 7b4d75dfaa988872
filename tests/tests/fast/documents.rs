//! The documents of `--json` against their published schemas (`docs/reference/schemas`).
//!
//! Runs every command that prints a document, also when something fails, and checks each document with kymhost's own
//! evaluator, `kymhost::plugin::Schema`. What the documents say is tested where the commands are tested.

use kymhost::plugin::Schema;
use kymhost_plugin_api::Json;
use kymhost_tests::fixture::{Fixture, batch, floats, image_id, ints};
use kymhost_tests::tiff::{Kind, Tiff, page};
use kymhost_tests::{Run, TestDir, library, repository, words};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The published schemas, and what the documents of this test have of them.
struct Published {
    schemas: BTreeMap<String, Value>,
    /// The schemas of which there was a document, and each field that had a value: `run stats.updated`.
    produced: BTreeSet<String>,
    problems: Vec<String>,
}

impl Published {
    /// The schema of each document that the reference page lists.
    fn read() -> Self {
        let reference = repository().join("docs/reference");
        let page = fs::read_to_string(reference.join("json.md")).expect("the page of the documents");
        let names = page.lines().filter_map(|line| Some(line.strip_prefix("Schema: [")?.split_once(".json]")?.0));
        let schema = |name: &str| {
            let text = fs::read(reference.join(format!("schemas/{name}.json"))).expect("a schema");
            serde_json::from_slice(&text).expect("JSON")
        };
        let schemas: BTreeMap<_, _> = names.map(|name| (name.to_owned(), schema(name))).collect();
        assert!(schemas.len() > 30, "{:?}", schemas.keys());
        Self { schemas, produced: BTreeSet::new(), problems: Vec::new() }
    }

    /// Checks that a command ends so and prints one document that matches this schema. Returns the document.
    fn check(&mut self, name: &str, code: i32, run: Run) -> Value {
        let output = run.output();
        let document = output.json();
        let schema = self.schemas.get(name).unwrap_or_else(|| panic!("the reference has no document {name}")).clone();
        if output.code() != Some(code) {
            self.problems.push(format!("exit code {:?}, expected {code}\n{output}", output.code()));
        }
        self.produced.insert(name.to_owned());
        for (schema, part) in plain_parts(&schema, &document) {
            let plain = Schema::parse(&closed(schema.clone()).to_string()).expect("a schema").expect("a schema");
            let unchecked = plain.unchecked();
            assert!(unchecked.is_empty(), "{name}.json has keywords that the evaluator does not know: {unchecked:?}");
            let text = Json::parse(part.to_string().as_bytes()).expect("JSON");
            if let Err(error) = plain.check(&text) {
                self.problems.push(format!("the document does not match {name}.json: {error}\n{output}"));
            }
            note_fields(schema, part, &format!("{name} "), &mut self.produced);
        }
        document
    }

    /// The fields of all schemas.
    fn fields(&self) -> BTreeSet<String> {
        let mut fields = BTreeSet::new();
        for (name, schema) in &self.schemas {
            let schema = if schema["$defs"].is_object() { &schema["$defs"]["one"] } else { schema };
            name_fields(schema, &format!("{name} "), &mut fields);
        }
        fields
    }
}

/// The plain schemas that a document or its entries must match. The evaluator has no alternatives (`anyOf`). Only the
/// documents of commands that take several plugins have them.
fn plain_parts<'a>(schema: &'a Value, document: &'a Value) -> Vec<(&'a Value, &'a Value)> {
    let Some(alternatives) = schema["anyOf"].as_array() else { return vec![(schema, document)] };
    let one = &schema["$defs"]["one"];
    let list = alternatives[1]["required"][0].as_str().expect("the name of the list");
    let Some(entries) = document[list].as_array() else { return vec![(one, document)] };
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(1), "{document:#}");
    let failed = &alternatives[1]["properties"][list]["items"]["anyOf"][1];
    entries.iter().map(|entry| (if entry["error"].is_null() { one } else { failed }, entry)).collect()
}

/// The same schema without room for keys that it does not describe.
fn closed(mut schema: Value) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|property| *property = closed(property.take()));
        schema["additionalProperties"] = json!(false);
    }
    if let Some(items) = schema.get_mut("items") {
        *items = closed(items.take());
    }
    schema
}

fn name_fields(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        into.insert(path.clone());
        name_fields(property, &format!("{path}."), into);
        name_fields(&property["items"], &format!("{path}[]."), into);
    }
}

/// Notes the fields of a schema that have a value in a document.
fn note_fields(schema: &Value, document: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let (path, value) = (format!("{path}{name}"), &document[name]);
        if !value.is_null() {
            into.insert(path.clone());
            note_fields(property, value, &format!("{path}."), into);
        }
        for item in value.as_array().into_iter().flatten() {
            note_fields(&property["items"], item, &format!("{path}[]."), into);
        }
    }
}

/// Fields of parts that several documents share. These documents never fill them, or only after a failure of the demo.
const NEVER_FILLED: [&str; 8] = [
    "dataset-info tables[].error",
    "dataset-info tables[].images",
    "demo runs[].",
    "demo steps[].runs[].",
    "dry-run pending_upstream[].error",
    "dry-run would_update[].error",
    "plugin-trust error.plugin",
    "plugin-trust error.why",
];

/// A folder with a home and datasets.
struct Lab {
    dir: TestDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: TestDir::in_memory() }
    }

    /// A dataset of three images with two events each.
    fn dataset(&self, name: &str) -> Fixture {
        Fixture::with_images(self.dir.join(name), 3, 2)
    }

    /// A command with `--json`. `@NAME` in its words is an indexer of `misbehave`, and `#N` is an image.
    fn command(&self, line: &str) -> Run {
        Run::new(words(line, "misbehave")).arg("--json").folder(self.dir.path()).env("HOME", self.dir.join("home"))
    }

    fn on(&self, data: &Fixture, line: &str) -> Run {
        self.command(line).dataset(data.path())
    }

    /// A copy of `radon` whose card has another text of the same length.
    fn edited(&self, name: &str, from: &str, to: &str) -> PathBuf {
        let path = self.dir.join(name);
        let mut bytes = fs::read(library("radon")).expect("a library");
        let card = find(&bytes, b"KYMCARD\n");
        let at = card + find(&bytes[card..], from.as_bytes());
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        fs::write(&path, bytes).expect("a library");
        path
    }

    /// One that asks for a plugin API that this host does not have.
    fn of_later_api(&self) -> PathBuf {
        self.edited("later.so", "\"api\":\"1.", "\"api\":\"9.")
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).expect("the bytes are there")
}

/// Every document of the reference is printed by some command, and matches its schema.
#[test]
fn documents_match_published_schemas() {
    let published = &mut Published::read();
    update_tables(published);
    fail_to_update_tables(published);
    set_params(published);
    use_plugins(published);
    keep_dataset(published);
    move_recordings(published);
    published.check("demo", 0, Lab::new().command("demo"));
    assert!(published.problems.is_empty(), "{}", published.problems.join("\n"));
    let missing: Vec<_> = published.schemas.keys().filter(|name| !published.produced.contains(*name)).collect();
    assert!(missing.is_empty(), "no command of this test printed the documents {missing:?}");
    let fields = published.fields();
    let is_needed = |field: &&String| !NEVER_FILLED.iter().any(|never| field.starts_with(never));
    let missing: Vec<_> = fields.difference(&published.produced).filter(is_needed).collect();
    assert!(missing.is_empty(), "no document of this test has a value in the fields {missing:#?}");
}

fn update_tables(published: &mut Published) {
    let lab = Lab::new();
    let data = lab.dataset("data.zarr");
    let mut prints = |name: &str, code, line: &str| published.check(name, code, lab.on(&data, line));
    prints("status", 10, "status -p velocity_events --exit-code");
    prints("status", 0, "status -p velocity_events -p radon");
    prints("dry-run", 0, "run -p velocity_events --dry-run");
    prints("dry-run", 0, "run -p velocity_events -p radon --dry-run");
    prints("run", 0, "run -p velocity_events");
    prints("run", 0, "run -p velocity_events -p radon");
    prints("explain", 0, "explain #1 -p velocity_events");
    prints("verify", 0, "verify -p velocity_events --rows");
    prints("table-list", 0, "table list");
    prints("table-show", 0, "table show velocity_events");
    prints("dataset-view-table", 0, "dataset view-table");

    // A column's type becomes wider; params, an input and an image change.
    (0..2).for_each(|image| data.image(&image_id(image)).parquet("radon", &batch([("speed", ints([1]))])));
    prints("run", 0, "run -p radon");
    data.image(&image_id(1)).parquet("radon", &batch([("speed", floats([0.5]))]));
    prints("run", 0, "run -p radon");
    data.image(&image_id(1)).params(&json!({"threshold": 7.5}));
    data.image(&image_id(2)).events(5, 0.5);
    data.remove(&format!("images/{}", image_id(0)));
    prints("explain", 0, "explain #1 -p velocity_events");
    prints("explain", 0, "explain #2 -p velocity_events");
    prints("status", 0, "status -p velocity_events");
    prints("dry-run", 0, "run -p velocity_events --dry-run");
    prints("dry-run", 0, "run -p radon_velocity -p event_detection --dry-run");
    prints("adopt", 0, "adopt -p velocity_events --reason checked");
    prints("explain", 0, "explain #1 -p velocity_events");
    prints("table-drop", 0, "table drop velocity_events --yes");
}

fn fail_to_update_tables(published: &mut Published) {
    let lab = Lab::new();
    let data = lab.dataset("data.zarr");
    let mut prints = |name: &str, code, line: &str| published.check(name, code, lab.on(&data, line));
    for line in [
        "run",
        "run -p nobody",
        "status -p nobody",
        "explain #9 -p radon",
        "verify -p nobody",
        "table show nobody",
        "table drop nobody --yes",
        "params-hash absent.json",
        "frobnicate",
    ] {
        let code = if line.contains("-p nobody") { 5 } else { 2 };
        prints("error", code, line);
    }
    prints("error", 5, &format!("run -p {}", lab.of_later_api().display()));

    // One image whose artifact is broken, and one that the plugin fails on.
    prints("run", 0, "run -p velocity_events -p radon");
    data.garble(&data.image(&image_id(1)).key("velocity_events/events.parquet"));
    data.garble(&data.image(&image_id(2)).key("velocity_events/params.json"));
    data.image(&image_id(0)).json("misbehave", &json!({"do": "panic"}));
    data.image(&image_id(1)).json("misbehave", &json!({"do": "random", "when": "params"}));
    prints("status", 0, "status -p velocity_events");
    prints("explain", 0, "explain #2 -p velocity_events");
    prints("dry-run", 0, "run -p velocity_events --dry-run");
    prints("run", 3, "run -p velocity_events");
    prints("adopt", 3, "adopt -p velocity_events --reason checked");
    prints("run", 3, "run -p @misbehave -p radon");

    // Results that differ when they are computed again.
    prints("run", 0, "run -p @behave");
    prints("verify", 3, "verify -p @behave");
    let maker = library("maker").display().to_string();
    prints("run", 0, &format!("run -p {maker}:maker"));
    let mut marker: Value =
        serde_json::from_slice(&fs::read(data.key(&data.image(&image_id(0)).key("maker_run.json"))).expect("a marker"))
            .expect("JSON");
    marker.as_object_mut().expect("an object").remove("kymhost");
    data.image(&image_id(0)).json("maker_run", &marker);
    data.image(&image_id(0)).json("maker/json", &json!({"value": 7}));
    prints("verify", 3, &format!("verify -p {maker}:maker"));

    // Rows of others, a broken table, a plugin that fails as a whole, images that are all gone.
    data.garble("tables/kym_radon.parquet");
    prints("table-list", 5, "table list");
    prints("run", 5, "run -p velocity_events -p radon");
    prints("status", 5, "status -p velocity_events -p radon");
    prints("dry-run", 5, "run -p velocity_events -p radon --dry-run");
    prints("dataset-view-table", 3, "dataset view-table");
    (0..3).for_each(|image| data.remove(&format!("images/{}", image_id(image))));
    prints("dry-run", 6, "run -p velocity_events --dry-run");
    prints("error", 6, "run -p velocity_events");
}

fn set_params(published: &mut Published) {
    let lab = Lab::new();
    let data = lab.dataset("data.zarr");
    let mut prints = |name: &str, code, line: &str| published.check(name, code, lab.on(&data, line));
    prints("params-show", 0, "params show -p velocity_events");
    prints("params-show", 0, "params show -p event_detection");
    prints("params-set", 0, "params set -p radon_velocity --all window_lines=32");
    prints("params-set", 0, "params unset -p radon_velocity --image #1 window_lines");
    prints("error", 2, "params set -p event_detection --all nonsense=1");
    data.garble(&data.image(&image_id(2)).key("velocity_events/params.json"));
    prints("params-show", 3, "params show -p velocity_events");
    let file = lab.dir.join("params.json");
    fs::write(&file, "{\"b\": 1, \"a\": 2.0}").expect("a file");
    prints("params-hash", 0, &format!("params-hash {}", file.display()));
    prints("params-hash", 0, &format!("params-hash --canonical {}", file.display()));
}

fn use_plugins(published: &mut Published) {
    let lab = Lab::new();
    let data = lab.dataset("data.zarr");
    let mut prints = |name: &str, code, line: &str| published.check(name, code, lab.command(line));
    let (good, bad) = (library("radon").display().to_string(), lab.of_later_api().display().to_string());
    prints("plugin-info", 0, "plugin info velocity_events");
    prints("plugin-info", 0, "plugin info event_detection");
    prints("error", 5, "plugin info nobody");
    prints("plugin-inspect", 0, &format!("plugin inspect {good}"));
    prints("plugin-inspect", 0, &format!("plugin inspect {}", library("event_detection").display()));
    prints("plugin-inspect", 5, &format!("plugin inspect {bad}"));
    prints("plugin-new", 0, "plugin new stalls");
    prints("plugin-new", 0, "plugin new stalls_in_c --lang c");
    prints("error", 6, "plugin new stalls");
    prints("plugin-check-list", 0, "plugin check --list");
    prints("plugin-check", 0, &format!("plugin check {good} --only hash_form extracts"));
    prints("plugin-check", 5, &format!("plugin check {bad} --only name"));

    // Installed, changed, trusted, removed.
    prints("plugin-path", 0, "plugin path");
    let dataset = data.path().display();
    let older = lab.edited("older.so", "radon@0.1", "radon@0.0");
    let added = prints("plugin-add", 0, &format!("plugin add {} --dataset-lock --dataset {dataset}", older.display()));
    prints("error", 6, &format!("plugin add {good}"));
    prints("plugin-add", 0, &format!("plugin add {good} --replace"));
    prints("plugin-path", 0, "plugin path velocity_events");
    let installed = Path::new(added["installed"][0]["library"].as_str().expect("a path"));
    fs::copy(&older, installed).expect("the library is replaced");
    fs::copy(&bad, installed.with_file_name("later.so")).expect("another library");
    prints("plugin-list", 0, "plugin list");
    prints("plugin-trust", 6, "plugin trust radon");
    prints("plugin-trust", 0, "plugin trust radon --yes");
    prints("plugin-list", 0, "plugin list");
    prints("plugin-remove", 0, &format!("plugin remove radon --dataset-lock --dataset {dataset}"));
    prints("plugin-remove", 0, "plugin remove radon");
    prints("error", 5, "plugin remove nobody");
}

fn keep_dataset(published: &mut Published) {
    let lab = Lab::new();
    published.check("dataset-create", 0, lab.command("dataset create empty.zarr"));
    published.check("error", 5, lab.command("dataset create empty.zarr"));
    published.check("dataset-info", 0, lab.command("dataset info empty.zarr"));
    let data = lab.dataset("data.zarr");
    let mut prints = |name: &str, code, line: &str| published.check(name, code, lab.on(&data, line));
    prints("run", 0, "run -p velocity_events");
    prints("dataset-validate", 0, "dataset validate");
    prints("dataset-manifest", 0, "dataset manifest");
    prints("dataset-manifest-check", 0, "dataset manifest --check");
    prints("dataset-info", 0, "dataset info");
    data.garble(&data.image(&image_id(1)).key("velocity_events/params.json"));
    data.remove(&format!("images/{}", image_id(2)));
    prints("dataset-manifest-check", 5, "dataset manifest --check");
    prints("dataset-validate", 5, "dataset validate");
    published.check("error", 5, lab.command("dataset info absent.zarr"));
}

fn move_recordings(published: &mut Published) {
    let lab = Lab::new();
    let mut prints = |name: &str, code, line: &str| published.check(name, code, lab.command(line));
    let files = lab.dir.join("files");
    fs::create_dir(&files).expect("a folder");
    let put = |name: &str, lines| {
        fs::write(files.join(name), Tiff::new(page(lines, 5, 2, Kind::Uint, 1)).bytes()).expect("a file");
    };
    put("a.tif", 9);
    put("b.tif", 9);
    let ingest = "dataset ingest files --dataset lab.zarr";
    prints("error", 2, "dataset ingest absent --dataset lab.zarr");
    prints("dataset-ingest", 0, &format!("{ingest} --dry-run"));
    prints("dataset-ingest", 0, ingest);
    // One changed, one moved, one broken.
    put("a.tif", 12);
    fs::rename(files.join("b.tif"), files.join("d.tif")).expect("the file is moved");
    fs::write(files.join("c.tif"), "no TIFF").expect("a file");
    prints("dataset-ingest", 3, &format!("{ingest} --changed skip"));
    prints("dataset-ingest", 3, ingest);

    prints("dataset-export", 0, "dataset export out --dataset lab.zarr");
    prints("error", 6, "dataset export out --dataset lab.zarr");
    let data = lab.dataset("data.zarr");
    data.garble(&data.image(&image_id(1)).key("velocity_events/events.parquet"));
    data.put("tables/kym_radon.parquet", "no table");
    prints("dataset-export", 3, "dataset export broken --dataset data.zarr");
}
