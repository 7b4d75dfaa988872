//! The promise of the binary contract: plugins built against other versions of plugin-api, loaded by this one.
//!
//! Builds the variants (edited copies of plugin-api's source, in folders of their own) and the frozen 1.0 with its host, and tests
//! what each must do. It never edits the source tree. The first run is slow because cargo builds the plugins.

use crate::battery::memory::{MANY, check_loses_nothing, exercise};
use crate::battery::{Door, Fixture, check_refused, check_runs, indexer, load, never};
use kymhost_plugin_api::card::{Card, MAGIC};
use kymhost_tests::fixture::{Fixture as Dataset, image_id};
use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, crates_target, repository, sha256};
use std::collections::BTreeMap;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A replacement in a source file: what must be there exactly once, and what stands there instead (nothing: an item
/// goes, with its doc comment).
type Edit = (&'static str, &'static str, &'static str);

const MANIFEST: &str = "Cargo.toml";
const API_MANIFEST: &str = "plugin-api/Cargo.toml";
const CARD: &str = "plugin-api/src/card/format.rs";
const CONTRACT: &str = "plugin-api/src/ffi/contract.rs";
const EXPORT: &str = "plugin-api/src/ffi/export.rs";
const SERVE: &str = "plugin-api/src/ffi/serve.rs";
const RECORD: &str = "plugin-api/src/record.rs";
const RUN: &str = "plugin-api/src/run.rs";
const PROBE_MANIFEST: &str = "tests/plugins/abi_probe/Cargo.toml";
const PROBE: &str = "tests/plugins/abi_probe/src/lib.rs";

/// As if the last field of the module, a method of each trait, and all that 1.1 appended behind them, had not been there yet: a trait
/// ends somewhere, it has no holes.
const FEWER: &[Edit] = &[
    (CONTRACT, "    pub card: RSlice<'static, u8>,\n", ""),
    (EXPORT, "Module { indexers, card: RSlice::from_slice(E::CARD) }", "Module { indexers }"),
    (
        CONTRACT,
        "    fn artifacts(&self) -> Answer<RVec<Tuple2<RString, u8>>> {\n        unsupported(\"Record::artifacts\")\n    }\n",
        "",
    ),
    (
        SERVE,
        "    fn artifacts(&self) -> Answer<RVec<Tuple2<RString, u8>>> {",
        "}\nimpl<R: HostRecord> ServedRecord<R> {\n    #[allow(dead_code)]\n    fn artifacts(&self) -> Answer<RVec<Tuple2<RString, u8>>> {",
    ),
    (
        RECORD,
        "self.inner.artifacts().into_result().map_err(Error::from)?;",
        "Vec::<abi_stable::std_types::Tuple2<abi_stable::std_types::RString, u8>>::new();",
    ),
    (CONTRACT, "    fn progress(&self, fraction: f64) {\n        let _ = fraction;\n    }\n", ""),
    (
        SERVE,
        "    fn progress(&self, fraction: f64) {\n        guard::value((), || self.0.progress(fraction));\n    }\n",
        "",
    ),
    (RUN, "        self.inner.progress(fraction);\n", "        let _ = fraction;\n"),
    (
        CONTRACT,
        "    fn put_json(&self, name: RStr<'_>, text: RSlice<'_, u8>) -> Answer<()> {\n        let _ = (name, text);\n        unsupported(\"Run::put_json\")\n    }\n",
        "",
    ),
    (
        CONTRACT,
        "    fn put_table(&self, name: RStr<'_>, table: ArrowTable) -> Answer<()> {\n        let _ = (name, table);\n        unsupported(\"Run::put_table\")\n    }\n",
        "",
    ),
    (
        CONTRACT,
        "    fn put_array(&self, name: RStr<'_>, array: ArrayAbi) -> Answer<()> {\n        let _ = (name, array);\n        unsupported(\"Run::put_array\")\n    }\n",
        "",
    ),
    (
        SERVE,
        "    fn put_json(&self, name: RStr<'_>, text: RSlice<'_, u8>) -> Answer<()> {",
        "}\n#[allow(dead_code)]\nimpl<R: HostRun> ServedRun<R> {\n    fn put_json(&self, name: RStr<'_>, text: RSlice<'_, u8>) -> Answer<()> {",
    ),
    (
        RUN,
        "        self.inner.put_json(name.into(), text.as_bytes().into()).into_result().map_err(Error::from)\n",
        "        Err(Error::msg(\"none\"))\n",
    ),
    (
        RUN,
        "        self.inner.put_table(name.into(), table.into_c_table()).into_result().map_err(Error::from)\n",
        "        Err(Error::msg(\"none\"))\n",
    ),
    (
        RUN,
        "        self.inner.put_array(name.into(), array.into()).into_result().map_err(Error::from)\n",
        "        Err(Error::msg(\"none\"))\n",
    ),
    (CONTRACT, "    fn writes(&self) -> RVec<Tuple2<RString, u8>> {\n        RVec::new()\n    }\n", ""),
    (CONTRACT, "    fn reads(&self) -> RVec<RString> {\n        RVec::new()\n    }\n", ""),
    (CONTRACT, "    fn params_schema(&self) -> RStr<'_> {\n        RStr::from_str(\"\")\n    }\n", ""),
    (
        CONTRACT,
        "    fn read_old_marker(&self, payload: RSlice<'_, u8>) -> Answer<ROption<RVec<u8>>> {\n        let _ = payload;\n        ROk(RNone)\n    }\n",
        "",
    ),
    (
        EXPORT,
        "    fn read_old_marker(&self, payload: RSlice<'_, u8>) -> Answer<ROption<RVec<u8>>> {",
        "}\n#[allow(dead_code)]\nimpl<I: Indexer> Adapter<I> {\n    fn read_old_marker(&self, payload: RSlice<'_, u8>) -> Answer<ROption<RVec<u8>>> {",
    ),
];

/// A version 1.2 with a field in the module and a method in each trait more, of which the probe calls those of the host.
const MORE: &[Edit] = &[
    (API_MANIFEST, "version = \"1.1.0\"", "version = \"1.2.0\""),
    (MANIFEST, "path = \"plugin-api\", version = \"1.1.0\"", "path = \"plugin-api\", version = \"1.2.0\""),
    (
        CONTRACT,
        "    pub card: RSlice<'static, u8>,\n",
        "    pub card: RSlice<'static, u8>,\n    pub later: extern \"C\" fn() -> u64,\n",
    ),
    (
        EXPORT,
        "Module { indexers, card: RSlice::from_slice(E::CARD) }",
        "extern \"C\" fn later() -> u64 { 7 }\n    Module { indexers, card: RSlice::from_slice(E::CARD), later }",
    ),
    (
        CONTRACT,
        "        unsupported(\"Record::artifacts\")\n    }\n",
        "        unsupported(\"Record::artifacts\")\n    }\n    fn later(&self, name: RStr<'_>) -> Answer<RString> {\n        let _ = name;\n        unsupported(\"Record::later\")\n    }\n",
    ),
    (
        CONTRACT,
        "        unsupported(\"Run::put_array\")\n    }\n",
        "        unsupported(\"Run::put_array\")\n    }\n    fn later(&self, payload: RVec<u8>) -> Answer<u64> {\n        let _ = payload;\n        unsupported(\"Run::later\")\n    }\n",
    ),
    (
        CONTRACT,
        "        RStr::from_str(\"\")\n    }\n",
        "        RStr::from_str(\"\")\n    }\n    fn later(&self) -> Answer<u64> {\n        unsupported(\"Indexer::later\")\n    }\n",
    ),
    (
        RECORD,
        "    fn table_of(&self,",
        "    /// Later.\n    pub fn later(&self) -> Result<String> {\n        self.inner.later(\"x\".into()).into_result().map(Into::into).map_err(Error::from)\n    }\n    fn table_of(&self,",
    ),
    (
        RUN,
        "impl Run<'_> {\n",
        "impl Run<'_> {\n    /// Later.\n    pub fn later(&self) -> crate::Result<u64> {\n        self.inner.later(vec![1, 2].into()).into_result().map_err(Into::into)\n    }\n",
    ),
];

const OTHER_MAJOR: &[Edit] = &[
    (API_MANIFEST, "version = \"1.1.0\"", "version = \"2.0.0\""),
    (MANIFEST, "path = \"plugin-api\", version = \"1.1.0\"", "path = \"plugin-api\", version = \"2.0.0\""),
];

const NEEDS_LATER: &[Edit] = &[
    (API_MANIFEST, "version = \"1.1.0\"", "version = \"1.3.0\""),
    (MANIFEST, "path = \"plugin-api\", version = \"1.1.0\"", "path = \"plugin-api\", version = \"1.3.0\""),
    (CARD, "NEEDS_API_MINOR: u32 = 0", "NEEDS_API_MINOR: u32 = 2"),
];

const ARROW_57: &[Edit] = &[
    (MANIFEST, "arrow = { version = \"60.1\"", "arrow = { version = \"57.3\""),
    (MANIFEST, "arrow-array = { version = \"60.1\"", "arrow-array = { version = \"57.3\""),
    (MANIFEST, "arrow-cast = { version = \"60.1\"", "arrow-cast = { version = \"57.3\""),
    (MANIFEST, "arrow-schema = { version = \"60.1\"", "arrow-schema = { version = \"57.3\""),
];

const LYING_LAYOUT: &[Edit] = &[
    (CONTRACT, "    pub shape: RVec<u64>,", "    pub shape: RVec<u32>,"),
    ("plugin-api/src/ffi/convert.rs", ".map(|length| *length as u64)", ".map(|length| *length as u32)"),
];

const LYING_METHOD: &[Edit] = &[
    (CONTRACT, "    fn threads(&self) -> u32;", "    fn threads(&self) -> u64;"),
    (SERVE, "    fn threads(&self) -> u32 {", "    fn threads(&self) -> u64 {"),
    (SERVE, "u32::try_from(self.0.threads()).unwrap_or(u32::MAX).max(1)", "self.0.threads() as u64"),
];

const TWIN: &[Edit] = &[(PROBE, "\"probe@1\"", "\"probe@2\"")];

/// All of the above, and the source as it is.
const VARIANTS: [(&str, &[Edit], &[&str]); 9] = [
    ("same", &[], &[]),
    ("twin", TWIN, &[]),
    ("fewer", FEWER, &[]),
    ("more", MORE, &["later"]),
    ("arrow_57", ARROW_57, &[]),
    ("other_major", OTHER_MAJOR, &[]),
    ("needs_later", NEEDS_LATER, &[]),
    ("lying_layout", LYING_LAYOUT, &[]),
    ("lying_method", LYING_METHOD, &[]),
];

fn museum() -> PathBuf {
    // `CARGO_TARGET_TMPDIR` is `tmp` in whichever target folder is in use.
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi_museum")
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            write_if_changed(&target, &fs::read(entry.path()).expect("a readable file"));
        }
    }
}

