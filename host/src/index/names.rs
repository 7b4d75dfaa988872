//! Which names an indexer may have, and where its table is kept.
//! Owns: the rules of a name, the table's name and key. Never: I/O.

use super::IndexError;
use crate::store::Key;

/// What every indexer's table begins with.
const PREFIX: &str = "kym_";

/// An indexer's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    indexer: String,
    table: String,
}

impl TableName {
    /// The table of an indexer; the name is trimmed and lower-cased first.
    pub fn of(name: &str) -> Result<Self, IndexError> {
        let indexer = name.trim().to_lowercase();
        let why = if indexer.is_empty() {
            Some("it is empty; give a name of a-z, 0-9 and _")
        } else if indexer.starts_with(PREFIX) {
            Some("it begins with 'kym_', which kymhost puts before it; leave that off")
        } else if indexer.starts_with("tables/") || indexer.starts_with("index/") {
            Some("it begins with a folder of the dataset; give the name alone")
        } else if !indexer.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            Some("it has a character other than a-z, 0-9 and _")
        } else {
            None
        };
        match why {
            Some(why) => Err(IndexError::BadName { name: name.to_owned(), why }),
            None => Ok(Self { table: format!("{PREFIX}{indexer}"), indexer }),
        }
    }

    /// The indexer's name, as rules and markers know it.
    pub fn indexer(&self) -> &str {
        &self.indexer
    }

    /// The table's name, as [`crate::dataset::Dataset::read_table`] takes it.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The table's key, as people and `--json` see it.
    pub fn key_text(&self) -> String {
        format!("tables/{}.parquet", self.table)
    }

    /// The table's key.
    pub fn key(&self) -> Result<Key, IndexError> {
        Ok(Key::new(self.key_text()).map_err(crate::dataset::DatasetError::from)?)
    }

    /// The key of the lock that a run holds while it changes the table.
    pub fn lock_key(&self) -> Result<Key, IndexError> {
        let text = format!("index/kymhost/locks/{}.lock", self.table);
        Ok(Key::new(text).map_err(crate::dataset::DatasetError::from)?)
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
        let bad = [
            ("", "empty"),
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
