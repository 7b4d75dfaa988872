//! What the benchmarks run over: a dataset of their own, and whole processes over it whose figures are checked.

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use kymhost_tests::fixture::{self, Fixture, image_id};
use kymhost_tests::measure::{Result, process};
use parquet::basic::{Compression, ZstdLevel};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// One dataset, and the runs over it. It is deleted with this.
pub struct Subject {
    _folder: tempfile::TempDir,
    home: PathBuf,
    /// The dataset.
    pub dataset: PathBuf,
    images: u64,
    plugin: PathBuf,
}

/// Up to this many events of an image may be the same in all images: they are made once, and the table is small anyway.
const MOST_ALIKE: usize = 10;

/// Events whose values do not compress.
fn noisy_events(count: usize, seed: u64) -> RecordBatch {
    let mut random = fastrand::Rng::with_seed(seed);
    let plain = fixture::events(count, 1.0);
    let columns = plain.schema_ref().fields().iter().zip(plain.columns()).map(|(field, column)| {
        let column = match field.data_type() {
            DataType::Float64 => fixture::floats((0..count).map(|_| random.f64())),
            _ => column.clone(),
        };
        (field.name().as_str(), column)
    });
    fixture::batch(columns)
}

impl Subject {
    /// A dataset of `images` images with params and `events` events each; each image's events are its own if
    /// there are many, so that the table is as large as real values make it.
    pub fn make(images: u64, rows: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let home = folder.path().to_path_buf();
        let dataset = home.join("bench.zarr");
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let count = usize::try_from(rows)?;
        let alike = fixture::parquet_bytes(&fixture::events(count, 1.0), zstd);
        let fixture = Fixture::new(&dataset);
        for number in 0..images {
            let image = fixture.add_image(&image_id(number));
            image.params(&json!({"threshold": number, "window_s": 0.5, "method": "gradient"}));
            let own = (count > MOST_ALIKE).then(|| fixture::parquet_bytes(&noisy_events(count, number), zstd));
            fixture.put(&image.key("velocity_events/events.parquet"), own.as_ref().unwrap_or(&alike));
        }
        Ok(Self { _folder: folder, home, dataset, images, plugin: PathBuf::from("velocity_events") })
    }

    /// A dataset of `images` images of which each takes time, as an analysis of pixels would, and gives `rows` rows.
    #[allow(dead_code, reason = "one of the benchmarks that share this")]
    pub fn make_slow(images: u64, sleep_ms: u64, rows: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let home = folder.path().to_path_buf();
        let dataset = home.join("bench.zarr");
        let fixture = Fixture::new(&dataset);
        for number in 0..images {
            fixture.add_image(&image_id(number)).json("reader/params", &json!({"sleep_ms": sleep_ms, "rows": rows}));
        }
        let plugin = kymhost_tests::library("reader");
        Ok(Self { _folder: folder, home, dataset, images, plugin })
    }

    /// One of the floors over the dataset (see `kymhost-floor`), with its peak memory in KiB where asked for.
    pub fn floor(&self, which: &str, memory: bool) -> Result<(Duration, u64)> {
        let mut command = Self::floor_program();
        command.arg(which).arg(&self.dataset);
        let (time, memory, _) = process(&self.home, &mut command, memory)?;
        Ok((time, memory))
    }

    /// Copies the table's file, into the same file system.
    #[allow(dead_code, reason = "one of the benchmarks that share this")]
    pub fn copy_table(&self) -> Result<Duration> {
        let copy = self.home.join("copy.parquet");
        let mut command = Self::floor_program();
        command.arg("copy").arg(self.table()).arg(&copy);
        let (time, _, _) = process(&self.home, &mut command, false)?;
        fs::remove_file(copy)?;
        Ok(time)
    }

    fn floor_program() -> Command {
        Command::new(kymhost_tests::built().join(format!("kymhost-floor{}", std::env::consts::EXE_SUFFIX)))
    }

    /// The table's file.
    pub fn table(&self) -> PathBuf {
        self.dataset.join(fixture::TABLE)
    }

    /// An incremental run that must find all images fresh.
    pub fn nothing(&self, memory: bool) -> Result<(Duration, u64)> {
        let expected = [("updated", 0), ("skipped", self.images), ("total_images", self.images)];
        self.run(&["--mode", "incremental"], memory, &expected)
    }

    /// An incremental run that must find one image stale.
    pub fn one(&self, memory: bool) -> Result<(Duration, u64)> {
        let expected = [("updated", 1), ("skipped", self.images - 1), ("total_images", self.images)];
        self.run(&["--mode", "incremental"], memory, &expected)
    }

    /// A run over every image.
    pub fn replace(&self, memory: bool) -> Result<(Duration, u64)> {
        self.replace_with(&[], memory)
    }

    /// A run over every image, with further arguments.
    pub fn replace_with(&self, args: &[&str], memory: bool) -> Result<(Duration, u64)> {
        let expected = [("updated", self.images), ("failed", 0), ("total_images", self.images)];
        self.run(&[&["--mode", "replace"], args].concat(), memory, &expected)
    }

    /// Gives the image in the middle other params.
    pub fn edit(&self, change: u64) -> Result<()> {
        let id = image_id(self.images / 2);
        let path = self.dataset.join(format!("images/{id}/analysis/velocity_events/params.json"));
        fs::write(path, serde_json::to_string_pretty(&json!({"threshold": -1, "change": change}))?)?;
        Ok(())
    }

    /// A run of the program; an error where its figures are not these.
    fn run(&self, args: &[&str], memory: bool, expected: &[(&str, u64)]) -> Result<(Duration, u64)> {
        let (time, memory, document) = self.document(args, memory)?;
        for (name, value) in expected {
            let found = document.pointer(&format!("/stats/{name}"));
            if found.and_then(Value::as_u64) != Some(*value) {
                return Err(format!("{args:?}: {name} is not {value}: {document}").into());
            }
        }
        Ok((time, memory))
    }

    /// A run of the program, and its document.
    pub fn document(&self, args: &[&str], memory: bool) -> Result<(Duration, u64, Value)> {
        let mut command = Command::new(kymhost_tests::program());
        command.args(["run", "--json", "--plugin"]).arg(&self.plugin).arg("--dataset").arg(&self.dataset).args(args);
        let (time, memory, output) = process(&self.home, &mut command, memory)?;
        Ok((time, memory, serde_json::from_slice(&output)?))
    }
}
