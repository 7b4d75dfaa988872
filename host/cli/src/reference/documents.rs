//! `json.md` and `schemas/*.json`: every document of `--json`, from the types that make it.

use super::cell;
use super::types::Types;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A command, the file of its document's schema, and the type of the document.
const DOCUMENTS: [(&str, &str, &str); 29] = [
    ("run", "run", "RunDocument"),
    ("run --dry-run", "dry-run", "PreviewDocument"),
    ("status", "status", "StatusDocument"),
    ("explain", "explain", "ExplainDocument"),
    ("verify", "verify", "VerifyDocument"),
    ("adopt", "adopt", "AdoptDocument"),
    ("params show", "params-show", "ParamsDocument"),
    ("params set", "params-set", "ParamsSetDocument"),
    ("plugin list", "plugin-list", "PluginsDocument"),
    ("plugin info", "plugin-info", "PluginInfoDocument"),
    ("plugin inspect", "plugin-inspect", "InspectDocument"),
    ("plugin new", "plugin-new", "NewPluginDocument"),
    ("plugin check", "plugin-check", "CheckDocument"),
    ("plugin check --list", "plugin-check-list", "CheckListDocument"),
    ("plugin add", "plugin-add", "PluginAddDocument"),
    ("plugin remove", "plugin-remove", "PluginRemoveDocument"),
    ("plugin path", "plugin-path", "PluginPathDocument"),
    ("plugin trust", "plugin-trust", "PluginTrustDocument"),
    ("table list", "table-list", "TablesDocument"),
    ("table drop", "table-drop", "DropDocument"),
    ("dataset create", "dataset-create", "CreateDocument"),
    ("dataset info", "dataset-info", "InfoDocument"),
    ("dataset validate", "dataset-validate", "ProblemsDocument"),
    ("dataset manifest", "dataset-manifest", "ManifestDocument"),
    ("dataset manifest --check", "dataset-manifest-check", "ManifestCheckDocument"),
    ("dataset ingest", "dataset-ingest", "IngestDocument"),
    ("dataset export", "dataset-export", "ExportDocument"),
    ("params-hash", "params-hash", "ParamsHashDocument"),
    ("demo", "demo", "DemoDocument"),
];
/// Commands whose document is an array of rows.
const ROWS: [(&str, &str); 2] = [("table show", "table-show"), ("dataset view-table", "dataset-view-table")];
/// Commands that take several plugins: the schema of their document, and the name of the list if there are several.
const LISTS: [(&str, &str); 3] = [("run", "runs"), ("dry-run", "runs"), ("status", "statuses")];

fn all() -> BTreeMap<&'static str, (&'static str, Value)> {
    let types = Types::read();
    let mut all: BTreeMap<_, _> =
        DOCUMENTS.into_iter().map(|(command, file, name)| (file, (command, types.schema(name)))).collect();
    for (command, file) in ROWS {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "description": "One object per row. Its members are the columns; a missing value is null.",
            "type": "array",
            "items": {"type": "object"},
        });
        all.insert(file, (command, schema));
    }
    all.insert("error", ("an error", types.schema("ErrorDocument")));
    all
}

pub fn schemas() -> BTreeMap<String, String> {
    let mut schemas: BTreeMap<String, Value> =
        all().into_iter().map(|(file, (_, schema))| (format!("schemas/{file}.json"), schema)).collect();
    let error = schemas["schemas/error.json"]["properties"]["error"].clone();
    for (file, list) in LISTS {
        // With several plugins: a list with the document or the error of each.
        let schema = &mut schemas.get_mut(&format!("schemas/{file}.json")).unwrap();
        let one = schema.as_object_mut().unwrap();
        let (draft, title) = (one.remove("$schema").unwrap(), one.remove("title").unwrap());
        let failed = json!({
            "type": "object",
            "description": "An indexer that failed as a whole.",
            "properties": {"indexer": {"type": "string", "description": "The indexer."}, "error": error},
            "required": ["indexer", "error"],
        });
        **schema = json!({
            "$schema": draft,
            "title": title,
            "anyOf": [
                {"$ref": "#/$defs/one"},
                {
                    "type": "object",
                    "description": "With several `--plugin`: one entry per plugin, in the order of the arguments.",
                    "properties": {list: {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/one"}, failed]}}},
                    "required": [list],
                },
            ],
            "$defs": {"one": one},
        });
    }
    let text = |schema: &Value| format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    schemas.iter().map(|(name, schema)| (name.clone(), text(schema))).collect()
}

pub fn page() -> String {
    let mut text = "# JSON documents\n\nWith `--json`, a command prints one document on standard output and nothing else. Fields \
                    are only\nadded, never renamed or removed. A JSON Schema of each document is in `docs/reference/schemas`.\n\
                    If a command fails, it prints the [error document](#an-error).\n"
        .to_owned();
    let order = DOCUMENTS.iter().map(|(_, file, _)| *file).chain(ROWS.map(|(_, file)| file)).chain(["error"]);
    let all = all();
    for file in order {
        let (command, schema) = &all[file];
        let heading = if file == "error" { "An error".to_owned() } else { format!("`{command}`") };
        let _ = write!(text, "\n## {heading}\n\nSchema: [{file}.json](schemas/{file}.json)\n");
        if let Some((_, list)) = LISTS.iter().find(|(of, _)| *of == file) {
            let _ = write!(
                text,
                "\nWith several `--plugin` the document is `{{\"{list}\": [...]}}`, with one such document per plugin, in\n\
                 the order of the arguments. A plugin that could not run has `indexer` and `error` instead.\n"
            );
        }
        if schema["type"] == "array" {
            text.push_str(
                "\nAn array with one object per row. Its members are the columns; a missing value is null.\n",
            );
            continue;
        }
        text.push_str("\n| field | type | means |\n| --- | --- | --- |\n");
        // The runs of the demo are documents of `run`.
        fields(&mut text, schema, "", if file == "demo" { &["runs", "runs[]", "steps[].runs"] } else { &[] });
    }
    text
}

fn fields(text: &mut String, schema: &Value, path: &str, closed: &[&str]) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{path}{name}");
        let is_required = schema["required"].as_array().is_some_and(|required| required.contains(&json!(name)));
        let left_out = if is_required { "" } else { ", may be left out" };
        let means = cell(field["description"].as_str().unwrap_or_default());
        let _ = writeln!(text, "| `{at}` | {}{left_out} | {means} |", kind(field));
        if closed.contains(&at.as_str()) {
            continue;
        }
        let (inner, step) = if field["items"].is_object() { (&field["items"], "[].") } else { (field, ".") };
        fields(text, inner, &format!("{at}{step}"), closed);
    }
}

fn kind(field: &Value) -> String {
    match &field["type"] {
        Value::String(one) => one.clone(),
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}
