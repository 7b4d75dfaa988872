//! What an ingest costs: `cargo bench -p kymhost-tests --bench ingest`.
//!
//! One comparison, in turn: an ingest of many recordings with its floor, which decodes the same TIFFs, encodes
//! the same chunks and writes them, with as many threads and one wait for the disk; and a second ingest, which
//! finds nothing to do. It judges no speed (it only fails on errors), and does not look inside the program.
//!
//! `--files N` recordings, `--repeat N` measurements. `cargo bench --profile dev …` tries it out on the
//! unoptimised build.

use kymhost_tests::measure::{Result, Times, heading, ms, process, say};
use kymhost_tests::tiff::{Kind, Packing, Page, Tiff};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// As the real recordings have.
const LINES: usize = 30_000;
const PIXELS: usize = 40;

fn main() -> Result<()> {
    let (mut files, mut repeat) = (3usize, 1usize);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            // What cargo says when it benches; when it tests all targets it says nothing.
            "--bench" => (files, repeat) = (64, 5),
            "--files" => files = value()?.parse()?,
            "--repeat" => repeat = value()?.parse()?,
            other => return Err(format!("unknown argument {other}; there are --files, --repeat").into()),
        }
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(place)?;
    let (home, recordings) = (folder.path(), folder.path().join("recordings"));
    fs::create_dir(&recordings)?;
    say(&format!("{files} recordings of {LINES} lines of {PIXELS} pixels …"))?;
    let mut bytes = 0;
    for number in 0..files {
        let packing = [Packing::None, Packing::Deflate, Packing::Lzw, Packing::None][number % 4];
        let file = Tiff { packing, ..Tiff::new(kymograph(number as u64)) }.bytes();
        bytes += file.len();
        fs::write(recordings.join(format!("{number:04}.tif")), file)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let floor = kymhost_tests::built().join("kymhost-floor");
    let (mut least, mut found, mut again) = (Times::default(), Times::default(), Times::default());
    for turn in 0..repeat {
        say(&format!("the floor, and an ingest: {} of {repeat} …", turn + 1))?;
        let (plain, data) = (home.join("plain"), home.join("data.zarr"));
        rustix::fs::sync();
        let mut command = Command::new(&floor);
        let (time, _, printed) =
            process(home, command.arg("ingest").arg(&recordings).arg(&plain).arg(cores.to_string()), false)?;
        let chunks: usize = String::from_utf8_lossy(&printed).trim().parse()?;
        least.0.push(time);
        fs::remove_dir_all(&plain)?;
        rustix::fs::sync();
        let run = |times: &mut Times, key: &str| -> Result<()> {
            let mut command = Command::new(kymhost_tests::program());
            command.args(["dataset", "ingest", "--json", "--dataset"]).arg(&data).arg(&recordings);
            let (time, _, printed) = process(home, &mut command, false)?;
            let document: serde_json::Value = serde_json::from_slice(&printed)?;
            if document[key] != files {
                return Err(format!("not all of {files} were {key}: {document:#}").into());
            }
            times.0.push(time);
            Ok(())
        };
        run(&mut found, "added")?;
        let written = chunks_of(&data)?;
        if written != chunks {
            return Err(format!("the floor wrote {chunks} chunks, the ingest {written}").into());
        }
        run(&mut again, "unchanged")?;
        fs::remove_dir_all(&data)?;
    }
    let mut report = String::new();
    heading(&mut report, place)?;
    let both = |times: &Times| format!("{:.0} / {:.0}", ms(times.best()), ms(times.median()));
    let ratio = ms(found.best()) / ms(least.best());
    writeln!(report, "## Ingest of {files} recordings ({:.0} MB as TIFF), {cores} threads\n", bytes as f64 / 1e6)?;
    writeln!(report, "| | ms, best / median |\n| --- | ---: |")?;
    writeln!(report, "| floor: decode the TIFFs, encode the chunks, write them, one sync | {} |", both(&least))?;
    writeln!(report, "| ingest | {} |", both(&found))?;
    writeln!(report, "| again, nothing to do | {} |\n", both(&again))?;
    let verdict = if ratio <= 2.0 { "within" } else { "MORE THAN" };
    writeln!(report, "An ingest takes {ratio:.2} × the floor (best of each); {verdict} 2 ×.\n")?;
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

/// Dark streaks on a noisy ground: what packs as real recordings do.
fn kymograph(seed: u64) -> Page {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = Vec::with_capacity(LINES * PIXELS * 2);
    for line in 0..LINES {
        for pixel in 0..PIXELS {
            let streak = if (line * 3 / 7 + pixel) % 17 < 5 { 90 } else { 210 };
            bytes.extend((streak + random.u16(..64)).to_le_bytes());
        }
    }
    Page { height: LINES, width: PIXELS, size: 2, kind: Kind::Uint, bytes }
}

fn chunks_of(dataset: &Path) -> Result<usize> {
    let mut chunks = 0;
    for image in fs::read_dir(dataset.join("images"))? {
        let data = image?.path().join("data");
        if data.is_dir() {
            chunks += fs::read_dir(data)?.flatten().filter(|entry| entry.file_name() != ".zarray").count();
        }
    }
    Ok(chunks)
}
