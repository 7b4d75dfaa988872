//! `kymhost dataset …`.

pub mod create;
pub mod export;
pub mod info;
pub mod ingest;
pub mod manifest;
pub mod validate;
pub mod view_table;
