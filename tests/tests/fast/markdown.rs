//! The Markdown of the repository: links, anchors, line lengths, and what the code says of the pages.
//!
//! Reads the files as text. Does not judge what a page says: the tests of the program and of its rooms do that.

use kymhost_tests::repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Prose ends here; tables and code may be wider.
const WIDTH: usize = 100;
/// Folders that hold what was built, what was frozen, and what belongs to tools.
const SKIPPED: [&str; 3] = ["target", "museum", "node_modules"];
/// Sources whose comments and messages name pages.
const SOURCES: [&str; 6] = ["rs", "toml", "h", "c", "py", "sh"];

/// Files below `folder` with one of these endings, by their path in the repository.
fn files(folder: &Path, endings: &[&str], found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&name) {
                files(&path, endings, found);
            }
        } else if path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| endings.contains(&ending)) {
            let name = path.strip_prefix(repository()).expect("of this repository").display().to_string();
            found.insert(name, fs::read_to_string(&path).expect("a text"));
        }
    }
}

fn pages() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    files(&repository(), &["md"], &mut found);
    assert!(found.contains_key("README.md") && found.contains_key("docs/README.md"), "{:?}", found.keys());
    found
}

/// The lines outside fenced code, with their numbers; code in a line is taken out of it.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fence: Option<&str> = None;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let ticks = &start[..start.len() - start.trim_start_matches('`').len()];
        match fence {
            Some(open) if ticks.len() >= open.len() => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 => fence = Some(ticks),
            None => lines.push((index + 1, line.to_owned())),
        }
    }
    lines
}

/// A line without its inline code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// The targets of `[text](target)` in a line.
fn links(line: &str) -> Vec<String> {
    let line = without_code(line);
    line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// What a heading is called in a link: as GitHub makes it.
fn slug(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    // Of a link in a heading its text counts.
    while let Some((before, after)) = rest.split_once('[') {
        text.push_str(before);
        rest = after;
        if let Some((shown, after)) = rest.split_once(')') {
            text.push_str(shown.split_once("](").map_or(shown, |(shown, _)| shown));
            rest = after;
        }
    }
    text.push_str(rest);
    let kept = text.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || ['_', '-', ' '].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let name = slug(heading);
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let unused = std::iter::once(name.clone()).chain(numbered).find(|name| !found.contains(name));
        found.extend(unused);
    }
    found
}

/// A relative path from a page, in the repository. None if it leads out.
fn resolve(page: &str, target: &str) -> Option<PathBuf> {
    let mut path = Path::new(page).parent()?.to_path_buf();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir if !path.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            _ => return None,
        }
    }
    Some(path)
}

/// What is wrong with a link, if anything.
fn fault(pages: &BTreeMap<String, String>, page: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { Some(PathBuf::from(page)) } else { resolve(page, file) };
    let Some(target) = target else { return Some("it leads out of the repository".to_owned()) };
    if !repository().join(&target).exists() {
        return Some("no such file".to_owned());
    }
    let text = pages.get(target.to_str()?);
    match text {
        Some(text) if !anchor.is_empty() && !anchors(text).contains(anchor) => Some("no such heading".to_owned()),
        None if !anchor.is_empty() => Some("an anchor in a file that is not a page".to_owned()),
        _ => None,
    }
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let pages = pages();
    let mut faults = Vec::new();
    let mut count = 0;
    for (page, text) in &pages {
        for (number, line) in prose(text) {
            for link in links(&line) {
                count += 1;
                faults.extend(fault(&pages, page, &link).map(|fault| format!("{page}:{number}: {link}: {fault}")));
            }
        }
    }
    assert!(faults.is_empty(), "dead links:\n{}", faults.join("\n"));
    assert!(count > 200, "the docs have more links than {count}");
}

