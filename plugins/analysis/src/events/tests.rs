//! The fast detection equals one that follows the rules literally, and each rule has a case of its own.

use super::*;
use proptest::prelude::*;

/// The rules, sample by sample, without regard to speed.
mod slow {
    use super::{Event, EventParams, EventType, MachineType};

    fn median(values: &[f64]) -> f64 {
        let mut known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        known.sort_by(|a, b| a.partial_cmp(b).unwrap());
        match known.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => known[count / 2],
            count => (known[count / 2 - 1] + known[count / 2]) / 2.0,
        }
    }

    fn finite(values: &[f64]) -> usize {
        values.iter().filter(|value| value.is_finite()).count()
    }

    fn round(value: f64) -> i64 {
        let floor = value.floor();
        let up = value - floor > 0.5 || value - floor == 0.5 && floor % 2.0 != 0.0;
        // A window longer than any trace is as good as an infinite one.
        (floor.clamp(-1e9, 1e9)) as i64 + i64::from(up)
    }

    /// The samples from `first` to before `stop`, cut at the ends of the trace.
    fn cut(values: &[f64], first: i64, stop: i64) -> &[f64] {
        let count = values.len() as i64;
        let (first, stop) = (first.clamp(0, count), stop.clamp(0, count));
        if first < stop { &values[first as usize..stop as usize] } else { &[] }
    }

    fn merge(runs: Vec<(usize, usize)>, most: i64) -> Vec<(usize, usize)> {
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (first, last) in runs {
            match merged.last_mut() {
                Some(before) if first as i64 - before.1 as i64 - 1 <= most => before.1 = last,
                _ => merged.push((first, last)),
            }
        }
        merged
    }

    fn empty(times: &[f64], event_type: EventType, machine_type: MachineType, i_start: usize, strength: f64) -> Event {
        Event {
            event_type,
            machine_type,
            i_start,
            t_start_sec: times[i_start],
            i_peak: None,
            t_peak_sec: None,
            i_end: None,
            t_end_sec: None,
            score_peak: None,
            baseline_before: None,
            baseline_after: None,
            strength,
            nan_fraction_in_event: None,
            n_valid_in_event: None,
            duration_sec: None,
        }
    }

    fn shifts(times: &[f64], speeds: &[f64], fs: f64, params: &EventParams) -> Vec<Event> {
        let p = params.baseline_drop;
        let count = speeds.len() as i64;
        let w = round(p.win_cmp_sec * fs).max(5);
        let automatic = (w / 5).max(10);
        let needed = p.min_valid_per_side.map_or(automatic, |needed| needed as i64);
        let sides = |i: i64| (cut(speeds, i - w, i), cut(speeds, i, i + w));
        let score = |i: i64| {
            let (left, right) = sides(i);
            let enough = finite(left) as i64 >= needed && finite(right) as i64 >= needed;
            if enough { median(right) - median(left) } else { f64::NAN }
        };
        let scores: Vec<f64> = (0..count).map(score).collect();
        if finite(&scores) < 50 {
            return Vec::new();
        }
        let centre = median(&scores);
        let mad = median(&scores.iter().map(|score| (score - centre).abs()).collect::<Vec<_>>());
        let threshold = p.abs_score_floor.max(p.mad_k * 1.4826 * mad);
        let half = (round(p.smooth_sec * fs).max(3) | 1) / 2;
        let smoothed: Vec<f64> = (0..count).map(|i| median(cut(speeds, i - half, i + half + 1))).collect();
        let onset = |peak: usize, drop: bool| {
            let (left, right) = sides(peak as i64);
            let side = if drop { left } else { right };
            let base = if finite(side) as i64 >= automatic { median(side) } else { median(speeds) };
            let mut at = peak;
            while at > 0 {
                let before = smoothed[at - 1];
                let goes = before.is_finite() && if drop { before <= base / 2.0 } else { before >= base / 2.0 };
                if !goes {
                    break;
                }
                at -= 1;
            }
            at
        };
        let event = |peak: usize, drop: bool| {
            let (left, right) = sides(peak as i64);
            let (event_type, machine_type) = if drop {
                (EventType::BaselineDrop, MachineType::StallCandidate)
            } else {
                (EventType::BaselineRise, MachineType::Other)
            };
            Event {
                i_peak: Some(peak),
                t_peak_sec: Some(times[peak]),
                score_peak: Some(scores[peak]),
                baseline_before: Some(median(left)),
                baseline_after: Some(median(right)),
                ..empty(times, event_type, machine_type, onset(peak, drop), scores[peak].abs() / threshold)
            }
        };
        let mut events = Vec::new();
        for drop in [true, false] {
            let mut runs: Vec<(usize, usize)> = Vec::new();
            for (i, score) in scores.iter().enumerate() {
                if if drop { *score <= -threshold } else { *score >= threshold } {
                    match runs.last_mut() {
                        Some(run) if run.1 + 1 == i => run.1 = i,
                        _ => runs.push((i, i)),
                    }
                }
            }
            for (first, last) in merge(runs, round(p.merge_gap_sec * fs)) {
                let mut peak = first;
                for i in first..=last {
                    if if drop { scores[i] < scores[peak] } else { scores[i] > scores[peak] } {
                        peak = i;
                    }
                }
                events.push(event(peak, drop));
            }
        }
        let drops = events.iter().filter(|event| event.event_type == EventType::BaselineDrop).count();
        if drops < p.top_k_total {
            let m = round(p.min_sep_sec * fs).max(1);
            let mut taken = vec![false; speeds.len()];
            let near = |at: usize| {
                let (first, last) = (at as i64 - m, at as i64 + m);
                first.max(0) as usize..=last.min(count - 1) as usize
            };
            let mut order: Vec<usize> = (0..speeds.len()).filter(|i| scores[*i].is_finite()).collect();
            order.sort_by(|a, b| scores[*a].partial_cmp(&scores[*b]).unwrap().then(a.cmp(b)));
            let mut picks = Vec::new();
            for at in order {
                if picks.len() == p.top_k_total {
                    break;
                }
                if near(at).any(|near| taken[near]) {
                    continue;
                }
                near(at).for_each(|near| taken[near] = true);
                picks.push(at);
            }
            for pick in picks {
                if !events.iter().any(|event| event.i_peak == Some(pick)) {
                    events.push(event(pick, true));
                }
            }
        }
        events.sort_by_key(|event| (event.i_start, event.i_peak));
        events
    }

    fn gaps(times: &[f64], speeds: &[f64], fs: f64, params: &EventParams, nan: bool) -> Vec<Event> {
        let (n, z) = (params.nan_gap, params.zero_gap);
        let (win, enter, exit, least, merge_gap) = if nan {
            (n.nan_win_sec, n.enter_frac, n.exit_frac, n.min_duration_sec, n.merge_gap_sec)
        } else {
            (z.zero_win_sec, z.enter_frac, z.exit_frac, z.min_duration_sec, z.merge_gap_sec)
        };
        let belongs = |speed: &f64| if nan { !speed.is_finite() } else { speed.is_finite() && *speed <= z.eps0 };
        let part = |window: &[f64]| window.iter().filter(|speed| belongs(speed)).count() as f64 / window.len() as f64;
        let half = (round(win * fs).max(3) | 1) / 2;
        let around = |i: usize| part(cut(speeds, i as i64 - half, i as i64 + half + 1));
        let mut found = Vec::new();
        let mut i = 0;
        while i < speeds.len() {
            if around(i) >= enter {
                let mut last = i;
                while last + 1 < speeds.len() && around(last + 1) > exit {
                    last += 1;
                }
                found.push((i, last));
                // The sample at which a gap ends does not begin another.
                i = last + 2;
            } else {
                i += 1;
            }
        }
        let mut events = Vec::new();
        for (first, last) in merge(found, round(merge_gap * fs)) {
            let duration = times[last] - times[first];
            if duration < least {
                continue;
            }
            let inside = &speeds[first..=last];
            let (event_type, machine_type) =
                if nan { (EventType::NanGap, MachineType::NanGap) } else { (EventType::ZeroGap, MachineType::Other) };
            events.push(Event {
                i_end: Some(last),
                t_end_sec: Some(times[last]),
                nan_fraction_in_event: nan.then(|| part(inside)),
                n_valid_in_event: Some(finite(inside)),
                duration_sec: Some(duration),
                ..empty(times, event_type, machine_type, first, part(inside) * duration)
            });
        }
        events
    }

    pub(super) fn detect(times: &[f64], velocities: &[f64], params: &EventParams) -> Vec<Event> {
        let mut steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.retain(|step| step.is_finite() && *step > 0.0);
        if steps.is_empty() {
            return Vec::new();
        }
        let fs = 1.0 / median(&steps);
        let speeds: Vec<f64> = velocities.iter().map(|velocity| velocity.abs()).collect();
        let mut events = shifts(times, &speeds, fs, params);
        events.extend(gaps(times, &speeds, fs, params, true));
        events.extend(gaps(times, &speeds, fs, params, false));
        events.sort_by_key(|event| event.i_start);
        events
    }
}

