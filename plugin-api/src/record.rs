//! One image as an indexer sees it.
//! Owns: the safe, typed face of the host's record. Never: file names or formats (the host's).

use crate::array::Array;
use crate::{Json, Result, Table};

/// What form an artifact is kept in. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum ArtifactKind {
    /// A JSON document.
    Json = 0,
    /// A table kept as Parquet.
    Parquet = 1,
    /// A table kept as CSV.
    Csv = 2,
    /// An N-dimensional array.
    Array = 3,
}

/// A line of the list of artifacts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Artifact {
    /// Its name, as `json`, `table` or `array` take it.
    pub name: String,
    /// Its form.
    pub kind: ArtifactKind,
}

/// One image: reads only. Absent is `None`; there but unreadable is an error that names the key.
pub struct Record<'a> {
    inner: crate::ffi::RecordRef<'a>,
}

impl Record<'_> {
    /// The image's id.
    pub fn image_id(&self) -> &str {
        unimplemented!()
    }
    /// The JSON artifact `name`.
    pub fn json(&self, name: &str) -> Result<Option<Json>> {
        let _ = name;
        unimplemented!()
    }
    /// The table artifact `name`: Parquet, where there is none CSV.
    pub fn table(&self, name: &str) -> Result<Option<Table>> {
        let _ = name;
        unimplemented!()
    }
    /// The Parquet artifact `name`.
    pub fn parquet(&self, name: &str) -> Result<Option<Table>> {
        let _ = name;
        unimplemented!()
    }
    /// The CSV artifact `name`.
    pub fn csv(&self, name: &str) -> Result<Option<Table>> {
        let _ = name;
        unimplemented!()
    }
    /// The image's pixels.
    pub fn pixels(&self) -> Result<Option<Array>> {
        unimplemented!()
    }
    /// The array artifact `name`.
    pub fn array(&self, name: &str) -> Result<Option<Array>> {
        let _ = name;
        unimplemented!()
    }
    /// The group attributes of the record (`axes`, `created_utc` …); an empty object where there are none.
    pub fn attributes(&self) -> Result<Json> {
        unimplemented!()
    }
    /// The metadata payload: the JSON artifact `metadata`.
    pub fn metadata(&self) -> Result<Option<Json>> {
        self.json("metadata")
    }
    /// All artifacts, sorted by name.
    pub fn artifacts(&self) -> Result<Vec<Artifact>> {
        unimplemented!()
    }
}
