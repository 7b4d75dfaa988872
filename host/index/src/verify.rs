//! `verify`: extracts fresh images again, twice, and compares the results with the receipts, the table and the
//! artifacts.
//!
//! Responsible for which images, and for what is compared with what. It writes nothing and takes no lock.

use crate::error::IndexError;
use crate::names::TableName;
use crate::observer::Observer;
use crate::plan::{self, Plan, PlanOptions};
use crate::receipt;
use crate::rows_digest::{self, rows_digest};
use crate::staleness::Reason;
use crate::verify_artifacts::ComparedArtifact;
use kymhost_dataset::{Dataset, InputState};
use kymhost_plugin::{Failure, IndexerInfo, Made, Workforce};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How often all is read again because another program has written the table in between.
const MAX_LOOKS: usize = 5;

/// What `verify` looks at.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How many fresh images, drawn evenly (default: all).
    pub sample: Option<u64>,
    /// Also compute the digests of the rows in the table, though its seal holds.
    pub rows: bool,
}

/// What `verify` found; nothing was written.
#[derive(Debug, Clone)]
pub struct Verification {
    /// The indexer's name.
    pub indexer: String,
    /// The table's key.
    pub table: String,
    /// Fresh images, and how many of them were extracted again.
    pub fresh: u64,
    /// See `fresh`.
    pub checked: u64,
    /// What was found wrong, in id order.
    pub findings: Vec<VerifyFinding>,
}

/// An image of which not all is what a new extraction gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyFinding {
    /// The image.
    pub image_id: String,
    /// What.
    pub kind: VerifyKind,
    /// The artifact's key below the image's group, if it is about one.
    pub artifact: Option<String>,
    /// For people.
    pub message: String,
}

/// What `verify` can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VerifyKind {
    /// `not_deterministic`: two extractions of the same inputs gave different rows or artifacts.
    NotDeterministic,
    /// `version_bump_forgotten`: both extractions agree, but not with the rows that were recorded, under the same
    /// analysis version and inputs.
    VersionBumpForgotten,
    /// `rows_changed`: the rows in the table are not those that were recorded.
    RowsChanged,
    /// `artifact_differs`: both extractions agree, but not with an artifact that is kept.
    ArtifactDiffers,
    /// `failed`: the extraction failed.
    Failed,
}

/// Extracts fresh images again, twice, and compares rows and artifacts; writes nothing.
pub fn verify(
    dataset: &Dataset,
    indexer: &IndexerInfo,
    workforce: &mut dyn Workforce,
    options: &VerifyOptions,
    observer: &mut dyn Observer,
) -> Result<Verification, IndexError> {
    let name = TableName::of(&indexer.name)?;
    let verifier = Verifier { dataset, indexer, name: &name };
    let Baseline { plan, fresh, digests, recorded } = verifier.read_baseline(workforce, options)?;
    let library_sha256 = workforce.library_sha256()?;

    // Report what the plan has found too, although these images are stale, not fresh.
    let altered = plan.images.iter().filter(|image| image.reasons.contains(&Reason::StaleRowsChanged));
    let mut findings: Vec<VerifyFinding> = altered.map(|image| rows_changed(&image.report.image_id)).collect();
    let mut suspects: Vec<VerifyFinding> = Vec::new();
    if let (true, Some(digests)) = (options.rows, &digests) {
        let differs = |id: &&String| {
            let receipt = recorded.get(*id).and_then(|recorded| recorded.as_ref());
            receipt.is_some_and(|receipt| receipt.rows_sha256 != in_table(digests, id))
        };
        suspects.extend(fresh.iter().filter(differs).map(|id| rows_changed(id)));
    }

    let chosen = sample(&fresh, options.sample);
    let mut artifacts: HashMap<String, Vec<(String, String)>> = HashMap::new();
    observer.planned(chosen.len(), plan.images.len());
    let mut keep_digests = |id: &str, made: Vec<Made>| {
        let digests = made.into_iter().map(|made| {
            let handed = ComparedArtifact::of(made);
            (handed.digest(), handed.key)
        });
        artifacts.insert(id.to_owned(), digests.map(|(digest, key)| (key, digest)).collect());
    };
    let first = extract(workforce, &chosen, &mut keep_digests, &mut |id, answer| {
        if let Err(failure) = answer {
            observer.image_done(id, Some(failure));
        }
        !observer.interrupted()
    })?;
    let again: Vec<String> = chosen.iter().filter(|id| matches!(first.get(*id), Some(Ok(_)))).cloned().collect();
    let second = match observer.interrupted() {
        true => HashMap::new(),
        false => {
            // One by one: no more than those of one image are held.
            let mut compare = |id: &str, made: Vec<Made>| {
                let first = artifacts.remove(id).unwrap_or_default();
                let receipt = recorded.get(id).and_then(|recorded| recorded.as_ref());
                suspects.extend(verifier.compare_artifacts(id, &first, made, receipt, &library_sha256));
            };
            extract(workforce, &again, &mut compare, &mut |id, answer| {
                observer.image_done(id, answer.as_ref().err());
                !observer.interrupted()
            })?
        }
    };

    let mut checked = 0;
    for id in &chosen {
        let rows = match (first.get(id), second.get(id)) {
            (Some(Err(failure)), _) | (Some(Ok(_)), Some(Err(failure))) => {
                checked += 1;
                findings.push(failed(id, format!("{}: {}", failure.kind, failure.message)));
                continue;
            }
            (Some(Ok(first)), Some(Ok(second))) => (first, second),
            // Stopped before.
            _ => continue,
        };
        checked += 1;
        let receipt = recorded.get(id).and_then(|recorded| recorded.as_ref());
        let in_table = digests.as_ref().map(|digests| in_table(digests, id));
        suspects.extend(compare(id, rows, receipt, in_table.as_deref(), &library_sha256));
    }
    findings.extend(verifier.confirm(workforce, suspects, &recorded)?);
    findings.sort_by(|one, other| (&one.image_id, one.kind).cmp(&(&other.image_id, other.kind)));
    Ok(Verification {
        indexer: name.indexer().to_owned(),
        table: name.key_text(),
        fresh: fresh.len() as u64,
        checked,
        findings,
    })
}

