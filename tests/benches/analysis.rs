//! What the analyses cost: `cargo bench -p kymhost-tests --bench analysis`.
//!
//! Three comparisons in one run: the Radon transform with scikit-image's, window for window, on one core; with
//! itself on more threads; the detection of events with medians by numpy. It judges no speed (it only fails on
//! errors and different results).
//!
//! `-- radon threads events` chooses among them (all by default); `--repeat N`, `--windows N` that Python does
//! (0: no Python). On one core processor time is measured, with threads time by the clock. `cargo bench
//! --profile dev …` tries it out on the unoptimised build.

use kymhost_analysis::radon::{self, Image, RadonParams, Velocities};
use kymhost_analysis::roi::{Roi, Voxels};
use kymhost_analysis::{Work, events};
use kymhost_tests::measure::{Result, Times, heading, say};
use kymhost_tests::python;
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// As the real recordings have.
const LINES: usize = 30_000;
const WIDTHS: [usize; 3] = [7, 19, 38];
const VOXELS: Voxels = Voxels { seconds_per_line: 0.00125, um_per_pixel: 0.45 };

fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(place)?;
    let python = if options.windows == 0 {
        say("no Python was asked for; nothing is compared with scikit-image and numpy")?;
        None
    } else {
        python::with_scikit_image(place)
    };
    let bench = Bench { options, folder: folder.path().to_path_buf(), python };
    let mut report = String::new();
    heading(&mut report, place)?;
    if bench.options.has("radon") {
        bench.radon(&mut report)?;
    }
    if bench.options.has("threads") {
        bench.threads(&mut report)?;
    }
    if bench.options.has("events") {
        bench.events(&mut report)?;
    }
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

struct Options {
    which: Vec<String>,
    lines: usize,
    /// Samples of the long trace.
    samples: usize,
    repeat: usize,
    /// Windows that Python does of each recording.
    windows: usize,
}

impl Options {
    const ALL: [&'static str; 3] = ["radon", "threads", "events"];

    fn read(mut args: impl Iterator<Item = String>) -> Result<Self> {
        // What cargo says when it benches; when it tests all targets it says nothing.
        let mut options = Self { which: Vec::new(), lines: 400, samples: 2_000, repeat: 1, windows: 0 };
        let (mut repeat, mut windows) = (None, None);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {
                    (options.lines, options.samples) = (LINES, 1_000_000);
                    (options.repeat, options.windows) = (5, 200);
                }
                "--repeat" => repeat = Some(value()?.parse()?),
                "--windows" => windows = Some(value()?.parse()?),
                which if Self::ALL.contains(&which) => options.which.push(which.to_owned()),
                other => {
                    let all = Self::ALL;
                    return Err(format!("unknown argument {other}; there are {all:?}, --repeat, --windows").into());
                }
            }
        }
        options.repeat = repeat.unwrap_or(options.repeat);
        options.windows = windows.unwrap_or(options.windows);
        Ok(options)
    }

    fn has(&self, which: &str) -> bool {
        self.which.is_empty() || self.which.iter().any(|chosen| chosen == which)
    }
}

struct Bench {
    options: Options,
    folder: PathBuf,
    python: Option<PathBuf>,
}

impl Bench {
    fn radon(&self, report: &mut String) -> Result<()> {
        writeln!(
            report,
            "## Radon transform, one core, {} lines, µs of processor time a window\n",
            self.options.lines
        )?;
        writeln!(report, "| pixels | best / median of {} | scikit-image | ratio |", self.options.repeat)?;
        writeln!(report, "| ---: | ---: | ---: | ---: |")?;
        for width in WIDTHS {
            say(&format!("Radon transform of {width} pixels …"))?;
            let pixels = streaks(self.options.lines, width);
            let mut times = Times::default();
            let mut found = Velocities::default();
            for _ in 0..self.options.repeat {
                let begun = processor_time();
                found = velocities(&pixels, width, 1)?;
                times.0.push(processor_time().saturating_sub(begun));
            }
            let each = |time: Duration| time.as_secs_f64() * 1e6 / found.len() as f64;
            let (best, median) = (each(times.best()), each(times.median()));
            write!(report, "| {width} | {best:.1} / {median:.1} |")?;
            match self.scikit_image(&pixels, width, &found)? {
                Some(theirs) => writeln!(report, " {theirs:.0} | {:.0} |", theirs / median)?,
                None => writeln!(report, " not measured | |")?,
            }
        }
        writeln!(report)?;
        Ok(())
    }

