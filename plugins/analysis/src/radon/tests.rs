//! Windows, angles and velocities: known cases, and relations that hold for any pixels.

use super::*;
use crate::roi::{Roi, Voxels};
use crate::{Work, stats};
use proptest::prelude::*;

const VOXELS: Voxels = Voxels { seconds_per_line: 0.001, um_per_pixel: 0.5 };

/// Streaks of random brightness that move by `pixels_per_line`, with a little noise.
fn streaks(lines: usize, width: usize, pixels_per_line: f64, seed: u64) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    let texture: Vec<f64> = (0..4096).map(|_| random.f64() * 200.0).collect();
    let value = |line: usize, pixel: usize| {
        let place = (pixel as f64 - pixels_per_line * line as f64).rem_euclid(4095.0);
        let (at, part) = (place as usize, place.fract());
        texture[at] * (1.0 - part) + texture[(at + 1) % 4096] * part
    };
    (0..lines * width).map(|at| (value(at / width, at % width) + random.f64()).round() as f32).collect()
}

fn run(values: &[f32], width: usize, voxels: Voxels, params: &RadonParams, threads: usize) -> Velocities {
    let lines = values.len() / width;
    let image = Image::new(values, lines, width).unwrap();
    velocities(&image, &Roi::whole(lines, width), voxels, params, &Work::threads(threads)).unwrap()
}

/// The number of windows follows the documented formula.
#[test]
fn window_count_by_lines() {
    // Lines, lines per window, windows.
    for (lines, window, count) in [
        (0, 16, 0),
        (15, 16, 0),
        (16, 16, 1),
        (19, 16, 1),
        (20, 16, 2),
        (30_000, 16, 7497),
        (4, 4, 1),
        (5, 4, 2),
        (63, 64, 0),
        (64, 64, 1),
    ] {
        assert_eq!(
            window_count(lines, &RadonParams::window_lines(window).unwrap()),
            count,
            "{lines} lines, windows of {window}"
        );
    }
    for window in [0, 1, 2, 6, 17, RadonParams::MAX_WINDOW_LINES + 4] {
        let error = RadonParams::window_lines(window).unwrap_err().to_string();
        assert!(error.contains("window_lines is ") && error.contains("multiple of 4"), "{error}");
    }
}

/// Times are the middles of windows, counted from the first line of the recording.
#[test]
fn times_are_middles_of_windows() {
    let values = streaks(60, 6, 0.3, 1);
    let image = Image::new(&values, 60, 6).unwrap();
    let roi = Roi { lines: (70, 20), ..Roi::whole(60, 6) };
    let found = velocities(&image, &roi, VOXELS, &RadonParams::default(), &Work::threads(1)).unwrap();
    let expected: Vec<f64> = (0..7).map(|window| (20 + window * 4 + 8) as f64 * 0.001).collect();
    assert_eq!(found.time_sec, expected);
}

/// Streaks of a known speed give that velocity.
#[test]
fn velocities_known_speed_is_found() {
    for pixels_per_line in [0.25_f64, 0.6, 1.0, 1.7, -0.4, -1.2] {
        let found = run(&streaks(400, 24, pixels_per_line, 7), 24, VOXELS, &RadonParams::default(), 1);
        let median =
            stats::median(&mut found.velocity_mm_s.iter().copied().filter(|value| !value.is_nan()).collect::<Vec<_>>());
        let expected = pixels_per_line * 0.5 / 0.001 / 1000.0;
        assert!(
            (median.abs() - expected.abs()).abs() < 0.06 * expected.abs(),
            "{pixels_per_line}: {median}, expected {expected}"
        );
    }
}

