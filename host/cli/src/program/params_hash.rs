//! `params-hash`: the digest (or the canonical text) of a JSON file.
//! Owns: reading that file, bounded. Never: the canonical form (plugin-api's).

use super::Context;
use super::args::ParamsHashArgs;
use super::error::CliError;
use super::exit::Exit;
use super::output;
use kymhost_plugin_api::{Json, canonical_json, params_hash};
use kymhost_store::MAX_DOCUMENT_BYTES;
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// Does `params-hash`.
pub fn print(context: &Context, args: &ParamsHashArgs) -> Result<Exit, CliError> {
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let cannot = |why: &dyn std::fmt::Display| CliError::usage("file", format!("cannot read {name}: {why}"));
    let bytes = read(&args.file).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(cannot(&format_args!("it has more than {MAX_DOCUMENT_BYTES} bytes")));
    }
    let value =
        Json::parse(&bytes).map_err(|error| CliError::usage("bad_json", format!("{name} is no JSON: {error}")))?;
    if context.json {
        output::document(&if args.canonical {
            json!({"canonical": canonical_json(&value)})
        } else {
            json!({"params_hash": params_hash(&value)})
        })?;
    } else if args.canonical {
        // No newline in a pipe: the bytes are those that are hashed.
        let end = if io::stdout().is_terminal() { "\n" } else { "" };
        output::to_stdout(|out| write!(out, "{}{end}", canonical_json(&value)))?;
    } else {
        output::to_stdout(|out| writeln!(out, "{}", params_hash(&value)))?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
