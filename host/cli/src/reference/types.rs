//! The types of the JSON documents, read from the sources of this crate: fields, types, descriptions.
//!
//! A derive macro would do the same, but its crates would be built for every test.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A struct that is serialized.
#[derive(Debug)]
struct Struct {
    description: String,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    of: String,
    description: String,
    is_flat: bool,
    is_optional: bool,
}

/// All structs of this crate that are serialized, by name.
#[derive(Debug)]
pub struct Types(BTreeMap<String, Struct>);

impl Types {
    /// Reads the sources.
    pub fn read() -> Self {
        let mut types = BTreeMap::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut types);
        Self(types)
    }

    /// The JSON Schema (draft 2020-12) of a document of this type.
    pub fn schema(&self, name: &str) -> Value {
        let mut schema = self.object(name);
        let map = schema.as_object_mut().unwrap();
        map.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        map.insert("title".to_owned(), json!(name));
        schema
    }

    fn object(&self, name: &str) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        self.add_fields(name, &mut properties, &mut required);
        let description = &self.of(name).description;
        json!({"type": "object", "description": description, "properties": properties, "required": required})
    }

    fn of(&self, name: &str) -> &Struct {
        self.0.get(name).unwrap_or_else(|| panic!("no struct {name} is serialized"))
    }

    fn add_fields(&self, name: &str, properties: &mut Map<String, Value>, required: &mut Vec<String>) {
        for field in &self.of(name).fields {
            if field.is_flat {
                self.add_fields(&field.of, properties, required);
                continue;
            }
            assert!(!field.description.is_empty(), "the field {} of {name} has no description", field.name);
            let mut schema = self.value(&field.of);
            schema.as_object_mut().unwrap().insert("description".to_owned(), json!(field.description));
            properties.insert(field.name.clone(), schema);
            if !field.is_optional {
                required.push(field.name.clone());
            }
        }
    }

    /// The schema of a value of a type.
    fn value(&self, of: &str) -> Value {
        if let Some(inner) = inside(of, "Option<") {
            let mut schema = self.value(inner);
            let kinds = schema["type"].clone();
            if kinds.is_string() {
                schema["type"] = json!([kinds, "null"]);
            }
            return schema;
        }
        if let Some(inner) = inside(of, "Vec<") {
            return json!({"type": "array", "items": self.value(inner)});
        }
        match of {
            "str" | "String" => json!({"type": "string"}),
            "bool" => json!({"type": "boolean"}),
            "u8" | "u64" | "usize" | "i64" => json!({"type": "integer"}),
            "f64" => json!({"type": "number"}),
            // Any JSON, and where a library came from, which has one of three forms.
            "Value" | "serde_json::Value" | "Origin" => json!({}),
            name => self.object(name),
        }
    }
}

fn inside<'a>(of: &'a str, outer: &str) -> Option<&'a str> {
    of.strip_prefix(outer).and_then(|inner| inner.strip_suffix('>'))
}

/// A type without lifetimes and references; a slice is a `Vec`.
fn plain(of: &str) -> String {
    let mut plain = of.replace("&'a ", "").replace("&'static ", "").replace("<'a>", "");
    while let Some((before, after)) = plain.split_once('[') {
        let (item, rest) = after.split_once(']').unwrap();
        plain = format!("{before}Vec<{item}>{rest}");
    }
    plain
}

fn read(folder: &Path, types: &mut BTreeMap<String, Struct>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, types);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read_file(&fs::read_to_string(&path).unwrap(), types);
        }
    }
}

fn read_file(source: &str, types: &mut BTreeMap<String, Struct>) {
    let (mut description, mut is_serialized) = (String::new(), false);
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("/// ") {
            description = format!("{description} {text}").trim().to_owned();
        } else if line.starts_with("#[derive(") {
            is_serialized = line.contains("Serialize");
        } else if !line.starts_with("#[") {
            let head = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("struct ");
            if let Some(head) = head.filter(|head| is_serialized && head.ends_with('{')) {
                let name = head.split(['<', ' ']).next().unwrap_or_default();
                let body = lines.by_ref().take_while(|line| *line != "}");
                let found = Struct { description: std::mem::take(&mut description), fields: fields(body) };
                assert!(types.insert(name.to_owned(), found).is_none(), "two structs {name} are serialized");
            }
            (description, is_serialized) = (String::new(), false);
        }
    }
}

fn fields<'a>(body: impl Iterator<Item = &'a str>) -> Vec<Field> {
    let mut found = Vec::new();
    let (mut description, mut attributes) = (String::new(), String::new());
    for line in body.map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            description = format!("{description} {text}").trim().to_owned();
        } else if line.starts_with("#[") {
            attributes.push_str(line);
        } else if let Some((name, of)) = line.trim_end_matches(',').split_once(": ") {
            let name = name.strip_prefix("pub ").unwrap_or(name);
            let renamed = attributes.split_once("rename = \"").and_then(|(_, after)| after.split_once('"'));
            let field = Field {
                name: renamed.map_or(name, |(name, _)| name).to_owned(),
                of: plain(of),
                description: std::mem::take(&mut description),
                is_flat: attributes.contains("flatten"),
                is_optional: attributes.contains("skip_serializing_if"),
            };
            if !attributes.contains("serde(skip)") {
                found.push(field);
            }
            attributes.clear();
        }
    }
    found
}
