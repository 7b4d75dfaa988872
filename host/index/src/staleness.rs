//! Whether an image is stale, and why: pure functions over values.
//!
//! Responsible for both sets of rules and for the order of the reasons. It does no I/O.

pub use crate::reason::{ImageReport, Note, Reason, Words};
use kymhost_plugin_api::RunMarker;

/// What an image's rows and marker are compared with.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    /// The current params hash.
    pub params_hash: &'a str,
    /// The indexer's analysis version.
    pub analysis_version: &'a str,
}

/// What the table says about one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowFacts {
    /// It has rows.
    pub present: bool,
    /// Every row has the current params hash, in a table with both provenance columns.
    pub match_params: bool,
    /// Every row has the current analysis version, in a table with both provenance columns.
    pub match_version: bool,
}

/// What [`judge`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Why the image is fresh or stale.
    pub reason: Reason,
    /// Rows match params, or the marker's params hash is current.
    pub params_agree: bool,
    /// Rows match version, or the marker's version is current.
    pub version_agrees: bool,
}

/// Judges one image by kymflow's rules. `marker`: a valid one; an invalid one counts as none.
pub fn judge(current: Current<'_>, rows: RowFacts, marker: Option<&RunMarker>) -> Judgement {
    let marker_params = marker.is_some_and(|m| m.params_hash == current.params_hash);
    let marker_version = marker.is_some_and(|m| m.analysis_version == current.analysis_version);
    let zero_rows = marker_params && marker_version && marker.is_some_and(|m| m.n_rows == 0);
    let rows_match_params = rows.present && rows.match_params;
    let rows_match_version = rows.present && rows.match_version;
    let params_agree = rows_match_params || marker_params;
    let version_agrees = rows_match_version || marker_version;

    let early = if rows.present {
        if zero_rows {
            Some(Reason::StaleMarkerTableMismatch)
        } else if rows_match_params && rows_match_version {
            Some(Reason::FreshRows)
        } else {
            None
        }
    } else if zero_rows {
        Some(Reason::FreshZeroRows)
    } else {
        match marker {
            None => Some(Reason::StaleMissingMarker),
            Some(marker) if marker.n_rows > 0 => Some(Reason::StaleMarkerTableMismatch),
            Some(_) => None,
        }
    };
    let reason = early.unwrap_or(if !version_agrees {
        Reason::StaleVersionChanged
    } else if !params_agree {
        Reason::StaleParamsChanged
    } else {
        Reason::StaleUnknown
    });
    Judgement { reason, params_agree, version_agrees }
}

/// How an image's rows stand to the digest in its marker's receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowsState {
    /// The table is what it was when it was sealed, or there is no digest to compare with.
    #[default]
    Trusted,
    /// The digest was computed again, and is the same.
    Match,
    /// The digest is another.
    Differ,
}

/// What our rules look at of a valid marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerFacts {
    /// It has the current params hash and analysis version.
    pub is_current: bool,
    /// How many rows it counts.
    pub n_rows: u64,
    /// It has a receipt.
    pub has_receipt: bool,
}

/// What our rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// What kymflow's rules say; `None` if params or marker cannot be read.
    pub kymflow: Option<Judgement>,
    /// How many rows of the image the table has.
    pub rows: u64,
    /// Its valid marker.
    pub marker: Option<MarkerFacts>,
    /// Whether its rows are those of the receipt, as far as digests tell.
    pub rows_state: RowsState,
    /// Inputs of the rows that have changed.
    pub inputs: InputChanges<'a>,
    /// A killed commit's intent names it.
    pub in_intent: bool,
    /// The last run that tried it failed.
    pub last_run_failed: bool,
    /// Something that is needed to judge it cannot be read.
    pub is_unreadable: bool,
}

/// Keys of inputs, and of artifacts that were made, that have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InputChanges<'a> {
    /// They have other content.
    pub changed: &'a [String],
    /// They are gone.
    pub removed: &'a [String],
    /// They did not exist, and now they do.
    pub appeared: &'a [String],
    /// They were made by the extraction, and are gone or have other content.
    pub outputs: &'a [String],
}