/// Leaves the time of an unchanged file alone, so that cargo builds nothing twice.
fn write_if_changed(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return;
    }
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, bytes).expect("a written file");
}

/// Builds the probe against a copy of plugin-api with a variant's edits, and gives the library's file.
fn build(variant: &str) -> PathBuf {
    let number = VARIANTS.iter().position(|(name, ..)| *name == variant).expect("a variant");
    let (_, edits, features) = VARIANTS[number];
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = museum().join(variant);
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let manifest = fs::read_to_string(repository().join(MANIFEST)).expect("the workspace's manifest");
    let list = |key: &str| -> &str {
        let at = manifest.find(key).expect("the list");
        &manifest[at..=at + manifest[at..].find(']').expect("the list's end")]
    };
    texts.insert(
        MANIFEST,
        manifest
            .replace(list("default-members = ["), "")
            .replace(list("members = ["), "members = [\"plugin-api\", \"tests/plugins/abi_probe\"]")
            .replace("features = [\"ffi\", \"ipc\"]", "features = [\"ffi\"]")
            // Cargo identifies packages by their place in their workspace, which is the same for all variants: a
            // setting that does no harm keeps their builds in the shared target folder apart.
            + &format!("\n[profile.dev.package.kymhost-plugin-api]\ncodegen-units = {}\n", 100 + number),
    );
    // Cargo keeps one cdylib of a name in a target folder.
    let lib_name = format!("probe_{variant}");
    let probe_manifest = fs::read_to_string(repository().join(PROBE_MANIFEST)).expect("the probe's manifest");
    texts.insert(PROBE_MANIFEST, probe_manifest.replace("[lib]\n", &format!("[lib]\nname = \"{lib_name}\"\n")));
    for (file, from, to) in edits {
        let text = texts.entry(file).or_insert_with(|| {
            fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
        });
        assert_eq!(text.matches(from).count(), 1, "the source changed: {file} should have once\n{from}");
        *text = if to.is_empty() { without_item(text, from) } else { text.replace(from, to) };
    }
    copy_edited("plugin-api", &workspace, &texts);
    copy_edited("tests/plugins/abi_probe", &workspace, &texts);
    write_if_changed(&workspace.join(MANIFEST), texts[MANIFEST].as_bytes());
    let lock = workspace.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(repository().join("Cargo.lock"), &lock).expect("a copied lock file");
    }

    let target = crates_target();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&workspace)
        .env("CARGO_TARGET_DIR", &target)
        .args(["rustc", "--quiet", "--lib", "--crate-type", "cdylib", "-p", "kymhost-abi-probe", "--features"])
        .arg(features.join(","));
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{variant} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    let built = target.join("debug").join(format!("{DLL_PREFIX}{lib_name}{DLL_SUFFIX}"));
    let kept = workspace.join(format!("{DLL_PREFIX}{variant}{DLL_SUFFIX}"));
    // A new file, never one that another test may have mapped.
    let _ = fs::remove_file(&kept);
    fs::copy(built, &kept).expect("a copied library");
    kept
}

