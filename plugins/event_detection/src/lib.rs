//! The indexer `event_detection`: from an image's velocities to events.
//!
//! This file reads velocities and params, and makes the columns of the artifacts and of the table. The method is in
//! `kymhost-analysis`.
//!
//! It writes the artifacts that the indexer `velocity_events` reads: `velocity_events/events` with one row per event,
//! and `velocity_events/params` with the params that were used. Its own table has one row per ROI. All are described
//! in `docs/guides/analyses.md`.

use kymhost_analysis::cells::{known, signed};
use kymhost_analysis::events::{self, DetectedEvents, Event, EventParams, EventType, MachineType};
use kymhost_plugin_api::Columns;
use kymhost_plugin_api::prelude::*;

/// The params that users set.
const PARAMS: &str = "event_detection/params";
/// The velocities to read: one row per window and ROI.
const VELOCITY: &str = "radon_velocity/velocity";
/// The params that were used.
const USED: &str = "velocity_events/params";
/// The artifact with one row per event.
const EVENTS: &str = "velocity_events/events";

struct EventDetection;

impl Indexer for EventDetection {
    const NAME: &'static str = "event_detection";
    const ANALYSIS_VERSION: &'static str = "kymhost.event_detection@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[PARAMS];
    const WRITES: &'static [Output] = &[Output::json(USED), Output::table(EVENTS)];
    const READS: &'static [&'static str] = &[VELOCITY];
    const PARAMS_SCHEMA: &'static str = include_str!("params.schema.json");

    fn params(&self, record: &Record<'_>) -> Result<Json> {
        Ok(params(record)?.to_json())
    }

    fn extract_rows(&self, record: &Record<'_>, run: &Run<'_>) -> Result<Table> {
        let params = params(record)?;
        // Without velocities nothing was analysed: there are no rows, and no artifact that claims that there are no
        // events.
        let Some(velocities) = record.columns(VELOCITY)? else { return table(&[]) };
        let traces = traces(&velocities).map_err(|error| {
            let why = format!("{}: {}", record.key(VELOCITY, ArtifactKind::Parquet), error.message());
            Error::new(error.kind(), why)
        })?;
        let mut results = Vec::with_capacity(traces.len());
        for (at, trace) in traces.iter().enumerate() {
            if run.cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "stopped"));
            }
            run.progress(at as f64 / traces.len() as f64);
            let found = events::detect(&trace.times, &trace.velocities, &params)?;
            results.push(RoiResult { roi_id: trace.roi_id, n_samples: trace.times.len(), found });
        }
        run.put_json(USED, &params.to_json())?;
        run.put_table(EVENTS, event_table(&results)?)?;
        table(&results)
    }
}

export_plugin!(EventDetection);

/// The params, with defaults for missing ones.
fn params(record: &Record<'_>) -> Result<EventParams> {
    let Some(given) = record.json(PARAMS)? else { return Ok(EventParams::default()) };
    EventParams::of_json(&given)
        .map_err(|error| Error::msg(format!("{}: {error}", record.key(PARAMS, ArtifactKind::Json))))
}

/// The velocities of one ROI, in the order of their rows.
struct Trace {
    roi_id: i64,
    times: Vec<f64>,
    velocities: Vec<f64>,
}

/// The traces in a table of velocities, in the order in which their ROIs first appear.
fn traces(rows: &Columns) -> Result<Vec<Trace>> {
    let (roi_ids, times, velocities) = (rows.i64("roi_id")?, rows.f64("time")?, rows.f64("velocity")?);
    let mut traces: Vec<Trace> = Vec::new();
    let mut last = 0;
    for (row, roi_id) in roi_ids.into_iter().enumerate() {
        let roi_id = roi_id.ok_or_else(|| Error::msg(format!("row {row} has no roi_id")))?;
        // Rows of the same ROI usually follow each other.
        if traces.get(last).is_none_or(|trace| trace.roi_id != roi_id) {
            last = traces.iter().position(|trace| trace.roi_id == roi_id).unwrap_or(traces.len());
        }
        if last == traces.len() {
            traces.push(Trace { roi_id, times: Vec::new(), velocities: Vec::new() });
        }
        traces[last].times.push(times[row]);
        traces[last].velocities.push(velocities[row]);
    }
    Ok(traces)
}

