//! The program killed at any moment: the table is whole, old or new, and the next run ends as if nothing had happened.

use kymhost_tests::fixture::{Fixture, MARKER, TABLE, image_id, params_hash};
use kymhost_tests::table::Table;
use kymhost_tests::{Run, TestDir, copy_tree, kill_in_the_midst, seed};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

const IMAGES: u64 = 200;
const EVENTS: usize = 2;
const KILLS: usize = 8;

fn run(data: &Fixture, mode: &str) -> Run {
    Run::new(["run", "--json", "--plugin", "velocity_events", "--mode", mode, "--jobs", "2"]).dataset(data.path())
}

/// Gives each image the params of a generation, and as many events.
fn set_generation(data: &Fixture, generation: u64) {
    for number in 0..IMAGES {
        let image = data.image(&image_id(number));
        image.params(&params(number, generation));
        image.events(EVENTS, (number + generation * 1000) as f64);
    }
}

fn params(number: u64, generation: u64) -> Value {
    json!({"threshold": number, "generation": generation})
}

/// The rows, less their order across images: a kill leaves it to the next run which images come last.
fn sorted(table: &Table) -> Vec<String> {
    let ids = table.column("image_id").into_iter();
    let mut rows: Vec<_> = ids.zip(&table.rows).enumerate().collect();
    rows.sort_by_key(|(place, (id, _))| (id.to_string(), *place));
    rows.into_iter().map(|(_, (_, row))| Value::from(row.clone()).to_string()).collect()
}

/// A run that is killed at any moment loses no rows.
#[test]
#[ignore = "slow"]
fn killed_run_loses_nothing() {
    let dir = TestDir::new();
    let old = Fixture::with_images(dir.join("old.zarr"), IMAGES, EVENTS);
    set_generation(&old, 0);
    run(&old, "replace").output().expect_code(0);
    let old_table = Table::read(&old.key(TABLE));
    set_generation(&old, 1);

    // What an undisturbed run gives, and how long it takes.
    let whole = Fixture::at(dir.join("whole.zarr"));
    copy_tree(old.path(), whole.path());
    let begun = Instant::now();
    run(&whole, "replace").output().expect_code(0);
    let time = begun.elapsed();
    let new_table = Table::read(&whole.key(TABLE));
    assert_eq!(new_table.rows.len(), EVENTS * IMAGES as usize);

    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    for kill in 0..KILLS {
        let mode = if kill % 2 == 0 { "replace" } else { "incremental" };
        // Some anywhere in the run, more of them while it commits.
        let share = if kill % 3 == 0 { random.f64() } else { 0.6 + 0.5 * random.f64() };
        let moment = time.mul_f64(share);
        let story = format!("KYMHOST_SEED={seed}, kill {kill} of a run in {mode} after {moment:?} of {time:?}");

        // The host alone is killed: it is the only one that writes.
        let data = kill_in_the_midst(moment, || {
            let data = Fixture::at(dir.join(format!("killed-{kill}.zarr")));
            let _ = fs::remove_dir_all(data.path());
            copy_tree(old.path(), data.path());
            (run(&data, mode).start(dir.path()), data)
        });

        let table = Table::try_read(&data.key(TABLE)).unwrap_or_else(|error| panic!("{story}: {error}"));
        let found = sorted(&table);
        assert!(found == sorted(&old_table) || found == sorted(&new_table), "{story}: rows are neither old nor new");
        let strays = strays(&data);
        assert!(strays.is_empty(), "{story}: left in tables/: {strays:?}");
        check_markers(&data, &table, &story);

        let output = run(&data, "incremental").output();
        assert_eq!(output.code(), Some(0), "{story}: the next run\n{output}");
        assert_eq!(output.json()["stats"]["failed"], 0, "{story}: the next run\n{output}");
        let table = Table::read(&data.key(TABLE));
        assert_eq!(sorted(&table), sorted(&new_table), "{story}: after the next run");
        let output = run(&data, "incremental").output().expect_code(0);
        assert_eq!(output.json()["stats"]["updated"], 0, "{story}: the run after the next\n{output}");
        fs::remove_dir_all(data.path()).expect("remove the dataset");
    }
}

/// Files under `tables/` that end in `.parquet` and are not the table.
fn strays(data: &Fixture) -> Vec<String> {
    let entries = fs::read_dir(data.key("tables")).expect("tables/");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".parquet") && !TABLE.ends_with(name.as_str())).collect()
}

/// No marker is torn, and none is ahead of the table: a new marker exists only with the new rows.
fn check_markers(data: &Fixture, table: &Table, story: &str) {
    for number in 0..IMAGES {
        let id = image_id(number);
        let path = data.key(&data.image(&id).key(&format!("{MARKER}.json")));
        assert!(fs::metadata(&path).is_ok_and(|meta| meta.size() > 0), "{story}: marker of {id} is gone or empty");
        let marker: Value = serde_json::from_slice(&fs::read(&path).expect("a marker"))
            .unwrap_or_else(|error| panic!("{story}: torn marker of {id}: {error}"));
        let place = table.columns.iter().position(|column| column == "params_hash").expect("a column params_hash");
        let hash = json!(params_hash(&params(number, 1)));
        if marker["params_hash"] == hash {
            let rows = table.rows_of(&id);
            assert!(rows.iter().all(|row| row[place] == hash), "{story}: marker of {id} is ahead of its rows");
        }
    }
}
