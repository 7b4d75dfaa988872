//! Cookbook: the number of events of each region, from another plugin's table artifact; one row per region.
//!
//! It shows: rows grouped by a column, in an order that depends only on the data; columns that an artifact may lack;
//! and `READS`, which makes a run of both plugins do the other one first.

use kymhost_plugin_api::prelude::*;
use std::collections::BTreeMap;

struct EventSummary;

const EVENTS: &str = "velocity_events/events";

impl Indexer for EventSummary {
    const NAME: &'static str = "event_summary";
    const ANALYSIS_VERSION: &'static str = "cookbook.event_summary@1";
    const READS: &'static [&'static str] = &[EVENTS];

    fn params(&self, _record: &Record) -> Result<Json> {
        Ok(Json::Null)
    }

    fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
        // Sorted by region. A `HashMap` would give a different order each time, and `kymhost verify` would report
        // differing rows.
        let mut regions: BTreeMap<Option<i64>, Summary> = BTreeMap::new();
        if let Some(events) = record.columns(EVENTS)? {
            let (starts, stops) = (events.f64("t_start_s")?, events.f64("t_end_s")?);
            // Older events have no score.
            let scores = if events.has("score") { events.f64("score")? } else { vec![f64::NAN; events.len()] };
            for (at, roi_id) in events.i64("roi_id")?.into_iter().enumerate() {
                regions.entry(roi_id).or_default().add(stops[at] - starts[at], scores[at]);
            }
        }
        let summaries = || regions.values();
        Table::builder()
            .column("roi_id", regions.keys().copied().collect::<Vec<_>>())?
            .column("n_events", summaries().map(|summary| summary.n_events).collect::<Vec<_>>())?
            .column("n_open", summaries().map(|summary| summary.n_open).collect::<Vec<_>>())?
            .column("total_duration_s", summaries().map(|summary| summary.total_duration_s).collect::<Vec<_>>())?
            .column("max_score", summaries().map(|summary| summary.max_score).collect::<Vec<_>>())?
            .build()
    }
}

export_plugin!(EventSummary);

#[derive(Default)]
struct Summary {
    n_events: i64,
    /// Events without an end.
    n_open: i64,
    /// The sum over the events that have an end.
    total_duration_s: f64,
    max_score: Option<f64>,
}

impl Summary {
    fn add(&mut self, duration_s: f64, score: f64) {
        self.n_events += 1;
        // One missing number must not make the whole sum missing.
        if duration_s.is_finite() {
            self.total_duration_s += duration_s;
        } else {
            self.n_open += 1;
        }
        if !score.is_nan() {
            self.max_score = Some(self.max_score.map_or(score, |most| most.max(score)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::testing::{TestHost, TestRecord};

    const COLUMNS: [&str; 5] = ["roi_id", "n_events", "n_open", "total_duration_s", "max_score"];

    /// Events without an end are counted, but do not make the sum missing.
    #[test]
    fn events_are_counted_per_region() {
        let text = "roi_id,t_start_s,t_end_s,score\n2,0,1,0.5\n1,0,0.25,\n2,5,,0.75\n1,1,1.25,\n,3,4,1\n";
        let outcome = TestHost::new(EventSummary).extract(&TestRecord::new().csv(EVENTS, text));
        let rows = outcome.rows();
        assert_eq!(rows.columns(), COLUMNS);
        assert_eq!(rows.i64("roi_id"), [None, Some(1), Some(2)]);
        assert_eq!(rows.i64("n_events"), [Some(1), Some(2), Some(2)]);
        assert_eq!(rows.i64("n_open"), [Some(0), Some(0), Some(1)]);
        assert_eq!(rows.f64("total_duration_s"), [Some(1.0), Some(0.5), Some(1.0)]);
        assert_eq!(rows.f64("max_score"), [Some(1.0), None, Some(0.75)]);
    }

    /// Region ids that became floats are read, and a missing score column is allowed.
    #[test]
    fn float_regions_without_scores_are_read() {
        let events = Table::builder()
            .column("roi_id", vec![1.0, 1.0])
            .and_then(|table| table.column("t_start_s", vec![0.0, 1.0])?.column("t_end_s", vec![0.5, 1.5])?.build());
        let outcome = TestHost::new(EventSummary).extract(&TestRecord::new().table(EVENTS, events.unwrap()));
        assert_eq!((outcome.rows().i64("roi_id"), outcome.rows().i64("n_events")), (vec![Some(1)], vec![Some(2)]));
        assert_eq!(outcome.rows().f64("max_score"), [None]);
    }

    /// Without events there are no rows, but all columns.
    #[test]
    fn no_events_give_no_rows() {
        for record in [TestRecord::new(), TestRecord::new().csv(EVENTS, "roi_id,t_start_s,t_end_s\n")] {
            let outcome = TestHost::new(EventSummary).extract(&record);
            assert!(outcome.rows().is_empty());
            assert_eq!(outcome.rows().columns(), COLUMNS);
        }
    }

    /// Unreadable events are an error, and the order of rows is deterministic.
    #[test]
    fn unreadable_events_are_error() {
        let host = TestHost::new(EventSummary);
        let broken = host.extract(&TestRecord::new().unreadable(EVENTS, ArtifactKind::Parquet));
        assert_eq!(broken.error().kind(), ErrorKind::Unreadable);
        let many: String = (0..99).map(|number| format!("{},0,1\n", number * 37 % 17)).collect();
        host.assert_deterministic(&TestRecord::new().csv(EVENTS, format!("roi_id,t_start_s,t_end_s\n{many}")));
    }
}
