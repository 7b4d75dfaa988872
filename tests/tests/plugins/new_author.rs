//! A new author's way from nothing to rows in a table, in Rust and in C. An earlier command prints each command
//! to type.
//!
//! Tests the two walks and their log in `docs/authors/tutorial.md`, the READMEs of new plugins, and what
//! `plugin new` refuses. The templates are tested in the unit tests of `kymhost_author::new`.
//!
//! `KYMHOST_WRITE_WALKTHROUGH=1 cargo test -p kymhost-tests --test plugins new_author` writes the log again.
//! Without it the crate is built without optimisation, which only changes its speed.

use kymhost_tests::{Output, Run, TestDir, built, crates_target, program, repository, skip};
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A crate's dependencies are built in this time, also where many tests run.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The log of both walks.
const DOCUMENT: &str = "docs/authors/tutorial.md";
/// Has the walks write it.
const WRITE: &str = "KYMHOST_WRITE_WALKTHROUGH";

/// What is typed, in Rust.
const RUST: [&str; 9] = [
    "kymhost plugin new brightness",
    "cd brightness",
    "cargo build --release",
    "cargo test --release",
    "kymhost plugin check target/release/libbrightness.so",
    "kymhost plugin add target/release/libbrightness.so",
    "kymhost demo",
    "kymhost run --plugin brightness --dataset kymhost-demo.zarr",
    "kymhost table show brightness --dataset kymhost-demo.zarr",
];

/// What is typed, in C.
const C: [&str; 9] = [
    "kymhost plugin new glow --lang c",
    "cd glow",
    "make",
    "make test",
    "kymhost plugin check build/libglow.so",
    "kymhost plugin add build/libglow.so",
    "kymhost demo",
    "kymhost run --plugin glow --dataset kymhost-demo.zarr",
    "kymhost table show glow --dataset kymhost-demo.zarr",
];

/// A command as it is on this system.
fn here(command: &str) -> String {
    command.replace(".so", std::env::consts::DLL_SUFFIX)
}

/// In Rust, the commands that kymhost prints lead from an empty folder to rows in a table.
#[test]
#[ignore = "slow"]
fn author_in_rust_gets_from_nothing_to_rows() {
    let mut author = Author::new();
    let rows = author.walk("brightness", &RUST, &[]);
    author.write_log("In Rust");

    // What kymhost was built with is what the crate was built with: cargo has struck out entries, and nothing else.
    let locked = fs::read_to_string(author.folder.join("Cargo.lock")).expect("the crate's lock file");
    let ours = fs::read_to_string(repository().join("Cargo.lock")).expect("our lock file");
    let versions = |lock: &str| -> BTreeSet<String> {
        let (lines, next) = (lock.lines(), lock.lines().skip(1));
        lines
            .zip(next)
            .filter(|(line, _)| line.starts_with("name = "))
            .map(|(name, version)| format!("{name} {version}"))
            .collect()
    };
    let strange: Vec<String> = versions(&locked).difference(&versions(&ours)).cloned().collect();
    assert_eq!(strange, ["name = \"brightness\" version = \"0.1.0\""]);
    assert!(versions(&locked).len() > 50, "{locked}");

    // An author's own checks find nothing.
    for (command, tool) in [
        ("cargo fmt --check", "cargo fmt --version"),
        ("cargo clippy --release --all-targets -- -D warnings", "cargo clippy --version"),
    ] {
        if author.has(tool) {
            author.run(command).expect_code(0);
        }
    }

    // Both languages' worked indexers make the same rows.
    if author.has("make --version") {
        let mut in_c = Author::new();
        in_c.run("kymhost plugin new brightness --lang c").expect_code(0);
        in_c.folder = in_c.folder.join("brightness");
        in_c.run("make").expect_code(0);
        let dataset = author.folder.join("kymhost-demo.zarr");
        let run = "kymhost run --plugin build/libbrightness.so --mode replace --dataset";
        in_c.run(&here(&format!("{run} '{}'", dataset.display()))).expect_code(0);
        assert_eq!(author.rows("brightness"), rows);
    }

    author.uninstalls("brightness");
}

