//! Why one image is fresh or stale: every reason that holds, with what was and what is.
//!
//! Owns: the words for it, and how two JSON values differ. Never: decides anything, writes.

use crate::error::IndexError;
use crate::names::TableName;
use crate::options::Compat;
use crate::plan::{Plan, PlanOptions, plan};
use crate::provenance::ImageFacts;
use crate::receipt::{self, ReadMarker};
use crate::staleness::ImageReport;
use crate::staleness::Reason;
use kymhost_dataset::{Dataset, DatasetError, Input, InputCheck, InputState, Record, check_input};
use kymhost_plugin::{IndexerInfo, ParamsReading, Workforce};
use kymhost_plugin_api::{Json, canonical_json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So much of a digest is shown: enough to tell two apart.
const SHOWN_DIGITS: usize = 12;

/// Why one image is fresh or stale: every reason that holds, not only the first.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key.
    pub table: String,
    /// The image, as `status` reports it.
    pub report: ImageReport,
    /// Every reason that holds, the one of the report first; none where the image is fresh.
    pub causes: Vec<Cause>,
}

/// One reason, with what was and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The reason.
    pub reason: Reason,
    /// What was, in words: a version, a hash, a count of rows; none where nothing was.
    pub before: Option<String>,
    /// What is.
    pub after: Option<String>,
    /// For [`Reason::StaleParamsChanged`]: where the params differ, as JSON pointers with the JSON texts of before and after.
    pub params: Vec<Difference>,
    /// For reasons about inputs: each key with what was found before and after, in words.
    pub inputs: Vec<Difference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A key, or a JSON pointer.
    pub at: String,
    /// What was; `None`: nothing.
    pub before: Option<String>,
    /// What is; `None`: nothing.
    pub after: Option<String>,
}

/// Every reason that holds for one image; writes nothing.
///
/// # Errors
/// [`IndexError::UnknownImages`] if the dataset lacks it.
pub fn explain(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    image_id: &str,
    compat: Compat,
) -> Result<Explanation, IndexError> {
    let name = TableName::of(&indexer.name)?;
    let record = dataset.find_record(image_id).map_err(|error| match error {
        DatasetError::UnknownImage { id, .. } => IndexError::UnknownImages(vec![id]),
        other => other.into(),
    })?;
    let listing = Some(Arc::new(vec![image_id.to_owned()]));
    let options = PlanOptions { compat, listing, ..PlanOptions::default() };
    let mut plan = plan(dataset, indexer, &name, workforce, &options)?;
    let Some(planned) = plan.images.pop() else { return Err(IndexError::UnknownImages(vec![image_id.to_owned()])) };

    let hashed = match planned.reasons.contains(&Reason::StaleParamsChanged) {
        true => ask(workforce, image_id)?,
        false => None,
    };
    let before = Before {
        record: &record,
        indexer,
        // Where it cannot be read, that is the reason, and has its words already.
        marker: record.json_bytes(&indexer.marker_name).ok().flatten().and_then(|text| receipt::read(&text)),
        rows: plan.table.images.first().cloned().unwrap_or_default(),
    };
    let error = planned.report.error.as_deref();
    let causes = planned.reasons.iter().map(|reason| before.cause(*reason, &plan, image_id, hashed.as_ref(), error));
    let causes = causes.collect();
    Ok(Explanation { indexer: name.indexer().to_owned(), table: name.key_text(), report: planned.report, causes })
}

/// The params of now, where they can be had.
fn ask(workforce: &mut dyn Workforce, image_id: &str) -> Result<Option<ParamsReading>, IndexError> {
    let mut found = None;
    workforce.params_readings(&[image_id.to_owned()], &mut |_, answer| found = answer.ok())?;
    Ok(found)
}

/// What was recorded of the image, in its marker and in the table.
struct Before<'a> {
    record: &'a Record,
    indexer: &'a IndexerInfo,
    marker: Option<ReadMarker>,
    rows: ImageFacts,
}

