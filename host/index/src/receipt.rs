//! What we keep in a run marker beside the predecessor's fields, under the one field `kymhost`.
//!
//! Owns: its form, reading markers with it (fast) and writing them. Never: I/O, what follows from it.

use kymhost_dataset::{Input, InputState, Times};
use kymhost_plugin::MAX_PARAMS_BYTES;
use kymhost_plugin_api::{Json, RunMarker};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The field of a marker that is ours.
pub const FIELD: &str = "kymhost";
/// Its field that lists the artifacts that were made; absent where there are none.
const OUTPUTS: &str = "outputs";
/// The form of what is under it. Another one counts as no receipt at all: the marker is judged by the old rules.
pub const FORMAT: u64 = 1;

/// What a run recorded of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The SHA-256 of the library that made the rows.
    pub library_sha256: String,
    /// The digest of the image's rows (see [`crate::rows_digest`]).
    pub rows_sha256: String,
    /// The params as canonical JSON text, for people and for `explain`; `None` where they are too long to be kept.
    pub params: Option<String>,
    /// What the params were made from; `None` where that is not known.
    pub params_inputs: Option<Vec<Input>>,
    /// What the rows were made from; `None` where that is not known: then a change of it goes unseen.
    pub rows_inputs: Option<Vec<Input>>,
    /// The artifacts that the extraction made, as they were written: sorted by key, each a file or an array.
    pub outputs: Vec<Input>,
    /// Set where a person said that rows made otherwise count.
    pub adopted: Option<Adoption>,
}

/// What `adopt` keeps of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The params hash that the rows had; `None` where they had several or none.
    pub params_hash: Option<String>,
    /// The analysis version that the rows had; `None` where they had several or none.
    pub analysis_version: Option<String>,
    /// Why, in the words of who did it.
    pub reason: String,
    /// When, in nanoseconds since the Unix epoch, UTC.
    pub utc_epoch_ns: i64,
}

/// A marker with what is ours in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMarker {
    /// The predecessor's fields.
    pub marker: RunMarker,
    /// Ours; `None` where there is none, or of another form.
    pub receipt: Option<Receipt>,
}

/// Lists of inputs that are to replace those of a marker: their content is the same, what is known of it is more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freshening {
    /// For the params; `None`: they stay.
    pub params_inputs: Option<Vec<Input>>,
    /// For the rows; `None`: they stay.
    pub rows_inputs: Option<Vec<Input>>,
    /// For the artifacts that were made; `None`: they stay.
    pub outputs: Option<Vec<Input>>,
}

/// The marker's payload: the predecessor's fields in their order, then ours.
pub fn to_json(marker: &RunMarker, receipt: &Receipt) -> Json {
    let mut payload = marker.to_json();
    let params = receipt.params.as_deref().filter(|params| params.len() <= MAX_PARAMS_BYTES);
    let mut ours = Json::object([
        ("format", FORMAT.into()),
        ("library_sha256", receipt.library_sha256.as_str().into()),
        ("rows_sha256", receipt.rows_sha256.as_str().into()),
        ("params", params.into()),
        (
            "inputs",
            Json::object([
                ("params", inputs_json(receipt.params_inputs.as_deref())),
                ("rows", inputs_json(receipt.rows_inputs.as_deref())),
            ]),
        ),
    ]);
    if let Json::Object(ours) = &mut ours
        && !receipt.outputs.is_empty()
    {
        ours.insert(OUTPUTS.to_owned(), inputs_json(Some(&receipt.outputs)));
    }
    if let (Json::Object(ours), Some(adopted)) = (&mut ours, &receipt.adopted) {
        let adopted = Json::object([
            ("params_hash", adopted.params_hash.as_deref().into()),
            ("analysis_version", adopted.analysis_version.as_deref().into()),
            ("reason", adopted.reason.as_str().into()),
            ("utc_epoch_ns", adopted.utc_epoch_ns.into()),
        ]);
        ours.insert("adopted".to_owned(), adopted);
    }
    if let Json::Object(payload) = &mut payload {
        payload.insert(FIELD.to_owned(), ours);
    }
    payload
}

fn inputs_json(inputs: Option<&[Input]>) -> Json {
    inputs.map_or(Json::Null, |inputs| inputs.iter().map(input_json).collect())
}

