//! The receipt that kymhost keeps in a run marker, next to kymflow's fields, under the one field `kymhost`.
//!
//! Responsible for its form, for reading markers with it and for writing them. It does no I/O and decides nothing.
//!
//! The serde attributes of [`Receipt`] are its one form. A text with a receipt is read straight into it. Any other
//! text goes through [`Json`] first, which reads what Python reads (`NaN`, integers of any size, a key that is given
//! twice).

use kymhost_dataset::limits::{MAX_INPUTS, MAX_SMALL_VALUE_BYTES};
use kymhost_dataset::{Input, InputState, Times};
use kymhost_plugin::MAX_PARAMS_BYTES;
use kymhost_plugin_api::json::{MAX_DEPTH, MAX_INT_DIGITS};
use kymhost_plugin_api::{Json, RunMarker};
use serde::de::Error as _;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The field of a marker that is ours.
pub const FIELD: &str = "kymhost";
/// Its field that lists the artifacts that were made; absent if there are none.
const OUTPUTS: &str = "outputs";
/// The format that is written. In format 1, files have no inode: such inputs are compared by their content once, and then
/// recorded with it. A receipt of a later format counts as none: the marker is judged by kymflow's rules.
pub const FORMAT: u64 = 2;
const OLDEST_FORMAT: u64 = 1;
/// No marker of ours has more objects: inputs of params and rows, and artifacts.
const MAX_OBJECTS: usize = 4 * MAX_INPUTS;

/// What a run recorded of one image. Fields that we do not know are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of [`FORMAT`] or older.
    #[serde(deserialize_with = "known_format")]
    pub format: u64,
    /// The SHA-256 of the library that made the rows.
    pub library_sha256: String,
    /// The digest of the image's rows (see [`crate::rows_digest`]).
    pub rows_sha256: String,
    /// The params as canonical JSON text, for people and for `explain`; `None` if they are too long to be kept.
    pub params: Option<String>,
    /// What params and rows were made from.
    #[serde(deserialize_with = "object")]
    pub inputs: RecordedInputs,
    /// The artifacts that the extraction made, as they were written: sorted by key, each a file or an array.
    #[serde(default, deserialize_with = "outputs", skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Input>,
    /// Set if a person accepted rows that were made differently.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adoption>,
}

/// What an image's params and rows were made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecordedInputs {
    /// For the params; `None` if that is not known.
    #[serde(default, deserialize_with = "inputs")]
    pub params: Option<Vec<Input>>,
    /// For the rows; `None` if that is not known: then a change of it goes unnoticed.
    #[serde(default, deserialize_with = "inputs")]
    pub rows: Option<Vec<Input>>,
}

/// What `adopt` keeps of the marker and the rows that it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The params hash that the rows had; `None` if they had several or none.
    pub params_hash: Option<String>,
    /// The analysis version that the rows had; `None` if they had several or none.
    pub analysis_version: Option<String>,
    /// Why, in the words of the person who adopted them.
    pub reason: String,
    /// When, in nanoseconds since the Unix epoch, UTC.
    pub utc_epoch_ns: i64,
}

/// A marker with its receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMarker {
    /// kymflow's fields.
    pub marker: RunMarker,
    /// Ours; `None` if there is none, or one of another format.
    pub receipt: Option<Receipt>,
}

/// Lists of inputs that replace those of a marker: their content is the same, but more is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freshening {
    /// For params and rows; `None`: they stay.
    pub inputs: RecordedInputs,
    /// For the artifacts that were made; `None`: they stay.
    pub outputs: Option<Vec<Input>>,
}

/// The marker's payload: kymflow's fields in their order, then ours.
pub fn to_json(marker: &RunMarker, receipt: Receipt) -> Json {
    let mut payload = marker.to_json();
    if let Json::Object(fields) = &mut payload {
        fields.insert(FIELD.to_owned(), json_of(&without_long_params(receipt)));
    }
    payload
}

/// Reads a marker; `None` if it is not a valid one.
pub fn read(text: &[u8]) -> Option<ReadMarker> {
    read_text(text).or_else(|| read_json(&Json::parse_within(text, MAX_SMALL_VALUE_BYTES).ok()?))
}

/// The text of a marker with other inputs. Everything else stays, including what we do not know. `None` if it has no
/// receipt (any more).
pub fn freshened(text: &[u8], with: &Freshening) -> Option<Vec<u8>> {
    let mut payload = Json::parse_within(text, MAX_SMALL_VALUE_BYTES).ok()?;
    read_json(&payload)?.receipt?;
    let Json::Object(fields) = &mut payload else { return None };
    let Json::Object(ours) = fields.get_mut(FIELD)? else { return None };
    let Json::Object(inputs) = ours.get_mut("inputs")? else { return None };
    for (name, list) in [("params", &with.inputs.params), ("rows", &with.inputs.rows)] {
        if let Some(list) = list {
            inputs.insert(name.to_owned(), json_of(list));
        }
    }
    if let Some(list) = with.outputs.as_deref().filter(|_| ours.contains_key(OUTPUTS)) {
        ours.insert(OUTPUTS.to_owned(), json_of(list));
    }
    Some(payload.to_file_text().into_bytes())
}