/// Every reason by kymflow's rules, the one that it reports first. None: the image is fresh.
pub fn reasons_by_kymflow(judged: Judgement) -> Vec<Reason> {
    if !judged.reason.is_stale() {
        return Vec::new();
    }
    let mut found = vec![judged.reason];
    // The other reasons only apply to something that exists.
    if judged.reason != Reason::StaleMissingMarker {
        let others =
            [(judged.version_agrees, Reason::StaleVersionChanged), (judged.params_agree, Reason::StaleParamsChanged)];
        let others = others.into_iter().filter(|(agrees, reason)| !agrees && *reason != judged.reason);
        found.extend(others.map(|(_, reason)| reason));
    }
    found
}

/// Every reason by our rules for which an image is stale, in the order in which they count: the first is the
/// report's. None: it is fresh, with kymflow's reason.
pub fn reasons(facts: &Facts<'_>) -> Vec<Reason> {
    let mut found = Vec::new();
    let mut add = |holds: bool, reason: Reason| {
        if holds && !found.contains(&reason) {
            found.push(reason);
        }
    };
    add(facts.is_unreadable, Reason::StaleUnreadable);
    add(facts.last_run_failed, Reason::StaleLastRunFailed);
    add(facts.in_intent, Reason::StaleInterrupted);
    let mut is_mismatch = false;
    if let Some(judged) = facts.kymflow {
        is_mismatch = judged.reason == Reason::StaleMarkerTableMismatch;
        for reason in reasons_by_kymflow(judged) {
            add(true, reason);
        }
        if judged.reason == Reason::FreshRows {
            let has_receipt = facts
                .marker
                .is_some_and(|marker| marker.is_current && (marker.has_receipt || marker.n_rows == facts.rows));
            add(!has_receipt, Reason::StaleNoReceipt);
        }
    }
    if let Some(marker) = facts.marker.filter(|marker| marker.has_receipt && !is_mismatch) {
        let is_other = marker.n_rows != facts.rows || facts.rows_state == RowsState::Differ;
        add(is_other && facts.kymflow.is_some(), Reason::StaleRowsChanged);
    }
    add(!facts.inputs.changed.is_empty(), Reason::StaleInputChanged);
    add(!facts.inputs.removed.is_empty(), Reason::StaleInputRemoved);
    add(!facts.inputs.appeared.is_empty(), Reason::StaleInputAppeared);
    add(!facts.inputs.outputs.is_empty(), Reason::StaleOutputChanged);
    found
}

/// The keys that a reason is about.
pub fn keys_of<'a>(reason: Reason, inputs: InputChanges<'a>) -> &'a [String] {
    match reason {
        Reason::StaleInputChanged => inputs.changed,
        Reason::StaleInputRemoved => inputs.removed,
        Reason::StaleInputAppeared => inputs.appeared,
        Reason::StaleOutputChanged => inputs.outputs,
        _ => &[],
    }
}

/// What notes of a fresh image are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptFacts {
    /// The library that made the rows is the current one.
    pub same_library: bool,
    /// The inputs of the rows are known.
    pub has_inputs: bool,
    /// A person accepted the rows.
    pub is_adopted: bool,
}