/// Reversing time changes the sign of velocities.
#[test]
fn velocities_reversed_time_flips_sign() {
    let (lines, width) = (16 + 4 * 200, 19);
    let values = streaks(lines, width, 0.7, 3);
    let reversed: Vec<f32> = values.chunks(width).rev().flatten().copied().collect();
    let forth = run(&values, width, VOXELS, &RadonParams::default(), 1);
    let mut back = run(&reversed, width, VOXELS, &RadonParams::default(), 1).raw_mm_s;
    back.reverse();
    // The centre of the padded square is a pixel, not the middle of the window. A mirrored window is therefore
    // sampled at other places, and an angle may move to its neighbour.
    let close =
        forth.raw_mm_s.iter().zip(&back).filter(|(forth, back)| (*forth + *back).abs() < 0.03 * forth.abs()).count();
    assert!(close * 100 >= 95 * back.len(), "{close} of {}", back.len());
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    assert!(sum(&forth.raw_mm_s) * sum(&back) < 0.0);
}

/// Velocities are proportional to the pixel size and inverse to the line time.
#[test]
fn velocities_scale_with_pixel_size() {
    let values = streaks(600, 12, 0.5, 9);
    let of = |um_per_pixel, seconds_per_line| {
        run(&values, 12, Voxels { um_per_pixel, seconds_per_line }, &RadonParams::default(), 1)
    };
    let (one, wide, slow) = (of(0.5, 0.001), of(1.5, 0.001), of(0.5, 0.004));
    assert_eq!(one.theta_deg, wide.theta_deg);
    assert_eq!(one.theta_deg, slow.theta_deg);
    for (at, velocity) in one.velocity_mm_s.iter().enumerate() {
        for (found, factor) in [(wide.velocity_mm_s[at], 3.0), (slow.velocity_mm_s[at], 0.25)] {
            assert_eq!(found.is_nan(), velocity.is_nan(), "window {at}");
            assert!(velocity.is_nan() || (found - velocity * factor).abs() <= 1e-6 * found.abs(), "window {at}");
        }
    }
}

/// Blank images and windows with pixels that are not finite have no velocity.
#[test]
fn velocities_blank_or_bad_pixels_are_nan() {
    for blank in [0.0, 0.1, 4095.0] {
        let found = run(&[blank; 100 * 7], 7, VOXELS, &RadonParams::default(), 1);
        assert_eq!(found.len(), 22);
        for list in [&found.theta_deg, &found.raw_mm_s, &found.velocity_mm_s, &found.clean_mm_s()] {
            assert!(list.iter().all(|value| value.is_nan()), "{blank}");
        }
    }
    // One pixel that is not finite affects only the windows that contain it.
    let mut values = streaks(100, 7, 0.4, 2);
    let whole = run(&values, 7, VOXELS, &RadonParams::default(), 1);
    values[50 * 7 + 3] = f32::NAN;
    let holed = run(&values, 7, VOXELS, &RadonParams::default(), 1);
    for window in 0..holed.len() {
        if (window * 4..window * 4 + 16).contains(&50) {
            assert!(holed.theta_deg[window].is_nan(), "window {window}");
        } else {
            assert_eq!(holed.theta_deg[window], whole.theta_deg[window], "window {window}");
        }
    }
}

/// A blank window in an image with contrast gets the first angle, as in kymflow.
#[test]
fn angle_window_without_contrast_is_first() {
    let mut values = streaks(200, 7, 0.4, 2);
    values[80 * 7..120 * 7].fill(300.0);
    let found = run(&values, 7, VOXELS, &RadonParams::default(), 1);
    assert_eq!(found.theta_deg[20..=26], [-2.0; 7]);
}

/// Short and thin ROIs have the windows that fit, or none.
#[test]
fn windows_short_and_thin_rois() {
    for (lines, width) in [(0, 5), (5, 0), (15, 5), (16, 1), (40, 1), (40, 2), (24, 200)] {
        let found = run(
            &streaks(lines, width.max(1), 0.5, 4)[..lines * width],
            width.max(1),
            VOXELS,
            &RadonParams::default(),
            1,
        );
        assert_eq!(
            found.len(),
            if width == 0 { 0 } else { window_count(lines, &RadonParams::default()) },
            "{lines} × {width}"
        );
        assert!(found.theta_deg.iter().all(|angle| (-2.0..=181.0).contains(angle)));
    }
    let image = Image::new(&[], 100, 0).unwrap();
    let found = velocities(&image, &Roi::whole(100, 0), VOXELS, &RadonParams::default(), &Work::threads(1)).unwrap();
    assert!(found.is_empty());
}

