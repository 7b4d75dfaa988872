//! Synthetic kymographs of red blood cells in a vessel: dark streaks on a bright ground, with stalls, and the truth about them.
//! Owns: their making, from a fixed seed. Never: runs anything.

use crate::dataset::{Dataset, DatasetError, Record};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::Array;
use std::sync::Arc;

/// How many there are.
pub const COUNT: usize = 6;
/// Line scans of each.
pub const LINES: usize = 3000;
/// Pixels of a line.
pub const PIXELS: usize = 128;

const SECONDS_PER_LINE: f64 = 0.001;
const UM_PER_PIXEL: f64 = 0.5;
/// The cells' pattern repeats after so many pixels.
const PATTERN: usize = 4096;
/// In so many lines the flow stops or starts.
const RAMP_LINES: f64 = 25.0;
/// When the first was recorded: 2025-07-22 14:00, one more every 2 minutes.
const FIRST_RECORDED_NS: i64 = 1_753_192_800_000_000_000;

/// One image with all that is known of it.
#[derive(Debug, Clone)]
pub struct Kymograph {
    /// The same for the same number, on every machine.
    pub image_id: String,
    /// `uint16`, axes `y x`: lines by pixels.
    pub pixels: Array,
    /// The metadata payload.
    pub metadata: Json,
    /// What its events were found with.
    pub params: Json,
    /// Its stalls as events, one row each.
    pub events: RecordBatch,
}

/// A flow that stops now and then.
struct Flow {
    /// mm/s, positive towards higher pixels.
    speed: f64,
    /// First line of each stall and the line after its last one.
    stalls: Vec<(usize, usize)>,
}

/// How many stalls each image has: one has none, and so no rows.
const STALLS: [usize; COUNT] = [2, 1, 3, 0, 2, 1];

/// The id of the kymograph of this number.
pub fn image_id(number: usize) -> String {
    uuid::Builder::from_random_bytes(Random::new(!(number as u64)).bytes()).into_uuid().to_string()
}

/// The kymograph of this number; those from [`COUNT`] on begin the stalls' pattern anew.
///
/// # Errors
/// None that a user could cause.
pub fn kymograph(number: usize) -> Result<Kymograph, DatasetError> {
    let image_id = image_id(number);
    let mut random = Random::new(number as u64);
    let flow = flow(&mut random, STALLS[number % COUNT]);
    let broken = |why: String| DatasetError::Unwritable { key: format!("images/{image_id}"), why };
    let axes = vec!["y".to_owned(), "x".to_owned()];
    let pixels = Array::from_elements(&pixels(&mut random, &flow), vec![LINES, PIXELS], axes)
        .map_err(|error| broken(error.to_string()))?;
    let events = events(&flow).map_err(|error| broken(error.to_string()))?;
    Ok(Kymograph { image_id, pixels, metadata: metadata(number), params: params(0.25), events })
}

/// Adds it to a dataset, with its artifacts.
///
/// # Errors
/// What the dataset says.
pub fn add(dataset: &Dataset, kymograph: &Kymograph) -> Result<Record, DatasetError> {
    let record = dataset.add_image(Some(&kymograph.image_id), &kymograph.pixels, None)?;
    record.put_json("metadata", &kymograph.metadata)?;
    record.put_json("velocity_events/params", &kymograph.params)?;
    record.put_parquet("velocity_events/events", &kymograph.events)?;
    Ok(record)
}

/// The params of an event search that takes changes of at least `floor` mm/s.
pub fn params(floor: f64) -> Json {
    Json::object([(
        "baseline_drop",
        Json::object([
            ("win_cmp_sec", Json::from(0.25)),
            ("smooth_sec", Json::from(0.1)),
            ("mad_k", Json::from(3.0)),
            ("abs_score_floor", Json::from(floor)),
        ]),
    )])
}

