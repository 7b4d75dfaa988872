//! Finding plugins: by name on a search path, by a library's path, and which are refused.

use kymhost::plugin::{Plugin, PluginError, SearchPath, find_plugin, list_plugins};
use kymhost::store::Diagnose as _;
use kymhost_tests::{TestDir, library};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

fn folder(dir: &TestDir, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn put(folder: &Path, plugin: &str) -> PathBuf {
    let path = folder.join(format!("lib{plugin}{}", std::env::consts::DLL_SUFFIX));
    fs::copy(library(plugin), &path).unwrap();
    path.canonicalize().unwrap()
}

fn search(folders: &[&Path]) -> SearchPath {
    SearchPath { folders: folders.iter().map(|folder| folder.to_path_buf()).collect(), ..SearchPath::default() }
}

/// The library found, or the refusal's code and what it says.
#[track_caller]
fn check(spec: &str, search: &SearchPath, expected: Result<&Path, (&str, &[&str])>) {
    match (find_plugin(spec, search), expected) {
        (Ok(Plugin { library, .. }), Ok(path)) => assert_eq!(library, path, "{spec}"),
        (Err(error), Err((code, says))) => {
            let found = match &error {
                PluginError::NotFound { .. } => "not_found",
                PluginError::Refused { refusal, .. } => refusal.code,
                other => panic!("{other}"),
            };
            let said = error.diagnose();
            let text = format!("{}\n{}", said.message(), said.help.expect("help"));
            assert_eq!(found, code, "{text}");
            assert!(text.lines().count() <= 5, "{text}");
            for part in says {
                assert!(text.contains(part), "{text} does not say {part}");
            }
        }
        (found, expected) => panic!("{spec}: {found:?}, expected {expected:?}"),
    }
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

/// Plugins are found by name on the search path.
#[test]
fn plugin_names_found_on_search_path() {
    let dir = TestDir::new();
    let (first, second, third) = (folder(&dir, "first"), folder(&dir, "second"), folder(&dir, "third"));
    let radon = put(&first, "radon");
    let misbehave = put(&second, "misbehave");
    // None of ours: text, another library, a file of another name.
    fs::write(first.join("text.so"), "words").unwrap();
    fs::copy(library("radon"), first.join("plugin.bin")).unwrap();
    symlink("/nowhere/lib.so", first.join("dangling.so")).unwrap();
    let absent = dir.join("absent");
    let path = search(&[&absent, &first, &second]);
    check("radon", &path, Ok(&radon));
    check("behave", &path, Ok(&misbehave));
    check(" Radon ", &path, Ok(&radon));
    check("Radom", &path, Err(("not_found", &["did you mean 'radon'?", "(absent)", "behave, misbehave, radon"])));
    check("something_else", &path, Err(("not_found", &["--plugin-dir", "KYMHOST_PLUGIN_PATH"])));
    check("radon", &search(&[&absent, &second]), Err(("not_found", &["behave, misbehave"])));
    check("radon", &search(&[]), Err(("not_found", &["searched: nothing", "found: nothing"])));
    check("a\nb\nc\nd\ne", &path, Err(("not_found", &["'a b c d e'"])));

    // One library reached by several ways is one.
    symlink(&radon, third.join("again.so")).unwrap();
    fs::hard_link(&radon, third.join("hard.so")).unwrap();
    let linked = dir.join("linked");
    symlink(&first, &linked).unwrap();
    check("radon", &search(&[&first, &third, &linked, &first]), Ok(&radon));

    // A second library is not.
    let copy = put(&second, "radon");
    check("radon", &path, Err(("two_libraries", &[radon.to_str().unwrap(), copy.to_str().unwrap()])));
    check("behave", &path, Ok(&misbehave));

    let listed = list_plugins(&path);
    let names: Vec<_> = listed
        .iter()
        .map(|(path, plugins)| {
            let plugins = plugins.as_ref().map_err(ToString::to_string).unwrap();
            (path.as_path(), plugins.iter().map(|plugin| plugin.indexer.name.as_str()).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        names,
        [
            (radon.as_path(), vec!["radon"]),
            (misbehave.as_path(), vec!["misbehave", "behave"]),
            (copy.as_path(), vec!["radon"])
        ]
    );
}

/// A path names a library.
#[test]
fn plugin_paths_name_libraries() {
    let dir = TestDir::new();
    let plugins = folder(&dir, "plugins");
    let radon = put(&plugins, "radon");
    let misbehave = put(&plugins, "misbehave");
    let none = SearchPath::default();
    let (radon_text, misbehave_text) = (radon.to_str().unwrap(), misbehave.to_str().unwrap());
    let text = plugins.join("text.so");
    fs::write(&text, "words").unwrap();
    let cut = plugins.join("cut.so");
    let bytes = fs::read(&radon).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    check(radon_text, &none, Ok(&radon));
    check(&format!("{radon_text}:radon"), &none, Ok(&radon));
    check(&format!("{radon_text}:other"), &none, Err(("no_indexer", &["no indexer 'other', only radon"])));
    check(misbehave_text, &none, Err(("several_indexers", &["misbehave, behave", ":NAME"])));
    check(&format!("{misbehave_text}:behave"), &none, Ok(&misbehave));
    check(text.to_str().unwrap(), &none, Err(("no_library", &["text.so"])));
    check(cut.to_str().unwrap(), &none, Err(("truncated", &["cut.so", "cut off"])));
    check(plugins.to_str().unwrap(), &none, Err(("no_library", &["not a file"])));
    check("./absent.so", &none, Err(("unreadable", &["./absent.so"])));
    // A bare file name is a path, of the working folder.
    check("absent.so", &none, Err(("unreadable", &["absent.so"])));
}

/// A library that other users can change is refused.
#[test]
fn plugin_writable_by_others_refused() {
    let dir = TestDir::new();
    let (open, closed) = (folder(&dir, "open"), folder(&dir, "closed"));
    let in_open = put(&open, "radon");
    let in_closed = put(&closed, "misbehave");
    let none = SearchPath::default();
    let both = search(&[&open, &closed]);
    check("radon", &both, Ok(&in_open));

    mode(&open, 0o777);
    check("radon", &both, Err(("world_writable", &["chmod o-w", open.to_str().unwrap()])));
    check(in_open.to_str().unwrap(), &none, Err(("world_writable", &["chmod o-w"])));
    check("behave", &both, Ok(&in_closed));
    assert!(list_plugins(&both)[0].1.is_err() && list_plugins(&both)[1].1.is_ok());
    // In a sticky folder others cannot replace a file, but add one.
    mode(&open, 0o1777);
    check("radon", &both, Err(("world_writable", &["chmod o-w"])));
    check(in_open.to_str().unwrap(), &none, Ok(&in_open));
    // Through a link in a folder that is safe itself.
    symlink(&in_open, closed.join("link.so")).unwrap();
    check("radon", &search(&[&closed]), Err(("world_writable", &[open.to_str().unwrap()])));
    mode(&open, 0o755);
    check("radon", &both, Ok(&in_open));

    mode(&in_open, 0o757);
    check("radon", &both, Err(("world_writable", &["chmod o-w", in_open.to_str().unwrap()])));
    check(in_open.to_str().unwrap(), &none, Err(("world_writable", &["chmod o-w"])));
    mode(&in_open, 0o755);

    if !rustix::process::geteuid().is_root() {
        return kymhost_tests::skip("files of another owner can only be made by root");
    }
    std::os::unix::fs::chown(&in_open, Some(54_321), None).unwrap();
    check("radon", &both, Err(("foreign_owner", &["user 54321", "chown"])));
    std::os::unix::fs::chown(&in_open, Some(0), None).unwrap();
    std::os::unix::fs::chown(&open, Some(54_321), None).unwrap();
    check(in_open.to_str().unwrap(), &none, Err(("foreign_owner", &["user 54321"])));
}
