//! Synthetic line scans of red blood cells in a vessel: dark streaks on a bright ground, with stalls, and the truth about them.
//! They are made from a fixed seed. This file must not run anything, and must not write the truth to a file.
//!
//! The flow moves one texture along the line, so that streaks slope with the velocity and are upright in a stall. The speed
//! pulses, light has shot noise, the middle of the vessel is brighter, and once a flash brightens two whole lines. Such lines are
//! common in real recordings. Their windows have no slope (90°), and the method's rule for outliers needs them: without any, it
//! takes short stalls for outliers (`docs/guides/analyses.md`).

use super::truth::{Line, Phase, Truth};
use kymhost_plugin_api::array::Array;
use kymhost_plugin_api::{Error, Json};

/// The number of recordings.
pub const COUNT: usize = 6;
/// The number of lines of each.
pub const LINES: usize = 5000;
/// The number of pixels of a line.
pub const PIXELS: usize = 48;
/// From line to line.
pub const SECONDS_PER_LINE: f64 = 0.001;
/// From pixel to pixel.
pub const UM_PER_PIXEL: f64 = 0.5;

/// The number of lines of the replacement.
const LINES_AGAIN: usize = 6000;
/// The number of pixels after which the pattern of cells repeats.
const PATTERN: usize = 4096;
/// The number of lines in which the flow stops or starts.
const RAMP_LINES: f64 = 25.0;
/// The pulse: its part of the speed, and how often a second.
const PULSE: (f64, f64) = (0.15, 2.5);
/// When the first was recorded: 2025-07-22 14:00, one more every 2 minutes.
const FIRST_RECORDED_NS: i64 = 1_753_192_800_000_000_000;
/// The note that marks an image as made by a demo.
const NOTE: &str = "synthetic, made by `kymhost demo`";

/// One recording with everything that is known about it.
#[derive(Debug, Clone)]
pub struct Kymograph {
    /// The file's name without its extension.
    pub name: String,
    /// `uint16`, axes `y x`: lines by pixels.
    pub pixels: Array,
    /// The JSON next to the TIFF: scale and time, nothing about the flow.
    pub metadata: Json,
    /// The truth. No file holds it.
    pub truth: Truth,
}

/// A flow that stops now and then.
struct Flow {
    /// mm/s, positive towards higher pixels.
    speed: f64,
    /// First line of each stall and the line after its last one.
    stalls: Vec<(usize, usize)>,
}

/// How many stalls each recording has.
const STALLS: [usize; COUNT] = [2, 1, 3, 0, 2, 1];

/// The name of the recording of this number, the same always.
pub fn name(number: usize) -> String {
    format!("vessel-{}", number + 1)
}

/// The recording of this number, below [`COUNT`].
///
/// # Errors
/// None that a user could cause.
pub fn kymograph(number: usize) -> Result<Kymograph, Error> {
    let mut random = Random::new(number as u64);
    let stalls = STALLS.get(number).copied().unwrap_or_default();
    let flow = flow(&mut random, LINES, stalls);
    recorded(number, &mut random, &flow, LINES)
}

/// The same vessel at another time: longer, with one stall, and the blood flows the other way.
///
/// # Errors
/// None that a user could cause.
pub fn again(number: usize) -> Result<Kymograph, Error> {
    let before = flow(&mut Random::new(number as u64), LINES, 0).speed;
    let mut random = Random::new((COUNT + number) as u64);
    let flow = Flow { speed: -before, ..flow(&mut random, LINES_AGAIN, 1) };
    recorded(number, &mut random, &flow, LINES_AGAIN)
}

/// Whether metadata belong to a recording that a demo made.
pub fn is_ours(metadata: &Json) -> bool {
    let note = metadata.get("experiment_metadata").and_then(|experiment| experiment.get("note"));
    note.and_then(Json::as_str) == Some(NOTE)
}

fn recorded(number: usize, random: &mut Random, flow: &Flow, lines: usize) -> Result<Kymograph, Error> {
    let axes = vec!["y".to_owned(), "x".to_owned()];
    let pixels = Array::from_elements(&pixels(random, flow, lines), vec![lines, PIXELS], axes)?;
    Ok(Kymograph { name: name(number), pixels, metadata: metadata(number), truth: flow.truth(lines) })
}

