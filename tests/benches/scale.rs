//! How time and memory grow with the number of images: `cargo bench -p kymhost-tests --bench scale`.
//!
//! Makes datasets of several sizes, runs whole processes in turn, and prints a table. It judges no speed (it
//! only fails on errors), and does not look inside the program.
//!
//! `-- --images 100,1000,10000` chooses the sizes, `--repeat N` how often each run is measured.
//! `cargo bench --profile dev …` tries it out on the unoptimised build.

mod subject;

use kymhost_tests::measure::{Result, Times, heading, ms, say};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use subject::Subject;

/// Rows that each image gives.
const ROWS: u64 = 3;

fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut report = String::new();
    heading(&mut report, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let mut lines = Vec::new();
    for &images in &options.images {
        say(&format!("{images} images …"))?;
        lines.push(measure(images, options.repeat)?);
    }
    tables(&mut report, &lines)?;
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

struct Options {
    images: Vec<u64>,
    repeat: usize,
}

impl Options {
    fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { images: Vec::new(), repeat: 0 };
        let mut bench = false;
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // What cargo says when it benches; when it tests all targets it says nothing.
                "--bench" => bench = true,
                "--images" => {
                    let sizes = value()?.split(',').map(|size| size.trim().parse()).collect::<Result<_, _>>();
                    options.images = sizes?;
                }
                "--repeat" => options.repeat = value()?.parse()?,
                other => return Err(format!("unknown argument {other}; there are --images and --repeat").into()),
            }
        }
        let (images, repeat): (&[u64], usize) = if bench { (&[100, 1_000, 10_000], 9) } else { (&[20], 1) };
        if options.images.is_empty() {
            options.images = images.to_vec();
        }
        if options.repeat == 0 {
            options.repeat = repeat;
        }
        Ok(options)
    }
}

/// What was measured at one size.
struct Line {
    images: u64,
    floor: Times,
    nothing: Times,
    one: Times,
    /// The first replace of a new dataset, with no table and no markers.
    first: Duration,
    replace: Times,
    /// Peak memory in KiB: floor, nothing to do, one stale image, replace.
    memory: [u64; 4],
}

fn measure(images: u64, repeat: usize) -> Result<Line> {
    let subject = Subject::make(images, ROWS)?;
    // What making it left to be written is not the first run's to wait for.
    rustix::fs::sync();
    let first = subject.replace(false)?.0;
    let mut line = Line {
        images,
        floor: Times::default(),
        nothing: Times::default(),
        one: Times::default(),
        first,
        replace: Times::default(),
        memory: [0; 4],
    };

    let mut change = 0;
    for _ in 0..repeat.div_ceil(3) {
        line.replace.0.push(subject.replace(false)?.0);
    }
    subject.floor("read", false)?;
    subject.nothing(false)?;
    // In turn, so that whatever else the machine does meets both.
    for _ in 0..repeat {
        line.floor.0.push(subject.floor("read", false)?.0);
        line.nothing.0.push(subject.nothing(false)?.0);
        change += 1;
        subject.edit(change)?;
        line.one.0.push(subject.one(false)?.0);
    }
    // Looking at memory takes time of its own: in runs of their own, which are not timed.
    line.memory[0] = subject.floor("read", true)?.1;
    line.memory[1] = subject.nothing(true)?.1;
    subject.edit(change + 1)?;
    line.memory[2] = subject.one(true)?.1;
    line.memory[3] = subject.replace(true)?.1;
    Ok(line)
}

fn tables(report: &mut String, lines: &[Line]) -> Result<()> {
    let both = |times: &Times| format!("{:.1} / {:.1}", ms(times.best()), ms(times.median()));
    writeln!(report, "Time in ms, best / median:\n")?;
    writeln!(report, "| images | floor | nothing to do | one stale image | first replace | replace again |")?;
    writeln!(report, "| ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for line in lines {
        let cells = [&line.floor, &line.nothing, &line.one].map(both).join(" | ");
        let (first, again) = (ms(line.first), both(&line.replace));
        writeln!(report, "| {} | {cells} | {first:.1} | {again} |", line.images)?;
    }
    writeln!(report, "\nPeak memory in MiB, the program and its workers together:\n")?;
    writeln!(report, "| images | floor | nothing to do | one stale image | replace |")?;
    writeln!(report, "| ---: | ---: | ---: | ---: | ---: |")?;
    for line in lines {
        let cells = line.memory.map(|kib| format!("{:.1}", kib as f64 / 1024.0)).join(" | ");
        writeln!(report, "| {} | {cells} |", line.images)?;
    }
    writeln!(report)?;
    for line in lines {
        let bound = ms(line.floor.median()) * 2.0 + 20.0;
        let found = ms(line.nothing.median());
        let verdict = if found <= bound { "within" } else { "ABOVE" };
        let (images, factor) = (line.images, found / ms(line.floor.median()));
        writeln!(
            report,
            "{images} images, nothing to do: {found:.1} ms, {factor:.2} × the floor; {verdict} 2 × floor + 20 ms = {bound:.1} ms."
        )?;
    }
    let (Some(smallest), Some(largest)) = (lines.first(), lines.last()) else { return Ok(()) };
    type Measure = fn(&Line) -> Duration;
    let measures: [(&str, Measure); 2] =
        [("First replace", |line| line.first), ("Replace again", |line| line.replace.median())];
    for (what, time) in measures {
        let each = |line: &Line| ms(time(line)) * 1e3 / line.images as f64;
        let (small, large) = (each(smallest), each(largest));
        writeln!(
            report,
            "{what}, each image: {small:.0} µs of {} images, {large:.0} µs of {}: a factor of {:.2}.",
            smallest.images,
            largest.images,
            large / small
        )?;
    }
    Ok(())
}
