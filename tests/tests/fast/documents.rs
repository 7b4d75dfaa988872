//! What the documents say against what the program can say.
//!
//! Every stable error code is documented. What a code means is tested in each crate.

use kymhost_tests::repository;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where codes are documented.
const DOCUMENTS: [&str; 3] = ["docs/reference/error-codes.md", "docs/authors/plugin-abi.md", "docs/guides/plugins.md"];

/// What comes before a code in the host's source. Anything else is not a code that users see.
const BEFORE: [&str; 5] = [
    "Refusal::new(",
    "refused(",
    "unusable(",
    "usage(",
    // `Diagnosis::new(Class::…, "code"`
    "(Class::",
];

/// What a worker says to its host, which makes the error `worker` of it.
const INTERNAL: [&str; 2] = ["protocol", "dataset"];

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// The codes of one file, its tests left out.
fn codes(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for before in BEFORE {
        for after in source.split(before).skip(1) {
            let mut after = after.trim_start();
            if before.ends_with("::") {
                after = after.split_once(',').map_or("", |(_, after)| after.trim_start());
            }
            let literal = after.strip_prefix('"').and_then(|after| after.split_once('"'));
            found.extend(
                literal
                    .map(|(code, _)| code.to_owned())
                    .filter(|code| is_word(code) && !INTERNAL.contains(&code.as_str())),
            );
        }
    }
    found
}

fn sources(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("the source") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(repository()).expect("of this repository").display().to_string();
            found.insert(name, fs::read_to_string(&path).expect("a text"));
        }
    }
}

#[test]
fn every_error_code_is_documented() {
    let documents: String = DOCUMENTS.map(|name| fs::read_to_string(repository().join(name)).expect(name)).concat();
    let mut files = BTreeMap::new();
    for name in ["store", "dataset", "plugin", "ingest", "index", "author", "cli"] {
        sources(&repository().join("host").join(name).join("src"), &mut files);
    }
    let all: BTreeMap<String, &str> =
        files.iter().flat_map(|(path, source)| codes(source).into_iter().map(|code| (code, &**path))).collect();
    // That the scan sees each way in which codes are written.
    for (code, why) in [
        ("group_writable", "`Refusal::new(`"),
        ("build_failed", "`unusable(`"),
        ("no_data_folder", "`(Class::`"),
        ("world_writable", "`refused(`"),
        ("same_indexer", "`usage(` on the next line"),
        ("two_writers", "`(Class::`"),
        ("bad_key", "`unusable(`"),
    ] {
        assert!(all.contains_key(code), "{code}, which is written as {why}, was not found: {all:?}");
    }
    let missing: Vec<_> = all.iter().filter(|(code, _)| !documents.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "codes that none of {DOCUMENTS:?} has: {missing:#?}");
}