/// The JSON next to the TIFF, in kymflow's form.
fn metadata(number: usize) -> Json {
    let header = Json::object([
        ("voxels", Json::from(vec![SECONDS_PER_LINE, UM_PER_PIXEL])),
        ("voxels_units", Json::from(vec!["s", "um"])),
        ("acquired_local_epoch_ns", Json::from(FIRST_RECORDED_NS + 120_000_000_000 * number as i64)),
    ]);
    Json::object([("header", header), ("experiment_metadata", Json::object([("note", Json::from(NOTE))]))])
}

/// The recording is divided into equal parts, and each has one stall in its middle.
fn flow(random: &mut Random, lines: usize, n_stalls: usize) -> Flow {
    let direction = if random.unit() < 0.5 { -1.0 } else { 1.0 };
    let speed = direction * (0.7 + 0.8 * random.unit());
    let part = lines / n_stalls.max(1);
    let stalls = (0..n_stalls).map(|index| {
        let length = 200.0 + 200.0 * random.unit();
        let room = part as f64 - length - 240.0;
        let start = (index * part) as f64 + 120.0 + room * random.unit();
        (start as usize, (start + length) as usize)
    });
    Flow { speed, stalls: stalls.collect() }
}

impl Flow {
    /// How much of the flow goes on at a line: less and less near a stall, nothing within.
    fn open(&self, line: usize) -> f64 {
        let open = self.stalls.iter().map(|&(start, end)| {
            let away = if line < start { start - line } else { (line + 1).saturating_sub(end) };
            (away as f64 / RAMP_LINES).min(1.0)
        });
        open.fold(1.0, f64::min)
    }

    /// The velocity at a line, in mm/s.
    fn velocity(&self, line: usize) -> f64 {
        let seconds = line as f64 * SECONDS_PER_LINE;
        let (part, per_sec) = PULSE;
        self.speed * (1.0 + part * (std::f64::consts::TAU * per_sec * seconds).sin()) * self.open(line)
    }

    fn truth(&self, lines: usize) -> Truth {
        let line = |line: usize| {
            let open = self.open(line);
            let phase = match open {
                _ if open >= 1.0 => Phase::Flowing,
                _ if open > 0.0 => Phase::Changing,
                _ => Phase::Stalled,
            };
            Line { velocity_mm_s: self.velocity(line), phase }
        };
        Truth { seconds_per_line: SECONDS_PER_LINE, lines: (0..lines).map(line).collect() }
    }
}

/// One texture, moved along by the flow: streaks slope with the velocity and stand upright in a stall.
fn pixels(random: &mut Random, flow: &Flow, lines: usize) -> Vec<u16> {
    let texture = texture(random);
    // Before the first stall.
    let flash = 40 + (30.0 * random.unit()) as usize;
    let pixels_per_mm_s = 1000.0 * SECONDS_PER_LINE / UM_PER_PIXEL;
    let mut moved = 0.0;
    let mut out = Vec::with_capacity(lines * PIXELS);
    for line in 0..lines {
        let flashed = if (flash..flash + 2).contains(&line) { 1500.0 } else { 0.0 };
        moved += flow.velocity(line) * pixels_per_mm_s;
        let shift: f64 = -moved;
        let whole = shift.floor();
        let fraction = shift - whole;
        let first = whole.rem_euclid(PATTERN as f64) as usize;
        for pixel in 0..PIXELS {
            let here = texture[(first + pixel) % PATTERN];
            let next = texture[(first + pixel + 1) % PATTERN];
            let dark = here + (next - here) * fraction;
            // Brighter in the middle of the line, as a vessel that leaves the focus at both ends.
            let middle = (std::f64::consts::PI * (pixel as f64 + 0.5) / PIXELS as f64).sin();
            let light = 900.0 + flashed + (1400.0 + 900.0 * middle) * (1.0 - 0.7 * dark);
            let noisy = light + 2.2 * light.sqrt() * random.normal();
            out.push(noisy.round().clamp(0.0, 4095.0) as u16);
        }
    }
    out
}

