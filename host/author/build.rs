//! Carries plugin-api in the program, so that `kymhost plugin new` can unpack it beside a new plugin.
//!
//! Owns: which files are carried, and their form outside of this workspace. Never: where they are unpacked
//! (see `src/new.rs`). A file that is missing or cannot be read stops the build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Value};

/// What of plugin-api's manifest means something to its own developers only.
const LEFT_OUT: [&str; 6] = ["lints", "dev-dependencies", "example", "test", "bench", "bin"];

fn main() {
    let author = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the manifest is"));
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where to write"));
    let root = author.ancestors().nth(2).expect("host/author/ is in the workspace");
    let api = root.join("plugin-api");
    println!("cargo:rerun-if-changed=build.rs");

    let workspace = document(&root.join("Cargo.toml"));
    let manifest = standalone(document(&api.join("Cargo.toml")), &workspace);
    let carried = out.join("plugin-api-Cargo.toml");
    fs::write(&carried, manifest.to_string()).expect("the manifest can be written");

    // Path beside the plugin -> file here.
    let mut files = BTreeMap::from([("Cargo.toml".to_owned(), carried)]);
    for licence in ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"] {
        files.insert(licence.to_owned(), watched(root.join(licence)));
    }
    for name in ["build.rs", "README.md"] {
        if api.join(name).is_file() {
            files.insert(name.to_owned(), watched(api.join(name)));
        }
    }
    for folder in ["src", "include"] {
        collect(&api.join(folder), folder, &mut files);
    }

    let mut text = String::from("/// plugin-api's files as they are unpacked: path and bytes, sorted by path.\n");
    let _ = writeln!(text, "pub const FILES: &[(&str, &[u8])] = &[");
    for (name, path) in &files {
        let _ = writeln!(text, "    ({name:?}, include_bytes!({:?})),", path.display().to_string());
    }
    let version = manifest["package"]["version"].as_str().expect("plugin-api has a version");
    let _ = writeln!(text, "];\n/// The version of plugin-api.\npub const VERSION: &str = {version:?};");
    text.push_str("/// The packages that plugin-api needs, in the form of Cargo.lock: name and entry, in its order.\n");
    let _ = writeln!(text, "pub const LOCKED: &[(&str, &str)] = &[");
    for (name, entry) in locked(&manifest, &document(&root.join("Cargo.lock"))) {
        let _ = writeln!(text, "    ({name:?}, {entry:?}),");
    }
    text.push_str("];\n");
    fs::write(out.join("carried.rs"), text).expect("the list can be written");
}

/// A file whose change asks for a new build.
fn watched(path: PathBuf) -> PathBuf {
    println!("cargo:rerun-if-changed={}", path.display());
    path
}

fn document(path: &Path) -> DocumentMut {
    let path = watched(path.to_owned());
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("parse {}: {error}", path.display()))
}

/// All files below a folder but for tests; nothing where it does not exist.
fn collect(folder: &Path, name: &str, files: &mut BTreeMap<String, PathBuf>) {
    println!("cargo:rerun-if-changed={}", folder.display());
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        let file = path.file_name().and_then(|name| name.to_str()).expect("file names are UTF-8");
        let name = format!("{name}/{file}");
        if path.is_dir() {
            if file != "tests" {
                collect(&path, &name, files);
            }
        } else if file != "tests.rs" && !file.ends_with("_tests.rs") && !file.starts_with('.') {
            files.insert(name, watched(path));
        }
    }
}

/// plugin-api's manifest without anything that only its workspace knows.
fn standalone(mut manifest: DocumentMut, workspace: &DocumentMut) -> DocumentMut {
    for key in LEFT_OUT {
        manifest.remove(key);
    }
    let shared = &workspace["workspace"];
    let package = manifest["package"].as_table_like_mut().expect("it has a [package]");
    for (key, item) in package.iter_mut() {
        if inherits(item) {
            *item = Item::Value(shared["package"][key.get()].as_value().expect("the workspace has it").clone());
        }
    }
    for section in ["dependencies", "build-dependencies"] {
        let Some(section) = manifest.get_mut(section).and_then(Item::as_table_like_mut) else { continue };
        for (name, item) in section.iter_mut() {
            if inherits(item) {
                *item = Item::Value(Value::InlineTable(merged(&shared["dependencies"][name.get()], item)));
            }
            let is_local = item.as_table_like().is_some_and(|table| table.contains_key("path"));
            assert!(!is_local, "plugin-api cannot be carried: it depends on '{}' by a path", name.get());
        }
    }
    assert!(!manifest.to_string().contains("workspace"), "something is still inherited:\n{manifest}");
    manifest
}