/// Takes an item out together with its doc comment.
fn without_item(text: &str, item: &str) -> String {
    let (before, after) = text.split_once(item).expect("the item, which was counted");
    let mut before: Vec<_> = before.lines().collect();
    while before.last().is_some_and(|line| line.trim_start().starts_with("///")) {
        before.pop();
    }
    format!("{}\n{after}", before.join("\n"))
}

fn copy_edited(folder: &str, workspace: &Path, texts: &BTreeMap<&str, String>) {
    let to = workspace.join(folder);
    let staged = workspace.join(".staged").join(folder);
    let _ = fs::remove_dir_all(&staged);
    copy_tree(&repository().join(folder), &staged);
    for (file, text) in texts {
        if let Ok(inner) = Path::new(file).strip_prefix(folder) {
            write_if_changed(&staged.join(inner), text.as_bytes());
        }
    }
    copy_tree(&staged, &to);
}

/// A plugin of this version of plugin-api runs.
#[test]
#[ignore = "slow"]
fn plugin_of_same_version_runs() {
    check_runs(&build("same"), &Door::Rust { without: &[] });
}

/// A plugin of an older version runs.
#[test]
#[ignore = "slow"]
fn plugin_of_older_version_runs() {
    check_runs(&build("fewer"), &Door::Rust { without: &["artifacts", "read_old_marker"] });
}

