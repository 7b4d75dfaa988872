//! The run marker, which a run leaves for each image.
//!
//! This file has its fields and the rules by which a marker is valid. It does not know where markers are kept.

use crate::json::{Int, Object};
use crate::Json;

const MARKER_VERSION: &str = "1";

/// The fields of a valid run marker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunMarker {
    /// The indexer that ran. No rule uses it.
    pub indexer_name: String,
    /// The params hash of the run.
    pub params_hash: String,
    /// The indexer's analysis version at the time of the run.
    pub analysis_version: String,
    /// How many rows the run gave for this image.
    pub n_rows: u64,
    /// When it ran: nanoseconds since the Unix epoch, UTC.
    pub ran_utc_epoch_ns: i64,
    /// Always `"ok"` in markers that kymhost writes. No rule uses it.
    pub status: String,
}

impl RunMarker {
    /// A marker with status `"ok"`.
    pub fn new(
        indexer_name: impl Into<String>,
        params_hash: impl Into<String>,
        analysis_version: impl Into<String>,
        n_rows: u64,
        ran_utc_epoch_ns: i64,
    ) -> Self {
        Self {
            indexer_name: indexer_name.into(),
            params_hash: params_hash.into(),
            analysis_version: analysis_version.into(),
            n_rows,
            ran_utc_epoch_ns,
            status: "ok".into(),
        }
    }

    /// Reads a marker of version `"1"`. `None` if it is not valid.
    ///
    /// As in Python, `true` and `false` are the integers 1 and 0, and a float is not an integer. An integer above the
    /// range of its field becomes the largest value of the range; the marker stays valid.
    pub fn from_json(payload: &Json) -> Option<Self> {
        let fields = payload.as_object()?;
        if text(fields, "marker_version")? != MARKER_VERSION {
            return None;
        }
        let indexer_name = text(fields, "indexer_name")?;
        if indexer_name.chars().all(is_python_space) {
            return None;
        }
        Some(Self {
            indexer_name: indexer_name.to_owned(),
            params_hash: text(fields, "params_hash")?.to_owned(),
            analysis_version: text(fields, "analysis_version")?.to_owned(),
            n_rows: natural(fields.get("n_rows")?)?,
            ran_utc_epoch_ns: match natural(fields.get("ran_utc_epoch_ns")?)? {
                0 => return None,
                time => i64::try_from(time).unwrap_or(i64::MAX),
            },
            status: text(fields, "status")?.to_owned(),
        })
    }

    /// The JSON that is kept, with the fields in kymflow's order.
    pub fn to_json(&self) -> Json {
        Json::object([
            ("marker_version", MARKER_VERSION.into()),
            ("indexer_name", self.indexer_name.as_str().into()),
            ("params_hash", self.params_hash.as_str().into()),
            ("analysis_version", self.analysis_version.as_str().into()),
            ("n_rows", self.n_rows.into()),
            ("ran_utc_epoch_ns", self.ran_utc_epoch_ns.into()),
            ("status", self.status.as_str().into()),
        ])
    }
}

fn text<'a>(fields: &'a Object, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

/// An integer of at least 0, as Python's `isinstance(value, int) and value >= 0`.
fn natural(value: &Json) -> Option<u64> {
    match value {
        Json::Bool(value) => Some(u64::from(*value)),
        Json::Int(value) if !Int::is_negative(value) => Some(value.as_u64().unwrap_or(u64::MAX)),
        _ => None,
    }
}