impl Before<'_> {
    fn cause(
        &self,
        reason: Reason,
        plan: &Plan,
        image_id: &str,
        hashed: Option<&ParamsReading>,
        error: Option<&str>,
    ) -> Cause {
        let mut cause = Cause { reason, before: None, after: None, params: Vec::new(), inputs: Vec::new() };
        match reason {
            Reason::StaleUnreadable => cause.after = error.map(str::to_owned),
            Reason::StaleLastRunFailed => {
                cause.before = plan.failures.get(image_id).map(|failure| {
                    format!("{}: {} ({})", failure.kind, failure.message, time_text(failure.utc_epoch_ns))
                });
            }
            Reason::StaleInterrupted => {
                cause.before = Some("a run was killed while it committed this image".to_owned());
            }
            Reason::StaleVersionChanged => {
                cause.before = match &self.marker {
                    Some(read) => Some(read.marker.analysis_version.clone()),
                    None => {
                        Some(self.rows.analysis_version.as_deref().unwrap_or("rows of several versions").to_owned())
                    }
                };
                cause.after = Some(self.indexer.analysis_version.clone());
            }
            Reason::StaleParamsChanged => self.params_changed(&mut cause, hashed),
            Reason::StaleMarkerTableMismatch | Reason::StaleNoReceipt => {
                cause.before = self.marker_text();
                cause.after = Some(format!("the table has {}", rows_text(self.rows.rows)));
            }
            Reason::StaleUnknown => {
                cause.before = self.marker_text();
                let hash =
                    self.rows.params_hash.as_deref().map_or_else(|| "several params hashes".to_owned(), hash_text);
                let version = self.rows.analysis_version.as_deref().unwrap_or("several versions");
                cause.after = Some(format!("the table has {}: {hash}, {version}", rows_text(self.rows.rows)));
            }
            Reason::StaleRowsChanged => {
                let recorded = self.marker.as_ref().map(|read| read.marker.n_rows);
                cause.before = recorded.map(|rows| format!("the run wrote {}", rows_text(rows)));
                let other = if recorded == Some(self.rows.rows) { ", of other values" } else { "" };
                cause.after = Some(format!("the table has {}{other}", rows_text(self.rows.rows)));
            }
            Reason::StaleInputChanged
            | Reason::StaleInputAppeared
            | Reason::StaleInputRemoved
            | Reason::StaleOutputChanged => {
                cause.inputs = self.inputs(reason);
            }
            Reason::FreshRows | Reason::FreshZeroRows | Reason::StaleMissingMarker | Reason::PendingUpstream => {}
        }
        cause
    }

    fn marker_text(&self) -> Option<String> {
        let marker = &self.marker.as_ref()?.marker;
        let (hash, version) = (hash_text(&marker.params_hash), &marker.analysis_version);
        Some(format!("the marker has {}: {hash}, {version}", rows_text(marker.n_rows)))
    }

    fn params_changed(&self, cause: &mut Cause, hashed: Option<&ParamsReading>) {
        cause.before = match (&self.marker, &self.rows.params_hash) {
            (Some(read), _) => Some(hash_text(&read.marker.params_hash)),
            (None, Some(hash)) => Some(hash_text(hash)),
            (None, None) => Some("rows of several params hashes".to_owned()),
        };
        cause.after = hashed.map(|hashed| hash_text(&hashed.hash));
        let before = self.marker.as_ref().and_then(|read| read.receipt.as_ref()?.params.as_deref());
        let after = hashed.and_then(|hashed| hashed.value.as_deref());
        if let (Some(before), Some(after)) = (before, after)
            && let (Ok(before), Ok(after)) = (Json::parse(before.as_bytes()), Json::parse(after.as_bytes()))
        {
            cause.params = diff_json(&before, &after);
        }
    }

    fn inputs(&self, reason: Reason) -> Vec<Difference> {
        let receipt = self.marker.as_ref().and_then(|read| read.receipt.as_ref());
        let recorded = receipt.and_then(|receipt| match reason {
            Reason::StaleOutputChanged => Some(receipt.outputs.as_slice()),
            _ => receipt.inputs.rows.as_deref(),
        });
        let mut differences = Vec::new();
        for input in recorded.unwrap_or_default() {
            let after = match (reason, check_input(self.record, self.indexer.own(), input)) {
                (Reason::StaleInputChanged | Reason::StaleOutputChanged, Ok(InputCheck::Changed(now))) => {
                    Some(input_text(&now))
                }
                (Reason::StaleInputAppeared, Ok(InputCheck::Appeared(now))) => Some(input_text(&now)),
                (Reason::StaleInputRemoved | Reason::StaleOutputChanged, Ok(InputCheck::Removed)) => {
                    Some("absent".to_owned())
                }
                _ => continue,
            };
            differences.push(Difference { at: input.key.clone(), before: Some(input_text(input)), after });
        }
        differences
    }
}

