//! Chunks that pixels lack: the image fails until they are restored or recorded as empty.
//!
//! All commands agree about them.

use kymhost_tests::fixture::{Fixture, image_id};
use kymhost_tests::table::Table;
use kymhost_tests::{Output, Run, TestDir, c};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const TABLE: &str = "tables/kym_intensity_c.parquet";

/// Two images of 4 lines; those of the second are in two chunks.
struct World {
    _dir: TestDir,
    data: Fixture,
    library: PathBuf,
}

impl World {
    fn new() -> Option<Self> {
        let library = c::intensity_c()?;
        let dir = TestDir::new();
        let data = Fixture::new(dir.join("data.zarr"));
        (0..2).for_each(|image| drop(data.add_image(&image_id(image))));
        let world = Self { _dir: dir, data, library };
        let array = json!({
            "chunks": [2, 3], "compressor": null, "dtype": "<u2", "fill_value": 0, "filters": null, "order": "C",
            "shape": [4, 3], "zarr_format": 2
        });
        world.data.put_json(&chunk(".zarray"), &array);
        world.data.put(&chunk("0.0"), [5, 0].repeat(6));
        world.data.put(&chunk("1.0"), [7, 0].repeat(6));
        Some(world)
    }

    fn run(&self, words: &[&str]) -> Output {
        Run::new(words).arg("--json").arg("--plugin").arg(&self.library).dataset(self.data.path()).output()
    }

    fn mean(&self) -> Value {
        let table = Table::read(&self.data.key(TABLE));
        let image = json!(image_id(1));
        let row = table.column("image_id").iter().position(|id| **id == image).expect("a row");
        table.column("mean_intensity")[row].clone()
    }

    fn validate(&self) -> Output {
        Run::new(["dataset", "validate"]).dataset(self.data.path()).output()
    }
}

fn chunk(name: &str) -> String {
    format!("images/{}/data/{name}", image_id(1))
}

/// Fails the image alone, keeps its rows, and says which lines are missing and what to do.
fn expect_missing(world: &World, says: &str) {
    let document = world.run(&["run"]).expect_code(3).json();
    let failures = document["failures"].as_array().expect("failures");
    assert_eq!(failures.len(), 1, "{document}");
    assert_eq!((&failures[0]["image_id"], &failures[0]["kind"]), (&json!(image_id(1)), &json!("unreadable")));
    for text in [says, "--fill-missing"] {
        assert!(document.to_string().contains(text), "{text}: {document}");
        world.validate().expect_code(5).expect_stdout(&[text]);
    }
    let status = world.run(&["status"]).expect_code(0).json();
    assert_eq!(status["images"][1]["is_stale"], true, "{status}");
}

#[test]
fn missing_chunk_fails_its_image_until_restored() {
    let Some(world) = World::new() else { return };
    world.run(&["run"]).expect_code(0);
    assert_eq!(world.mean(), json!(6.0));
    world.data.remove(&chunk("1.0"));
    expect_missing(&world, "1 of 2 chunks of the pixels is missing (lines 2 to 3)");
    assert_eq!(world.mean(), json!(6.0), "the last good rows stay");
    world.run(&["verify"]).expect_code(0);

    world.data.put(&chunk("1.0"), [7, 0].repeat(6));
    world.validate().expect_code(0);
    world.run(&["run"]).expect_code(0);
    assert_eq!(world.mean(), json!(6.0));
}

#[test]
fn fill_missing_is_recorded_and_covers_no_later_loss() {
    let Some(world) = World::new() else { return };
    world.data.remove(&chunk("1.0"));
    expect_missing(&world, "(lines 2 to 3)");
    world.run(&["run", "--fill-missing", "--dry-run"]).expect_code(2);
    world.run(&["run", "--fill-missing"]).expect_code(0);
    assert_eq!(world.mean(), json!(2.5));

    let document = world.run(&["run"]).expect_code(0).json();
    assert_eq!(document["stats"]["skipped_fresh"], 2, "{document}");
    world.run(&["run", "--mode", "replace"]).expect_code(0);
    world.run(&["verify"]).expect_code(0);
    world.validate().expect_code(0);

    world.data.remove(&chunk("0.0"));
    expect_missing(&world, "2 of 2 chunks of the pixels are missing (lines 0 to 3)");
    assert_eq!(world.mean(), json!(2.5));
}

#[test]
fn chunks_with_the_other_separator_fail_by_name() {
    let Some(world) = World::new() else { return };
    for line in ["0", "1"] {
        world.data.remove(&chunk(&format!("{line}.0")));
        world.data.put(&chunk(&format!("{line}/0")), [5, 0].repeat(6));
    }
    for words in [&["run"][..], &["run", "--fill-missing"]] {
        let document = world.run(words).expect_code(3).json();
        assert!(document.to_string().contains("named with '/' (0/0), but its .zarray says '.'"), "{document}");
    }
}

/// By kymflow's rules, as kymflow itself reads them.
#[test]
fn compat_kymflow_reads_missing_chunks_as_fill_values() {
    let Some(world) = World::new() else { return };
    world.data.remove(&chunk("1.0"));
    world.run(&["run", "--compat", "kymflow"]).expect_code(0);
    assert_eq!(world.mean(), json!(2.5));
    assert!(!Path::new(&world.data.key("index/kymhost/fill-missing")).exists());
    world.run(&["run", "--compat", "kymflow", "--fill-missing"]).expect_code(2);
}
