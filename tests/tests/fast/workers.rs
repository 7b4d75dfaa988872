//! Plugins in worker processes: whatever one does, its image fails alone and the rest goes on.

use kymhost::dataset::{Dataset, Input, InputCheck, InputState, check_input};
use kymhost::plugin::{
    Extracted, Failure, FailureKind, PluginError, PoolOptions, Refusal, Workforce, find_plugin, open_pool,
};
use kymhost_tests::fixture::{Fixture, image_id, params_hash};
use kymhost_tests::{Run, TestDir, library, program, sha256, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A limit of time that only an image that hangs can reach, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A dataset of `images` images, of which some have orders.
fn dataset(dir: &TestDir, name: &str, images: u64, orders: &BTreeMap<u64, Value>) -> Fixture {
    let data = Fixture::new(dir.join(name));
    for number in 0..images {
        let image = data.add_image(&image_id(number));
        image.json("params", &json!({"n": number}));
        if let Some(order) = orders.get(&number) {
            image.json("misbehave", order);
        }
    }
    data
}

fn ids(images: u64) -> Vec<String> {
    (0..images).map(image_id).collect()
}

fn options(jobs: usize) -> PoolOptions {
    let mut options = PoolOptions::new(jobs);
    options.program = Some(program());
    options
}

fn pool_of(data: &Fixture, indexer: &str, options: &PoolOptions) -> Box<dyn Workforce> {
    let spec = format!("{}:{indexer}", library("misbehave").display());
    let plugin = find_plugin(&spec, &Default::default()).expect("the fixture's plugin");
    let dataset = Dataset::open(data.path()).expect("the dataset");
    open_pool(&plugin, &dataset, options).expect("a pool")
}

fn extract(pool: &mut dyn Workforce, ids: &[String]) -> Result<Vec<Result<Extracted, Failure>>, PluginError> {
    let mut answers = Vec::new();
    pool.extract_rows(ids, &mut |index, answer| {
        assert_eq!(index, answers.len(), "answers come in rising order, each once");
        answers.push(answer);
        true
    })?;
    Ok(answers)
}

fn hashes(pool: &mut dyn Workforce, ids: &[String]) -> Result<Vec<Result<String, Failure>>, PluginError> {
    let mut answers = Vec::new();
    pool.params_hashes(ids, &mut |index, answer| {
        assert_eq!(index, answers.len(), "answers come in rising order, each once");
        answers.push(answer.map(|reading| reading.hash));
    })?;
    Ok(answers)
}

/// Extracts `images` with `orders`, and checks which fail and how.
#[track_caller]
fn check_extraction(
    options: &PoolOptions,
    images: u64,
    orders: &BTreeMap<u64, Value>,
    kinds: &[(u64, FailureKind, &str)],
) {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", images, orders);
    let mut pool = pool_of(&data, "misbehave", options);
    let answers = extract(&mut *pool, &ids(images)).expect("a run to its end");
    assert_eq!(answers.len(), images as usize);
    for (number, answer) in answers.iter().enumerate() {
        let number = number as u64;
        match (answer, kinds.iter().find(|(guilty, ..)| *guilty == number)) {
            (Ok(extracted), None) => {
                assert_eq!(extracted.params.hash, params_hash(&json!({"n": number})), "image {number}");
                assert!(extracted.rows.num_rows() > 0, "image {number} has rows");
            }
            (Err(failure), Some((_, kind, says))) => {
                assert_eq!(failure.kind, *kind, "{failure:?}");
                assert!(failure.message.contains(says), "{:?} does not say {says:?}", failure.message);
                assert!(failure.message.lines().count() <= 5, "{}", failure.message);
            }
            (answer, expected) => panic!("image {number}: {answer:?}, expected {expected:?}"),
        }
    }
}

fn one(number: u64, what: &str) -> BTreeMap<u64, Value> {
    BTreeMap::from([(number, json!({"do": what}))])
}

/// An error, panic or crash in one image fails that image alone.
#[test]
fn guilty_image_fails_alone() {
    for (what, kind, says) in [
        ("err", FailureKind::Error, "told to err"),
        ("panic", FailureKind::Panic, "told to panic"),
        ("ragged", FailureKind::BadTable, "ragged"),
        ("duplicate", FailureKind::BadTable, "two columns 'a'"),
        ("unnamed", FailureKind::BadTable, "no name"),
        ("abort", FailureKind::Abort, "SIGABRT"),
        ("overflow", FailureKind::Abort, "overflowed its stack"),
        ("segfault", FailureKind::Signal, "SIGSEGV"),
        ("exit", FailureKind::Exit, "exit code 7"),
    ] {
        for jobs in [1, 2] {
            check_extraction(&options(jobs), 6, &one(2, what), &[(2, kind, says)]);
        }
    }
}

/// Invalid tables and hostile behaviour fail that image alone.
#[test]
fn foul_play_fails_alone() {
    for (what, kind, says) in [
        ("err_giant", FailureKind::Error, "(41943040 bytes in all)"),
        ("err_controls", FailureKind::Error, "nul \u{fffd} escape \u{fffd}[31m bell \u{fffd} end"),
        ("err_empty", FailureKind::Error, "no reason"),
        ("panic_number", FailureKind::Panic, "a panic without text"),
        ("panic_bomb", FailureKind::Panic, "a panic without text"),
        ("panic_in_drop", FailureKind::Abort, "SIGABRT"),
        ("exit_in_thread", FailureKind::Exit, "exit code 9"),
        ("lie_rows", FailureKind::BadTable, "ragged"),
        ("lie_negative", FailureKind::BadTable, "negative"),
        ("lie_child_rows", FailureKind::BadTable, "ragged"),
        ("lie_utf8", FailureKind::BadTable, "Invalid UTF8"),
        ("lie_offsets", FailureKind::BadTable, "valid Arrow data"),
        ("lie_no_name", FailureKind::BadTable, "no name"),
        ("lie_name", FailureKind::BadTable, ""),
        ("lie_format", FailureKind::BadTable, "no such format"),
        ("lie_released", FailureKind::BadTable, "released"),
        ("lie_children", FailureKind::BadTable, "3 columns"),
        ("lie_dictionary", FailureKind::Abort, "overflowed its stack"),
        ("lie_no_buffers", FailureKind::BadTable, ""),
    ] {
        check_extraction(&options(1), 5, &one(2, what), &[(2, kind, says)]);
    }
}

/// A plugin that closes the worker's pipes fails that image alone.
#[test]
#[cfg(target_os = "linux")]
fn closed_worker_pipes_fail_alone() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 5, &one(2, "close_all"));
    let answers = extract(&mut *pool_of(&data, "misbehave", &options(1)), &ids(5)).expect("a run to its end");
    // By which of its parts the worker ends is a race.
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true, true]);
}