/// In C, the commands that kymhost prints lead from an empty folder to rows in a table.
#[test]
#[ignore = "slow"]
fn author_in_c_gets_from_nothing_to_rows() {
    let mut author = Author::new();
    if !author.has("make --version") {
        return;
    }
    author.walk("glow", &C, &["--lang", "c"]);
    author.write_log("In C");
    author.run("make clean").expect_code(0);
    author.run("make test CFLAGS='-O0 -Wall -Wextra -Wpedantic -Wshadow -Werror'").expect_code(0);
    author.uninstalls("glow");
}

/// The commands in the tutorial are those of today.
#[test]
fn documented_walks_are_current() {
    let document = fs::read_to_string(repository().join(DOCUMENT)).expect("the log is there");
    for (title, commands) in [("In Rust", RUST), ("In C", C)] {
        let (before, after) = log_range(&document, title);
        let typed: Vec<&str> = document[before..after].lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        assert_eq!(typed, commands, "{DOCUMENT}, {title}; write it again with {WRITE}=1");
    }
}

/// `plugin new` refuses impossible names and folders.
#[test]
fn plugin_new_refuses_bad_names_and_folders() {
    let dir = TestDir::new();
    let new = |args: &[&str]| Run::new(["plugin", "new"]).args(args).folder(dir.path()).output();
    for (name, says) in [("My-Stalls", "try 'my_stalls'"), ("kym_stalls", "try 'stalls'"), ("test", "try 'my_test'")] {
        let output = new(&[name, "--json"]).expect_code(2).expect_stderr(&[says]);
        assert_eq!(output.json()["error"]["code"], "bad_name");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0, "nothing is left of what is refused");

    fs::create_dir(dir.join("mine")).expect("a folder");
    fs::write(dir.join("mine/notes.txt"), "mine").expect("a file");
    let output = new(&["mine", "--json"]).expect_code(6).expect_stderr(&["not empty", "--path"]);
    assert_eq!(output.json()["error"]["code"], "not_empty");
    assert_eq!(fs::read_dir(dir.join("mine")).expect("the folder").count(), 1);

    // The same indexer elsewhere, and a second one next to it.
    for (lang, file) in [("rust", "src/lib.rs"), ("c", "mine.c")] {
        let folder = format!("some where/{lang}");
        let document = new(&["mine", "--path", &folder, "--lang", lang, "--json"]).expect_code(0).json();
        assert_eq!((&document["name"], &document["lang"]), (&"mine".into(), &lang.into()));
        assert_eq!(document["next"][0], format!("cd '{folder}'"));
        let files: Vec<&str> =
            document["files"].as_array().expect("a list").iter().filter_map(|file| file.as_str()).collect();
        assert!(files.contains(&file), "{files:?}");
        assert!(files.iter().all(|file| dir.join(&folder).join(file).is_file()), "{files:?}");
    }
}

/// A new crate is well formatted, whatever its name.
#[test]
fn new_crate_is_well_formatted() {
    let mut author = Author::new();
    if !author.has("cargo fmt --version") {
        return;
    }
    for name in ["a", "table", &"long".repeat(10)] {
        author.run(&format!("kymhost plugin new {name}")).expect_code(0);
        author.run(&format!("cd {name} && cargo fmt --check")).expect_code(0);
    }
    // And within another workspace, which is not asked.
    fs::write(author.folder.join("Cargo.toml"), "[workspace]\nmembers = []\n").expect("a manifest");
    author.run("cd a && cargo metadata --format-version 1 --no-deps").expect_code(0);
}

/// Someone with a home and an empty folder, who types the commands that kymhost prints.
struct Author {
    dir: TestDir,
    /// Where they are.
    folder: PathBuf,
    log: String,
}

