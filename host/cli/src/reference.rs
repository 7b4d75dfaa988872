//! The reference pages in `docs/reference` that come from the code, and a test that they are up to date.
//!
//! Only part of the unit tests. `KYMHOST_UPDATE=1 cargo test -p kymhost --lib reference` writes the pages.

pub mod codes;
mod commands;
mod documents;
mod limits;
mod types;
mod variables;

use crate::exit::Exit;
use kymhost_index::staleness::{Note, Reason};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Writes the pages instead of comparing them.
const UPDATE: &str = "KYMHOST_UPDATE";
/// The command that does it.
const COMMAND: &str = "KYMHOST_UPDATE=1 cargo test -p kymhost --lib reference";
/// The first line of each page.
const MADE_BY: &str = "<!-- Generated: KYMHOST_UPDATE=1 cargo test -p kymhost --lib reference -->\n\n";

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference"))
}

/// Each generated file, by its path in `docs/reference`.
fn pages() -> BTreeMap<String, String> {
    let mut pages: BTreeMap<String, String> = documents::schemas();
    for (name, text) in [
        ("commands.md", commands::page()),
        ("error-codes.md", codes::page()),
        ("exit-codes.md", exit_codes()),
        ("json.md", documents::page()),
        ("limits.md", limits::page()),
        ("reasons.md", reasons()),
        ("variables.md", variables::page()),
    ] {
        pages.insert(name.to_owned(), format!("{MADE_BY}{text}"));
    }
    pages
}

/// A text as one cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;").replace('*', "\\*")
}

fn exit_codes() -> String {
    let mut text = "# Exit codes\n\nWhat to do about each: [fix failures](../guides/failures.md#by-exit-code).\n\n\
                    | code | means |\n| ---: | --- |\n"
        .to_owned();
    for exit in Exit::ALL {
        let _ = writeln!(text, "| {} | {} |", exit.code(), cell(exit.meaning()));
    }
    let order: Vec<String> = Exit::PRECEDENCE.iter().map(|exit| exit.code().to_string()).collect();
    let _ = writeln!(text, "\nIf several apply, the first in this order wins: {}.", order.join(", "));
    text
}

fn reasons() -> String {
    let mut text =
        "# Reasons\n\nWhy a recording is stale or fresh, as `status` and `explain` report it. They are tried in this\n\
                    order: [the rule](../concepts/staleness.md#the-rule). Text shows the meaning; JSON and `-v` have\n\
                    the code.\n\n| reason | means | what to do |\n| --- | --- | --- |\n"
            .to_owned();
    for reason in Reason::ALL {
        let words = reason.words();
        let _ = writeln!(text, "| `{}` | {} | {} |", words.code, cell(words.meaning), cell(words.advice));
    }
    text.push_str(
        "\n`--reason` takes all but `PENDING_UPSTREAM`. With `--compat kymflow` only the first eight exist.\n\n## Notes\n\n\
         Notes decide nothing.\n\n| note | means | what to do |\n| --- | --- | --- |\n",
    );
    for note in Note::ALL {
        let words = note.words();
        let _ = writeln!(text, "| `{}` | {} | {} |", words.code, cell(words.meaning), cell(words.advice));
    }
    text
}

/// The generated pages and schemas in `docs/reference` match the code.
#[test]
fn reference_pages_match_code() {
    let update = std::env::var_os(UPDATE).is_some();
    let mut old = Vec::new();
    for (name, text) in pages() {
        let path = folder().join(&name);
        if update {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        } else if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            old.push(name);
        }
    }
    let known = pages();
    for entry in fs::read_dir(folder().join("schemas")).unwrap() {
        let name = format!("schemas/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(known.contains_key(&name), "{name} is not generated from a document; delete it");
    }
    assert!(old.is_empty(), "out of date in docs/reference: {old:?}; update them with `{COMMAND}`");
}

/// No line of prose of a generated page is wider than 100 columns.
#[test]
fn reference_prose_fits_100_columns() {
    for (name, text) in pages().into_iter().filter(|(name, _)| name.ends_with(".md")) {
        let mut is_code = false;
        for line in text.lines() {
            is_code ^= line.starts_with("```");
            let is_prose = !(is_code || line.starts_with('|') || line.starts_with("<!--"));
            assert!(!is_prose || line.chars().count() <= 100, "{name}: {line}");
        }
    }
}
