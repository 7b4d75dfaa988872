//! Cookbook: the velocity during each event, which joins two artifacts; one row per event.
//!
//! It shows: two table artifacts joined by region and time; what to do if one of them is absent; and `READS`, for
//! artifacts that other indexers may write.

use kymhost_plugin_api::prelude::*;

struct EventVelocity;

const EVENTS: &str = "velocity_events/events";
const VELOCITIES: &str = "radon/results";

impl Indexer for EventVelocity {
    const NAME: &'static str = "event_velocity";
    const ANALYSIS_VERSION: &'static str = "cookbook.event_velocity@1";
    /// In a run of several indexers, those that write these artifacts run first.
    const READS: &'static [&'static str] = &[EVENTS, VELOCITIES];

    fn params(&self, _record: &Record) -> Result<Json> {
        Ok(Json::Null)
    }

    fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
        // Both are always read, so that kymhost knows both: if either appears, disappears or changes, the image is
        // analysed again.
        let (events, velocities) = (record.columns(EVENTS)?, record.columns(VELOCITIES)?);
        let Some(events) = events else { return table(&[]) };
        let samples = match &velocities {
            Some(columns) => Samples {
                roi_ids: columns.i64("roi_id")?,
                times: columns.f64("time")?,
                velocities: columns.f64("velocity")?,
            },
            // Events without velocities keep their rows, with empty cells.
            None => Samples::default(),
        };
        let (roi_ids, starts, stops) = (events.i64("roi_id")?, events.f64("t_start_s")?, events.f64("t_end_s")?);
        let row = |at: usize| {
            let inside = samples.between(roi_ids[at], starts[at], stops[at]);
            let mean_mm_s = (!inside.is_empty()).then(|| inside.iter().sum::<f64>() / inside.len() as f64);
            Row { roi_id: roi_ids[at], t_start_s: starts[at], n_samples: inside.len() as i64, mean_mm_s }
        };
        table(&(0..events.len()).map(row).collect::<Vec<_>>())
    }
}

export_plugin!(EventVelocity);

#[derive(Default)]
struct Samples {
    roi_ids: Vec<Option<i64>>,
    times: Vec<f64>,
    velocities: Vec<f64>,
}

impl Samples {
    /// The finite velocities of a region between two times, both included. A missing time (`NaN`) gives none.
    fn between(&self, roi_id: Option<i64>, start_s: f64, stop_s: f64) -> Vec<f64> {
        let samples = self.roi_ids.iter().zip(&self.times).zip(&self.velocities);
        let inside = samples.filter(|((of, time), velocity)| {
            // A missing region does not equal another missing one.
            roi_id.is_some() && **of == roi_id && (start_s..=stop_s).contains(*time) && velocity.is_finite()
        });
        inside.map(|(_, velocity)| *velocity).collect()
    }
}

struct Row {
    roi_id: Option<i64>,
    t_start_s: f64,
    n_samples: i64,
    mean_mm_s: Option<f64>,
}

fn table(rows: &[Row]) -> Result<Table> {
    Table::builder()
        .column("roi_id", rows.iter().map(|row| row.roi_id).collect::<Vec<_>>())?
        .column(
            "t_start_s",
            rows.iter().map(|row| Some(row.t_start_s).filter(|time| !time.is_nan())).collect::<Vec<_>>(),
        )?
        .column("n_samples", rows.iter().map(|row| row.n_samples).collect::<Vec<_>>())?
        .column("mean_mm_s", rows.iter().map(|row| row.mean_mm_s).collect::<Vec<_>>())?
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::testing::{Outcome, TestHost, TestRecord};

    fn events(rows: &str) -> TestRecord {
        TestRecord::new().csv(EVENTS, format!("roi_id,t_start_s,t_end_s\n{rows}"))
    }

    fn with_velocities(record: TestRecord) -> TestRecord {
        record.csv(VELOCITIES, "roi_id,time,velocity\n1,0,1\n1,1,2\n1,2,\n1,3,6\n2,1,50\n,1,70\n")
    }

    fn extract(record: &TestRecord) -> Outcome {
        TestHost::new(EventVelocity).extract(record)
    }

    /// Only samples of the same region, within the event's time, are used.
    #[test]
    fn event_has_velocities_of_its_region_and_time() {
        // The event; then the number of its samples and their mean.
        for (event, n_samples, mean) in [
            ("1,0,1", 2, Some(1.5)),
            ("1,1,3", 2, Some(4.0)),
            ("1,2,2", 0, None),
            ("1,1.5,1.6", 0, None),
            ("1,3,1", 0, None),
            ("1,0,", 0, None),
            ("2,0,9", 1, Some(50.0)),
            ("3,0,9", 0, None),
            (",0,9", 0, None),
        ] {
            let outcome = extract(&with_velocities(events(event)));
            let rows = outcome.rows();
            assert_eq!((rows.i64("n_samples"), rows.f64("mean_mm_s")), (vec![Some(n_samples)], vec![mean]), "{event}");
        }
    }

    /// Either artifact may be absent, and both are recorded as inputs.
    #[test]
    fn absent_artifacts_are_inputs() {
        let both = with_velocities(events("1,0,1\n"));
        for (record, rows) in [
            (both.clone(), 1),
            (both.clone().without(VELOCITIES), 1),
            (both.clone().without(EVENTS), 0),
            (with_velocities(events("")), 0),
            (TestRecord::new(), 0),
        ] {
            let outcome = extract(&record);
            assert_eq!(outcome.rows().len(), rows);
            assert_eq!(outcome.rows().columns(), ["roi_id", "t_start_s", "n_samples", "mean_mm_s"]);
            // Both are inputs, whether they exist or not.
            let looked_for = [outcome.read(), outcome.missed()].concat();
            for name in [EVENTS, VELOCITIES] {
                assert!(looked_for.contains(&format!("csv {name}")), "{looked_for:?} lacks {name}");
            }
        }
    }

    /// The error names the file and the missing column.
    #[test]
    fn events_without_column_is_error() {
        let outcome = extract(&TestRecord::new().csv(EVENTS, "roi_id,begin\n1,0\n"));
        let message = outcome.error().message();
        assert!(message.contains("events.csv.gz has no column 't_start_s', but roi_id, begin"), "{message}");
        TestHost::new(EventVelocity).assert_deterministic(&with_velocities(events("1,0,1\n2,0,1\n")));
    }
}