struct RoiResult {
    roi_id: i64,
    n_samples: usize,
    found: DetectedEvents,
}

/// The events, with one row per event.
fn event_table(results: &[RoiResult]) -> Result<Table> {
    let numbered = |result: &RoiResult| -> Vec<(i64, String)> {
        (0..result.found.events.len()).map(|k| (result.roi_id, format!("{}-{k}", result.roi_id))).collect()
    };
    let (roi_ids, event_ids): (Vec<i64>, Vec<String>) = results.iter().flat_map(numbered).unzip();
    let events: Vec<&Event> = results.iter().flat_map(|result| &result.found.events).collect();
    let number = |field: fn(&Event) -> Option<f64>| -> Vec<Option<f64>> {
        events.iter().map(|event| field(event).and_then(known)).collect()
    };
    let count = |field: fn(&Event) -> Option<usize>| -> Vec<Option<i64>> {
        events.iter().map(|event| field(event).map(signed)).collect()
    };
    let text =
        |field: fn(&Event) -> &'static str| -> Vec<&'static str> { events.iter().map(|event| field(event)).collect() };
    Table::builder()
        .column("roi_id", roi_ids)?
        .column("event_id", event_ids)?
        .column("t_start_s", number(|event| Some(event.t_start_sec)))?
        .column("t_end_s", number(|event| event.t_end_sec))?
        .column("peak_t_s", number(|event| event.t_peak_sec))?
        .column("peak_value", number(|event| event.score_peak))?
        .column("score", number(|event| Some(event.strength)))?
        .column("event_type", text(|event| event.event_type.name()))?
        .column("machine_type", text(|event| event.machine_type.name()))?
        .column("i_start", count(|event| Some(event.i_start)))?
        .column("i_peak", count(|event| event.i_peak))?
        .column("i_end", count(|event| event.i_end))?
        .column("baseline_before", number(|event| event.baseline_before))?
        .column("baseline_after", number(|event| event.baseline_after))?
        .column("nan_fraction_in_event", number(|event| event.nan_fraction_in_event))?
        .column("n_valid_in_event", count(|event| event.n_valid_in_event))?
        .column("duration_sec", number(|event| event.duration_sec))?
        .build()
}

/// The table, with one row per ROI.
fn table(results: &[RoiResult]) -> Result<Table> {
    let count = |counts: &dyn Fn(&Event) -> bool| -> Vec<i64> {
        let of = |result: &RoiResult| signed(result.found.events.iter().filter(|event| counts(event)).count());
        results.iter().map(of).collect()
    };
    let of_type = |event_type| count(&move |event| event.event_type == event_type);
    let seconds = |event_type| -> Vec<Option<f64>> {
        let of = |result: &RoiResult| -> f64 {
            let events = result.found.events.iter().filter(|event| event.event_type == event_type);
            events.filter_map(|event| event.duration_sec).sum()
        };
        results.iter().map(|result| known(of(result))).collect()
    };
    Table::builder()
        .column("roi_id", results.iter().map(|result| result.roi_id).collect::<Vec<_>>())?
        .column("n_samples", results.iter().map(|result| signed(result.n_samples)).collect::<Vec<_>>())?
        .column("sampling_rate_hz", results.iter().map(|result| result.found.sampling_rate_hz).collect::<Vec<_>>())?
        .column("threshold_mm_s", results.iter().map(|result| result.found.threshold_mm_s).collect::<Vec<_>>())?
        .column("n_events", count(&|_| true))?
        .column("n_baseline_drop", of_type(EventType::BaselineDrop))?
        .column("n_baseline_rise", of_type(EventType::BaselineRise))?
        .column("n_nan_gap", of_type(EventType::NanGap))?
        .column("n_zero_gap", of_type(EventType::ZeroGap))?
        .column("n_stall_candidate", count(&|event| event.machine_type == MachineType::StallCandidate))?
        .column("nan_gap_sec", seconds(EventType::NanGap))?
        .column("zero_gap_sec", seconds(EventType::ZeroGap))?
        .build()
}

#[cfg(test)]
mod metamorphic;
#[cfg(test)]
mod tests;
