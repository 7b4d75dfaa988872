//! Other programs write into a dataset while a command of ours changes it: nothing of theirs is undone, and nothing is
//! written or deleted through links that they made.
//!
//! No test races: the debug program runs the other one right before its n-th change of the disk
//! (`KYMHOST_FAULT=<n>:RUN`), for one n after the other. The only place where the other write is lost is between the last
//! look at a file and its rename; `docs/concepts/reliability.md` says how long that is.

use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::tiff::{Kind, Tiff, page};
use kymhost_tests::{Output, Run, TestDir, changed, copy_tree, library, program, snapshot};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Two images with their artifacts, made by `maker`.
struct Lab {
    dir: TestDir,
    data: Fixture,
}

impl Lab {
    fn new() -> Self {
        let dir = TestDir::in_memory();
        let data = Fixture::new(dir.join("data.zarr"));
        for image in 0..2 {
            data.add_image(&image_id(image)).json("maker/params", &json!({"value": image}));
        }
        let lab = Self { dir, data };
        run(lab.data.path(), "run --plugin @maker").output().expect_code(0);
        lab
    }

    /// A copy that nothing was done to.
    fn fresh(&self) -> PathBuf {
        let path = self.dir.join("copy.zarr");
        let _ = fs::remove_dir_all(&path);
        copy_tree(self.data.path(), &path);
        path
    }
}

fn run(data: &Path, words: &str) -> Run {
    Run::new(kymhost_tests::words(words, "maker")).dataset(data)
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("parse {}: {error}", path.display()))
}

/// A script that another program is.
fn script(dir: &TestDir, text: &str) -> PathBuf {
    let path = dir.join("other.sh");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable script");
    path
}

/// What is put into `file` at each change of a command in turn, by a rename. `command` starts from the same state each
/// time and gives the dataset; `check` is told whether the other write must be there. Returns how often it must.
fn at_each_change(
    dir: &TestDir,
    step: usize,
    file: &str,
    text: &Value,
    mut command: impl FnMut() -> (PathBuf, Run),
    mut check: impl FnMut(&Path, &Output, bool, &str),
) -> usize {
    let theirs = dir.join("theirs");
    fs::write(&theirs, text.to_string()).expect("the other program's text");
    let log = dir.join("log");
    let mut kept = 0;
    let mut number = 1;
    loop {
        let (data, ours) = command();
        let at = data.join(file);
        let copy = format!("cp '{0}' '{1}.new' && mv '{1}.new' '{1}'", theirs.display(), at.display());
        let other = script(dir, &copy);
        let _ = fs::remove_file(&log);
        let output = ours
            .env("KYMHOST_FAULT", format!("{number}:RUN"))
            .env("KYMHOST_FAULT_RUN", &other)
            .env("KYMHOST_FAULT_LOG", &log)
            .output();
        let lines = fs::read_to_string(&log).unwrap_or_default();
        let Some(line) = lines.lines().nth(number - 1) else {
            assert!(number > 5, "the program numbers its changes only when built for debugging");
            return kept;
        };
        // Between the last look and the rename nobody sees it.
        let is_in_window = line.split_once(' ').is_some_and(|(_, change)| change == format!("rename {file}"));
        kept += usize::from(!is_in_window);
        check(&data, &output, !is_in_window, &format!("at change {line}"));
        number += step;
    }
}

const ATTRIBUTES: &str = "images/00000000-0000-4000-8000-000000000000/.zattrs";

fn attributes_kept(step: usize, compat: bool) {
    let lab = Lab::new();
    let text = json!({"axes": ["y", "x"], "note": "theirs"});
    let kept = at_each_change(
        &lab.dir,
        step,
        ATTRIBUTES,
        &text,
        || {
            let data = lab.fresh();
            assert_eq!(ATTRIBUTES, format!("images/{}/.zattrs", image_id(0)));
            if compat {
                (data.clone(), run(&data, "run --jobs 1 --force --compat kymflow --plugin velocity_events"))
            } else {
                // The artifacts are made again, so that the attributes are written, too.
                Fixture::at(&data).image(&image_id(0)).json("maker/params", &json!({"value": 50}));
                (data.clone(), run(&data, "run --jobs 1 --plugin @maker"))
            }
        },
        |data, output, must, story| {
            assert!(output.code() == Some(0), "{story}: {}", output.stderr());
            let now = read(&data.join(ATTRIBUTES));
            assert!(!must || now["note"] == "theirs", "{story}: {now}");
            assert_eq!(now["axes"], json!(["y", "x"]), "{story}");
        },
    );
    assert!(kept > 3, "{kept}");
}

/// Attributes that another program writes at some moments of a run are kept.
#[test]
fn attributes_written_during_a_run_are_kept() {
    attributes_kept(4, false);
}

