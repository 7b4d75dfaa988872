//! A host of plugin API 1.0: what a plugin of today meets in a kymhost that nobody has upgraded.
//!
//! `museum-host layout`: the binary contract as text. `museum-host card LIBRARY`: what the card says of versions, of a library with
//! either door. `museum-host run LIBRARY INDEXER WHAT`: one extraction of a made-up record, whose artifact `probe/params` says
//! `{"do": WHAT}`. Everything on standard output, exit code 1 for a refusal.
//!
//! Owns: the versions, the layout comparison and the calls of 1.0's host. Never: changes. It links plugin-api 1.0 alone.

mod layout;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
use abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use kymhost_plugin_api::arrow::array::{Array as _, Float64Array, Int64Array, StringArray};
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::card::{API, Card, DOOR, MAGIC};
use kymhost_plugin_api::ffi::{HostRecord, HostRun, ModuleRef, ServedRecord, ServedRun};
use kymhost_plugin_api::{Artifact, ArtifactKind, Error, ErrorKind, LogLevel, Result, Table};
use std::process::ExitCode;

/// What every plugin is shown.
struct Shelf {
    what: String,
}

impl HostRecord for Shelf {
    fn image_id(&self) -> &str {
        "museum-image"
    }
    fn json(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(match name {
            "probe/params" => Some(format!("{{\"do\": \"{}\"}}", self.what).into_bytes()),
            "probe/broken" => return Err(Error::new(ErrorKind::Unreadable, "probe/broken cannot be read")),
            "velocity_events/params" | "radon/params" => Some(b"{\"threshold\": 3}".to_vec()),
            "metadata" => Some(b"{\"rois\": [{\"id\": 1}]}".to_vec()),
            _ => None,
        })
    }
    fn table(&self, name: &str, kind: ArtifactKind) -> Result<Option<Table>> {
        Ok(match (name, kind) {
            ("velocity_events/events", ArtifactKind::Parquet) => Some(
                Table::builder()
                    .column("event_id", vec![1_i64, 2])?
                    .column("t_start_s", vec![Some(0.5), None])?
                    .column("note", vec!["clot", "pinch"])?
                    .build()?,
            ),
            ("radon/results", ArtifactKind::Csv) => {
                Some(Table::builder().column("velocity_mm_s", vec![1.25, -2.0])?.build()?)
            }
            _ => None,
        })
    }
    fn pixels(&self) -> Result<Option<Array>> {
        Array::new(DType::UInt8, vec![2, 3], vec!["y".into(), "x".into()], vec![1, 2, 3, 4, 5, 6]).map(Some)
    }
    fn array(&self, _: &str) -> Result<Option<Array>> {
        Ok(None)
    }
    fn key(&self, name: &str, _: ArtifactKind) -> String {
        format!("shelf/{name}")
    }
    fn attributes(&self) -> Result<Vec<u8>> {
        Ok(b"{}".to_vec())
    }
    fn artifacts(&self) -> Result<Vec<Artifact>> {
        Ok(vec![Artifact::new("metadata", ArtifactKind::Json)])
    }
}

struct Quiet;

impl HostRun for Quiet {
    fn cancelled(&self) -> bool {
        false
    }
    fn threads(&self) -> usize {
        1
    }
    fn log(&self, _: LogLevel, _: &str) {}
    fn progress(&self, _: f64) {}
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["layout"] => Ok(layout::of(ModuleRef::LAYOUT)),
        ["card", library] => card(library).map(|card| versions(&card)),
        ["run", library, indexer, what] => run(library, indexer, what),
        _ => Err("museum-host layout | museum-host card LIBRARY | museum-host run LIBRARY INDEXER WHAT".to_owned()),
    };
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("refused: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The card of a library's file, of which no code has run yet, where this host may load the library: the words are those of 1.0.
fn card(library: &str) -> Result<Card, String> {
    let bytes = std::fs::read(library).map_err(|error| format!("unreadable: {error}"))?;
    // The magic bytes are elsewhere too, as a constant.
    let card = bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| **window == MAGIC)
        .find_map(|(at, _)| Card::parse(&bytes[at..]).ok())
        .ok_or("no_card")?;
    let Card { api, needs_api, sdk, .. } = &card;
    if api.major != API.major {
        return Err(format!(
            "it was built for plugin API {api} (kymhost-plugin-api {sdk}), this kymhost has plugin API {API}\n\
             help: upgrade kymhost to one with plugin API {}.x",
            api.major
        ));
    }
    if *needs_api > API {
        return Err(format!(
            "it needs plugin API {needs_api} at least (built with kymhost-plugin-api {sdk}), this kymhost has plugin API {API}\n\
             help: upgrade kymhost to one with plugin API {needs_api} or a later {}.x",
            API.major
        ));
    }
    Ok(card)
}

