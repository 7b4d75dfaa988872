//! The page of limits, made from the constants that the code checks.

use super::cell;
use crate::quantity::show_size;
use kymhost_dataset::limits;
use kymhost_plugin_api::{csv, json};
use kymhost_store::MAX_DOCUMENT_BYTES;
use std::fmt::Write;

enum Most {
    Bytes(u64),
    Count(u64),
}

/// Each limit: what is bounded, the most, and what happens to more.
fn table() -> Vec<(&'static str, Most, &'static str)> {
    use Most::{Bytes, Count};
    const IMAGE: &str = "the recording fails";
    const COMMAND: &str = "the command fails";
    const FILE: &str = "the file is not imported";
    vec![
        ("text of attributes, params, metadata, a run marker", Bytes(limits::MAX_SMALL_TEXT_BYTES), IMAGE),
        ("what such a text makes in memory", Bytes(limits::MAX_SMALL_VALUE_BYTES as u64), IMAGE),
        ("text of another JSON artifact", Bytes(MAX_DOCUMENT_BYTES), IMAGE),
        ("what a plugin's JSON makes in memory", Bytes(json::MAX_VALUE_BYTES as u64), IMAGE),
        ("nesting of JSON", Count(json::MAX_DEPTH as u64), IMAGE),
        ("digits of an integer in JSON", Count(json::MAX_INT_DIGITS as u64), IMAGE),
        ("text of a manifest", Bytes(limits::MAX_MANIFEST_TEXT_BYTES), COMMAND),
        ("what a manifest makes in memory", Bytes(limits::MAX_MANIFEST_VALUE_BYTES as u64), COMMAND),
        ("a seal, an intent, the failures of a table", Bytes(limits::MAX_LEDGER_BYTES), "the safest is assumed"),
        ("text of a CSV file, unpacked", Bytes(csv::MAX_TEXT_BYTES as u64), IMAGE),
        ("columns of a CSV file", Count(csv::MAX_COLUMNS as u64), IMAGE),
        ("cells of a CSV file", Count(csv::MAX_CELLS as u64), IMAGE),
        ("text of a JSON artifact that is imported", Bytes(limits::MAX_INGESTED_TEXT_BYTES), FILE),
        ("what it makes in memory", Bytes(limits::MAX_INGESTED_VALUE_BYTES as u64), FILE),
        ("a `.zarray`", Bytes(limits::MAX_LAYOUT_BYTES), IMAGE),
        ("an array, decoded; no more than its chunks hold", Bytes(limits::MAX_ARRAY_BYTES), IMAGE),
        ("a chunk, decoded", Bytes(limits::MAX_CHUNK_BYTES), IMAGE),
        ("chunks of an array", Count(limits::MAX_CHUNKS), IMAGE),
        ("a table, packed or unpacked", Bytes(limits::MAX_TABLE_BYTES), COMMAND),
        ("rows of a table", Count(limits::MAX_TABLE_ROWS.unsigned_abs()), COMMAND),
        ("folders in an artifact's name", Count(limits::MAX_FOLDERS as u64), IMAGE),
        ("artifacts that one extraction reads", Count(limits::MAX_INPUTS as u64), IMAGE),
        ("the names of those in all", Bytes(limits::MAX_INPUT_KEY_BYTES as u64), IMAGE),
        ("params that are kept in a run marker", Bytes(kymhost_plugin::MAX_PARAMS_BYTES as u64), "they are not kept"),
        ("header of a worker's answer", Bytes(kymhost_plugin::MAX_FRAME_HEADER_BYTES.into()), IMAGE),
        ("answers in one frame", Count(kymhost_plugin::MAX_FRAME_ANSWERS as u64), IMAGE),
        (
            "rows and artifacts in one frame; no more than `--max-memory`",
            Bytes(kymhost_plugin::MAX_FRAME_BODY_BYTES),
            IMAGE,
        ),
        (
            "what a plugin prints between two answers",
            Bytes(kymhost_plugin::MAX_LOG_BYTES as u64),
            "more lines are counted",
        ),
    ]
}

pub(super) fn page() -> String {
    let mut text =
        "# Limits\n\nHow large things may be. More is an error that names the file, not a wait or a crash. Text is\n\
                    bounded, and so is what it makes in memory, because a small file can make much.\n\n\
                    | what | most | beyond it |\n| --- | ---: | --- |\n"
            .to_owned();
    for (what, most, beyond) in table() {
        let most = match most {
            Most::Bytes(bytes) => show_size(bytes),
            Most::Count(count) => count.to_string(),
        };
        let _ = writeln!(text, "| {} | {most} | {} |", cell(what), cell(beyond));
    }
    text
}
