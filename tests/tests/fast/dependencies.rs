//! `deny.toml`, checked over `cargo metadata` and `Cargo.lock`: licences, banned crates, duplicates, sources.
//!
//! `cargo deny check` finds the same and more, but takes minutes to install. This covers the keys that deny.toml uses.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use toml_edit::{DocumentMut, Item};

/// A package of `Cargo.lock`, for any platform.
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn locked() -> Vec<Locked> {
    let lock: DocumentMut = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let of = |package: &toml_edit::Table| {
        let text = |key: &str| package.get(key).and_then(Item::as_str).map(str::to_owned);
        Locked { name: text("name").unwrap(), version: text("version").unwrap(), source: text("source") }
    };
    lock["package"].as_array_of_tables().unwrap().iter().map(of).collect()
}

/// Name, version and licence of each package that is built here. Cargo has fetched no others.
fn licensed() -> Vec<(String, String, String)> {
    let rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output().unwrap();
    let versions = String::from_utf8(rustc.stdout).unwrap();
    let host = versions.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let run = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let metadata: Value = serde_json::from_slice(&run.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    packages.map(|package| (text(&package["name"]), text(&package["version"]), text(&package["license"]))).collect()
}

fn rules() -> DocumentMut {
    std::fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

fn texts(list: &Item) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// The `crate` of each table in a list.
fn crates(list: &Item) -> Vec<String> {
    let name = |item: &toml_edit::Value| item.as_inline_table().unwrap()["crate"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

/// Whether a licence expression can be met with these licences. `/` is an old way to write `OR`; AND binds tighter.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    any_of(&expression, allowed)
}

/// Splits at a word outside brackets.
fn split<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= from && text[at..].starts_with(word) => {
                parts.push(&text[from..at]);
                from = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn any_of(text: &str, allowed: &BTreeSet<String>) -> bool {
    split(text, " OR ").iter().any(|one| {
        split(one, " AND ").iter().all(|part| {
            let part = part.trim();
            match part.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
                Some(inner) => any_of(inner, allowed),
                None => allowed.contains(part),
            }
        })
    })
}

/// Each crate that is used has a licence that deny.toml allows, for all crates or for this one.
#[test]
fn licences_are_allowed() {
    let rules = rules();
    let allowed: BTreeSet<String> = texts(&rules["licenses"]["allow"]).into_iter().collect();
    let mut exceptions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in rules["licenses"]["exceptions"].as_array().unwrap() {
        let table = item.as_inline_table().unwrap();
        let licences = table["allow"].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned());
        exceptions.insert(table["crate"].as_str().unwrap().to_owned(), licences.collect());
    }
    let wrong: Vec<String> = licensed()
        .iter()
        .filter(|(name, _, licence)| {
            !is_allowed(licence, &allowed) && !exceptions.get(name).is_some_and(|own| is_allowed(licence, own))
        })
        .map(|(name, version, licence)| format!("{name} {version}: '{licence}'"))
        .collect();
    assert!(wrong.is_empty(), "not allowed by deny.toml: {wrong:#?}");
}

/// No crate that deny.toml bans is used, and each comes from crates.io or this repository.
#[test]
fn banned_crates_and_sources_are_absent() {
    let banned = crates(&rules()["bans"]["deny"]);
    for package in locked() {
        assert!(!banned.contains(&package.name), "{} is banned by deny.toml", package.name);
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        assert!(
            package.source.as_deref().is_none_or(|source| source == registry),
            "{}: {:?}",
            package.name,
            package.source
        );
    }
}

/// Each crate is used in one version, but for those that deny.toml lists; and what it lists is used.
#[test]
fn duplicates_are_listed() {
    let skipped: Vec<(String, String)> = crates(&rules()["bans"]["skip"])
        .iter()
        .map(|skip| skip.split_once('@').map(|(name, version)| (name.to_owned(), format!("{version}."))).unwrap())
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for package in locked() {
        let skip = skipped.iter().find(|(name, start)| package.name == *name && package.version.starts_with(start));
        match skip {
            Some(skip) => used.extend([skip.clone()]),
            None => _ = versions.entry(package.name).or_default().insert(package.version),
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "several versions, not listed in deny.toml: {versions:#?}");
    let unused: Vec<_> = skipped.iter().filter(|skip| !used.contains(*skip)).collect();
    assert!(unused.is_empty(), "deny.toml lists duplicates that are not used: {unused:#?}");
}

/// The reader of licence expressions knows brackets, and that AND binds tighter than OR.
#[test]
fn licence_expressions_are_read_as_spdx_has_them() {
    let allowed: BTreeSet<String> = ["MIT", "Zlib"].map(str::to_owned).into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND Zlib", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND Zlib", true),
        ("(MIT OR Zlib) AND GPL-3.0", false),
        ("GPL-3.0 AND MIT OR Zlib", true),
        ("Apache-2.0 WITH LLVM-exception", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}
