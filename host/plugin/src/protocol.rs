//! The messages between host and worker: frames with a JSON header and a body of bytes.
//!
//! Responsible for the messages, their form and their limits; not for processes, pipes and scheduling. For readers:
//! `docs/reference/worker-protocol.md`.

use crate::failure::{Failure, FailureCause, FailureKind};
use crate::identity::{LibraryFile, Pin};
use crate::indexer::Made;
use crate::workforce::ParamsReading;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use kymhost_dataset::{Input, Payload};
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::{Json, RunMarker};
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::io::{self, Read};
use std::panic::catch_unwind;
use std::sync::Arc;

/// The version, which both sides send.
pub(crate) const PROTOCOL: u32 = 3;
/// Four bytes of header length, eight of body length, both little-endian.
const PREFIX: usize = 12;
/// The longest header. The inputs of one image take most of it (see `MAX_INPUTS` of `kymhost_dataset::limits`).
pub const MAX_HEADER: u32 = 32 << 20;
/// The most answers in one frame.
pub const MAX_ITEMS: usize = 256;
/// The longest body: the rows of one image or of one batch.
pub const MAX_BODY: u64 = 4 << 30;
/// How many bytes are read from a pipe at a time, at least and at most.
const READ_SIZES: (usize, usize) = (64 << 10, 4 << 20);

/// Why bytes are not a frame, or a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("a frame has a {part} of {length} bytes, more than the {limit} allowed")]
    TooLong { part: &'static str, length: u64, limit: u64 },
    #[error("a frame's header is not a message of protocol {PROTOCOL}: {0}")]
    Header(serde_json::Error),
    #[error("the stream ends in the middle of a frame")]
    Truncated,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// From host to worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// Load this indexer. The body is the library's path followed by the dataset's, as bytes of the platform.
    Start(Start),
    /// Ask for the params hash of each image.
    ParamsHash {
        images: Vec<String>,
        /// Whether to send the params themselves, too.
        #[serde(default)]
        with_params: bool,
    },
    /// Ask for the rows of each image.
    Extract {
        images: Vec<String>,
        /// The known params of each image; empty if there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        known: Vec<Option<ParamsReading>>,
    },
    /// Ask what the indexer reads in old markers. The body has their texts, one after the other.
    OldMarker { lengths: Vec<usize> },
}

/// [`Request::Start`]'s fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub protocol: u32,
    pub indexer: String,
    pub library_bytes: usize,
    pub dataset_bytes: usize,
    /// Threads that one extraction may use.
    pub threads: usize,
    /// Bytes of resident memory that the host allows.
    pub max_memory: Option<u64>,
    /// Whether plugins get fill values for missing chunks, as kymflow gives them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fill_missing: bool,
    /// The lowest level that the host logs: `off`, `error`, `warn`, `info`, `debug`, `trace`.
    pub log: String,
    /// The library's file and digest as the host saw them. No other file is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// From worker to host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The first message, before anything is loaded.
    Hello { protocol: u32, version: String },
    /// The indexer is loaded and the dataset open.
    Ready {
        indexer: String,
        analysis_version: String,
        /// The file that was loaded.
        library: LibraryFile,
    },
    /// The worker cannot serve this library or dataset, and ends.
    Refused {
        code: String,
        message: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        help: Option<String>,
    },
    /// Answers to the oldest request without all answers, in its order: all of them or the next few.
    Results {
        /// The request, counted from 0 since [`Reply::Ready`], and the place of the first image in it: a plugin that forks
        /// its worker must not answer for another image.
        request: u64,
        from: usize,
        /// How long they took.
        micros: u64,
        #[serde(deserialize_with = "few_items")]
        items: Vec<Item>,
    },
}

/// Stops at more items than a frame may have: each takes far more memory than its shortest text.
fn few_items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Item>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<Item>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_ITEMS} answers")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Item>, A::Error> {
            let mut found = Vec::new();
            while let Some(item) = items.next_element()? {
                if found.len() == MAX_ITEMS {
                    return Err(A::Error::custom(format_args!("more than {MAX_ITEMS} answers in one frame")));
                }
                found.push(item);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_seq(Few)
}