/// A plugin of a newer version runs, and functions that this host lacks are named errors.
#[test]
#[ignore = "slow"]
fn plugin_of_newer_version_runs() {
    let library = build("more");
    check_runs(&library, &Door::Rust { without: &[] });
    let fixture = Fixture::new();
    let indexers = load(&library);
    let rows = indexer(&indexers, "abi_probe").extract_rows(&fixture.image("later"), 1, &never).expect("rows");
    let column = rows.column(0).as_any().downcast_ref::<arrow::array::StringArray>().expect("text");
    let older = |function: &str| format!("Err(Unsupported: this kymhost is older than {function}; upgrade kymhost)");
    let answers: Vec<_> = column.iter().flatten().map(str::to_owned).collect();
    assert_eq!(answers, [older("Record::later"), older("Run::later")]);
}

/// A plugin that uses another version of Arrow runs.
#[test]
#[ignore = "slow"]
fn plugin_on_other_arrow_runs() {
    check_runs(&build("arrow_57"), &Door::Rust { without: &[] });
}

/// Two plugins in one process do not mix.
#[test]
#[ignore = "slow"]
fn two_plugins_in_one_process_stay_apart() {
    let (first, second) = (load(&build("same")), load(&build("twin")));
    let record = Fixture::new().image("report");
    for (indexers, version) in [(&first, "probe@1"), (&second, "probe@2"), (&first, "probe@1")] {
        assert_eq!(indexer(indexers, "abi_probe").info().analysis_version, version);
        let rows = indexer(indexers, "abi_second").extract_rows(&record, 1, &never).expect("rows");
        let column = rows.column(0).as_any().downcast_ref::<arrow::array::StringArray>().expect("text");
        assert_eq!(column.value(0), version);
    }
}

/// Plugins of another major version are refused.
#[test]
#[ignore = "slow"]
fn plugin_of_other_major_is_refused() {
    check_refused(&build("other_major"), &["2.0", "1.1", "upgrade kymhost"]);
    check_refused(&build("needs_later"), &["1.2", "1.1", "upgrade kymhost"]);
}

/// A plugin whose layout is not what its card says is refused.
#[test]
#[ignore = "slow"]
fn false_layout_is_refused() {
    check_refused(&build("lying_layout"), &["layout", "1.1", "upgrade the plugin", "cargo build --release"]);
    check_refused(&build("lying_method"), &["layout", "1.1", "upgrade the plugin", "cargo build --release"]);
}

/// A copy of a library with its card's bytes changed.
fn with_card(library: &Path, name: &str, change: impl Fn(&str) -> String) -> PathBuf {
    let mut bytes = fs::read(library).expect("the library");
    let at = find_card(&bytes);
    let length_at = at + MAGIC.len();
    let json_at = length_at + 4;
    let length = u32::from_le_bytes(bytes[length_at..json_at].try_into().expect("4 bytes")) as usize;
    let json = std::str::from_utf8(&bytes[json_at..json_at + length]).expect("text").to_owned();
    let changed = change(&json);
    assert!(changed != json && changed.len() == json.len(), "a change of the same length: {changed}");
    bytes[json_at..json_at + length].copy_from_slice(changed.as_bytes());
    write_library(name, &bytes)
}

/// Where the card is: the magic bytes are elsewhere too, as a constant.
fn find_card(bytes: &[u8]) -> usize {
    bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| **window == MAGIC)
        .map(|(at, _)| at)
        .find(|at| Card::parse(&bytes[*at..]).is_ok())
        .expect("a card")
}

fn write_library(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = museum().join("damaged");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).expect("a written library");
    path
}

/// A card that does not match its library is refused.
#[test]
#[ignore = "slow"]
fn mismatched_card_is_refused() {
    let library = build("same");
    for (name, from, to, words) in [
        (
            "card_version",
            "\"probe@1\"",
            "\"probe@9\"",
            "analysis version of 'abi_probe' is 'probe@9', the library 'probe@1'",
        ),
        ("card_marker", "\"abi_probe_run\"", "\"abi_probe_ran\"", "marker of 'abi_probe'"),
        ("card_params", "\"probe.params\"", "\"probe.parents\"", "params artifacts of 'abi_probe'"),
        ("card_name", "\"name\":\"abi_second\"", "\"name\":\"abi_sixths\"", "'abi_sixths'"),
    ] {
        let change = |json: &str| {
            let changed = json.replace(from, to);
            // The length stays: what is added here is cut from the compiler's version.
            let surplus = changed.len() - json.len();
            let at = changed.find("\"rustc\":\"").expect("rustc") + "\"rustc\":\"".len();
            format!("{}{}", &changed[..at], &changed[at + surplus..])
        };
        check_refused(&with_card(&library, name, change), &[words, "card"]);
    }
    let change = |json: &str| json.replace("abi_stable-0.11", "abi_suited-9.99");
    check_refused(
        &with_card(&library, "other_door", change),
        &["abi_suited-9.99", "upgrade the plugin", "plugin add . --replace"],
    );
}