impl Author {
    fn new() -> Self {
        let dir = TestDir::new();
        let (folder, bin) = (dir.join("try"), dir.join("bin"));
        fs::create_dir_all(&folder).expect("an empty folder");
        fs::create_dir_all(&bin).expect("a folder of programs");
        symlink(program(), bin.join("kymhost")).expect("kymhost on the PATH");
        Self { dir, folder, log: String::new() }
    }

    /// Types a command.
    fn run(&mut self, command: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut run = Run::program(Path::new("sh"), ["-c", &format!("{{ {command}\n}} 2>&1")])
            .folder(&self.folder)
            .env("HOME", self.dir.path())
            .env("PATH", format!("{}:{path}", self.dir.join("bin").display()))
            .patience(PATIENCE);
        // Crates that were fetched once, and the toolchain, are the real user's.
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            run = run.env(name, std::env::var_os(name).map_or_else(|| home.join(folder), PathBuf::from));
        }
        if let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") {
            run = run.env("RUSTUP_TOOLCHAIN", toolchain);
        }
        if !writes() {
            run = run.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
        }
        run.output()
    }

    /// Whether a tool is installed; if not, reports what is skipped.
    fn has(&mut self, command: &str) -> bool {
        let has = self.run(command).code() == Some(0);
        if !has {
            skip(&format!("`{command}` does not run"));
        }
        has
    }

    /// Goes the whole way, and gives the table's rows: CSV, header first.
    fn walk(&mut self, name: &str, expected: &[&str], options: &[&str]) -> String {
        let first = [&["kymhost", "plugin", "new", name], options].concat().join(" ");
        let mut to_type = VecDeque::from([first]);
        let mut typed = Vec::new();
        while let Some(command) = to_type.pop_front() {
            assert!(typed.len() < 20, "this has no end: {typed:#?}");
            typed.push(command.clone());
            if let Some(folder) = command.strip_prefix("cd ") {
                self.folder = self.folder.join(folder);
                self.share_dependencies();
                self.note(&command, "");
                continue;
            }
            let output = self.run(&command).expect_code(0);
            self.note(&command, &output.stdout());
            to_type.extend(said_next(&output.stdout()));
        }
        assert_eq!(typed, expected.iter().map(|command| here(command)).collect::<Vec<_>>(), "{}", self.log);

        let readme = fs::read_to_string(self.folder.join("README.md")).expect("a README");
        let commands: Vec<&str> =
            readme.split("```sh\n").skip(1).flat_map(|part| part.split("```").next()).flat_map(str::lines).collect();
        assert_eq!(commands[..commands.len() - 1], typed[2..], "the README's commands are the same");
        assert_eq!(commands.last().copied(), Some(&*format!("kymhost plugin remove {name}")));

        let rows = self.rows(name);
        assert_eq!(rows.lines().count(), 1 + 6 * 10, "ten parts of six images\n{rows}");
        assert!(rows.starts_with("part,mean,"), "{rows}");
        rows
    }

    /// The crate is built in a folder that keeps its dependencies from one run of the tests to the next.
    fn share_dependencies(&self) {
        if self.folder.join("Cargo.toml").is_file() {
            let shared = crates_target();
            fs::create_dir_all(&shared).expect("a folder for what is built");
            symlink(&shared, self.folder.join("target")).expect("a link to it");
        }
    }

    fn rows(&mut self, name: &str) -> String {
        self.run(&format!("kymhost table show {name} --dataset kymhost-demo.zarr --format csv")).expect_code(0).stdout()
    }

    fn uninstalls(&mut self, name: &str) {
        let run = format!("kymhost run --plugin {name} --dataset kymhost-demo.zarr");
        self.run(&run).expect_code(0);
        self.run(&format!("kymhost plugin remove {name}")).expect_code(0);
        self.run(&run).expect_code(5);
    }

    fn note(&mut self, command: &str, output: &str) {
        let output = self.without_particulars(output);
        self.log.push_str(&format!("$ {command}\n{output}"));
        if !output.is_empty() {
            self.log.push('\n');
        }
    }

    /// What is the same on every machine.
    fn without_particulars(&self, output: &str) -> String {
        let mut text = String::new();
        let mut compiled = 0;
        let home = self.dir.path().to_string_lossy().into_owned();
        for line in output.lines() {
            if line.trim_start().starts_with("Compiling ") && !line.contains("(/") {
                compiled += 1;
                continue;
            }
            if compiled > 0 {
                text.push_str(&format!("   Compiling … {compiled} crates\n"));
                compiled = 0;
            }
            let line = line.replace(&home, "~").replace(&*built().to_string_lossy(), "…");
            let line = without_seed(&without_seed(&line, "seed "), "--reproduce ");
            text.push_str(without_times(&without_digests(&line)).trim_end());
            text.push('\n');
        }
        text
    }

    /// Puts the log into the document, if the variable asks for it.
    fn write_log(&self, title: &str) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        if !writes() {
            return;
        }
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let path = repository().join(DOCUMENT);
        let mut document = fs::read_to_string(&path).expect("the document");
        let (before, after) = log_range(&document, title);
        document.replace_range(before..after, self.log.trim_end_matches('\n'));
        fs::write(&path, document).expect("the document can be written");
    }
}