fn metadata(number: usize) -> Json {
    let roi = Json::object([
        ("roi_id", Json::from(1)),
        ("roi_type", Json::from("rect")),
        ("version", Json::from("1.0")),
        ("name", Json::from("vessel")),
        ("note", Json::from("")),
        ("channel", Json::from(1)),
        ("z", Json::from(0)),
        (
            "data",
            Json::object([
                ("x0", Json::from(0)),
                ("x1", Json::from(PIXELS)),
                ("y0", Json::from(0)),
                ("y1", Json::from(LINES)),
            ]),
        ),
        ("meta", Json::object([("", Json::Null); 0])),
    ]);
    let header = Json::object([
        ("shape", Json::from(vec![LINES, PIXELS])),
        ("ndim", Json::from(2)),
        ("voxels", Json::from(vec![SECONDS_PER_LINE, UM_PER_PIXEL])),
        ("voxels_units", Json::from(vec!["s", "um"])),
        ("labels", Json::from(vec!["time (s)", "space (um)"])),
        ("physical_size", Json::from(vec![LINES as f64 * SECONDS_PER_LINE, PIXELS as f64 * UM_PER_PIXEL])),
        ("acquired_local_epoch_ns", Json::from(FIRST_RECORDED_NS + 120_000_000_000 * number as i64)),
    ]);
    let experiment = Json::object([("note", Json::from("synthetic, made by `kymhost demo`"))]);
    Json::object([
        ("version", Json::from("2.0")),
        ("header", header),
        ("experiment_metadata", experiment),
        ("rois", Json::from(vec![roi])),
    ])
}

/// Stalls stand one in each of as many equal parts of the recording, none near its ends.
fn flow(random: &mut Random, n_stalls: usize) -> Flow {
    let direction = if random.unit() < 0.5 { -1.0 } else { 1.0 };
    let speed = direction * (0.5 + 0.7 * random.unit());
    let part = LINES / n_stalls.max(1);
    let stalls = (0..n_stalls).map(|index| {
        let length = 200.0 + 200.0 * random.unit();
        let room = part as f64 - length - 240.0;
        let start = (index * part) as f64 + 120.0 + room * random.unit();
        (start as usize, (start + length) as usize)
    });
    Flow { speed, stalls: stalls.collect() }
}

impl Flow {
    /// The velocity at a line, in mm/s: a pulse, less and less near a stall, none within.
    fn velocity(&self, line: usize) -> f64 {
        let seconds = line as f64 * SECONDS_PER_LINE;
        let pulse = 1.0 + 0.2 * (std::f64::consts::TAU * 2.5 * seconds).sin();
        let open = self.stalls.iter().map(|&(start, end)| {
            let away = if line < start { start - line } else { (line + 1).saturating_sub(end) };
            (away as f64 / RAMP_LINES).min(1.0)
        });
        self.speed * pulse * open.fold(1.0, f64::min)
    }
}

