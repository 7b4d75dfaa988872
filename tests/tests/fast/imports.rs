//! The import graph of the sources: which file uses which, within each crate.
//!
//! Reads the sources as text. It knows nothing of what is imported.

use kymhost_tests::repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose files are looked at.
const CRATES: [&str; 9] = [
    "host/store",
    "host/dataset",
    "host/plugin",
    "host/ingest",
    "host/index",
    "host/author",
    "host/cli",
    "plugin-api",
    "plugins/analysis",
];

/// A module's path within its crate: `["commands", "run"]`; the root is empty.
type Module = Vec<String>;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module that a file is, and whether it is a hub (`lib.rs`, `mod.rs`), which only names other modules.
fn module_of(file: &Path, src: &Path) -> (Module, bool) {
    let path = file.strip_prefix(src).expect("below src").with_extension("");
    let mut module: Module = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let is_hub = matches!(module.last().map(String::as_str), Some("lib" | "mod" | "main"));
    if is_hub {
        module.pop();
    }
    (module, is_hub)
}

/// The source without comments and without what is only compiled for tests.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // An item that ends on its own line, or with a brace at its own indent.
            let indent = line.len() - line.trim_start().len();
            let first = lines.next().unwrap_or_default();
            if !(first.trim_end().ends_with(';') || first.trim_end().ends_with('}')) {
                lines.by_ref().find(|line| line.trim() == "}" && line.len() - line.trim_start().len() == indent);
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// The words of a path such as `crate::a::b` from a place in the code.
fn path_at(code: &str) -> Vec<&str> {
    let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(code.len());
    code[..end].split("::").take_while(|word| !word.is_empty()).collect()
}

/// The paths that code names, from `crate` on, with one entry per name of a `{...}` list behind `use`.
fn paths(code: &str, module: &Module) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
            if is_word {
                continue;
            }
            let words = path_at(&code[at..]);
            let mut base = if start == "crate::" { Module::new() } else { module.clone() };
            let mut rest = words.as_slice();
            while let Some((first, after)) = rest.split_first() {
                match *first {
                    "crate" => {}
                    "super" => {
                        base.pop();
                    }
                    _ => break,
                }
                rest = after;
            }
            base.extend(rest.iter().map(ToString::to_string));
            // `use crate::{a::B, c}`: each name of the list.
            let written: usize = words.iter().map(|word| word.len() + 2).sum();
            match code.get(at + written..).and_then(|after| after.strip_prefix('{')) {
                Some(list) => found.extend(listed(list).into_iter().map(|name| [base.clone(), name].concat())),
                None => {
                    found.insert(base);
                }
            }
        }
    }
    found
}

/// The paths of a list up to its closing brace; what nested lists hold is left to their beginnings.
fn listed(list: &str) -> Vec<Module> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            c if depth == 0 => names.last_mut().expect("a name").push(c),
            _ => {}
        }
    }
    names.iter().map(|name| path_at(name.trim()).iter().map(ToString::to_string).collect()).collect()
}

/// For each file of a crate that is not a hub, the files that it uses.
fn graph(root: &Path) -> BTreeMap<Module, BTreeSet<Module>> {
    let src = root.join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let is_test = |file: &PathBuf| {
        let path = file.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        path.contains("tests") || path.contains("test_values") || path.contains("reference") || path.contains("testing")
    };
    files.retain(|file| !is_test(file));
    let modules: BTreeMap<Module, bool> = files.iter().map(|file| module_of(file, &src)).collect();
    let mut graph = BTreeMap::new();
    for file in &files {
        let (module, is_hub) = module_of(file, &src);
        if is_hub {
            continue;
        }
        let code = code_of(&fs::read_to_string(file).expect("a text"));
        let mut used = BTreeSet::new();
        for mut path in paths(&code, &module) {
            // The longest beginning that is a file.
            while !path.is_empty() && !modules.contains_key(&path) {
                path.pop();
            }
            if modules.get(&path) == Some(&false) && path != module {
                used.insert(path);
            }
        }
        graph.insert(module, used);
    }
    graph
}

/// A way from a file back to itself, if there is one.
fn cycle(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    fn visit(
        graph: &BTreeMap<Module, BTreeSet<Module>>,
        at: &Module,
        way: &mut Vec<Module>,
        done: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(start) = way.iter().position(|one| one == at) {
            way.drain(..start);
            return true;
        }
        if !done.insert(at.clone()) {
            return false;
        }
        way.push(at.clone());
        if graph.get(at).into_iter().flatten().any(|next| visit(graph, next, way, done)) {
            return true;
        }
        way.pop();
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    graph.keys().any(|start| visit(graph, start, &mut way, &mut done)).then_some(way)
}

/// No file of a crate uses a file that uses it. Prints one cycle per crate.
#[test]
fn files_have_no_import_cycle() {
    let mut cycles = Vec::new();
    for name in CRATES {
        let graph = graph(&repository().join(name));
        assert!(!graph.is_empty(), "{name} has no sources");
        if let Some(way) = cycle(&graph) {
            let way: Vec<String> = way.iter().chain(way.first()).map(|module| module.join("::")).collect();
            cycles.push(format!("{name}: {}", way.join(" -> ")));
        }
    }
    assert!(cycles.is_empty(), "files that use each other: {cycles:#?}");
}

/// The scan sees a cycle through `use` lists, `super` and paths in code.
#[test]
fn import_cycle_is_found() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    let code = code_of(
        "use crate::{a::B, c};\nuse super::d::{E, F};\n// crate::comment\n#[cfg(test)]\nmod tests {\n    use crate::t;\n}\nfn f() { crate::g::h(); }\n",
    );
    let found = paths(&code, &module("x::y"));
    let expected = ["a::B", "c", "x::d::E", "x::d::F", "g::h"].map(module);
    assert_eq!(found, expected.into_iter().collect());
    let edges = [("a", "b"), ("b", "c"), ("c", "b")];
    let mut graph: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, to) in edges {
        graph.entry(module(from)).or_default().insert(module(to));
    }
    assert_eq!(cycle(&graph), Some(vec![module("b"), module("c")]));
}

/// What only the program needs is a dependency of no other crate of the host.
#[test]
fn program_dependencies_stay_in_the_program() {
    for name in CRATES.iter().filter(|name| **name != "host/cli") {
        let manifest = fs::read_to_string(repository().join(name).join("Cargo.toml")).expect("a manifest");
        for dependency in ["clap", "clap_complete", "comfy-table", "indicatif", "signal-hook", "tokio"] {
            let is_used =
                manifest.lines().any(|line| line.split(['.', '=', ' ']).next().is_some_and(|word| word == dependency));
            assert!(!is_used, "{name} depends on {dependency}, which belongs to the program");
        }
    }
}