/// Half an answer, or a stopped process, does not prevent the timeout.
#[test]
#[cfg(target_os = "linux")]
fn half_an_answer_still_times_out() {
    let mut options = options(1);
    options.timeout = Some(LIMIT);
    std::thread::scope(|scope| {
        for what in ["write_to_all", "write_to_all_and_hang", "stop"] {
            let options = &options;
            scope.spawn(move || {
                check_extraction(options, 4, &one(1, what), &[(1, FailureKind::Timeout, "--timeout")]);
            });
        }
    });
}

/// Threads, closed files and other leftovers of one image harm no other image.
#[test]
fn leftovers_harm_no_other_image() {
    leftovers(100);
}

/// The same with many images.
#[test]
#[ignore = "slow"]
fn leftovers_harm_none_of_many_images() {
    leftovers(400);
}

fn leftovers(images: u64) {
    for what in ["late_abort", "late_panic", "folder", "flood", "close_0_1_2", "ignore_signals"] {
        let orders = (0..6).map(|number| (number, json!({"do": what}))).collect();
        // Enough of them that what comes later comes while others are extracted.
        check_extraction(&options(2), if what.starts_with("late_") { images } else { 40 }, &orders, &[]);
    }
}

/// A plugin that forks its worker cannot answer for another image.
#[test]
#[cfg(target_os = "linux")]
fn forked_worker_answers_for_no_other_image() {
    let dir = TestDir::new();
    let orders = BTreeMap::from([(5, json!({"do": "fork"})), (20, json!({"do": "fork"}))]);
    let data = dataset(&dir, "d.zarr", 40, &orders);
    let answers = extract(&mut *pool_of(&data, "misbehave", &options(1)), &ids(40)).expect("a run to its end");
    for (number, answer) in answers.iter().enumerate().filter(|(number, _)| ![5, 20].contains(number)) {
        let extracted = answer.as_ref().unwrap_or_else(|failure| panic!("image {number}: {failure:?}"));
        assert_eq!(text_column(extracted, "image"), image_id(number as u64));
    }
}

fn text_column(extracted: &Extracted, name: &str) -> String {
    use arrow::array::AsArray as _;
    extracted.rows.column_by_name(name).expect(name).as_string::<i32>().value(0).to_owned()
}

