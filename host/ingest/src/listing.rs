//! `export.json`: what an export's folder of one image holds. No file that it names is outside the folder.

use crate::find::LISTING;
use crate::sidecar::SidecarForm;
use arrow::datatypes::{DataType, TimeUnit};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::json::Object;
use std::collections::HashMap;

const FORMAT: &str = "kymhost_export";
const VERSION: i64 = 1;

/// An exported image.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The id that it had.
    pub image_id: String,
    /// The pixels' lengths: the pages of a TIFF do not say all of them.
    pub shape: Vec<usize>,
    /// The pixels' axes.
    pub axes: Vec<String>,
    /// Its artifacts.
    pub artifacts: Vec<ListedFile>,
}

/// An artifact of an exported image.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedFile {
    /// Its name.
    pub name: String,
    /// The file that holds it, below the folder.
    pub file: String,
    /// How it is kept there.
    pub form: SidecarForm,
    /// It was CSV in the dataset, and is to be that again.
    pub stays_csv: bool,
    /// An array's axes.
    pub axes: Vec<String>,
    /// The types of a table's columns, as far as CSV can hold them.
    pub types: HashMap<String, DataType>,
}

impl ListedFile {
    fn kind(&self) -> &'static str {
        match self.form {
            SidecarForm::Json => "json",
            SidecarForm::CsvGz if self.stays_csv => "csv",
            SidecarForm::Npy => "array",
            _ => "table",
        }
    }
}

impl Listing {
    /// As it is written.
    pub fn to_json(&self) -> Json {
        let artifacts = self.artifacts.iter().map(|entry| {
            let mut line = Object::new();
            line.insert("name".to_owned(), entry.name.as_str().into());
            line.insert("kind".to_owned(), entry.kind().into());
            line.insert("file".to_owned(), entry.file.as_str().into());
            if entry.form == SidecarForm::Npy {
                line.insert("axes".to_owned(), entry.axes.iter().map(String::as_str).collect());
            }
            if entry.kind() == "table" {
                let mut types: Vec<_> = entry.types.iter().collect();
                types.sort_by_key(|(name, _)| name.as_str());
                let named = types.into_iter().filter_map(|(name, kind)| Some((name.clone(), name_of(kind)?.into())));
                line.insert("types".to_owned(), Json::Object(named.collect()));
            }
            Json::Object(line)
        });
        Json::object([
            ("format", FORMAT.into()),
            ("version", VERSION.into()),
            ("image_id", self.image_id.as_str().into()),
            ("shape", self.shape.iter().copied().collect()),
            ("axes", self.axes.iter().map(String::as_str).collect()),
            ("artifacts", artifacts.collect()),
        ])
    }