/// Whether Python's `str.strip` removes it: Unicode white space and the four separators U+001C to U+001F.
fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text of a valid marker in which one field has another value, or is left out.
    fn marker(field: &str, value: Option<&str>) -> Option<RunMarker> {
        let mut fields = vec![
            ("marker_version", r#""1""#),
            ("indexer_name", r#""radon""#),
            ("params_hash", r#""h""#),
            ("analysis_version", r#""v""#),
            ("n_rows", "2"),
            ("ran_utc_epoch_ns", "5"),
            ("status", r#""ok""#),
        ];
        fields.retain(|(name, _)| *name != field);
        fields.extend(value.map(|value| (field, value)));
        let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        RunMarker::from_json(&Json::parse(format!("{{{}}}", members.join(",")).as_bytes()).unwrap())
    }

    /// A marker with a missing or wrong field is not valid.
    #[test]
    fn marker_each_field_is_validated() {
        let texts = ["marker_version", "indexer_name", "params_hash", "analysis_version", "status"];
        for field in texts {
            for value in ["1", "true", "null", "[]", "{}", "1.0"] {
                assert_eq!(marker(field, Some(value)), None, "{field} {value}");
            }
        }
        for field in texts.iter().chain(&["n_rows", "ran_utc_epoch_ns"]) {
            assert_eq!(marker(field, None), None, "{field} missing");
        }
        let cases: &[(&str, &str, bool)] = &[
            ("marker_version", r#""2""#, false),
            ("marker_version", r#"" 1""#, false),
            ("indexer_name", r#""""#, false),
            ("indexer_name", r#"" \t\u001c\u00a0""#, false),
            ("indexer_name", r#"" x ""#, true),
            ("indexer_name", r#""another""#, true),
            ("params_hash", r#""""#, true),
            ("analysis_version", r#""""#, true),
            ("status", r#""""#, true),
            ("status", r#""failed""#, true),
            ("n_rows", "-1", false),
            ("n_rows", "-99999999999999999999", false),
            ("n_rows", "0.0", false),
            ("n_rows", r#""0""#, false),
            ("n_rows", "null", false),
            ("n_rows", "-0", true),
            ("ran_utc_epoch_ns", "0", false),
            ("ran_utc_epoch_ns", "-1", false),
            ("ran_utc_epoch_ns", "5.0", false),
            ("ran_utc_epoch_ns", "false", false),
            ("ran_utc_epoch_ns", "true", true),
            ("extra", r#"{"a":[1]}"#, true),
        ];
        for (field, value, valid) in cases {
            assert_eq!(marker(field, Some(value)).is_some(), *valid, "{field} {value}");
        }
        for payload in [Json::Null, Json::Array(vec![1.into()]), "1".into(), Json::object([("n_events", 1.into())])] {
            assert_eq!(RunMarker::from_json(&payload), None, "{payload}");
        }
    }

    /// `true` counts as 1, and integers out of range become the largest value.
    #[test]
    fn marker_integers_follow_python() {
        let n_rows = |value| marker("n_rows", Some(value)).map(|marker| marker.n_rows);
        assert_eq!(n_rows("false"), Some(0));
        assert_eq!(n_rows("true"), Some(1));
        assert_eq!(n_rows("18446744073709551615"), Some(u64::MAX));
        assert_eq!(n_rows("18446744073709551616"), Some(u64::MAX));
        let time = |value| marker("ran_utc_epoch_ns", Some(value)).map(|marker| marker.ran_utc_epoch_ns);
        assert_eq!(time("true"), Some(1));
        assert_eq!(time("9223372036854775808"), Some(i64::MAX));
    }

    /// The text of a marker is that of kymflow, byte for byte.
    #[test]
    fn marker_text_equals_kymflow() {
        let text = RunMarker::new("radon", "h", "v@1", 3, 7).to_json().to_file_text();
        assert_eq!(
            text,
            "{\n  \"marker_version\": \"1\",\n  \"indexer_name\": \"radon\",\n  \"params_hash\": \"h\",\n  \
             \"analysis_version\": \"v@1\",\n  \"n_rows\": 3,\n  \"ran_utc_epoch_ns\": 7,\n  \"status\": \"ok\"\n}"
        );
    }

    proptest! {
        /// A marker is read back as it was written.
        #[test]
        fn marker_roundtrip_is_equal(
            (name, hash, version) in ("[a-z0-9_]{1,8}", ".{0,8}", ".{0,8}"),
            (n_rows, time) in (any::<u64>(), 1..i64::MAX),
        ) {
            let marker = RunMarker::new(name, hash, version, n_rows, time);
            let payload = Json::parse(marker.to_json().to_file_text().as_bytes()).unwrap();
            prop_assert_eq!(RunMarker::from_json(&payload), Some(marker));
        }

        /// Any JSON value, also as one of the fields, gives a marker or none.
        #[test]
        fn marker_any_payload_does_not_panic(value in crate::json::arbitrary::json(), field in 0..7usize) {
            let _ = RunMarker::from_json(&value);
            let mut fields = RunMarker::new("n", "h", "v", 1, 1).to_json();
            if let Json::Object(fields) = &mut fields {
                fields[field] = value;
            }
            let _ = RunMarker::from_json(&fields);
        }
    }
}
