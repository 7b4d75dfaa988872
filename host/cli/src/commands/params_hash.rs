//! `params-hash`: the digest (or the canonical text) of a JSON file.
//!
//! This file must not define the canonical form: see [`kymhost_plugin_api`].

use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output;
use clap::Args;
use kymhost_dataset::limits::{MAX_SMALL_TEXT_BYTES, MAX_SMALL_VALUE_BYTES};
use kymhost_plugin_api::{Json, canonical_json, params_hash};
use serde::Serialize;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  kymhost params-hash params.json
  kymhost params-hash --canonical params.json
  echo '{\"b\": 1, \"a\": 2.0}' | kymhost params-hash -

The hash is the SHA-256 of the canonical text: Python's json.dumps(params, sort_keys=True,
separators=(\",\", \":\"), ensure_ascii=False). In a pipe the canonical text has no final newline, so
that its SHA-256 is the params hash.";

/// Arguments of `params-hash`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ParamsHashArgs {
    /// Read this JSON file; - is standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    /// Print the canonical text that is hashed instead of its hash
    #[arg(long)]
    pub canonical: bool,
}

/// `params-hash --json`
#[derive(Debug, Default, Serialize)]
struct ParamsHashDocument {
    /// The params hash. Left out with `--canonical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    params_hash: Option<String>,
    /// With `--canonical`: the text that is hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical: Option<String>,
}

/// Does `params-hash`.
pub fn print(context: &Context, args: &ParamsHashArgs) -> Result<Exit, CliError> {
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let cannot = |why: &dyn std::fmt::Display| {
        CliError::usage(
            "file",
            format!("cannot read {name}"),
            "name a JSON file that you may read, or - for standard input",
        )
        .why(why)
    };
    let bytes = read(&args.file).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_SMALL_TEXT_BYTES {
        return Err(cannot(&format_args!("it is larger than {MAX_SMALL_TEXT_BYTES} bytes")));
    }
    let value = Json::parse_within(&bytes, MAX_SMALL_VALUE_BYTES).map_err(|error| {
        CliError::usage("bad_json", format!("{name} is not valid JSON"), "correct the file").why(error)
    })?;
    if context.json {
        output::document(&if args.canonical {
            ParamsHashDocument { canonical: Some(canonical_json(&value)), ..ParamsHashDocument::default() }
        } else {
            ParamsHashDocument { params_hash: Some(params_hash(&value)), ..ParamsHashDocument::default() }
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
        io::stdin().lock().take(MAX_SMALL_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MAX_SMALL_TEXT_BYTES + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
