//! The binary contract: the root module and the three trait objects that cross the boundary, as `abi_stable` lays
//! them out.
//!
//! Everything in this file is frozen and it contains no behaviour. The methods' bodies are in `export` (the plugin's
//! side) and `serve` (the host's side).
//!
//! Rules for every change within one major version:
//!
//! - Fields and methods are added at the end only. None is moved, renamed, retyped or removed.
//! - `#[sabi(last_prefix_field)]` stays where it is.
//! - A new method has a default body: what the *caller* does if the other side lacks it. A new field is an `Option`.
//! - Enums cross as `u8` ([`crate::ErrorKind`], [`crate::ArtifactKind`], [`crate::LogLevel`],
//!   [`crate::array::DType`]). A reader does not fail because of an unknown number if there is a sensible fallback.
//! - The plain structs here ([`ErrorAbi`], [`ArrayAbi`], [`super::ArrowTable`]) never change. What they lack goes
//!   into a new method.
//!
//! Rules for every call:
//!
//! - No panic leaves a method.
//! - The caller owns every returned value and drops it. Each owned `abi_stable` value carries the deallocator of its
//!   maker.
//! - A borrowed argument lives until the call returns, and no longer.
//! - Any thread may call. Both libraries stay loaded for the life of the process.
// abi_stable's macros expand to these.
#![allow(non_local_definitions, non_camel_case_types, unused_qualifications)]
#![allow(missing_docs)]

use super::ArrowTable;
use crate::ErrorKind;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RErr, RNone, ROk, ROption, RResult, RSlice, RStr, RString, RVec, Tuple2};
use abi_stable::{declare_root_module_statics, package_version_strings, sabi_trait, StableAbi};

/// An error: the number of its [`crate::ErrorKind`] and a message for people. Frozen.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct ErrorAbi {
    /// The number of its [`crate::ErrorKind`]; unknown numbers count as 0.
    pub kind: u8,
    /// UTF-8 of any length.
    pub message: RString,
}

/// The result of a fallible method. The caller owns either part.
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
    /// The number of its [`crate::array::DType`].
    pub dtype: u8,
    /// The length of each dimension, slowest first.
    pub shape: RVec<u64>,
    /// A name for each dimension.
    pub axes: RVec<RString>,
    /// The elements in C order and native byte order.
    pub bytes: RVec<u8>,
}

