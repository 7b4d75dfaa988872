//! In which order several indexers run: who writes an artifact goes before those who read it.
//!
//! Responsible for the order and for what makes one impossible. It does no I/O.

use crate::error::IndexError;
use crate::options::{Compat, RunOptions, check_compat};
use crate::run::Preview;
use crate::select;
use crate::staleness::Reason;
use kymhost_dataset::artifact_keys;
use kymhost_plugin::IndexerInfo;
use kymhost_plugin_api::{Artifact, ArtifactKind};
use std::collections::BTreeSet;

/// Which of the others each indexer waits for, and the order that follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Places in the list that was given, in the order in which they are to run.
    pub sequence: Vec<usize>,
    /// For each place of that list: the places that go directly before it.
    pub waits_for: Vec<Vec<usize>>,
    /// For each place of that list: whether one of those writes its params.
    pub waits_for_params: Vec<bool>,
}

/// The order of these indexers: as given, but for those that wait for another.
///
/// # Errors
/// [`IndexError::ArtifactsByKymflow`] if one of them cannot run by these rules, [`IndexError::TwoWriters`] if two write the
/// same artifact, [`IndexError::Cycle`] if they wait for each other.
pub fn order(indexers: &[&IndexerInfo], compat: Compat) -> Result<Order, IndexError> {
    indexers.iter().try_for_each(|indexer| check_compat(indexer, compat))?;
    let written: Vec<BTreeSet<String>> = indexers.iter().map(|indexer| keys(&indexer.writes)).collect();
    for (place, later) in written.iter().enumerate() {
        for (other, earlier) in written.iter().enumerate().take(place) {
            if let Some(key) = later.intersection(earlier).next() {
                return Err(IndexError::TwoWriters {
                    key: key.clone(),
                    first: name(indexers, other),
                    second: name(indexers, place),
                });
            }
        }
    }
    let waits_for: Vec<Vec<usize>> = indexers
        .iter()
        .enumerate()
        .map(|(place, indexer)| {
            let read = read_keys(indexer);
            let writers = written.iter().enumerate();
            writers
                .filter(|(other, keys)| *other != place && !keys.is_disjoint(&read))
                .map(|(other, _)| other)
                .collect()
        })
        .collect();
    let waits_for_params = indexers
        .iter()
        .zip(&waits_for)
        .map(|(indexer, waits)| {
            let params = params_keys(indexer);
            waits.iter().filter_map(|other| written.get(*other)).any(|keys| !keys.is_disjoint(&params))
        })
        .collect();
    let mut sequence: Vec<usize> = Vec::with_capacity(indexers.len());
    while sequence.len() < indexers.len() {
        let is_next = |place: &usize| {
            let waits = waits_for.get(*place);
            !sequence.contains(place) && waits.is_none_or(|waits| waits.iter().all(|other| sequence.contains(other)))
        };
        match (0..indexers.len()).find(is_next) {
            Some(place) => sequence.push(place),
            None => return Err(IndexError::Cycle(cycle(indexers, &waits_for, &sequence))),
        }
    }
    Ok(Order { sequence, waits_for, waits_for_params })
}

fn name(indexers: &[&IndexerInfo], place: usize) -> String {
    indexers.get(place).map(|indexer| indexer.name.clone()).unwrap_or_default()
}

/// Invalid names belong to no artifact.
fn keys(artifacts: &[Artifact]) -> BTreeSet<String> {
    artifacts.iter().filter_map(|artifact| artifact_keys(artifact).ok()?.into_iter().next()).collect()
}

/// What is read by name is read in whatever form it has.
fn read_keys(indexer: &IndexerInfo) -> BTreeSet<String> {
    let forms = [ArtifactKind::Json, ArtifactKind::Parquet, ArtifactKind::Array];
    let every_form = |name: &String| forms.map(|kind| Artifact::new(name.as_str(), kind));
    let named: Vec<Artifact> = indexer.reads.iter().flat_map(every_form).collect();
    keys(&named).into_iter().chain(params_keys(indexer)).collect()
}

fn params_keys(indexer: &IndexerInfo) -> BTreeSet<String> {
    let params = indexer.params_artifacts.iter().map(|name| Artifact::new(name.as_str(), ArtifactKind::Json));
    keys(&params.collect::<Vec<_>>())
}

