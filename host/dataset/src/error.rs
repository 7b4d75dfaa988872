//! What can go wrong with a dataset.

use crate::well_known::TABLE_PREFIX;
use kymhost_store::{Class, Diagnose, Diagnosis, Holder, Key, Store, StoreError};
use std::fmt;

/// What can go wrong with a dataset. Every kind names the key or file.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The folder is not a dataset.
    NotADataset {
        /// The folder.
        path: String,
        /// What was expected and found.
        why: String,
        /// What to do about it.
        help: &'static str,
    },
    /// The dataset has no such image.
    UnknownImage {
        /// The id asked for.
        id: String,
        /// The dataset.
        dataset: String,
    },
    /// The key exists, but is not what it should be (broken JSON, gzip, Parquet, CSV, `.zarray` or chunk).
    Unreadable {
        /// The key, as [`Store::describe`] gives it.
        key: String,
        /// The dataset table that it is, without its folder and ending; `None` if it is not a table.
        table: Option<String>,
        /// The expected form, e.g. `JSON`.
        expected: &'static str,
        /// What is wrong.
        found: String,
    },
    /// What is to be written does not fit the format.
    Unwritable {
        /// The key or name.
        key: String,
        /// Why.
        why: String,
    },
    /// Another program writes a file again and again.
    Busy {
        /// The key, as [`Store::describe`] gives it.
        key: String,
        /// How often kymhost tried.
        tries: usize,
    },
    /// Another process is changing which images there are, or the root's attributes.
    Locked {
        /// Who it is.
        holder: Holder,
        /// How long kymhost waited.
        seconds: u64,
    },
    /// The store failed.
    Store(#[from] StoreError),
}

impl DatasetError {
    /// Whether the system had too little of something: it says nothing about the data.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_shortage())
    }
}

impl Diagnose for DatasetError {
    fn diagnose(&self) -> Diagnosis {
        let unusable = |code, what: String| Diagnosis::new(Class::Unusable, code, what);
        match self {
            Self::NotADataset { path, why, help } => {
                unusable("not_a_dataset", format!("{path} is not a kymhost dataset")).why(why).help(help)
            }
            Self::UnknownImage { id, dataset } => {
                Diagnosis::new(Class::Usage, "unknown_image", format!("there is no recording '{id}' in {dataset}"))
                    .help("`kymhost status --plugin NAME --json` lists all recordings")
            }
            Self::Unreadable { key, table, expected, found } => {
                let is_of_an_indexer = table.as_ref().is_some_and(|table| table.starts_with(TABLE_PREFIX));
                unusable("unreadable", format!("cannot read {key} as {expected}")).why(found).help(
                    if is_of_an_indexer {
                        "`kymhost run --mode replace --plugin NAME` makes the table again and keeps the broken file \
                         under another name"
                    } else {
                        "`kymhost dataset validate` lists every problem in the dataset"
                    },
                )
            }
            Self::Unwritable { key, why } => unusable("unwritable", format!("cannot write {key}")).why(why),
            Self::Busy { key, tries } => unusable("unwritable", format!("cannot write {key}"))
                .why(format!("another program wrote it during each of {tries} tries"))
                .help("try again when the other program has ended"),
            Self::Locked { holder, seconds } => {
                Diagnosis::new(Class::Locked, "locked", "another process is changing the dataset")
                    .why(format!("{holder}; kymhost waited {seconds} s for it"))
                    .help("try again when the other process has ended")
            }
            Self::Store(error) => error.diagnose(),
        }
    }
}

impl fmt::Display for DatasetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnose().message())
    }
}

pub(crate) fn unreadable(
    store: &dyn Store,
    key: &Key,
    expected: &'static str,
    found: impl fmt::Display,
) -> DatasetError {
    let table = table_of(key).map(str::to_owned);
    DatasetError::Unreadable { key: store.describe(key), table, expected, found: found.to_string() }
}

/// The dataset table that a key is, without folder and ending.
fn table_of(key: &Key) -> Option<&str> {
    key.as_str().strip_prefix("tables/")?.strip_suffix(".parquet").filter(|name| !name.contains('/'))
}

pub(crate) fn unwritable(store: &dyn Store, key: &Key, why: String) -> DatasetError {
    DatasetError::Unwritable { key: store.describe(key), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_help_depends_on_the_table() {
        for (table, says) in
            [(Some("kym_radon"), "--mode replace"), (Some("sources"), "dataset validate"), (None, "dataset validate")]
        {
            let table = table.map(str::to_owned);
            let error = DatasetError::Unreadable { key: "k".into(), table, expected: "JSON", found: "x".into() };
            let found = error.diagnose();
            assert!(found.help.as_ref().is_some_and(|help| help.contains(says)), "{found:?}");
            assert_eq!((found.code, error.to_string().as_str()), ("unreadable", "cannot read k as JSON: x"));
        }
    }

    #[test]
    fn dataset_errors_have_class_and_code() {
        let holder = Holder { pid: Some(7), ..Holder::default() };
        let absent = StoreError::LeadsOut { key: "d/k".into() };
        for (error, class, code, says) in [
            (
                DatasetError::NotADataset { path: "p".into(), why: "no .zgroup".into(), help: "h" },
                Class::Unusable,
                "not_a_dataset",
                "p is not a kymhost dataset: no .zgroup",
            ),
            (
                DatasetError::UnknownImage { id: "zz".into(), dataset: "d".into() },
                Class::Usage,
                "unknown_image",
                "'zz'",
            ),
            (DatasetError::Unwritable { key: "d/k".into(), why: "x".into() }, Class::Unusable, "unwritable", "d/k: x"),
            (DatasetError::Busy { key: "d/k".into(), tries: 5 }, Class::Unusable, "unwritable", "each of 5 tries"),
            (DatasetError::Locked { holder, seconds: 3 }, Class::Locked, "locked", "process 7"),
            (DatasetError::Store(absent), Class::Unusable, "leads_out", "d/k"),
        ] {
            let found = error.diagnose();
            assert_eq!((found.class, found.code), (class, code));
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
