//! The C door: a library's `kymhost_plugin`, and its indexers behind [`Foreign`].
//!
//! Responsible for the exported function, for checking the structs that it gives, and for the calls. It does not judge rows,
//! params and markers: see `foreign`.
//!
//! A plugin's struct is read up to its `struct_size`, which is at least that of 1.0. Members that a later header appended are
//! used only if the plugin has them.
#![allow(unsafe_code)]

use crate::card_rules::{check_loaded_card, rebuild_help};
use crate::error::Refusal;
use crate::foreign::{Foreign, Listed};
use crate::indexer::IndexerInfo;
use kymhost_plugin_api::card::{API, Card, MAX_CARD_BYTES, schema_of, writes_of};
use kymhost_plugin_api::ffi::c_door::{
    self as c, DOOR, ENTRY, Entry, ExtractRows, FromRecord, INDEXER_1_0_BYTES, PLUGIN_1_0_BYTES, ReadOldMarker, Text,
};
use kymhost_plugin_api::ffi::{ArrowTable, COut, CRecord, CRun, HostRecord, HostRun, given_text};
use kymhost_plugin_api::{Artifact, Error, ErrorKind, Json, params_hash};
use libloading::Library;
use std::ffi::c_char;
use std::mem::{align_of, size_of, zeroed};

/// The name of this door in a card.
pub(crate) const NAME: &str = DOOR;

/// No struct of the header will ever have more bytes.
const MAX_STRUCT_BYTES: usize = 64 << 10;
/// No card has room for more indexers.
const MAX_INDEXERS: usize = 10_000;
/// The longest name, version or marker, in bytes, as in the card.
const MAX_TEXT_BYTES: usize = 256;
/// The longest list of artifacts, in bytes.
const MAX_LIST_BYTES: usize = 64 << 10;
/// The card's magic bytes and length.
const CARD_HEADER: usize = 12;

/// The indexers of a library with this door.
pub(crate) fn open(library: &'static Library, card: &Card) -> Result<Vec<Listed>, Refusal> {
    // SAFETY: a library whose card names this door exports the function with this type.
    let entry = unsafe { library.get::<Entry>(ENTRY) }.map(|symbol| *symbol).map_err(|_| {
        Refusal::new(
            "no_root",
            format!("it has a card (plugin API {}) but not the function {ENTRY} of the door '{DOOR}'", card.api),
            "rebuild the plugin with KYMHOST_PLUGIN of kymhost_plugin.h, and export that function",
        )
    })?;
    let bad = |what: String| Refusal::new("bad_door", what, rebuild_help(card));
    // SAFETY: any thread may call it, once; its result lives as long as the process.
    let plugin = unsafe { entry() };
    // SAFETY: the header has it be null or a struct that lives as long as the process.
    let plugin = unsafe { whole(plugin, PLUGIN_1_0_BYTES) }.map_err(|why| bad(format!("its kymhost_plugin {why}")))?;
    if (plugin.api_major, plugin.api_minor) != (card.api.major, card.api.minor) {
        return Err(Refusal::new(
            "card_mismatch",
            format!(
                "its card says plugin API {}, its kymhost_plugin {}.{}",
                card.api, plugin.api_major, plugin.api_minor
            ),
            rebuild_help(card),
        ));
    }
    if plugin.card.is_null() || !(CARD_HEADER..=CARD_HEADER + MAX_CARD_BYTES).contains(&plugin.card_length) {
        return Err(bad(format!("its kymhost_plugin has no card, or one of {} bytes", plugin.card_length)));
    }
    // SAFETY: not null, of a bounded length that the plugin itself gives, and constant for the life of the process.
    let loaded = unsafe { std::slice::from_raw_parts(plugin.card.cast::<u8>(), plugin.card_length) };
    check_loaded_card(loaded, card)?;
    if plugin.n_indexers > MAX_INDEXERS || plugin.indexers.is_null() || !plugin.indexers.is_aligned() {
        return Err(bad(format!("its kymhost_plugin has no list of indexers, or {} of them", plugin.n_indexers)));
    }
    // SAFETY: not null, aligned, of a bounded length that the plugin itself gives.
    let indexers = unsafe { std::slice::from_raw_parts(plugin.indexers, plugin.n_indexers) };
    indexers
        .iter()
        .enumerate()
        .map(|(index, indexer)| {
            // SAFETY: the header has each be a struct that lives as long as the process.
            unsafe { listed(*indexer) }.map_err(|why| bad(format!("its indexer {}{why}", index + 1)))
        })
        .collect()
}