fn writes() -> bool {
    std::env::var_os(WRITE).is_some_and(|value| !value.is_empty())
}

/// Where the log below a title of the document begins and ends.
fn log_range(document: &str, title: &str) -> (usize, usize) {
    let section = document.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section '{title}'"));
    let before = section + document[section..].find("```text\n").expect("it has a log") + "```text\n".len();
    let after = before + document[before..].find("\n```").expect("the log ends");
    (before, after)
}

/// The commands of lines `next: COMMAND`, or those below the line `next:`, two blanks before each.
fn said_next(output: &str) -> Vec<String> {
    let single: Vec<String> =
        output.lines().filter_map(|line| line.strip_prefix("next: ")).map(str::to_owned).collect();
    if !single.is_empty() {
        return single;
    }
    let after = output.lines().skip_while(|line| *line != "next:").skip(1);
    after.map_while(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

/// The number after a word that says that it is drawn each time.
fn without_seed(line: &str, word: &str) -> String {
    match line.split_once(word) {
        Some((before, after)) => format!("{before}{word}…{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    }
}

/// Runs of 16 and more hexadecimal digits are particular to one build.
fn without_digests(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let run = rest[start..].find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len() - start);
        text.push_str(&rest[..start]);
        text.push_str(if run >= 16 { "…" } else { &rest[start..start + run] });
        rest = &rest[start + run..];
    }
    text + rest
}

/// Numbers before a unit of time differ from run to run.
fn without_times(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let length = rest[start..].find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len() - start);
        let (number, after) = rest[start..].split_at(length);
        let unit: String = after.trim_start_matches(' ').chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        let is_word = rest[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let is_time = !is_word && ["s", "ms", "m", "min", "h"].contains(&unit.as_str());
        text.push_str(&rest[..start]);
        text.push_str(if is_time { "…" } else { number });
        rest = after;
    }
    text + rest
}

/// The log leaves out what differs from machine to machine, and nothing else.
#[test]
fn log_omits_only_machine_details() {
    for (line, expected) in [
        (
            "    Finished `release` profile [optimized] target(s) in 1m 02.5s",
            "    Finished `release` profile [optimized] target(s) in …m …s",
        ),
        (
            "6 computed, 0 up to date (0.12 s) -> tables/kym_a.parquet",
            "6 computed, 0 up to date (… s) -> tables/kym_a.parquet",
        ),
        ("6 images, 3000 lines, 10 minutes", "6 images, 3000 lines, 10 minutes"),
        ("stall_2 s", "stall_2 s"),
    ] {
        assert_eq!(without_times(line), expected);
    }
    assert_eq!(without_seed("x.so, seed 12 a", "seed "), "x.so, seed … a");
    let digest = "0123456789abcdef".repeat(4);
    assert_eq!(without_digests(&format!("sha256 {digest}, deadbeef")), "sha256 …, deadbeef");
}