fn rows_text(rows: u64) -> String {
    match rows {
        0 => "no rows".to_owned(),
        1 => "1 row".to_owned(),
        _ => format!("{} rows", grouped(rows)),
    }
}

fn hash_text(hash: &str) -> String {
    format!("params hash {}", shortened(hash))
}

fn digest_text(sha256: &str) -> String {
    if sha256.is_empty() { "unreadable".to_owned() } else { format!("sha256 {}", shortened(sha256)) }
}

fn shortened(digest: &str) -> String {
    let shown: String = digest.chars().take(SHOWN_DIGITS).collect();
    if shown.len() == digest.len() { shown } else { shown + "…" }
}

fn time_text(utc_epoch_ns: i64) -> String {
    jiff::Timestamp::from_second(utc_epoch_ns.div_euclid(1_000_000_000))
        .map_or_else(|_| "at an impossible time".to_owned(), |time| time.to_string())
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes_text(size: u64) -> String {
    format!("{} {}", grouped(size), if size == 1 { "byte" } else { "bytes" })
}

fn input_text(input: &Input) -> String {
    match &input.found {
        InputState::Absent => "absent".to_owned(),
        InputState::File { size, times, sha256 } => {
            let time = times.map(|times| format!(", {}", time_text(times.mtime_ns))).unwrap_or_default();
            format!("{}, {}{time}", bytes_text(*size), digest_text(sha256))
        }
        InputState::Array { size, chunks, sha256, .. } => {
            let chunks = format!("{} {}", grouped(*chunks), if *chunks == 1 { "chunk" } else { "chunks" });
            format!("{} in {chunks}, {}", bytes_text(*size), digest_text(sha256))
        }
        InputState::Attributes { sha256 } => format!("attributes, {}", digest_text(sha256)),
        InputState::Listing { sha256 } => format!("list of artifacts, {}", digest_text(sha256)),
    }
}

/// Where two values differ, as JSON pointers in the order of the document (members by name), with the canonical texts of
/// before and after. Values are the same where their canonical texts are.
pub fn diff_json(before: &Json, after: &Json) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(&mut String::new(), Some(before), Some(after), &mut found);
    found
}