/// A file that is not a plugin is refused.
#[test]
#[ignore = "slow"]
fn not_a_plugin_is_refused() {
    let library = build("same");
    let bytes = fs::read(&library).expect("the library");
    check_refused(&write_library("text", b"this is a text file\nwith two lines\n"), &[]);
    check_refused(&write_library("empty", b""), &[]);
    for (name, keep) in [("half", bytes.len() / 2), ("nearly_whole", bytes.len() - 1), ("header", 64)] {
        check_refused(&write_library(name, &bytes[..keep]), &[]);
    }
    check_refused(&museum().join("damaged").join("there_is_no_such_file.so"), &[]);

    let folder = museum().join("no_plugin");
    fs::create_dir_all(&folder).expect("a folder");
    let at = find_card(&bytes);
    let length = bytes[at..].len().min(4096);
    fs::write(folder.join("card.bin"), &bytes[at..at + length]).expect("a card's file");
    let section = if cfg!(target_vendor = "apple") { "__DATA,__kymhost" } else { ".kymhost" };
    let card = format!(
        "#[used]\n#[unsafe(link_section = \"{section}\")]\nstatic CARD: [u8; {length}] = *include_bytes!(\"card.bin\");\n\
         #[unsafe(no_mangle)]\npub extern \"C\" fn card() -> *const u8 {{ CARD.as_ptr() }}\n"
    );
    for (name, source, words) in [
        ("no_card", "#[unsafe(no_mangle)]\npub extern \"C\" fn hello() {}\n", "card"),
        ("no_root", card.as_str(), "root symbol"),
    ] {
        let file = folder.join(format!("{name}.rs"));
        fs::write(&file, source).expect("a source");
        let library = folder.join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "--crate-type", "cdylib", "-o"])
            .args([&library, &file])
            .status()
            .expect("rustc runs");
        assert!(status.success());
        check_refused(&library, &[words]);
    }
}

/// Crates as authors write them, with nothing but plugin-api: what the build makes of each source.
fn author_crate(name: &str, edition: &str, source: &str, profile: &str) -> (PathBuf, Result<(), String>) {
    let workspace = museum().join("authors").join(name);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"{edition}\"\n[workspace]\n\
         [lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\n\
         kymhost-plugin-api = {{ path = {:?}, default-features = false }}\n\
         [profile.stripped]\ninherits = \"dev\"\nlto = \"fat\"\nstrip = true\nopt-level = 1\n",
        repository().join("plugin-api")
    );
    write_if_changed(&workspace.join("Cargo.toml"), manifest.as_bytes());
    write_if_changed(&workspace.join("src/lib.rs"), source.as_bytes());
    let lock = workspace.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(repository().join("Cargo.lock"), &lock).expect("a copied lock file");
    }
    let target = crates_target();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&workspace).env("CARGO_TARGET_DIR", &target).args(["build", "--quiet", "--profile", profile]);
    let output = cargo.output().expect("cargo runs");
    let folder = if profile == "dev" { "debug" } else { profile };
    let library = target.join(folder).join(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (library, if output.status.success() { Ok(()) } else { Err(errors) })
}

