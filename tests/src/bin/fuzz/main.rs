//! `kymhost-fuzz [--seconds N] [--inputs N] [--seed N] [--target NAME] [--findings FOLDER]`: damages what kymhost
//! reads, and reads it. It ends after so many seconds or inputs, whichever comes first; without either after a minute.
//!
//! Each input is a valid file with a few changes: of a dataset, of a folder of recordings, of a library's card, of a
//! lock file, or a JSON or CSV text. The host's own functions read it in this process, which must neither panic nor
//! take more than 512 MiB. Now and then the built program runs over a damaged dataset; it must end with a documented
//! exit code. An input that breaks a rule is kept in the folder of findings, and the program ends with 1. An
//! input that ends the process is there as well, as `current`.
//!
//! The same seed gives the same inputs, as long as the templates stay as they are.

mod damage;
mod targets;
mod template;

use peak_alloc::PeakAlloc;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use targets::{Input, Target};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What the host may hold for one input.
const MAX_BYTES: usize = 512 << 20;

struct Options {
    seconds: Option<u64>,
    inputs: Option<usize>,
    seed: u64,
    target: Option<String>,
    findings: PathBuf,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        seconds: None,
        inputs: None,
        seed: fastrand::u64(..),
        target: None,
        findings: PathBuf::from("fuzz-findings"),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--seconds" => options.seconds = Some(value.parse()?),
            "--inputs" => options.inputs = Some(value.parse()?),
            "--seed" => options.seed = value.parse()?,
            "--target" => options.target = Some(value),
            "--findings" => options.findings = PathBuf::from(value),
            _ => return Err(format!("unknown option {word}").into()),
        }
    }
    Ok(options)
}

/// What was wrong with how an input was read.
fn fault_of(target: &mut dyn Target, input: &Input) -> Option<String> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = catch_unwind(AssertUnwindSafe(|| target.read(input)));
    let taken = MEMORY.peak_usage().saturating_sub(before);
    match result {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("a panic: {}", text.unwrap_or_default()))
        }
        Ok(Err(why)) => Some(why),
        Ok(Ok(())) if taken > MAX_BYTES => Some(format!("it took {} MiB", taken >> 20)),
        Ok(Ok(())) => None,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    fs::create_dir_all(&options.findings)?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut targets = targets::all()?;
    if let Some(name) = &options.target {
        targets.retain(|target| target.name() == name);
    }
    if targets.is_empty() {
        return Err("there is no such target".into());
    }
    let mut out = std::io::stdout();
    writeln!(out, "seed {}", options.seed)?;
    let seconds = options.seconds.or(options.inputs.is_none().then_some(60));
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let current = options.findings.join("current");
    let mut counts = vec![(0_u64, 0_u64); targets.len()];
    let mut turn = 0_usize;
    while end.is_none_or(|end| Instant::now() < end) && options.inputs.is_none_or(|inputs| turn < inputs) {
        let place = turn % targets.len();
        turn += 1;
        let (target, count) = (&mut targets[place], &mut counts[place]);
        let input = target.next(&mut random);
        fs::write(&current, &input.bytes)?;
        count.0 += 1;
        if let Some(fault) = fault_of(target.as_mut(), &input) {
            count.1 += 1;
            let kept = options.findings.join(format!("{}-{turn}", target.name()));
            fs::write(&kept, &input.bytes)?;
            writeln!(out, "{}: {}: {fault}; kept as {}", target.name(), input.file, kept.display())?;
        }
        target.restore(&input);
    }
    let _ = fs::remove_file(&current);
    let mut found = 0;
    for (target, (inputs, faults)) in targets.iter().zip(&counts) {
        writeln!(out, "{:12} {inputs:>9} inputs, {faults} faults", target.name())?;
        found += faults;
    }
    if found > 0 {
        return Err(format!("{found} inputs break a rule").into());
    }
    Ok(())
}
