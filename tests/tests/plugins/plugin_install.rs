//! Looking at, installing and trusting plugins: `plugin inspect`, `add`, `remove`, `list`, `path`, `trust`.

use kymhost_tests::fixture::Fixture;
use kymhost_tests::{Output, Run, TestDir, crates_target, library, program, sha256, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

/// Writes over a file's bytes at a place.
fn poke(path: &Path, at: usize, bytes: &[u8]) {
    let mut all = fs::read(path).unwrap();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, all).unwrap();
}

/// Where these bytes first stand in a file.
#[track_caller]
fn find(path: &Path, bytes: &[u8]) -> usize {
    let all = fs::read(path).unwrap();
    all.windows(bytes.len()).position(|window| window == bytes).expect("the bytes are there")
}

/// Gives the card another text of the same length, and so leaves the file's form alone.
fn edit_card(path: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let magic = find(path, b"KYMCARD\n");
    let mut all = fs::read(path).unwrap();
    let at = all[magic..].windows(from.len()).position(|window| window == from.as_bytes()).expect("in the card");
    all[magic + at..magic + at + to.len()].copy_from_slice(to.as_bytes());
    fs::write(path, all).unwrap();
}

/// Makes the library one of API 9.0.
fn of_major_9(path: &Path) {
    let api = format!("\"api\":\"{}\"", kymhost_plugin_api::card::API);
    edit_card(path, &api, "\"api\":\"9.0\"");
}

/// Makes an ELF library one for IBM's mainframes as far as its header goes.
fn of_another_machine(path: &Path) {
    poke(path, 18, &22u16.to_le_bytes());
}

/// Gives the indexer a name that no run would take.
fn of_no_name(path: &Path) {
    edit_card(path, "\"name\":\"radon\"", "\"name\":\"../..\"");
}

fn cut_in_half(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn copy_of(dir: &TestDir, plugin: &str, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::copy(library(plugin), &path).unwrap();
    path
}

fn hex_sha256(path: &Path) -> String {
    sha256(fs::read(path).unwrap())
}

/// The error of a document, of either form: `error`, or `refusal` of `plugin inspect`.
#[track_caller]
fn refused(output: Output, exit: i32, code: &str, says: &[&str]) -> Value {
    let output = output.expect_code(exit);
    let document = output.json();
    let error = if document["error"].is_null() { &document["refusal"] } else { &document["error"] };
    assert_eq!(error["code"], code, "{output}");
    let text = format!("{} {}", error["message"].as_str().unwrap_or(""), error["help"].as_str().unwrap_or(""));
    for part in says {
        assert!(text.contains(part), "{output} does not say {part}");
    }
    document
}

/// `plugin inspect` shows the whole card and whether the library loads.
#[test]
fn inspect_shows_card_and_whether_it_loads() {
    let dir = TestDir::new();
    let inspect = |path: &Path| Run::new(["plugin", "inspect"]).arg(path);
    for (name, indexers) in
        [("radon", &["radon"][..]), ("velocity_events", &["velocity_events"]), ("misbehave", &["misbehave", "behave"])]
    {
        let path = library(name).canonicalize().unwrap();
        let document = inspect(&path).arg("--json").output().expect_code(0).json();
        assert_eq!(document["library"], path.to_str().unwrap());
        assert_eq!(document["size_bytes"], fs::metadata(&path).unwrap().len());
        assert_eq!(document["sha256"], hex_sha256(&path));
        assert_eq!(document["api"], kymhost_plugin_api::card::API.to_string());
        assert_eq!(document["target"], kymhost_plugin_api::card::TARGET);
        assert_eq!(document["host"]["target"], kymhost_plugin_api::card::TARGET);
        assert_eq!((&document["loads"], &document["refusal"]), (&Value::Bool(true), &Value::Null));
        let found: Vec<_> = document["indexers"].as_array().unwrap().iter().map(|one| &one["indexer"]).collect();
        assert_eq!(found, indexers);
        if cfg!(target_os = "linux") {
            assert_eq!(document["format"], "elf");
        }
        assert_eq!(document["platforms"][0]["arch"], std::env::consts::ARCH);
        let text = inspect(&path).output().expect_code(0);
        text.expect_stdout(&[indexers[0], "would be loaded   yes", &hex_sha256(&path), "plugin API", "sha-256"]);
    }

    // A library that cannot run here is shown in full all the same; a file without a card gives only an error.
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &str, &[&str], bool); 9] = [
        ("of a future major", of_major_9, "api_major", &["9.0", "upgrade kymhost"], true),
        (
            "of another architecture",
            of_another_machine,
            "platform",
            &["s390x", std::env::consts::ARCH, "get the plugin's build"],
            true,
        ),
        (
            "of another door",
            |path| edit_card(path, "abi_stable-0.11", "abi_stable-9.99"),
            "door",
            &["abi_stable-9.99"],
            true,
        ),
        ("with a name of no table", of_no_name, "bad_name", &["'../..'", "a-z, 0-9 and _", "rename"], true),
        ("truncated", cut_in_half, "truncated", &["cut off"], false),
        ("emptied", |path| fs::write(path, "").unwrap(), "truncated", &["empty"], false),
        ("replaced by text", |path| fs::write(path, "words").unwrap(), "no_library", &["not a dynamic library"], false),
        ("without its card's magic", |path| edit_card(path, "KYMCARD\n", "KYMXXXX\n"), "bad_card", &["magic"], false),
        ("world-writable", |path| mode(path, 0o666), "world_writable", &["chmod o-w"], true),
    ];
    for (number, (what, harm, code, says, has_document)) in cases.into_iter().enumerate() {
        let path = copy_of(&dir, "radon", &format!("lib{number}.so"));
        harm(&path);
        let document = refused(inspect(&path).arg("--json").output(), 5, code, says);
        assert_eq!(document["loads"] == Value::Bool(false), has_document, "{what}: {document}");
        let text = inspect(&path).output().expect_code(5);
        if has_document {
            text.expect_stdout(&[&format!("would be loaded   no: [{code}]"), "radon", "help "]);
        } else {
            text.expect_stderr(&["error: cannot use", "help: "]);
        }
    }
    refused(inspect(&dir.join("absent.so")).arg("--json").output(), 5, "unreadable", &["absent.so"]);
    refused(inspect(dir.path()).arg("--json").output(), 5, "no_library", &["not a file"]);
}

