//! The least that a piece of work can take, on one thread, for benchmarks to compare with:
//!
//! - `kymhost-floor read DATASET`: lists the images, opens and reads each one's params and marker as bytes, and the table's
//!   bytes. No run that reads what it judges can do less.
//! - `kymhost-floor stat DATASET`: lists the images, asks for the times of each one's recorded inputs (those of
//!   `velocity_events`), reads its marker's bytes, and decodes the table's provenance columns; it parses nothing else. No
//!   run that trusts recorded times can do less.
//! - `kymhost-floor copy FROM TO`: reads a file, writes it anew and syncs it. No table that is replaced whole costs less.
//!
//! Prints how many bytes it read. Never: decides.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

const TABLE: &str = "tables/kym_velocity_events.parquet";
/// Below an image's `analysis/`.
const MARKER: &str = "velocity_events/summary.json";
const PARAMS: &str = "velocity_events/params.json";
const EVENTS: &str = "velocity_events/events.parquet";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let total = match args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect::<Vec<_>>().as_slice() {
        ["read", dataset] => read_all(Path::new(dataset))?,
        ["stat", dataset] => stat_all(Path::new(dataset))?,
        ["copy", from, to] => copy(Path::new(from), Path::new(to))?,
        _ => return Err("usage: kymhost-floor read DATASET | stat DATASET | copy FROM TO".into()),
    };
    writeln!(io::stdout(), "{total}")?;
    Ok(())
}

fn read_all(root: &Path) -> Result<usize, Box<dyn Error>> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    each_image(root, |analysis| {
        for name in [PARAMS, MARKER] {
            total += read(&analysis.join(name), &mut buffer)?;
        }
        Ok(())
    })?;
    total += read(&root.join(TABLE), &mut buffer)?;
    Ok(total)
}

fn stat_all(root: &Path) -> Result<usize, Box<dyn Error>> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    each_image(root, |analysis| {
        for name in [PARAMS, EVENTS] {
            fs::symlink_metadata(analysis.join(name))?;
        }
        total += read(&analysis.join(MARKER), &mut buffer)?;
        Ok(())
    })?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(root.join(TABLE))?)?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["image_id", "analysis_version", "params_hash"]);
    for batch in builder.with_projection(columns).with_batch_size(64 << 10).build()? {
        total += batch?.num_rows();
    }
    Ok(total)
}

fn each_image(root: &Path, mut look: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let images = root.join("images");
    for entry in fs::read_dir(&images)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            look(&images.join(entry.file_name()).join("analysis"))?;
        }
    }
    Ok(())
}

/// Reads a file to its end; one that is absent has no bytes.
fn read(path: &Path, buffer: &mut [u8]) -> io::Result<usize> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut total = 0;
    loop {
        match file.read(buffer)? {
            0 => return Ok(total),
            count => total += count,
        }
    }
}

/// With `read` and `write`: `fs::copy` may share the blocks instead, which no table that differs can.
fn copy(from: &Path, to: &Path) -> io::Result<usize> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            count => {
                to.write_all(buffer.get(..count).unwrap_or_default())?;
                total += count;
            }
        }
    }
    to.sync_all()?;
    Ok(total)
}
