//! The list of checks: what each demands and needs.
//!
//! The names are a promise to scripts. `checks` and `damage` have the checks themselves.

/// What a check needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The library's file. None of its code runs.
    File,
    /// The library, loaded.
    Library,
    /// Records that the indexer accepts.
    Records,
    /// Records that give rows.
    Rows,
}

impl Needs {
    /// Its name in `--list`.
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
    ($($variant:ident $name:literal $needs:ident $description:literal;)+) => {
        /// One thing that is checked. The names are a promise to scripts: a check is never removed or renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $(#[doc = $description] $variant,)+
        }

        impl Check {
            /// All checks, in the order of the report.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in `--only` and `--json`.
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
    Card "card" File "the card can be read from the file without running code";
    Api "api" File "this kymhost has its plugin API and its door";
    Load "load" File "the library opens, its binary layout fits, and it returns its indexers";
    CardAgrees "card_agrees" File "the loaded library has the indexers that its card lists";
    Name "name" File "the name has 1 to 200 characters of a-z, 0-9 and _ and does not begin with kym_";
    Version "version" File "the analysis version has a digit, and no blank at its start or end";
    Marker "marker" Records "the run marker has its own artifact, which is neither read nor written otherwise";
    Extracts "extracts" Records "it accepts ordinary records and does not panic";
    Ends "ends" Library "a process that has used it ends normally";
    HashForm "hash_form" Records "params_hash is a text of 1 to 1024 bytes without blanks and control characters";
    HashRepeats "hash_repeats" Records "params_hash is the same the second time, in another order, and on another thread";
    HashElsewhere "hash_elsewhere" Records "params_hash is the same later, in another process, folder and environment";
    HashFollowsParams "hash_follows_params" Records "params_hash changes if the params change that it reads";
    IgnoresMarkers "ignores_markers" Records "params_hash and rows do not depend on run markers";
    ParamsAgree "params_agree" Records "params works, and params_hash is its hash";
    ParamsSchema "params_schema" Records "PARAMS_SCHEMA, if any, is a JSON Schema for objects, and accepts the default params";
    Reads "reads" Records "it reads no artifact of its own WRITES, and of its library's other indexers only those in READS";
    RowsRepeat "rows_repeat" Rows "rows are the same the second time, in another order, and on another thread";
    RowsElsewhere "rows_elsewhere" Rows "rows are the same later, in another process, folder and environment";
    AtOnce "at_once" Rows "rows are the same if several threads extract at the same time";
    TwoDatasets "two_datasets" Rows "rows are the same after those of another dataset with the same image ids";
    ProperTable "proper_table" Records "rows are a table: columns of equal length with different names";
    Storable "storable" Rows "Parquet can store the types of the rows";
    SchemaSame "schema_same" Rows "columns and their types are the same for all images, also for those without rows";
    Artifacts "artifacts" Records "it writes only artifacts that it declares, and the same ones twice";
    OwnRows "own_rows" Rows "an image_id column, if any, has only the image's id";
    Provenance "provenance" Rows "analysis_version and params_hash columns, if any, have the values that kymhost adds";
    MissingArtifacts "missing_artifacts" Records "if artifacts are missing, it gives an error or rows and does not panic";
    EmptyArtifacts "empty_artifacts" Records "if artifacts are empty, it gives an error or rows and does not panic";
    CorruptArtifacts "corrupt_artifacts" Records "if artifacts are broken, it gives an error and does not panic";
    OddArtifacts "odd_artifacts" Records "if artifacts have other types, it gives an error or rows and does not panic";
    OddPixels "odd_pixels" Records "if pixels are missing, of length 0, NaN or of any dtype, it gives an error or rows and does not panic";
    ErrorTexts "error_texts" Records "its errors have a message";
    OldMarkers "old_markers" Library "read_old_marker does not panic, whatever the JSON";
    MemorySteady "memory_steady" Records "memory does not grow over 10,000 extractions";
    WritesNothing "writes_nothing" Records "it writes no files: neither into the dataset, its working, home or temporary folder, nor elsewhere";
    PrintsNothing "prints_nothing" Records "it prints nothing on standard output";
    Cancel "cancel" Records "an extraction that is cancelled at the start or in the middle returns soon";
    Threads "threads" Records "it starts no more threads than run.threads()";
}

impl Check {
    /// The check of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|check| check.name() == name)
    }

    /// Whether it checks the library as a whole. The others check each indexer.
    pub fn is_of_library(self) -> bool {
        matches!(self, Self::Card | Self::Api | Self::Load | Self::CardAgrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_different_words() {
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
    fn docs_list_every_check() {
        let docs = include_str!("../../../../docs/authors/plugin-check.md");
        let rows: Vec<&str> = docs.lines().filter(|line| line.starts_with("| `")).collect();
        for check in Check::ALL {
            let row = format!("| `{}` | {} | {} |", check.name(), check.needs().as_str(), check.description());
            assert!(rows.contains(&row.as_str()), "docs/authors/plugin-check.md lacks this line:\n{row}");
        }
    }
}