/// A source with a unit struct in a module; `NAME`, `VERSION` and `EXPORT` are filled in.
const AUTHORS_SOURCE: &str = "//! A plugin.
#![deny(unsafe_code, missing_docs, warnings)]
use kymhost_plugin_api::prelude::*;
mod inner {
    use kymhost_plugin_api::prelude::*;
    pub(crate) struct One;
    impl Indexer for One {
        const NAME: &'static str = NAME;
        const ANALYSIS_VERSION: &'static str = VERSION;
        fn params(&self, _: &Record<'_>) -> Result<Json> { Ok(Json::Null) }
        fn extract_rows(&self, _: &Record<'_>, _: &Run<'_>) -> Result<Table> { Err(Error::msg(\"none\")) }
    }
}
EXPORT
";

fn authors_source(name: &str, version: &str, export: &str) -> String {
    let (name, version) = (format!("{name:?};"), format!("{version:?};"));
    AUTHORS_SOURCE.replace("NAME;", &name).replace("VERSION;", &version).replace("EXPORT", export)
}

/// Authors' crates of every edition build and load.
#[test]
#[ignore = "slow"]
fn author_crate_of_any_edition_loads() {
    for (name, edition, profile) in [
        ("of_2018", "2018", "dev"),
        ("of_2021", "2021", "dev"),
        ("of_2024", "2024", "dev"),
        // What a linker may throw away is the card and the registration.
        ("optimised_and_stripped", "2024", "stripped"),
    ] {
        let source = authors_source("one", "lab.one@1", "export_plugin!(inner::One);");
        let (library, built) = author_crate(name, edition, &source, profile);
        built.unwrap_or_else(|errors| panic!("{name} does not build:\n{errors}"));
        let indexers = load(&library);
        let failure = indexer(&indexers, "one").extract_rows(&Fixture::new().image(""), 1, &never).expect_err("none");
        assert_eq!(failure.message, "none", "{name}");
    }
}

/// A plugin that every host would refuse does not build.
#[test]
#[ignore = "slow"]
fn invalid_plugin_does_not_build() {
    let once = "export_plugin!(inner::One);";
    for (crate_name, name, version, export, words) in [
        ("bad_upper_case", "One", "1", once, "NAME is 1 to 200 characters of a-z, 0-9 and _"),
        ("bad_empty_name", "", "1", once, "NAME is 1 to 200"),
        ("bad_prefix", "kym_one", "1", once, "does not begin with kym_"),
        ("bad_version", "one", "", once, "ANALYSIS_VERSION is a text of 1 to 256 bytes"),
        ("bad_version_lines", "one", "a\nb", once, "ANALYSIS_VERSION"),
        ("bad_same_name", "one", "1", "export_plugin!(inner::One, crate::inner::One);", "have the same NAME"),
        (
            "bad_twice",
            "one",
            "1",
            "export_plugin!(inner::One);\nexport_plugin!(inner::One);",
            "`ExportPluginIsUsedOnceInALibrary` is defined multiple times",
        ),
    ] {
        let (_, built) = author_crate(crate_name, "2021", &authors_source(name, version, export), "dev");
        let errors = built.expect_err(crate_name);
        assert!(errors.contains(words), "{crate_name}: no '{words}':\n{errors}");
    }
}

/// The frozen plugin API 1.0: its plugin and its host, built from `tests/museum/1.0`.
fn frozen() -> (PathBuf, PathBuf) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let workspace = museum().join("v1_0");
    for part in ["plugin-api", "probe", "host"] {
        copy_tree(&repository().join("tests/museum/1.0").join(part), &workspace.join(part));
    }
    let manifest = fs::read(repository().join("tests/museum/1.0/Cargo.toml")).expect("the frozen manifest");
    write_if_changed(&workspace.join("Cargo.toml"), &manifest);
    let lock = workspace.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(repository().join("Cargo.lock"), &lock).expect("a copied lock file");
    }
    let target = crates_target();
    for words in [
        &["rustc", "--quiet", "--lib", "--crate-type", "cdylib", "-p", "kymhost-abi-probe"][..],
        &["build", "--quiet", "-p", "museum-host"],
    ] {
        let mut cargo = Command::new(env!("CARGO"));
        let output =
            cargo.current_dir(&workspace).env("CARGO_TARGET_DIR", &target).args(words).output().expect("cargo");
        assert!(output.status.success(), "1.0 does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let debug = target.join("debug");
    (debug.join(format!("{DLL_PREFIX}probe_1_0{DLL_SUFFIX}")), debug.join("museum-host"))
}

/// What the host of 1.0 prints, and whether it took the plugin.
fn in_frozen_host(host: &Path, library: &Path, indexer: &str, what: &str) -> (bool, String) {
    let output =
        Command::new(host).arg("run").args([library, Path::new(indexer), Path::new(what)]).output().expect("it runs");
    assert!(output.status.code().is_some(), "the host of 1.0 was killed: {output:?}");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A plugin of 1.0 runs in the host of today.
#[test]
#[ignore = "slow"]
fn plugin_1_0_runs_in_host_of_today() {
    check_runs(&frozen().0, &Door::Rust { without: &[] });
}

/// All orders of these.
fn orders<'a>(of: &[&'a Path]) -> Vec<Vec<&'a Path>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let insert_everywhere = |order: Vec<&'a Path>| {
        (0..=order.len()).map(move |at| [&order[..at], &[*first], &order[at..]].concat()).collect::<Vec<_>>()
    };
    orders(rest).into_iter().flat_map(insert_everywhere).collect()
}

/// A process each, for what the first of a process leaves behind is what may harm the others.
#[test]
#[ignore = "slow"]
fn all_versions_run_in_one_process() {
    let libraries = [frozen().0, build("fewer"), build("same"), build("more")];
    let libraries: Vec<&Path> = libraries.iter().map(PathBuf::as_path).collect();
    let folder = TestDir::new();
    let data = Dataset::with_images(folder.join("data.zarr"), 1, 0);
    let orders = orders(&libraries);
    assert_eq!(orders.len(), 24);
    let mut refused = Vec::new();
    for order in orders {
        let output = exercise(&order, &data, 2).output();
        if output.stdout().trim() != "8 done, 0 failed" {
            let names: Vec<_> = order.iter().filter_map(|library| library.file_stem()).collect();
            refused.push(format!("{names:?}: {}", output.stderr()));
        }
    }
    assert!(refused.is_empty(), "{} of the orders:\n{}", refused.len(), refused.join("\n"));
    // What does not fit is refused after those as it is alone.
    for lying in ["lying_layout", "lying_method"] {
        let lying = build(lying);
        let output = exercise(&[&libraries[..], &[lying.as_path()]].concat(), &data, 2).output().expect_code(1);
        assert!(output.stderr().contains("binary layout"), "{}", output.stderr());
    }
}

/// As a user has them: an old plugin and one that came along with the program.
#[test]
#[ignore = "slow"]
fn program_runs_1_0_next_to_today() {
    let (old, new) = (format!("{}:abi_probe", frozen().0.display()), "velocity_events".to_owned());
    for plugins in [[&old, &new], [&new, &old]] {
        for place in [&["--in-process"][..], &[]] {
            let folder = TestDir::new();
            let data = Dataset::with_images(folder.join("data.zarr"), 2, 3);
            let run = Run::new(["run", "--plugin", plugins[0], "--plugin", plugins[1]]).args(place);
            run.dataset(data.path()).output().expect_code(0);
            for table in ["kym_abi_probe", "kym_velocity_events"] {
                let table = Table::read(&data.key(&format!("tables/{table}.parquet")));
                let rows = [0, 1].map(|image| table.rows_of(&image_id(image)).len());
                assert!(rows[0] >= 3 && rows[1] == rows[0], "{plugins:?} {place:?}: {rows:?}");
            }
        }
    }
}

/// A plugin of today runs in the host of 1.0.
#[test]
#[ignore = "slow"]
fn plugin_of_today_runs_in_host_1_0() {
    let (_, host) = frozen();
    for (indexer, lines) in [
        (
            "velocity_events",
            &["rows: 2", "event_id: 1 | 2", "t_start_s: 0.5 | null", "peak_value: Null | Null", "note: clot | pinch"][..],
        ),
        ("radon", &["rows: 2", "velocity_mm_s: 1.25 | -2", "roi_id: Null | Null"]),
    ] {
        let (taken, text) = in_frozen_host(&host, &kymhost_tests::library(indexer), indexer, "");
        assert!(taken && text.contains("needs 1.0,") && text.contains("params_hash: 64"), "{indexer}: {text}");
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{indexer}: no line '{line}':\n{text}");
        }
    }
    // All that a plugin can ask, and what the host of 1.0 answers.
    let (taken, text) = in_frozen_host(&host, &build("same"), "abi_probe", "report");
    assert!(taken && text.contains("museum-image") && text.contains("[1, 2, 3, 4, 5, 6]"), "{text}");
}

/// Functions that the host of 1.0 lacks are errors with their names.
#[test]
#[ignore = "slow"]
fn host_1_0_names_what_it_lacks() {
    let (_, host) = frozen();
    let (taken, text) = in_frozen_host(&host, &build("same"), "abi_probe", "put");
    assert!(taken && text.contains("rows: 3"), "{text}");
    for function in ["Run::put_json", "Run::put_table", "Run::put_array"] {
        let words = format!("Unsupported: this kymhost is older than {function}; upgrade kymhost");
        assert!(text.contains(&words), "no '{words}':\n{text}");
    }
    // Functions of a record as well, of an API later still.
    let older = |function: &str| format!("Unsupported: this kymhost is older than {function}; upgrade kymhost");
    let (taken, text) = in_frozen_host(&host, &build("more"), "abi_probe", "later");
    assert!(taken && text.contains("rows: 2"), "{text}");
    for function in ["Record::later", "Run::later"] {
        assert!(text.contains(&older(function)), "{text}");
    }
    let (taken, text) = in_frozen_host(&host, &build("more"), "abi_probe", "later_or_fail");
    assert!(taken && text.trim_end().ends_with(&format!("error: {}", older("Record::later"))), "{text}");
}

/// The host of 1.0 refuses plugins that need more than it has.
#[test]
#[ignore = "slow"]
fn host_1_0_refuses_plugin_needing_more() {
    let (_, host) = frozen();
    let maker = kymhost_tests::c::plugin("c_maker_needs", "tests/plugins/c_maker/maker.c", &[]);
    let (radon, detection) = (kymhost_tests::library("radon_velocity"), kymhost_tests::library("event_detection"));
    let (later, other) = (build("needs_later"), build("other_major"));
    let needs = |api: &str, sdk: &str| {
        format!(
            "refused: it needs plugin API {api} at least (built with kymhost-plugin-api {sdk}), this kymhost has plugin API 1.0\n\
             help: upgrade kymhost to one with plugin API {api} or a later 1.x\n"
        )
    };
    let major = "refused: it was built for plugin API 2.0 (kymhost-plugin-api 2.0.0), this kymhost has plugin API 1.0\n\
                 help: upgrade kymhost to one with plugin API 2.x\n";
    for (library, words) in [
        (Some(radon), needs("1.1", "1.1.0")),
        (Some(detection), needs("1.1", "1.1.0")),
        (maker, needs("1.1", "1.1.0")),
        (Some(later), needs("1.2", "1.3.0")),
        (Some(other), major.to_owned()),
    ] {
        let Some(library) = library else { continue };
        let output = Command::new(&host).arg("card").arg(&library).output().expect("it runs");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(1), words.as_str()));
        // Nor does it come further with those of its own door.
        assert!(!in_frozen_host(&host, &library, "any", "").0);
    }
    // The same door, the same API, and nothing needed that 1.0 has not got.
    let output = Command::new(&host).arg("card").arg(kymhost_tests::library("radon")).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "card: api 1.1, needs 1.0, door abi_stable-0.11\n");
}

