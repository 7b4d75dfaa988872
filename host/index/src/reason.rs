//! The reasons for which an image is fresh or stale, the notes about it, and what people read about them.
//!
//! Texts, help and the reference page are made from here. It does not decide which reason applies.

use std::fmt;

/// What people read about a reason or a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// The name in reports and JSON documents.
    pub code: &'static str,
    /// What it says about an image, without a full stop.
    pub meaning: &'static str,
    /// What to do about it, without a full stop.
    pub advice: &'static str,
}

const NOTHING: &str = "nothing to do";
const NEXT_RUN: &str = "the next run processes it";
const RUN_OR_ADOPT: &str = "the next run processes it; `kymhost adopt` accepts its rows as they are";

/// Why an image is fresh or stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// `FRESH_ROWS`
    FreshRows,
    /// `FRESH_ZERO_ROWS`
    FreshZeroRows,
    /// `STALE_MISSING_MARKER`
    StaleMissingMarker,
    /// `STALE_MARKER_TABLE_MISMATCH`
    StaleMarkerTableMismatch,
    /// `STALE_VERSION_CHANGED`
    StaleVersionChanged,
    /// `STALE_PARAMS_CHANGED`
    StaleParamsChanged,
    /// `STALE_UNKNOWN`
    StaleUnknown,
    /// `STALE_UNREADABLE`: the image cannot be judged. Ours, not kymflow's, as are all that follow.
    StaleUnreadable,
    /// `STALE_INTERRUPTED`: a run was killed while it committed this image.
    StaleInterrupted,
    /// `STALE_LAST_RUN_FAILED`: the last run tried this image and failed.
    StaleLastRunFailed,
    /// `STALE_NO_RECEIPT`: there are rows that match, but no marker that says so: none that is valid, has the current
    /// params hash and version, and counts as many rows as the table has.
    StaleNoReceipt,
    /// `STALE_ROWS_CHANGED`: the table's rows are not those that the run wrote.
    StaleRowsChanged,
    /// `STALE_INPUT_CHANGED`: something that the extraction read has other content now.
    StaleInputChanged,
    /// `STALE_INPUT_APPEARED`: something that the extraction did not find now exists.
    StaleInputAppeared,
    /// `STALE_INPUT_REMOVED`: something that the extraction read is gone.
    StaleInputRemoved,
    /// `STALE_OUTPUT_CHANGED`: an artifact that the extraction made is gone, or is not as it was written.
    StaleOutputChanged,
    /// `PENDING_UPSTREAM`: in a dry run of several indexers, an image that another one is to do first.
    PendingUpstream,
}

