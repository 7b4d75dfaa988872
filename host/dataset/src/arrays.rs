//! Pixels and array artifacts: Zarr v2 arrays, decoded and encoded by zarrs.
//!
//! Owns: `.zarray`, chunk keys, bounds. Never: attributes or groups.
//!
//! Every length that a `.zarray` claims is checked before anything is set aside for it. Chunks are fetched through the store
//! (so no link leads out), unpacked within what their shape says, and only then given to zarrs, which knows byte orders,
//! memory orders and Blosc. A panic of zarrs becomes an error.

use super::error::unreadable;
use super::names::{ARRAY, DATA};
use super::tables::guarded;
use super::{DatasetError, attributes};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::json::Object;
use kymhost_store::{Key, Store};
use std::borrow::Cow;
use std::io::Read;
use std::num::NonZeroU64;
use std::sync::Arc;
use zarrs::array::{ArrayBytes, ArrayToBytesCodecTraits, CodecOptions};

/// The most bytes that an array may have, decoded.
pub(super) const MAX_ARRAY_BYTES: u64 = 8 << 30;
/// The most bytes of one chunk, decoded: Blosc's own bound.
const MAX_CHUNK_BYTES: u64 = (1 << 31) - 17;
/// The most chunks of an array: each is a file.
const MAX_CHUNKS: u64 = 1 << 22;
/// A `.zarray` is a few hundred bytes; this is more than any.
pub(super) const MAX_LAYOUT_BYTES: u64 = 1 << 20;
/// The most dimensions (numpy's bound).
const MAX_RANK: usize = 32;
/// A chunk's length along an axis by default; 1 along those of [`SINGLE`].
const DEFAULT_CHUNK: usize = 512;
/// Axes along which a chunk holds one plane.
const SINGLE: [&str; 3] = ["t", "z", "c"];

/// How chunks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Blosc,
    Zlib,
    Gzip,
    Zstd,
}

/// What a `.zarray` says, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) shape: Vec<usize>,
    pub(super) chunks: Vec<usize>,
    pub(super) dtype: DType,
    big_endian: bool,
    fortran: bool,
    packing: Packing,
    /// As zarrs takes it.
    fill: serde_json::Value,
    separator: char,
}