    /// Microseconds a window, where there is a Python; its angles must be ours.
    fn scikit_image(&self, pixels: &[f32], width: usize, ours: &Velocities) -> Result<Option<f64>> {
        let Some(python) = &self.python else { return Ok(None) };
        say(&format!("scikit-image, {} windows …", self.options.windows))?;
        let file = self.folder.join("pixels.f32");
        fs::write(&file, pixels.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        let numbers = [pixels.len() / width, width, self.options.windows];
        let (lines, seconds) = script(python, "radon", &file, &numbers)?;
        let mut off = 0;
        for line in &lines {
            let (window, angle) = line.split_once(' ').ok_or_else(|| format!("no window and angle in '{line}'"))?;
            let (ours, theirs): (f64, f64) = (ours.theta_deg[window.parse::<usize>()?], angle.parse()?);
            if (ours - theirs).abs() > 0.25 {
                return Err(format!("window {window}: {ours}°, scikit-image {theirs}°").into());
            }
            off += usize::from(ours != theirs);
        }
        // Few windows: one in a thousand is one.
        if off > 1 + lines.len() / 1000 {
            return Err(format!("{off} of {} angles are other than scikit-image's", lines.len()).into());
        }
        Ok(Some(seconds * 1e6))
    }

    fn threads(&self, report: &mut String) -> Result<()> {
        let width = WIDTHS[1];
        let pixels = streaks(self.options.lines, width);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let counts: Vec<usize> =
            (0..).map(|power| 1 << power).take_while(|count| *count < cores).chain([cores]).collect();
        say(&format!("Radon transform with {counts:?} threads …"))?;
        let mut times: Vec<Times> = counts.iter().map(|_| Times::default()).collect();
        let mut first = None;
        for _ in 0..self.options.repeat {
            for (count, times) in counts.iter().zip(&mut times) {
                let begun = Instant::now();
                let found = velocities(&pixels, width, *count)?;
                times.0.push(begun.elapsed());
                let bits: Vec<u64> = found.velocity_mm_s.iter().map(|value| value.to_bits()).collect();
                if first.get_or_insert_with(|| bits.clone()) != &bits {
                    return Err(format!("{count} threads give other velocities").into());
                }
            }
        }
        writeln!(
            report,
            "## Radon transform, {} lines of {width} pixels, {cores} cores, ms by the clock\n",
            self.options.lines
        )?;
        writeln!(report, "| threads | best / median of {} | times as fast as one |", self.options.repeat)?;
        writeln!(report, "| ---: | ---: | ---: |")?;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let alone = times.first().map_or(0.0, |times| ms(times.best()));
        for (count, times) in counts.iter().zip(&times) {
            let (best, median) = (ms(times.best()), ms(times.median()));
            writeln!(report, "| {count} | {best:.0} / {median:.0} | {:.2} |", alone / best)?;
        }
        writeln!(report)?;
        Ok(())
    }

    fn events(&self, report: &mut String) -> Result<()> {
        say("events …")?;
        let recording = velocities(&streaks(self.options.lines, WIDTHS[1]), WIDTHS[1], 2)?;
        let (times, speeds) = trace(self.options.samples);
        let traces = [
            ("velocities of a recording", &recording.time_sec, &recording.velocity_mm_s),
            ("a long trace with stalls and gaps", &times, &speeds),
        ];
        writeln!(report, "## Events, default params, one core, µs of processor time a sample\n")?;
        writeln!(report, "| trace | samples | events | best / median of {} | |", self.options.repeat)?;
        writeln!(report, "| --- | ---: | ---: | ---: | --- |")?;
        for (name, times, velocities) in traces {
            // Short ones several times, for the clock's sake.
            let rounds = (200_000 / times.len().max(1)).max(1);
            let (mut measured, mut count) = (Times::default(), 0);
            for _ in 0..self.options.repeat {
                let begun = processor_time();
                for _ in 0..rounds {
                    count = events::detect(times, velocities, &events::EventParams::default())?.events.len();
                }
                measured.0.push(processor_time().saturating_sub(begun) / u32::try_from(rounds)?);
            }
            let each = |time: Duration| time.as_secs_f64() * 1e6 / times.len() as f64;
            let (best, median) = (each(measured.best()), each(measured.median()));
            let verdict = if median <= 0.6 { "within 0.6" } else { "MORE THAN 0.6" };
            writeln!(report, "| {name} | {} | {count} | {best:.3} / {median:.3} | {verdict} |", times.len())?;
        }
        writeln!(report)?;
        if let Some(python) = &self.python {
            let file = self.folder.join("speeds.f64");
            fs::write(&file, speeds.iter().flat_map(|value| value.abs().to_le_bytes()).collect::<Vec<u8>>())?;
            let samples = self.options.samples.min(5_000);
            let (_, seconds) = script(python, "events", &file, &[samples])?;
            let theirs = seconds * 1e6;
            writeln!(report, "The three medians of a sample alone, by numpy one by one: {theirs:.0} µs.\n")?;
        }
        Ok(())
    }
}

/// Runs `analysis.py`: what it printed, less its last line, and the seconds of that.
fn script(python: &Path, what: &str, file: &Path, numbers: &[usize]) -> Result<(Vec<String>, f64)> {
    let script = kymhost_tests::repository().join("tests/benches/analysis.py");
    let mut command = Command::new(python);
    command.arg(script).arg(what).arg(file).args(numbers.iter().map(usize::to_string));
    // On one core, as ours.
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"] {
        command.env(name, "1");
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(
            format!("{command:?} ended with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    let mut lines: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    let seconds = last.strip_prefix("seconds ").ok_or_else(|| format!("'{last}' is no time"))?;
    Ok((lines, seconds.parse()?))
}

/// What this process has used of the processors.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn velocities(pixels: &[f32], width: usize, threads: usize) -> Result<Velocities> {
    let lines = pixels.len() / width;
    let image = Image::new(pixels, lines, width)?;
    let (roi, work) = (Roi::whole(lines, width), Work::threads(threads));
    Ok(radon::velocities(&image, &roi, VOXELS, &RadonParams::default(), &work)?)
}

/// Noisy streaks whose speed wanders, as 12-bit counts.
fn streaks(lines: usize, width: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(7);
    let texture: Vec<f64> = (0..1 << 14).map(|_| random.f64()).collect();
    let mut place = 0.0_f64;
    let mut pixels = Vec::with_capacity(lines * width);
    for line in 0..lines {
        place += 1.2 + (line as f64 / 900.0).sin();
        for pixel in 0..width {
            let at = place + pixel as f64;
            let (first, part) = (at as usize % texture.len(), at.fract());
            let value = texture[first] * (1.0 - part) + texture[(first + 1) % texture.len()] * part;
            pixels.push((100.0 + 400.0 * value + 60.0 * random.f64()).round() as f32);
        }
    }
    pixels
}

/// A trace at 200 samples a second: speeds that wander, stalls, gaps, lone unknown samples.
fn trace(samples: usize) -> (Vec<f64>, Vec<f64>) {
    let mut random = fastrand::Rng::with_seed(9);
    let speed = |at: usize| {
        let noise = random.f64();
        match at % 5_000 {
            1_000..1_300 => 0.05 * noise,
            2_500..2_600 => f64::NAN,
            _ if noise < 0.02 => f64::NAN,
            _ => 1.5 + 0.3 * (at as f64 / 700.0).sin() + 0.2 * noise,
        }
    };
    ((0..samples).map(|at| at as f64 * 0.005).collect(), (0..samples).map(speed).collect())
}
