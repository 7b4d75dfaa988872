//! Which images a run does, and which orphans it removes: pure functions over values.
//!
//! Responsible for the selection and for the guard against mass removal. It does no I/O.

use crate::error::{IndexError, MassRemoval};
use crate::options::{Compat, Mode, Orphans, RunOptions, Selection};
use crate::staleness::{ImageReport, Reason};
use std::collections::BTreeSet;

/// How many images may disappear without confirmation.
const FEW: usize = 10;
/// If more than one in so many of the table's images disappear, confirmation is needed.
const PART: usize = 5;

/// Whether a run looks at the image at all: one that is not selected counts nowhere.
pub(crate) fn is_selected(selection: &Selection, image_id: &str, reason: Reason) -> bool {
    selection.images.as_ref().is_none_or(|images| images.contains(image_id))
        && (selection.reasons.is_empty() || selection.reasons.contains(&reason))
}

/// Whether a run does the image.
pub(crate) fn is_to_do(options: &RunOptions, report: &ImageReport) -> bool {
    is_selected(&options.selection, &report.image_id, report.reason) && (does_fresh(options) || report.is_stale)
}

/// Whether a run does fresh images too. It then needs no marker, so one that cannot be read keeps it from nothing.
pub(crate) fn does_fresh(options: &RunOptions) -> bool {
    options.mode == Mode::Replace || options.selection.force
}

/// Whether every image of the dataset is done, whatever its state: then a table that cannot be read does not matter.
pub(crate) fn does_all(options: &RunOptions) -> bool {
    options.mode == Mode::Replace && options.selection.images.is_none() && options.selection.reasons.is_empty()
}

/// Whether a run removes the rows of deleted images.
pub(crate) fn prunes(options: &RunOptions) -> bool {
    options.compat == Compat::Kymhost && options.orphans == Orphans::Prune && options.selection.images.is_none()
}

/// Refuses images that the dataset does not have. `known`: sorted.
pub(crate) fn check_images(images: Option<&BTreeSet<String>>, known: &[String]) -> Result<(), IndexError> {
    let unknown: Vec<String> =
        images.into_iter().flatten().filter(|id| known.binary_search(id).is_err()).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(IndexError::UnknownImages(unknown)) }
}

/// Why rows of deleted images are not removed without `--yes`: a dataset that is half mounted looks just like one in
/// which images were deleted. `images`: how many the dataset has; `with_rows`: how many of them have rows in the
/// table.
pub(crate) fn refusal(
    table: &str,
    images: usize,
    with_rows: usize,
    orphans: &[(String, u64)],
    allow_mass_removal: bool,
) -> Option<MassRemoval> {
    let vanished = orphans.len();
    if allow_mass_removal || vanished == 0 {
        return None;
    }
    let in_table = with_rows.saturating_add(vanished);
    let rows = orphans.iter().fold(0u64, |sum, (_, rows)| sum.saturating_add(*rows));
    let is_suspicious = images == 0 || (vanished > FEW && vanished.saturating_mul(PART) > in_table);
    is_suspicious.then(|| MassRemoval { table: table.to_owned(), images, in_table, vanished, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kymhost_store::Diagnose;

    #[test]
    fn mass_removal_guard() {
        let orphans = |count: usize| (0..count).map(|at| (format!("{at}"), 2)).collect::<Vec<_>>();
        // (images, of them with rows, vanished, --yes, refused)
        let cases = [
            (5, 5, 0, false, false),
            (0, 0, 0, false, false),
            (0, 0, 1, false, true),
            (0, 0, 1, true, false),
            (1, 0, 10, false, false),
            (1, 0, 11, false, true),
            (1, 0, 11, true, false),
            (100, 43, 11, false, true),
            (100, 44, 11, false, false),
            (100, 45, 11, false, false),
            (1000, 1000, 250, false, false),
            (1000, 1000, 251, false, true),
            (1000, 3, 10, false, false),
        ];
        for (images, with_rows, vanished, yes, refused) in cases {
            let found = refusal("tables/t.parquet", images, with_rows, &orphans(vanished), yes);
            assert_eq!(found.is_some(), refused, "{images} {with_rows} {vanished} {yes}");
            if let Some(removal) = found {
                let rows = (2 * vanished).to_string();
                let diagnosis = IndexError::MassRemoval(removal).diagnose();
                for part in ["tables/t.parquet", "Nothing was written", &vanished.to_string(), &rows] {
                    assert!(diagnosis.message().contains(part), "{diagnosis:?}: {part}");
                }
                assert!(diagnosis.help.is_some_and(|help| help.contains("--yes")));
            }
        }
    }

    #[test]
    fn selection() {
        use Reason::*;
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let base = || RunOptions::new(Mode::Incremental);
        let named = Selection { images: Some(set(&["a"])), ..Selection::default() };
        let stale = Selection { reasons: BTreeSet::from([StaleUnknown]), ..Selection::default() };
        let both = Selection { images: Some(set(&["a"])), reasons: BTreeSet::from([FreshRows]), force: true };
        let forced = Selection { force: true, ..named.clone() };
        let with = |selection: &Selection, mode| RunOptions { selection: selection.clone(), ..RunOptions::new(mode) };
        let replace = Mode::Replace;
        // (options, image, reason, to do)
        let cases = [
            (base(), "a", FreshRows, false),
            (base(), "a", StaleUnknown, true),
            (RunOptions::new(replace), "a", FreshZeroRows, true),
            (with(&named, Mode::Incremental), "a", FreshRows, false),
            (with(&named, Mode::Incremental), "a", StaleUnknown, true),
            (with(&named, Mode::Incremental), "b", StaleUnknown, false),
            (with(&named, replace), "a", FreshRows, true),
            (with(&named, replace), "b", FreshRows, false),
            (with(&forced, Mode::Incremental), "a", FreshRows, true),
            (with(&forced, Mode::Incremental), "b", FreshRows, false),
            (with(&stale, Mode::Incremental), "b", StaleUnknown, true),
            (with(&stale, Mode::Incremental), "b", StaleParamsChanged, false),
            (with(&stale, replace), "b", FreshRows, false),
            (with(&both, Mode::Incremental), "a", FreshRows, true),
            (with(&both, Mode::Incremental), "a", StaleUnknown, false),
        ];
        for (options, id, reason, to_do) in cases {
            let report = ImageReport {
                image_id: id.into(),
                reason,
                is_stale: reason.is_stale(),
                has_run_marker: false,
                table_rows_present: false,
                marker_n_rows: None,
                params_hash_matches: false,
                analysis_version_matches: false,
                error: None,
                inputs: vec![],
                notes: vec![],
            };
            assert_eq!(is_to_do(&options, &report), to_do, "{:?} {id} {reason}", options.selection);
        }
        assert!(check_images(named.images.as_ref(), &["a".into(), "b".into()]).is_ok());
        assert!(check_images(None, &[]).is_ok());
        let error = check_images(named.images.as_ref(), &["b".into()]).unwrap_err();
        assert!(matches!(&error, IndexError::UnknownImages(ids) if ids == &["a"]), "{error}");

        assert!(does_all(&RunOptions::new(replace)) && !does_all(&base()) && !does_all(&with(&named, replace)));
        assert!(prunes(&base()) && prunes(&with(&stale, replace)) && !prunes(&with(&named, replace)));
        assert!(!prunes(&RunOptions { orphans: Orphans::Keep, ..base() }));
        assert!(!prunes(&RunOptions { compat: Compat::Kymflow, ..base() }));
    }
}
