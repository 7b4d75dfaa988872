//! Rows on their way from an indexer to the host, or of an artifact the other way.
//! Owns: the safe face of Arrow C data. Never: Parquet or CSV (the host's).

/// A table: named columns of one length, as Arrow C data.
pub struct Table {
    pub(crate) data: crate::ffi::ArrowTable,
}