/// What a marker's receipt says of rows and artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    rows_sha256: String,
    library_sha256: String,
    is_adopted: bool,
    /// Keys of artifacts, with their digests.
    outputs: Vec<(String, String)>,
}

/// What there is to compare with.
struct Baseline {
    plan: Plan,
    /// The fresh images, in id order.
    fresh: Vec<String>,
    /// The digests of the rows in the table, if they are needed.
    digests: Option<HashMap<String, String>>,
    /// What the fresh images' receipts say; `None` if there is no receipt.
    recorded: HashMap<String, Option<Recorded>>,
}

/// What is verified.
struct Verifier<'a> {
    dataset: &'a Dataset,
    indexer: &'a IndexerInfo,
    name: &'a TableName,
}

impl Verifier<'_> {
    /// The plan, receipts and rows, all of the same table.
    fn read_baseline(&self, workforce: &mut dyn Workforce, options: &VerifyOptions) -> Result<Baseline, IndexError> {
        for _ in 1..MAX_LOOKS {
            let (gathered, is_current) = self.read_baseline_once(workforce, options)?;
            if is_current {
                return Ok(gathered);
            }
        }
        // Somebody writes it all the time; what seems wrong by that is looked at again at the end.
        Ok(self.read_baseline_once(workforce, options)?.0)
    }

    fn read_baseline_once(
        &self,
        workforce: &mut dyn Workforce,
        options: &VerifyOptions,
    ) -> Result<(Baseline, bool), IndexError> {
        let plan = plan::plan(self.dataset, self.indexer, self.name, workforce, &PlanOptions::default())?;
        let fresh = plan.images.iter().filter(|image| !image.report.is_stale);
        let fresh: Vec<String> = fresh.map(|image| image.report.image_id.clone()).collect();
        let chosen: BTreeSet<String> = sample(&fresh, options.sample).into_iter().collect();
        let mut recorded = HashMap::new();
        for id in fresh.iter().filter(|id| options.rows || chosen.contains(*id)) {
            recorded.insert(id.clone(), self.recorded(id)?);
        }
        // Without a receipt, there is only the table to compare with.
        let needs_rows = options.rows || chosen.iter().any(|id| matches!(recorded.get(id), Some(None)));
        let digests = match needs_rows {
            true => Some(rows_digest::table_digests(self.dataset, self.name)?),
            false => None,
        };
        let is_current = self.dataset.table_stat(self.name.table())? == plan.table.stat;
        Ok((Baseline { plan, fresh, digests, recorded }, is_current))
    }

    fn recorded(&self, id: &str) -> Result<Option<Recorded>, IndexError> {
        let text = self.dataset.record(id)?.marker_bytes(&self.indexer.marker_name)?;
        let receipt = text.and_then(|text| receipt::read(&text)).and_then(|marker| marker.receipt);
        Ok(receipt.map(|receipt| Recorded {
            rows_sha256: receipt.rows_sha256,
            library_sha256: receipt.library_sha256,
            is_adopted: receipt.adopted.is_some(),
            // Their times may be recorded again, so they are not compared.
            outputs: receipt.outputs.into_iter().map(|output| (output.key, sha256_of(output.found))).collect(),
        }))
    }

    /// What is wrong with an image's artifacts, made twice: `first` has the keys and digests of those of the first
    /// extraction.
    fn compare_artifacts(
        &self,
        id: &str,
        first: &[(String, String)],
        second: Vec<Made>,
        receipt: Option<&Recorded>,
        library_sha256: &str,
    ) -> Vec<VerifyFinding> {
        let finding = |kind, artifact: &str, message: String| VerifyFinding {
            image_id: id.to_owned(),
            kind,
            artifact: Some(artifact.to_owned()),
            message: format!("{artifact}: {message}"),
        };
        let once = |key: &str| {
            let message = "one of two extractions of the same inputs made it".to_owned();
            finding(VerifyKind::NotDeterministic, key, message)
        };
        let differs = |key: &str, message: String| {
            let by = match receipt {
                Some(receipt) if receipt.library_sha256 == library_sha256 => "; the same library made it",
                Some(_) => "; another library of the same analysis version made it",
                None => "; its marker has no receipt: it was not written by kymhost",
            };
            finding(VerifyKind::ArtifactDiffers, key, format!("{message} (two extractions agree{by})"))
        };
        // Made otherwise: that they differ is why a person had to say that they count.
        let is_adopted = receipt.is_some_and(|receipt| receipt.is_adopted);
        let mut missing: BTreeMap<&str, &str> =
            first.iter().map(|(key, digest)| (key.as_str(), digest.as_str())).collect();
        let (mut findings, mut keys) = (Vec::new(), BTreeSet::new());
        for made in second {
            let (name, kind) = (made.name.clone(), made.payload.kind());
            let handed = ComparedArtifact::of(made);
            match missing.remove(handed.key.as_str()) {
                None => findings.push(once(&handed.key)),
                Some(digest) if digest != handed.digest() => {
                    let message = "two extractions of the same inputs gave different ones".to_owned();
                    findings.push(finding(VerifyKind::NotDeterministic, &handed.key, message));
                }
                Some(_) if is_adopted => {}
                Some(_) => {
                    let difference = match self.dataset.record(id) {
                        Ok(record) => handed.difference(&record, &name, kind),
                        Err(error) => Some(error.to_string()),
                    };
                    findings.extend(difference.map(|message| differs(&handed.key, message)));
                }
            }
            keys.insert(handed.key);
        }
        findings.extend(missing.keys().map(|key| once(key)));
        keys.extend(missing.keys().map(|key| (*key).to_owned()));
        if !is_adopted {
            let recorded = receipt.into_iter().flat_map(|receipt| &receipt.outputs);
            let left = recorded.filter(|(key, _)| !keys.contains(key));
            findings.extend(
                left.map(|(key, _)| differs(key, "it is kept, and the extraction does not make it".to_owned())),
            );
        }
        findings
    }

    /// Takes back what is found of images that were changed, or done by another run, while they were verified.
    fn confirm(
        &self,
        workforce: &mut dyn Workforce,
        suspects: Vec<VerifyFinding>,
        recorded: &HashMap<String, Option<Recorded>>,
    ) -> Result<Vec<VerifyFinding>, IndexError> {
        if suspects.is_empty() {
            return Ok(suspects);
        }
        let only: BTreeSet<String> = suspects.iter().map(|suspect| suspect.image_id.clone()).collect();
        let options = PlanOptions { only: Some(&only), ..PlanOptions::default() };
        let plan = plan::plan(self.dataset, self.indexer, self.name, workforce, &options)?;
        let mut moved: HashMap<String, String> =
            only.iter().map(|id| (id.clone(), "it was deleted".to_owned())).collect();
        for image in &plan.images {
            let id = &image.report.image_id;
            if image.report.is_stale {
                moved.insert(id.clone(), format!("it became {}", image.report.reason));
            } else if recorded.get(id) != Some(&self.recorded(id)?) {
                moved.insert(id.clone(), "another run did it".to_owned());
            } else {
                moved.remove(id);
            }
        }
        let confirmed = suspects.into_iter().map(|suspect| match moved.get(&suspect.image_id) {
            Some(how) => failed(&suspect.image_id, format!("{how} while it was verified; verify it again")),
            None => suspect,
        });
        Ok(confirmed.collect())
    }
}