/// As text, because NaN does not equal NaN.
fn text(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}

fn check(times: &[f64], velocities: &[f64], params: &EventParams) -> Vec<Event> {
    let found = detect(times, velocities, params).unwrap();
    assert_eq!(text(&found.events), text(&slow::detect(times, velocities, params)));
    found.events
}

fn times(count: usize, step_sec: f64) -> Vec<f64> {
    (0..count).map(|at| at as f64 * step_sec).collect()
}

/// A random stretch of a trace.
fn stretch() -> impl Strategy<Value = Vec<f64>> {
    let signs = prop_oneof![Just(1.0), Just(-1.0)];
    prop_oneof![
        3 => (0.0..3.0_f64, signs, proptest::collection::vec(-0.2..0.2_f64, 1..120))
            .prop_map(|(level, sign, noise)| noise.into_iter().map(|noise| (level + noise) * sign).collect::<Vec<_>>()),
        2 => (prop_oneof![Just(0.0), Just(1.0), Just(0.25)], 1_usize..90).prop_map(|(level, count)| vec![level; count]),
        2 => (1_usize..60).prop_map(|count| vec![f64::NAN; count]),
        2 => proptest::collection::vec(prop_oneof![Just(f64::NAN), Just(0.0), Just(1.0), Just(f64::INFINITY), Just(-2.5)], 1..60),
    ]
}