/// A plugin's struct, after its size is checked.
///
/// # Safety
/// `pointer` is null, or a struct that begins with its size lives there. All zero is a value of `T`, one of the structs of the header.
unsafe fn whole<T>(pointer: *const T, least: usize) -> Result<T, String> {
    if pointer.is_null() {
        return Err("is NULL".to_owned());
    }
    if !pointer.cast::<usize>().is_aligned() || align_of::<T>() != align_of::<usize>() {
        return Err("is at an address that is not a multiple of 8".to_owned());
    }
    // SAFETY: every struct begins with its size; it is aligned.
    let size = unsafe { *pointer.cast::<usize>() };
    if !(least..=MAX_STRUCT_BYTES).contains(&size) {
        return Err(format!("has struct_size {size}, expected at least {least} (plugin API {API})"));
    }
    let mut ours = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both sides have as many bytes. Members that an older plugin lacks stay zero, and zero is a valid value of all
    // members: numbers, pointers, and functions that may be missing.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), ours.as_mut_ptr().cast::<u8>(), size.min(size_of::<T>()));
        Ok(ours.assume_init())
    }
}

/// # Safety
/// As [`whole`].
unsafe fn listed(indexer: *const c::Indexer) -> Result<Listed, String> {
    // SAFETY: the caller's promise.
    let indexer = unsafe { whole(indexer, INDEXER_1_0_BYTES) }.map_err(|why| format!(" {why}"))?;
    let text = |what: &str, text: *const c_char, most: usize| {
        // SAFETY: the header has it be null or zero-terminated, for the life of the process.
        unsafe { given_text(text, most) }.map(str::to_owned).map_err(|why| format!("'s {what} {why}"))
    };
    let optional = |what: &str, list: *const c_char| match list.is_null() {
        true => Ok(None),
        false => text(what, list, MAX_LIST_BYTES).map(Some),
    };
    let name = text("name", indexer.name, MAX_TEXT_BYTES)?;
    let list = text("params_artifacts", indexer.params_artifacts, MAX_LIST_BYTES)?;
    let info = IndexerInfo {
        analysis_version: text("analysis_version", indexer.analysis_version, MAX_TEXT_BYTES)?,
        marker_name: text("marker_name", indexer.marker_name, MAX_TEXT_BYTES)?,
        params_artifacts: names(&list).ok_or("'s params_artifacts is not a JSON list of texts (use KYMHOST_NAMES)")?,
        name,
        writes: match optional("writes", indexer.writes)? {
            None => Vec::new(),
            Some(list) => {
                artifacts(&list).ok_or("'s writes is not a JSON list of names and kinds (use KYMHOST_WRITES)")?
            }
        },
        reads: match optional("reads", indexer.reads)? {
            None => Vec::new(),
            Some(list) => names(&list).ok_or("'s reads is not a JSON list of texts (use KYMHOST_NAMES)")?,
        },
        params_schema: match optional("params_schema", indexer.params_schema)? {
            None => String::new(),
            Some(text) => schema_text(&text).ok_or("'s params_schema is not a JSON object")?,
        },
    };
    let missing = |function: &str| format!(" ('{}') has no function {function}: it is NULL", info.name.escape_debug());
    let foreign = CIndexer {
        params: indexer.params.ok_or_else(|| missing("params"))?,
        extract_rows: indexer.extract_rows.ok_or_else(|| missing("extract_rows"))?,
        params_hash: indexer.params_hash,
        read_old_marker: indexer.read_old_marker,
    };
    Ok((info, Box::new(foreign)))
}