impl Layout {
    /// Reads a `.zarray`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let json = Json::parse(text).map_err(|error| error.to_string())?;
        let member = |name: &str| json.get(name).ok_or_else(|| format!("it has no '{name}'"));
        match member("zarr_format")?.as_i64() {
            Some(2) => {}
            _ => return Err(format!("its zarr_format is {}, expected 2", member("zarr_format")?)),
        }
        let (dtype, big_endian) = parse_dtype(member("dtype")?)?;
        let shape = parse_lengths(member("shape")?, "shape")?;
        let chunks = parse_lengths(member("chunks")?, "chunks")?;
        if chunks.len() != shape.len() {
            return Err(format!("its chunks have {} dimensions, its shape {}", chunks.len(), shape.len()));
        }
        if chunks.contains(&0) {
            return Err("a chunk has length 0".to_owned());
        }
        match json.get("filters") {
            None | Some(Json::Null) => {}
            Some(Json::Array(filters)) if filters.is_empty() => {}
            Some(filters) => return Err(format!("its filters are {filters}; kymhost reads arrays without filters")),
        }
        let packing = match json.get("compressor") {
            None | Some(Json::Null) => Packing::Plain,
            Some(compressor) => match compressor.get("id").and_then(Json::as_str) {
                Some("blosc") => Packing::Blosc,
                Some("zlib") => Packing::Zlib,
                Some("gzip") => Packing::Gzip,
                Some("zstd") => Packing::Zstd,
                _ => return Err(format!("its compressor is {compressor}; kymhost reads blosc, zlib, gzip and zstd")),
            },
        };
        let fortran = match json.get("order").map(|order| (order, order.as_str())) {
            None | Some((_, Some("C"))) => false,
            Some((_, Some("F"))) => true,
            Some((other, _)) => return Err(format!("its order is {other}, expected \"C\" or \"F\"")),
        };
        let separator = match json.get("dimension_separator").map(|separator| (separator, separator.as_str())) {
            None | Some((Json::Null, _)) | Some((_, Some("."))) => '.',
            Some((_, Some("/"))) => '/',
            Some((other, _)) => return Err(format!("its dimension_separator is {other}, expected \".\" or \"/\"")),
        };
        let fill = parse_fill(json.get("fill_value").unwrap_or(&Json::Null), dtype)?;
        let layout = Self { shape, chunks, dtype, big_endian, fortran, packing, fill, separator };
        layout.check_bounds()?;
        Ok(layout)
    }

    /// Refuses what would not fit: every product is checked.
    fn check_bounds(&self) -> Result<(), String> {
        let size = self.dtype.size() as u64;
        let product = |lengths: &[usize], first: u64| {
            lengths.iter().try_fold(first, |product, &length| product.checked_mul(length as u64))
        };
        let bytes = product(&self.shape, size);
        if bytes.is_none_or(|bytes| bytes > MAX_ARRAY_BYTES) {
            return Err(format!(
                "its shape {:?} of {} is more than {MAX_ARRAY_BYTES} bytes, the most that kymhost takes",
                self.shape, self.dtype
            ));
        }
        if product(&self.chunks, size).is_none_or(|bytes| bytes > MAX_CHUNK_BYTES) {
            return Err(format!(
                "a chunk of {:?} {} is more than {MAX_CHUNK_BYTES} bytes, the most that kymhost takes",
                self.chunks, self.dtype
            ));
        }
        let chunks = self.grid().iter().try_fold(1u64, |product, &length| product.checked_mul(length as u64));
        if chunks.is_none_or(|chunks| chunks > MAX_CHUNKS) {
            return Err(format!("it has more than {MAX_CHUNKS} chunks, the most that kymhost takes"));
        }
        Ok(())
    }

    /// How many chunks there are along each axis.
    fn grid(&self) -> Vec<usize> {
        self.shape.iter().zip(&self.chunks).map(|(length, chunk)| length.div_ceil(*chunk)).collect()
    }

    fn chunk_bytes(&self) -> usize {
        self.chunks.iter().product::<usize>() * self.dtype.size()
    }

    fn array_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// Calls `each` with the name of every chunk that the array may have, in the order in which they are read.
    pub(super) fn each_chunk<E>(&self, each: &mut dyn FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let grid = self.grid();
        if grid.contains(&0) {
            return Ok(());
        }
        let mut index = vec![0usize; grid.len()];
        loop {
            each(&self.chunk_name(&index))?;
            if !advance(&mut index, &grid) {
                return Ok(());
            }
        }
    }

    /// A chunk's name below its array.
    fn chunk_name(&self, index: &[usize]) -> String {
        if index.is_empty() {
            return "0".to_owned();
        }
        let mut name = String::new();
        for (at, part) in index.iter().enumerate() {
            if at > 0 {
                name.push(self.separator);
            }
            name.push_str(&part.to_string());
        }
        name
    }

    /// Whether a file below the array is one of its chunks.
    pub(super) fn has_chunk(&self, name: &str) -> bool {
        let grid = self.grid();
        let parts: Vec<&str> = name.split(self.separator).collect();
        // Written as numbers are: `01` is no chunk.
        let number = |part: &&str| part.parse::<usize>().ok().filter(|number| number.to_string() == **part);
        match parts.iter().map(number).collect::<Option<Vec<usize>>>() {
            Some(index) if grid.is_empty() => index == [0],
            Some(index) => index.len() == grid.len() && index.iter().zip(&grid).all(|(at, length)| at < length),
            None => false,
        }
    }

    /// The array's codecs: what is left once zlib, gzip and zstd are unpacked by ourselves, within a bound.
    fn codecs(&self) -> Result<Codecs, String> {
        let compressor = match self.packing {
            Packing::Blosc => {
                serde_json::json!({"id": "blosc", "cname": "zstd", "clevel": 3, "shuffle": 2, "blocksize": 0})
            }
            _ => serde_json::Value::Null,
        };
        let metadata = serde_json::json!({
            "zarr_format": 2,
            "shape": self.shape,
            "chunks": self.chunks,
            "dtype": dtype_text(self.dtype, self.big_endian),
            "compressor": compressor,
            "fill_value": self.fill,
            "order": if self.fortran { "F" } else { "C" },
            "filters": null,
        });
        let metadata: zarrs::metadata::v2::ArrayMetadataV2 =
            serde_json::from_value(metadata).map_err(|error| error.to_string())?;
        let array = zarrs::array::Array::new_with_metadata(Arc::new(()), "/", metadata.into())
            .map_err(|error| error.to_string())?;
        let chunk_shape: Vec<NonZeroU64> =
            self.chunks.iter().filter_map(|&length| NonZeroU64::new(length as u64)).collect();
        // One thread: this runs in workers, of which there are as many as cores.
        let options = CodecOptions::default().with_concurrent_target(1);
        Ok(Codecs { array, chunk_shape, options })
    }

    /// Unpacks a chunk's file into what zarrs takes, checking that it is as long as the shape says.
    fn unpack<'a>(&self, packed: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let expected = self.chunk_bytes();
        let wrong = |found: usize| Err(format!("it holds {found} bytes, its .zarray says {expected}"));
        let read = |source: &mut dyn Read| {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(expected).map_err(|error| error.to_string())?;
            source.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            match bytes.len() {
                length if length == expected => Ok(Cow::Owned(bytes)),
                length if length > expected => Err(format!("it unpacks to more than the {expected} bytes of a chunk")),
                length => wrong(length),
            }
        };
        match self.packing {
            Packing::Plain if packed.len() == expected => Ok(Cow::Borrowed(packed)),
            Packing::Plain => wrong(packed.len()),
            Packing::Blosc => {
                let word = |at: usize| {
                    packed.get(at..at + 4).and_then(|b| b.try_into().ok()).map(|b| u32::from_le_bytes(b) as usize)
                };
                match (word(4), word(12)) {
                    (Some(bytes), Some(length)) if length == packed.len() => {
                        if bytes == expected {
                            Ok(Cow::Borrowed(packed))
                        } else {
                            wrong(bytes)
                        }
                    }
                    _ => Err(format!("its {} bytes are no whole Blosc chunk", packed.len())),
                }
            }
            Packing::Zlib => read(&mut ZlibDecoder::new(packed)),
            Packing::Gzip => read(&mut MultiGzDecoder::new(packed)),
            Packing::Zstd => {
                read(&mut zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| error.to_string())?)
            }
        }
    }

    /// What kymflow calls the axes of an array that does not say.
    pub(super) fn default_axes(rank: usize) -> Vec<String> {
        let known: &[&str] = match rank {
            2 => &["y", "x"],
            3 => &["z", "y", "x"],
            4 => &["z", "y", "x", "c"],
            5 => &["t", "z", "y", "x", "c"],
            _ => return (0..rank).map(|at| format!("a{at}")).collect(),
        };
        known.iter().map(|&axis| axis.to_owned()).collect()
    }
}