/// The same at each moment, and with kymflow's rules.
#[test]
#[ignore = "slow"]
fn attributes_written_at_each_moment_are_kept() {
    attributes_kept(1, false);
    attributes_kept(1, true);
}

/// A run that makes no artifacts touches no attributes; saving an artifact sets `updated_utc`; kymflow's rules set it
/// with each marker.
#[test]
fn markers_leave_attributes_alone_artifacts_and_kymflow_do_not() {
    let dir = TestDir::in_memory();
    let data = Fixture::with_images(dir.join("data.zarr"), 2, 3);
    let attributes = data.path().join(ATTRIBUTES);
    let before = fs::read(&attributes).expect("attributes");
    let command = |words: &str| run(data.path(), words).output().expect_code(0);
    command("run --plugin velocity_events");
    command("run --force --plugin velocity_events");
    assert_eq!(fs::read(&attributes).expect("attributes"), before);
    command("run --force --compat kymflow --plugin velocity_events");
    assert_ne!(
        read(&attributes)["updated_utc"],
        serde_json::from_slice::<Value>(&before).expect("JSON")["updated_utc"]
    );
    // Nothing is stale by it.
    let lab = Lab::new();
    let made = read(&lab.data.path().join(ATTRIBUTES));
    assert_ne!(made["updated_utc"], "2026-01-02T03:04:05Z");
    let status = run(lab.data.path(), "status --plugin @maker --json").output().expect_code(0).json();
    assert_eq!(status["images"][0]["reason"], "FRESH_ROWS");
}

