//! Names that several crates of the host must agree on.

/// The column of tables that says which recording a row belongs to.
pub const IMAGE_ID: &str = "image_id";
/// How the names of indexers' tables begin.
pub const TABLE_PREFIX: &str = "kym_";
/// The artifact that holds the metadata payload of a recording.
pub const METADATA: &str = "metadata";
/// The artifact that says where a recording came from.
pub const PROVENANCE: &str = "provenance";
