//! The table that images are judged by: reading it, and how far its rows are trusted.

use crate::error::IndexError;
use crate::markers::{FoundMarker, Marker};
use crate::names::TableName;
use crate::provenance::{self, ImageFacts, TableFacts};
use crate::rows_digest;
use kymhost_dataset::Dataset;
use std::collections::BTreeSet;

/// How far a table's rows are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SealState {
    /// There is no table, or no image's marker has a receipt, or kymflow's rules apply: there is nothing to
    /// compare.
    Unneeded,
    /// The seal's identity is the table's, and it knows all receipts: rows are trusted, less these images' (which may
    /// be of any image of the table).
    Held {
        /// See [`crate::ledger::Seal::altered`].
        altered: BTreeSet<String>,
    },
    /// The seal is missing or broken, or there is a receipt that it does not know. All digests were computed and
    /// compared with the markers.
    Recomputed {
        /// The images whose rows are not those of their markers.
        altered: BTreeSet<String>,
        /// Whether all images were compared. With [`PlanOptions::only`](super::PlanOptions::only) they were not, nor
        /// if a marker cannot be read: then `altered` does not allow a new seal.
        is_complete: bool,
    },
}

impl SealState {
    /// The images whose rows are known to be altered; `None` if that is not known of all, as of one whose marker
    /// cannot be read.
    pub fn all_altered(&self) -> Option<BTreeSet<String>> {
        match self {
            Self::Unneeded => Some(BTreeSet::new()),
            Self::Held { altered } | Self::Recomputed { altered, is_complete: true } => Some(altered.clone()),
            Self::Recomputed { is_complete: false, .. } => None,
        }
    }
}

/// The images that are judged.
pub(super) struct ChosenImages<'a> {
    pub ids: Vec<&'a str>,
    /// Their places among all images; `None`: they are all.
    places: Option<Vec<usize>>,
}

impl<'a> ChosenImages<'a> {
    pub fn of(all: &[&'a str], only: Option<&BTreeSet<String>>) -> Self {
        let Some(only) = only else { return Self { ids: all.to_vec(), places: None } };
        let (places, ids) =
            all.iter().enumerate().filter(|(_, id)| only.contains(**id)).map(|(at, id)| (at, *id)).unzip();
        Self { ids, places: Some(places) }
    }

    /// Leaves of what was read of the table what is about them.
    pub fn narrow(&self, table: &mut TableFacts) {
        if let Some(places) = &self.places {
            table.images = places.iter().map(|&at| table.images.get(at).cloned().unwrap_or_default()).collect();
        }
    }
}

/// The table's facts, or why it cannot be read, if it may be broken.
pub(super) fn read_table(
    dataset: &Dataset,
    name: &TableName,
    all: &[&str],
    may_be_broken: bool,
) -> Result<(TableFacts, Option<IndexError>), IndexError> {
    match provenance::read(dataset, name, all) {
        Ok(facts) => Ok((facts, None)),
        Err(error) => broken(dataset, name, all, error, may_be_broken),
    }
}

pub(super) fn broken(
    dataset: &Dataset,
    name: &TableName,
    all: &[&str],
    error: IndexError,
    may_be_broken: bool,
) -> Result<(TableFacts, Option<IndexError>), IndexError> {
    match error {
        error if may_be_broken && error.is_broken_table() => {
            let stat = dataset.table_stat(name.table())?;
            let images = vec![ImageFacts::default(); all.len()];
            Ok((TableFacts { stat, images, ..TableFacts::default() }, Some(error)))
        }
        error => Err(error),
    }
}

/// How often the table is read again because another program has written it between two looks at it.
const MAX_LOOKS: usize = 5;

/// Compares the rows of a table whose seal does not hold with the receipts. `table` is read again if its digests are
/// those of a newer table.
pub(super) fn compare_rows(
    dataset: &Dataset,
    name: &TableName,
    all: &[&str],
    chosen: &ChosenImages<'_>,
    table: &mut TableFacts,
    looked: &[FoundMarker],
) -> Result<SealState, IndexError> {
    // A marker that was not read may have a receipt, as may those of images that were not looked at.
    let is_unread = |image: &FoundMarker| matches!(image.marker, Marker::Unreadable(_));
    let is_complete = chosen.places.is_none() && !looked.iter().any(is_unread);
    if !looked.iter().any(|image| image.receipt.is_some()) {
        return Ok(match is_complete {
            true => SealState::Unneeded,
            false => SealState::Recomputed { altered: BTreeSet::new(), is_complete },
        });
    }
    let mut digests = rows_digest::table_digests(dataset, name)?;
    for _ in 0..MAX_LOOKS {
        if dataset.table_stat(name.table())? == table.stat {
            break;
        }
        *table = provenance::read(dataset, name, all)?;
        digests = rows_digest::table_digests(dataset, name)?;
    }
    // An image without rows has no digest, but it is counted.
    let differs = |(id, image): (&&str, &FoundMarker)| {
        let receipt = image.receipt.as_ref()?;
        let digest = digests.get(*id)?;
        (*digest != receipt.rows_sha256).then(|| (*id).to_owned())
    };
    let altered = chosen.ids.iter().zip(looked).filter_map(differs).collect();
    Ok(SealState::Recomputed { altered, is_complete })
}
