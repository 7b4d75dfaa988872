//! The least that a piece of work can take, on one thread, for benchmarks to compare with:
//!
//! - `kymhost-floor read DATASET`: lists the images, opens and reads each one's params and marker as bytes, and
//!   the table's bytes. No run that reads what it judges can do less.
//! - `kymhost-floor stat DATASET`: lists the images, asks for the times of each one's recorded inputs (those of
//!   `velocity_events`), reads its marker's bytes, and decodes the table's provenance columns; it parses
//!   nothing else. No run that trusts recorded times can do less.
//! - `kymhost-floor copy FROM TO`: reads a file, writes it again and syncs it. No table that is replaced whole
//!   costs less.
//! - `kymhost-floor ingest FROM TO JOBS`: decodes the TIFFs of a folder (16-bit gray), encodes their chunks as
//!   a dataset has them, and writes each to a file, on the given number of threads, with one wait for the disk
//!   at the end. It prints the number of chunks.
//!
//! Prints how many bytes it read, unless noted otherwise. It decides nothing.

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use zarrs::array::{ArrayBytes, ArrayToBytesCodecTraits as _, CodecOptions};

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
        ["ingest", from, to, jobs] => ingest(Path::new(from), Path::new(to), jobs.parse()?)?,
        _ => {
            let usage = "usage: kymhost-floor read DATASET | stat DATASET | copy FROM TO | ingest FROM TO JOBS";
            return Err(usage.into());
        }
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

type Failure = Box<dyn Error + Send + Sync>;

fn ingest(from: &Path, to: &Path, jobs: usize) -> Result<usize, Box<dyn Error>> {
    let files: Vec<PathBuf> = fs::read_dir(from)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    fs::create_dir(to)?;
    let next = AtomicUsize::new(0);
    let results: Vec<Result<usize, Failure>> = std::thread::scope(|scope| {
        let work = || -> Result<usize, Failure> {
            let mut chunks = 0;
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                chunks += recording(file, &to.join(file.file_stem().unwrap_or_default()))?;
            }
            Ok(chunks)
        };
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let gone = || Err("a thread panicked".into());
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| gone())).collect()
    });
    let mut chunks = 0;
    for result in results {
        chunks += result.map_err(|error| error.to_string())?;
    }
    rustix::fs::syncfs(File::open(to)?)?;
    Ok(chunks)
}

fn recording(from: &Path, to: &Path) -> Result<usize, Failure> {
    const LENGTH: usize = 512;
    let file = fs::read(from)?;
    let mut decoder = tiff::decoder::Decoder::new(io::Cursor::new(file))?;
    let (width, height) = decoder.dimensions()?;
    let (width, height) = (width as usize, height as usize);
    let mut pixels = vec![0u8; width * height * 2];
    decoder.read_image_bytes(&mut pixels)?;
    let (across, down) = (width.min(LENGTH), height.min(LENGTH));
    let metadata = serde_json::json!({
        "zarr_format": 2, "shape": [height, width], "chunks": [down, across], "dtype": "<u2", "fill_value": 0, "order": "C",
        "filters": null, "compressor": {"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0}
    });
    let metadata: zarrs::metadata::v2::ArrayMetadataV2 = serde_json::from_value(metadata)?;
    let array = zarrs::array::Array::new_with_metadata(Arc::new(()), "/", metadata.into())?;
    let shape: Vec<NonZeroU64> = [down, across].iter().filter_map(|length| NonZeroU64::new(*length as u64)).collect();
    let options = CodecOptions::default().with_concurrent_target(1);
    fs::create_dir(to)?;
    let mut chunks = 0;
    for top in (0..height).step_by(down) {
        for left in (0..width).step_by(across) {
            let mut chunk = vec![0u8; down * across * 2];
            let part = across.min(width - left) * 2;
            for (line, row) in chunk.chunks_exact_mut(across * 2).enumerate().take(height - top) {
                let at = ((top + line) * width + left) * 2;
                row[..part].copy_from_slice(&pixels[at..at + part]);
            }
            let bytes = ArrayBytes::new_flen(chunk);
            let packed = array.codecs().encode(bytes, &shape, array.data_type(), array.fill_value(), &options)?;
            fs::write(to.join(format!("{}.{}", top / down, left / across)), packed)?;
            chunks += 1;
        }
    }
    Ok(chunks)
}