/// The way round among those that are left: each waits for the next, the last for the first.
fn cycle(indexers: &[&IndexerInfo], waits_for: &[Vec<usize>], done: &[usize]) -> Vec<String> {
    let mut way: Vec<usize> = (0..indexers.len()).find(|place| !done.contains(place)).into_iter().collect();
    // Each that is left waits for another that is left, so that the way comes back on itself.
    while let Some(next) = way
        .last()
        .and_then(|place| waits_for.get(*place))
        .and_then(|waits| waits.iter().find(|other| !done.contains(other)))
    {
        if let Some(start) = way.iter().position(|place| place == next) {
            way.drain(..start);
            way.push(*next);
            break;
        }
        way.push(*next);
    }
    way.into_iter().map(|place| name(indexers, place)).collect()
}

/// The images that would be done, or may have to be.
pub fn awaited(preview: &Preview) -> BTreeSet<String> {
    preview.would_update.iter().chain(&preview.pending_upstream).cloned().collect()
}

/// Marks those images of a preview that an indexer before it would do: what they are after that is not known yet.
/// Where only some reasons are asked for, those are marked that may have one of them then. `waits_for_params`: see
/// [`Order`].
pub fn wait_for(preview: &mut Preview, awaited: &BTreeSet<String>, options: &RunOptions, waits_for_params: bool) {
    let may_be_done = |now: Reason| {
        let is_done = |then: Reason| then.is_stale() || select::does_fresh(options);
        let reasons = &options.selection.reasons;
        reasons.is_empty() || reasons.iter().any(|then| is_done(*then) && may_become(now, *then, waits_for_params))
    };
    for report in &mut preview.images {
        if awaited.contains(&report.image_id) && may_be_done(report.reason) {
            report.reason = Reason::PendingUpstream;
            report.is_stale = true;
            report.error = None;
            report.inputs.clear();
            report.notes.clear();
            preview.pending_upstream.push(report.image_id.clone());
        }
    }
    let waiting: BTreeSet<&String> = preview.pending_upstream.iter().collect();
    preview.would_update.retain(|image| !waiting.contains(image));
    preview.would_fail.retain(|image| !waiting.contains(image));
}

