//! Why one image is fresh or stale: every reason that holds, with what was and what is.
//!
//! Responsible for its wording. It decides nothing and writes nothing.

use crate::error::IndexError;
use crate::json_diff::{Difference, diff_json};
use crate::names::TableName;
use crate::options::Compat;
use crate::plan::{Plan, PlanOptions, plan};
use crate::provenance::ImageFacts;
use crate::receipt::{self, ReadMarker};
use crate::staleness::{ImageReport, Reason};
use kymhost_dataset::{Dataset, DatasetError, Input, InputCheck, InputState, Record, check_input};
use kymhost_plugin::{IndexerInfo, ParamsReading, Workforce};
use kymhost_plugin_api::Json;
use std::sync::Arc;

/// How many digits of a digest are shown: enough to distinguish two.
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
    /// Every reason that applies, the one of the report first; empty if the image is fresh.
    pub causes: Vec<Cause>,
}

/// One reason, with what was and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The reason.
    pub reason: Reason,
    /// What was, in words: a version, a hash, a count of rows; `None` if there was nothing.
    pub before: Option<String>,
    /// What is.
    pub after: Option<String>,
    /// For [`Reason::StaleParamsChanged`]: where the params differ, as JSON pointers with the JSON texts of before
    /// and after.
    pub params: Vec<Difference>,
    /// For reasons about inputs: each key with what was found before and after, in words.
    pub inputs: Vec<Difference>,
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
    let before = RecordedState {
        record: &record,
        indexer,
        // Where it cannot be read, that is the reason, and has its words already.
        marker: record.marker_bytes(&indexer.marker_name).ok().flatten().and_then(|text| receipt::read(&text)),
        rows: plan.table.images.first().cloned().unwrap_or_default(),
    };
    let error = planned.report.error.as_deref();
    let causes = planned.reasons.iter().map(|reason| before.cause(*reason, &plan, image_id, hashed.as_ref(), error));
    let causes = causes.collect();
    Ok(Explanation { indexer: name.indexer().to_owned(), table: name.key_text(), report: planned.report, causes })
}

/// The current params, if the indexer can compute them.
fn ask(workforce: &mut dyn Workforce, image_id: &str) -> Result<Option<ParamsReading>, IndexError> {
    let mut found = None;
    workforce.params_readings(&[image_id.to_owned()], &mut |_, answer| found = answer.ok())?;
    Ok(found)
}

/// What was recorded of the image, in its marker and in the table.
struct RecordedState<'a> {
    record: &'a Record,
    indexer: &'a IndexerInfo,
    marker: Option<ReadMarker>,
    rows: ImageFacts,
}

impl RecordedState<'_> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_inputs() {
        let text = |found| input_text(&Input { key: "k".into(), found });
        let times = Some(kymhost_dataset::Times { mtime_ns: 1_795_483_323_999_999_999, ctime_ns: 0, inode: Some(5) });
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
}
