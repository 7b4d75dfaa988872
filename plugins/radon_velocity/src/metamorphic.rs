//! Relations between the results for transformed images, which hold for any pixels.

use super::*;
use kymhost_plugin_api::testing::{Outcome, Roi as RecordRoi, TestHost, TestRecord};
use proptest::prelude::*;

const SECONDS_PER_LINE: f64 = 0.001;
const UM_PER_PIXEL: f64 = 0.5;

/// Any pixels: streaks, noise, few grey values, or a blank image.
#[derive(Debug, Clone)]
struct Scan {
    pixels: Vec<u16>,
    lines: usize,
    width: usize,
}

impl Scan {
    /// A texture that moves by `pixels_per_line`, with up to `greys` of noise.
    fn moving(lines: usize, width: usize, pixels_per_line: f64, greys: u32, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let texture: Vec<f64> = (0..512).map(|_| 400.0 * random.f64()).collect();
        let mut value = |line: usize, pixel: usize| {
            let place = (pixel as f64 - pixels_per_line * line as f64).rem_euclid(512.0);
            let (at, part) = (place as usize, place.fract());
            let texture = texture[at % 512] * (1.0 - part) + texture[(at + 1) % 512] * part;
            (texture + f64::from(random.u32(0..=greys))).round() as u16
        };
        let pixels = (0..lines * width).map(|at| value(at / width, at % width)).collect();
        Self { pixels, lines, width }
    }

    fn record(&self) -> TestRecord {
        self.record_of(SECONDS_PER_LINE, UM_PER_PIXEL)
    }

    fn record_of(&self, seconds_per_line: f64, um_per_pixel: f64) -> TestRecord {
        TestRecord::new().pixels(&self.pixels, [self.lines, self.width]).voxels(seconds_per_line, um_per_pixel)
    }
}

/// A random image, in which noise or texture may dominate.
fn any_scan() -> impl Strategy<Value = Scan> {
    let greys = prop_oneof![Just(0_u32), Just(3), Just(60), Just(4000)];
    (4_usize..30, 2_usize..24, -3.0..3.0_f64, greys, any::<u64>())
        .prop_map(|(quarters, width, speed, greys, seed)| Scan::moving(4 * quarters, width, speed, greys, seed))
}

fn extract(record: &TestRecord) -> Outcome {
    TestHost::new(RadonVelocity).extract(record)
}

/// A column as float32, which is the precision of velocities.
fn singles(outcome: &Outcome, column: &str) -> Vec<Option<f32>> {
    outcome.table(VELOCITY).f64(column).into_iter().map(|value| value.map(|value| value as f32)).collect()
}

fn mean(outcome: &Outcome) -> f64 {
    outcome.rows().f64("vel_mean")[0].expect("a mean")
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(24))]

    /// Factors are powers of two, so that nothing is rounded.
    #[test]
    fn velocities_scale_with_voxels(scan in any_scan(), wide in -3..4_i32, slow in -3..4_i32) {
        let (wide, slow) = (2_f64.powi(wide), 2_f64.powi(slow));
        let base = extract(&scan.record());
        let found = extract(&scan.record_of(SECONDS_PER_LINE * slow, UM_PER_PIXEL * wide));
        prop_assert_eq!(found.table(VELOCITY).f64("theta_deg"), base.table(VELOCITY).f64("theta_deg"));
        let factor = (wide / slow) as f32;
        for column in ["velocity_raw", "velocity"] {
            let expected: Vec<Option<f32>> =
                singles(&base, column).into_iter().map(|value| value.map(|value| value * factor)).collect();
            prop_assert_eq!(singles(&found, column), expected, "{}", column);
        }
        let times: Vec<_> =
            base.table(VELOCITY).f64("time").into_iter().map(|time| time.map(|time| time * slow)).collect();
        prop_assert_eq!(found.table(VELOCITY).f64("time"), times);
    }

    /// Pixels outside an ROI do not change its result.
    #[test]
    fn velocities_ignore_pixels_outside_roi(
        scan in any_scan(), before in 0_usize..9, after in 0_usize..9, left in 0_usize..5, right in 0_usize..5, other in any::<u16>(),
    ) {
        let (lines, width) = (before + scan.lines + after, left + scan.width + right);
        let value = |line: usize, pixel: usize| {
            let inside = (before..before + scan.lines).contains(&line) && (left..left + scan.width).contains(&pixel);
            if inside { scan.pixels[(line - before) * scan.width + pixel - left] } else { other.wrapping_mul((line * 31 + pixel) as u16) }
        };
        let framed = Scan { pixels: (0..lines * width).map(|at| value(at / width, at % width)).collect(), lines, width };
        let (first, start) = (before as i64, left as i64);
        let roi = RecordRoi::rect(1).lines(first, first + scan.lines as i64).pixels(start, start + scan.width as i64);
        let (base, found) = (extract(&scan.record()), extract(&framed.record().roi(roi)));
        for column in ["theta_deg", "velocity_raw", "velocity", "cleanVelocity", "absVelocity"] {
            prop_assert_eq!(found.table(VELOCITY).f64(column), base.table(VELOCITY).f64(column), "{}", column);
        }
        for column in ["vel_mean", "vel_std", "img_mean", "img_max"] {
            prop_assert_eq!(found.rows().f64(column), base.rows().f64(column), "{}", column);
        }
    }

    /// The number of threads does not change the result.
    #[test]
    fn velocities_any_threads_are_equal(scan in any_scan(), threads in 2_usize..9) {
        let (base, found) = (extract(&scan.record()), TestHost::new(RadonVelocity).threads(threads).extract(&scan.record()));
        prop_assert_eq!(found.table(VELOCITY).batch(), base.table(VELOCITY).batch());
        prop_assert_eq!(found.rows().batch(), base.rows().batch());
    }

    /// A blank image has windows, but no velocities.
    #[test]
    fn velocities_blank_image_has_none(lines in 16_usize..90, width in 1_usize..40, value in any::<u16>()) {
        let blank = Scan { pixels: vec![value; lines * width], lines, width };
        let outcome = extract(&blank.record());
        prop_assert_eq!(outcome.table(VELOCITY).len(), lines / 4 - 3);
        for column in ["theta_deg", "velocity_raw", "velocity", "cleanVelocity", "absVelocity"] {
            prop_assert!(outcome.table(VELOCITY).f64(column).iter().all(Option::is_none), "{}", column);
        }
        prop_assert_eq!(outcome.rows().f64("vel_mean"), [None]);
    }

    /// The streaks must be visible, because noise has no direction. A mirrored window is not sampled at mirrored
    /// places, so an angle may move a little, to either side.
    #[test]
    fn velocities_mirrored_flip_sign(
        width in 16_usize..32, speed in 0.4..1.8_f64, forth in any::<bool>(), seed in any::<u64>(),
    ) {
        let scan = Scan::moving(16 + 4 * 60, width, if forth { speed } else { -speed }, 10, seed);
        let reversed = Scan { pixels: scan.pixels.chunks(width).rev().flatten().copied().collect(), ..scan.clone() };
        let mirrored =
            Scan { pixels: scan.pixels.chunks(width).flat_map(|line| line.iter().rev()).copied().collect(), ..scan.clone() };
        let base = mean(&extract(&scan.record()));
        prop_assert_eq!(base > 0.0, forth);
        for (what, turned) in [("time reversed", reversed), ("space mirrored", mirrored)] {
            let turned = mean(&extract(&turned.record()));
            prop_assert!((turned + base).abs() < 0.03 * base.abs(), "{}: {} of {}", what, turned, base);
        }
    }
}
