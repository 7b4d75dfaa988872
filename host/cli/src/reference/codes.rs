//! `error-codes.md`: the one list of the codes of errors, and tests that it is complete.

use crate::exit::Exit;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A code, the exit codes that it comes with, and when.
type Code = (&'static str, &'static [Exit], &'static str);

use Exit::{Internal, Interrupted, Locked, Refused, Terminated, Unusable, Usage};

/// The codes of errors, in the order of the page.
pub const CODES: [Code; 56] = [
    ("usage", &[Usage], "wrong options or arguments"),
    ("unknown_table", &[Usage], "no table has this name"),
    ("unknown_image", &[Usage], "no recording has this id"),
    ("no_image_id", &[Usage], "`table show --image` on a table without a column `image_id`"),
    ("several_images", &[Usage], "the ids of several recordings begin with this text"),
    ("same_indexer", &[Usage], "an indexer was given twice"),
    ("two_writers", &[Usage], "two of the indexers write the same artifact"),
    ("cycle", &[Usage], "the indexers wait for each other: each reads what the next one writes"),
    ("artifacts_by_kymflow", &[Usage], "`run --compat kymflow` with an indexer that writes artifacts"),
    ("params_invalid", &[Usage], "`params set`, `unset`: the params would not match the plugin's schema"),
    ("no_params", &[Usage], "`params`: the indexer does not declare which artifact holds its params"),
    ("bad_schema", &[Unusable], "`params set`, `unset`: the plugin's schema of its params is not valid"),
    ("written_by_plugin", &[Refused], "`params set`, `unset`: an indexer writes this artifact"),
    ("params_no_object", &[Refused], "`params set`, `unset`: the artifact holds something else than params"),
    ("plugin_dir", &[Usage], "`--plugin-dir` is not a folder"),
    ("file", &[Usage], "a file argument cannot be read"),
    ("bad_json", &[Usage], "a file argument is not JSON"),
    ("terminal", &[Usage], "an output that cannot go to a terminal, or no terminal to ask at"),
    ("no_json", &[Usage], "a command without JSON output"),
    ("output", &[Internal, Usage], "standard output (1) or the file of `--output` (2) cannot be written"),
    ("no_dataset", &[Unusable], "no dataset was given, and the working folder has none"),
    ("several_datasets", &[Unusable], "no dataset was given, and the working folder has several"),
    ("not_a_dataset", &[Unusable], "the folder is not a dataset"),
    ("unreadable", &[Unusable], "a file exists but is broken, or cannot be read"),
    ("unwritable", &[Unusable], "something cannot be written in the dataset's format"),
    ("bad_key", &[Unusable], "a text is not a key of a dataset"),
    ("leads_out", &[Unusable], "a symbolic link leads out of the dataset"),
    ("through_link", &[Unusable], "something would be written or deleted through a symbolic link"),
    ("too_large", &[Unusable], "a file is larger than kymhost reads"),
    ("shortage", &[Unusable], "the system has too few threads, open files or too little memory"),
    ("io", &[Unusable], "the system refused: no permission, no space, a read-only disk and so on"),
    ("unknown_plugin", &[Unusable], "no library has such an indexer"),
    ("worker", &[Unusable], "worker processes cannot be started"),
    (
        "bad_name",
        &[Usage, Unusable],
        "`plugin new`: the name is not allowed (2); an indexer has a name that is not allowed (5)",
    ),
    ("name_taken", &[Refused], "`plugin add`: an installed library has an indexer of this name"),
    ("build_failed", &[Unusable], "`plugin add`: cargo or make failed"),
    ("no_plugin", &[Unusable], "`plugin add`: the folder has no plugin library"),
    ("not_installed", &[Unusable], "`plugin remove`, `trust`: no installed library has such an indexer"),
    ("bad_lock", &[Unusable], "a lock file of plugins is broken, or others may write to it"),
    ("no_data_folder", &[Unusable], "the system names no data folder for this user"),
    ("no_images", &[Unusable], "`plugin check --dataset`: the dataset has no recordings"),
    ("interrupted", &[Interrupted, Terminated], "a signal came before there was anything to commit"),
    ("locked", &[Locked], "another process holds a lock; the message names it"),
    (
        "guarded",
        &[Refused],
        "a run would remove the rows of very many deleted recordings, or a confirmation is missing",
    ),
    ("not_empty", &[Refused], "`dataset export` or `plugin new` into a folder that is not empty"),
    ("overlaps_dataset", &[Refused], "`dataset ingest` or `export`: the folder and the dataset overlap"),
    ("unreadable_path", &[Usage], "`dataset ingest`: a path cannot be read"),
    ("no_recording", &[Usage], "`dataset ingest`: a file is not a TIFF"),
    ("too_many", &[Usage], "`dataset ingest`: more than a million files"),
    ("not_ours", &[Refused], "`demo` in a folder that it did not make; `table drop` of a table that no indexer made"),
    ("internal", &[Internal], "a bug; please report it"),
    ("broken_tiff", &[Unusable], "`demo`: a recording of the demo is not a valid TIFF"),
    ("unsupported_tiff", &[Unusable], "`demo`: a recording of the demo is a TIFF that cannot be imported"),
    ("metadata", &[Unusable], "`demo`: the JSON next to a recording of the demo cannot be used"),
    ("sidecar", &[Unusable], "`demo`: a file next to a recording of the demo cannot be used"),
    ("changed_while_read", &[Unusable], "`demo`: a recording of the demo changed while it was read"),
];

/// Why a library is rejected (exit code 5).
pub const REFUSALS: [(&str, &str); 29] = [
    ("no_library", "the file is not a shared library"),
    ("truncated", "the file is cut off"),
    ("no_card", "the library has no card, so it is not a plugin"),
    ("bad_card", "the library's card is not valid"),
    ("no_indexer", "the library has no indexer of this name"),
    ("several_indexers", "the library has several indexers, and none was named"),
    ("two_libraries", "two libraries on the search path have this indexer"),
    ("missing", "an installed library was deleted or moved"),
    ("world_writable", "everybody may write to the library or its folder"),
    ("group_writable", "a group may write to the library or its folder"),
    ("foreign_owner", "the library or its folder belongs to neither you nor root"),
    ("digest_changed", "the library differs from the one that was installed or pinned"),
    ("platform", "the library is for another system or processor"),
    ("api_major", "plugin and kymhost have plugin APIs that do not work together"),
    ("api_minor", "the plugin needs a newer plugin API"),
    ("door", "the library has a binary contract that this kymhost does not know"),
    ("open", "the system cannot load the library"),
    ("no_root", "the library has no entry point"),
    ("abi_header", "the library was built with another abi_stable"),
    ("layout", "the binary layouts of plugin and kymhost differ"),
    ("init", "the library fails while it makes its indexers"),
    ("bad_door", "a struct of the C door is not valid"),
    ("card_mismatch", "the library has other indexers than its card says"),
    ("changed", "the file was replaced while it was used"),
    ("load_crash", "loading the library crashed two workers in a row"),
    ("load_timeout", "loading the library took more than 60 s"),
    ("plugin", "a worker rejected the library for a reason that has no code"),
    ("refused", "the same, from a worker of another version"),
    ("dataset", "a worker cannot open the dataset"),
];

/// The beginning of the page.
const HEAD: &str = "\
# Error codes

An error goes to standard error: `error:` says what failed and names the file or recording, indented
lines below it say why, and `help:` says what to do. With `--json` there is also a document on
standard output, also for wrong usage:

```json
{\"error\": {\"code\": \"unknown_table\", \"message\": \"…\", \"what\": \"…\", \"why\": \"…\", \"help\": \"…\"}}
```

`message` is `what` and `why` in one text. `why` may be null. An error about a rejected library also
has `plugin`: the library, its indexers, and the plugin APIs of both sides. `code` is stable:

| code | exit | means |
| --- | ---: | --- |
";

pub fn page() -> String {
    let mut text = HEAD.to_owned();
    for (code, exits, means) in CODES {
        let exits: Vec<String> = exits.iter().map(|exit| exit.code().to_string()).collect();
        let _ = writeln!(text, "| `{code}` | {} | {means} |", exits.join(" or "));
    }
    text.push_str(
        "\n## Rejected libraries\n\nThe exit code is 5. What to do: [plugins](../guides/plugins.md#when-a-library-is-refused) and\n\
         [plugin ABI](../authors/plugin-abi.md#refusals).\n\n| code | means |\n| --- | --- |\n",
    );
    for (code, means) in REFUSALS {
        let _ = writeln!(text, "| `{code}` | {means} |");
    }
    text
}

/// Every code that the page lists.
pub fn codes() -> BTreeSet<&'static str> {
    CODES.iter().map(|(code, ..)| *code).chain(REFUSALS.map(|(code, _)| code)).collect()
}