/// What is worth knowing about a fresh image. `receipt`: what its marker's receipt says, if it has one.
pub fn notes(receipt: Option<ReceiptFacts>) -> Vec<Note> {
    let Some(receipt) = receipt else { return vec![Note::JudgedByOldRules] };
    let all = [
        (!receipt.has_inputs, Note::JudgedByOldRules),
        (!receipt.same_library, Note::AnotherLibrary),
        (receipt.is_adopted, Note::Adopted),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Current<'static> = Current { params_hash: "p", analysis_version: "v" };

    fn rows(match_params: bool, match_version: bool) -> RowFacts {
        RowFacts { present: true, match_params, match_version }
    }

    fn marker(params: &str, version: &str, n_rows: u64) -> Option<RunMarker> {
        Some(RunMarker::new("whoever", params, version, n_rows, 1))
    }

    #[test]
    fn kymflow_rules_table() {
        use Reason::*;
        let none = RowFacts::default();
        // (rows, marker, reason, params agree, version agrees)
        let cases = [
            // There are rows.
            (rows(true, true), marker("p", "v", 0), StaleMarkerTableMismatch, true, true),
            (rows(false, false), marker("p", "v", 0), StaleMarkerTableMismatch, true, true),
            (rows(true, true), marker("p", "v", 3), FreshRows, true, true),
            (rows(true, true), marker("p", "v", 99), FreshRows, true, true),
            (rows(true, true), None, FreshRows, true, true),
            (rows(true, true), marker("old", "v", 0), FreshRows, true, true),
            (rows(true, true), marker("p", "old", 0), FreshRows, true, true),
            (rows(true, true), marker("old", "old", 7), FreshRows, true, true),
            (rows(true, false), None, StaleVersionChanged, true, false),
            (rows(false, false), None, StaleVersionChanged, false, false),
            (rows(false, false), marker("old", "old", 0), StaleVersionChanged, false, false),
            (rows(false, false), marker("p", "old", 2), StaleVersionChanged, true, false),
            (rows(false, true), None, StaleParamsChanged, false, true),
            (rows(false, true), marker("old", "old", 1), StaleParamsChanged, false, true),
            (rows(false, false), marker("old", "v", 1), StaleParamsChanged, false, true),
            (rows(false, false), marker("old", "v", 0), StaleParamsChanged, false, true),
            (rows(false, true), marker("p", "v", 3), StaleUnknown, true, true),
            (rows(true, false), marker("p", "v", 3), StaleUnknown, true, true),
            (rows(true, false), marker("old", "v", 0), StaleUnknown, true, true),
            (rows(false, true), marker("p", "old", 0), StaleUnknown, true, true),
            // There are none.
            (none, marker("p", "v", 0), FreshZeroRows, true, true),
            (none, None, StaleMissingMarker, false, false),
            (none, marker("p", "v", 1), StaleMarkerTableMismatch, true, true),
            (none, marker("old", "old", 1), StaleMarkerTableMismatch, false, false),
            (none, marker("p", "old", 0), StaleVersionChanged, true, false),
            (none, marker("old", "old", 0), StaleVersionChanged, false, false),
            (none, marker("old", "v", 0), StaleParamsChanged, false, true),
            // Flags of rows that are not there count for nothing.
            (
                RowFacts { present: false, match_params: true, match_version: true },
                None,
                StaleMissingMarker,
                false,
                false,
            ),
        ];
        for (rows, marker, reason, params_agree, version_agrees) in cases {
            let found = judge(NOW, rows, marker.as_ref());
            let expected = Judgement { reason, params_agree, version_agrees };
            assert_eq!(found, expected, "{rows:?} {marker:?}");
        }
    }

    /// Fresh by every rule: rows as the receipt says.
    fn fresh() -> Facts<'static> {
        Facts {
            kymflow: Some(Judgement { reason: Reason::FreshRows, params_agree: true, version_agrees: true }),
            rows: 3,
            marker: Some(MarkerFacts { is_current: true, n_rows: 3, has_receipt: true }),
            rows_state: RowsState::Trusted,
            inputs: InputChanges::default(),
            in_intent: false,
            last_run_failed: false,
            is_unreadable: false,
        }
    }

    fn judged(reason: Reason, params_agree: bool, version_agrees: bool) -> Option<Judgement> {
        Some(Judgement { reason, params_agree, version_agrees })
    }

    fn counted(is_current: bool, n_rows: u64, has_receipt: bool) -> Option<MarkerFacts> {
        Some(MarkerFacts { is_current, n_rows, has_receipt })
    }

    #[test]
    fn kymhost_rules_table() {
        use Reason::*;
        let keys = ["k".to_owned()];
        let (changed, removed, appeared) = (
            InputChanges { changed: &keys, ..InputChanges::default() },
            InputChanges { removed: &keys, ..InputChanges::default() },
            InputChanges { appeared: &keys, ..InputChanges::default() },
        );
        let zero = judged(FreshZeroRows, true, true);
        let mismatch = judged(StaleMarkerTableMismatch, true, true);
        let cases: Vec<(Facts<'_>, &[Reason])> = vec![
            (fresh(), &[]),
            (Facts { rows_state: RowsState::Match, ..fresh() }, &[]),
            (Facts { kymflow: zero, rows: 0, marker: counted(true, 0, true), ..fresh() }, &[]),
            (Facts { kymflow: zero, rows: 0, marker: counted(true, 0, false), ..fresh() }, &[]),
            // Each of ours alone.
            (Facts { is_unreadable: true, ..fresh() }, &[StaleUnreadable]),
            (Facts { is_unreadable: true, kymflow: None, marker: None, ..fresh() }, &[StaleUnreadable]),
            (Facts { last_run_failed: true, ..fresh() }, &[StaleLastRunFailed]),
            (Facts { in_intent: true, ..fresh() }, &[StaleInterrupted]),
            (Facts { inputs: changed, ..fresh() }, &[StaleInputChanged]),
            (Facts { inputs: removed, ..fresh() }, &[StaleInputRemoved]),
            (Facts { inputs: appeared, ..fresh() }, &[StaleInputAppeared]),
            (
                Facts { kymflow: zero, rows: 0, marker: counted(true, 0, true), inputs: appeared, ..fresh() },
                &[StaleInputAppeared],
            ),
            // Rows that match without a marker that says so.
            (Facts { marker: None, ..fresh() }, &[StaleNoReceipt]),
            (Facts { marker: counted(false, 3, true), ..fresh() }, &[StaleNoReceipt]),
            (Facts { marker: counted(false, 3, false), ..fresh() }, &[StaleNoReceipt]),
            (Facts { marker: counted(true, 3, false), ..fresh() }, &[]),
            (Facts { marker: counted(true, 2, false), ..fresh() }, &[StaleNoReceipt]),
            (Facts { marker: counted(true, 4, false), ..fresh() }, &[StaleNoReceipt]),
            // Rows that are not those of the receipt.
            (Facts { marker: counted(true, 2, true), ..fresh() }, &[StaleRowsChanged]),
            (Facts { rows_state: RowsState::Differ, ..fresh() }, &[StaleRowsChanged]),
            (Facts { marker: counted(true, 3, false), rows_state: RowsState::Differ, ..fresh() }, &[]),
            (Facts { marker: counted(false, 2, true), ..fresh() }, &[StaleNoReceipt, StaleRowsChanged]),
            // That there are no rows, or should be none, is kymflow's reason.
            (Facts { kymflow: mismatch, rows: 0, ..fresh() }, &[StaleMarkerTableMismatch]),
            (
                Facts { kymflow: mismatch, rows: 1, marker: counted(true, 0, true), ..fresh() },
                &[StaleMarkerTableMismatch],
            ),
            // kymflow's, and all of them.
            (
                Facts { kymflow: judged(StaleMissingMarker, false, false), rows: 0, marker: None, ..fresh() },
                &[StaleMissingMarker],
            ),
            (Facts { kymflow: judged(StaleUnknown, true, true), marker: None, ..fresh() }, &[StaleUnknown]),
            (Facts { kymflow: judged(StaleVersionChanged, true, false), ..fresh() }, &[StaleVersionChanged]),
            (Facts { kymflow: judged(StaleParamsChanged, false, true), ..fresh() }, &[StaleParamsChanged]),
            (
                Facts { kymflow: judged(StaleVersionChanged, false, false), ..fresh() },
                &[StaleVersionChanged, StaleParamsChanged],
            ),
            (
                Facts { kymflow: judged(StaleMarkerTableMismatch, false, false), rows: 0, ..fresh() },
                &[StaleMarkerTableMismatch, StaleVersionChanged, StaleParamsChanged],
            ),
            (
                Facts {
                    kymflow: judged(StaleParamsChanged, false, true),
                    marker: counted(false, 9, true),
                    rows_state: RowsState::Differ,
                    inputs: changed,
                    ..fresh()
                },
                &[StaleParamsChanged, StaleRowsChanged, StaleInputChanged],
            ),
        ];
        for (facts, expected) in cases {
            assert_eq!(reasons(&facts), expected, "{facts:?}");
        }
    }

    #[test]
    fn first_reason_is_reported() {
        use Reason::*;
        let keys = ["k".to_owned()];
        let all = Facts {
            kymflow: judged(FreshRows, true, true),
            rows: 3,
            marker: counted(false, 2, true),
            rows_state: RowsState::Differ,
            inputs: InputChanges { changed: &keys, removed: &keys, appeared: &keys, outputs: &keys },
            in_intent: true,
            last_run_failed: true,
            is_unreadable: true,
        };
        // What is taken away from all in turn, and what is then the first.
        let mut facts = all;
        let mut seen = vec![reasons(&facts)[0]];
        let steps: [fn(&mut Facts<'_>); 9] = [
            |facts| facts.is_unreadable = false,
            |facts| facts.last_run_failed = false,
            |facts| facts.in_intent = false,
            |facts| facts.marker = counted(true, 2, true),
            |facts| (facts.rows, facts.rows_state) = (2, RowsState::Match),
            |facts| facts.inputs.changed = &[],
            |facts| facts.inputs.removed = &[],
            |facts| facts.inputs.appeared = &[],
            |facts| facts.inputs.outputs = &[],
        ];
        for (place, step) in steps.iter().enumerate() {
            let before = reasons(&facts);
            step(&mut facts);
            // The others stay, in their order.
            assert_eq!(reasons(&facts), before[1..], "{place}");
            seen.extend(reasons(&facts).first());
        }
        let expected = [
            StaleUnreadable,
            StaleLastRunFailed,
            StaleInterrupted,
            StaleNoReceipt,
            StaleRowsChanged,
            StaleInputChanged,
            StaleInputRemoved,
            StaleInputAppeared,
            StaleOutputChanged,
        ];
        assert_eq!(seen, expected);
        // kymflow's stand between those of before and ours of after.
        for reason in [StaleMissingMarker, StaleVersionChanged, StaleParamsChanged, StaleUnknown] {
            let facts =
                Facts { kymflow: judged(reason, reason != StaleParamsChanged, reason != StaleVersionChanged), ..all };
            let expected =
                [StaleUnreadable, StaleLastRunFailed, StaleInterrupted, reason, StaleRowsChanged, StaleInputChanged];
            assert_eq!(reasons(&facts)[..6], expected, "{reason}");
        }
    }

    #[test]
    fn keys_and_notes_by_reason() {
        use Note::*;
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|key| [key.to_owned()]);
        let inputs = InputChanges { changed: &a, removed: &b, appeared: &c, outputs: &d };
        for reason in Reason::ALL {
            let expected: &[String] = match reason {
                Reason::StaleInputChanged => &a,
                Reason::StaleInputRemoved => &b,
                Reason::StaleInputAppeared => &c,
                Reason::StaleOutputChanged => &d,
                _ => &[],
            };
            assert_eq!(keys_of(reason, inputs), expected, "{reason}");
        }
        let receipt =
            |same_library, has_inputs, is_adopted| Some(ReceiptFacts { same_library, has_inputs, is_adopted });
        let cases: &[(Option<ReceiptFacts>, &[Note])] = &[
            (None, &[JudgedByOldRules]),
            (receipt(true, true, false), &[]),
            (receipt(true, false, false), &[JudgedByOldRules]),
            (receipt(false, true, false), &[AnotherLibrary]),
            (receipt(true, true, true), &[Adopted]),
            (receipt(false, false, true), &[JudgedByOldRules, AnotherLibrary, Adopted]),
        ];
        for (receipt, expected) in cases {
            assert_eq!(notes(*receipt), *expected, "{receipt:?}");
        }
    }
}
