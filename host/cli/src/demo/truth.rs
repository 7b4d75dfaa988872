//! What a synthetic recording holds, and how far a result is from it. Pure functions over values.
//!
//! A window of lines is compared if all of it flows at full speed, or if all of it stands still. While the flow stops or
//! starts, no single speed is right.

use serde::Serialize;

/// The lines of a window of `radon_velocity`, with its default params.
pub const WINDOW_LINES: usize = 16;
/// How far the start of a found stall may be from a true one. `event_detection` compares medians over 0.25 s before and after a
/// sample, so it may see a stall up to 0.125 s early. Add 0.025 s in which the flow stops, and half a window.
pub const START_TOLERANCE_SEC: f64 = 0.125 + 0.025 + 0.008;

/// What a line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Flow at full speed.
    Flowing,
    /// The flow stops or starts.
    Changing,
    /// Nothing moves.
    Stalled,
}

/// One line of a synthetic recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Positive towards higher pixels.
    pub velocity_mm_s: f64,
    /// What it shows.
    pub phase: Phase,
}

/// The known content of a recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// From line to line.
    pub seconds_per_line: f64,
    /// Line by line.
    pub lines: Vec<Line>,
}

/// A window's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Its middle.
    pub time_sec: f64,
    /// `None` if it is not known.
    pub velocity_mm_s: Option<f64>,
}

/// A stall that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drop {
    /// When it begins.
    pub start_sec: f64,
    /// In multiples of the threshold. Below 1 it is only a candidate for a person to look at.
    pub score: f64,
}

/// How far a result is from the truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Windows in full flow.
    pub flow: FlowComparison,
    /// Windows in which nothing moves.
    pub still: StillComparison,
    /// The stalls as events.
    pub stalls: StallComparison,
}

/// Velocities of windows in full flow. Figures are `None` if no window has a velocity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FlowComparison {
    /// How many there are.
    pub windows: usize,
    /// How many of them have no velocity.
    pub unknown: usize,
    /// The mean true velocity of those that have one.
    pub true_mm_s: Option<f64>,
    /// The mean velocity that was found in them.
    pub found_mm_s: Option<f64>,
    /// How much more was found than is true; −200 for the wrong direction.
    pub mean_error_percent: Option<f64>,
    /// The median error of single windows.
    pub median_error_percent: Option<f64>,
    /// The 95th percentile of the errors of single windows.
    pub p95_error_percent: Option<f64>,
}

/// Velocities of windows in which nothing moves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StillComparison {
    /// How many there are.
    pub windows: usize,
    /// How many of them have no velocity.
    pub unknown: usize,
    /// The greatest speed that was found.
    pub max_speed_mm_s: Option<f64>,
}

/// Stalls put in and stalls found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StallComparison {
    /// How many were put in.
    pub put_in: usize,
    /// How many of them were found.
    pub found: usize,
    /// How many were not.
    pub missed: usize,
    /// Found stalls that are none.
    #[serde(rename = "false")]
    pub false_ones: usize,
    /// Candidates below the threshold, which do not count as found.
    pub below_threshold: usize,
    /// For each found one, how much later than the truth it begins; negative if earlier.
    pub start_error_sec: Vec<f64>,
}

impl Truth {
    /// First line and the line after the last of each stall.
    pub fn stalls(&self) -> Vec<(usize, usize)> {
        let mut stalls: Vec<(usize, usize)> = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            match stalls.last_mut() {
                _ if line.phase != Phase::Stalled => {}
                Some(stall) if stall.1 == at => stall.1 = at + 1,
                _ => stalls.push((at, at + 1)),
            }
        }
        stalls
    }

    /// The lines of the window with this middle; `None` if they are not all in the recording.
    fn window(&self, middle_sec: f64) -> Option<&[Line]> {
        let middle = (middle_sec / self.seconds_per_line).round();
        let first = middle - (WINDOW_LINES / 2) as f64;
        if !(first >= 0.0 && first < self.lines.len() as f64) {
            return None;
        }
        self.lines.get(first as usize..first as usize + WINDOW_LINES)
    }
}

/// Compares a result with the truth.
pub fn compare(truth: &Truth, windows: &[Window], drops: &[Drop]) -> Comparison {
    let (mut flowing, mut still) = (Vec::new(), Vec::new());
    for window in windows {
        let Some(lines) = truth.window(window.time_sec) else { continue };
        let all = |phase| lines.iter().all(|line| line.phase == phase);
        if all(Phase::Flowing) {
            let mean = lines.iter().map(|line| line.velocity_mm_s).sum::<f64>() / lines.len() as f64;
            flowing.push((mean, window.velocity_mm_s));
        } else if all(Phase::Stalled) {
            still.push(window.velocity_mm_s.map(f64::abs));
        }
    }
    Comparison {
        flow: compare_flow(&flowing),
        still: StillComparison {
            windows: still.len(),
            unknown: still.iter().filter(|speed| speed.is_none()).count(),
            max_speed_mm_s: still.iter().copied().flatten().reduce(f64::max),
        },
        stalls: compare_stalls(truth, drops),
    }
}

