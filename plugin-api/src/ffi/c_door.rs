//! The structs of `include/kymhost_plugin.h` as Rust sees them.
//!
//! This file has their layout, and the layout as text for the golden file. It contains no behaviour: the host's side
//! is in `c_serve`.
//!
//! Within one major version members are added at the end only, in the header and here. None is moved, renamed,
//! retyped or removed. A test compares [`layout`] with the header and with the golden file.
#![allow(missing_docs)]

use super::{ArrowArray, ArrowSchema};
use std::ffi::{c_char, c_int, c_void};
use std::mem::{offset_of, size_of};

/// What the card of a C library has as `door`.
pub const DOOR: &str = "c-1";
/// The one function that a C library exports; its type is [`Entry`].
pub const ENTRY: &str = "kymhost_plugin_c1";

/// The status of a call that succeeded.
pub const OK: c_int = 0;
/// The status of a call that succeeded, but found nothing.
pub const ABSENT: c_int = 1;

/// `kymhost_text`. Frozen.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Text {
    pub data: *const c_char,
    pub length: usize,
}

/// `kymhost_array`
#[repr(C)]
#[derive(Debug)]
pub struct Array {
    pub struct_size: usize,
    pub dtype: c_int,
    pub n_axes: usize,
    pub shape: *const u64,
    pub axes: *const *const c_char,
    pub data: *const c_void,
    pub n_bytes: usize,
}

/// `kymhost_artifacts`
#[repr(C)]
#[derive(Debug)]
pub struct Artifacts {
    pub struct_size: usize,
    pub length: usize,
    pub names: *const *const c_char,
    pub kinds: *const u8,
}

/// `kymhost_record`
#[repr(C)]
#[derive(Debug)]
pub struct Record {
    pub struct_size: usize,
    pub context: *const c_void,
    pub image_id: Option<unsafe extern "C" fn(*const Record) -> *const c_char>,
    pub json: Option<unsafe extern "C" fn(*const Record, *const c_char, *mut Text, *mut Text) -> c_int>,
    pub table: Option<
        unsafe extern "C" fn(
            *const Record,
            *const c_char,
            c_int,
            *mut ArrowArray,
            *mut ArrowSchema,
            *mut Text,
        ) -> c_int,
    >,
    pub pixels: Option<unsafe extern "C" fn(*const Record, *mut *const Array, *mut Text) -> c_int>,
    pub array: Option<unsafe extern "C" fn(*const Record, *const c_char, *mut *const Array, *mut Text) -> c_int>,
    pub key: Option<unsafe extern "C" fn(*const Record, *const c_char, c_int) -> *const c_char>,
    pub attributes: Option<unsafe extern "C" fn(*const Record, *mut Text, *mut Text) -> c_int>,
    pub artifacts: Option<unsafe extern "C" fn(*const Record, *mut *const Artifacts, *mut Text) -> c_int>,
}

/// `kymhost_run`
#[repr(C)]
#[derive(Debug)]
pub struct Run {
    pub struct_size: usize,
    pub context: *const c_void,
    pub cancelled: Option<unsafe extern "C" fn(*const Run) -> c_int>,
    pub threads: Option<unsafe extern "C" fn(*const Run) -> u32>,
    pub log: Option<unsafe extern "C" fn(*const Run, c_int, *const c_char)>,
    pub progress: Option<unsafe extern "C" fn(*const Run, f64)>,
    pub put_json: Option<unsafe extern "C" fn(*const Run, *const c_char, *const c_char, usize, *mut Text) -> c_int>,
    pub put_table:
        Option<unsafe extern "C" fn(*const Run, *const c_char, *mut ArrowArray, *mut ArrowSchema, *mut Text) -> c_int>,
    pub put_array: Option<unsafe extern "C" fn(*const Run, *const c_char, *const Array, *mut Text) -> c_int>,
}

/// `kymhost_out`
#[repr(C)]
#[derive(Debug)]
pub struct Out {
    pub struct_size: usize,
    pub context: *mut c_void,
    pub write: Option<unsafe extern "C" fn(*mut Out, *const c_void, usize) -> c_int>,
    pub error: Option<unsafe extern "C" fn(*mut Out, *const c_char)>,
}