/// Children of a process, through all of its threads.
#[cfg(target_os = "linux")]
fn children(process: u32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let all: Vec<String> = threads.flatten().map(of).collect();
    all.iter().flat_map(|text| text.split_ascii_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Workers that are killed at random cost at most the images that they hold.
#[test]
#[cfg(target_os = "linux")]
fn random_worker_kills_cost_only_images_in_hand() {
    let dir = TestDir::new();
    let images = 400;
    // The last image is held until enough workers were killed, so that the run cannot end before.
    let gate = dir.join("gate");
    let held = BTreeMap::from([(images - 1, json!({"do": "hold", "file": gate}))]);
    let data = dataset(&dir, "d.zarr", images, &held);
    let spec = format!("{}:misbehave", library("misbehave").display());
    let home = TestDir::new();
    let mut random = fastrand::Rng::with_seed(7);
    let mut host = Run::new(["run", "--plugin", &spec, "--jobs", "3"]).dataset(data.path()).start(home.path());
    let mut killed = 0;
    let code = loop {
        if let Some(status) = host.try_wait().unwrap() {
            break status.code();
        }
        std::thread::sleep(Duration::from_millis(random.u64(5..60)));
        if let Some(pid) = random.choice(children(host.id())) {
            let kill = Command::new("kill").args(["-KILL", &pid.to_string()]).output().unwrap();
            killed += u32::from(kill.status.success());
        }
        if killed == 4 {
            fs::write(&gate, "").unwrap();
        }
    };
    fs::write(&gate, "").unwrap();
    assert!(killed > 0, "no worker was found");
    // Two in a row that are killed while they load end the run: that looks like a library that crashes.
    assert!(matches!(code, Some(0 | 3 | 5)), "{code:?}");
    let after = Run::new(["run", "--json", "--plugin", &spec]).dataset(data.path()).output().expect_code(0).json();
    assert_eq!(after["stats"]["failed"], 0, "{after}");
    let again = Run::new(["run", "--json", "--plugin", &spec]).dataset(data.path()).output().expect_code(0).json();
    assert_eq!(again["stats"]["skipped_fresh"], images, "{again}");
}

/// If every image exceeds the time limit, each fails with a timeout.
#[test]
fn timeout_of_every_image_fails_each() {
    let orders = (0..6).map(|number| (number, json!({"do": "hang"}))).collect();
    let kinds: Vec<_> = (0..6).map(|number| (number, FailureKind::Timeout, "0.05 s")).collect();
    let mut options = options(2);
    options.timeout = Some(Duration::from_millis(50));
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 6, &orders);
    let answers = extract(&mut *pool_of(&data, "misbehave", &options), &ids(6)).expect("a run to its end");
    let found: Vec<_> = answers.into_iter().map(|answer| answer.unwrap_err()).collect();
    for (failure, (number, kind, says)) in found.iter().zip(kinds) {
        assert!(failure.kind == kind && failure.message.contains(says), "image {number}: {failure:?}");
    }
}

/// A memory limit below what a worker needs is reported once.
#[test]
fn too_little_memory_is_one_error() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 50, &BTreeMap::new());
    let mut options = options(2);
    options.max_memory = Some(1 << 20);
    let error = extract(&mut *pool_of(&data, "misbehave", &options), &ids(50)).expect_err("too little");
    assert!(error.to_string().contains("--max-memory allows 1 MiB"), "{error}");
}

/// More workers than cores work.
#[test]
fn many_workers_work() {
    check_extraction(&options(64), 200, &one(77, "abort"), &[(77, FailureKind::Abort, "")]);
}

/// An image that hangs ends with the timeout.
#[test]
fn hang_ends_with_timeout() {
    let mut options = options(2);
    options.timeout = Some(LIMIT);
    check_extraction(&options, 6, &one(3, "hang"), &[(3, FailureKind::Timeout, "--timeout")]);
}

/// An image that is slow but within the limit succeeds.
#[test]
fn slow_image_is_not_a_hang() {
    let mut options = options(1);
    options.timeout = Some(Duration::from_secs(600));
    check_extraction(&options, 4, &one(1, "slow"), &[]);
}

/// An image that uses too much memory fails at the limit.
#[test]
fn eating_memory_ends_at_limit() {
    let mut options = options(2);
    options.max_memory = Some(200 << 20);
    for (what, says) in [("eat", "memory"), ("grab", "memory")] {
        check_extraction(&options, 5, &one(2, what), &[(2, FailureKind::Memory, says)]);
    }
}

/// Many guilty images fail, each with its own reason.
#[test]
fn many_guilty_images_fail_separately() {
    let whats = ["segfault", "abort", "exit", "err"];
    let kinds = [FailureKind::Signal, FailureKind::Abort, FailureKind::Exit, FailureKind::Error];
    let guilty: Vec<u64> = vec![0, 1, 2, 17, 31, 32, 90, 118, 119];
    let orders = guilty.iter().map(|number| (*number, json!({"do": whats[*number as usize % 4]}))).collect();
    let kinds: Vec<_> = guilty.iter().map(|number| (*number, kinds[*number as usize % 4], "")).collect();
    for jobs in [1, 3] {
        check_extraction(&options(jobs), 120, &orders, &kinds);
    }
}