/// The answer for one image or payload.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Item {
    Hash(ParamsReading),
    /// The next `bytes` of the body are an Arrow IPC stream.
    Rows {
        params: ParamsReading,
        /// The inputs of the rows.
        inputs: Vec<Input>,
        bytes: usize,
        /// The artifacts, which follow the rows in the body.
        #[serde(default)]
        artifacts: Vec<WireArtifact>,
    },
    Marker(Option<Marker>),
    Failed {
        kind: String,
        message: String,
        /// The fault, if the worker itself found it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<FailureCause>,
        /// What it had read by then.
        #[serde(default)]
        inputs: Vec<Input>,
    },
}

/// An artifact. The next `bytes` of the body are JSON text, an Arrow IPC stream, or an array's elements in C order and
/// native byte order.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WireArtifact {
    name: String,
    pub bytes: usize,
    #[serde(flatten)]
    form: WireForm,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum WireForm {
    Json,
    Table,
    Array { dtype: String, shape: Vec<usize>, axes: Vec<String> },
}

impl WireArtifact {
    /// Appends an artifact to a body.
    pub(crate) fn write(made: Made, body: &mut Vec<u8>) -> Result<Self, ArrowError> {
        let before = body.len();
        let form = match made.payload {
            Payload::Json(text) => {
                body.extend(text);
                WireForm::Json
            }
            Payload::Table(rows) => {
                write_rows(&rows, body)?;
                WireForm::Table
            }
            Payload::Array(array) => {
                body.extend_from_slice(array.bytes());
                WireForm::Array {
                    dtype: array.dtype().name().to_owned(),
                    shape: array.shape().to_vec(),
                    axes: array.axes().to_vec(),
                }
            }
        };
        Ok(Self { name: made.name, bytes: body.len() - before, form })
    }

    /// The artifact of these bytes, which may come from a spoiled worker.
    pub(crate) fn read(self, bytes: Buffer) -> Result<Made, String> {
        let payload = match self.form {
            WireForm::Json => {
                Json::check(&bytes).map_err(|error| format!("the artifact '{}' is not JSON: {error}", self.name))?;
                Payload::Json(bytes.to_vec())
            }
            WireForm::Table => {
                let rows = read_rows(bytes);
                Payload::Table(rows.map_err(|error| format!("the artifact '{}' cannot be read: {error}", self.name))?)
            }
            WireForm::Array { dtype, shape, axes } => {
                let dtype = DType::from_name(&dtype)
                    .ok_or_else(|| format!("the artifact '{}' has an unknown dtype", self.name))?;
                let array = Array::new(dtype, shape, axes, bytes.to_vec());
                Payload::Array(array.map_err(|error| format!("the artifact '{}' is not an array: {error}", self.name))?)
            }
        };
        Ok(Made { name: self.name, payload })
    }

    fn header_bytes(&self) -> usize {
        let axes = match &self.form {
            WireForm::Array { axes, .. } => axes.iter().map(|axis| axis.len() + 32).sum(),
            WireForm::Json | WireForm::Table => 0,
        };
        128 + self.name.len() + axes
    }
}

/// Sorts inputs and drops repeated keys, whatever a worker sends.
pub(crate) fn sorted(mut inputs: Vec<Input>) -> Vec<Input> {
    inputs.sort_unstable();
    inputs.dedup_by(|later, earlier| later.key == earlier.key);
    inputs
}

/// About how many bytes inputs take in a header.
fn inputs_bytes(inputs: &[Input]) -> usize {
    inputs.iter().map(|input| input.key.len() + 250).sum()
}

/// About how many bytes a reading takes in a header.
pub(crate) fn reading_bytes(reading: &ParamsReading) -> usize {
    reading.hash.len() + reading.value.as_ref().map_or(0, String::len) + inputs_bytes(&reading.inputs)
}

/// A reading with sorted inputs, whatever a worker sends.
pub(crate) fn checked(reading: ParamsReading) -> ParamsReading {
    ParamsReading { inputs: sorted(reading.inputs), ..reading }
}

impl Item {
    pub(crate) fn failed(failure: Failure) -> Self {
        let Failure { kind, message, cause, inputs } = failure;
        Self::Failed { kind: kind.as_str().to_owned(), message, cause, inputs }
    }