/// Frozen files are unchanged: `SHA256SUMS` names each of them. Only the hosts and the manifest around them may be repaired.
#[test]
fn frozen_files_are_unchanged() {
    let folder = repository().join("tests/museum/1.0");
    let sums = fs::read_to_string(folder.join("SHA256SUMS")).expect("the list");
    let frozen: BTreeMap<&str, &str> = sums
        .lines()
        .map(|line| line.split_once("  ").expect("a sum and a file"))
        .map(|(sum, file)| (file, sum))
        .collect();
    let mut found = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(&folder).expect("a path below it").to_string_lossy().into_owned();
            match name.as_str() {
                "SHA256SUMS" | "Cargo.toml" | "c_host.c" | "host" => {}
                _ if path.is_dir() => folders.push(path),
                _ => {
                    let sum = sha256(fs::read(&path).expect("a readable file"));
                    assert_eq!(frozen.get(name.as_str()), Some(&sum.as_str()), "{name} was edited, or is not of 1.0");
                    found.push(name);
                }
            }
        }
    }
    found.sort();
    assert_eq!(found, frozen.into_keys().collect::<Vec<_>>());
}

/// The lines of the frozen contract that today's lacks.
fn missing_lines<'a>(then: &'a str, now: &str) -> Vec<&'a str> {
    let now: std::collections::BTreeSet<&str> = now.lines().collect();
    then.lines().filter(|line| !line.starts_with('#') && !now.contains(line)).collect()
}

