//! Cookbook: the times at which a velocity crosses a threshold, one row per crossing.
//!
//! It shows: params with defaults, where unknown and wrong ones are errors; a schema for `kymhost params`; and a
//! table artifact with gaps that is read column by column.

use kymhost_plugin_api::prelude::*;

struct ThresholdCrossings;

/// The artifact that users write.
const PARAMS: &str = "threshold_crossings/params";

impl Indexer for ThresholdCrossings {
    const NAME: &'static str = "threshold_crossings";
    const ANALYSIS_VERSION: &'static str = "cookbook.threshold_crossings@1";
    const PARAMS_ARTIFACTS: &'static [&'static str] = &[PARAMS];
    const READS: &'static [&'static str] = &["radon/results"];
    const PARAMS_SCHEMA: &'static str = r#"{
        "type": "object",
        "properties": {
            "threshold_mm_s": {"type": "number", "default": 1.0},
            "direction": {"enum": ["up", "down", "both"], "default": "both"}
        },
        "additionalProperties": false
    }"#;

    /// All params including defaults, so that the hash is the same whether a default is written down or not.
    fn params(&self, record: &Record) -> Result<Json> {
        let params = Params::read(record)?;
        Ok(Json::object([("threshold_mm_s", params.threshold_mm_s.into()), ("direction", params.direction.into())]))
    }

    fn extract_rows(&self, record: &Record, _run: &Run) -> Result<Table> {
        let params = Params::read(record)?;
        let mut crossings = Vec::new();
        if let Some(results) = record.columns("radon/results")? {
            let (roi_ids, times) = (results.i64("roi_id")?, results.f64("time")?);
            let velocities = results.f64("velocity")?;
            // Two neighbouring rows of the same region.
            for at in 1..results.len() {
                if roi_ids[at - 1] == roi_ids[at] {
                    let (before, after) = ((times[at - 1], velocities[at - 1]), (times[at], velocities[at]));
                    crossings.extend(params.crossing(before, after).map(|(time, way)| (roi_ids[at], time, way)));
                }
            }
        }
        Table::builder()
            .column("roi_id", crossings.iter().map(|(roi_id, ..)| *roi_id).collect::<Vec<_>>())?
            .column("t_s", crossings.iter().map(|(_, time, _)| *time).collect::<Vec<_>>())?
            .column("direction", crossings.iter().map(|(.., way)| *way).collect::<Vec<_>>())?
            .build()
    }
}

export_plugin!(ThresholdCrossings);

struct Params {
    threshold_mm_s: f64,
    direction: String,
}

impl Params {
    fn read(record: &Record) -> Result<Self> {
        let mut params = Self { threshold_mm_s: 1.0, direction: "both".into() };
        let given = match record.json(PARAMS)? {
            None => return Ok(params),
            Some(Json::Object(given)) => given,
            Some(other) => return Err(Self::refused(record, format!("expected an object, found {other}"))),
        };
        for (key, value) in &given {
            let understood = match key.as_str() {
                "threshold_mm_s" => {
                    value.as_f64().filter(|value| value.is_finite()).map(|value| params.threshold_mm_s = value)
                }
                "direction" => value
                    .as_str()
                    .filter(|way| ["up", "down", "both"].contains(way))
                    .map(|way| params.direction = way.to_owned()),
                // A misspelled name must not silently give the default.
                _ => {
                    return Err(Self::refused(
                        record,
                        format!("unknown param '{key}'; there are threshold_mm_s, direction"),
                    ))
                }
            };
            understood.ok_or_else(|| Self::refused(record, format!("'{key}' cannot be {value}")))?;
        }
        Ok(params)
    }

    /// An error that names the file to correct.
    fn refused(record: &Record, why: String) -> Error {
        Error::msg(format!("{}: {why}", record.key(PARAMS, ArtifactKind::Json)))
    }