    /// About how many bytes it takes in a header.
    pub(crate) fn bytes(&self) -> usize {
        32 + match self {
            Self::Hash(reading) => reading_bytes(reading),
            Self::Rows { params, inputs, artifacts, .. } => {
                let artifacts: usize = artifacts.iter().map(WireArtifact::header_bytes).sum();
                reading_bytes(params) + inputs_bytes(inputs) + artifacts
            }
            Self::Marker(_) => 256,
            Self::Failed { message, inputs, .. } => message.len() + inputs_bytes(inputs),
        }
    }
}

/// A failure that a worker sent. An unknown kind counts as `error`.
pub(crate) fn failure(kind: &str, message: String) -> Failure {
    Failure::new(FailureKind::from_name(kind).unwrap_or(FailureKind::Error), message)
}

/// A run marker's fields.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marker {
    indexer_name: String,
    params_hash: String,
    analysis_version: String,
    n_rows: u64,
    ran_utc_epoch_ns: i64,
    status: String,
}

impl From<RunMarker> for Marker {
    fn from(marker: RunMarker) -> Self {
        Self {
            indexer_name: marker.indexer_name,
            params_hash: marker.params_hash,
            analysis_version: marker.analysis_version,
            n_rows: marker.n_rows,
            ran_utc_epoch_ns: marker.ran_utc_epoch_ns,
            status: marker.status,
        }
    }
}

impl From<Marker> for RunMarker {
    fn from(wire: Marker) -> Self {
        let mut marker =
            Self::new(wire.indexer_name, wire.params_hash, wire.analysis_version, wire.n_rows, wire.ran_utc_epoch_ns);
        marker.status = wire.status;
        marker
    }
}

/// The bytes of one frame.
pub(crate) fn frame(header: &impl Serialize, body: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = Vec::with_capacity(PREFIX + 256 + body.len());
    bytes.resize(PREFIX, 0);
    serde_json::to_writer(&mut bytes, header).map_err(ProtocolError::Header)?;
    let length = (bytes.len() - PREFIX) as u64;
    if length > u64::from(MAX_HEADER) {
        return Err(ProtocolError::TooLong { part: "header", length, limit: u64::from(MAX_HEADER) });
    }
    if body.len() as u64 > MAX_BODY {
        return Err(ProtocolError::TooLong { part: "body", length: body.len() as u64, limit: MAX_BODY });
    }
    let mut prefix = [0; PREFIX];
    let (header_length, body_length) = prefix.split_at_mut(4);
    header_length.copy_from_slice(&(length as u32).to_le_bytes());
    body_length.copy_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.splice(..PREFIX, prefix);
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Reads frames from a stream that may be cut anywhere. Memory grows with the bytes that came, not with announced lengths.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// The body that is expected, at most.
    max_body: u64,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self { max_body: MAX_BODY, buffer: Vec::new(), from: 0, to: 0 }
    }
}

impl FrameReader {
    /// From here on a frame with a longer body is refused before any of it is kept.
    pub(crate) fn expect_body(&mut self, limit: u64) {
        self.max_body = limit.min(MAX_BODY);
    }