fn differ(at: &mut String, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<Difference>) {
    let length = at.len();
    match (before, after) {
        (Some(Json::Object(old)), Some(Json::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                differ(at, old.get(name), new.get(name), found);
                at.truncate(length);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) => {
            for place in 0..old.len().max(new.len()) {
                at.push_str(&format!("/{place}"));
                differ(at, old.get(place), new.get(place), found);
                at.truncate(length);
            }
        }
        _ => {
            let (before, after) = (before.map(canonical_json), after.map(canonical_json));
            if before != after {
                found.push(Difference { at: at.clone(), before, after });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn differences(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let found = diff_json(&Json::parse(before.as_bytes()).unwrap(), &Json::parse(after.as_bytes()).unwrap());
        found.into_iter().map(|difference| (difference.at, difference.before, difference.after)).collect()
    }

    #[test]
    fn values_differ_where_their_texts_do() {
        type Case = (&'static str, &'static str, &'static [(&'static str, Option<&'static str>, Option<&'static str>)]);
        let cases: &[Case] = &[
            ("{}", "{}", &[]),
            ("{\"a\":1,\"b\":[2]}", "{\"b\":[2],\"a\":1}", &[]),
            ("NaN", "NaN", &[]),
            ("1", "1.0", &[("", Some("1"), Some("1.0"))]),
            ("0.0", "-0.0", &[("", Some("0.0"), Some("-0.0"))]),
            ("{}", "[]", &[("", Some("{}"), Some("[]"))]),
            ("{\"a\":{}}", "{\"a\":[]}", &[("/a", Some("{}"), Some("[]"))]),
            ("{\"a\":1}", "{\"b\":1}", &[("/a", Some("1"), None), ("/b", None, Some("1"))]),
            ("{\"a\":null}", "{}", &[("/a", Some("null"), None)]),
            ("[1,2]", "[1,3,4]", &[("/1", Some("2"), Some("3")), ("/2", None, Some("4"))]),
            ("{\"a/b\":{\"~\":1}}", "{\"a/b\":{\"~\":2}}", &[("/a~1b/~0", Some("1"), Some("2"))]),
            ("{\"~1\":1}", "{\"~1\":2}", &[("/~01", Some("1"), Some("2"))]),
            ("{\"\":1}", "{\"\":2}", &[("/", Some("1"), Some("2"))]),
            ("{\"é\":\"x\\u0000\"}", "{\"é\":{\"k\":[]}}", &[("/é", Some("\"x\\u0000\""), Some("{\"k\":[]}"))]),
            ("{\"a\":[{\"b\":1}]}", "{\"a\":[{\"b\":2}]}", &[("/a/0/b", Some("1"), Some("2"))]),
        ];
        for (before, after, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(at, before, after)| ((*at).to_owned(), before.map(str::to_owned), after.map(str::to_owned)))
                .collect();
            assert_eq!(differences(before, after), expected, "{before} {after}");
        }
    }

    #[test]
    fn nesting_as_deep_as_it_is_read() {
        let deep = |leaf: &str| "[".repeat(899) + leaf + &"]".repeat(899);
        let found = differences(&deep("1"), &deep("2"));
        assert_eq!(found, [("/0".repeat(899), Some("1".to_owned()), Some("2".to_owned()))]);
    }

    #[test]
    fn words_for_inputs() {
        let text = |found| input_text(&Input { key: "k".into(), found });
        let times = Some(kymhost_dataset::Times { mtime_ns: 1_795_483_323_999_999_999, ctime_ns: 0 });
        let sha256 = "ab12".repeat(16);
        let cases = [
            (InputState::Absent, "absent"),
            (
                InputState::File { size: 1_234, times, sha256: sha256.clone() },
                "1,234 bytes, sha256 ab12ab12ab12…, 2026-11-24T01:22:03Z",
            ),
            (InputState::File { size: 1, times: None, sha256: String::new() }, "1 byte, unreadable"),
            (
                InputState::Array { size: 1_000_000, chunks: 1, stats_sha256: None, sha256: sha256.clone() },
                "1,000,000 bytes in 1 chunk, sha256 ab12ab12ab12…",
            ),
            (
                InputState::Array { size: 999, chunks: 2, stats_sha256: None, sha256: sha256.clone() },
                "999 bytes in 2 chunks, sha256 ab12ab12ab12…",
            ),
            (InputState::Attributes { sha256: sha256.clone() }, "attributes, sha256 ab12ab12ab12…"),
            (InputState::Listing { sha256 }, "list of artifacts, sha256 ab12ab12ab12…"),
        ];
        for (found, expected) in cases {
            assert_eq!(text(found), expected);
        }
    }

    /// Any small value, of few names so that two of them have some in common.
    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            (-2i64..3).prop_map(Json::from),
            prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(1.0)].prop_map(Json::Float),
            "[a~/]{0,2}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
                prop::collection::vec(("[a~/]{0,2}", inner), 0..4).prop_map(Json::object),
            ]
        })
    }

    /// The value that a pointer leads to.
    fn at<'a>(value: &'a Json, pointer: &str) -> Option<&'a Json> {
        pointer.split('/').skip(1).try_fold(value, |value, token| match value {
            Json::Array(items) => items.get(token.parse::<usize>().ok()?),
            other => other.get(&token.replace("~1", "/").replace("~0", "~")),
        })
    }

    proptest! {
        #[test]
        fn there_is_a_difference_where_values_differ_and_only_there(before in json(), after in json()) {
            let found = diff_json(&before, &after);
            prop_assert_eq!(found.is_empty(), canonical_json(&before) == canonical_json(&after));
            prop_assert_eq!(diff_json(&before, &before), []);
            for difference in found {
                prop_assert_eq!(at(&before, &difference.at).map(canonical_json), difference.before.clone());
                prop_assert_eq!(at(&after, &difference.at).map(canonical_json), difference.after.clone());
                prop_assert_ne!(difference.before, difference.after);
            }
        }
    }
}