/// A code that only travels from a worker to the host. Users see `refused`.
const OF_WORKERS: &str = "protocol";

/// What precedes a code in the sources.
const BEFORE: [&str; 10] = [
    "Refusal::new(",
    "refused(",
    "unusable(",
    "usage(",
    "bad(",
    "Class::Internal,",
    "Class::Usage,",
    "Class::Locked,",
    "Class::Unusable,",
    "Class::Refused,",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
        {
            found.push(path);
        }
    }
}

/// A code that an error of the host can have, but that the table lacks, fails. So does a code that no source has.
#[test]
fn code_table_is_complete() {
    let mut files = Vec::new();
    for room in ["store", "dataset", "plugin", "ingest", "index", "author", "cli"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("src"), &mut files);
    }
    let known = codes();
    let mut all = String::new();
    let mut unknown = BTreeSet::new();
    for path in files.iter().filter(|path| !path.to_string_lossy().contains("reference")) {
        let source = fs::read_to_string(path).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for before in BEFORE {
            for after in source.split(before).skip(1) {
                let literal = after.trim_start().strip_prefix('"').and_then(|after| after.split_once('"'));
                let is_code = |code: &str| !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                let code = literal.map(|(code, _)| code).filter(|code| is_code(code));
                if let Some(code) = code.filter(|code| !known.contains(code) && *code != OF_WORKERS) {
                    unknown.insert(format!("{code} ({})", path.display()));
                }
            }
        }
        all.push_str(source);
    }
    assert!(unknown.is_empty(), "codes that CODES and REFUSALS lack: {unknown:#?}");
    let unused: Vec<_> = known.iter().filter(|code| !all.contains(&format!("\"{code}\""))).collect();
    assert!(unused.is_empty(), "codes that no error has: {unused:?}");
    assert_eq!(known.len(), CODES.len() + REFUSALS.len(), "a code is listed twice");
}