/// Printing to stdout and returning a million rows are harmless.
#[test]
fn printing_and_big_tables_are_harmless() {
    let orders = BTreeMap::from([(1, json!({"do": "print"})), (2, json!({"do": "big"})), (3, json!({"do": "big"}))]);
    check_extraction(&options(1), 5, &orders, &[]);
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 3, &one(1, "big"));
    let answers = extract(&mut *pool_of(&data, "misbehave", &options(2)), &ids(3)).unwrap();
    let rows: Vec<usize> = answers.iter().map(|answer| answer.as_ref().unwrap().rows.num_rows()).collect();
    assert_eq!(rows, [2, 1 << 20, 2]);
}

/// Params hashes of other images survive crashes.
#[test]
fn params_hashes_survive_crashes() {
    let images = 2_000;
    let orders = BTreeMap::from([
        (5, json!({"do": "segfault", "when": "params"})),
        (700, json!({"do": "err", "when": "params"})),
        (701, json!({"do": "abort", "when": "params"})),
        (1_999, json!({"do": "exit", "when": "params"})),
    ]);
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", images, &orders);
    for jobs in [1, 2] {
        let answers = hashes(&mut *pool_of(&data, "misbehave", &options(jobs)), &ids(images)).unwrap();
        assert_eq!(answers.len(), images as usize);
        for (number, answer) in answers.iter().enumerate() {
            let expected = match number {
                5 => Err(FailureKind::Signal),
                700 => Err(FailureKind::Error),
                701 => Err(FailureKind::Abort),
                1_999 => Err(FailureKind::Exit),
                _ => Ok(params_hash(&json!({"n": number}))),
            };
            assert_eq!(answer.clone().map_err(|failure| failure.kind), expected, "image {number}, {jobs} jobs");
        }
    }
}

/// An unreadable artifact fails its image and is named.
#[test]
fn unreadable_artifact_fails_its_image() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 3, &BTreeMap::new());
    let key = data.image(&image_id(1)).key("params.json");
    data.put(&key, "{\"n\": ");
    for in_process in [false, true] {
        let mut options = options(1);
        options.in_process = in_process;
        let answers = hashes(&mut *pool_of(&data, "misbehave", &options), &ids(3)).unwrap();
        let failure = answers[1].as_ref().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreadable);
        let names_it = failure.message.contains("params") && failure.message.contains(&image_id(1));
        assert!(names_it, "{}", failure.message);
        assert!(answers[0].is_ok() && answers[2].is_ok());
    }
}

/// The indexer reads run markers of older versions.
#[test]
fn old_markers_read_by_indexer() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 1, &BTreeMap::new());
    let texts: [&[u8]; 4] = [br#"{"n_old": 3}"#, b"{}", br#"{"misbehave": {"do": "abort"}}"#, br#"{"n_old": 5}"#];
    let payloads: Vec<Vec<u8>> = texts.iter().map(|text| text.to_vec()).collect();
    let mut pool = pool_of(&data, "misbehave", &options(2));
    let mut answers = Vec::new();
    pool.read_old_markers(&payloads, &mut |_, answer| answers.push(answer)).unwrap();
    let answers: Vec<_> =
        answers.into_iter().map(|answer| answer.map(|marker| marker.map(|m| m.n_rows)).map_err(|f| f.kind)).collect();
    assert_eq!(answers, [Ok(Some(3)), Ok(None), Err(FailureKind::Abort), Ok(Some(5))]);
}

fn column(extracted: &Extracted, name: &str) -> i64 {
    use arrow::array::{AsArray as _, types::Int64Type};
    extracted.rows.column_by_name(name).expect(name).as_primitive::<Int64Type>().value(0)
}

/// Workers are other processes, and they are reused.
#[test]
fn workers_are_reused_processes() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 40, &BTreeMap::new());
    let this = i64::from(std::process::id());
    for (jobs, in_process) in [(1, false), (2, false), (1, true), (3, true)] {
        let mut options = options(jobs);
        options.in_process = in_process;
        let mut pool = pool_of(&data, "behave", &options);
        let mut processes = std::collections::BTreeSet::new();
        for _ in 0..3 {
            for answer in extract(&mut *pool, &ids(40)).unwrap() {
                let answer = answer.unwrap();
                processes.insert(column(&answer, "process"));
                assert!(column(&answer, "threads") >= 1);
            }
        }
        if in_process {
            assert_eq!(processes.into_iter().collect::<Vec<_>>(), [this]);
        } else {
            assert!(processes.len() <= jobs && !processes.contains(&this), "{processes:?}");
        }
    }
}