#[test]
fn lines_of_prose_end_in_time() {
    let mut faults = Vec::new();
    for (page, text) in pages() {
        for (number, line) in prose(&text) {
            let is_table = line.trim_start().starts_with('|');
            // One word may be as long as it has to be: an address, a link.
            let can_be_cut =
                line.trim_start_matches(['-', '>', ' ']).split("](").next().is_some_and(|l| l.contains(' '));
            if line.chars().count() > WIDTH && !is_table && can_be_cut {
                faults.push(format!("{page}:{number}: {} columns", line.chars().count()));
            }
        }
    }
    assert!(faults.is_empty(), "lines of more than {WIDTH} columns:\n{}", faults.join("\n"));
}

/// Each page can be found from the index or from a page that it names.
#[test]
fn every_page_is_reached_from_the_index() {
    let pages = pages();
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut next = vec!["README.md".to_owned()];
    while let Some(page) = next.pop() {
        let Some(text) = pages.get(&page) else { continue };
        for (_, line) in prose(text) {
            for link in links(&line) {
                let target = resolve(&page, link.split('#').next().unwrap_or_default());
                let target = target.and_then(|target| Some(target.to_str()?.to_owned()));
                next.extend(target.filter(|target| target.ends_with(".md") && reached.insert(target.clone())));
            }
        }
    }
    let unreached: Vec<&String> =
        pages.keys().filter(|page| page.starts_with("docs/") && !reached.contains(*page)).collect();
    assert!(unreached.is_empty(), "no way leads from README.md to {unreached:?}");
}

/// Comments, headers and messages name pages by their path.
#[test]
fn pages_named_in_sources_exist() {
    let mut sources = BTreeMap::new();
    files(&repository(), &SOURCES, &mut sources);
    let mut faults = Vec::new();
    for (source, text) in sources {
        for (index, line) in text.lines().enumerate() {
            for rest in line.split("docs/").skip(1) {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_/.".contains(c))).unwrap_or(rest.len());
                let named = rest[..end].trim_end_matches('.');
                let page = format!("docs/{named}");
                if page.ends_with(".md") && !repository().join(&page).is_file() {
                    faults.push(format!("{source}:{}: {page}", index + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "pages that do not exist:\n{}", faults.join("\n"));
}

/// The list of correctness bugs names, for each bug that was fixed, tests that exist.
#[test]
fn tests_named_by_correctness_bugs_exist() {
    let page = fs::read_to_string(repository().join("docs/contributors/correctness-bugs.md")).expect("the page");
    let (_, fixed) = page.split_once("\n## Fixed\n").expect("its list");
    let fixed = fixed.split("\n## ").next().unwrap_or_default();
    let mut sources = BTreeMap::new();
    for folder in ["host", "plugin-api", "plugins", "tests"] {
        files(&repository().join(folder), &["rs"], &mut sources);
    }
    let rows: Vec<&str> = fixed.lines().filter(|line| line.starts_with("| 20")).collect();
    assert!(rows.len() > 10, "{rows:#?}");
    for row in rows {
        let guards = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        for name in guards.split('`').skip(1).step_by(2) {
            let test = format!("fn {name}(");
            assert!(sources.values().any(|source| source.contains(&test)), "there is no test {name}: {row}");
        }
    }
}

#[test]
fn headings_have_the_names_that_github_gives_them() {
    for (heading, name) in [
        (" Reading the record", "reading-the-record"),
        (" Velocities: `radon_velocity`", "velocities-radon_velocity"),
        (" Rows, and no rows", "rows-and-no-rows"),
        (" The [C door](x.md#y) again", "the-c-door-again"),
        (" `kymhost plugin check`", "kymhost-plugin-check"),
        (" Some images failed (exit code 3)", "some-images-failed-exit-code-3"),
    ] {
        assert_eq!(slug(heading), name);
    }
    assert_eq!(anchors("# A\n## A\n```\n# no heading\n```\n"), BTreeSet::from(["a".into(), "a-1".into()]));
    assert_eq!(links("a [b](c.md#d) `[no](link)` [e](f)"), ["c.md#d", "f"]);
}
