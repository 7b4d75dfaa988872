//! Baseline shifts: where the speed drops or rises.
//!
//! This file computes scores, threshold, runs, onsets and candidates of shifts. It does not detect gaps.

use super::event::{Event, EventType, MachineType};
use super::median::{self, Medians};
use super::params::ShiftParams;
use super::trace::{Trace, merged, odd, runs};
use crate::stats;
use std::ops::RangeInclusive;

/// How many finite scores a threshold needs.
const MIN_SCORES: usize = 50;

/// How many samples the search for an onset may skip at once.
const BLOCK: usize = 64;

/// The shifts of a trace, sorted by onset and peak, and the threshold in mm/s (`None` if there are too few scores).
pub(super) fn detect(trace: &Trace<'_>, params: &ShiftParams) -> (Vec<Event>, Option<f64>) {
    let asked = trace.samples(params.win_cmp_sec).max(5);
    let automatic = (asked / 5).max(10);
    let sides = Sides::new(&trace.speeds, asked, params.min_valid_per_side.unwrap_or(automatic));
    let mut known: Vec<f64> = sides.scores.iter().copied().filter(|score| score.is_finite()).collect();
    if known.len() < MIN_SCORES {
        return (Vec::new(), None);
    }
    let threshold = params.abs_score_floor.max(params.mad_k * 1.4826 * stats::mad(&mut known));
    let merge = trace.samples(params.merge_gap_sec);
    let onsets = Onsets::new(trace, &sides, automatic, params);
    let mut events = Vec::new();
    for (event_type, sign) in [(EventType::BaselineDrop, -1.0), (EventType::BaselineRise, 1.0)] {
        let height = |at: usize| sign * sides.scores[at];
        for run in merged(runs(trace.len(), |at| height(at) >= threshold), merge) {
            let peak = first_greatest(run, height);
            events.push(event(trace, &sides, &onsets, threshold, event_type, peak));
        }
    }
    let drops = events.iter().filter(|event| event.event_type == EventType::BaselineDrop).count();
    if drops < params.top_k_total {
        let apart = trace.samples(params.min_sep_sec).max(1);
        for peak in candidates(&sides.scores, params.top_k_total, apart) {
            if !events.iter().any(|event| event.i_peak == Some(peak)) {
                events.push(event(trace, &sides, &onsets, threshold, EventType::BaselineDrop, peak));
            }
        }
    }
    events.sort_by_key(|event| (event.i_start, event.i_peak));
    (events, Some(threshold))
}

fn event(
    trace: &Trace<'_>,
    sides: &Sides,
    onsets: &Onsets<'_>,
    threshold: f64,
    event_type: EventType,
    peak: usize,
) -> Event {
    let is_drop = event_type == EventType::BaselineDrop;
    let onset = onsets.of(peak, is_drop);
    let score = sides.scores[peak];
    Event {
        i_peak: Some(peak),
        t_peak_sec: Some(trace.times[peak]),
        score_peak: Some(score),
        baseline_before: Some(sides.left(peak)),
        baseline_after: Some(sides.right(peak)),
        ..Event::new(
            trace,
            event_type,
            if is_drop { MachineType::StallCandidate } else { MachineType::Other },
            onset,
            score.abs() / threshold,
        )
    }
}

/// The medians of the speed on both sides of each sample, and their difference, the score.
struct Sides {
    medians: Medians,
    width: usize,
    scores: Vec<f64>,
}

impl Sides {
    fn new(speeds: &[f64], width: usize, min_valid: usize) -> Self {
        // A longer window would be cut to the trace.
        let width = width.min(speeds.len().max(1));
        let medians = median::sliding(speeds, width);
        let score = |at: usize| {
            let enough = medians.counts[at].min(medians.counts[at + width]) >= min_valid;
            if enough { medians.medians[at + width] - medians.medians[at] } else { f64::NAN }
        };
        let scores = (0..speeds.len()).map(score).collect();
        Self { medians, width, scores }
    }

    fn left(&self, at: usize) -> f64 {
        self.medians.medians[at]
    }

    fn right(&self, at: usize) -> f64 {
        self.medians.medians[at + self.width]
    }
}

/// Finds where shifts begin.
struct Onsets<'a> {
    sides: &'a Sides,
    /// How many known samples the median of a side needs.
    enough: usize,
    /// The median of all known speeds.
    overall: f64,
    smoothed: Vec<f64>,
    /// The minimum and maximum smoothed speed of each whole block of samples, NaN if one of them is. They let a long
    /// search skip blocks.
    blocks: Vec<(f64, f64)>,
}

impl<'a> Onsets<'a> {
    fn new(trace: &Trace<'_>, sides: &'a Sides, enough: usize, params: &ShiftParams) -> Self {
        let half = (odd(trace.samples(params.smooth_sec).max(3)) / 2).min(trace.len());
        let mut smoothed = median::sliding(&trace.speeds, 2 * half + 1).medians;
        // The window around a sample ends half a window after it.
        smoothed.drain(..=half);
        smoothed.truncate(trace.len());
        let ends = |block: &[f64]| {
            let known = (f64::INFINITY, f64::NEG_INFINITY);
            block.iter().fold(known, |(least, most), speed| {
                if speed.is_nan() || least.is_nan() {
                    (f64::NAN, f64::NAN)
                } else {
                    (least.min(*speed), most.max(*speed))
                }
            })
        };
        let blocks = smoothed.chunks_exact(BLOCK).map(ends).collect();
        let mut known: Vec<f64> = trace.speeds.iter().copied().filter(|speed| !speed.is_nan()).collect();
        Self { sides, enough, overall: stats::median(&mut known), smoothed, blocks }
    }

    fn of(&self, peak: usize, is_drop: bool) -> usize {
        let end = if is_drop { peak } else { peak + self.sides.width };
        let side =
            if self.sides.medians.counts[end] >= self.enough { self.sides.medians.medians[end] } else { self.overall };
        let half = 0.5 * side;
        // Both comparisons are false for NaN.
        let belongs = |least: f64, most: f64| if is_drop { most <= half } else { least >= half };
        let mut onset = peak;
        while onset > 0 {
            if onset.is_multiple_of(BLOCK) {
                let (least, most) = self.blocks[onset / BLOCK - 1];
                if belongs(least, most) {
                    onset -= BLOCK;
                    continue;
                }
            }
            let speed = self.smoothed[onset - 1];
            if !belongs(speed, speed) {
                break;
            }
            onset -= 1;
        }
        onset
    }
}

/// The first sample of a run with the greatest height.
fn first_greatest(run: RangeInclusive<usize>, height: impl Fn(usize) -> f64) -> usize {
    let mut found = *run.start();
    for at in run {
        if height(at) > height(found) {
            found = at;
        }
    }
    found
}

/// The samples with the lowest scores, so far apart that the ranges of ±`apart` samples around them do not overlap.
fn candidates(scores: &[f64], wanted: usize, apart: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|at| scores[*at].is_finite()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut taken = vec![false; scores.len()];
    let mut picks = Vec::new();
    for at in order {
        if picks.len() >= wanted {
            break;
        }
        if taken[at] {
            continue;
        }
        picks.push(at);
        // Two ranges of ±apart overlap if their middles are at most twice that far from each other.
        let reach = apart.saturating_mul(2);
        taken[at.saturating_sub(reach)..scores.len().min(at.saturating_add(reach).saturating_add(1))].fill(true);
    }
    picks
}