/// `plugin inspect` does not say that a library loads if a run refuses its name.
#[test]
#[ignore = "slow"]
fn inspect_rejects_name_that_run_rejects() {
    let dir = TestDir::new();
    let dataset = Fixture::with_images(dir.join("lab.zarr"), 1, 4);
    let library = kymhost_tests::wrong_plugin("bad_name");
    for command in [["plugin", "inspect"], ["run", "--plugin"]] {
        let run = Run::new(command).arg(&library).arg("--json");
        let run = if command[0] == "run" { run.arg("--dataset").arg(dataset.path()) } else { run };
        refused(run.output(), 5, "bad_name", &["'Wrong-Name'", "a-z, 0-9 and _"]);
    }
}

/// Keys of later cards are shown and are harmless.
#[test]
fn inspect_shows_keys_of_later_cards() {
    let dir = TestDir::new();
    let path = copy_of(&dir, "radon", "later.so");
    // The name of a key that this host knows nothing of, in the place of one that it can do without.
    edit_card(&path, "\"params_artifacts\":", "\"futures_artifact\":");
    let document = Run::new(["plugin", "inspect", "--json"]).arg(&path).output().expect_code(0).json();
    assert_eq!(document["indexers"][0]["other_keys"], serde_json::json!(["futures_artifact"]));
    Run::new(["plugin", "inspect"])
        .arg(&path)
        .output()
        .expect_code(0)
        .expect_stdout(&["other keys", "futures_artifact"]);
}