    /// Reads from the source once. `0` is its end.
    pub(crate) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        let wanted = match self.lengths() {
            Ok(Some((header, body))) => PREFIX.saturating_add(header).saturating_add(body).saturating_sub(self.to),
            _ => 0,
        };
        let end = self.to + wanted.clamp(READ_SIZES.0, READ_SIZES.1);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        let read = source.read(self.buffer.get_mut(self.to..).unwrap_or_default())?;
        self.to += read;
        Ok(read)
    }

    /// The next message and its body, if all of it has come.
    pub(crate) fn next<H: DeserializeOwned>(&mut self) -> Result<Option<(H, Vec<u8>)>, ProtocolError> {
        let Some((header, body)) = self.lengths()? else { return Ok(None) };
        let start = self.from + PREFIX;
        let (Some(header_bytes), Some(body_bytes)) = (
            self.buffer.get(start..start + header).filter(|_| start + header <= self.to),
            self.buffer.get(start + header..start + header + body).filter(|_| start + header + body <= self.to),
        ) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(header_bytes).map_err(ProtocolError::Header)?;
        let end = start + header + body;
        if body >= READ_SIZES.1 && end == self.to {
            // For many rows the buffer becomes the body, so that they are in memory only once.
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.truncate(end);
            buffer.drain(..start + header);
            (self.from, self.to) = (0, 0);
            return Ok(Some((message, buffer)));
        }
        let body_bytes = body_bytes.to_vec();
        self.from = end;
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
            if self.buffer.len() > 2 * READ_SIZES.1 {
                self.buffer = Vec::new();
            }
        }
        Ok(Some((message, body_bytes)))
    }

    /// Reads until a message has come; `None` if the stream ends between frames.
    pub(crate) fn wait<H: DeserializeOwned>(
        &mut self,
        source: &mut impl Read,
    ) -> Result<Option<(H, Vec<u8>)>, ProtocolError> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            match self.fill(source) {
                Ok(0) if self.is_empty() => return Ok(None),
                Ok(0) => return Err(ProtocolError::Truncated),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether no part of a frame is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.from == self.to
    }

    fn lengths(&self) -> Result<Option<(usize, usize)>, ProtocolError> {
        let Some(([h0, h1, h2, h3, b0, b1, b2, b3, b4, b5, b6, b7], _)) =
            self.buffer.get(self.from..self.to).and_then(|bytes| bytes.split_first_chunk::<PREFIX>())
        else {
            return Ok(None);
        };
        let header = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
        let body = u64::from_le_bytes([*b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7]);
        if header > MAX_HEADER {
            return Err(ProtocolError::TooLong { part: "header", length: header.into(), limit: MAX_HEADER.into() });
        }
        if body > self.max_body {
            return Err(ProtocolError::TooLong { part: "body", length: body, limit: self.max_body });
        }
        Ok(Some((header as usize, body as usize)))
    }
}

/// Appends rows to a body as one Arrow IPC stream.
pub fn write_rows(rows: &RecordBatch, body: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(body, &rows.schema())?;
    writer.write(rows)?;
    writer.finish()
}

/// Reads one Arrow IPC stream with nothing after it.
pub fn read_rows(stream: Buffer) -> Result<RecordBatch, ArrowError> {
    // Arrow's reader checks values, but panics at some damaged offsets, and a plugin may spoil its worker's memory.
    catch_unwind(|| decode(stream)).unwrap_or_else(|_| Err(ArrowError::IpcError("the stream is damaged".into())))
}