/// The type of [`Indexer::params`] and [`Indexer::params_hash`].
pub type FromRecord = unsafe extern "C" fn(*const Record, *mut Out) -> c_int;
/// The type of [`Indexer::extract_rows`].
pub type ExtractRows =
    unsafe extern "C" fn(*const Record, *const Run, *mut ArrowArray, *mut ArrowSchema, *mut Out) -> c_int;
/// The type of [`Indexer::read_old_marker`].
pub type ReadOldMarker = unsafe extern "C" fn(Text, *mut Out) -> c_int;

/// `kymhost_indexer`
#[repr(C)]
#[derive(Debug)]
pub struct Indexer {
    pub struct_size: usize,
    pub name: *const c_char,
    pub analysis_version: *const c_char,
    pub marker_name: *const c_char,
    pub params_artifacts: *const c_char,
    pub params: Option<FromRecord>,
    pub params_hash: Option<FromRecord>,
    pub extract_rows: Option<ExtractRows>,
    pub read_old_marker: Option<ReadOldMarker>,
    pub writes: *const c_char,
    pub reads: *const c_char,
    pub params_schema: *const c_char,
}

/// `kymhost_plugin`
#[repr(C)]
#[derive(Debug)]
pub struct Plugin {
    pub struct_size: usize,
    pub api_major: u32,
    pub api_minor: u32,
    pub card: *const c_void,
    pub card_length: usize,
    pub indexers: *const *const Indexer,
    pub n_indexers: usize,
}

/// The type of the function [`ENTRY`].
pub type Entry = unsafe extern "C" fn() -> *const Plugin;

/// The least size of a plugin's struct in bytes: that of API 1.0.
pub const INDEXER_1_0_BYTES: usize = offset_of!(Indexer, read_old_marker) + size_of::<*const c_void>();
/// The least size of a plugin's struct in bytes: that of API 1.0.
pub const PLUGIN_1_0_BYTES: usize = offset_of!(Plugin, n_indexers) + size_of::<usize>();

/// Each struct of the header with its members: a line `struct NAME SIZE`, then lines `NAME.MEMBER OFFSET SIZE`, in
/// bytes.
pub fn layout() -> String {
    fn size_at<T, M>(_: fn(&T) -> &M) -> usize {
        size_of::<M>()
    }
    macro_rules! structs {
        ($($type:ident as $name:literal { $($member:ident),+ $(,)? })+) => {{
            let mut lines = String::new();
            $(
                lines.push_str(&format!("struct {} {}\n", $name, size_of::<$type>()));
                $(lines.push_str(&format!(
                    "{}.{} {} {}\n",
                    $name,
                    stringify!($member),
                    offset_of!($type, $member),
                    size_at::<$type, _>(|whole| &whole.$member)
                ));)+
            )+
            lines
        }};
    }
    structs! {
        ArrowSchema as "ArrowSchema" {
            format, name, metadata, flags, n_children, children, dictionary, release, private_data,
        }
        ArrowArray as "ArrowArray" {
            length, null_count, offset, n_buffers, n_children, buffers, children, dictionary, release, private_data,
        }
        Text as "kymhost_text" { data, length }
        Array as "kymhost_array" { struct_size, dtype, n_axes, shape, axes, data, n_bytes }
        Artifacts as "kymhost_artifacts" { struct_size, length, names, kinds }
        Record as "kymhost_record" {
            struct_size, context, image_id, json, table, pixels, array, key, attributes, artifacts,
        }
        Run as "kymhost_run" {
            struct_size, context, cancelled, threads, log, progress, put_json, put_table, put_array,
        }
        Out as "kymhost_out" { struct_size, context, write, error }
        Indexer as "kymhost_indexer" {
            struct_size, name, analysis_version, marker_name, params_artifacts, params, params_hash, extract_rows,
            read_old_marker, writes, reads, params_schema,
        }
        Plugin as "kymhost_plugin" { struct_size, api_major, api_minor, card, card_length, indexers, n_indexers }
    }
}