/// One texture, moved along by the flow: streaks slope with the velocity and stand upright in a stall.
fn pixels(random: &mut Random, flow: &Flow) -> Vec<u16> {
    let texture = texture(random);
    let pixels_per_mm_s = 1000.0 * SECONDS_PER_LINE / UM_PER_PIXEL;
    let mut moved = 0.0;
    let mut out = Vec::with_capacity(LINES * PIXELS);
    for line in 0..LINES {
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
            let light = 900.0 + (1400.0 + 900.0 * middle) * (1.0 - 0.7 * dark);
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

fn events(flow: &Flow) -> Result<RecordBatch, ArrowError> {
    let stalls = &flow.stalls;
    let seconds = |line: usize| line as f64 * SECONDS_PER_LINE;
    let speed = flow.speed.abs();
    let floats = |value: &dyn Fn(&(usize, usize)) -> f64| -> ArrayRef {
        Arc::new(stalls.iter().map(|stall| Some(value(stall))).collect::<Float64Array>())
    };
    let ints = |value: &dyn Fn(&(usize, usize)) -> usize| -> ArrayRef {
        Arc::new(stalls.iter().map(|stall| Some(value(stall) as i64)).collect::<Int64Array>())
    };
    let texts = |value: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new((0..stalls.len()).map(|index| Some(value(index))).collect::<StringArray>())
    };
    RecordBatch::try_from_iter_with_nullable([
        ("roi_id", ints(&|_| 1), true),
        ("event_id", texts(&|index| format!("1-{index}")), true),
        ("t_start_s", floats(&|stall| seconds(stall.0)), true),
        ("t_end_s", floats(&|stall| seconds(stall.1 - 1)), true),
        ("peak_t_s", floats(&|stall| seconds(stall.0)), true),
        ("peak_value", floats(&|_| -speed), true),
        ("score", floats(&|_| speed / 0.25), true),
        ("event_type", texts(&|_| "baseline_drop".to_owned()), true),
        ("machine_type", texts(&|_| "stall_candidate".to_owned()), true),
        ("i_start", ints(&|stall| stall.0), true),
        ("i_peak", ints(&|stall| stall.0), true),
        ("i_end", ints(&|stall| stall.1 - 1), true),
        ("baseline_before", floats(&|_| speed), true),
        ("baseline_after", floats(&|_| 0.0), true),
        ("duration_sec", floats(&|stall| seconds(stall.1 - 1) - seconds(stall.0)), true),
    ])
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

    fn bytes(&mut self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next())).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    /// The shift between two lines at which they are most alike, in pixels a line.
    fn slope(pixels: &[u16], line: usize, apart: usize) -> f64 {
        let row = |line: usize| &pixels[line * PIXELS..(line + 1) * PIXELS];
        let (a, b) = (row(line), row(line + apart));
        let difference = |shift: i32| {
            let pairs = (0..PIXELS as i32).filter_map(|x| Some((a.get(x as usize)?, b.get((x + shift) as usize)?)));
            let (sum, count) = pairs
                .fold((0.0, 0.0), |(sum, count), (&a, &b)| (sum + (f64::from(a) - f64::from(b)).powi(2), count + 1.0));
            sum / count
        };
        let best = (-20..=20).min_by(|&x, &y| difference(x).total_cmp(&difference(y))).unwrap();
        f64::from(best) / apart as f64
    }

    #[test]
    fn streaks_have_the_slope_of_the_flow_and_stand_upright_in_stalls() {
        let mut random = Random::new(7);
        let flow = Flow { speed: 0.8, stalls: vec![(1000, 1400)] };
        let pixels = pixels(&mut random, &flow);
        for line in [1100, 1200, 1300] {
            assert_eq!(slope(&pixels, line, 8), 0.0, "line {line}");
        }
        for line in [200, 500, 800, 2000] {
            let expected = (0..8).map(|after| flow.velocity(line + 1 + after) * 2.0).sum::<f64>() / 8.0;
            assert!((slope(&pixels, line, 8) - expected).abs() < 0.2, "line {line}: not {expected}");
        }
    }

    #[test]
    fn the_events_are_the_stalls() {
        for (number, stalls) in STALLS.into_iter().enumerate() {
            let kymograph = kymograph(number).unwrap();
            assert_eq!(kymograph.events.num_rows(), stalls);
            let column = |name: &str| {
                kymograph.events.column_by_name(name).unwrap().as_primitive::<Float64Type>().values().to_vec()
            };
            let (starts, ends) = (column("t_start_s"), column("t_end_s"));
            let ordered: Vec<f64> = starts.iter().zip(&ends).flat_map(|(&start, &end)| [start, end]).collect();
            assert!(ordered.is_sorted() && ordered.iter().all(|t| (0.0..3.0).contains(t)), "{ordered:?}");
        }
    }

    #[test]
    fn the_same_number_gives_the_same_image() {
        let (first, again, other) = (kymograph(0).unwrap(), kymograph(0).unwrap(), kymograph(1).unwrap());
        assert_eq!((&first.image_id, &first.pixels), (&again.image_id, &again.pixels));
        assert_ne!(first.image_id, other.image_id);
        assert_eq!(first.pixels.shape(), [LINES, PIXELS]);
    }
}
