//! The indexer `event_detection`: events in the velocities that `radon_velocity` makes.
//!
//! Owns: where velocities and params come from, the columns. Never: finds events (see `kymhost_analysis::events`).
//!
//! It writes `velocity_events/params` and `velocity_events/events`, which the indexer `velocity_events` collects; its own dataset table has
//! a row an ROI. An image without velocities has no rows, and nothing is written. Methods, params and columns: `docs/analyses.md`.

use kymhost_analysis::events::{self, Event, EventType, Found, Params};
use kymhost_plugin_api::prelude::*;

/// The artifact of velocities.
const VELOCITY: &str = "radon_velocity/velocity";
/// The artifact of params.
const PARAMS: &str = "event_detection/params";
/// The artifact that says with which params the events were found.
const USED: &str = "velocity_events/params";
/// The artifact of events.
const EVENTS: &str = "velocity_events/events";

struct EventDetection;

export_plugin!(EventDetection);

impl Indexer for EventDetection {
    const NAME: &'static str = "event_detection";
    const ANALYSIS_VERSION: &'static str = "kymhost.event_detection@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[PARAMS];
    const READS: &'static [&'static str] = &[VELOCITY];
    const WRITES: &'static [Output] = &[Output::json(USED), Output::table(EVENTS)];
    const PARAMS_SCHEMA: &'static str = include_str!("params.schema.json");

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(params(record)?.to_json())
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let params = params(record)?;
        let traces = match record.columns(VELOCITY)? {
            Some(columns) => traces(columns.i64("roi_id")?, columns.f64("time")?, columns.f64("velocity")?)?,
            None => return summaries(&[]),
        };
        let mut done: Vec<(Trace, Found)> = Vec::with_capacity(traces.len());
        let count = traces.len();
        for (place, trace) in traces.into_iter().enumerate() {
            if run.cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "stopped"));
            }
            let found = events::detect(&trace.time_sec, &trace.velocity_mm_s, &params)?;
            done.push((trace, found));
            run.progress((place + 1) as f64 / count as f64);
        }
        run.put_json(USED, &params.to_json())?;
        run.put_table(EVENTS, table(&done)?)?;
        summaries(&done)
    }
}

/// The params, defaults included. Unknown and impossible ones are refused.
fn params(record: &Record<'_>) -> Result<Params> {
    Ok(match record.json(PARAMS)? {
        Some(given) => Params::of_json(&given)?,
        None => Params::default(),
    })
}

/// One ROI's velocities.
struct Trace {
    roi_id: i64,
    time_sec: Vec<f64>,
    velocity_mm_s: Vec<f64>,
}

/// The traces, in the order in which their ROIs come.
fn traces(ids: Vec<Option<i64>>, times: Vec<f64>, velocities: Vec<f64>) -> Result<Vec<Trace>> {
    let mut traces: Vec<Trace> = Vec::new();
    for (row, ((id, time), velocity)) in ids.into_iter().zip(times).zip(velocities).enumerate() {
        let roi_id = id.ok_or_else(|| {
            Error::new(ErrorKind::Unreadable, format!("row {row} of the table artifact '{VELOCITY}' has no roi_id"))
        })?;
        let place = match traces.iter().position(|trace| trace.roi_id == roi_id) {
            Some(place) => place,
            None => {
                traces.push(Trace { roi_id, time_sec: Vec::new(), velocity_mm_s: Vec::new() });
                traces.len() - 1
            }
        };
        if let Some(trace) = traces.get_mut(place) {
            trace.time_sec.push(time);
            trace.velocity_mm_s.push(velocity);
        }
    }
    Ok(traces)
}

fn whole(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The events of all ROIs, with the columns of the dataset table `velocity_events`.
fn table(done: &[(Trace, Found)]) -> Result<Table> {
    let all: Vec<(i64, usize, &Event)> = done
        .iter()
        .flat_map(|(trace, found)| found.events.iter().enumerate().map(|(place, event)| (trace.roi_id, place, event)))
        .collect();
    let float = |value: &dyn Fn(&Event) -> Option<f64>| -> Vec<Option<f64>> {
        all.iter().map(|(_, _, event)| value(event).filter(|value| !value.is_nan())).collect()
    };
    let count = |value: &dyn Fn(&Event) -> Option<usize>| -> Vec<Option<i64>> {
        all.iter().map(|(_, _, event)| value(event).map(whole)).collect()
    };
    Table::builder()
        .column("roi_id", all.iter().map(|(roi_id, ..)| *roi_id).collect::<Vec<_>>())?
        .column("event_id", all.iter().map(|(roi_id, place, _)| format!("{roi_id}-{place}")).collect::<Vec<_>>())?
        .column("t_start_s", float(&|event| Some(event.t_start_sec)))?
        .column("t_end_s", float(&|event| event.t_end_sec))?
        .column("peak_t_s", float(&|event| event.t_peak_sec))?
        .column("peak_value", float(&|event| event.score_peak))?
        .column("score", float(&|event| Some(event.strength)))?
        .column("event_type", all.iter().map(|(_, _, event)| event.event_type.name()).collect::<Vec<_>>())?
        .column("machine_type", all.iter().map(|(_, _, event)| event.machine_type.name()).collect::<Vec<_>>())?
        .column("i_start", all.iter().map(|(_, _, event)| whole(event.i_start)).collect::<Vec<_>>())?
        .column("i_peak", count(&|event| event.i_peak))?
        .column("i_end", count(&|event| event.i_end))?
        .column("baseline_before", float(&|event| event.baseline_before))?
        .column("baseline_after", float(&|event| event.baseline_after))?
        .column("nan_fraction_in_event", float(&|event| event.nan_fraction_in_event))?
        .column("n_valid_in_event", count(&|event| event.n_valid_in_event))?
        .column("duration_sec", float(&|event| event.duration_sec))?
        .build()
}

/// The rows of the dataset table: one an ROI.
fn summaries(done: &[(Trace, Found)]) -> Result<Table> {
    let of_type = |kind: EventType| -> Vec<i64> {
        let count = |found: &Found| found.events.iter().filter(|event| event.event_type == kind).count();
        done.iter().map(|(_, found)| whole(count(found))).collect()
    };
    let seconds_of = |kind: EventType| -> Vec<f64> {
        let seconds = |found: &Found| {
            found.events.iter().filter(|event| event.event_type == kind).filter_map(|event| event.duration_sec).sum()
        };
        done.iter().map(|(_, found)| seconds(found)).collect()
    };
    Table::builder()
        .column("roi_id", done.iter().map(|(trace, _)| trace.roi_id).collect::<Vec<_>>())?
        .column("n_samples", done.iter().map(|(trace, _)| whole(trace.time_sec.len())).collect::<Vec<_>>())?
        .column("sampling_rate_hz", done.iter().map(|(_, found)| found.sampling_rate_hz).collect::<Vec<_>>())?
        .column("threshold_mm_s", done.iter().map(|(_, found)| found.threshold_mm_s).collect::<Vec<_>>())?
        .column("n_baseline_drop", of_type(EventType::BaselineDrop))?
        .column("n_baseline_rise", of_type(EventType::BaselineRise))?
        .column("n_nan_gap", of_type(EventType::NanGap))?
        .column("n_zero_gap", of_type(EventType::ZeroGap))?
        .column("nan_gap_sec", seconds_of(EventType::NanGap))?
        .column("zero_gap_sec", seconds_of(EventType::ZeroGap))?
        .build()
}

#[cfg(test)]
mod tests;