impl Reason {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 17] = [
        Self::FreshRows,
        Self::FreshZeroRows,
        Self::StaleMissingMarker,
        Self::StaleMarkerTableMismatch,
        Self::StaleVersionChanged,
        Self::StaleParamsChanged,
        Self::StaleUnknown,
        Self::StaleUnreadable,
        Self::StaleInterrupted,
        Self::StaleLastRunFailed,
        Self::StaleNoReceipt,
        Self::StaleRowsChanged,
        Self::StaleInputChanged,
        Self::StaleInputAppeared,
        Self::StaleInputRemoved,
        Self::StaleOutputChanged,
        Self::PendingUpstream,
    ];

    /// The name in reports.
    pub fn code(self) -> &'static str {
        self.words().code
    }

    /// What it says about an image, as a plain sentence without a full stop: `its params have changed ...`.
    pub fn meaning(self) -> &'static str {
        self.words().meaning
    }

    /// What to do about it, as a plain sentence without a full stop.
    pub fn advice(self) -> &'static str {
        self.words().advice
    }

    /// All that people read about reasons: texts, help and the reference page are made from it.
    pub fn words(self) -> Words {
        let (code, meaning, advice) = match self {
            Self::FreshRows => ("FRESH_ROWS", "its rows are up to date", NOTHING),
            Self::FreshZeroRows => ("FRESH_ZERO_ROWS", "a run found no rows, and nothing has changed since", NOTHING),
            Self::StaleMissingMarker => ("STALE_MISSING_MARKER", "it was never run", NEXT_RUN),
            Self::StaleMarkerTableMismatch => {
                ("STALE_MARKER_TABLE_MISMATCH", "its run marker and the table's rows do not agree", NEXT_RUN)
            }
            Self::StaleVersionChanged => {
                ("STALE_VERSION_CHANGED", "its rows were made by another version of the indexer", RUN_OR_ADOPT)
            }
            Self::StaleParamsChanged => {
                ("STALE_PARAMS_CHANGED", "its params have changed since its rows were made", NEXT_RUN)
            }
            Self::StaleUnknown => {
                ("STALE_UNKNOWN", "its rows and its run marker do not show whether it is up to date", RUN_OR_ADOPT)
            }
            Self::StaleUnreadable => (
                "STALE_UNREADABLE",
                "it cannot be checked, because something that this needs cannot be read",
                "`kymhost explain` prints the error; fix its cause, then run again",
            ),
            Self::StaleInterrupted => ("STALE_INTERRUPTED", "a run was killed while it wrote its rows", NEXT_RUN),
            Self::StaleLastRunFailed => (
                "STALE_LAST_RUN_FAILED",
                "the last run failed for it; its rows, if any, are from an earlier run",
                "`kymhost explain` prints the failure; fix its cause, then run again",
            ),
            Self::StaleNoReceipt => {
                ("STALE_NO_RECEIPT", "it has rows, but no run marker that matches them", RUN_OR_ADOPT)
            }
            Self::StaleRowsChanged => {
                ("STALE_ROWS_CHANGED", "its rows in the table are not the ones that the run wrote", RUN_OR_ADOPT)
            }
            Self::StaleInputChanged => {
                ("STALE_INPUT_CHANGED", "an input that its rows were made from has changed", NEXT_RUN)
            }
            Self::StaleInputAppeared => {
                ("STALE_INPUT_APPEARED", "an input that was missing last time now exists", NEXT_RUN)
            }
            Self::StaleInputRemoved => {
                ("STALE_INPUT_REMOVED", "an input that its rows were made from is gone", NEXT_RUN)
            }
            Self::StaleOutputChanged => {
                ("STALE_OUTPUT_CHANGED", "an artifact that was made with its rows is gone or has changed", NEXT_RUN)
            }
            Self::PendingUpstream => (
                "PENDING_UPSTREAM",
                "another indexer of this run processes it first; whether it is stale after that is not known yet",
                "nothing to do: a run processes the indexers in the right order",
            ),
        };
        Words { code, meaning, advice }
    }

    /// The reason of that name.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether such an image is to be done.
    pub fn is_stale(self) -> bool {
        !matches!(self, Self::FreshRows | Self::FreshZeroRows)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The report for one image; the names are those of `status --json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ImageReport {
    pub image_id: String,
    pub reason: Reason,
    pub is_stale: bool,
    pub has_run_marker: bool,
    pub table_rows_present: bool,
    pub marker_n_rows: Option<u64>,
    pub params_hash_matches: bool,
    pub analysis_version_matches: bool,
    /// Why it cannot be checked, with [`Reason::StaleUnreadable`].
    pub error: Option<String>,
    /// The keys that [`Reason::StaleInputChanged`], its like and [`Reason::StaleOutputChanged`] are about.
    pub inputs: Vec<String>,
    /// What is worth knowing about a fresh image.
    pub notes: Vec<Note>,
}

/// What is worth knowing about an image, although it decides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Note {
    /// `JUDGED_BY_OLD_RULES`: its marker has no inputs (Python wrote it), so a changed artifact goes unnoticed.
    JudgedByOldRules,
    /// `ANOTHER_LIBRARY`: another binary with the same analysis version made its rows.
    AnotherLibrary,
    /// `ADOPTED`: its rows were not made by what its marker names; a person accepted them.
    Adopted,
}

impl Note {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 3] = [Self::JudgedByOldRules, Self::AnotherLibrary, Self::Adopted];

    /// The name in reports.
    pub fn code(self) -> &'static str {
        self.words().code
    }

    /// What it says about an image, as a plain sentence without a full stop.
    pub fn meaning(self) -> &'static str {
        self.words().meaning
    }

    /// What to do about it, as a plain sentence without a full stop.
    pub fn advice(self) -> &'static str {
        self.words().advice
    }

    /// All that people read about notes.
    pub fn words(self) -> Words {
        let (code, meaning, advice) = match self {
            Self::JudgedByOldRules => (
                "JUDGED_BY_OLD_RULES",
                "its run marker lists no inputs, so a changed artifact goes unnoticed",
                "`kymhost run --force` processes it again and records its inputs",
            ),
            Self::AnotherLibrary => (
                "ANOTHER_LIBRARY",
                "its rows were made by another build of the library, with the same analysis version",
                "`kymhost verify` compares its rows with those of the present build",
            ),
            Self::Adopted => ("ADOPTED", "its rows were adopted: a person accepted them as up to date", NOTHING),
        };
        Words { code, meaning, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_name_reasons() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
            assert_eq!(reason.is_stale(), !reason.code().starts_with("FRESH_"), "{reason}");
        }
        for words in Reason::ALL.map(Reason::words).into_iter().chain(Note::ALL.map(Note::words)) {
            for text in [words.meaning, words.advice] {
                assert!(!text.is_empty() && text.trim() == text && !text.ends_with('.'), "{words:?}");
            }
        }
        assert_eq!(Reason::from_code("FRESH"), None);
        assert_eq!(Reason::from_code("fresh_rows"), None);
    }
}
