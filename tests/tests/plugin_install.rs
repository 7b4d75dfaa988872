//! Looking at, installing and trusting plugins: `plugin inspect`, `add`, `remove`, `list`, `path`, `trust`.

use kymhost_tests::{Output, Run, TestDir, library};
use serde_json::Value;
use std::fs;
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
    use sha2::{Digest as _, Sha256};
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
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

#[test]
fn inspect_tells_all_and_whether_it_loads() {
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

    // Of what cannot be run here, all is told nevertheless; a file without a card gives an error alone.
    type Harm = fn(&Path);
    let cases: [(&str, Harm, &str, &[&str], bool); 8] = [
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
        ("truncated", cut_in_half, "truncated", &["cut off"], false),
        ("emptied", |path| fs::write(path, "").unwrap(), "truncated", &["empty"], false),
        ("replaced by text", |path| fs::write(path, "words").unwrap(), "no_library", &["no dynamic library"], false),
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
    refused(inspect(dir.path()).arg("--json").output(), 5, "no_library", &["no file"]);
}

#[test]
fn keys_of_later_cards_are_shown_and_harm_nothing() {
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

#[test]
fn a_broken_library_is_a_line_of_the_list() {
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
    let run = || Run::new(["plugin", "list", "--plugin-dir"]).arg(&folder);
    let document = run().arg("--json").output().expect_code(0).json();
    let lines = document["unusable"].as_array().unwrap();
    let of = |one: &&Value| one["library"].as_str().is_some_and(|path| path.starts_with(folder.to_str().unwrap()));
    let found: Vec<_> = lines.iter().filter(of).map(|one| one["code"].as_str().unwrap()).collect();
    assert_eq!(found, ["api_major", "platform", "truncated", "bad_card", "truncated"]);
    run().output().expect_code(0).expect_stdout(&["[api_major]", "[platform]", "[truncated]", "[bad_card]"]);
}

fn mode(path: &Path, bits: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}