/// One image. The host implements it. A plugin may call it during one call of an [`IndexerAbi`] method: from that
/// call's thread, or from threads that end before it returns.
#[sabi_trait]
pub trait RecordAbi: Send + Sync {
    /// The image's id, borrowed for the life of the record.
    fn image_id(&self) -> RStr<'_>;
    /// The JSON artifact `name`: its UTF-8 text as it is kept, not parsed; none if it is absent. The caller frees it.
    fn json(&self, name: RStr<'_>) -> Answer<ROption<RVec<u8>>>;
    /// The table artifact `name` of one kind (the number of [`crate::ArtifactKind`]: Parquet or CSV); none if it is
    /// absent. The caller owns the Arrow C data and calls its release callbacks once, from any thread.
    fn table(&self, name: RStr<'_>, kind: u8) -> Answer<ROption<ArrowTable>>;
    /// The image's pixels; none if there are none. The caller frees them.
    fn pixels(&self) -> Answer<ROption<ArrayAbi>>;
    /// The array artifact `name`; none if it is absent. The caller frees it.
    #[sabi(last_prefix_field)]
    fn array(&self, name: RStr<'_>) -> Answer<ROption<ArrayAbi>>;
    /// The key under which the artifact `name` of one kind (a number of [`crate::ArtifactKind`]) is kept or would be,
    /// for messages. Empty if the host does not know it. The caller frees it.
    fn key(&self, name: RStr<'_>, kind: u8) -> RString {
        let _ = (name, kind);
        RString::new()
    }
    /// The record's group attributes as JSON text (UTF-8), without `updated_utc`. The caller frees it.
    fn attributes(&self) -> Answer<RVec<u8>> {
        unsupported("Record::attributes")
    }
    /// All artifacts, sorted by name, each with the number of its [`crate::ArtifactKind`]. The caller skips numbers
    /// that it does not know, and frees the list.
    fn artifacts(&self) -> Answer<RVec<Tuple2<RString, u8>>> {
        unsupported("Record::artifacts")
    }
}

/// The run that an extraction is part of. The host implements it. A plugin may call it during one
/// [`IndexerAbi::extract_rows`]: from that call's thread, or from threads that end before it returns.
#[sabi_trait]
pub trait RunAbi: Send + Sync {
    /// Whether to stop. It is cheap enough for inner loops.
    fn cancelled(&self) -> bool;
    /// How many threads this call may use, including its own: at least 1.
    fn threads(&self) -> u32;
    /// Writes a line to the log. `level` is the number of a [`crate::LogLevel`]; unknown ones count as `Debug`. The
    /// text is borrowed until the call returns.
    #[sabi(last_prefix_field)]
    fn log(&self, level: u8, message: RStr<'_>);
    /// Reports which fraction of the image is done, 0 to 1. A host without this method ignores it.
    fn progress(&self, fraction: f64) {
        let _ = fraction;
    }
    /// Since 1.1. Hands the host a JSON artifact of this image: UTF-8 text, borrowed until the call returns. The host
    /// keeps it together with the rows, or not at all.
    fn put_json(&self, name: RStr<'_>, text: RSlice<'_, u8>) -> Answer<()> {
        let _ = (name, text);
        unsupported("Run::put_json")
    }
    /// Since 1.1. Hands the host a table artifact of this image. The host owns the Arrow C data and calls its release
    /// callbacks once, from any thread.
    fn put_table(&self, name: RStr<'_>, table: ArrowTable) -> Answer<()> {
        let _ = (name, table);
        unsupported("Run::put_table")
    }
    /// Since 1.1. Hands the host an array artifact of this image. The host frees it.
    fn put_array(&self, name: RStr<'_>, array: ArrayAbi) -> Answer<()> {
        let _ = (name, array);
        unsupported("Run::put_array")
    }
}

/// One indexer. The plugin implements it. The host calls it from any thread, and in process several times at once.
#[sabi_trait]
pub trait IndexerAbi: Send + Sync {
    /// Its name, borrowed for the life of the process.
    fn name(&self) -> RStr<'_>;
    /// Its analysis version, borrowed for the life of the process.
    fn analysis_version(&self) -> RStr<'_>;
    /// The artifact that holds its run marker, borrowed for the life of the process.
    fn marker_name(&self) -> RStr<'_>;
    /// The JSON artifacts that hold its params. The host frees the list.
    fn params_artifacts(&self) -> RVec<RString>;
    /// The params as JSON text (UTF-8). The record is borrowed until the call returns. The host frees the text.
    fn params(&self, record: RecordRef<'_>) -> Answer<RVec<u8>>;
    /// The params hash. The record is borrowed until the call returns. The host frees the text.
    fn params_hash(&self, record: RecordRef<'_>) -> Answer<RString>;
    /// The image's rows: one struct array with one child per column. Record and run are borrowed until the call
    /// returns. The host owns the Arrow C data and calls its release callbacks once, from any thread.
    #[sabi(last_prefix_field)]
    fn extract_rows(&self, record: RecordRef<'_>, run: RunRef<'_>) -> Answer<ArrowTable>;
    /// Reads an old marker: JSON text (UTF-8), borrowed until the call returns. Gives a marker of version `"1"` as
    /// JSON text, or none if it is not a marker. The host frees the text.
    fn read_old_marker(&self, payload: RSlice<'_, u8>) -> Answer<ROption<RVec<u8>>> {
        let _ = payload;
        ROk(RNone)
    }
    /// Since 1.1. The artifacts that it hands to the host, each with the number of its [`crate::ArtifactKind`]. The
    /// host frees the list.
    fn writes(&self) -> RVec<Tuple2<RString, u8>> {
        RVec::new()
    }
    /// Since 1.1. The artifacts that it reads and another plugin may write. The host frees the list.
    fn reads(&self) -> RVec<RString> {
        RVec::new()
    }
    /// Since 1.1. The JSON Schema of its params, borrowed for the life of the process; empty if it declares none.
    fn params_schema(&self) -> RStr<'_> {
        RStr::from_str("")
    }
}

/// A borrowed record.
pub type RecordRef<'a> = RecordAbi_TO<'a, abi_stable::RRef<'a, ()>>;
/// A borrowed run.
pub type RunRef<'a> = RunAbi_TO<'a, abi_stable::RRef<'a, ()>>;
/// An owned indexer. The host never drops it.
pub type IndexerObject = IndexerAbi_TO<'static, RBox<()>>;

/// The module that a plugin library exports under abi_stable's root symbol.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRef, prefix_fields = ModulePrefix)))]
#[sabi(missing_field(option))]
pub struct Module {
    /// Makes the library's indexers, sorted by name. The host calls it once.
    #[sabi(last_prefix_field)]
    pub indexers: extern "C" fn() -> Answer<RVec<IndexerObject>>,
    /// The card as loaded. The host compares it with the one that it read from the file.
    pub card: RSlice<'static, u8>,
}

impl RootModule for ModuleRef {
    declare_root_module_statics! {ModuleRef}
    const BASE_NAME: &'static str = "kymhost_plugin";
    const NAME: &'static str = "kymhost plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
