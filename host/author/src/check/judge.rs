//! Which function does which check. It runs in the process of that check, which has loaded the indexer.

use crate::check::check_list::Check;
use crate::check::checks::{artifacts, cancel, hashes, library, memory, params, rows, threads};
use crate::check::damage;
use crate::check::report::Outcome;
use crate::check::subject::Subject;

/// Does a check.
pub(crate) fn judge(check: Check, subject: &Subject<'_>) -> Outcome {
    let judged = match check {
        // The suite itself does these.
        Check::Card | Check::Api | Check::Load | Check::CardAgrees | Check::Name | Check::Version => {
            Err(Outcome::skipped("this is not checked here"))
        }
        Check::Marker => library::marker(subject),
        Check::Extracts => library::extracts(subject),
        Check::Ends | Check::PrintsNothing => library::use_it(subject),
        Check::WritesNothing => library::writes_nothing(subject),
        Check::HashForm => hashes::hash_form(subject),
        Check::HashRepeats => hashes::hash_repeats(subject),
        Check::HashElsewhere => hashes::hash_elsewhere(subject),
        Check::HashFollowsParams => hashes::hash_follows_params(subject),
        Check::IgnoresMarkers => hashes::ignores_markers(subject),
        Check::ParamsAgree => params::params_agree(subject),
        Check::ParamsSchema => params::params_schema(subject),
        Check::Reads => artifacts::reads(subject),
        Check::RowsRepeat => rows::rows_repeat(subject),
        Check::RowsElsewhere => rows::rows_elsewhere(subject),
        Check::AtOnce => rows::at_once(subject),
        Check::TwoDatasets => rows::two_datasets(subject),
        Check::ProperTable => rows::proper_table(subject),
        Check::Storable => rows::storable(subject),
        Check::SchemaSame => rows::schema_same(subject),
        Check::Artifacts => artifacts::artifacts(subject),
        Check::OwnRows => rows::own_rows(subject),
        Check::Provenance => rows::provenance(subject),
        Check::MissingArtifacts => damage::missing(subject),
        Check::EmptyArtifacts => damage::empty(subject),
        Check::CorruptArtifacts => damage::corrupt(subject),
        Check::OddArtifacts => damage::odd(subject),
        Check::OddPixels => damage::odd_pixels(subject),
        Check::ErrorTexts => damage::error_texts(subject),
        Check::OldMarkers => artifacts::old_markers(subject),
        Check::MemorySteady => memory::memory_steady(subject),
        Check::Cancel => cancel::cancel(subject),
        Check::Threads => threads::threads(subject),
    };
    judged.map_or_else(|outcome| outcome, Outcome::passed)
}
