//! What trust costs: `cargo bench -p kymhost-tests --bench engine`.
//!
//! Four comparisons, each in one run and in turn: nothing to do in a large dataset with its floor; one stale image in
//! a large table with copying the table's file; a run with checkpoints with one without; workers with in-process.
//! It judges no speed (it only fails on errors), and does not look inside the program.
//!
//! `-- nothing table checkpoints workers` chooses among them (all by default); `--images N` and `--rows N` the sizes,
//! `--repeat N` how often each is measured. `cargo bench --profile dev …` tries it out on the unoptimised build.

mod subject;

use kymhost_tests::measure::{Result, Times, heading, ms, say};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use subject::Subject;

fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let mut report = String::new();
    heading(&mut report, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    if options.has("nothing") {
        nothing(&mut report, &options)?;
    }
    if options.has("table") {
        table(&mut report, &options)?;
    }
    if options.has("checkpoints") {
        checkpoints(&mut report, &options)?;
    }
    if options.has("workers") {
        workers(&mut report, &options)?;
    }
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

struct Options {
    which: Vec<String>,
    /// Images where nothing is to be done.
    images: u64,
    /// Images of the large table, and rows of each.
    table_images: u64,
    table_rows: u64,
    worker_images: u64,
    repeat: usize,
}

impl Options {
    const ALL: [&'static str; 4] = ["nothing", "table", "checkpoints", "workers"];

    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let small =
            Self { which: Vec::new(), images: 20, table_images: 20, table_rows: 50, worker_images: 20, repeat: 1 };
        let mut options = small;
        let (mut images, mut rows, mut repeat) = (None, None, None);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                // What cargo says when it benches; when it tests all targets it says nothing.
                "--bench" => {
                    (options.images, options.table_images, options.table_rows) = (100_000, 10_000, 1_000);
                    (options.worker_images, options.repeat) = (10_000, 5);
                }
                "--images" => images = Some(value()?.parse()?),
                "--rows" => rows = Some(value()?.parse()?),
                "--repeat" => repeat = Some(value()?.parse()?),
                which if Self::ALL.contains(&which) => options.which.push(which.to_owned()),
                other => {
                    return Err(format!(
                        "unknown argument {other}; there are {:?}, --images, --rows, --repeat",
                        Self::ALL
                    )
                    .into());
                }
            }
        }
        if let Some(images) = images {
            (options.images, options.table_images, options.worker_images) = (images, images, images);
        }
        options.table_rows = rows.unwrap_or(options.table_rows);
        options.repeat = repeat.unwrap_or(options.repeat);
        Ok(options)
    }

    fn has(&self, which: &str) -> bool {
        self.which.is_empty() || self.which.iter().any(|chosen| chosen == which)
    }
}

fn make(images: u64, rows: u64) -> Result<Subject> {
    say(&format!("a dataset of {images} images with {rows} rows each …"))?;
    let subject = Subject::make(images, rows)?;
    // What making it left to be written is not the first run's to wait for.
    rustix::fs::sync();
    Ok(subject)
}

/// A median with the shortest before it.
fn both(times: &Times) -> String {
    format!("{:.0} / {:.0}", ms(times.best()), ms(times.median()))
}

fn verdict(found: f64, bound: f64) -> &'static str {
    if found <= bound { "within" } else { "ABOVE" }
}

fn nothing(report: &mut String, options: &Options) -> Result<()> {
    let subject = make(options.images, 3)?;
    say("its first run …")?;
    let (first, _) = subject.replace(false)?;
    say("nothing to do, and the floor …")?;
    subject.floor("stat", false)?;
    subject.nothing(false)?;
    let (mut floor, mut nothing) = (Times::default(), Times::default());
    for _ in 0..options.repeat {
        floor.0.push(subject.floor("stat", false)?.0);
        nothing.0.push(subject.nothing(false)?.0);
    }
    let memory = subject.nothing(true)?.1;
    let (found, least) = (ms(nothing.median()), ms(floor.median()));
    writeln!(report, "## Nothing to do, {} images of 3 rows\n", options.images)?;
    writeln!(report, "| | ms, best / median |\n| --- | ---: |")?;
    writeln!(report, "| floor: stat each input, read each marker, provenance columns | {} |", both(&floor))?;
    writeln!(report, "| nothing to do | {} |", both(&nothing))?;
    writeln!(report, "| the first run, which does every image | {:.0} |\n", ms(first))?;
    writeln!(
        report,
        "Nothing to do takes {:.2} × the floor; {} 2 ×. Peak memory {:.0} MiB.\n",
        found / least,
        verdict(found, 2.0 * least),
        memory as f64 / 1024.0
    )?;
    Ok(())
}

