//! The root module and the three trait objects that cross the boundary, as `abi_stable` lays them out.
//!
//! Owns: what is frozen. Never: does anything; bodies are in `export` (plugin's side) and `serve` (host's side).
//!
//! Rules for every change within one major version:
//! - fields and methods are added at the end only, never moved, renamed, retyped or removed;
//! - `#[sabi(last_prefix_field)]` stays where it is;
//! - a new method has a default body (what the *caller* does when the other side lacks it), a new field is an `Option`;
//! - enums cross as `u8` ([`crate::ErrorKind`], [`crate::ArtifactKind`], [`crate::LogLevel`], [`crate::array::DType`]),
//!   and an unknown number is never an error of the one who reads it where a fallback exists;
//! - the plain structs here ([`ErrorAbi`], [`ArrayAbi`], [`super::ArrowTable`]) never change: what they lack goes into a new method.
//!
//! Rules for every call: no panic leaves a method; every returned value is the caller's, who drops it (each owned
//! `abi_stable` value carries its maker's deallocator); a borrowed argument lives until the call returns, no longer.
//! Any thread may call; both libraries stay loaded for the life of the process.
// abi_stable's macros expand to these.
#![allow(non_local_definitions, non_camel_case_types, unused_qualifications)]
#![allow(missing_docs)]

use super::ArrowTable;
use crate::ErrorKind;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RErr, RNone, ROk, ROption, RResult, RSlice, RStr, RString, RVec, Tuple2};
use abi_stable::{declare_root_module_statics, package_version_strings, sabi_trait, StableAbi};

/// An error: the number of its [`crate::ErrorKind`] and a text for people. Frozen.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct ErrorAbi {
    /// The [`crate::ErrorKind`]; unknown numbers count as 0.
    pub kind: u8,
    /// UTF-8, as long as the author liked.
    pub message: RString,
}

/// What a fallible method answers. The caller owns either part.
pub type Answer<T> = RResult<T, ErrorAbi>;

fn unsupported<T>(what: &str) -> Answer<T> {
    RErr(ErrorAbi {
        kind: ErrorKind::Unsupported as u8,
        message: format!("this kymhost is older than {what}; upgrade kymhost").into(),
    })
}

/// Pixels or an array artifact. Frozen.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq)]
pub struct ArrayAbi {
    /// The [`crate::array::DType`].
    pub dtype: u8,
    /// Lengths, slowest axis first.
    pub shape: RVec<u64>,
    /// A name for each axis.
    pub axes: RVec<RString>,
    /// The elements, C order, native byte order.
    pub bytes: RVec<u8>,
}