/// What is wrong with an image's rows, extracted twice; nothing, mostly. `in_table`: the digest of its rows there.
fn compare(
    id: &str,
    (first, second): (&String, &String),
    receipt: Option<&Recorded>,
    in_table: Option<&str>,
    library_sha256: &str,
) -> Option<VerifyFinding> {
    let finding =
        |kind, message: String| Some(VerifyFinding { image_id: id.to_owned(), kind, artifact: None, message });
    if first != second {
        let message = "two extractions of the same inputs gave different rows".to_owned();
        return finding(VerifyKind::NotDeterministic, message);
    }
    match receipt {
        // Rows made otherwise: that they differ is why a person had to say that they count.
        Some(receipt) if receipt.is_adopted => None,
        Some(receipt) if receipt.rows_sha256 == *first => None,
        Some(receipt) if receipt.library_sha256 == library_sha256 => {
            let message = "two extractions agree, but not with the rows that the same library gave before: they depend \
                           on something that is no input (the time, the machine, a file of its own)";
            finding(VerifyKind::VersionBumpForgotten, message.to_owned())
        }
        Some(receipt) => {
            let message = format!(
                "two extractions agree, but not with the rows that another library of the same analysis version gave \
                 before (SHA-256 {}, now {library_sha256}): its author changed what it gives and forgot the version",
                receipt.library_sha256
            );
            finding(VerifyKind::VersionBumpForgotten, message)
        }
        None if in_table.is_none_or(|in_table| in_table == first) => None,
        None => {
            let message = "two extractions agree, but not with the rows in the table (its marker has no receipt to \
                           compare with: it was not written by kymhost)";
            finding(VerifyKind::VersionBumpForgotten, message.to_owned())
        }
    }
}