/// zarrs' codecs for one array.
struct Codecs {
    array: zarrs::array::Array<()>,
    chunk_shape: Vec<NonZeroU64>,
    options: CodecOptions,
}

impl Codecs {
    fn decode(&self, chunk: Cow<'_, [u8]>, expected: usize) -> Result<Vec<u8>, String> {
        let (dtype, fill) = (self.array.data_type(), self.array.fill_value());
        let decoded = self
            .array
            .codecs()
            .decode(chunk, &self.chunk_shape, dtype, fill, &self.options)
            .and_then(|bytes| Ok(bytes.into_fixed()?.into_owned()))
            .map_err(|error| error.to_string())?;
        if decoded.len() == expected {
            Ok(decoded)
        } else {
            Err(format!("it decodes to {} bytes, its .zarray says {expected}", decoded.len()))
        }
    }

    fn encode(&self, chunk: Vec<u8>) -> Result<Vec<u8>, String> {
        let (dtype, fill) = (self.array.data_type(), self.array.fill_value());
        self.array
            .codecs()
            .encode(ArrayBytes::new_flen(chunk), &self.chunk_shape, dtype, fill, &self.options)
            .map(Cow::into_owned)
            .map_err(|error| error.to_string())
    }
}

/// `<u2` and its like.
fn parse_dtype(json: &Json) -> Result<(DType, bool), String> {
    let unknown = || format!("its dtype is {json}; kymhost reads bool, int, uint, float and complex numbers");
    let text = json.as_str().ok_or_else(unknown)?;
    let (order, code) = text.split_at_checked(1).ok_or_else(unknown)?;
    let dtype = DType::ALL.iter().copied().find(|&dtype| dtype_code(dtype) == code).ok_or_else(unknown)?;
    match order {
        "<" => Ok((dtype, false)),
        ">" => Ok((dtype, true)),
        "|" if dtype.size() == 1 => Ok((dtype, false)),
        _ => Err(unknown()),
    }
}