fn params() -> impl Strategy<Value = EventParams> {
    let shift = (
        0.0..0.6_f64,
        0.0..0.4_f64,
        prop_oneof![Just(None), (0_usize..30).prop_map(Some)],
        0.0..5.0_f64,
        prop_oneof![Just(0.0), Just(0.25), Just(1.0)],
        0.0..0.3_f64,
        0_usize..6,
        0.0..1.0_f64,
    );
    let gap = || (0.0..0.3_f64, 0.0..=1.0_f64, 0.0..=1.0_f64, 0.0..0.5_f64, 0.0..0.2_f64);
    let given = (shift, gap(), gap(), prop_oneof![Just(0.0), Just(0.3)]).prop_map(|(shift, nan, zero, eps0)| {
        let (
            win_cmp_sec,
            smooth_sec,
            min_valid_per_side,
            mad_k,
            abs_score_floor,
            merge_gap_sec,
            top_k_total,
            min_sep_sec,
        ) = shift;
        EventParams {
            baseline_drop: ShiftParams {
                win_cmp_sec,
                smooth_sec,
                min_valid_per_side,
                mad_k,
                abs_score_floor,
                merge_gap_sec,
                top_k_total,
                min_sep_sec,
            },
            nan_gap: NanGapParams {
                nan_win_sec: nan.0,
                enter_frac: nan.1,
                exit_frac: nan.2,
                min_duration_sec: nan.3,
                merge_gap_sec: nan.4,
            },
            zero_gap: ZeroGapParams {
                eps0,
                zero_win_sec: zero.0,
                enter_frac: zero.1,
                exit_frac: zero.2,
                min_duration_sec: zero.3,
                merge_gap_sec: zero.4,
            },
        }
    });
    prop_oneof![2 => Just(EventParams::default()), 3 => given]
}