/// One image. The host implements it, a plugin calls it during one call of an [`IndexerAbi`] method, from that call's
/// thread or from threads that end before it returns.
#[sabi_trait]
pub trait RecordAbi: Send + Sync {
    /// The image's id. Borrowed from the record, lives as long as it.
    fn image_id(&self) -> RStr<'_>;
    /// The JSON artifact `name`: UTF-8 text as it is kept, unparsed; none where there is none. The caller frees it.
    fn json(&self, name: RStr<'_>) -> Answer<ROption<RVec<u8>>>;
    /// The table artifact `name` of one kind (the number of [`crate::ArtifactKind`]: Parquet or CSV); none where there
    /// is none. The caller owns the Arrow C data and calls its release callbacks, from any thread, once.
    fn table(&self, name: RStr<'_>, kind: u8) -> Answer<ROption<ArrowTable>>;
    /// The image's pixels; none where there are none. The caller frees them.
    fn pixels(&self) -> Answer<ROption<ArrayAbi>>;
    /// The array artifact `name`; none where there is none. The caller frees it.
    #[sabi(last_prefix_field)]
    fn array(&self, name: RStr<'_>) -> Answer<ROption<ArrayAbi>>;
    /// Where the artifact `name` of one kind (a number of [`crate::ArtifactKind`]) is kept, or would be: for messages
    /// only. Empty where the host cannot tell. The caller frees it.
    fn key(&self, name: RStr<'_>, kind: u8) -> RString {
        let _ = (name, kind);
        RString::new()
    }
    /// The record's group attributes as JSON text (UTF-8), without `updated_utc`. The caller frees it.
    fn attributes(&self) -> Answer<RVec<u8>> {
        unsupported("Record::attributes")
    }
    /// All artifacts, sorted by name: each with the number of its [`crate::ArtifactKind`]; the caller skips numbers
    /// that it does not know. The caller frees the list.
    fn artifacts(&self) -> Answer<RVec<Tuple2<RString, u8>>> {
        unsupported("Record::artifacts")
    }
}

/// The run that an extraction is part of. The host implements it, a plugin calls it during one
/// [`IndexerAbi::extract_rows`], from that call's thread or from threads that end before it returns.
#[sabi_trait]
pub trait RunAbi: Send + Sync {
    /// Whether to stop. Cheap; may be asked in inner loops.
    fn cancelled(&self) -> bool;
    /// How many threads this call may use, its own included: at least 1.
    fn threads(&self) -> u32;
    /// A line for the log; `level` is the number of a [`crate::LogLevel`], unknown ones count as `Debug`. The text is
    /// borrowed until the call returns.
    #[sabi(last_prefix_field)]
    fn log(&self, level: u8, message: RStr<'_>);
    /// How much of the image is done, 0 to 1. A host without it misses nothing.
    fn progress(&self, fraction: f64) {
        let _ = fraction;
    }
}

/// One indexer. The plugin implements it; the host calls it from any thread, several at once where it runs in process.
#[sabi_trait]
pub trait IndexerAbi: Send + Sync {
    /// Its name. Borrowed for the life of the process.
    fn name(&self) -> RStr<'_>;
    /// Its analysis version. Borrowed for the life of the process.
    fn analysis_version(&self) -> RStr<'_>;
    /// The artifact that holds its run marker. Borrowed for the life of the process.
    fn marker_name(&self) -> RStr<'_>;
    /// The JSON artifacts that hold its params. The host frees the list.
    fn params_artifacts(&self) -> RVec<RString>;
    /// The params as JSON text (UTF-8). The record is borrowed until the call returns. The host frees the text.
    fn params(&self, record: RecordRef<'_>) -> Answer<RVec<u8>>;
    /// The params hash. The record is borrowed until the call returns. The host frees the text.
    fn params_hash(&self, record: RecordRef<'_>) -> Answer<RString>;
    /// The image's rows: one struct array, a child a column. Record and run are borrowed until the call returns. The
    /// host owns the Arrow C data and calls its release callbacks, from any thread, once.
    #[sabi(last_prefix_field)]
    fn extract_rows(&self, record: RecordRef<'_>, run: RunRef<'_>) -> Answer<ArrowTable>;
    /// Reads an old marker, JSON text (UTF-8) borrowed until the call returns: a marker of version `"1"` as JSON
    /// text, or none where it is not one. The host frees the text.
    fn read_old_marker(&self, payload: RSlice<'_, u8>) -> Answer<ROption<RVec<u8>>> {
        let _ = payload;
        ROk(RNone)
    }
}

/// A borrowed record.
pub type RecordRef<'a> = RecordAbi_TO<'a, abi_stable::RRef<'a, ()>>;
/// A borrowed run.
pub type RunRef<'a> = RunAbi_TO<'a, abi_stable::RRef<'a, ()>>;
/// An owned indexer. The host never drops it.
pub type IndexerObject = IndexerAbi_TO<'static, RBox<()>>;

/// What a plugin library exports under abi_stable's root symbol.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRef, prefix_fields = ModulePrefix)))]
#[sabi(missing_field(option))]
pub struct Module {
    /// Makes the library's indexers, sorted by name. The host calls it once.
    #[sabi(last_prefix_field)]
    pub indexers: extern "C" fn() -> Answer<RVec<IndexerObject>>,
    /// The card as it was loaded; the host compares it with the one that it read from the file.
    pub card: RSlice<'static, u8>,
}

impl RootModule for ModuleRef {
    declare_root_module_statics! {ModuleRef}
    const BASE_NAME: &'static str = "kymhost_plugin";
    const NAME: &'static str = "kymhost plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