/// How dark the vessel is along its length, 0 to 1: a cell every 9 to 31 pixels, each some 3 pixels to either side.
fn texture(random: &mut Random) -> Vec<f64> {
    let mut texture = vec![0.0_f64; PATTERN];
    let mut centre = 0.0;
    while centre < PATTERN as f64 {
        let (width, depth) = (2.0 + 1.5 * random.unit(), 0.6 + 0.4 * random.unit());
        for offset in -10_i32..=10 {
            let place = centre.floor() + f64::from(offset);
            let away = (place - centre) / width;
            let cell = depth * (-0.5 * away * away).exp();
            let place = place.rem_euclid(PATTERN as f64) as usize;
            texture[place] = texture[place].max(cell);
        }
        centre += 9.0 + 22.0 * random.unit();
    }
    texture
}

/// SplitMix64: small, and the same everywhere.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6b79_6d68_6f73_7431 }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to 1, 1 not included.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, deviation 1, near enough to normal: a sum of four.
    fn normal(&mut self) -> f64 {
        let bits = self.next();
        let sum: f64 = (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as f64 / 65_536.0).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far streaks move in a line, in pixels: the shift at which twenty lines and those `apart` after them are most alike.
    fn slope(pixels: &[u16], line: usize, apart: usize) -> f64 {
        let value = |line: usize, pixel: i32| f64::from(pixels[line * PIXELS + pixel as usize]);
        let difference = |shift: i32| {
            let within = shift.min(0).abs()..PIXELS as i32 - shift.max(0);
            let pairs = (line..line + 20).flat_map(|line| within.clone().map(move |pixel| (line, pixel)));
            let squares = pairs.map(|(line, pixel)| (value(line, pixel) - value(line + apart, pixel + shift)).powi(2));
            squares.sum::<f64>() / f64::from(within.end - within.start)
        };
        let best = (-20..=20).min_by(|&x, &y| difference(x).total_cmp(&difference(y))).unwrap();
        f64::from(best) / apart as f64
    }

    #[test]
    fn streaks_slope_with_flow_and_are_upright_in_stalls() {
        let mut random = Random::new(7);
        let flow = Flow { speed: 0.8, stalls: vec![(1000, 1400)] };
        let pixels = pixels(&mut random, &flow, LINES);
        for line in [1100, 1200, 1300] {
            assert_eq!(slope(&pixels, line, 8), 0.0, "line {line}");
        }
        for line in [200, 500, 800, 2000] {
            let expected = (0..27).map(|after| flow.velocity(line + 1 + after) * 2.0).sum::<f64>() / 27.0;
            assert!((slope(&pixels, line, 8) - expected).abs() < 0.2, "line {line}: not {expected}");
        }
    }

    #[test]
    fn truth_matches_pixels() {
        for (number, stalls) in STALLS.into_iter().enumerate() {
            let Kymograph { truth, pixels, .. } = kymograph(number).unwrap();
            assert_eq!((truth.lines.len(), pixels.shape()), (LINES, &[LINES, PIXELS][..]));
            assert_eq!(truth.stalls().len(), stalls, "{number}");
            let bounds: Vec<usize> = truth.stalls().into_iter().flat_map(|(start, end)| [start, end]).collect();
            assert!(bounds.is_sorted() && bounds.iter().all(|line| (100..LINES - 100).contains(line)), "{bounds:?}");
            for line in &truth.lines {
                assert_eq!(line.velocity_mm_s == 0.0, line.phase == Phase::Stalled);
            }
        }
        let (before, after) = (kymograph(0).unwrap(), again(0).unwrap());
        assert_eq!((&before.name, &before.metadata), (&after.name, &after.metadata));
        assert!(before.truth.lines[0].velocity_mm_s == -after.truth.lines[0].velocity_mm_s);
        assert_eq!((after.pixels.shape()[0], after.truth.stalls().len()), (LINES_AGAIN, 1));
    }

    #[test]
    fn kymograph_of_same_number_is_same() {
        let (first, again, other) = (kymograph(0).unwrap(), kymograph(0).unwrap(), kymograph(1).unwrap());
        assert_eq!((&first.name, &first.pixels, &first.truth), (&again.name, &again.pixels, &again.truth));
        assert!(first.name != other.name && first.pixels != other.pixels);
    }

    #[test]
    fn metadata_says_nothing_about_flow() {
        let text = |number| kymograph(number).unwrap().metadata.to_file_text().replace("1753192800", "1753192920");
        assert_eq!(text(0), text(1));
        assert!(is_ours(&metadata(3)) && !is_ours(&Json::Null));
    }
}
