//! Which checks there are, what each demands, and what it needs.
//!
//! The names are a promise to scripts. How a check is done stands in `checks` and `damage`.

/// What a check needs before it can say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The library's file; none of its code runs.
    File,
    /// The library, loaded.
    Library,
    /// Records that the indexer takes.
    Records,
    /// Records of which the indexer makes rows.
    Rows,
}

impl Needs {
    /// In words, as `--list` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Library => "library",
            Self::Records => "records",
            Self::Rows => "rows",
        }
    }
}

macro_rules! checks {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $needs:ident $description:literal;)+) => {
        /// One thing that is checked. The names are a promise to scripts; checks are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Check {
            /// All of them, in the order in which they are reported.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name, as `--only` and `--json` have it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it demands, in one line.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description,)+
                }
            }

            /// What it needs.
            pub fn needs(self) -> Needs {
                match self {
                    $(Self::$variant => Needs::$needs,)+
                }
            }
        }
    };
}

checks! {
    /// See [`Check::description`], here and below.
    Card "card" File "the card can be read from the file, without running anything";
    /// `api`
    Api "api" File "its plugin API and its door are ones that this kymhost has";
    /// `load`
    Load "load" File "the library opens, has a binary layout that fits, and gives its indexers";
    /// `card_agrees`
    CardAgrees "card_agrees" File "what the loaded library lists is what its card says";
    /// `name`
    Name "name" File "its name is 1 to 200 of a-z, 0-9 and _ and does not begin with kym_";
    /// `version`
    Version "version" File "its analysis version can be told from another: no blanks around it, at least one digit";
    /// `marker`
    Marker "marker" Records "its run marker has an artifact of its own, which is not one that it reads";
    /// `extracts`
    Extracts "extracts" Records "it takes ordinary records without a panic";
    /// `ends`
    Ends "ends" Library "a process that has used it ends in order";
    /// `hash_form`
    HashForm "hash_form" Records "params_hash is a text of 1 to 1024 bytes without blanks and control characters";
    /// `hash_repeats`
    HashRepeats "hash_repeats" Records "params_hash is the same when asked twice, in another order, on another thread";
    /// `hash_elsewhere`
    HashElsewhere "hash_elsewhere" Records "params_hash is the same later, in another process, folder and environment";
    /// `hash_follows_params`
    HashFollowsParams "hash_follows_params" Records "params_hash changes when the params that it read change";
    /// `ignores_markers`
    IgnoresMarkers "ignores_markers" Records "params_hash and rows do not depend on run markers";
    /// `params_agree`
    ParamsAgree "params_agree" Records "params can be had, and params_hash is their hash";
    /// `params_schema`
    ParamsSchema "params_schema" Records "PARAMS_SCHEMA, if any, is a JSON Schema of objects that takes the params of an image without any";
    /// `reads`
    Reads "reads" Records "it reads no artifact of its own WRITES, and none of its library's other indexers unless READS names it";
    /// `rows_repeat`
    RowsRepeat "rows_repeat" Rows "rows are the same when extracted twice, in another order, on another thread";
    /// `rows_elsewhere`
    RowsElsewhere "rows_elsewhere" Rows "rows are the same later, in another process, folder and environment";
    /// `at_once`
    AtOnce "at_once" Rows "rows are the same when several threads extract at once";
    /// `two_datasets`
    TwoDatasets "two_datasets" Rows "rows of one dataset are the same after those of another with the same image ids";
    /// `proper_table`
    ProperTable "proper_table" Records "rows are a table: columns of one length, each with a name of its own";
    /// `storable`
    Storable "storable" Rows "rows have types that Parquet can keep";
    /// `schema_same`
    SchemaSame "schema_same" Rows "columns and their types are the same for every image, also for one without rows";
    /// `artifacts`
    Artifacts "artifacts" Records "the artifacts that it hands over are ones that it declares, and the same twice";
    /// `own_rows`
    OwnRows "own_rows" Rows "rows are this image's: an image_id column names no other";
    /// `provenance`
    Provenance "provenance" Rows "analysis_version and params_hash columns, if any, say what the host will say";
    /// `missing_artifacts`
    MissingArtifacts "missing_artifacts" Records "what it reads may be missing: an error or rows, no panic";
    /// `empty_artifacts`
    EmptyArtifacts "empty_artifacts" Records "what it reads may be empty: an error or rows, no panic";
    /// `corrupt_artifacts`
    CorruptArtifacts "corrupt_artifacts" Records "what it reads may be broken: an error, no panic";
    /// `odd_artifacts`
    OddArtifacts "odd_artifacts" Records "what it reads may be of other kinds and types: an error or rows, no panic";
    /// `odd_pixels`
    OddPixels "odd_pixels" Records "pixels may be absent, of length 0, NaN, of any dtype: an error or rows, no panic";
    /// `error_texts`
    ErrorTexts "error_texts" Records "its errors say what is wrong";
    /// `old_markers`
    OldMarkers "old_markers" Library "reading old run markers takes any JSON";
    /// `memory_steady`
    MemorySteady "memory_steady" Records "memory does not grow over 10,000 extractions";
    /// `writes_nothing`
    WritesNothing "writes_nothing" Records "it writes nothing: not into the dataset, its working, home or temporary folder, or files elsewhere";
    /// `prints_nothing`
    PrintsNothing "prints_nothing" Records "it prints nothing on standard output";
    /// `cancel`
    Cancel "cancel" Records "an extraction that is cancelled, from the start or in the middle, returns soon";
    /// `threads`
    Threads "threads" Records "it uses no more threads than it was given";
}

impl Check {
    /// The check of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|check| check.name() == name)
    }

    /// Whether it is of the library as a whole; the others are of each of its indexers.
    pub fn is_of_library(self) -> bool {
        matches!(self, Self::Card | Self::Api | Self::Load | Self::CardAgrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_words_of_their_own() {
        let mut seen = HashSet::new();
        for &check in Check::ALL {
            let name = check.name();
            assert!(seen.insert(name), "{name} twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(Check::from_name(name), Some(check));
            assert!(!check.description().contains('\n') && check.description().len() < 110, "{name}");
        }
        assert_eq!(Check::from_name("no_such"), None);
    }

    #[test]
    fn the_docs_have_every_check_with_its_own_words() {
        let docs = include_str!("../../../../docs/authors/plugin-check.md");
        let rows: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `")).collect();
        for check in Check::ALL {
            let row = format!("| `{}` | {} | {} |", check.name(), check.needs().as_str(), check.description());
            assert!(rows.contains(&row.as_str()), "docs/authors/plugin-check.md lacks this line:\n{row}");
        }
    }
}