/// The digest of an image's rows in the table; the digest of no rows if it has none.
fn in_table(digests: &HashMap<String, String>, id: &str) -> String {
    digests.get(id).cloned().unwrap_or_else(rows_digest::no_rows_digest)
}

fn rows_changed(id: &str) -> VerifyFinding {
    let message = "the rows in the table are not those that the run wrote".to_owned();
    VerifyFinding { image_id: id.to_owned(), kind: VerifyKind::RowsChanged, artifact: None, message }
}

fn failed(id: &str, message: String) -> VerifyFinding {
    VerifyFinding { image_id: id.to_owned(), kind: VerifyKind::Failed, artifact: None, message }
}

/// The digest of a file or an array.
fn sha256_of(found: InputState) -> String {
    match found {
        InputState::File { sha256, .. } | InputState::Array { sha256, .. } => sha256,
        _ => String::new(),
    }
}

/// A sample of a list, drawn evenly: the same list gives the same sample. No number: the whole list.
fn sample(ids: &[String], count: Option<u64>) -> Vec<String> {
    let count = count.map_or(ids.len(), |count| usize::try_from(count).unwrap_or(usize::MAX)).min(ids.len());
    // Neither product can overflow in 128 bits.
    let place = |n: usize| usize::try_from(n as u128 * ids.len() as u128 / count as u128).ok();
    (0..count).filter_map(|n| ids.get(place(n)?).cloned()).collect()
}

/// What came of an extraction.
type Answer = Result<String, Failure>;

/// The digest of each image's rows, or why there are none; images that were not begun are left out. `take` is given
/// the artifacts of each.
fn extract(
    workforce: &mut dyn Workforce,
    ids: &[String],
    take: &mut dyn FnMut(&str, Vec<Made>),
    done: &mut dyn FnMut(&str, &Answer) -> bool,
) -> Result<HashMap<String, Answer>, IndexError> {
    let mut answers = HashMap::with_capacity(ids.len());
    if !ids.is_empty() {
        workforce.extract_rows(ids, &mut |index, answer| {
            let Some(id) = ids.get(index) else { return true };
            let answer = answer.map(|extracted| {
                take(id, extracted.artifacts);
                rows_digest(&extracted.rows)
            });
            let goes_on = done(id, &answer);
            answers.insert(id.clone(), answer);
            goes_on
        })?;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_drawn_evenly() {
        let ids: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        for (count, expected) in [
            (None, "0123456789"),
            (Some(0), ""),
            (Some(1), "0"),
            (Some(3), "036"),
            (Some(5), "02468"),
            (Some(9), "012345678"),
            (Some(10), "0123456789"),
            (Some(u64::MAX), "0123456789"),
        ] {
            assert_eq!(sample(&ids, count).concat(), expected, "{count:?}");
        }
        assert_eq!(sample(&[], Some(3)), [""; 0]);
    }
}