/// `plugin list` shows a broken library as one line.
#[test]
fn list_shows_broken_library() {
    let dir = TestDir::new();
    let folder = dir.join("plugins");
    fs::create_dir(&folder).unwrap();
    let put = |name: &str, harm: fn(&Path)| {
        let path = folder.join(format!("{name}{}", std::env::consts::DLL_SUFFIX));
        fs::copy(library("radon"), &path).unwrap();
        harm(&path);
    };
    put("a_major", of_major_9);
    put("b_machine", of_another_machine);
    put("c_cut", cut_in_half);
    put("d_magic", |path| edit_card(path, "KYMCARD\n", "KYMXXXX\n"));
    put("e_empty", |path| fs::write(path, "").unwrap());
    put("f_name", of_no_name);
    let run = || Run::new(["plugin", "list", "--plugin-dir"]).arg(&folder);
    let document = run().arg("--json").output().expect_code(0).json();
    let lines = document["unusable"].as_array().unwrap();
    let of = |one: &&Value| one["library"].as_str().is_some_and(|path| path.starts_with(folder.to_str().unwrap()));
    let found: Vec<_> = lines.iter().filter(of).map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(found, ["api_major", "platform", "truncated", "bad_card", "truncated", "bad_name"]);
    run().output().expect_code(0).expect_stdout(&["[api_major]", "[platform]", "[truncated]", "[bad_card]"]);
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

/// A user with a data folder, a program without plugins next to it, and a dataset.
struct User {
    dir: TestDir,
    data: Fixture,
}

const DATASET: &str = "data.zarr";
const IN_DATASET: &str = "index/kymhost/plugins.lock.json";

impl User {
    fn new() -> Self {
        let dir = TestDir::new();
        fs::create_dir(dir.join("bin")).unwrap();
        let here = dir.join("bin/kymhost");
        if fs::hard_link(program(), &here).is_err() {
            fs::copy(program(), &here).unwrap();
        }
        let data = Fixture::with_images(dir.join(DATASET), 2, 3);
        Self { dir, data }
    }

    fn run(&self, words: &[&str]) -> Run {
        Run::program(&self.dir.join("bin/kymhost"), words)
            .env("XDG_DATA_HOME", self.dir.join("share"))
            .folder(self.dir.path())
    }

    fn json(&self, words: &[&str]) -> Run {
        self.run(words).arg("--json")
    }

    /// The folder of installed plugins.
    fn plugins(&self) -> PathBuf {
        self.dir.join("share/kymhost/plugins")
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("share/kymhost/plugins.lock.json")
    }

    fn entries(&self) -> Vec<Value> {
        let lock: Value = serde_json::from_slice(&fs::read(self.lock()).unwrap()).unwrap();
        assert_eq!(lock["format"], 1);
        lock["plugins"].as_array().unwrap().clone()
    }

    fn installed(&self, name: &str) -> PathBuf {
        self.plugins().join(format!("lib{name}{}", std::env::consts::DLL_SUFFIX))
    }

    /// A copy of a built plugin in a folder of this user's own.
    fn source(&self, plugin: &str, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(library(plugin), &path).unwrap();
        path
    }

    fn add(&self, words: &[&str]) -> Output {
        self.json(&["plugin", "add"]).args(words).output()
    }

    /// `velocity_events`, installed from a file.
    fn with_velocity_events() -> Self {
        let user = Self::new();
        let source = user.source("velocity_events", "src/libve.so");
        user.add(&[source.to_str().unwrap()]).expect_code(0);
        user
    }

    fn status(&self) -> Run {
        self.json(&["status", "--plugin", "velocity_events", "--dataset", DATASET])
    }
}

/// Bytes that nothing reads, and that change the digest.
fn append(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.extend(b"written to");
    fs::write(path, bytes).unwrap();
}

/// `plugin add` copies and locks a library, which can then be listed, run and removed.
#[test]
fn add_copies_locks_lists_runs_removes() {
    let user = User::new();
    let said = user.run(&["plugin", "path"]).output().expect_code(0);
    assert_eq!(said.stdout().trim(), user.plugins().to_str().unwrap());
    assert!(!user.lock().exists() && !user.plugins().exists(), "asking makes nothing");

    let source = user.source("velocity_events", "src/libve.so");
    let digest = hex_sha256(&source);
    let document = user.add(&[source.to_str().unwrap()]).expect_code(0).json();
    let library = user.installed("velocity_events");
    assert_eq!(document["installed"][0]["library"], library.to_str().unwrap());
    assert_eq!(document["installed"][0]["sha256"], digest);
    assert_eq!(document["installed"][0]["replaced"], json!([]));
    // On the dataset that is found from here; if there is none, on one that is made for it (see `new_author`).
    let program = user.dir.join("bin/kymhost").display().to_string();
    let next = ["run --plugin", "table show"].map(|words| format!("{program} {words} velocity_events"));
    assert_eq!(document["next"], json!(next));
    assert_eq!(hex_sha256(&library), digest);
    for (path, bits) in [(&library, 0o755), (&user.plugins(), 0o755), (&user.dir.join("share/kymhost"), 0o755)] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, bits, "{}", path.display());
    }
    let left: Vec<_> = fs::read_dir(user.plugins()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let entries = user.entries();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry["indexers"][0]["name"], "velocity_events");
    assert!(entry["indexers"][0]["analysis_version"].is_string() && entry["locked_utc"].is_string(), "{entry}");
    assert_eq!(entry["origin"], json!({"kind": "file", "path": source.canonicalize().unwrap()}));
    assert_eq!((&entry["sha256"], &entry["file"]), (&json!(digest), &json!(library)));
    assert_eq!(entry["card"]["target"], kymhost_plugin_api::card::TARGET);

    let listed = user.json(&["plugin", "list"]).output().expect_code(0).json();
    assert_eq!(
        (&listed["plugins"][0]["indexer"], &listed["plugins"][0]["locked"]),
        (&json!("velocity_events"), &json!(true))
    );
    assert_eq!((&listed["plugins"][0]["sha256"], &listed["unusable"]), (&json!(digest), &json!([])));
    let found = user.run(&["plugin", "path", "velocity_events"]).output().expect_code(0);
    assert_eq!(found.stdout().trim(), library.to_str().unwrap());
    // The source is not needed any more.
    fs::remove_file(&source).unwrap();
    let ran = user.json(&["run", "--plugin", "velocity_events", "--dataset", DATASET]).output().expect_code(0).json();
    assert_eq!(ran["stats"]["updated"], 2, "{ran}");
    assert!(!user.data.key(IN_DATASET).exists());

    let removed = user.json(&["plugin", "remove", "velocity_events"]).output().expect_code(0).json();
    assert_eq!((&removed["removed"], &removed["is_deleted"]), (&json!(["velocity_events"]), &json!(true)));
    assert!(!library.exists() && user.entries().is_empty());
    refused(user.status().output(), 5, "unknown_plugin", &["velocity_events"]);
    refused(user.json(&["plugin", "remove", "velocity_events"]).output(), 5, "not_installed", &["installed: none"]);
}