/// As serde writes it, without the way over its values.
fn input_json(input: &Input) -> Json {
    let mut fields: Vec<(&str, Json)> = vec![("key", input.key.as_str().into())];
    match &input.found {
        InputState::Absent => fields.push(("state", "absent".into())),
        InputState::File { size, times, sha256 } => {
            fields.extend([("state", "file".into()), ("size", (*size).into())]);
            if let Some(times) = times {
                fields.extend([("mtime_ns", times.mtime_ns.into()), ("ctime_ns", times.ctime_ns.into())]);
            }
            fields.push(("sha256", sha256.as_str().into()));
        }
        InputState::Array { size, chunks, stats_sha256, sha256 } => {
            fields.extend([("state", "array".into()), ("size", (*size).into()), ("chunks", (*chunks).into())]);
            fields.extend(stats_sha256.as_deref().map(|stats| ("stats_sha256", stats.into())));
            fields.push(("sha256", sha256.as_str().into()));
        }
        InputState::Attributes { sha256 } => {
            fields.extend([("state", "attributes".into()), ("sha256", sha256.as_str().into())]);
        }
        InputState::Listing { sha256 } => {
            fields.extend([("state", "listing".into()), ("sha256", sha256.as_str().into())])
        }
    }
    Json::object(fields)
}

/// Reads a marker: `None` where it is not a valid one. As [`RunMarker::from_json`] over the parsed text decides, at a
/// fraction of its cost for markers of ours.
pub fn read(text: &[u8]) -> Option<ReadMarker> {
    read_fast(text).or_else(|| read_slowly(&Json::parse(text).ok()?))
}

/// Reads a marker that is parsed already.
pub fn read_slowly(payload: &Json) -> Option<ReadMarker> {
    Some(ReadMarker { marker: RunMarker::from_json(payload)?, receipt: payload.get(FIELD).and_then(receipt_of) })
}

/// The text of a marker with other inputs; all else, what we do not know included, stays. `None` where it has no
/// receipt (any more).
pub fn freshened(text: &[u8], with: &Freshening) -> Option<Vec<u8>> {
    let mut payload = Json::parse(text).ok()?;
    read_slowly(&payload)?.receipt?;
    let Json::Object(fields) = &mut payload else { return None };
    let Json::Object(ours) = fields.get_mut(FIELD)? else { return None };
    let Json::Object(inputs) = ours.get_mut("inputs")? else { return None };
    for (name, list) in [("params", &with.params_inputs), ("rows", &with.rows_inputs)] {
        if let Some(list) = list {
            inputs.insert(name.to_owned(), inputs_json(Some(list)));
        }
    }
    if let Some(list) = with.outputs.as_deref().filter(|_| ours.contains_key(OUTPUTS)) {
        ours.insert(OUTPUTS.to_owned(), inputs_json(Some(list)));
    }
    Some(payload.to_file_text().into_bytes())
}

// The slow way: any text that Python reads. What it makes of a text is what counts.

fn receipt_of(ours: &Json) -> Option<Receipt> {
    if ours.get("format")?.as_u64()? != FORMAT {
        return None;
    }
    let inputs = ours.get("inputs")?;
    inputs.as_object()?;
    let text = |name| Some(ours.get(name)?.as_str()?.to_owned());
    Some(Receipt {
        library_sha256: text("library_sha256")?,
        rows_sha256: text("rows_sha256")?,
        params: optional(ours.get("params"), owned_text)?.filter(|params| params.len() <= MAX_PARAMS_BYTES),
        params_inputs: optional(inputs.get("params"), inputs_of)?,
        rows_inputs: optional(inputs.get("rows"), inputs_of)?,
        outputs: optional(ours.get(OUTPUTS), inputs_of)?.unwrap_or_default(),
        adopted: optional(ours.get("adopted"), adoption_of)?,
    })
}

/// A field that may be absent or null; the outer `None`: it is malformed.
fn optional<T>(value: Option<&Json>, read: impl Fn(&Json) -> Option<T>) -> Option<Option<T>> {
    match value {
        None | Some(Json::Null) => Some(None),
        Some(value) => read(value).map(Some),
    }
}

fn owned_text(value: &Json) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn adoption_of(value: &Json) -> Option<Adoption> {
    Some(Adoption {
        params_hash: optional(value.get("params_hash"), owned_text)?,
        analysis_version: optional(value.get("analysis_version"), owned_text)?,
        reason: owned_text(value.get("reason")?)?,
        utc_epoch_ns: value.get("utc_epoch_ns")?.as_i64()?,
    })
}

fn inputs_of(value: &Json) -> Option<Vec<Input>> {
    value.as_array()?.iter().map(input_of).collect()
}

fn input_of(value: &Json) -> Option<Input> {
    let text = |name| value.get(name)?.as_str().map(Cow::Borrowed);
    let fields = InputFields {
        key: text("key")?,
        state: text("state")?,
        size: optional(value.get("size"), Json::as_u64)?,
        mtime_ns: optional(value.get("mtime_ns"), Json::as_i64)?,
        ctime_ns: optional(value.get("ctime_ns"), Json::as_i64)?,
        chunks: optional(value.get("chunks"), Json::as_u64)?,
        stats_sha256: optional(value.get("stats_sha256"), owned_text)?.map(Cow::Owned),
        sha256: optional(value.get("sha256"), owned_text)?.map(Cow::Owned),
    };
    fields.into_input()
}

