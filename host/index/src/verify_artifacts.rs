//! Whether the artifacts of two extractions, and those in the dataset, hold the same.
//!
//! Responsible for what counts as the same. It does not extract, and does not choose images.
//!
//! JSON is compared in its canonical form, so the order of members does not count. Tables are compared as rows are:
//! columns by name, cells by value, missing cells and `NaN` alike, an integer and the same whole float alike. Of an
//! array dtype, shape, names of axes and values count; `NaN` is itself, and 0 is -0.

use crate::rows_digest::cells_digest;
use kymhost_dataset::{DatasetError, Payload, Record, artifact_keys, hex};
use kymhost_plugin::Made;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::{Artifact, ArtifactKind, Json, canonical_json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// An artifact that an extraction returned, reduced to what is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComparedArtifact {
    /// Its key below the image's group.
    pub key: String,
    /// What it holds, or why it cannot be kept.
    content: Result<Content, String>,
}

impl ComparedArtifact {
    /// Of what was handed over.
    pub(crate) fn of(made: Made) -> Self {
        let key = key(&made);
        Self { key, content: made.payload.as_kept().and_then(|payload| Content::of(&payload)) }
    }

    /// A short form of it. Only equal artifacts have the same digest.
    pub(crate) fn digest(&self) -> String {
        let mut hash = Sha256::new();
        match &self.content {
            Ok(Content(parts)) => parts.iter().for_each(|(part, what)| {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
                hash.update((what.len() as u64).to_le_bytes());
                hash.update(what);
            }),
            Err(why) => hash.update(why),
        }
        hex(&hash.finalize())
    }

    /// How the artifact in the dataset differs from it; `None` if it is the same.
    pub(crate) fn difference(&self, record: &Record, name: &str, kind: ArtifactKind) -> Option<String> {
        let new = match &self.content {
            Ok(content) => content,
            Err(why) => return Some(format!("what the extraction gives cannot be kept: {why}")),
        };
        let unreadable = |error: DatasetError| format!("what is kept cannot be read: {error}");
        let kept = Payload::kept(record, name, kind).map_err(unreadable);
        match kept.and_then(|kept| kept.map(|kept| Content::of(&kept)).transpose()) {
            Ok(None) => Some("it is not there, and the extraction makes it".to_owned()),
            Ok(Some(kept)) => kept.difference(new),
            Err(why) => Some(why),
        }
    }
}

/// The key of an artifact below the image's group; its name, if that gives no key.
pub(crate) fn key(made: &Made) -> String {
    let keys = artifact_keys(&Artifact::new(made.name.as_str(), made.payload.kind()));
    keys.ok().and_then(|keys| keys.into_iter().next()).unwrap_or_else(|| made.name.clone())
}

/// What an artifact holds, in parts that are compared one by one: what each is called, and its value or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content(BTreeMap<String, String>);

impl Content {
    fn of(payload: &Payload) -> Result<Self, String> {
        Ok(match payload {
            Payload::Json(text) => Self::of_json(&Json::parse(text).map_err(|error| error.to_string())?),
            Payload::Table(rows) => {
                let columns = rows.schema_ref().fields().iter().zip(rows.columns());
                let cells =
                    columns.map(|(field, cells)| (format!("the column '{}'", field.name()), cells_digest(cells)));
                Self(cells.chain([("the number of rows".to_owned(), rows.num_rows().to_string())]).collect())
            }
            Payload::Array(array) => Self(BTreeMap::from([
                ("the dtype".to_owned(), array.dtype().name().to_owned()),
                ("the shape".to_owned(), format!("{:?}", array.shape())),
                ("the names of the axes".to_owned(), format!("{:?}", array.axes())),
                ("the values".to_owned(), values_digest(array)),
            ])),
        })
    }

    fn of_json(value: &Json) -> Self {
        let digest = |value: &Json| hex(&Sha256::digest(canonical_json(value)));
        Self(match value {
            Json::Object(members) if !members.is_empty() => {
                members.iter().map(|(key, member)| (format!("the member '{key}'"), digest(member))).collect()
            }
            other => BTreeMap::from([("the value".to_owned(), digest(other))]),
        })
    }

    /// How it differs from a new one.
    fn difference(&self, new: &Self) -> Option<String> {
        let (Self(kept), Self(new)) = (self, new);
        let changed = kept.iter().find_map(|(part, what)| match new.get(part) {
            None => Some(format!("{part} is kept, and the extraction gives none")),
            Some(other) if other != what => Some(format!("{part} is not what the extraction gives")),
            Some(_) => None,
        });
        let more = || new.keys().find(|part| !kept.contains_key(*part));
        changed.or_else(|| more().map(|part| format!("{part} is not kept, and the extraction gives it")))
    }
}