    /// Where the line between two samples crosses the threshold, and in which direction. A sample on the threshold
    /// counts as above it. Next to a gap (`NaN`) there is no crossing.
    fn crossing(&self, before: (f64, f64), after: (f64, f64)) -> Option<(f64, &'static str)> {
        let limit = self.threshold_mm_s;
        let way = match (before.1 >= limit, after.1 >= limit) {
            _ if !(before.1.is_finite() && after.1.is_finite()) => return None,
            (false, true) => "up",
            (true, false) => "down",
            _ => return None,
        };
        let time = before.0 + (after.0 - before.0) * (limit - before.1) / (after.1 - before.1);
        (self.direction == "both" || self.direction == way).then_some((time, way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_plugin_api::testing::{TestHost, TestRecord};

    fn record(results: &str) -> TestRecord {
        TestRecord::new().csv("radon/results", format!("roi_id,time,velocity\n{results}"))
    }

    /// The crossings as text: region, time, direction.
    fn crossings(record: &TestRecord) -> Vec<String> {
        let outcome = TestHost::new(ThresholdCrossings).extract(record);
        let rows = outcome.rows();
        assert_eq!(rows.columns(), ["roi_id", "t_s", "direction"]);
        let cells = rows.i64("roi_id").into_iter().zip(rows.f64("t_s")).zip(rows.text("direction"));
        cells.map(|((roi_id, time), way)| format!("{} {} {}", roi_id.unwrap(), time.unwrap(), way.unwrap())).collect()
    }

    /// Crossings are found between neighbouring samples of one region, but not across gaps.
    #[test]
    fn crossings_are_interpolated() {
        let cases: &[(&str, &[&str])] = &[
            ("1,0,0\n1,1,2\n1,2,2\n1,4,0\n", &["1 0.5 up", "1 3 down"]),
            // A sample on the threshold is above it: touching it from below is up and down.
            ("1,0,0\n1,1,1\n1,2,0\n", &["1 1 up", "1 1 down"]),
            ("1,0,1\n1,1,1\n1,2,2\n", &[]),
            // Neither a gap nor the boundary between regions is a crossing.
            ("1,0,0\n1,1,\n1,2,2\n", &[]),
            ("1,0,0\n1,1,inf\n", &[]),
            ("1,0,0\n2,1,2\n2,2,0\n", &["2 1.5 down"]),
            ("1,0,0\n", &[]),
            ("", &[]),
        ];
        for (results, expected) in cases {
            assert_eq!(crossings(&record(results)), *expected, "{results:?}");
        }
        assert_eq!(crossings(&TestRecord::new()), [""; 0]);
    }

    /// Missing params have defaults; unknown and wrong ones are errors that name the file.
    #[test]
    fn params_wrong_value_is_refused() {
        let with = |text: &str| record("1,0,0\n1,1,4\n1,2,0\n").json_text(PARAMS, text);
        assert_eq!(crossings(&with("{}")), ["1 0.25 up", "1 1.75 down"]);
        assert_eq!(crossings(&with(r#"{"threshold_mm_s": 2}"#)), ["1 0.5 up", "1 1.5 down"]);
        assert_eq!(crossings(&with(r#"{"threshold_mm_s": 2, "direction": "down"}"#)), ["1 1.5 down"]);
        for (text, words) in [
            (r#"{"treshold_mm_s": 2}"#, "unknown param 'treshold_mm_s'; there are threshold_mm_s, direction"),
            (r#"{"threshold_mm_s": "2"}"#, "'threshold_mm_s' cannot be \"2\""),
            (r#"{"threshold_mm_s": NaN}"#, "'threshold_mm_s' cannot be NaN"),
            (r#"{"direction": "left"}"#, "'direction' cannot be \"left\""),
            ("[]", "expected an object, found []"),
            ("{", "as JSON"),
        ] {
            let outcome = TestHost::new(ThresholdCrossings).extract(&with(text));
            let message = outcome.error().message();
            assert!(message.contains(words), "{message} lacks {words}");
            assert!(message.contains("analysis/threshold_crossings/params.json"), "{message} lacks the file");
        }
    }

    /// Writing a default down does not make the image stale.
    #[test]
    fn params_hash_default_equals_explicit() {
        let host = TestHost::new(ThresholdCrossings);
        let with = |text: &str| record("").json_text(PARAMS, text);
        host.assert_params_hash_stays(&record(""), &with(r#"{"threshold_mm_s": 1.0}"#));
        host.assert_params_hash_stays(&record(""), &with(r#"{"threshold_mm_s": 1}"#));
        host.assert_params_hash_changes(&record(""), &with(r#"{"threshold_mm_s": 2}"#));
        host.assert_params_hash_changes(&record(""), &with(r#"{"direction": "up"}"#));
    }

    /// The schema has the defaults that the code uses.
    #[test]
    fn schema_has_the_defaults() {
        let schema = Json::parse(ThresholdCrossings::PARAMS_SCHEMA.as_bytes()).unwrap();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap();
        let defaults =
            properties.iter().map(|(key, property)| (key.as_str(), property.get("default").unwrap().clone()));
        assert_eq!(TestHost::new(ThresholdCrossings).params(&record("")), Ok(Json::object(defaults)));
    }
}