/// A library that cannot be used is not added.
#[test]
fn add_rejects_unusable_library() {
    let user = User::new();
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &str, &[&str]); 7] = [
        ("major", of_major_9, "api_major", &["9.0", "upgrade kymhost"]),
        ("machine", of_another_machine, "platform", &["s390x"]),
        ("cut", cut_in_half, "truncated", &["cut off"]),
        ("text", |path| fs::write(path, "words").unwrap(), "no_library", &["help"]),
        ("writable", |path| mode(path, 0o666), "world_writable", &["chmod o-w"]),
        ("bad_name", |path| edit_card(path, "\"radon\"", "\"../dn\""), "bad_name", &["../dn"]),
        ("gone", |path| fs::remove_file(path).unwrap(), "io", &["give a plugin's library"]),
    ];
    for (name, harm, code, says) in cases {
        let source = user.source("radon", &format!("{name}/lib{name}.so"));
        harm(&source);
        let says: Vec<&str> = says.iter().copied().filter(|part| *part != "help").collect();
        let document = refused(user.add(&[source.to_str().unwrap()]), 5, code, &says);
        assert!(document["error"]["help"].is_string(), "{document}");
    }
    fs::create_dir(user.dir.join("empty")).unwrap();
    refused(user.add(&["empty"]), 5, "no_plugin", &["no plugin library", "Cargo.toml"]);
    let left: Vec<_> = fs::read_dir(user.plugins()).into_iter().flatten().collect();
    assert!(left.is_empty() && !user.lock().exists(), "{left:?}");
}

/// A name is taken until `--replace` is given.
#[test]
fn add_rejects_taken_name_without_replace() {
    let user = User::with_velocity_events();
    let library = user.installed("velocity_events");
    let same = user.source("velocity_events", "src/libve.so");
    user.add(&[same.to_str().unwrap()]).expect_code(0);
    assert_eq!(user.entries().len(), 1, "the same bytes again are the same library");

    let other = user.source("velocity_events", "new/libother.so");
    append(&other);
    let says = ["velocity_events", "--replace", other.to_str().unwrap(), library.to_str().unwrap()];
    refused(user.add(&[other.to_str().unwrap()]), 6, "name_taken", &says);
    assert_eq!(hex_sha256(&library), hex_sha256(&same));
    let document = user.add(&[other.to_str().unwrap(), "--replace"]).expect_code(0).json();
    assert_eq!(document["installed"][0]["replaced"][0]["sha256"], hex_sha256(&same));
    assert_eq!(hex_sha256(&library), hex_sha256(&other));
    assert_eq!(user.entries().len(), 1);
    user.status().output().expect_code(0);
    let said = user.run(&["plugin", "add", other.to_str().unwrap(), "--replace"]).output().expect_code(0);
    said.expect_stdout(&["installed velocity_events (", "\nnext:\n", "run --plugin velocity_events"]);

    // One that was put there by hand holds its name as well, until it is removed.
    let by_hand = user.plugins().join("byhand.so");
    fs::copy(kymhost_tests::library("misbehave"), &by_hand).unwrap();
    let third = user.source("misbehave", "third/lib.so");
    append(&third);
    refused(user.add(&[third.to_str().unwrap()]), 6, "name_taken", &["misbehave", by_hand.to_str().unwrap()]);
    user.add(&[third.to_str().unwrap(), "--replace"]).expect_code(0);
    assert!(!by_hand.exists());
    let removed = user.json(&["plugin", "remove", "behave"]).output().expect_code(0).json();
    assert_eq!(removed["removed"], json!(["misbehave", "behave"]));
}

/// A folder adds every plugin in it.
#[test]
fn add_folder_adds_every_plugin() {
    let user = User::new();
    user.source("velocity_events", "many/libve.so");
    user.source("radon", "many/libradon.so");
    fs::write(user.dir.join("many/notes.so"), "not a library").unwrap();
    fs::write(user.dir.join("many/read.me"), "words").unwrap();
    let document = user.add(&["many"]).expect_code(0).json();
    assert_eq!(document["installed"].as_array().unwrap().len(), 2);
    assert!(user.installed("radon").is_file() && user.installed("velocity_events").is_file());

    // A Makefile is run; what it prints does not spoil the document.
    fs::create_dir(user.dir.join("made")).unwrap();
    let make =
        |rule: &str| fs::write(user.dir.join("made/Makefile"), format!("all:\n\t@echo from make\n\t{rule}\n")).unwrap();
    make(&format!("@cp {} libmade.so", library("misbehave").display()));
    let output = user.add(&["made"]).expect_code(0).expect_stderr(&["from make"]);
    assert_eq!(output.json()["installed"][0]["origin"]["kind"], "makefile");
    make("@false");
    refused(user.add(&["made", "--replace"]), 5, "build_failed", &["make"]);
    fs::remove_file(user.dir.join("made/libmade.so")).unwrap();
    make("@true");
    refused(user.add(&["made"]), 5, "no_plugin", &["Makefile"]);
}