fn dtype_code(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "b1",
        DType::Int8 => "i1",
        DType::Int16 => "i2",
        DType::Int32 => "i4",
        DType::Int64 => "i8",
        DType::UInt8 => "u1",
        DType::UInt16 => "u2",
        DType::UInt32 => "u4",
        DType::UInt64 => "u8",
        DType::Float16 => "f2",
        DType::Float32 => "f4",
        DType::Float64 => "f8",
        DType::Complex64 => "c8",
        DType::Complex128 => "c16",
        _ => "",
    }
}

fn dtype_text(dtype: DType, big_endian: bool) -> String {
    let order = match (dtype.size(), big_endian) {
        (1, _) => '|',
        (_, true) => '>',
        (_, false) => '<',
    };
    format!("{order}{}", dtype_code(dtype))
}

fn parse_lengths(json: &Json, what: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("its {what} is {json}, expected a list of lengths");
    let items = json.as_array().ok_or_else(wrong)?;
    if items.len() > MAX_RANK {
        return Err(format!("its {what} has {} dimensions; kymhost takes up to {MAX_RANK}", items.len()));
    }
    items.iter().map(|item| item.as_i64().and_then(|length| usize::try_from(length).ok()).ok_or_else(wrong)).collect()
}

/// A fill value as zarrs takes it. `null` leaves missing chunks undefined: zero, as kymflow would mostly see.
fn parse_fill(json: &Json, dtype: DType) -> Result<serde_json::Value, String> {
    use serde_json::Value;
    let wrong = || format!("its fill_value {json} is no {dtype}");
    let float = |json: &Json| -> Result<Value, String> {
        let value = match json.as_str() {
            Some("NaN") => f64::NAN,
            Some("Infinity") => f64::INFINITY,
            Some("-Infinity") => f64::NEG_INFINITY,
            Some(_) => return Err(wrong()),
            None => json.as_f64().ok_or_else(wrong)?,
        };
        Ok(if value.is_nan() {
            "NaN".into()
        } else if value.is_infinite() {
            if value > 0.0 { "Infinity".into() } else { "-Infinity".into() }
        } else {
            value.into()
        })
    };
    match dtype {
        DType::Bool => match json {
            Json::Null => Ok(false.into()),
            Json::Bool(value) => Ok((*value).into()),
            _ => match json.as_i64() {
                Some(value @ (0 | 1)) => Ok((value == 1).into()),
                _ => Err(wrong()),
            },
        },
        DType::Float16 | DType::Float32 | DType::Float64 => match json {
            Json::Null => Ok(0.0.into()),
            other => float(other),
        },
        DType::Complex64 | DType::Complex128 => match json {
            Json::Null => Ok(vec![0.0, 0.0].into()),
            Json::Array(parts) => match parts.as_slice() {
                [real, imaginary] => Ok(vec![float(real)?, float(imaginary)?].into()),
                _ => Err(wrong()),
            },
            other => Ok(vec![float(other)?, 0.0.into()].into()),
        },
        _ => match json {
            Json::Null => Ok(0.into()),
            Json::Int(value) => {
                value.as_i64().map(Value::from).or_else(|| value.as_u64().map(Value::from)).ok_or_else(wrong)
            }
            // Written where an integer array was given a float to fill with.
            Json::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Ok((*value as i64).into()),
            _ => Err(wrong()),
        },
    }
}

