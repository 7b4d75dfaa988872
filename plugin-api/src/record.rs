//! One image as an indexer sees it: its artifacts, pixels and attributes.
//!
//! This file is the safe, typed API over the host's record. It does not know file names or file formats; the host
//! does.

use crate::array::Array;
use crate::ffi::RecordRef;
use crate::{Error, ErrorKind, Json, Result, Table};

/// The kind of an artifact. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum ArtifactKind {
    /// A JSON document.
    Json = 0,
    /// A table, kept as Parquet.
    Parquet = 1,
    /// A table, kept as CSV.
    Csv = 2,
    /// An N-dimensional array.
    Array = 3,
}

impl ArtifactKind {
    /// The kind with this number in the binary contract; `None` if it belongs to a later version.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Json, Self::Parquet, Self::Csv, Self::Array].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// An artifact that an indexer declares to write (since 1.1); see [`crate::Indexer::WRITES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Output {
    name: &'static str,
    kind: ArtifactKind,
}

impl Output {
    /// A JSON artifact, for [`crate::Run::put_json`].
    pub const fn json(name: &'static str) -> Self {
        Self { name, kind: ArtifactKind::Json }
    }

    /// A table artifact, which the host keeps as Parquet; for [`crate::Run::put_table`].
    pub const fn table(name: &'static str) -> Self {
        Self { name, kind: ArtifactKind::Parquet }
    }

    /// An array artifact, for [`crate::Run::put_array`].
    pub const fn array(name: &'static str) -> Self {
        Self { name, kind: ArtifactKind::Array }
    }

    /// Its name, as the methods of [`crate::Record`] take it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its kind.
    pub const fn kind(&self) -> ArtifactKind {
        self.kind
    }
}

/// The name and kind of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Artifact {
    /// Its name, as `json`, `table` or `array` take it.
    pub name: String,
    /// Its kind.
    pub kind: ArtifactKind,
}

impl Artifact {
    /// An artifact of this name and kind.
    pub fn new(name: impl Into<String>, kind: ArtifactKind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// One image, read-only. What is absent is `None`; what exists but cannot be read is an error that names the key.
///
/// Several threads of an extraction may use it at once. The host remembers what is read through it, and what is
/// looked up but absent: if any of it changes, the image is analysed again. The host does not see data that a plugin
/// reads in other ways.
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
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read or is not JSON.
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

    /// The table artifact `name`: Parquet, or CSV if there is no Parquet.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read.
    pub fn table(&self, name: &str) -> Result<Option<Table>> {
        Ok(match self.parquet(name)? {
            Some(table) => Some(table),
            None => self.csv(name)?,
        })
    }

    /// The Parquet artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read.
    pub fn parquet(&self, name: &str) -> Result<Option<Table>> {
        self.table_of(name, ArtifactKind::Parquet)
    }

    /// The CSV artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read.
    pub fn csv(&self, name: &str) -> Result<Option<Table>> {
        self.table_of(name, ArtifactKind::Csv)
    }

    fn table_of(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>> {
        let table = self.inner.table(name.into(), kind as u8).into_result().map_err(Error::from)?;
        Ok(table.into_option().map(Table::from_c_table))
    }

    /// The table artifact `name`, found as [`table`](Self::table) does, for reading column by column (since 1.1).
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read.
    #[cfg(feature = "tables")]
    pub fn columns(&self, name: &str) -> Result<Option<crate::Columns>> {
        for kind in [ArtifactKind::Parquet, ArtifactKind::Csv] {
            if let Some(table) = self.table_of(name, kind)? {
                return crate::Columns::new(table, self.key(name, kind)).map(Some);
            }
        }
        Ok(None)
    }

    /// The pixels of the image, with one axis name per dimension.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if they exist but cannot be read.
    pub fn pixels(&self) -> Result<Option<Array>> {
        let array = self.inner.pixels().into_result().map_err(Error::from)?;
        array.into_option().map(Array::try_from).transpose()
    }

    /// The array artifact `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read.
    pub fn array(&self, name: &str) -> Result<Option<Array>> {
        let array = self.inner.array(name.into()).into_result().map_err(Error::from)?;
        array.into_option().map(Array::try_from).transpose()
    }

    /// The group attributes of the record (`axes`, `created_utc` …), an object. It is empty if there are none.
    ///
    /// `updated_utc` is left out: every run sets it, also one that changes nothing that an indexer may depend on.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if they exist but cannot be read.
    pub fn attributes(&self) -> Result<Json> {
        let text = self.inner.attributes().into_result().map_err(Error::from)?;
        Json::parse(&text).map_err(|error| {
            Error::new(
                ErrorKind::Unreadable,
                format!("cannot read the attributes of image {} as JSON: {error}", self.image_id()),
            )
        })
    }

    /// The metadata: the JSON artifact `metadata`.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if it exists but cannot be read or is not JSON.
    pub fn metadata(&self) -> Result<Option<Json>> {
        self.json("metadata")
    }

    /// The key under which the artifact `name` is kept, or would be: for messages, so that a user finds the file.
    ///
    /// The host chooses the text and may change it. A host of API 1.0 may not know it; then the text has name and
    /// image.
    pub fn key(&self, name: &str, kind: ArtifactKind) -> String {
        let key = self.inner.key(name.into(), kind as u8);
        if key.is_empty() {
            return format!("the artifact '{name}' of image {}", self.image_id());
        }
        key.into_string()
    }

    /// All artifacts, sorted by name. Run markers are left out, so that rows cannot depend on which indexers ran
    /// before: the marker of this indexer, and every JSON artifact that is a valid marker. Kinds that this plugin's
    /// API does not know are left out too.
    ///
    /// # Errors
    /// [`ErrorKind::Unreadable`] if the artifacts of the record cannot be listed.
    pub fn artifacts(&self) -> Result<Vec<Artifact>> {
        let artifacts = self.inner.artifacts().into_result().map_err(Error::from)?;
        Ok(artifacts
            .into_iter()
            .filter_map(|artifact| {
                Some(Artifact::new(artifact.0.into_string(), ArtifactKind::from_number(artifact.1)?))
            })
            .collect())
    }
}