/// `plugin add` builds a crate and adds its library.
#[test]
#[ignore = "slow"]
fn add_builds_a_crate() {
    let user = User::new();
    let plugin_api = kymhost_tests::repository().join("plugin-api");
    let krate = user.dir.join("stalls");
    fs::create_dir_all(krate.join("src")).unwrap();
    let manifest = |kind: &str| {
        format!(
            "[package]\nname = \"stalls\"\nversion = \"0.3.1\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"{kind}\"]\n\
             [dependencies]\nkymhost-plugin-api = {{ path = {plugin_api:?}, default-features = false }}\n[workspace]\n"
        )
    };
    fs::write(krate.join("Cargo.toml"), manifest("cdylib")).unwrap();
    fs::copy(kymhost_tests::repository().join("Cargo.lock"), krate.join("Cargo.lock")).unwrap();
    let source = "use kymhost_plugin_api::{export_plugin, Indexer, Json, Record, Result, Run, Table};\n\
                  #[derive(Default)]\npub struct Stalls;\n\
                  impl Indexer for Stalls {\n\
                  const NAME: &'static str = \"stalls\";\n\
                  const ANALYSIS_VERSION: &'static str = \"stalls@1\";\n\
                  fn params(&self, _: &Record) -> Result<Json> { Ok(Json::Null) }\n\
                  fn extract_rows(&self, _: &Record, _: &Run) -> Result<Table> { unreachable!() }\n\
                  }\nexport_plugin!(Stalls);\n";
    fs::write(krate.join("src/lib.rs"), "this is no Rust").unwrap();
    let build = |words: &[&str]| {
        // The target folder keeps dependencies from one run of the tests to the next. Optimisation would only cost time.
        let run = user.json(&["plugin", "add", "stalls"]).args(words).env("CARGO_TARGET_DIR", crates_target());
        let run = run.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        let cargo_home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
        let run = run.env("CARGO_HOME", cargo_home.unwrap_or_default()).env("CARGO_NET_OFFLINE", "true");
        let rustup = std::env::var_os("RUSTUP_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
        let toolchain = std::env::var_os("RUSTUP_TOOLCHAIN").unwrap_or_default();
        let run = run.env("RUSTUP_HOME", rustup.unwrap_or_default());
        let run = if toolchain.is_empty() { run } else { run.env("RUSTUP_TOOLCHAIN", toolchain) };
        run.patience(std::time::Duration::from_secs(3600)).output()
    };
    let output = build(&[]);
    refused(output, 5, "build_failed", &["cargo build --release"]);
    fs::write(krate.join("src/lib.rs"), source).unwrap();
    let output = build(&[]).expect_code(0);
    let origin = &output.json()["installed"][0]["origin"];
    assert_eq!(
        (&origin["kind"], &origin["crate"], &origin["version"]),
        (&json!("crate"), &json!("stalls"), &json!("0.3.1"))
    );
    assert!(user.installed("stalls").is_file());
    fs::write(krate.join("Cargo.toml"), manifest("rlib")).unwrap();
    refused(build(&["--replace"]), 5, "no_plugin", &["cdylib", "export_plugin!"]);
}

/// Another library in the place of an installed one is rejected, and the message names the cause.
#[test]
fn run_rejects_replaced_library() {
    type Harm = fn(&User, &Path);
    let cases: [(&str, Harm, &str, &[&str]); 8] = [
        ("written to", |_, path| append(path), "digest_changed", &["kymhost plugin trust velocity_events"]),
        (
            "written to in place",
            |_, path| {
                use std::io::{Seek as _, Write as _};
                let length = fs::metadata(path).unwrap().len();
                let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.seek(std::io::SeekFrom::Start(length / 2)).unwrap();
                file.write_all(b"XXXXXXXX").unwrap();
            },
            "digest_changed",
            &["SHA-256"],
        ),
        (
            "replaced by another plugin",
            |_, path| {
                fs::remove_file(path).unwrap();
                fs::copy(library("radon"), path).unwrap();
            },
            "digest_changed",
            &["velocity_events"],
        ),
        ("truncated", |_, path| cut_in_half(path), "truncated", &["cut off"]),
        ("of another architecture", |_, path| of_another_machine(path), "digest_changed", &["SHA-256"]),
        ("of a future major", |_, path| of_major_9(path), "digest_changed", &["SHA-256"]),
        ("replaced by text", |_, path| fs::write(path, "words").unwrap(), "no_library", &["reinstall"]),
        ("deleted", |_, path| fs::remove_file(path).unwrap(), "missing", &["kymhost plugin add", "plugin remove"]),
    ];
    for (what, harm, code, says) in cases {
        let user = User::with_velocity_events();
        let library = user.installed("velocity_events");
        harm(&user, &library);
        for words in [
            &["run", "--plugin", "velocity_events"][..],
            &["run", "--in-process", "--plugin", "velocity_events"],
            &["status", "--plugin", "velocity_events"],
            &["plugin", "info", "velocity_events"],
        ] {
            let document = refused(user.json(words).arg("--dataset").arg(DATASET).output(), 5, code, says);
            assert!(document["error"]["help"].is_string(), "{what}: {document}");
        }
        assert!(!user.data.key("tables/kym_velocity_events.parquet").exists(), "{what}");
        // Its path does not help.
        if code != "missing" {
            refused(user.json(&["plugin", "info", library.to_str().unwrap()]).output(), 5, code, says);
        }
        let listed = user.json(&["plugin", "list"]).output().expect_code(0).json();
        assert_eq!(listed["unusable"][0]["code"], code, "{what}: {listed}");
        assert_eq!(listed["unusable"][0]["library"], library.to_str().unwrap(), "{what}: {listed}");
        assert_eq!(listed["plugins"], json!([]), "{what}");
    }
}

/// A changed library runs only after its user trusts it.
#[test]
fn changed_library_needs_trust() {
    let user = User::with_velocity_events();
    let library = user.installed("velocity_events");
    let before = hex_sha256(&library);
    user.json(&["plugin", "trust", "velocity_events"]).output().expect_code(0);
    edit_card(&library, "\"marker\":\"", "\"Xarker\":\"");
    refused(user.json(&["plugin", "trust", "velocity_events", "--yes"]).output(), 5, "bad_card", &["marker"]);
    edit_card(&library, "\"Xarker\":\"", "\"marker\":\"");
    let version = user.entries()[0]["indexers"][0]["analysis_version"].as_str().unwrap().to_owned();
    let newer = format!("{}Z", &version[..version.len() - 1]);
    // The card alone would not do: the library must say the same when it is loaded. Both texts stand in it.
    let mut bytes = fs::read(&library).unwrap();
    let places: Vec<usize> =
        bytes.windows(version.len()).enumerate().filter(|(_, w)| *w == version.as_bytes()).map(|(at, _)| at).collect();
    for at in places {
        bytes[at..at + newer.len()].copy_from_slice(newer.as_bytes());
    }
    fs::write(&library, bytes).unwrap();
    let after = hex_sha256(&library);
    refused(user.status().output(), 5, "digest_changed", &[&before, &after, "kymhost plugin trust velocity_events"]);

    let output = user.json(&["plugin", "trust", "velocity_events"]).output();
    let document = refused(output, 6, "guarded", &["--yes"]);
    assert_eq!((&document["before"]["sha256"], &document["after"]["sha256"]), (&json!(before), &json!(after)));
    assert_eq!(document["trusted"], false);
    let change = json!({"what": "velocity_events: analysis_version", "before": version, "after": newer});
    assert_eq!(document["changes"], json!([change]));
    refused(user.status().output(), 5, "digest_changed", &[]);
    let text = user.run(&["plugin", "trust", "velocity_events"]).output().expect_code(6);
    text.expect_stdout(&[&before, &after, &version, &newer]).expect_stderr(&["--yes"]);

    let document = user.json(&["plugin", "trust", "velocity_events", "--yes"]).output().expect_code(0).json();
    assert_eq!(document["trusted"], true);
    assert_eq!(user.entries().len(), 1);
    assert_eq!((&user.entries()[0]["sha256"], &user.entries()[0]["origin"]["kind"]), (&json!(after), &json!("file")));
    user.status().output().expect_code(0);
    let ran = user.json(&["run", "--plugin", "velocity_events", "--dataset", DATASET]).output().expect_code(0).json();
    assert_eq!(ran["stats"]["updated"], 2, "{ran}");
    refused(user.json(&["plugin", "trust", "nothing"]).output(), 5, "unknown_plugin", &["nothing"]);
}

#[test]
fn library_writable_by_others_is_rejected() {
    // Each with the library installed: what is done to it, and how a run ends.
    type Harm = fn(&Path);
    let foreign_group: Harm = |path| chown(path, None, Some(54_321)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let cases: [(&str, bool, Harm, (&str, &str)); 4] = [
        ("a file that all may write to", false, |path| mode(path, 0o757), ("world_writable", "chmod o-w")),
        (
            "a folder that all may write to",
            false,
            |path| mode(path.parent().unwrap(), 0o777),
            ("world_writable", "chmod o-w"),
        ),
        ("another's file", true, |path| chown(path, Some(54_321), None).unwrap(), ("foreign_owner", "54321")),
        (
            "another's folder",
            true,
            |path| chown(path.parent().unwrap(), Some(54_321), None).unwrap(),
            ("foreign_owner", "54321"),
        ),
    ];
    for (_what, by_root, harm, (code, says)) in cases {
        if by_root && !is_root {
            skip("files of another owner can only be made by root");
            continue;
        }
        let user = User::with_velocity_events();
        harm(&user.installed("velocity_events"));
        refused(user.status().output(), 5, code, &[says]);
        refused(user.json(&["plugin", "trust", "velocity_events", "--yes"]).output(), 5, code, &[says]);
    }
    if !is_root {
        return skip("files of another group can only be made by root");
    }
    // What a group may write to: file, folder; neither in the lock file, then in it.
    for of_folder in [false, true] {
        let user = User::new();
        let shared = user.source("velocity_events", "lab/libve.so");
        let open = if of_folder { shared.parent().unwrap().to_path_buf() } else { shared.clone() };
        foreign_group(&open);
        mode(&open, 0o775);
        let by_path = user.json(&["status", "--dataset", DATASET, "--plugin", shared.to_str().unwrap()]);
        let in_folder = ["--plugin-dir", "lab"];
        let says = ["54321", "chmod g-w", "kymhost plugin trust", open.to_str().unwrap()];
        refused(by_path.output(), 5, "group_writable", &says);
        refused(user.status().args(in_folder).output(), 5, "group_writable", &says);
        // Without the group's right to write it is as any other.
        mode(&open, 0o755);
        user.status().args(in_folder).output().expect_code(0);
        mode(&open, 0o775);
        let trusted =
            user.json(&["plugin", "trust", "velocity_events", "--yes"]).args(in_folder).output().expect_code(0).json();
        assert_eq!((&trusted["before"], &trusted["after"]["origin"]["kind"]), (&Value::Null, &json!("in_place")));
        user.status().args(in_folder).output().expect_code(0);
        // A colleague writes to it.
        append(&shared);
        refused(user.status().args(in_folder).output(), 5, "digest_changed", &["plugin trust"]);
        // A copy of what is trusted is trusted, wherever it is.
        let copy = user.source("velocity_events", "copy/libve.so");
        foreign_group(&copy);
        mode(&copy, 0o775);
        user.json(&["status", "--dataset", DATASET, "--plugin", copy.to_str().unwrap()]).output().expect_code(0);
        let removed = user.json(&["plugin", "remove", "velocity_events"]).output().expect_code(0).json();
        assert_eq!(removed["is_deleted"], false);
        assert!(shared.exists());
    }
    // Write permission of the user's own group is harmless: here root's, if it has no other members.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if passwd.lines().filter(|line| line.split(':').nth(3) == Some("0")).count() == 1 {
        let user = User::with_velocity_events();
        user.json(&["plugin", "remove", "velocity_events"]).output().expect_code(0);
        let own = user.source("velocity_events", "own/libve.so");
        mode(&own, 0o775);
        user.json(&["status", "--dataset", DATASET, "--plugin", own.to_str().unwrap()]).output().expect_code(0);
    } else {
        skip("root's group has other members");
    }
}

/// A dataset can require one digest of a library.
#[test]
fn dataset_can_require_a_digest() {
    let user = User::new();
    let source = user.source("velocity_events", "src/libve.so");
    user.add(&[source.to_str().unwrap(), "--dataset-lock", "--dataset", DATASET]).expect_code(0);
    let pinned: Value = serde_json::from_slice(&fs::read(user.data.key(IN_DATASET)).unwrap()).unwrap();
    assert_eq!((&pinned["format"], &pinned["plugins"][0]["sha256"]), (&json!(1), &json!(hex_sha256(&source))));
    assert!(
        pinned["plugins"][0].get("file").is_none() && pinned["plugins"][0]["origin"].get("path").is_none(),
        "{pinned}"
    );
    user.status().output().expect_code(0);
    user.json(&["run", "--plugin", "velocity_events", "--dataset", DATASET]).output().expect_code(0);

    // Another library of that name: also by its path, also one that is in no lock file of the user's.
    let other = user.source("velocity_events", "other/libve.so");
    append(&other);
    let path = other.to_str().unwrap();
    let words = ["this dataset asks for", "--dataset-lock", &hex_sha256(&source), &hex_sha256(&other)];
    for command in ["run", "status", "verify"] {
        refused(user.json(&[command, "--dataset", DATASET, "--plugin", path]).output(), 5, "digest_changed", &words);
    }
    user.json(&["plugin", "info", path]).output().expect_code(0);
    // Other datasets do not care.
    Fixture::with_images(user.dir.join("free.zarr"), 1, 1);
    user.json(&["status", "--dataset", "free.zarr", "--plugin", path]).output().expect_code(0);

    let trusted = user.json(&["plugin", "trust", path, "--dataset-lock", "--dataset", DATASET]);
    refused(trusted.output(), 6, "name_taken", &["--replace"]);
    user.json(&["plugin", "remove", "velocity_events"]).output().expect_code(0);
    let trust = || user.json(&["plugin", "trust", path, "--dataset-lock", "--dataset", DATASET]);
    refused(trust().output(), 6, "guarded", &["--dataset-lock --yes"]);
    trust().arg("--yes").output().expect_code(0);
    user.json(&["status", "--dataset", DATASET, "--plugin", path]).output().expect_code(0);
    assert!(user.entries().is_empty(), "only the dataset asks for it");
    refused(
        user.json(&["status", "--dataset", DATASET, "--plugin", source.to_str().unwrap()]).output(),
        5,
        "digest_changed",
        &[],
    );

    // A broken one is reported. Plugins that a dataset names are not searched for in it.
    let unpin = || user.json(&["plugin", "remove", "velocity_events", "--dataset-lock", "--dataset", DATASET]);
    unpin().output().expect_code(0);
    refused(unpin().output(), 5, "not_installed", &["installed: none"]);
    user.json(&["status", "--dataset", DATASET, "--plugin", source.to_str().unwrap()]).output().expect_code(0);
    user.data.put(IN_DATASET, "{\"format\": 1");
    refused(user.json(&["status", "--dataset", DATASET, "--plugin", path]).output(), 5, "bad_lock", &[IN_DATASET]);
}

/// Nothing is loaded from the dataset or the working folder.
#[test]
fn dataset_and_working_folder_are_not_searched() {
    let user = User::new();
    for folder in [".", DATASET, "data.zarr/index/kymhost", "data.zarr/plugins", "plugins"] {
        user.source("velocity_events", &format!("{folder}/libvelocity_events.so"));
    }
    refused(user.status().output(), 5, "unknown_plugin", &["velocity_events"]);
    // Not even if the dataset's own lock file names one.
    let entry = json!({
        "indexers": [{"name": "velocity_events", "analysis_version": "v"}], "sha256": "a".repeat(64),
        "file": user.dir.join("libvelocity_events.so"), "origin": {"kind": "file"}, "locked_utc": "2026-01-01T00:00:00Z"
    });
    user.data.put(IN_DATASET, json!({"format": 1, "plugins": [entry]}).to_string());
    refused(user.status().output(), 5, "unknown_plugin", &["velocity_events"]);
}

/// A broken lock file is never ignored.
#[test]
fn broken_lock_file_is_an_error() {
    for (content, says) in [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("{\"format\": 2, \"plugins\": []}", "upgrade kymhost"),
        ("{\"format\": 1, \"plugins\": [{\"sha256\": \"x\"}]}", "damaged"),
    ] {
        let user = User::with_velocity_events();
        fs::write(user.lock(), content).unwrap();
        let source = user.source("radon", "src/libradon.so");
        let path = source.to_str().unwrap();
        for words in [
            &["plugin", "list"][..],
            &["plugin", "info", "velocity_events"],
            &["plugin", "add", path],
            &["plugin", "remove", "velocity_events"],
            &["plugin", "trust", "velocity_events", "--yes"],
            &["plugin", "inspect", path],
            &["status", "--plugin", "velocity_events", "--dataset", DATASET],
            &["run", "--plugin", path, "--dataset", DATASET],
        ] {
            refused(user.json(words).output(), 5, "bad_lock", &[says, user.lock().to_str().unwrap()]);
        }
        assert_eq!(fs::read_to_string(user.lock()).unwrap(), content, "its user looks at it first");
        assert!(!user.installed("radon").exists());
    }
    // One that others may write to says nothing.
    let user = User::with_velocity_events();
    mode(&user.lock(), 0o666);
    refused(user.status().output(), 5, "world_writable", &["plugins.lock.json"]);
    mode(&user.lock(), 0o644);
    // Nor does one in a folder that others may write to: they could put another in its place.
    let data = user.dir.join("share/kymhost");
    mode(&data, 0o777);
    refused(user.status().output(), 5, "world_writable", &["share/kymhost", "chmod o-w"]);
    mode(&data, 0o755);
    if rustix::process::geteuid().is_root() {
        for (path, bits, before) in [(&user.lock(), 0o664, 0o644), (&data, 0o775, 0o755)] {
            chown(path, None, Some(54_321)).unwrap();
            mode(path, bits);
            refused(user.status().output(), 5, "group_writable", &["chmod g-w", path.to_str().unwrap()]);
            mode(path, before);
        }
    } else {
        skip("files of another group can only be made by root");
    }
    user.status().output().expect_code(0);
    // A later version's fields are kept.
    mode(&user.lock(), 0o644);
    let mut lock: Value = serde_json::from_slice(&fs::read(user.lock()).unwrap()).unwrap();
    lock["policy"] = json!("strict");
    lock["plugins"][0]["signed_by"] = json!("x");
    fs::write(user.lock(), lock.to_string()).unwrap();
    user.add(&[user.source("radon", "src/libradon.so").to_str().unwrap()]).expect_code(0);
    let after: Value = serde_json::from_slice(&fs::read(user.lock()).unwrap()).unwrap();
    assert_eq!((&after["policy"], &after["plugins"][0]["signed_by"]), (&json!("strict"), &json!("x")));
}

/// A library that was replaced by another plugin is not removed under the old name.
#[test]
fn remove_keeps_library_replaced_by_another() {
    let user = User::with_velocity_events();
    let library = user.installed("velocity_events");
    fs::remove_file(&library).unwrap();
    fs::copy(kymhost_tests::library("radon"), &library).unwrap();
    let removed = user.json(&["plugin", "remove", "velocity_events"]).output().expect_code(0).json();
    assert_eq!(removed["is_deleted"], false, "{removed}");
    assert!(library.exists() && user.entries().is_empty());
    // A broken one goes.
    let user = User::with_velocity_events();
    cut_in_half(&user.installed("velocity_events"));
    user.json(&["plugin", "remove", "velocity_events"]).output().expect_code(0);
    assert!(!user.installed("velocity_events").exists());
}

/// Two concurrent `plugin add` both count.
#[test]
fn concurrent_adds_both_count() {
    let user = User::new();
    let sources = [
        user.source("radon", "a/liba.so"),
        user.source("velocity_events", "b/libb.so"),
        user.source("misbehave", "c/libc.so"),
    ];
    std::thread::scope(|scope| {
        for source in &sources {
            scope.spawn(|| user.add(&[source.to_str().unwrap()]).expect_code(0));
        }
    });
    assert_eq!(user.entries().len(), 3);
    let listed = user.json(&["plugin", "list"]).output().expect_code(0).json();
    assert_eq!((listed["plugins"].as_array().unwrap().len(), &listed["unusable"]), (4, &json!([])));
}

/// A link to the data folder is the same folder.
#[test]
fn linked_data_folder_is_the_same() {
    let user = User::with_velocity_events();
    fs::rename(user.dir.join("share"), user.dir.join("real")).unwrap();
    symlink(user.dir.join("real"), user.dir.join("share")).unwrap();
    user.status().output().expect_code(0);
    append(&user.installed("velocity_events"));
    refused(user.status().output(), 5, "digest_changed", &[]);
}