/// Steps through an N-d index, last axis fastest; `false` after the last one.
fn advance(index: &mut [usize], lengths: &[usize]) -> bool {
    for (at, length) in index.iter_mut().zip(lengths).rev() {
        *at += 1;
        if *at < *length {
            return true;
        }
        *at = 0;
    }
    false
}

/// Which way a block is copied between a chunk and its array.
enum Copying<'a> {
    IntoArray { array: &'a mut [u8], chunk: &'a [u8] },
    IntoChunk { array: &'a [u8], chunk: &'a mut [u8] },
}

/// Copies the part of a chunk that lies within its array, row by row.
fn copy_block(layout: &Layout, index: &[usize], mut copying: Copying<'_>) -> Result<(), String> {
    let size = layout.dtype.size();
    let outside = || "a chunk lies outside its array".to_owned();
    let rank = layout.shape.len();
    if rank == 0 {
        match &mut copying {
            Copying::IntoArray { array, chunk } => array.copy_from_slice(chunk),
            Copying::IntoChunk { array, chunk } => chunk.copy_from_slice(array),
        }
        return Ok(());
    }
    let origin: Vec<usize> = index.iter().zip(&layout.chunks).map(|(index, chunk)| index * chunk).collect();
    let mut extent = Vec::with_capacity(rank);
    for ((length, chunk), start) in layout.shape.iter().zip(&layout.chunks).zip(&origin) {
        extent.push(length.checked_sub(*start).ok_or_else(outside)?.min(*chunk));
    }
    if extent.contains(&0) {
        return Ok(());
    }
    let (rows, row) = (&extent[..rank - 1], extent[rank - 1] * size);
    let mut at = vec![0usize; rank - 1];
    loop {
        let (mut in_array, mut in_chunk) = (0usize, 0usize);
        for (axis, start) in origin.iter().enumerate() {
            let below = at.get(axis).copied().unwrap_or(0);
            in_array = in_array * layout.shape[axis] + start + below;
            in_chunk = in_chunk * layout.chunks[axis] + below;
        }
        let (in_array, in_chunk) = (in_array * size, in_chunk * size);
        match &mut copying {
            Copying::IntoArray { array, chunk } => array
                .get_mut(in_array..in_array + row)
                .zip(chunk.get(in_chunk..in_chunk + row))
                .ok_or_else(outside)
                .map(|(to, from)| to.copy_from_slice(from))?,
            Copying::IntoChunk { array, chunk } => chunk
                .get_mut(in_chunk..in_chunk + row)
                .zip(array.get(in_array..in_array + row))
                .ok_or_else(outside)
                .map(|(to, from)| to.copy_from_slice(from))?,
        }
        if !advance(&mut at, rows) {
            return Ok(());
        }
    }
}

