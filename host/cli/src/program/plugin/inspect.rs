//! `plugin inspect`. Owns: how a library's file is shown. Never: reads it (see `author::inspect`).

use crate::program::Context;
use crate::program::args::PluginInspectArgs;
use crate::program::documents::InspectDocument;
use crate::program::error::CliError;
use crate::program::exit::Exit;
use crate::program::output;
use kymhost_author::inspect::{ExtraIndexerKeys, Inspection, inspect as look_at};
use kymhost_plugin_api::card::{API, CardIndexer, TARGET};
use serde_json::Value;
use std::io::{self, Write};

/// Does `plugin inspect`.
pub fn inspect(context: &Context, args: &PluginInspectArgs) -> Result<Exit, CliError> {
    let mut found = look_at(&args.file, super::user_trust())?;
    let refusal = found.refusal.take().map(CliError::from);
    if context.json {
        output::document(&InspectDocument::new(&found, refusal.as_ref()))?;
    } else {
        output::to_stdout(|out| show(out, &found, refusal.as_ref()))?;
    }
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
    writeln!(out, "plugin API        {}, needs {} at least (this kymhost has {API})", card.api, card.needs_api)?;
    writeln!(out, "door              {}", card.door)?;
    writeln!(out, "built with        plugin-api {}, {}, for {}", card.sdk, card.rustc, card.target)?;
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
            writeln!(out, "would be loaded   no: [{}] {}", error.code, output::indented(&error.message))?;
            match &error.help {
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
    writeln!(out, "  params          {}", if params.is_empty() { "(not said)" } else { &params })?;
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

/// A list of texts as a list, anything else as its JSON, of bounded length.
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

/// Texts of unknown keys were checked by nobody: one line, of bounded length, that no terminal obeys.
fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 500;
    let mut line: String = text.chars().take(MAX_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn foreign_values_are_shown_in_one_line() {
        for (value, expected) in [
            (json!([]), "(nothing)"),
            (json!(["a", "b\n"]), "a, b?"),
            (json!("x\u{1b}[31m"), "x?[31m"),
            (json!({"type": "object"}), r#"{"type":"object"}"#),
            (json!([1]), "[1]"),
        ] {
            assert_eq!(in_words(&value), expected);
        }
        assert_eq!(one_line(&"x".repeat(9000)).chars().count(), 501);
    }
}