/// The number of threads and the rest of the image do not change a result.
#[test]
fn velocities_any_threads_or_parts_are_equal() {
    let width = 19;
    let values = streaks(16 + 4 * 300, width, 0.8, 5);
    let bits = |found: &[f64]| found.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let whole = run(&values, width, VOXELS, &RadonParams::default(), 1);
    for threads in [2, 3, 8] {
        assert_eq!(
            bits(&run(&values, width, VOXELS, &RadonParams::default(), threads).raw_mm_s),
            bits(&whole.raw_mm_s)
        );
    }
    // Starting at an odd window, so that other windows are neighbours in a batch.
    let part = run(&values[4 * 7 * width..], width, VOXELS, &RadonParams::default(), 1);
    assert_eq!(bits(&part.raw_mm_s), bits(&whole.raw_mm_s[7..]));
}

/// Windows without kept matrices get the same angles.
#[test]
fn angle_wide_window_equals_slow_method() {
    // Matrices are not kept for 300 pixels × 16 lines. The result must equal that of the slow method.
    let (lines, width) = (32, 300);
    let values = streaks(lines, width, 0.8, 6);
    let found = run(&values, width, VOXELS, &RadonParams::default(), 2);
    for window in 0..found.len() {
        let mut pixels = values[window * 4 * width..(window * 4 + 16) * width].to_vec();
        assert_eq!(found.theta_deg[window], f64::from(slow_angle(&mut pixels, 16, width)), "window {window}");
    }
}

/// The angle of one window directly by the method: all angles exactly, then the first with the greatest variance.
fn slow_angle(pixels: &mut [f32], lines: usize, width: usize) -> f32 {
    let square = geometry::Square::new(lines, width);
    let mean = exact::mean(pixels);
    pixels.iter_mut().for_each(|value| *value -= mean);
    let best = |angles: Vec<f32>| {
        let mut found = (angles[0], f32::NEG_INFINITY);
        for angle in angles {
            let variance = exact::variance(&square, pixels, angle);
            if variance > found.1 {
                found = (angle, variance);
            }
        }
        found.0
    };
    let coarse = best((0..180_u8).map(f32::from).collect());
    best((-8..=8_i8).map(|step| coarse + f32::from(step) / 4.0).collect())
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(40))]

    /// Batches with separately decided near-ties give the same angles as exact arithmetic for every angle, also for
    /// symmetric windows, few grey values and single pixels.
    #[test]
    fn angles_equal_slow_method(
        window in prop_oneof![Just(4_usize), Just(8), Just(16), Just(20)],
        width in 1_usize..24,
        greys in prop_oneof![Just(1_u32), Just(2), Just(5), Just(4000)],
        symmetric in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let lines = window + window / 4 * 3;
        let mut values: Vec<f32> = (0..lines * width).map(|_| random.u32(0..=greys) as f32).collect();
        if symmetric {
            values.chunks_mut(width).for_each(|line| (0..width / 2).for_each(|at| line[width - 1 - at] = line[at]));
        }
        prop_assume!(values.iter().any(|value| *value != values[0]));
        let found = run(&values, width, VOXELS, &RadonParams::window_lines(window).unwrap(), 1);
        prop_assert_eq!(found.len(), 4);
        for (at, theta) in found.theta_deg.iter().enumerate() {
            let first = at * window / 4;
            let mut pixels = values[first * width..(first + window) * width].to_vec();
            prop_assert_eq!(*theta, f64::from(slow_angle(&mut pixels, window, width)), "window {}", at);
        }
    }
}