/// A text whose marker and receipt have the types that we write; `None`: [`read_json`] decides.
fn read_text(text: &[u8]) -> Option<ReadMarker> {
    #[derive(Deserialize)]
    struct Marker {
        marker_version: String,
        indexer_name: String,
        params_hash: String,
        analysis_version: String,
        n_rows: u64,
        ran_utc_epoch_ns: i64,
        status: String,
        #[serde(deserialize_with = "object")]
        kymhost: Receipt,
    }
    // Each input is an object, and takes some times as much memory as text.
    if text.iter().filter(|byte| **byte == b'{').count() > MAX_OBJECTS {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    if may_be_invalid_where_skipped(text) {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let found: Marker = object(&mut reader).ok()?;
    reader.end().ok()?;
    // Whether a name is blank depends on what Python counts as white space, unless it has a visible ASCII character.
    let is_named = found.indexer_name.bytes().any(|byte| byte.is_ascii_graphic());
    if found.marker_version != "1" || !is_named || found.ran_utc_epoch_ns <= 0 {
        return None;
    }
    let (version, time) = (found.analysis_version, found.ran_utc_epoch_ns);
    let mut marker = RunMarker::new(found.indexer_name, found.params_hash, version, found.n_rows, time);
    marker.status = found.status;
    Some(ReadMarker { marker, receipt: Some(without_long_params(found.kymhost)) })
}

/// Whether the text may hold what Python refuses, but what serde_json accepts in a field that it skips: half a
/// surrogate pair, an integer with too many digits, too many lists or objects in each other.
fn may_be_invalid_where_skipped(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.contains("\\ud")
        || text.contains("\\uD")
        || bytes.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > MAX_INT_DIGITS)
        || bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > MAX_DEPTH
}

/// A parsed marker.
fn read_json(payload: &Json) -> Option<ReadMarker> {
    let marker = RunMarker::from_json(payload)?;
    let receipt = payload.get(FIELD).and_then(|ours| object(value_of(ours)).ok()).map(without_long_params);
    Some(ReadMarker { marker, receipt })
}

fn without_long_params(mut receipt: Receipt) -> Receipt {
    receipt.params = receipt.params.filter(|params| params.len() <= MAX_PARAMS_BYTES);
    receipt
}

/// A value as serde writes it. Only a value that is not JSON could fail, and receipts have none.
fn json_of(value: &(impl Serialize + ?Sized)) -> Json {
    serde_json::to_vec(value).ok().and_then(|text| Json::parse(&text).ok()).unwrap_or_default()
}

/// A value for serde. Numbers that no field of a receipt can have become a value that no field accepts.
fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(_) | Json::Float(_) => Value::Bool(false),
        Json::Int(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => Value::Bool(false),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(value_of).collect(),
        Json::Object(members) => members.iter().map(|(name, value)| (name.as_str(), value_of(value))).collect(),
    }
}

fn known_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        known @ OLDEST_FORMAT..=FORMAT => Ok(known),
        other => Err(D::Error::custom(format!("format {other}"))),
    }
}

/// A struct that is read from an object only. By itself, serde takes a list of values for a struct too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData)).map(Self)
    }
}

fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(found)| found)
}

fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|Object(found)| found))
}

fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Input>, D::Error> {
    inputs(deserializer).map(Option::unwrap_or_default)
}

fn inputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Input>>, D::Error> {
    let Some(found) = Option::<Vec<Object<InputFields<'_>>>>::deserialize(deserializer)? else { return Ok(None) };
    let inputs = found.into_iter().map(|Object(fields)| fields.into_input()).collect::<Option<_>>();
    inputs.ok_or_else(|| D::Error::custom("an input lacks a field")).map(Some)
}

/// All fields that any input has. Those that do not belong to its state are ignored, but they must have their types.
#[derive(Deserialize)]
struct InputFields<'a> {
    key: String,
    #[serde(borrow)]
    state: Cow<'a, str>,
    size: Option<u64>,
    mtime_ns: Option<i64>,
    ctime_ns: Option<i64>,
    inode: Option<u64>,
    chunks: Option<u64>,
    stats_sha256: Option<String>,
    sha256: Option<String>,
}

impl InputFields<'_> {
    fn into_input(self) -> Option<Input> {
        let found = match &*self.state {
            "absent" => InputState::Absent,
            "file" => {
                let times = match (self.mtime_ns, self.ctime_ns) {
                    (Some(mtime_ns), Some(ctime_ns)) => Some(Times { mtime_ns, ctime_ns, inode: self.inode }),
                    (None, None) => None,
                    _ => return None,
                };
                InputState::File { size: self.size?, times, sha256: self.sha256? }
            }
            "array" => InputState::Array {
                size: self.size?,
                chunks: self.chunks?,
                stats_sha256: self.stats_sha256,
                sha256: self.sha256?,
            },
            "attributes" => InputState::Attributes { sha256: self.sha256? },
            "listing" => InputState::Listing { sha256: self.sha256? },
            _ => return None,
        };
        Some(Input { key: self.key, found })
    }
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