/// The digest of an array's values: `NaN` is itself, and -0 is 0.
fn values_digest(array: &Array) -> String {
    let components = |size: usize| array.bytes().chunks_exact(size);
    let floats: Option<Vec<f64>> = match array.dtype() {
        DType::Float16 | DType::Float32 | DType::Float64 => array.to_f64_vec(),
        DType::Complex64 => {
            Some(components(4).filter_map(|one| Some(f32::from_ne_bytes(one.try_into().ok()?).into())).collect())
        }
        DType::Complex128 => {
            Some(components(8).filter_map(|one| Some(f64::from_ne_bytes(one.try_into().ok()?))).collect())
        }
        _ => None,
    };
    let mut hash = Sha256::new();
    match floats {
        // Adding 0 turns -0 into 0 and changes no other value.
        Some(values) => values.iter().for_each(|value| {
            let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
            hash.update(value.to_bits().to_le_bytes());
        }),
        None => hash.update(array.bytes()),
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, LargeStringArray, RecordBatch, StringArray};
    use std::sync::Arc;

    fn json(text: &str) -> Payload {
        Payload::Json(text.as_bytes().to_vec())
    }

    fn table(columns: Vec<(&str, ArrayRef)>) -> Payload {
        Payload::Table(
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap(),
        )
    }

    fn floats(values: Vec<Option<f64>>) -> ArrayRef {
        Arc::new(Float64Array::from(values))
    }

    fn array(values: &[f32], shape: [usize; 2], axis: &str) -> Payload {
        Payload::Array(Array::from_elements(values, shape.to_vec(), vec!["y".into(), axis.into()]).unwrap())
    }

    #[test]
    fn artifact_differences_described() {
        let minus_nan = f64::from_bits(f64::NAN.to_bits() ^ 1 << 63);
        let ints = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
        let elements =
            |values: &[i32]| Payload::Array(Array::from_elements(values, vec![2], vec!["x".into()]).unwrap());
        /// What is kept, what is new, and the words of the difference.
        type Case<'a> = (Payload, Payload, Option<&'a str>);
        let cases: Vec<Case<'_>> = vec![
            (json(r#"{"a": 1, "b": NaN}"#), json(r#"{ "b":NaN,"a":1 }"#), None),
            (json(r#"{"a": 1}"#), json(r#"{"a": 1.0}"#), Some("the member 'a' is not what")),
            (json(r#"{"a": 1}"#), json(r#"{"a": 1, "b": 2}"#), Some("the member 'b' is not kept")),
            (json(r#"{"a": 1, "b": 2}"#), json(r#"{"a": 1}"#), Some("the member 'b' is kept")),
            (json("[1]"), json("[1, 2]"), Some("the value is not what")),
            (json("{}"), json("{}"), None),
            (table(vec![("v", floats(vec![Some(f64::NAN)]))]), table(vec![("v", floats(vec![Some(minus_nan)]))]), None),
            (table(vec![("v", floats(vec![Some(f64::NAN)]))]), table(vec![("v", floats(vec![None]))]), None),
            (table(vec![("v", ints(vec![1, 2]))]), table(vec![("v", floats(vec![Some(1.0), Some(2.0)]))]), None),
            (
                table(vec![("v", floats(vec![Some(1.0), None]))]),
                table(vec![("v", floats(vec![None, Some(1.0)]))]),
                Some("the column 'v' is not what"),
            ),
            (table(vec![("v", ints(vec![1]))]), table(vec![("v", ints(vec![2]))]), Some("the column 'v' is not what")),
            (table(vec![("v", ints(vec![1]))]), table(vec![("w", ints(vec![1]))]), Some("the column 'v' is kept")),
            (
                table(vec![("v", floats(vec![None]))]),
                table(vec![("v", floats(vec![None, None]))]),
                Some("the column 'v' is not what"),
            ),
            (
                table(vec![("v", Arc::new(StringArray::from(vec!["a"])))]),
                table(vec![("v", Arc::new(LargeStringArray::from(vec!["a"])))]),
                None,
            ),
            // A name that the dataset's tables have for other things is one like any other.
            (
                table(vec![("image_id", ints(vec![1]))]),
                table(vec![("image_id", ints(vec![2]))]),
                Some("the column 'image_id'"),
            ),
            (array(&[f32::NAN, 0.0], [1, 2], "x"), array(&[-f32::NAN, -0.0], [1, 2], "x"), None),
            (array(&[1.0, 2.0], [1, 2], "x"), array(&[1.0, 3.0], [1, 2], "x"), Some("the values is not what")),
            (array(&[1.0, 2.0], [1, 2], "x"), array(&[1.0, 2.0], [2, 1], "x"), Some("the shape is not what")),
            (array(&[1.0, 2.0], [1, 2], "x"), array(&[1.0, 2.0], [1, 2], "t"), Some("the names of the axes is not")),
            (elements(&[1, 2]), elements(&[1, 3]), Some("the values")),
            (elements(&[1, 2]), array(&[1.0, 2.0], [1, 2], "x"), Some("the dtype")),
        ];
        for (place, (kept, new, expected)) in cases.into_iter().enumerate() {
            let handed = |payload: Payload| ComparedArtifact::of(Made { name: "a".into(), payload });
            let (kept, new) = (handed(kept), handed(new));
            let found = kept.content.as_ref().unwrap().difference(new.content.as_ref().unwrap());
            match (&found, expected) {
                (None, None) => {}
                (Some(found), Some(words)) => assert!(found.contains(words), "{place}: {found}"),
                _ => panic!("{place}: {found:?}, expected {expected:?}"),
            }
            assert_eq!(kept.digest() == new.digest(), expected.is_none(), "{place}");
        }
    }
}
