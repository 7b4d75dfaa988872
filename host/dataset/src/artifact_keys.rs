//! Which keys an artifact takes, and which artifacts of a record are an indexer's own.

use crate::error::DatasetError;
use crate::names::{self, ANALYSIS, ANALYSIS_ARRAYS, DATA};
use kymhost_plugin_api::{Artifact, ArtifactKind};
use kymhost_store::Key;

/// What an indexer leaves in a record itself. When it reads the record, none of it is an input, because each run
/// writes it again.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// The artifact that holds its run marker.
    pub marker_name: &'a str,
    /// The artifacts that it may write.
    pub writes: &'a [Artifact],
}

impl<'a> From<&'a str> for Own<'a> {
    fn from(marker_name: &'a str) -> Self {
        Self { marker_name, writes: &[] }
    }
}

impl<'a> From<&'a String> for Own<'a> {
    fn from(marker_name: &'a String) -> Self {
        marker_name.as_str().into()
    }
}

impl Own<'_> {
    /// The keys of an image that it takes; invalid names take none.
    pub(crate) fn keys(&self, image_id: &str) -> Vec<Key> {
        let marker = Artifact::new(self.marker_name, ArtifactKind::Json);
        let all = std::iter::once(&marker).chain(self.writes);
        all.flat_map(|artifact| full_keys(image_id, artifact).unwrap_or_default()).collect()
    }
}

/// The keys under which an artifact may be: the first is the one that is written.
pub(crate) fn full_keys(image_id: &str, artifact: &Artifact) -> Result<Vec<Key>, DatasetError> {
    let with = |ending| names::artifact_key(image_id, &artifact.name, ending);
    Ok(match artifact.kind {
        ArtifactKind::Json => vec![with(".json")?, with(".json.gz")?],
        ArtifactKind::Parquet => vec![with(".parquet")?],
        ArtifactKind::Csv => vec![with(".csv.gz")?],
        _ => vec![names::array_key(image_id, &artifact.name)?.join(DATA)?],
    })
}

/// The keys, below an image's group, under which an artifact may be: the first is the one that is written.
///
/// # Errors
/// If its name is not valid.
pub fn artifact_keys(artifact: &Artifact) -> Result<Vec<String>, DatasetError> {
    let name = names::safe_name(&artifact.name)?;
    Ok(match artifact.kind {
        ArtifactKind::Json => vec![format!("{ANALYSIS}/{name}.json"), format!("{ANALYSIS}/{name}.json.gz")],
        ArtifactKind::Parquet => vec![format!("{ANALYSIS}/{name}.parquet")],
        ArtifactKind::Csv => vec![format!("{ANALYSIS}/{name}.csv.gz")],
        _ => vec![format!("{ANALYSIS_ARRAYS}/{name}/{DATA}")],
    })
}