/// The Rust contract only appends to what earlier versions had.
#[test]
fn rust_contract_only_appends() {
    use abi_stable::StableAbi as _;
    let then =
        fs::read_to_string(repository().join("tests/museum/1.0/rust_contract.txt")).expect("the frozen contract");
    let now = crate::layout::of(kymhost_plugin_api::ffi::ModuleRef::LAYOUT);
    assert!(then.lines().count() > 100, "it is not empty");
    assert_eq!(missing_lines(&then, &now), Vec::<&str>::new());
    // What was appended is written down with its version, so that from then on it stays.
    let today =
        fs::read_to_string(repository().join("tests/museum/1.1/rust_contract.txt")).expect("the contract of 1.1");
    assert_eq!(missing_lines(&today, &now), Vec::<&str>::new(), "what 1.1 has is gone; today:\n{now}");
    assert_eq!(missing_lines(&now, &today), Vec::<&str>::new(), "what is new is not written down; today:\n{now}");
    // Edits that are not appends are found: a field retyped, a field moved, one more in a frozen struct, a longer prefix.
    for (from, to) in [
        ("ErrorAbi 40 8 struct of 2", "ErrorAbi 48 8 struct of 3"),
        (".07:params_hash AFunctionPointer", ".08:params_hash AFunctionPointer"),
        ("RunAbi_trait::VTable prefix of", "RunAbi_trait::VTable prefix of 1"),
        ("Module.01:card RSlice", "Module.01:card RVec"),
    ] {
        assert!(now.contains(from), "no '{from}' in\n{now}");
        assert!(!missing_lines(&then, &now.replacen(from, to, 1)).is_empty(), "{to} is not found");
    }
    // The same of what came with 1.1.
    for (from, to) in [("VTable.06:put_json AFunc", "VTable.07:put_json AFunc"), (".11:reads AFunc", ".10:reads AFunc")]
    {
        assert!(now.contains(from), "no '{from}' in\n{now}");
        assert!(!missing_lines(&today, &now.replacen(from, to, 1)).is_empty(), "{to} is not found");
    }
}

/// The recorded contract of 1.0 is what the host of 1.0 prints.
#[test]
#[ignore = "slow"]
fn rust_contract_1_0_is_what_its_host_prints() {
    let recorded =
        fs::read_to_string(repository().join("tests/museum/1.0/rust_contract.txt")).expect("the frozen contract");
    let output = Command::new(frozen().1).arg("layout").output().expect("it runs");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert_eq!(missing_lines(&recorded, &printed), Vec::<&str>::new());
    assert_eq!(missing_lines(&printed, &recorded), Vec::<&str>::new());
}

/// The card that 1.0 writes is the recorded one, and this version reads it.
#[test]
#[ignore = "slow"]
fn card_1_0_equals_golden_card() {
    let golden = fs::read(repository().join("tests/museum/1.0/card.bin")).expect("the golden card");
    let card = Card::parse(&golden).expect("a card");
    assert_eq!((card.api.to_string().as_str(), card.needs_api.to_string().as_str()), ("1.0", "1.0"));
    assert_eq!((card.door.as_str(), card.sdk.as_str(), card.rustc.as_str()), ("abi_stable-0.11", "1.0.0", "rustc"));
    let names: Vec<_> = card.indexers.iter().map(|indexer| (indexer.name.as_str(), indexer.marker.as_str())).collect();
    assert_eq!(names, [("abi_probe", "abi_probe_run"), ("abi_second", "second/summary")]);
    // What 1.0 writes today, but for the compiler and the platform.
    let bytes = fs::read(frozen().0).expect("the library");
    let at = find_card(&bytes);
    let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("4 bytes")) as usize;
    let written = Card::parse(&bytes[at..]).expect("a card");
    let json = std::str::from_utf8(&bytes[at + 12..at + 12 + length]).expect("text");
    let json = json
        .replace(&format!("\"rustc\":\"{}\"", written.rustc), "\"rustc\":\"rustc\"")
        .replace(&format!("\"target\":\"{}\"", written.target), "\"target\":\"target\"");
    let mut normal = MAGIC.to_vec();
    normal.extend((json.len() as u32).to_le_bytes());
    normal.extend(json.as_bytes());
    assert_eq!(String::from_utf8_lossy(&normal), String::from_utf8_lossy(&golden));
}

/// A plugin in Rust leaks no memory, by valgrind.
#[test]
#[ignore = "slow"]
fn rust_plugin_leaks_no_memory() {
    let actions = [
        "foreign_types",
        "no_rows",
        "cut_to_no_rows",
        "put",
        "params_error",
        "panic",
        "error",
        "unreadable",
        "ragged",
        "cancelled",
    ];
    check_loses_nothing(&build("same"), &actions, 5, MANY);
}