fn decode(mut stream: Buffer) -> Result<RecordBatch, ArrowError> {
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    while !stream.is_empty() {
        batches.extend(decoder.decode(&mut stream)?);
    }
    decoder.finish()?;
    let schema = decoder.schema().ok_or_else(|| ArrowError::IpcError("the stream has no schema".into()))?;
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([rows]) => Ok(rows),
        Err(batches) if batches.is_empty() => Ok(RecordBatch::new_empty(schema)),
        Err(batches) => concat_batches(&Arc::clone(&schema), &batches),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int32Type;
    use kymhost_dataset::InputState;
    use proptest::prelude::*;

    /// Gives its bytes in pieces of the given sizes, again and again.
    struct Pieces<'a>(&'a [u8], Vec<usize>, usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let piece = self.1[self.2 % self.1.len()].max(1).min(out.len()).min(self.0.len());
            self.2 += 1;
            out[..piece].copy_from_slice(&self.0[..piece]);
            self.0 = &self.0[piece..];
            Ok(piece)
        }
    }

    fn rows() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("roi_id", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
            ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN, 2.0]))),
            ("name", Arc::new(StringArray::from(vec![Some("a"), None, Some("é")]))),
            (
                "list",
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
                    Some(vec![Some(1), None]),
                    None,
                    Some(vec![]),
                ])),
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// An item with every kind of input.
    fn hash(length: usize) -> Item {
        let times = Some(kymhost_dataset::Times { mtime_ns: -1, ctime_ns: i64::MAX, inode: Some(u64::MAX) });
        let sha256 = || "ab".repeat(32);
        let found = [
            InputState::Absent,
            InputState::File { size: u64::MAX, times, sha256: sha256() },
            InputState::File { size: 0, times: None, sha256: String::new() },
            InputState::Array { size: 1, chunks: 2, stats_sha256: Some(sha256()), sha256: sha256() },
            InputState::Array { size: 1, chunks: 2, stats_sha256: None, sha256: sha256() },
            InputState::Attributes { sha256: sha256() },
            InputState::Listing { sha256: sha256() },
        ];
        let input = |(number, found)| Input { key: format!("analysis/{number}.json"), found };
        let inputs = found.into_iter().enumerate().map(input).collect();
        Item::Hash(ParamsReading { hash: "h".repeat(length), value: Some("{}".repeat(length)), inputs })
    }

    #[test]
    fn largest_item_fits_a_header() {
        let input = |number: usize| Input {
            key: format!("{number:06}{}", "k".repeat(59)),
            found: InputState::Array {
                size: u64::MAX,
                chunks: u64::MAX,
                stats_sha256: Some("a".repeat(64)),
                sha256: "b".repeat(64),
            },
        };
        let inputs: Vec<Input> = (0..kymhost_dataset::limits::MAX_INPUTS).map(input).collect();
        let params =
            ParamsReading { hash: "h".repeat(1024), value: Some("\\".repeat(64 << 10)), inputs: inputs.clone() };
        let item = Item::Rows { params, inputs, bytes: usize::MAX, artifacts: Vec::new() };
        let estimate = item.bytes();
        let frame = frame(&Reply::Results { request: 0, from: 0, micros: 0, items: vec![item] }, &[]).expect("a frame");
        assert!(
            frame.len() < estimate + estimate / 2 && frame.len() < MAX_HEADER as usize,
            "{} {estimate}",
            frame.len()
        );
    }

    #[test]
    fn sorted_drops_repeated_inputs() {
        let input = |key: &str| Input { key: key.to_owned(), found: InputState::Absent };
        assert_eq!(sorted(["b", "a", "b", "c", "a"].map(input).to_vec()), ["a", "b", "c"].map(input));
    }

    #[test]
    fn artifacts_survive_the_wire() {
        let array = Array::from_elements(&[1.5_f32, f32::NAN], vec![1, 2], vec!["t".into(), "x".into()]).unwrap();
        let made = |name: &str, payload| Made { name: name.into(), payload };
        let all = vec![
            made("p", Payload::Json(b"{}".to_vec())),
            made("t", Payload::Table(rows())),
            made("none", Payload::Table(rows().slice(0, 0))),
            made("a", Payload::Array(array)),
        ];
        let mut body = Vec::new();
        let wire: Vec<_> = all.iter().map(|made| WireArtifact::write(made.clone(), &mut body).unwrap()).collect();
        let text = serde_json::to_string(&wire).unwrap();
        assert!(text.contains(r#"{"name":"p","bytes":2,"kind":"json"}"#), "{text}");
        let wire: Vec<WireArtifact> = serde_json::from_str(&text).unwrap();
        let body = Buffer::from_vec(body);
        let mut offset = 0;
        for (wire, made) in wire.into_iter().zip(all) {
            let bytes = wire.bytes;
            let back = wire.read(body.slice_with_length(offset, bytes)).unwrap();
            assert_eq!(format!("{back:?}"), format!("{made:?}"));
            offset += bytes;
        }
        assert_eq!(offset, body.len());
        for wrong in [
            r#"{"name":"p","bytes":2,"kind":"json"}"#,
            r#"{"name":"p","bytes":2,"kind":"table"}"#,
            r#"{"name":"p","bytes":2,"kind":"array","dtype":"uint8","shape":[3],"axes":["x"]}"#,
            r#"{"name":"p","bytes":2,"kind":"array","dtype":"uint8","shape":[1,2,18446744073709551615],"axes":["x"]}"#,
            r#"{"name":"p","bytes":2,"kind":"array","dtype":"real","shape":[2],"axes":["x"]}"#,
        ] {
            let wire: WireArtifact = serde_json::from_str(wrong).unwrap();
            assert!(wire.read(Buffer::from_vec(b"{x".to_vec())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rows_survive_the_wire() {
        let empty = RecordBatch::new_empty(rows().schema());
        for rows in [rows(), rows().slice(1, 2), empty] {
            let mut body = Vec::new();
            write_rows(&rows, &mut body).unwrap();
            let back = read_rows(Buffer::from_vec(body)).unwrap();
            assert_eq!(format!("{back:?}"), format!("{rows:?}"));
        }
    }

    #[test]
    fn too_long_frames_are_refused_unread() {
        for (header, body, refused) in
            [(MAX_HEADER + 1, 0, true), (2, MAX_BODY + 1, true), (u32::MAX, u64::MAX, true), (2, 0, false)]
        {
            let mut bytes = header.to_le_bytes().to_vec();
            bytes.extend(body.to_le_bytes());
            bytes.extend(b"{}");
            let result = FrameReader::default().wait::<serde_json::Value>(&mut bytes.as_slice());
            assert_eq!(matches!(result, Err(ProtocolError::TooLong { .. })), refused, "{header} {body}");
        }
    }

    #[test]
    fn frame_with_too_many_answers_is_refused() {
        for (count, fits) in [(MAX_ITEMS, true), (MAX_ITEMS + 1, false)] {
            let items = (0..count).map(|_| Item::Marker(None)).collect();
            let bytes = frame(&Reply::Results { request: 0, from: 0, micros: 0, items }, &[]).unwrap();
            assert_eq!(FrameReader::default().wait::<Reply>(&mut bytes.as_slice()).is_ok(), fits, "{count}");
        }
    }

    #[test]
    fn body_longer_than_expected_is_refused_unread() {
        for (expected, fits) in [(3, true), (2, false), (0, false)] {
            let mut reader = FrameReader::default();
            reader.expect_body(expected);
            let bytes = frame(&serde_json::json!({}), b"abc").unwrap();
            assert_eq!(reader.wait::<serde_json::Value>(&mut bytes.as_slice()).is_ok(), fits, "{expected}");
        }
    }

    proptest! {
        #![proptest_config(kymhost_test_cases::cases(64))]

        #[test]
        fn frames_survive_any_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            cuts in prop::collection::vec(1usize..70, 1..8),
        ) {
            let mut bytes = Vec::new();
            for (index, body) in bodies.iter().enumerate() {
                let header = Reply::Results { request: 0, from: 0, micros: index as u64, items: vec![hash(index)] };
                bytes.extend(frame(&header, body).unwrap());
            }
            let mut source = Pieces(&bytes, cuts, 0);
            let mut reader = FrameReader::default();
            for (index, body) in bodies.iter().enumerate() {
                let (reply, got) = reader.wait::<Reply>(&mut source).unwrap().unwrap();
                prop_assert_eq!(&got, body);
                let Reply::Results { micros, items, .. } = reply else { panic!("{reply:?}") };
                prop_assert_eq!((micros, items), (index as u64, vec![hash(index)]));
            }
            prop_assert!(reader.wait::<Reply>(&mut source).unwrap().is_none());
        }

        #[test]
        fn reader_survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut source = bytes.as_slice();
            let mut reader = FrameReader::default();
            while let Ok(Some(_)) = reader.wait::<Reply>(&mut source) {}
            let mut source = bytes.as_slice();
            let mut reader = FrameReader::default();
            while let Ok(Some(_)) = reader.wait::<Request>(&mut source) {}
        }

        #[test]
        fn reader_survives_any_header(text in r#"\{"(results|hello|refused|ready|extract|start)":[\[\]{}a-z0-9:,"]{0,60}"#) {
            let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
            bytes.extend(0u64.to_le_bytes());
            bytes.extend(text.as_bytes());
            let _ = FrameReader::default().wait::<Reply>(&mut bytes.as_slice());
            let _ = FrameReader::default().wait::<Request>(&mut bytes.as_slice());
        }

        #[test]
        fn read_rows_survives_damage(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<Option<prop::sample::Index>>(),
        ) {
            let mut body = Vec::new();
            write_rows(&rows(), &mut body).unwrap();
            for (place, value) in damage {
                let place = place.index(body.len());
                body[place] = value;
            }
            if let Some(cut) = cut {
                body.truncate(cut.index(body.len()));
            }
            let _ = read_rows(Buffer::from_vec(body));
        }
    }
}