/// Pairs of true and found values.
fn compare_flow(windows: &[(f64, Option<f64>)]) -> FlowComparison {
    let known: Vec<(f64, f64)> = windows.iter().filter_map(|(truth, found)| Some((*truth, (*found)?))).collect();
    let mean = |value: fn(&(f64, f64)) -> f64| {
        (!known.is_empty()).then(|| known.iter().map(value).sum::<f64>() / known.len() as f64)
    };
    let (true_mm_s, found_mm_s) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let percent = |truth: f64, found: f64| (found / truth - 1.0) * 100.0;
    let mut errors: Vec<f64> = known.iter().map(|&(truth, found)| percent(truth, found).abs()).collect();
    errors.sort_by(f64::total_cmp);
    // The least that so many of a hundred do not exceed.
    let of_hundred = |many: usize| errors.get((errors.len() * many).div_ceil(100).saturating_sub(1)).copied();
    FlowComparison {
        windows: windows.len(),
        unknown: windows.len() - known.len(),
        true_mm_s,
        found_mm_s,
        mean_error_percent: true_mm_s.zip(found_mm_s).map(|(truth, found)| percent(truth, found)),
        median_error_percent: of_hundred(50),
        p95_error_percent: of_hundred(95),
    }
}

/// One stall is found by one drop, the nearest. A second drop near it is false.
fn compare_stalls(truth: &Truth, drops: &[Drop]) -> StallComparison {
    let starts: Vec<f64> = truth.stalls().iter().map(|stall| stall.0 as f64 * truth.seconds_per_line).collect();
    let mut found: Vec<f64> = drops.iter().filter(|drop| drop.score >= 1.0).map(|drop| drop.start_sec).collect();
    let n_found = found.len();
    let mut start_error_sec = Vec::new();
    for start in &starts {
        let nearest = (0..found.len()).min_by(|a, b| (found[*a] - start).abs().total_cmp(&(found[*b] - start).abs()));
        if let Some(at) = nearest.filter(|at| (found[*at] - start).abs() <= START_TOLERANCE_SEC) {
            start_error_sec.push(found.remove(at) - start);
        }
    }
    StallComparison {
        put_in: starts.len(),
        found: start_error_sec.len(),
        missed: starts.len() - start_error_sec.len(),
        false_ones: found.len(),
        below_threshold: drops.len() - n_found,
        start_error_sec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of flow at 1 mm/s with a stall from 0.4 s to 0.7 s, between ten lines on each side in which it stops and starts.
    fn truth() -> Truth {
        let line = |at: usize| match at {
            400..700 => Line { velocity_mm_s: 0.0, phase: Phase::Stalled },
            390..710 => Line { velocity_mm_s: 0.5, phase: Phase::Changing },
            _ => Line { velocity_mm_s: 1.0, phase: Phase::Flowing },
        };
        Truth { seconds_per_line: 0.001, lines: (0..1000).map(line).collect() }
    }

    /// A result that is the truth times a factor, without what is not known.
    fn windows(truth: &Truth, factor: f64, unknown: &[usize]) -> Vec<Window> {
        let window = |at: usize| {
            let lines = &truth.lines[at * 4..at * 4 + WINDOW_LINES];
            let mean = lines.iter().map(|line| line.velocity_mm_s).sum::<f64>() / WINDOW_LINES as f64;
            let time_sec = (at * 4 + WINDOW_LINES / 2) as f64 * truth.seconds_per_line;
            Window { time_sec, velocity_mm_s: (!unknown.contains(&at)).then_some(mean * factor) }
        };
        (0..truth.lines.len() / 4 - 3).map(window).collect()
    }

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn compare_measures_wrong_speed() {
        let truth = truth();
        for (factor, error) in [(1.0, 0.0), (1.05, 5.0), (0.5, -50.0), (-1.0, -200.0), (0.0, -100.0)] {
            let flow = compare(&truth, &windows(&truth, factor, &[]), &[]).flow;
            // Windows from line 0, 4 … with no line of 390 to 710.
            assert_eq!((flow.windows, flow.unknown), (94 + 69, 0));
            assert!(close(flow.true_mm_s, 1.0) && close(flow.found_mm_s, factor), "{factor}: {flow:?}");
            assert!(close(flow.mean_error_percent, error), "{factor}: {flow:?}");
            assert!(close(flow.median_error_percent, error.abs()), "{factor}: {flow:?}");
        }
        // The truth of another recording is not this one's answer.
        let other = Truth {
            lines: truth.lines.iter().map(|line| Line { velocity_mm_s: line.velocity_mm_s * 1.1, ..*line }).collect(),
            ..truth.clone()
        };
        assert!(close(compare(&other, &windows(&truth, 1.0, &[]), &[]).flow.mean_error_percent, 100.0 / 1.1 - 100.0));
    }

    #[test]
    fn compare_shows_whether_few_windows_are_wrong() {
        let truth = truth();
        let mut found = windows(&truth, 1.0, &[]);
        // Of 163 windows 16 are wrong by half: less than half of all, more than 5 of a hundred.
        found.iter_mut().take(16).for_each(|window| window.velocity_mm_s = Some(1.5));
        let flow = compare(&truth, &found, &[]).flow;
        assert!(close(flow.median_error_percent, 0.0) && close(flow.p95_error_percent, 50.0), "{flow:?}");
        // Errors that even out in the mean do not in a window.
        for (at, window) in found.iter_mut().enumerate() {
            window.velocity_mm_s = Some(if at % 2 == 0 { 1.2 } else { 0.8 });
        }
        let flow = compare(&truth, &found, &[]).flow;
        assert!(flow.mean_error_percent.is_some_and(|error| error.abs() < 1.0), "{flow:?}");
        assert!(close(flow.median_error_percent, 20.0), "{flow:?}");
    }

    #[test]
    fn compare_counts_unknown_and_moving_windows() {
        let truth = truth();
        let comparison = compare(&truth, &windows(&truth, 1.0, &[0, 1, 120]), &[]);
        assert_eq!(comparison.flow.unknown, 2);
        let still = comparison.still;
        // Windows from line 400, 404 … to 684.
        assert_eq!((still.windows, still.unknown, still.max_speed_mm_s), (72, 1, Some(0.0)));
        let mut moving = windows(&truth, 1.0, &[]);
        moving[120].velocity_mm_s = Some(-0.3);
        assert_eq!(compare(&truth, &moving, &[]).still.max_speed_mm_s, Some(0.3));
        let nothing = compare(&truth, &[], &[]);
        assert_eq!((nothing.flow.windows, nothing.flow.mean_error_percent, nothing.stalls.missed), (0, None, 1));
        // Windows that are not in the recording count for nothing.
        let outside = [-1.0, 0.001, 0.9999, 7.0, f64::NAN, f64::INFINITY]
            .map(|time_sec| Window { time_sec, velocity_mm_s: Some(9.0) });
        assert_eq!(compare(&truth, &outside, &[]).flow.windows, 0);
    }

    #[test]
    fn stalls_are_found_missed_or_false() {
        let truth = truth();
        assert_eq!(truth.stalls(), [(400, 700)]);
        // Drops (start, score), then found, missed, false, below the threshold.
        type Case<'a> = (&'a [(f64, f64)], [usize; 4]);
        let cases: &[Case<'_>] = &[
            (&[], [0, 1, 0, 0]),
            (&[(0.4, 1.5)], [1, 0, 0, 0]),
            (&[(0.3, 1.0)], [1, 0, 0, 0]),
            (&[(0.24, 2.0)], [0, 1, 1, 0]),
            (&[(0.56, 2.0)], [0, 1, 1, 0]),
            (&[(0.4, 0.99)], [0, 1, 0, 1]),
            (&[(0.4, 1.5), (0.9, 1.5)], [1, 0, 1, 0]),
            (&[(0.35, 1.5), (0.41, 1.5)], [1, 0, 1, 0]),
            (&[(0.9, 1.5), (0.1, 0.5)], [0, 1, 1, 1]),
            (&[(f64::NAN, 2.0), (0.4, f64::NAN)], [0, 1, 1, 1]),
        ];
        for (drops, [found, missed, false_ones, below_threshold]) in cases {
            let drops: Vec<Drop> = drops.iter().map(|&(start_sec, score)| Drop { start_sec, score }).collect();
            let stalls = compare(&truth, &[], &drops).stalls;
            assert_eq!(stalls.put_in, 1);
            let counts = (stalls.found, stalls.missed, stalls.false_ones, stalls.below_threshold);
            assert_eq!(counts, (*found, *missed, *false_ones, *below_threshold), "{drops:?}");
        }
        // The nearest is it.
        let two = [Drop { start_sec: 0.35, score: 1.5 }, Drop { start_sec: 0.41, score: 1.5 }];
        assert!(close(compare(&truth, &[], &two).stalls.start_error_sec.first().copied(), 0.01));
        // One drop finds no two stalls.
        let mut twice = truth.clone();
        twice.lines[500..505].fill(Line { velocity_mm_s: 1.0, phase: Phase::Flowing });
        let stalls = compare(&twice, &[], &[Drop { start_sec: 0.45, score: 3.0 }]).stalls;
        assert_eq!((stalls.put_in, stalls.found, stalls.missed, stalls.false_ones), (2, 1, 1, 0));
    }
}