/// The string literals of a source, as they are written. Raw strings, characters and comments are left out.
fn literals(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let (before, here) = rest.split_at(at);
        let is_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hashes = here[1..].len() - here[1..].trim_start_matches('#').len();
        rest = if here.starts_with("//") {
            here.split_once('\n').map_or("", |(_, after)| after)
        } else if here.starts_with('r') && !is_word && here[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            here[2 + hashes..].split_once(end.as_str()).map_or("", |(_, after)| after)
        } else if here.starts_with("'\"'") || here.starts_with("'\\") {
            &here[3..]
        } else if let Some(text) = here.strip_prefix('"') {
            let mut is_escaped = false;
            let end = text.find(|c: char| {
                let is_end = c == '"' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            });
            let Some(end) = end else { break };
            found.push(&text[..end]);
            &text[end + 1..]
        } else {
            &here[1..]
        };
    }
    found
}

/// A text that goes on in the next line of the source without a backslash has the source's indent in it. That once hid the
/// help of an error.
#[test]
fn texts_have_no_indent_of_the_source() {
    assert_eq!(literals("f(\"a\", 'x', '\"', r#\"b\"#); // \"c\"\nlet x = \"d\\\"e\";"), ["a", "d\\\"e"]);
    let mut files = Vec::new();
    for room in ["store", "dataset", "plugin", "ingest", "index", "author"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("src"), &mut files);
    }
    files.retain(|path| !path.to_string_lossy().contains("templates"));
    assert!(files.len() > 50, "{files:?}");
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        for literal in literals(&source) {
            let mut lines = literal.split('\n').peekable();
            while let (Some(line), Some(next)) = (lines.next(), lines.peek()) {
                let is_indented = next.starts_with("        ") && !line.ends_with('\\');
                assert!(!is_indented, "{}: the indent of the source is in the text {literal:?}", path.display());
            }
        }
    }
}