fn versions(card: &Card) -> String {
    format!("card: api {}, needs {}, door {}", card.api, card.needs_api, card.door)
}

fn module(library: &str) -> Result<ModuleRef, String> {
    // SAFETY: a test's own plugin.
    let handle = unsafe { libloading::Library::new(library) }.map_err(|error| format!("open: {error}"))?;
    // SAFETY: abi_stable's root symbol.
    let header = unsafe { handle.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL) }.map(|symbol| *symbol);
    std::mem::forget(handle);
    let header = header.map_err(|error| format!("no_root: {error}"))?.upgrade().map_err(|error| format!("{error}"))?;
    let theirs = header.layout().ok_or("no layout")?;
    let ours = ModuleRef::LAYOUT;
    check_layout_compatibility(ours, theirs)
        .or_else(|_| check_layout_compatibility(theirs, ours))
        .map_err(|error| format!("layout: {error}"))?;
    // SAFETY: the layouts were compared.
    unsafe { header.unchecked_layout::<ModuleRef>() }.map_err(|error| format!("init: {error}"))
}

fn run(library: &str, indexer: &str, what: &str) -> Result<String, String> {
    let card = card(library)?;
    if card.door != DOOR {
        return Err(format!("it speaks the binary contract '{}', this host '{DOOR}'", card.door));
    }
    let module = module(library)?;
    let loaded = module.card().ok_or("it has no card")?;
    if Card::parse(loaded.as_slice()).as_ref() != Ok(&card) {
        return Err("card_mismatch".to_owned());
    }
    let error = |error| {
        let error = Error::from(error);
        format!("{:?}: {}", error.kind(), error.message())
    };
    let objects = (module.indexers())().into_result().map_err(error)?;
    let object = objects.iter().find(|object| object.name().as_str() == indexer).ok_or("there is no such indexer")?;
    let (record, run) = (ServedRecord(Shelf { what: what.to_owned() }), ServedRun(Quiet));
    let mut text = versions(&card) + "\n";
    let hash = object.params_hash(record.to_ref()).into_result().map_err(error);
    text += &format!("params_hash: {}\n", hash.map(|hash| hash.len()).map_or_else(|error| error, |n| n.to_string()));
    let rows = match object.extract_rows(record.to_ref(), run.to_ref()).into_result() {
        Ok(rows) => rows,
        Err(problem) => return Ok(text + "error: " + &error(problem)),
    };
    let rows = rows.into_batch().map_err(|error| format!("{error}"))?;
    text += &format!("rows: {}\n", rows.num_rows());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let any = column.as_any();
        let cells: Vec<String> = (0..column.len())
            .map(|row| {
                if column.is_null(row) {
                    "null".to_owned()
                } else if let Some(texts) = any.downcast_ref::<StringArray>() {
                    texts.value(row).to_owned()
                } else if let Some(floats) = any.downcast_ref::<Float64Array>() {
                    floats.value(row).to_string()
                } else if let Some(integers) = any.downcast_ref::<Int64Array>() {
                    integers.value(row).to_string()
                } else {
                    column.data_type().to_string()
                }
            })
            .collect();
        text += &format!("{}: {}\n", field.name(), cells.join(" | "));
    }
    Ok(text.trim_end().to_owned())
}