/// A pool can be stopped and used again.
#[test]
fn stopped_pool_can_be_used_again() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 30, &one(4, "hang"));
    let mut pool = pool_of(&data, "misbehave", &options(2));
    let mut seen = 0;
    pool.extract_rows(&ids(30), &mut |_, _| {
        seen += 1;
        seen < 3
    })
    .expect("a stop is not an error");
    assert_eq!(seen, 3);
    let others: Vec<String> = (5..30).map(image_id).collect();
    assert!(extract(&mut *pool, &others).unwrap().iter().all(Result::is_ok));
    assert!(extract(&mut *pool, &[]).unwrap().is_empty());

    let mut options = options(2);
    options.in_process = true;
    let calm = dataset(&dir, "calm.zarr", 30, &BTreeMap::new());
    let mut pool = pool_of(&calm, "misbehave", &options);
    let mut seen = 0;
    pool.extract_rows(&ids(30), &mut |_, _| {
        seen += 1;
        seen < 3
    })
    .expect("a stop is not an error");
    assert_eq!(seen, 3);
    assert_eq!(extract(&mut *pool, &ids(30)).unwrap().len(), 30);
}

/// A program that is a shell script.
fn script(dir: &TestDir, name: &str, lines: &str) -> PathBuf {
    let path = dir.join(name);
    // Another process writes it: a file that this one had open for writing may be busy when a worker is started.
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(&path).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    write!(shell.stdin.take().unwrap(), "#!/bin/sh\n{lines}\n").unwrap();
    assert!(shell.wait().unwrap().success());
    path
}

/// A program that does not act as a worker is reported with its name.
#[test]
fn program_that_is_not_a_worker_is_reported() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 3, &BTreeMap::new());
    let kymhost = program();
    let on_load = |what: &str| {
        script(&dir, what, &format!("KYMHOST_MISBEHAVE_ON_LOAD={what} exec '{}' \"$@\"", kymhost.display()))
    };
    let cases = [
        (dir.join("absent"), "worker", "absent"),
        (script(&dir, "ends", "exit 4"), "worker", "exit code 4"),
        (script(&dir, "speaks", "echo 'hello, this is no frame, but a line of text'; sleep 600"), "worker", "speaks"),
        (script(&dir, "complains", "echo 'no such option' >&2; exit 2"), "worker", "no such option"),
        (on_load("abort"), "load_crash", "SIGABRT"),
        (on_load("exit"), "load_crash", "exit code 3"),
        (on_load("crash"), "load_crash", "SIGSEGV"),
    ];
    for (program, expected, says) in cases {
        let mut options = options(2);
        options.program = Some(program.clone());
        let error = extract(&mut *pool_of(&data, "misbehave", &options), &ids(3)).expect_err("no worker");
        let code = match &error {
            PluginError::Refused { refusal, .. } => refusal.code,
            PluginError::Worker { .. } => "worker",
            other => panic!("{other}"),
        };
        let text = error.to_string();
        assert_eq!(code, expected, "{}: {text}", program.display());
        assert!(text.contains(says) && text.lines().count() <= 5, "{}: {text}", program.display());
    }
}

/// If the dataset disappears, the error names it.
#[test]
fn missing_dataset_is_reported() {
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 3, &BTreeMap::new());
    let mut pool = pool_of(&data, "misbehave", &options(1));
    fs::rename(data.path(), dir.join("moved.zarr")).unwrap();
    let error = extract(&mut *pool, &ids(3)).expect_err("no dataset");
    assert!(error.to_string().contains("d.zarr"), "{error}");
}

