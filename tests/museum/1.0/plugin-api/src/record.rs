//! One image as an indexer sees it.
//! Owns: the safe, typed face of the host's record. Never: file names or formats (the host's).

use crate::array::Array;
use crate::ffi::{self, RecordRef};
use crate::{Error, ErrorKind, Json, Result, Table};

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

impl Artifact {
    /// A line of the list.
    pub fn new(name: impl Into<String>, kind: ArtifactKind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// One image: reads only. Absent is `None`; there but unreadable is an error that names the key.
///
/// It may be used from several threads of an extraction at once. What is read through it, or looked for in vain, the host remembers: when
/// any of it changes, the image is done again. What is read by other ways goes unseen.
pub struct Record<'a> {
    inner: RecordRef<'a>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(inner: RecordRef<'a>) -> Self {
        Self { inner }
    }
}

impl Record<'_> {
    /// The image's id.
    pub fn image_id(&self) -> &str {
        self.inner.image_id().as_str()
    }

    /// The JSON artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where it is there but broken.
    pub fn json(&self, name: &str) -> Result<Option<Json>> {
        let text = self.inner.json(name.into()).into_result().map_err(Error::from)?;
        let Some(text) = text.into_option() else { return Ok(None) };
        Json::parse(&text).map(Some).map_err(|error| {
            Error::new(
                ErrorKind::Unreadable,
                format!("cannot read {} as JSON: {error}", self.key(name, ArtifactKind::Json)),
            )
        })
    }

    /// The table artifact `name`: Parquet, where there is none CSV.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where it is there but broken.
    pub fn table(&self, name: &str) -> Result<Option<Table>> {
        Ok(match self.parquet(name)? {
            Some(table) => Some(table),
            None => self.csv(name)?,
        })
    }

    /// The Parquet artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where it is there but broken.
    pub fn parquet(&self, name: &str) -> Result<Option<Table>> {
        self.table_of(name, ArtifactKind::Parquet)
    }

    /// The CSV artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where it is there but broken.
    pub fn csv(&self, name: &str) -> Result<Option<Table>> {
        self.table_of(name, ArtifactKind::Csv)
    }

    fn table_of(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>> {
        let table = self.inner.table(name.into(), kind as u8).into_result().map_err(Error::from)?;
        Ok(table.into_option().map(Table::from_c_table))
    }

    /// The image's pixels.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where they are there but broken.
    pub fn pixels(&self) -> Result<Option<Array>> {
        let array = self.inner.pixels().into_result().map_err(Error::from)?;
        array.into_option().map(Array::try_from).transpose()
    }

    /// The array artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where it is there but broken.
    pub fn array(&self, name: &str) -> Result<Option<Array>> {
        let array = self.inner.array(name.into()).into_result().map_err(Error::from)?;
        array.into_option().map(Array::try_from).transpose()
    }

    /// The group attributes of the record (`axes`, `created_utc` …); an empty object where there are none.
    ///
    /// `updated_utc` is left out: every run, also one that changes nothing that an indexer may depend on, sets it.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where they are there but broken.
    pub fn attributes(&self) -> Result<Json> {
        let text = self.inner.attributes().into_result().map_err(Error::from)?;
        Json::parse(&text).map_err(|error| {
            Error::new(
                ErrorKind::Unreadable,
                format!("cannot read the attributes of image {} as JSON: {error}", self.image_id()),
            )
        })
    }

    /// The metadata payload: the JSON artifact `metadata`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where it is there but broken.
    pub fn metadata(&self) -> Result<Option<Json>> {
        self.json("metadata")
    }

    /// Where the artifact `name` is kept, or would be: for messages, so that a user finds the file.
    ///
    /// What it names is the host's affair and may change; a host that cannot tell has the artifact's name and image here.
    pub fn key(&self, name: &str, kind: ArtifactKind) -> String {
        let key = self.inner.key(name.into(), kind as u8);
        if key.is_empty() {
            return format!("the artifact '{name}' of image {}", self.image_id());
        }
        key.into_string()
    }

    /// All artifacts, sorted by name, without run markers: this indexer's own, and every JSON artifact that is a valid one. So rows
    /// cannot depend on which indexers have run. Kinds that are newer than this plugin's API are left out.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] where the record cannot be listed.
    pub fn artifacts(&self) -> Result<Vec<Artifact>> {
        let artifacts = self.inner.artifacts().into_result().map_err(Error::from)?;
        Ok(artifacts
            .into_iter()
            .filter_map(|artifact| Some(Artifact::new(artifact.0.into_string(), ffi::artifact_kind(artifact.1)?)))
            .collect())
    }
}