/// A whole array: `data` below a group, whose attributes name its axes. `None` where there is none.
pub(super) fn read(store: &dyn Store, group: &Key) -> Result<Option<Array>, DatasetError> {
    let data = group.join(DATA)?;
    let Some(layout) = read_layout(store, &data)? else { return Ok(None) };
    let axes = axes(store, group, layout.shape.len())?;
    let bytes = read_chunks(store, &data, &layout)?;
    Array::new(layout.dtype, layout.shape, axes, bytes)
        .map(Some)
        .map_err(|error| unreadable(store, &data, "an array", error.message()))
}

/// An array's `.zarray`; `None` where there is none.
pub(super) fn read_layout(store: &dyn Store, data: &Key) -> Result<Option<Layout>, DatasetError> {
    let key = data.join(ARRAY)?;
    let Some(text) = store.get(&key, MAX_LAYOUT_BYTES)? else { return Ok(None) };
    Layout::parse(&text).map(Some).map_err(|found| unreadable(store, &key, "Zarr v2 array metadata", found))
}

/// The axes that a group's attributes name, or the defaults where they do not name one for each dimension.
pub(super) fn axes(store: &dyn Store, group: &Key, rank: usize) -> Result<Vec<String>, DatasetError> {
    let attributes = attributes::read(store, group)?;
    let named: Option<Vec<String>> = attributes
        .get("axes")
        .and_then(Json::as_array)
        .map(|axes| axes.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    Ok(named.filter(|axes| axes.len() == rank).unwrap_or_else(|| Layout::default_axes(rank)))
}

fn read_chunks(store: &dyn Store, data: &Key, layout: &Layout) -> Result<Vec<u8>, DatasetError> {
    let broken = |found: String| unreadable(store, data, "an array", found);
    let codecs = guarded(|| layout.codecs()).map_err(broken)?;
    let mut array: Vec<u8> = Vec::new();
    // What is not there is an error here, where an allocation that fails would end the process.
    array.try_reserve_exact(layout.array_bytes()).map_err(|error| broken(error.to_string()))?;
    fill(&mut array, codecs.array.fill_value().as_ne_bytes(), layout.array_bytes());

    let grid = layout.grid();
    if grid.contains(&0) {
        return Ok(array);
    }
    let chunk_bytes = layout.chunk_bytes();
    // Packing may lengthen what cannot be packed, by a little.
    let limit = (chunk_bytes as u64).saturating_mul(3) / 2 + (64 << 10);
    let mut index = vec![0usize; grid.len()];
    loop {
        let key = data.join(&layout.chunk_name(&index))?;
        if let Some(packed) = store.get(&key, limit)? {
            guarded(|| {
                let chunk = codecs.decode(layout.unpack(&packed)?, chunk_bytes)?;
                copy_block(layout, &index, Copying::IntoArray { array: &mut array, chunk: &chunk })
            })
            .map_err(|found| unreadable(store, &key, "a chunk", found))?;
        }
        if !advance(&mut index, &grid) {
            break;
        }
    }
    if layout.dtype == DType::Bool {
        array.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok(array)
}

/// Fills an empty buffer with copies of one element.
fn fill(array: &mut Vec<u8>, element: &[u8], length: usize) {
    if element.iter().all(|&byte| byte == 0) {
        array.resize(length, 0);
    } else {
        while array.len() + element.len() <= length {
            array.extend_from_slice(element);
        }
    }
}

/// Whether kymflow would take these as an image's pixels.
pub(super) fn check_pixels(array: &Array) -> Result<(), String> {
    let dtypes = [DType::UInt8, DType::UInt16, DType::Int16, DType::Float32, DType::Float64];
    if !dtypes.contains(&array.dtype()) {
        return Err(format!("pixels are uint8, uint16, int16, float32 or float64, not {}", array.dtype()));
    }
    if !(2..=5).contains(&array.shape().len()) {
        return Err(format!("pixels have 2 to 5 dimensions, not {}", array.shape().len()));
    }
    Ok(())
}

/// The items that write an array as kymflow does: its chunks, then its `.zarray`.
pub(super) fn encode(data: &Key, array: &Array, chunks: Option<&[usize]>) -> Result<Vec<(Key, Vec<u8>)>, String> {
    let layout = layout_of(array, chunks)?;
    guarded(|| encode_layout(data, &layout, array))
}

/// How an array is kept; an error where it cannot be.
pub(super) fn layout_of(array: &Array, chunks: Option<&[usize]>) -> Result<Layout, String> {
    let chunks = match chunks {
        Some(chunks) if chunks.len() != array.shape().len() => {
            return Err(format!("chunks of {} dimensions for an array of {}", chunks.len(), array.shape().len()));
        }
        Some(chunks) if chunks.contains(&0) => return Err("a chunk cannot have length 0".to_owned()),
        // As zarr does: no chunk is longer than its array.
        Some(chunks) => chunks.iter().zip(array.shape()).map(|(&chunk, &length)| chunk.min(length).max(1)).collect(),
        None => default_chunks(array.shape(), array.axes()),
    };
    let layout = Layout {
        shape: array.shape().to_vec(),
        chunks,
        dtype: array.dtype(),
        big_endian: false,
        fortran: false,
        packing: Packing::Blosc,
        fill: parse_fill(&Json::Null, array.dtype())?,
        separator: '.',
    };
    layout.check_bounds()?;
    Ok(layout)
}

fn encode_layout(data: &Key, layout: &Layout, array: &Array) -> Result<Vec<(Key, Vec<u8>)>, String> {
    let codecs = layout.codecs()?;
    let grid = layout.grid();
    let mut items = Vec::new();
    let mut index = vec![0usize; grid.len()];
    while !grid.contains(&0) {
        let mut chunk = vec![0u8; layout.chunk_bytes()];
        copy_block(layout, &index, Copying::IntoChunk { array: array.bytes(), chunk: &mut chunk })?;
        let key = data.join(&layout.chunk_name(&index)).map_err(|error| error.to_string())?;
        items.push((key, codecs.encode(chunk)?));
        if !advance(&mut index, &grid) {
            break;
        }
    }
    let key = data.join(ARRAY).map_err(|error| error.to_string())?;
    items.push((key, layout_text(layout).into_bytes()));
    Ok(items)
}

/// kymflow's chunks: one plane along t, z and c, else at most 512.
fn default_chunks(shape: &[usize], axes: &[String]) -> Vec<usize> {
    shape
        .iter()
        .zip(axes)
        .map(|(&length, axis)| if SINGLE.contains(&axis.as_str()) { 1 } else { length.clamp(1, DEFAULT_CHUNK) })
        .collect()
}

/// The `.zarray` that kymflow's zarr writes for such an array.
fn layout_text(layout: &Layout) -> String {
    let lengths = |lengths: &[usize]| lengths.iter().copied().collect::<Json>();
    let mut compressor = Object::new();
    for (name, value) in [("blocksize", 0), ("clevel", 3)] {
        compressor.insert(name.to_owned(), value.into());
    }
    compressor.insert("cname".to_owned(), "zstd".into());
    compressor.insert("id".to_owned(), "blosc".into());
    compressor.insert("shuffle".to_owned(), 2.into());
    let fill = match layout.dtype {
        DType::Bool => false.into(),
        DType::Float16 | DType::Float32 | DType::Float64 => 0.0f64.into(),
        DType::Complex64 | DType::Complex128 => vec![0.0f64, 0.0].into(),
        _ => 0.into(),
    };
    Json::object([
        ("chunks", lengths(&layout.chunks)),
        ("compressor", Json::Object(compressor)),
        ("dtype", dtype_text(layout.dtype, layout.big_endian).into()),
        ("fill_value", fill),
        ("filters", Json::Null),
        ("order", "C".into()),
        ("shape", lengths(&layout.shape)),
        ("zarr_format", 2.into()),
    ])
    .to_file_text()
}

#[cfg(test)]
mod tests;
