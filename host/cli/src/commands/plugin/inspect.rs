//! `plugin inspect`: what a library's file says, for any platform.
//!
//! This file must not read the library: see [`kymhost_author::inspect`].

use super::bodies::{BuildBody, table_key};
use crate::context::Context;
use crate::error::{CliError, ErrorBody};
use crate::exit::Exit;
use crate::output;
use crate::plugins::user_trust;
use clap::Args;
use kymhost_author::inspect::{ExtraIndexerKeys, Inspection, inspect as look_at};
use kymhost_plugin::Platform;
use kymhost_plugin_api::card::{API, CardIndexer, TARGET};
use kymhost_store::text::one_line_start;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};
use std::path::PathBuf;

/// How much of a foreign text is shown.
const MAX_CHARS: usize = 500;

const EXAMPLES: &str = "\
Examples:
  kymhost plugin inspect ./libstalls.so
  kymhost plugin inspect stalls.dll --json | jq .platforms

None of the library's code runs. The exit code is 0 if this kymhost would load it, else 5.";

/// Arguments of `plugin inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PluginInspectArgs {
    /// Inspect this library: an ELF, Mach-O or PE file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `plugin inspect --json`
#[derive(Debug, Serialize)]
pub struct InspectDocument<'a> {
    /// The file, with links followed.
    library: String,
    /// Its size.
    size_bytes: u64,
    /// Its SHA-256.
    sha256: &'a str,
    /// `elf`, `mach-o`, `mach-o-fat` or `pe`.
    format: &'static str,
    /// The architectures that it has code for.
    platforms: Vec<PlatformBody<'a>>,
    #[serde(flatten)]
    build: BuildBody<'a>,
    /// Its indexers.
    indexers: Vec<InspectedIndexerBody<'a>>,
    /// Keys of the card that this kymhost does not know.
    other_keys: &'a [String],
    /// This kymhost.
    host: HostBody,
    /// Whether this kymhost would load it.
    loads: bool,
    /// Why not.
    refusal: Option<ErrorBody<'a>>,
}

/// A processor architecture.
#[derive(Debug, Serialize)]
struct PlatformBody<'a> {
    /// The processor, as in Rust's target triples.
    arch: &'a str,
    /// 32 or 64.
    bits: u8,
    /// `little` or `big`.
    endian: &'static str,
}

/// What a card says of one indexer.
#[derive(Debug, Serialize)]
struct InspectedIndexerBody<'a> {
    /// The indexer.
    indexer: &'a str,
    /// Its analysis version.
    analysis_version: &'a str,
    /// The key of its table; null if its name is not allowed.
    table: Option<String>,
    /// The artifact with its run marker.
    marker: &'a str,
    /// The artifacts that may hold its params.
    params_artifacts: &'a [String],
    /// As it is in the card.
    writes: Option<&'a Value>,
    /// As it is in the card.
    reads: Option<&'a Value>,
    /// As it is in the card.
    params_schema: Option<&'a Value>,
    /// Keys that this kymhost does not know.
    other_keys: &'a [String],
}

/// What plugins need to know about this program.
#[derive(Debug, Serialize)]
struct HostBody {
    /// The version.
    version: &'static str,
    /// Its plugin API.
    api: String,
    /// Its target triple.
    target: &'static str,
}

impl<'a> InspectDocument<'a> {
    /// The document of a library's file, and the error if it would not be loaded.
    pub fn new(found: &'a Inspection, refusal: Option<&'a CliError>) -> Self {
        let card = &found.file.card;
        let none: &'static ExtraIndexerKeys = &NO_EXTRA_KEYS;
        let extra = found.extra.indexers.iter().chain(std::iter::repeat(none));
        let indexer = |(indexer, extra): (&'a CardIndexer, &'a ExtraIndexerKeys)| InspectedIndexerBody {
            indexer: &indexer.name,
            analysis_version: &indexer.analysis_version,
            table: table_key(&indexer.name),
            marker: &indexer.marker,
            params_artifacts: &indexer.params_artifacts,
            writes: extra.writes.as_ref(),
            reads: extra.reads.as_ref(),
            params_schema: extra.params_schema.as_ref(),
            other_keys: &extra.other_keys,
        };
        let platform = |platform: &'a Platform| PlatformBody {
            arch: &platform.arch,
            bits: platform.bits,
            endian: if platform.is_big_endian { "big" } else { "little" },
        };
        Self {
            library: found.library.display().to_string(),
            size_bytes: found.size_bytes,
            sha256: &found.sha256,
            format: found.file.format.as_str(),
            platforms: found.file.platforms.iter().map(platform).collect(),
            build: BuildBody::new(card),
            indexers: card.indexers.iter().zip(extra).map(indexer).collect(),
            other_keys: &found.extra.other_keys,
            host: HostBody { version: env!("CARGO_PKG_VERSION"), api: API.to_string(), target: TARGET },
            loads: refusal.is_none(),
            refusal: refusal.map(ErrorBody::new),
        }
    }
}