/// Whether a process runs (one that nobody has waited for yet does not).
fn runs(process: &str) -> bool {
    let Ok(stat) = fs::read_to_string(Path::new("/proc").join(process).join("stat")) else { return false };
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A timeout also ends processes that the plugin started.
#[test]
fn timeout_ends_child_processes() {
    let dir = TestDir::new();
    let file = dir.join("processes");
    let orders = BTreeMap::from([(1, json!({"do": "hang_with_child", "file": file}))]);
    let mut options = options(1);
    options.timeout = Some(LIMIT);
    check_extraction(&options, 3, &orders, &[(1, FailureKind::Timeout, "")]);
    let processes = fs::read_to_string(&file).unwrap();
    wait_for("the plugin's child to end", || (!processes.split(' ').any(runs)).then_some(()));
}

/// If the host is killed, its workers and their children end, even while a plugin loops.
#[test]
fn killed_host_takes_workers_along() {
    if !Path::new("/proc/self/stat").exists() {
        return kymhost_tests::skip("processes are watched through /proc");
    }
    let dir = TestDir::new();
    let file = dir.join("processes");
    let orders = BTreeMap::from([(1, json!({"do": "hang_with_child", "file": file}))]);
    let data = dataset(&dir, "d.zarr", 3, &orders);
    let spec = format!("{}:misbehave", library("misbehave").display());
    let home = TestDir::new();
    let mut host = Run::new(["run", "--plugin", &spec, "--jobs", "2"]).dataset(data.path()).start(home.path());
    let processes = wait_for("the plugin to hang", || fs::read_to_string(&file).ok());
    let processes: Vec<&str> = processes.split(' ').collect();
    assert_eq!(processes.len(), 2);
    assert!(processes.iter().all(|process| runs(process)), "the worker and its child run");
    // SIGKILL: the host can do nothing about it.
    host.kill().unwrap();
    host.wait().unwrap();
    wait_for("the worker and its child to end", || (!processes.iter().any(|process| runs(process))).then_some(()));
}

/// Runs with `args`, sends the signals once these files are there, and gives the exit code and the document.
fn interrupted(data: &Fixture, args: &[&str], begun: &[PathBuf], signals: &[rustix::process::Signal]) -> (i32, Value) {
    let home = TestDir::new();
    let mut command = Command::new(program());
    command.args(["run", "--json", "--jobs", "2", "--dataset"]).arg(data.path()).args(args);
    command.env_clear().env("HOME", home.path()).current_dir(home.path()).process_group(0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a run");
    let group = rustix::process::Pid::from_child(&child);
    for file in begun {
        wait_for("an image that hangs", || file.exists().then_some(()));
    }
    for signal in signals {
        rustix::process::kill_process(group, *signal).expect("to send a signal");
        std::thread::sleep(Duration::from_millis(300));
    }
    let status = child.wait().expect("the run's end");
    // What an in-process plugin started outlives it, and holds its pipe open.
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    let output = child.wait_with_output().expect("the document");
    (status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn hang(file: &Path, when: &str) -> Value {
    json!({"do": "hang_with_child", "when": when, "file": file})
}

/// After a signal, finished images are committed and the next run does the rest.
#[test]
fn signal_commits_finished_images() {
    use rustix::process::Signal;
    let library = library("misbehave").display().to_string();
    let (misbehave, behave) = (format!("{library}:misbehave"), format!("{library}:behave"));
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let dir = TestDir::new();
        // One worker hangs at once, the other at its end: what is between is done, behind one that is not.
        let hung = [dir.join("first"), dir.join("last")];
        let orders = BTreeMap::from([(0, hang(&hung[0], "")), (7, hang(&hung[1], ""))]);
        let data = dataset(&dir, "d.zarr", 8, &orders);
        let (exit, document) = interrupted(&data, &["-p", &misbehave, "-p", &behave], &hung, &[signal]);
        assert_eq!(exit, code, "{document}");
        let stats = &document["runs"][0]["stats"];
        let updated = stats["updated"].as_u64().unwrap_or_default();
        assert!((1..=6).contains(&updated), "{document}");
        assert_eq!(
            (&stats["not_run"], &stats["total_images"], &stats["failed"]),
            (&json!(8 - updated), &json!(8), &json!(0))
        );
        assert_eq!(document["runs"][1]["error"]["code"], "interrupted", "{document}");

        for file in &hung {
            let text = fs::read_to_string(file).expect("the processes of a hang");
            wait_for("its end", || text.split(' ').all(|process| !runs(process)).then_some(()));
        }
        for number in [0, 7] {
            fs::remove_file(data.key(&data.image(&image_id(number)).key("misbehave.json")))
                .expect("an order to take back");
        }
        let rest = Run::new(["run", "--json", "-p", &misbehave]).dataset(data.path()).output().expect_code(0).json();
        assert_eq!(
            (&rest["stats"]["updated"], &rest["stats"]["skipped_fresh"]),
            (&json!(8 - updated), &json!(updated))
        );
    }
}

/// A signal during planning ends the run, and nothing is written.
#[test]
fn signal_during_planning_writes_nothing() {
    let misbehave = format!("{}:misbehave", library("misbehave").display());
    let dir = TestDir::new();
    let hung = [dir.join("hung")];
    let data = dataset(&dir, "d.zarr", 3, &BTreeMap::from([(1, hang(&hung[0], "params"))]));
    let before = kymhost_tests::snapshot(data.path());
    let (exit, document) = interrupted(&data, &["-p", &misbehave], &hung, &[rustix::process::Signal::TERM]);
    assert_eq!((exit, &document["error"]["code"]), (143, &json!("interrupted")), "{document}");
    kymhost_tests::assert_untouched(&before, &kymhost_tests::snapshot(data.path()));
}

/// A second signal ends a run that cannot stop.
#[test]
fn second_signal_ends_stuck_run() {
    use rustix::process::Signal;
    let misbehave = format!("{}:misbehave", library("misbehave").display());
    let dir = TestDir::new();
    let hung = [dir.join("hung")];
    let data = dataset(&dir, "d.zarr", 1, &BTreeMap::from([(0, hang(&hung[0], ""))]));
    // A thread that hangs cannot be ended.
    let (exit, _) = interrupted(&data, &["-p", &misbehave, "--in-process"], &hung, &[Signal::INT, Signal::TERM]);
    assert_eq!(exit, 143);
}

/// Each way of running plugins.
fn both() -> [PoolOptions; 2] {
    let mut in_process = options(1);
    in_process.in_process = true;
    [options(1), in_process]
}

fn keys(inputs: &[Input]) -> Vec<(&str, bool)> {
    inputs.iter().map(|input| (input.key.as_str(), input.found != InputState::Absent)).collect()
}

/// Inputs of the params and inputs of the rows are recorded separately.
#[test]
fn params_and_rows_inputs_are_separate() {
    let dir = TestDir::new();
    let order = BTreeMap::from([(1, json!({"do": "", "read": "extra"}))]);
    for (number, options) in both().into_iter().enumerate() {
        let data = dataset(&dir, &format!("{number}.zarr"), 2, &order);
        data.image(&image_id(1)).json("extra", &json!({"deep": [1]}));
        let mut pool = pool_of(&data, "misbehave", &options);
        let answers = extract(&mut *pool, &ids(2)).unwrap();
        let [plain, ordered] = [0, 1].map(|number| answers[number].as_ref().expect("rows"));
        let (misbehave, packed) = ("analysis/misbehave.json", "analysis/misbehave.json.gz");
        assert_eq!(keys(&plain.inputs), [(misbehave, false), (packed, false)]);
        assert_eq!(keys(&plain.params.inputs), [(misbehave, false), (packed, false), ("analysis/params.json", true)]);
        assert_eq!(plain.params.value.as_deref(), Some("{\"n\":0}"));
        assert_eq!(keys(&ordered.inputs), [("analysis/extra.json", true), (misbehave, true)]);

        // All of it holds by size and times alone: it was trusted at the end of the extraction.
        let record = Dataset::open(data.path()).unwrap().record(&image_id(1)).unwrap();
        for input in ordered.inputs.iter().chain(&ordered.params.inputs) {
            assert_eq!(check_input(&record, "misbehave_run", input).unwrap(), InputCheck::Same);
            assert!(matches!(input.found, InputState::File { times: Some(_), .. }), "{input:?}");
        }
        let mut hashed = Vec::new();
        pool.params_readings(&ids(2), &mut |_, answer| hashed.push(answer.unwrap())).unwrap();
        assert_eq!((&hashed[0], &hashed[1]), (&plain.params, &ordered.params));
    }
}

/// A failure lists the inputs that were read before it.
#[test]
fn failure_lists_inputs_read() {
    for options in both() {
        let dir = TestDir::new();
        let data = dataset(&dir, "d.zarr", 2, &one(1, "err"));
        data.put(&data.image(&image_id(0)).key("params.json"), "{\"n\": ");
        let answers = extract(&mut *pool_of(&data, "misbehave", &options), &ids(2)).unwrap();
        let [unreadable, failed] = [0, 1].map(|number| answers[number].as_ref().expect_err("a failure"));
        assert_eq!(unreadable.kind, FailureKind::Unreadable);
        assert_eq!(keys(&unreadable.inputs).last(), Some(&("analysis/params.json", true)));
        assert_eq!(failed.kind, FailureKind::Error);
        assert_eq!(keys(&failed.inputs), [("analysis/misbehave.json", true), ("analysis/params.json", true)]);
    }
    let dir = TestDir::new();
    let data = dataset(&dir, "d.zarr", 1, &one(0, "abort"));
    let answers = extract(&mut *pool_of(&data, "misbehave", &options(1)), &ids(1)).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().inputs, [], "the worker died with what it knew");
}

/// An image that reads more inputs than kymhost can record fails.
#[test]
fn too_many_inputs_fail_the_image() {
    for options in both() {
        check_extraction(
            &options,
            3,
            &one(1, "read_much"),
            &[(1, FailureKind::Error, "more artifacts than kymhost keeps")],
        );
    }
}

/// If an input changes during the extraction, the image is tried once more.
#[test]
fn changing_inputs_are_retried_once() {
    for options in both() {
        // What is done, which artifact is rewritten, and what comes of it.
        for (what, name, expected) in [
            ("rewrite", "params", Err(FailureKind::InputChanged)),
            ("rewrite_and_err", "params", Err(FailureKind::InputChanged)),
            ("rewrite_once", "params", Ok("{\"n\":\"rewritten\"}")),
            ("rewrite_once_and_err", "params", Ok("{\"n\":\"rewritten\"}")),
            ("rewrite_alike", "params", Ok("{\"n\":1}")),
            ("rewrite", "extra", Err(FailureKind::InputChanged)),
            ("rewrite_once", "extra", Ok("{\"n\":1}")),
            ("rewrite_once_and_err", "extra", Ok("{\"n\":1}")),
            // Nobody reads it.
            ("rewrite", "other", Ok("{\"n\":1}")),
        ] {
            let dir = TestDir::new();
            let data = dataset(&dir, "d.zarr", 3, &BTreeMap::new());
            let image = data.image(&image_id(1));
            image.json("extra", &json!({}));
            let file = data.key(&image.key(&format!("{name}.json")));
            image.json("misbehave", &json!({"do": what, "file": file, "read": "extra"}));
            let answers = extract(&mut *pool_of(&data, "misbehave", &options), &ids(3)).unwrap();
            assert!(answers[0].is_ok() && answers[2].is_ok(), "{what} {name}");
            match (&answers[1], expected) {
                (Ok(extracted), Ok(params)) => {
                    assert_eq!(extracted.params.value.as_deref(), Some(params), "{what} {name}");
                    let value: Value = serde_json::from_str(params).unwrap();
                    assert_eq!(extracted.params.hash, params_hash(&value), "{what} {name}");
                    let record = Dataset::open(data.path()).unwrap().record(&image_id(1)).unwrap();
                    for input in extracted.inputs.iter().chain(&extracted.params.inputs) {
                        assert_eq!(
                            check_input(&record, "misbehave_run", input).unwrap(),
                            InputCheck::Same,
                            "{what} {name}"
                        );
                    }
                }
                (Err(failure), Err(kind)) => {
                    assert_eq!(failure.kind, kind, "{what} {name}: {failure:?}");
                    assert!(failure.message.contains(&format!("analysis/{name}.json")), "{}", failure.message);
                    assert!(!failure.inputs.is_empty());
                }
                (answer, expected) => panic!("{what} {name}: {answer:?}, expected {expected:?}"),
            }
        }
    }
}

/// Params that differ for the same inputs are an error.
#[test]
fn varying_params_are_an_error() {
    for options in both() {
        let dir = TestDir::new();
        let data = dataset(&dir, "d.zarr", 2, &BTreeMap::from([(1, json!({"do": "random", "when": "params"}))]));
        let answers = extract(&mut *pool_of(&data, "misbehave", &options), &ids(2)).unwrap();
        assert!(answers[0].is_ok());
        let failure = answers[1].as_ref().unwrap_err();
        assert_eq!(failure.kind, FailureKind::Error);
        assert!(failure.message.contains("two answers for the same inputs"), "{}", failure.message);
        assert_eq!(keys(&failure.inputs), [("analysis/misbehave.json", true)]);
    }
}

/// A library that is replaced during a run is refused.
#[test]
fn replaced_library_is_refused() {
    let code = |error: PluginError| match error {
        PluginError::Refused { refusal: Refusal { code, why, help }, .. } => {
            assert!(why.contains("replaced") && help.contains("run again"), "{why}: {help}");
            code
        }
        other => panic!("{other}"),
    };
    for options in both() {
        let dir = TestDir::new();
        let data = dataset(&dir, "d.zarr", 2, &BTreeMap::new());
        let bytes = fs::read(library("misbehave")).unwrap();
        let longer = [bytes.as_slice(), b"another"].concat();
        let path = dir.join("libcopy.so");
        let put = |bytes: &[u8]| {
            fs::write(dir.join("half"), bytes).unwrap();
            fs::rename(dir.join("half"), &path).unwrap();
        };
        let pool = || {
            put(&bytes);
            let plugin = find_plugin(&format!("{}:misbehave", path.display()), &Default::default()).unwrap();
            open_pool(&plugin, &Dataset::open(data.path()).unwrap(), &options).unwrap()
        };

        let mut same = pool();
        assert_eq!(same.library_sha256().unwrap(), sha256(&bytes));
        assert_eq!(extract(&mut *same, &ids(2)).unwrap().len(), 2);

        let mut between = pool();
        between.library_sha256().unwrap();
        put(&longer);
        assert_eq!(code(extract(&mut *between, &ids(2)).expect_err("another library")), "changed");
        assert_eq!(between.library_sha256().unwrap(), sha256(&bytes), "it is reported once");

        let mut after = pool();
        assert_eq!(extract(&mut *after, &ids(2)).unwrap().len(), 2);
        put(&longer);
        assert_eq!(code(after.library_sha256().expect_err("another library")), "changed");

        // The same bytes in another file.
        let mut again = pool();
        again.library_sha256().unwrap();
        put(&bytes);
        assert_eq!(extract(&mut *again, &ids(2)).unwrap().len(), 2);
    }
}