/// The list in the form of a card, without kinds that this host does not know.
fn artifacts(list: &str) -> Option<Vec<Artifact>> {
    writes_of(&Json::parse(list.as_bytes()).ok()?).ok()
}

/// The schema in the form of a card.
fn schema_text(text: &str) -> Option<String> {
    schema_of(&Json::parse(text.as_bytes()).ok()?)
}

fn names(list: &str) -> Option<Vec<String>> {
    let list = Json::parse(list.as_bytes()).ok()?;
    list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// One indexer that came through this door.
struct CIndexer {
    params: FromRecord,
    params_hash: Option<FromRecord>,
    extract_rows: ExtractRows,
    read_old_marker: Option<ReadOldMarker>,
}

impl CIndexer {
    /// What a function writes about a record.
    fn of_record(&self, function: FromRecord, what: &str, record: &dyn HostRecord) -> Result<Vec<u8>, Error> {
        let record = CRecord::new(record);
        let mut out = COut::new();
        // SAFETY: both live until the call has returned.
        let status = unsafe { function(record.as_ptr(), out.as_ptr()) };
        out.finish(status)?
            .ok_or_else(|| Error::msg(format!("the indexer's {what} returned status 1 (nothing), which it must not")))
    }
}

impl Foreign for CIndexer {
    fn params(&self, record: &dyn HostRecord) -> Result<Vec<u8>, Error> {
        self.of_record(self.params, "params", record)
    }

    fn params_hash(&self, record: &dyn HostRecord) -> Result<String, Error> {
        if let Some(function) = self.params_hash {
            let hash = self.of_record(function, "params_hash", record)?;
            return String::from_utf8(hash).map_err(|_| Error::msg("the indexer's params hash is not UTF-8"));
        }
        let params = self.params(record)?;
        let params =
            Json::parse(&params).map_err(|error| Error::msg(format!("the indexer's params are not JSON: {error}")))?;
        Ok(params_hash(&params))
    }

    fn extract_rows(&self, record: &dyn HostRecord, run: &dyn HostRun) -> Result<ArrowTable, Error> {
        let (record, run, mut out) = (CRecord::new(record), CRun::new(run), COut::new());
        // SAFETY: all zero is an empty array and schema: null pointers, no release callback.
        let mut table: ArrowTable = unsafe { zeroed() };
        // SAFETY: all of them live until the call has returned.
        let status = unsafe {
            (self.extract_rows)(record.as_ptr(), run.as_ptr(), &mut table.array, &mut table.schema, out.as_ptr())
        };
        // Dropping the table releases what was filled in, also if there is an error.
        if out.finish(status)?.is_none() {
            return Err(Error::msg(
                "the indexer's extract_rows returned status 1 (nothing); return a table without rows instead",
            ));
        }
        let missing = |what| Error::new(ErrorKind::BadTable, format!("extract_rows did not fill in the {what}"));
        if table.array.release.is_none() {
            return Err(missing("array"));
        }
        if table.schema.release.is_none() {
            return Err(missing("schema"));
        }
        Ok(table)
    }

    fn read_old_marker(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(function) = self.read_old_marker else { return Ok(None) };
        Json::parse(payload)
            .map_err(|error| Error::new(ErrorKind::Unreadable, format!("the marker is not JSON: {error}")))?;
        let mut text = payload.to_vec();
        text.push(0);
        let mut out = COut::new();
        // SAFETY: both live until the call has returned.
        let status = unsafe { function(Text { data: text.as_ptr().cast(), length: payload.len() }, out.as_ptr()) };
        out.finish(status)
    }
}
