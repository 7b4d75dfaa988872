//! Where an indexer's table is kept.
//!
//! Responsible for the table's name and key. It does no I/O; which names are allowed is in `plugin::fault_of_name`.

use crate::error::IndexError;
use kymhost_plugin::{TABLE_PREFIX, fault_of_name, plain_name};
use kymhost_store::Key;

/// An indexer's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    indexer: String,
    table: String,
}

impl TableName {
    /// The table of an indexer; the name is trimmed and lower-cased first.
    pub fn of(name: &str) -> Result<Self, IndexError> {
        let indexer = plain_name(name);
        match fault_of_name(name) {
            Some(why) => Err(IndexError::BadName { name: name.to_owned(), why }),
            None => Ok(Self { table: format!("{TABLE_PREFIX}{indexer}"), indexer }),
        }
    }

    /// The indexer's name, as rules and markers know it.
    pub fn indexer(&self) -> &str {
        &self.indexer
    }

    /// The table's name, as [`kymhost_dataset::Dataset::read_table`] takes it.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The table's key, as people and `--json` see it.
    pub fn key_text(&self) -> String {
        format!("tables/{}.parquet", self.table)
    }

    /// The table's key.
    pub fn key(&self) -> Result<Key, IndexError> {
        Ok(Key::new(self.key_text()).map_err(kymhost_dataset::DatasetError::from)?)
    }

    /// The key of the lock that a run holds while it changes the table.
    pub fn lock_key(&self) -> Result<Key, IndexError> {
        let text = format!("index/kymhost/locks/{}.lock", self.table);
        Ok(Key::new(text).map_err(kymhost_dataset::DatasetError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(200);
        let good = [
            ("velocity_events", "velocity_events"),
            ("  Radon\n", "radon"),
            ("_", "_"),
            ("0", "0"),
            ("kym", "kym"),
            ("index", "index"),
            ("tables", "tables"),
            ("STALLS_2", "stalls_2"),
            (long.as_str(), long.as_str()),
        ];
        for (name, indexer) in good {
            let table = TableName::of(name).unwrap();
            assert_eq!(table.indexer(), indexer, "{name:?}");
            assert_eq!(table.table(), format!("kym_{indexer}"), "{name:?}");
            assert_eq!(table.key().unwrap().as_str(), format!("tables/kym_{indexer}.parquet"), "{name:?}");
        }
        let too_long = "a".repeat(201);
        let bad = [
            ("", "empty"),
            (too_long.as_str(), "200"),
            (" \t ", "empty"),
            ("kym_radon", "kym_"),
            ("KYM_radon", "kym_"),
            ("tables/radon", "folder"),
            ("index/radon", "folder"),
            ("ra-don", "character"),
            ("ra don", "character"),
            ("../radon", "character"),
            ("radon.parquet", "character"),
            ("rädon", "character"),
            ("radon\0", "character"),
        ];
        for (name, word) in bad {
            let error = TableName::of(name).unwrap_err();
            let IndexError::BadName { name: named, why } = &error else { panic!("{name:?}: {error}") };
            assert_eq!(named, name);
            assert!(why.contains(word), "{name:?}: {why}");
        }
    }
}