    /// Reads one.
    pub fn parse(json: &Json) -> Result<Self, String> {
        let wrong = |what: &str| format!("its '{what}' is missing or not valid in {LISTING}");
        if json.get("format").and_then(Json::as_str) != Some(FORMAT) {
            return Err(wrong("format"));
        }
        match json.get("version").and_then(Json::as_i64) {
            Some(VERSION) => {}
            Some(other) => return Err(format!("its version is {other}; this kymhost knows {VERSION}")),
            None => return Err(wrong("version")),
        }
        let text = |json: &Json, name: &str| json.get(name).and_then(Json::as_str).map(str::to_owned);
        let texts = |json: &Json, name: &str| -> Option<Vec<String>> {
            json.get(name)?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let shape: Option<Vec<usize>> = json.get("shape").and_then(Json::as_array).and_then(|items| {
            items.iter().map(|item| item.as_u64().and_then(|length| usize::try_from(length).ok())).collect()
        });
        let mut artifacts = Vec::new();
        for line in json.get("artifacts").and_then(Json::as_array).ok_or_else(|| wrong("artifacts"))? {
            let (Some(name), Some(file), Some(kind)) = (text(line, "name"), text(line, "file"), text(line, "kind"))
            else {
                return Err(wrong("artifacts"));
            };
            let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
            if !file.split('/').all(plain) {
                return Err(format!("it names the file '{file}', which is not below its folder"));
            }
            let (form, stays_csv) = match (kind.as_str(), SidecarForm::of(&file).map(|(_, form)| form)) {
                ("json", Some(SidecarForm::Json)) => (SidecarForm::Json, false),
                ("csv", Some(SidecarForm::CsvGz)) => (SidecarForm::CsvGz, true),
                ("table", Some(form @ (SidecarForm::Csv | SidecarForm::CsvGz | SidecarForm::Parquet))) => (form, false),
                ("array", Some(SidecarForm::Npy)) => (SidecarForm::Npy, false),
                _ => {
                    return Err(format!("it lists '{name}' as {kind} in '{file}', which is not a form of an artifact"));
                }
            };
            let named = line.get("types").and_then(Json::as_object);
            let types =
                named.into_iter().flatten().filter_map(|(name, kind)| Some((name.clone(), type_of(kind.as_str()?)?)));
            artifacts.push(ListedFile {
                name,
                file,
                form,
                stays_csv,
                axes: texts(line, "axes").unwrap_or_default(),
                types: types.collect(),
            });
        }
        Ok(Self {
            image_id: text(json, "image_id").ok_or_else(|| wrong("image_id"))?,
            shape: shape.ok_or_else(|| wrong("shape"))?,
            axes: texts(json, "axes").ok_or_else(|| wrong("axes"))?,
            artifacts,
        })
    }
}

/// Types that CSV texts express fully, by the names that Arrow's Python has for them.
const TYPES: [(&str, DataType); 19] = [
    ("null", DataType::Null),
    ("bool", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("uint8", DataType::UInt8),
    ("uint16", DataType::UInt16),
    ("uint32", DataType::UInt32),
    ("uint64", DataType::UInt64),
    ("float", DataType::Float32),
    ("double", DataType::Float64),
    ("string", DataType::Utf8),
    ("large_string", DataType::LargeUtf8),
    ("date32[day]", DataType::Date32),
    ("timestamp[s]", DataType::Timestamp(TimeUnit::Second, None)),
    ("timestamp[ms]", DataType::Timestamp(TimeUnit::Millisecond, None)),
    ("timestamp[us]", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("timestamp[ns]", DataType::Timestamp(TimeUnit::Nanosecond, None)),
];

/// The name of a type that CSV texts express fully; `None` for any other.
pub fn name_of(kind: &DataType) -> Option<&'static str> {
    TYPES.iter().find(|(_, known)| known == kind).map(|(name, _)| *name)
}

fn type_of(name: &str) -> Option<DataType> {
    TYPES.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_round_trips() {
        let entry = |name: &str, file: &str, form, stays_csv| ListedFile {
            name: name.into(),
            file: file.into(),
            form,
            stays_csv,
            axes: if form == SidecarForm::Npy { vec!["a0".into()] } else { Vec::new() },
            types: if form == SidecarForm::Csv {
                TYPES.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect()
            } else {
                HashMap::new()
            },
        };
        let listing = Listing {
            image_id: "i".into(),
            shape: vec![2, 3],
            axes: vec!["y".into(), "x".into()],
            artifacts: vec![
                entry("a/b", "a/b.json", SidecarForm::Json, false),
                entry("c", "c.csv", SidecarForm::Csv, false),
                entry("c", "c.csv.gz", SidecarForm::CsvGz, true),
                entry("d", "array_artifacts/d.npy", SidecarForm::Npy, false),
            ],
        };
        assert_eq!(Listing::parse(&listing.to_json()), Ok(listing));
    }

    #[test]
    fn listing_refuses_files_outside_its_folder() {
        for file in ["../a.json", "/a.json", "a/../b.json", "a//b.json", "a\\b.json", "a.txt", "a.npy"] {
            let json = format!(
                r#"{{"format": "kymhost_export", "version": 1, "image_id": "i", "shape": [1, 1], "axes": ["y", "x"],
                    "artifacts": [{{"name": "a", "kind": "json", "file": {}}}]}}"#,
                Json::from(file)
            );
            assert!(Listing::parse(&Json::parse(json.as_bytes()).unwrap()).is_err(), "{file}");
        }
    }
}