/// All fields that any input has. Those that its state does not have count for nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputFields<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    size: Option<u64>,
    mtime_ns: Option<i64>,
    ctime_ns: Option<i64>,
    chunks: Option<u64>,
    #[serde(borrow)]
    stats_sha256: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sha256: Option<Cow<'a, str>>,
}

impl InputFields<'_> {
    fn into_input(self) -> Option<Input> {
        let found = match &*self.state {
            "absent" => InputState::Absent,
            "file" => {
                let times = match (self.mtime_ns, self.ctime_ns) {
                    (Some(mtime_ns), Some(ctime_ns)) => Some(Times { mtime_ns, ctime_ns }),
                    (None, None) => None,
                    _ => return None,
                };
                InputState::File { size: self.size?, times, sha256: self.sha256?.into_owned() }
            }
            "array" => InputState::Array {
                size: self.size?,
                chunks: self.chunks?,
                stats_sha256: self.stats_sha256.map(Cow::into_owned),
                sha256: self.sha256?.into_owned(),
            },
            "attributes" => InputState::Attributes { sha256: self.sha256?.into_owned() },
            "listing" => InputState::Listing { sha256: self.sha256?.into_owned() },
            _ => return None,
        };
        Some(Input { key: self.key.into_owned(), found })
    }
}

// The fast way: texts of exactly the form that we write. It knows no other field, so that nothing is skipped unread: what
// serde_json skips, it checks less strictly than Python's rules do. Whatever it refuses goes the slow way.

/// An object, and nothing else: serde takes an array for a struct, too.
struct Members<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkerFields<'a> {
    #[serde(borrow)]
    marker_version: Cow<'a, str>,
    #[serde(borrow)]
    indexer_name: Cow<'a, str>,
    #[serde(borrow)]
    params_hash: Cow<'a, str>,
    #[serde(borrow)]
    analysis_version: Cow<'a, str>,
    n_rows: u64,
    ran_utc_epoch_ns: i64,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    kymhost: Members<ReceiptFields<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptFields<'a> {
    format: u64,
    #[serde(borrow)]
    library_sha256: Cow<'a, str>,
    #[serde(borrow)]
    rows_sha256: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Cow<'a, str>>,
    #[serde(borrow)]
    inputs: Members<InputLists<'a>>,
    #[serde(borrow)]
    outputs: Option<Vec<Members<InputFields<'a>>>>,
    #[serde(borrow)]
    adopted: Option<Members<AdoptionFields<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputLists<'a> {
    #[serde(borrow)]
    params: Option<Vec<Members<InputFields<'a>>>>,
    #[serde(borrow)]
    rows: Option<Vec<Members<InputFields<'a>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdoptionFields<'a> {
    #[serde(borrow)]
    params_hash: Option<Cow<'a, str>>,
    #[serde(borrow)]
    analysis_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    utc_epoch_ns: i64,
}

fn read_fast(text: &[u8]) -> Option<ReadMarker> {
    let fields: Members<MarkerFields<'_>> = serde_json::from_str(std::str::from_utf8(text).ok()?).ok()?;
    let Members(fields) = fields;
    let Members(ours) = fields.kymhost;
    let Members(inputs) = ours.inputs;
    // Only names that are certainly not blank, by Python's notion of it, are judged here.
    let is_plain = fields.indexer_name.bytes().any(|byte| byte.is_ascii_graphic());
    if fields.marker_version != "1" || !is_plain || fields.ran_utc_epoch_ns <= 0 || ours.format != FORMAT {
        return None;
    }
    let marker = RunMarker::new(
        fields.indexer_name,
        fields.params_hash,
        fields.analysis_version,
        fields.n_rows,
        fields.ran_utc_epoch_ns,
    );
    let marker = with_status(marker, &fields.status);
    let list = |inputs: Option<Vec<Members<InputFields<'_>>>>| match inputs {
        None => Some(None),
        Some(inputs) => inputs.into_iter().map(|Members(input)| input.into_input()).collect::<Option<_>>().map(Some),
    };
    let receipt = Receipt {
        library_sha256: ours.library_sha256.into_owned(),
        rows_sha256: ours.rows_sha256.into_owned(),
        params: ours.params.filter(|params| params.len() <= MAX_PARAMS_BYTES).map(Cow::into_owned),
        params_inputs: list(inputs.params)?,
        rows_inputs: list(inputs.rows)?,
        outputs: list(ours.outputs)?.unwrap_or_default(),
        adopted: ours.adopted.map(|Members(adopted)| Adoption {
            params_hash: adopted.params_hash.map(Cow::into_owned),
            analysis_version: adopted.analysis_version.map(Cow::into_owned),
            reason: adopted.reason.into_owned(),
            utc_epoch_ns: adopted.utc_epoch_ns,
        }),
    };
    Some(ReadMarker { marker, receipt: Some(receipt) })
}

fn with_status(mut marker: RunMarker, status: &str) -> RunMarker {
    if marker.status != status {
        marker.status = status.to_owned();
    }
    marker
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
mod tests;