static NO_EXTRA_KEYS: ExtraIndexerKeys =
    ExtraIndexerKeys { writes: None, reads: None, params_schema: None, other_keys: Vec::new() };

/// Does `plugin inspect`.
pub fn inspect(context: &Context, args: &PluginInspectArgs) -> Result<Exit, CliError> {
    let mut found = look_at(&args.file, user_trust())?;
    let refusal = found.refusal.take().map(CliError::from);
    let refusal = refusal.as_ref();
    output::result(context.json, &InspectDocument::new(&found, refusal), |out| show(out, &found, refusal))?;
    Ok(if refusal.is_none() { Exit::Done } else { Exit::Unusable })
}

fn show(out: &mut dyn Write, found: &Inspection, refusal: Option<&CliError>) -> io::Result<()> {
    let card = &found.file.card;
    writeln!(out, "library           {}", found.library.display())?;
    writeln!(out, "size              {} bytes", found.size_bytes)?;
    writeln!(out, "sha-256           {}", found.sha256)?;
    writeln!(out, "format            {}", found.file.format.words())?;
    for platform in &found.file.platforms {
        writeln!(out, "architecture      {platform}")?;
    }
    BuildBody::new(card).write_text(out)?;
    let none = ExtraIndexerKeys::default();
    for (place, indexer) in card.indexers.iter().enumerate() {
        show_indexer(out, indexer, found.extra.indexers.get(place).unwrap_or(&none))?;
    }
    if !found.extra.other_keys.is_empty() {
        writeln!(out, "other keys        {}", one_line(&found.extra.other_keys.join(", ")))?;
    }
    match refusal {
        None => writeln!(out, "would be loaded   yes, by this kymhost {} on {TARGET}", env!("CARGO_PKG_VERSION")),
        Some(error) => {
            writeln!(out, "would be loaded   no: [{}] {}", error.code(), output::indented(&error.message()))?;
            match &error.said.help {
                Some(help) => writeln!(out, "help              {}", output::indented(help)),
                None => Ok(()),
            }
        }
    }
}

fn show_indexer(out: &mut dyn Write, indexer: &CardIndexer, extra: &ExtraIndexerKeys) -> io::Result<()> {
    let params = indexer.params_artifacts.join(", ");
    writeln!(out, "indexer           {}", indexer.name)?;
    writeln!(out, "  version         {}", indexer.analysis_version)?;
    writeln!(out, "  run marker      {}", indexer.marker)?;
    writeln!(out, "  params          {}", if params.is_empty() { "(not declared)" } else { &params })?;
    for (what, value) in [("writes", &extra.writes), ("reads", &extra.reads), ("params schema", &extra.params_schema)] {
        if let Some(value) = value {
            writeln!(out, "  {what:<15} {}", in_words(value))?;
        }
    }
    if !extra.other_keys.is_empty() {
        writeln!(out, "  other keys      {}", one_line(&extra.other_keys.join(", ")))?;
    }
    Ok(())
}

/// A list of texts with commas, anything else as JSON, cut to a bounded length.
fn in_words(value: &Value) -> String {
    let texts = value.as_array().and_then(|all| all.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let text = match (texts, value) {
        (Some(texts), _) if texts.is_empty() => "(nothing)".to_owned(),
        (Some(texts), _) => texts.join(", "),
        (None, Value::String(text)) => text.clone(),
        (None, other) => other.to_string(),
    };
    one_line(&text)
}

/// Nobody has checked the texts of unknown keys.
fn one_line(text: &str) -> String {
    one_line_start(text, MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn foreign_values_are_one_line() {
        for (value, expected) in [
            (json!([]), "(nothing)"),
            (json!(["a", "b\n"]), "a, b"),
            (json!("x\u{1b}[31m"), "x\u{FFFD}[31m"),
            (json!({"type": "object"}), r#"{"type":"object"}"#),
            (json!([1]), "[1]"),
        ] {
            assert_eq!(in_words(&value), expected);
        }
        assert_eq!(one_line(&"x".repeat(9000)).chars().count(), 500);
    }
}
