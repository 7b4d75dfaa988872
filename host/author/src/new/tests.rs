use super::*;
use std::collections::BTreeMap;

fn name(text: &str) -> PluginName {
    PluginName::new(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The files of a new plugin that come from templates, as text.
fn made(text: &str, language: Language) -> BTreeMap<String, String> {
    let text_of = |file: NewFile| (file.path, String::from_utf8(file.bytes.into_owned()).expect("it is UTF-8"));
    files(&name(text), language).into_iter().filter(|file| !file.path.starts_with("vendor/")).map(text_of).collect()
}

#[test]
fn the_rust_indexer_has_25_lines_at_most() {
    let file = &made("stalls", Language::Rust)["src/lib.rs"];
    let (indexer, test) = file.split_once("\n\n#[cfg(test)]\n").expect("its test comes last");
    assert_eq!(test, "mod tests;\n");
    assert!(indexer.lines().count() <= 25, "{} lines", indexer.lines().count());
    assert!(indexer.contains("impl Indexer for Stalls") && indexer.ends_with("export_plugin!(Stalls);"), "{indexer}");
    let too_long: Vec<&str> = indexer.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(too_long.is_empty(), "lines must not be made long to be few: {too_long:#?}");
}

#[test]
fn the_tutorial_shows_the_indexer_that_is_made() {
    let tutorial = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/authors/tutorial.md");
    let tutorial = fs::read_to_string(tutorial).expect("the repository has a tutorial for authors");
    let (_, after) = tutorial.split_once("```rust\n").expect("it shows Rust");
    let (shown, _) = after.split_once("```\n").expect("the code ends");
    let file = &made("brightness", Language::Rust)["src/lib.rs"];
    assert!(file.starts_with(shown), "docs/authors/tutorial.md shows\n{shown}\nwhat is made is\n{file}");
}

#[test]
fn all_is_filled_in() {
    for language in Language::ALL {
        for text in ["a", "stalls", "table", &"long".repeat(MAX_CHARS / 4)] {
            for (path, content) in made(text, language) {
                assert!(
                    !path.contains('{') && !content.contains("{{") && !content.contains("}}"),
                    "{path}:\n{content}"
                );
                let ends_well = content.ends_with('\n') && !content.ends_with("\n\n");
                assert!(ends_well && !content.contains('\t') | path.contains("Makefile"), "{path}");
            }
        }
        let (some, other) = (made("stalls", language), made("stalks", language));
        assert!(some.values().all(|content| !content.to_lowercase().contains("stalks")));
        let renamed = |text: &str| text.replace("stalls", "stalks").replace("Stalls", "Stalks");
        // The lock file's order depends on the name, too.
        let renamed: BTreeMap<String, String> =
            some.iter().map(|(path, text)| (renamed(path), renamed(text))).collect();
        assert_eq!(renamed, other, "nothing but the name differs");
    }
}

#[test]
fn paths_stay_within_and_are_written_once() {
    for language in Language::ALL {
        let files = files(&name("stalls"), language);
        let mut paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert!(paths.is_sorted());
        let all = paths.len();
        paths.dedup();
        assert_eq!(paths.len(), all);
        for path in paths {
            let parts: Vec<&str> = path.split('/').collect();
            assert!(parts.iter().all(|part| !part.is_empty() && *part != ".." && *part != "."), "{path}");
        }
    }
}

#[test]
fn plugin_api_is_carried_as_it_is_today() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let api = root.join("plugin-api");
    let carried: BTreeMap<&str, &[u8]> = carried::FILES.iter().copied().collect();
    for (path, bytes) in &carried {
        if *path == "Cargo.toml" {
            continue;
        }
        let source = if path.starts_with("LICENSE") { root.join(path) } else { api.join(path) };
        assert_eq!(fs::read(&source).unwrap_or_default(), *bytes, "{path}");
    }
    for expected in ["build.rs", "LICENSE-APACHE", "LICENSE-MIT", "src/lib.rs", "src/ffi/mod.rs"] {
        assert!(carried.contains_key(expected), "{expected} is not carried");
    }
    // Nothing is forgotten but tests.
    let mut open = vec![api.join("src"), api.join("include")];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("it can be listed").path();
            let inner = path.strip_prefix(&api).expect("it is inside").to_str().expect("it is UTF-8").to_owned();
            if path.is_dir() {
                open.push(path);
            } else if !inner.ends_with("tests.rs") {
                assert!(carried.contains_key(inner.as_str()), "{inner} is not carried");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen} files");
}

#[test]
fn the_carried_manifest_needs_no_workspace() {
    let (_, bytes) = carried::FILES.iter().find(|(path, _)| *path == "Cargo.toml").expect("it is carried");
    let text = std::str::from_utf8(bytes).expect("it is UTF-8");
    for expected in
        ["name = \"kymhost-plugin-api\"", "[features]", "abi_stable = { version = \"=0.11.3\"", "optional = true"]
    {
        assert!(text.contains(expected), "it lacks {expected}:\n{text}");
    }
    for unexpected in ["workspace", "path =", "[dev-dependencies", "[lints"] {
        assert!(!text.contains(unexpected), "it has {unexpected}:\n{text}");
    }
    let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugin-api/Cargo.toml"))
        .expect("it is there");
    let version = |text: &str| text.lines().find(|line| line.starts_with("version = ")).map(str::to_owned);
    assert!(version(text).is_some() && version(text) == version(&own), "{text}");
}

#[test]
fn the_lock_file_lists_what_is_needed_and_no_more() {
    let lock = &made("stalls", Language::Rust)["Cargo.lock"];
    let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert!(names.is_sorted(), "{names:#?}");
    for expected in ["stalls", "kymhost-plugin-api", "abi_stable", "arrow", "sha2"] {
        assert!(names.contains(&format!("\"{expected}\"").as_str()), "it lacks {expected}");
    }
    for unexpected in ["proptest", "serde_json", "clap", "parquet", "kymhost"] {
        assert!(!names.contains(&format!("\"{unexpected}\"").as_str()), "it has {unexpected}");
    }
}

#[test]
fn a_folder_is_written_as_a_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let files = [
        NewFile { path: "a.txt".into(), bytes: Cow::Borrowed(b"1") },
        NewFile { path: "b/c/d.txt".into(), bytes: Cow::Borrowed(b"2") },
    ];
    let listed = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("it can be listed");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let new = dir.path().join("x/y/new");
    write(&new, &files).expect("a new folder, with those above it");
    assert_eq!(fs::read(new.join("b/c/d.txt")).expect("a file"), b"2");
    assert_eq!(listed(&dir.path().join("x/y")), ["new"], "nothing is left beside");

    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&empty, &link).expect("a link");
    write(&link, &files).expect("an empty folder, by a link");
    assert_eq!(listed(&empty), ["a.txt", "b"]);
    assert!(link.symlink_metadata().expect("the link").is_symlink());

    // (what is there, what is said)
    fs::write(dir.path().join("file"), "mine").expect("a file");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), dir.path().join("dangling")).expect("a link");
    for (taken, says) in
        [("empty", "not empty"), ("x", "not empty"), ("file", "not a folder"), ("dangling", "leads nowhere")]
    {
        let error = write(&dir.path().join(taken), &files).expect_err(taken);
        assert!(matches!(error, NewError::Taken { .. }) && error.to_string().contains(says), "{error}");
    }
    assert_eq!(fs::read(dir.path().join("file")).expect("the file"), b"mine");
    assert_eq!(listed(dir.path()), ["dangling", "empty", "file", "link", "x"]);

    // A file that cannot be written: a folder of its name is in the way.
    let broken = [
        NewFile { path: "a/b".into(), bytes: Cow::Borrowed(b"1") },
        NewFile { path: "a".into(), bytes: Cow::Borrowed(b"2") },
    ];
    let error = write(&dir.path().join("broken"), &broken).expect_err("a folder is no file");
    assert!(matches!(error, NewError::Io { .. }), "{error}");
    assert_eq!(listed(dir.path()), ["dangling", "empty", "file", "link", "x"], "no half folder");
}