/// One recording in a dataset, which has changed since.
fn ingested() -> (TestDir, PathBuf, String) {
    let dir = TestDir::in_memory();
    let files = dir.join("files");
    fs::create_dir(&files).expect("a folder");
    let tiff = |seed: u64| Tiff::new(page(20, 10, 2, Kind::Uint, seed)).bytes();
    fs::write(files.join("a.tif"), tiff(0)).expect("a TIFF");
    fs::write(files.join("a.json"), r#"{"experiment_metadata": {"species": "mouse"}}"#).expect("JSON");
    let data = dir.join("first.zarr");
    let document = ingest(&dir, &data).output().expect_code(0).json();
    let id = document["files"][0]["image_id"].as_str().expect("an image").to_owned();
    fs::write(files.join("a.tif"), tiff(1)).expect("a TIFF");
    (dir, data, id)
}

fn ingest(dir: &TestDir, data: &Path) -> Run {
    Run::new(["dataset", "ingest", "--json"]).arg(dir.join("files")).dataset(data)
}

fn rois_kept(step: usize) {
    let (dir, first, id) = ingested();
    let file = format!("images/{id}/analysis/metadata.json");
    let mut theirs = read(&first.join(&file));
    theirs["rois"] = json!([{"roi_id": 7, "roi_type": "rect", "data": {"x0": 1, "x1": 5, "y0": 0, "y1": 9}}]);
    theirs["theirs"] = json!(true);
    let mut noted = 0;
    let kept = at_each_change(
        &dir,
        step,
        &file,
        &theirs,
        || {
            let data = dir.join("copy.zarr");
            let _ = fs::remove_dir_all(&data);
            copy_tree(&first, &data);
            (data.clone(), ingest(&dir, &data))
        },
        |data, output, must, story| {
            assert_eq!(output.code(), Some(0), "{story}: {}", output.stderr());
            let now = read(&data.join(&file));
            assert!(!must || (now["rois"] == theirs["rois"] && now["theirs"] == true), "{story}: {now}");
            assert_eq!(now["header"]["shape"], json!([20, 10]), "{story}");
            let document = output.json();
            assert_eq!(document["files"][0]["outcome"], "reingested", "{story}: {document:#}");
            noted +=
                usize::from(document["files"][0]["notes"].to_string().contains("another program changed its metadata"));
        },
    );
    assert!(kept > 3 && noted > 0, "{kept} {noted}");
}

/// ROIs that are drawn at some moments of an ingest are kept, and the summary says so.
#[test]
fn rois_drawn_during_an_ingest_are_kept() {
    rois_kept(3);
}

/// The same at each moment.
#[test]
#[ignore = "slow"]
fn rois_drawn_at_each_moment_are_kept() {
    rois_kept(1);
}

/// Two commands that change params exclude each other; who comes second sees what the first wrote.
#[test]
fn params_commands_exclude_each_other() {
    let lab = Lab::new();
    let log = lab.dir.join("log");
    let params =
        |data: &Path, image: u64| read(&data.join(format!("images/{}/analysis/maker/params.json", image_id(image))));
    let set = |data: &Path, edit: &str, wait: &str| {
        run(data, &format!("params set --plugin @maker --all {edit} --wait {wait}"))
    };
    let data = lab.fresh();
    set(&data, "value=8", "0").env("KYMHOST_FAULT_LOG", &log).output().expect_code(0);
    let changes: Vec<String> = fs::read_to_string(&log).expect("a log").lines().map(str::to_owned).collect();
    let locked = changes.iter().position(|line| line.ends_with("params.lock")).expect("the lock") + 1;
    let code = lab.dir.join("code");
    for number in 1..=changes.len() {
        let data = lab.fresh();
        let words = format!("params set --plugin {}:maker --all nested.deep=2 --wait 0 -q", library("maker").display());
        let other = script(
            &lab.dir,
            &format!(
                "'{}' {words} --dataset '{}'; echo $? > '{}'",
                program().display(),
                data.display(),
                code.display()
            ),
        );
        let story = &changes[number - 1];
        set(&data, "value=8", "30")
            .env("KYMHOST_FAULT", format!("{number}:RUN"))
            .env("KYMHOST_FAULT_RUN", &other)
            .output()
            .expect_code(0);
        let code = fs::read_to_string(&code).expect("the other's exit code");
        // The lock's file is made, then locked, then its text written.
        let expected = if number <= locked { "0" } else { "4" };
        assert_eq!(code.trim(), expected, "at change {story}");
        for image in 0..2 {
            let found = params(&data, image);
            assert_eq!(found["value"], 8, "at change {story}");
            assert_eq!(found["nested"]["deep"] == 2, expected == "0", "at change {story}: {found}");
        }
    }
}

/// Params that another program edits at any moment of `params set` are kept, and changed as well.
#[test]
fn params_edited_during_params_set_are_kept() {
    let lab = Lab::new();
    let file = format!("images/{}/analysis/maker/params.json", image_id(0));
    let kept = at_each_change(
        &lab.dir,
        1,
        &file,
        &json!({"value": 3, "nested": {"deep": 9}}),
        || {
            let data = lab.fresh();
            (data.clone(), run(&data, "params set --plugin @maker --all value=8"))
        },
        |data, output, must, story| {
            assert_eq!(output.code(), Some(0), "{story}: {}", output.stderr());
            let now = read(&data.join(&file));
            assert!(!must || now["nested"]["deep"] == 9, "{story}: {now}");
            let renamed = now["value"] == 8 || now["nested"]["deep"] == 9;
            assert!(renamed, "{story}: {now}");
        },
    );
    assert!(kept > 5, "{kept}");
}

/// What a killed `params set` leaves is gone after the next write.
#[test]
fn killed_params_set_leaves_nothing_behind() {
    let lab = Lab::new();
    let left =
        |data: &Path| -> Vec<String> { snapshot(data).keys().filter(|path| path.contains("tmp-")).cloned().collect() };
    let mut left_over = 0;
    for number in 1.. {
        let data = lab.fresh();
        let fault = format!("{number}:TORN");
        let killed = run(&data, "params set --plugin @maker --all value=8").env("KYMHOST_FAULT", fault).output();
        if killed.signal().is_none() {
            assert!(number > 5, "nothing was killed");
            break;
        }
        left_over += left(&data).len();
        run(&data, "params set --plugin @maker --all value=9").output().expect_code(0);
        assert_eq!(left(&data), [""; 0], "killed at change {number}");
    }
    assert!(left_over > 0, "no kill left anything");
}

const ARRAY: &str = "analysis_arrays/maker/array";

/// A link in the place of an artifact of image 0, made by somebody: its image fails or the link is replaced, and what it
/// leads to stays byte for byte.
#[test]
fn links_in_the_place_of_artifacts_are_not_written_through() {
    let lab = Lab::new();
    let outside = lab.dir.join("outside");
    fs::create_dir_all(outside.join("data")).expect("a folder");
    fs::write(outside.join("data/.zarray"), "precious").expect("a file");
    fs::write(outside.join("json.json"), "precious").expect("a file");
    let other = format!("images/{}", image_id(1));
    for (place, target, is_replaced) in [
        // An array's data: to the pixels of another image, and out of the dataset.
        (format!("{ARRAY}/data"), format!("../../../../{}/data", image_id(1)), true),
        (format!("{ARRAY}/data"), outside.join("data").display().to_string(), false),
        // Its group, and the folders above.
        (ARRAY.to_owned(), format!("../../../{}", image_id(1)), false),
        (ARRAY.to_owned(), outside.display().to_string(), false),
        ("analysis_arrays/maker".to_owned(), format!("../../{}", image_id(1)), false),
        ("analysis_arrays".to_owned(), format!("../{}", image_id(1)), false),
        // Files, and their folder.
        ("analysis/maker/json.json".to_owned(), format!("../../../{}/data/.zarray", image_id(1)), true),
        ("analysis/maker/json.json".to_owned(), outside.join("json.json").display().to_string(), false),
        ("analysis/maker/table.parquet".to_owned(), format!("../../../{}/data/0.0", image_id(1)), true),
    ] {
        for removed in [false, true] {
            let story = format!("{place} -> {target}, removed {removed}");
            let data = lab.fresh();
            let link = data.join(format!("images/{}/{place}", image_id(0)));
            if link.is_dir() {
                fs::remove_dir_all(&link).expect("a removed folder");
            } else {
                fs::remove_file(&link).expect("a removed file");
            }
            symlink(&target, &link).expect("a link");
            // What is made anew, or made no more.
            let params = if removed { json!({"value": 5, "make": []}) } else { json!({"value": 5}) };
            Fixture::at(&data).image(&image_id(0)).json("maker/params", &params);
            let before = (snapshot(&data.join(&other)), snapshot(&outside));
            let output = run(&data, "run --plugin @maker --overwrite-artifacts --json").output();
            let after = (snapshot(&data.join(&other)), snapshot(&outside));
            let theirs = changed(&before.0, &after.0);
            // A copy's files have times of their own, so its marker is renewed.
            let theirs: Vec<&String> = theirs.iter().filter(|key| *key != "analysis/maker_run.json").collect();
            assert!(theirs.is_empty(), "{story}: {theirs:?}");
            assert_eq!(changed(&before.1, &after.1), [""; 0], "{story}");
            if is_replaced && !removed {
                output.expect_code(0);
                assert!(!link.is_symlink(), "{story}");
            } else if !removed {
                let document = output.expect_code(3).json();
                let message = document["failures"][0].to_string();
                assert!(message.contains("symbolic link") && message.contains(&place), "{story}: {message}");
                assert!(link.is_symlink(), "{story}");
            } else {
                assert!([Some(0), Some(3)].contains(&output.code()), "{story}: {}", output.stderr());
            }
            // The dataset is as good as before for the other image.
            let status = run(&data, "status --plugin @maker --json").output().json();
            assert_eq!(status["images"][1]["reason"], "FRESH_ROWS", "{story}");
        }
    }
}

/// Links that somebody planted in an export's folder: nothing is written through them.
#[test]
fn export_writes_through_no_link() {
    let lab = Lab::new();
    let victim = lab.dir.join("victim");
    let export =
        || Run::new(["dataset", "export", "--overwrite"]).arg(lab.dir.join("out")).dataset(lab.data.path()).output();
    let id = image_id(0);
    for (planted, code) in [
        ("tables/.kym_maker.csv.partial".to_owned(), 0),
        ("tables/kym_maker.csv".to_owned(), 0),
        (format!("images/.{id}.partial"), 0),
        (format!("images/{id}/image.tif"), 0),
        (format!("images/{id}/.image.tif.partial"), 0),
        (format!("images/{id}/maker"), 3),
        (format!("images/{id}"), 3),
        ("images".to_owned(), 3),
        ("tables".to_owned(), 3),
    ] {
        let out = lab.dir.join("out");
        let _ = fs::remove_dir_all(&out);
        let _ = fs::remove_dir_all(&victim);
        fs::create_dir_all(victim.join("maker")).expect("a folder");
        for file in ["image.tif", "kym_maker.csv", "maker/json.json", "json.json", "precious"] {
            fs::write(victim.join(file), "precious").expect("a file");
        }
        let link = out.join(&planted);
        fs::create_dir_all(link.parent().expect("a folder")).expect("folders");
        let is_file = planted.ends_with(".csv") || planted.ends_with(".tif") || planted.ends_with(".csv.partial");
        symlink(if is_file { victim.join("precious") } else { victim.clone() }, &link).expect("a link");
        let before = snapshot(&victim);
        let output = export();
        assert_eq!(output.code(), Some(code), "{planted}: {}", output.stderr());
        assert_eq!(changed(&before, &snapshot(&victim)), [""; 0], "{planted}");
        if code != 0 {
            assert!(output.stderr().contains("symbolic link"), "{planted}: {}", output.stderr());
        }
    }
    // What a killed export left is gone with the next one; what only looks like it stays.
    let out = lab.dir.join("out");
    fs::remove_dir_all(&out).expect("a removed folder");
    fs::create_dir_all(out.join("tables")).expect("a folder");
    fs::write(out.join("tables/.mine.partial"), "mine").expect("a file");
    export().expect_code(0);
    assert_eq!(fs::read(out.join("tables/.mine.partial")).expect("a file"), b"mine");
    let left = snapshot(&out).keys().filter(|path| path.contains("tmp-")).count();
    assert_eq!(left, 0);
}