/// Only values more than two deviations from the mean become NaN.
#[test]
fn outliers_beyond_two_deviations_are_nan() {
    let mut values = vec![1.0; 40];
    values[7] = -9e6;
    let expected: Vec<bool> = (0..40).map(|at| at == 7).collect();
    assert_eq!(without_outliers(&values).iter().map(|value| value.is_nan()).collect::<Vec<_>>(), expected);
    assert_eq!(without_outliers(&[2.0; 5]), [2.0; 5]);
    assert!(without_outliers(&[]).is_empty());
    // A stall in an even flow: shorter than a fifth of the trace, it is far from the mean.
    let is_stall_lost = |stalled: usize| {
        let values: Vec<f64> = (0..100).map(|at| if at < stalled { 0.0 } else { 1.5 }).collect();
        without_outliers(&values)[0].is_nan()
    };
    assert_eq!([5, 19, 21, 50].map(is_stall_lost), [true, true, false, false]);
    // Values that are already NaN are ignored.
    values[3] = f64::NAN;
    let nans: Vec<usize> = (0..40).filter(|at| without_outliers(&values)[*at].is_nan()).collect();
    assert_eq!(nans, [3, 7]);
}

/// The clean velocity is the median of the known values among three neighbours.
#[test]
fn clean_is_median_of_known_neighbours() {
    let nan = f64::NAN;
    // Velocities, then their clean forms.
    let cases: &[(&[f64], &[f64])] = &[
        (&[], &[]),
        (&[3.0], &[3.0]),
        (&[1.0, 2.0], &[1.5, 1.5]),
        (&[1.0, 9.0, 2.0, 3.0], &[5.0, 2.0, 3.0, 2.5]),
        (&[1.0, nan, 2.0, 7.0, 4.0], &[1.0, nan, 4.5, 4.0, 5.5]),
        (&[nan, nan, 2.0, nan], &[nan, nan, 2.0, nan]),
    ];
    for (values, expected) in cases {
        let found = clean(values);
        let same = found
            .iter()
            .zip(*expected)
            .all(|(found, expected)| found == expected || found.is_nan() && expected.is_nan());
        assert!(same && found.len() == expected.len(), "{values:?}: {found:?}");
    }
}

/// Velocities have the digits that kymflow writes.
#[test]
fn velocity_is_float32_in_decimal() {
    // Recorded from kymflow: µm per pixel, seconds per line, angle, velocity.
    let cases = [
        (0.45, 0.0011339666666666667, 75.75, 1.5625498),
        (0.45, 0.0011339666666666667, 90.0, -9.078574e+06),
        (0.829, 0.0011099666666666667, 115.75, -1.5484202),
        (0.284, 0.0011699666666666665, 90.0, -5.5532885e+06),
    ];
    for (um_per_pixel, seconds_per_line, theta, expected) in cases {
        assert_eq!(velocity_mm_s(theta, Voxels { seconds_per_line, um_per_pixel }), expected, "{theta}");
    }
    assert_eq!(velocity_mm_s(0.0, VOXELS), 0.0);
}

/// The figures of a trace follow their definitions, also without finite values.
#[test]
fn summary_figures_of_traces() {
    let found = summary(&[1.0, -1.0, 0.0, 0.0, f64::NAN, 10.0, 2.0]);
    assert_eq!((found.min, found.max, found.mean), (Some(-1.0), Some(10.0), Some(2.0)));
    let std = (82.0_f64 / 6.0).sqrt();
    assert_eq!((found.std, found.se, found.cv), (Some(std), Some(std / 6_f64.sqrt()), Some(std / 2.0)));
    assert_eq!((found.n_nan, found.n_zero, found.n_big), (1, 2, 1));
    assert_eq!(summary(&[1.0, -1.0]).cv, None);
    let none = summary(&[f64::NAN; 3]);
    assert_eq!((none.mean, none.se, none.n_nan, none.n_big), (None, None, 3, 0));
    assert_eq!(figures([].into_iter()), None);
}