proptest! {
    #![proptest_config(kymhost_test_cases::cases(64))]

    /// The fast detection finds the same events as the literal rules, for random traces and params.
    #[test]
    fn detect_equals_literal_rules(
        stretches in proptest::collection::vec(stretch(), 0..9),
        step_sec in prop_oneof![Just(0.005), Just(0.01), 0.002..0.05_f64, Just(0.4)],
        params in params(),
        disorder in prop_oneof![3 => Just(None), 1 => any::<u64>().prop_map(Some)],
    ) {
        let velocities = stretches.concat();
        let mut times = times(velocities.len(), step_sec);
        if let Some(seed) = disorder {
            let mut random = fastrand::Rng::with_seed(seed);
            for time in &mut times {
                match random.u8(0..20) {
                    0 => *time = f64::NAN,
                    1 => *time = f64::INFINITY,
                    2 | 3 => *time -= 3.0 * step_sec,
                    _ => {}
                }
            }
        }
        let found = detect(&times, &velocities, &params).unwrap();
        prop_assert_eq!(text(&found.events), text(&slow::detect(&times, &velocities, &params)));
    }

    /// For any trace, the sign of velocities and a shift of the times change no index and no score.
    #[test]
    fn detect_sign_and_time_offset_do_not_matter(stretches in proptest::collection::vec(stretch(), 1..9)) {
        let velocities = stretches.concat();
        let clock = times(velocities.len(), 0.0078125);
        let found = detect(&clock, &velocities, &EventParams::default()).unwrap();
        let turned: Vec<f64> = velocities.iter().map(|velocity| -velocity).collect();
        prop_assert_eq!(text(&detect(&clock, &turned, &EventParams::default()).unwrap().events), text(&found.events));
        let later: Vec<f64> = clock.iter().map(|time| time + 64.0).collect();
        let mut moved = detect(&later, &velocities, &EventParams::default()).unwrap().events;
        for event in &mut moved {
            event.t_start_sec -= 64.0;
            event.t_peak_sec = event.t_peak_sec.map(|time| time - 64.0);
            event.t_end_sec = event.t_end_sec.map(|time| time - 64.0);
        }
        prop_assert_eq!(text(&moved), text(&found.events));
    }
}

/// Empty traces and useless times give no events; different lengths are an error.
#[test]
fn detect_degenerate_traces() {
    let nan = f64::NAN;
    let default = EventParams::default();
    let cases: Vec<(Vec<f64>, Vec<f64>)> = vec![
        (vec![], vec![]),
        (vec![1.0], vec![nan]),
        (vec![nan; 100], vec![1.0; 100]),
        (vec![5.0; 100], vec![nan; 100]),
        (times(2, 0.1), vec![nan, nan]),
        (times(100, 1e-300), vec![1.0; 100]),
        (times(100, 1e300), vec![nan; 100]),
    ];
    for (times, velocities) in &cases {
        check(times, velocities, &default);
    }
    for (times, velocities) in &cases[..4] {
        assert_eq!(detect(times, velocities, &default), Ok(DetectedEvents::default()));
    }
    let error = detect(&[1.0], &[1.0, 2.0], &default).unwrap_err();
    assert_eq!(error.to_string(), "the list of velocities: 2 values instead of 1");
}

/// A stall gives a drop at its start and a rise at its end.
#[test]
fn detect_stall_is_drop_and_rise() {
    let clock = times(1000, 0.005);
    let mut velocities = vec![1.5; 1000];
    velocities[400..600].fill(0.05);
    let found = check(&clock, &velocities, &EventParams::default());
    let kinds: Vec<_> = found.iter().map(|event| (event.event_type.name(), event.i_peak)).collect();
    // At least two drops are requested: the other one is the first of the lowest scores that is far enough away.
    assert_eq!(kinds, [("baseline_drop", Some(10)), ("baseline_drop", Some(376)), ("baseline_rise", Some(576))]);
}

/// A trace without known velocities is one gap, without shifts.
#[test]
fn detect_unknown_trace_is_one_gap() {
    let clock = times(800, 0.005);
    let found = check(&clock, &[f64::NAN; 800], &EventParams::default());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].event_type, found[0].i_start, found[0].i_end), (EventType::NanGap, 0, Some(799)));
    assert_eq!((found[0].nan_fraction_in_event, found[0].n_valid_in_event), (Some(1.0), Some(0)));
}

/// Fewer than fifty scores give no threshold and no shifts.
#[test]
fn detect_shifts_need_fifty_scores() {
    // Both sides need ten known samples, so n − 19 of n samples in a row have a score.
    for (count, has_shifts) in [(68, false), (69, true)] {
        let mut velocities = vec![1.0; count];
        velocities[count / 2..].fill(3.0);
        let found = detect(&times(count, 0.005), &velocities, &EventParams::default()).unwrap();
        assert_eq!(found.threshold_mm_s.is_some(), has_shifts, "{count}");
        assert_eq!(found.events.is_empty(), !has_shifts, "{count}");
        check(&times(count, 0.005), &velocities, &EventParams::default());
    }
}