/// Whether an image with one reason may have another after its inputs were made again.
fn may_become(now: Reason, then: Reason, waits_for_params: bool) -> bool {
    use Reason::*;
    let is_of_inputs = |reason| matches!(reason, StaleInputChanged | StaleInputAppeared | StaleInputRemoved);
    // These count after those of inputs.
    let counts_after = |reason| matches!(reason, FreshRows | FreshZeroRows | StaleOutputChanged);
    match now {
        _ if now == then || waits_for_params => true,
        StaleUnreadable => true,
        _ if is_of_inputs(now) => is_of_inputs(then) || counts_after(then),
        _ => counts_after(now) && is_of_inputs(then),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An indexer by what it writes and reads: `name > written, written < read, read`.
    fn indexer(text: &str) -> IndexerInfo {
        let (rest, reads) = text.split_once('<').unwrap_or((text, ""));
        let (name, writes) = rest.split_once('>').unwrap_or((rest, ""));
        let list = |text: &str| -> Vec<String> {
            text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        };
        IndexerInfo {
            name: name.trim().to_owned(),
            writes: list(writes).into_iter().map(|name| Artifact::new(name, ArtifactKind::Parquet)).collect(),
            reads: list(reads),
            ..IndexerInfo::default()
        }
    }

    fn ordered(texts: &[&str]) -> Result<String, String> {
        let indexers: Vec<IndexerInfo> = texts.iter().map(|text| indexer(text)).collect();
        let list: Vec<&IndexerInfo> = indexers.iter().collect();
        let order = order(&list, Compat::Kymhost).map_err(|error| error.to_string())?;
        let names: Vec<&str> = order.sequence.iter().map(|&place| indexers[place].name.as_str()).collect();
        Ok(names.join(" "))
    }

    #[test]
    fn writers_go_before_readers() {
        let cases: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["b", "a"], "b a"),
            (&["c < y", "b > y < x", "a > x"], "a b c"),
            (&["d", "c < y", "b > y < x", "a > x"], "d a b c"),
            // Its own artifact keeps nobody waiting.
            (&["a > x < x", "b < x"], "a b"),
            (&["b < /x/../y ", "a > x/_/y"], "a b"),
            (&["b < nobody's", "a"], "b a"),
        ];
        for (texts, expected) in cases {
            assert_eq!(ordered(texts).as_deref(), Ok(*expected), "{texts:?}");
        }
    }

    #[test]
    fn params_artifacts_are_read_as_json() {
        let mut writer = indexer("writer");
        writer.writes = vec![Artifact::new("p", ArtifactKind::Json)];
        let mut reader = indexer("reader");
        reader.params_artifacts = vec!["p".into()];
        let found = order(&[&reader, &writer], Compat::Kymhost).unwrap();
        assert_eq!((found.sequence, found.waits_for_params), (vec![1, 0], vec![true, false]));
        writer.writes = vec![Artifact::new("p", ArtifactKind::Array)];
        assert_eq!(order(&[&reader, &writer], Compat::Kymhost).map(|order| order.sequence).ok(), Some(vec![0, 1]));
    }

    #[test]
    fn selectable_images_wait_for_upstream() {
        use crate::Mode;
        use Reason::*;
        let force = |reasons: &[Reason]| {
            let mut options = RunOptions::new(Mode::Incremental);
            (options.selection.force, options.selection.reasons) = (true, reasons.iter().copied().collect());
            options
        };
        let plain = |reasons: &[Reason]| {
            let mut options = force(reasons);
            options.selection.force = false;
            options
        };
        // (the reason now, what is asked for, whether its params wait, whether it does)
        let cases = [
            (FreshRows, plain(&[]), false, true),
            (FreshRows, plain(&[StaleInputChanged]), false, true),
            (FreshRows, plain(&[StaleParamsChanged]), false, false),
            (FreshRows, plain(&[StaleParamsChanged]), true, true),
            (FreshRows, plain(&[FreshRows]), false, false),
            (FreshRows, force(&[FreshRows]), false, true),
            (StaleOutputChanged, plain(&[StaleInputAppeared]), false, true),
            (StaleInputRemoved, plain(&[StaleOutputChanged]), false, true),
            (StaleInputRemoved, plain(&[StaleMissingMarker]), false, false),
            (StaleMissingMarker, plain(&[StaleInputChanged]), false, false),
            (StaleMissingMarker, plain(&[StaleMissingMarker]), false, true),
            (StaleUnreadable, plain(&[StaleVersionChanged]), false, true),
        ];
        for (now, options, waits_for_params, waits) in cases {
            let image = crate::staleness::ImageReport {
                image_id: "a".into(),
                reason: now,
                is_stale: now.is_stale(),
                has_run_marker: true,
                table_rows_present: true,
                marker_n_rows: None,
                params_hash_matches: true,
                analysis_version_matches: true,
                error: None,
                inputs: Vec::new(),
                notes: Vec::new(),
            };
            let mut preview = Preview {
                indexer: String::new(),
                mode: Mode::Incremental,
                table: String::new(),
                images: vec![image],
                would_update: vec!["a".into()],
                would_fail: vec!["a".into()],
                pending_upstream: Vec::new(),
                would_prune: Vec::new(),
                refusal: None,
            };
            wait_for(&mut preview, &["a".to_owned()].into(), &options, waits_for_params);
            let story = format!("{now} {:?} {waits_for_params}", options.selection);
            assert_eq!(preview.pending_upstream.len(), usize::from(waits), "{story}");
            assert_eq!(preview.would_update.len(), usize::from(!waits), "{story}");
            assert_eq!(preview.images[0].reason, if waits { PendingUpstream } else { now }, "{story}");
        }
    }

    #[test]
    fn unorderable_indexers_named() {
        let said = |texts: &[&str]| ordered(texts).expect_err("no order");
        let cycle = said(&["z", "a > x < y", "b > y < w", "c > w < x", "after < x"]);
        assert!(cycle.contains("a -> b -> c -> a"), "{cycle}");
        let two = said(&["a > x", "c", "b > y, x"]);
        assert!(two.contains("'a'") && two.contains("'b'") && two.contains("analysis/x.parquet"), "{two}");
    }

    proptest! {
        #[test]
        fn order_valid_or_cycle_reported(edges in prop::collection::vec((0..6usize, 0..6usize), 0..12)) {
            let indexers: Vec<IndexerInfo> = (0..6)
                .map(|place| {
                    let reads: Vec<String> = edges.iter().filter(|edge| edge.0 == place).map(|edge| format!("k{}", edge.1)).collect();
                    indexer(&format!("i{place} > k{place} < {}", reads.join(",")))
                })
                .collect();
            let list: Vec<&IndexerInfo> = indexers.iter().collect();
            match order(&list, Compat::Kymhost) {
                Ok(order) => {
                    let at = |place: usize| order.sequence.iter().position(|&other| other == place).unwrap();
                    prop_assert_eq!(order.sequence.len(), 6);
                    for (reader, writer) in &edges {
                        prop_assert!(reader == writer || at(*writer) < at(*reader));
                    }
                }
                Err(IndexError::Cycle(names)) => {
                    prop_assert!(names.len() > 2 && names.first() == names.last());
                    for pair in names.windows(2) {
                        let place = |name: &str| name[1..].parse::<usize>().unwrap();
                        prop_assert!(edges.contains(&(place(&pair[0]), place(&pair[1]))));
                    }
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