fn inherits(item: &Item) -> bool {
    item.as_table_like().and_then(|table| table.get("workspace")).and_then(Item::as_bool) == Some(true)
}

/// A dependency as the workspace has it, with what plugin-api adds.
fn merged(shared: &Item, own: &Item) -> InlineTable {
    let mut merged = InlineTable::new();
    if let Some(version) = shared.as_str() {
        merged.insert("version", version.into());
    }
    for (key, item) in [shared, own].into_iter().filter_map(Item::as_table_like).flat_map(|table| table.iter()) {
        let value = item.as_value().expect("a plain value").clone();
        match (key, merged.get_mut(key).and_then(Value::as_array_mut), value.as_array()) {
            ("workspace", ..) => {}
            (_, Some(all), Some(more)) => all.extend(more.iter().cloned().collect::<Array>()),
            _ => {
                merged.insert(key, value);
            }
        }
    }
    merged
}

/// The locked packages that a manifest's dependencies lead to, and plugin-api itself.
fn locked(manifest: &DocumentMut, lock: &DocumentMut) -> Vec<(String, String)> {
    struct Package<'a> {
        name: &'a str,
        version: &'a str,
        dependencies: Vec<&'a str>,
        table: &'a toml_edit::Table,
    }
    let tables = lock["package"].as_array_of_tables().expect("Cargo.lock lists packages");
    let text = |table: &'_ toml_edit::Table, key: &str| table.get(key).and_then(Item::as_str).map(str::to_owned);
    let packages: Vec<Package> = tables
        .iter()
        .map(|table| Package {
            name: table["name"].as_str().expect("a name"),
            version: table["version"].as_str().expect("a version"),
            dependencies: table
                .get("dependencies")
                .and_then(Item::as_array)
                .map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_str).collect()),
            table,
        })
        .collect();
    // "name", or "name version" where there are several.
    let find = |words: &str| {
        let mut words = words.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        packages.iter().position(|package| package.name == name && version.is_none_or(|it| it == package.version))
    };
    let own = |name: &str| {
        ["dependencies", "build-dependencies"]
            .iter()
            .any(|section| manifest.get(section).is_some_and(|section| section.get(name).is_some()))
    };

    let api = find("kymhost-plugin-api").expect("plugin-api is in Cargo.lock");
    let needs = |index: usize| {
        let package = &packages[index];
        package
            .dependencies
            .iter()
            .copied()
            .filter(move |words| index != api || own(words.split(' ').next().unwrap_or_default()))
    };
    let mut found = BTreeSet::from([api]);
    let mut open = vec![api];
    while let Some(index) = open.pop() {
        for words in needs(index) {
            let next = find(words).unwrap_or_else(|| panic!("Cargo.lock lacks {words}"));
            if found.insert(next) {
                open.push(next);
            }
        }
    }

    let several = |name: &str| found.iter().filter(|index| packages[**index].name == name).count() > 1;
    let entry = |&index: &usize| {
        let package = &packages[index];
        let mut entry = format!("[[package]]\nname = {:?}\nversion = {:?}\n", package.name, package.version);
        for key in ["source", "checksum"] {
            if let Some(value) = text(package.table, key) {
                let _ = writeln!(entry, "{key} = {value:?}");
            }
        }
        let needs: Vec<&str> = needs(index)
            .map(|words| match words.split_once(' ') {
                Some((name, _)) if !several(name) => name,
                _ => words,
            })
            .collect();
        if !needs.is_empty() {
            let _ = writeln!(entry, "dependencies = [");
            for words in needs {
                let _ = writeln!(entry, " {words:?},");
            }
            entry.push_str("]\n");
        }
        (package.name.to_owned(), entry)
    };
    found.iter().map(entry).collect()
}