fn table(report: &mut String, options: &Options) -> Result<()> {
    let subject = make(options.table_images, options.table_rows)?;
    say("its first run …")?;
    subject.replace(false)?;
    say("one stale image in a large table, and copying its file …")?;
    subject.nothing(false)?;
    let (mut copy, mut nothing, mut one) = (Times::default(), Times::default(), Times::default());
    for change in 0..options.repeat {
        copy.0.push(subject.copy_table()?);
        nothing.0.push(subject.nothing(false)?.0);
        subject.edit(change as u64)?;
        one.0.push(subject.one(false)?.0);
    }
    subject.edit(options.repeat as u64)?;
    let memory = subject.one(true)?.1;
    let bytes = std::fs::metadata(subject.table())?.len();
    let more = one.median().saturating_sub(nothing.median());
    let (found, least) = (ms(more), ms(copy.median()));
    let rows = options.table_images * options.table_rows;
    writeln!(report, "## One stale image in a table of {rows} rows ({:.0} MB)\n", bytes as f64 / 1e6)?;
    writeln!(report, "| | ms, best / median |\n| --- | ---: |")?;
    writeln!(report, "| copying the file: read, write, fsync | {} |", both(&copy))?;
    writeln!(report, "| nothing to do | {} |", both(&nothing))?;
    writeln!(report, "| one stale image | {} |\n", both(&one))?;
    writeln!(
        report,
        "One stale image, less nothing to do, takes {found:.0} ms: {:.2} × copying; {} 2 ×. Peak memory of program and \
         workers {:.0} MiB; {} 300 MiB.\n",
        found / least,
        verdict(found, 2.0 * least),
        memory as f64 / 1024.0,
        verdict(memory as f64, 300.0 * 1024.0)
    )?;
    Ok(())
}

/// A long run, which takes its time over each image. Each is the first over a dataset of its own: files that
/// replace others cost times that scatter.
fn checkpoints(report: &mut String, options: &Options) -> Result<()> {
    let (mut with, mut without) = (Times::default(), Times::default());
    let (mut share, mut commits) = (0f64, 0);
    for _ in 0..options.repeat.div_ceil(2) {
        for (interval, times) in [("1000000", &mut without), ("1", &mut with)] {
            let subject = Subject::make_slow(options.worker_images, 4, 100)?;
            rustix::fs::sync();
            say("a run with checkpoints, and one without …")?;
            let (time, _, document) = subject.document(&["--checkpoint", interval], false)?;
            let told = |name: &str| document.get(name).and_then(serde_json::Value::as_f64);
            let spent = told("checkpoint_sec").ok_or("the run does not tell its checkpoints")?;
            share = share.max(spent / time.as_secs_f64());
            commits = commits.max(told("commits").unwrap_or_default() as u64);
            times.0.push(time);
        }
    }
    let (found, least) = (ms(with.best()), ms(without.best()));
    writeln!(report, "## Checkpoints, {} images of 100 rows, 4 ms each\n", options.worker_images)?;
    writeln!(report, "| | ms, best / median |\n| --- | ---: |")?;
    writeln!(report, "| one commit, at the end | {} |", both(&without))?;
    writeln!(
        report,
        "| at least a second apart, and 19 times what the last took ({commits} commits) | {} |\n",
        both(&with)
    )?;
    writeln!(
        report,
        "Checkpoints took {:.1} % of the run (at most, of all runs); {} 5 %. With them it took {:.3} × the time (best of \
         each).\n",
        share * 100.0,
        verdict(share, 0.05),
        found / least
    )?;
    Ok(())
}

/// Each run is the first over a dataset of its own, as with [`checkpoints`].
fn workers(report: &mut String, options: &Options) -> Result<()> {
    let (mut workers, mut inside) = (Times::default(), Times::default());
    for _ in 0..options.repeat.min(3) {
        for (args, times) in [(&[][..], &mut workers), (&["--in-process"][..], &mut inside)] {
            let subject = make(options.worker_images, 3)?;
            say("workers, and in-process …")?;
            times.0.push(subject.replace_with(args, false)?.0);
        }
    }
    writeln!(report, "## Workers against in-process, first run of {} images of 3 rows\n", options.worker_images)?;
    writeln!(report, "| | ms, best / median |\n| --- | ---: |")?;
    writeln!(report, "| worker processes | {} |", both(&workers))?;
    writeln!(report, "| in the host's process | {} |\n", both(&inside))?;
    writeln!(report, "Workers take {:.2} × the time (best of each).\n", ms(workers.best()) / ms(inside.best()))?;
    Ok(())
}
