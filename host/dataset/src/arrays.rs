//! Pixels and array artifacts: Zarr v2 arrays, decoded and encoded by zarrs.
//!
//! Chunks are fetched through the store (so no link leads out) and unpacked within the size that their shape allows.
//! Only then zarrs sees them: it knows byte orders, memory orders and Blosc. A panic of zarrs becomes an error.
//! Never touches groups.

use crate::array_layout::{Layout, Packing, advance, layout_of, layout_text};
use crate::attributes;
use crate::dtype::dtype_text;
use crate::error::{DatasetError, unreadable};
use crate::limits::MAX_LAYOUT_BYTES;
use crate::missing_chunks::{self, MissingChunks};
use crate::names::{ARRAY, DATA};
use crate::tables::guarded;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_store::{Key, Store, StoredFile};
use rayon::ThreadPoolBuilder;
use std::borrow::Cow;
use std::io::{self, BufReader, Read};
use std::num::NonZeroU64;
use std::sync::Arc;
use zarrs::array::{ArrayBytes, ArrayToBytesCodecTraits, CodecOptions};

thread_local! {
    /// zarrs asks rayon how many threads it has. That would start as many as there are cores, for nothing, and fail
    /// where the system gives none. So rayon has the calling thread alone.
    static ALONE: () = if let Ok(pool) = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        std::mem::forget(pool);
    };
}

/// An array of so many bytes is read without looking for all its chunks first.
const UNSURVEYED_BYTES: u64 = 64 << 20;
/// A longer chunk is checked without unpacking it in memory.
const MAX_CHECKED_BYTES: u64 = 64 << 20;
/// What a Blosc chunk begins with.
const BLOSC_HEAD_BYTES: u64 = 16;

impl Layout {
    /// The most bytes that a chunk's file is read of. Packing may lengthen what cannot be packed, by a little.
    fn packed_limit(&self) -> u64 {
        (self.chunk_bytes() as u64).saturating_mul(3) / 2 + (64 << 10)
    }

    /// The array's codecs, without zlib, gzip and zstd: kymhost unpacks those itself, within a limit.
    fn codecs(&self) -> Result<Codecs, String> {
        ALONE.with(|()| ());
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
            Packing::Blosc => match blosc_length(packed, packed.len() as u64) {
                Some(bytes) if bytes == expected => Ok(Cow::Borrowed(packed)),
                Some(bytes) => wrong(bytes),
                None => Err(format!("its {} bytes are not a whole Blosc chunk", packed.len())),
            },
            Packing::Zlib => read(&mut ZlibDecoder::new(packed)),
            Packing::Gzip => read(&mut MultiGzDecoder::new(packed)),
            Packing::Zstd => {
                read(&mut zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| error.to_string())?)
            }
        }
    }
}

/// The unpacked length that a Blosc chunk's head claims; `None` if the file of this length is not a whole chunk.
fn blosc_length(head: &[u8], file_length: u64) -> Option<usize> {
    let word = |at: usize| head.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    (word(12).map(u64::from) == Some(file_length)).then(|| word(4).map(|length| length as usize)).flatten()
}

/// Checks a chunk that is too long to be unpacked in memory: its length alone, and for Blosc only what its head claims.
fn check_long_chunk(layout: &Layout, file: &mut dyn StoredFile) -> Result<(), String> {
    let expected = layout.chunk_bytes() as u64;
    let stored = file.stat().size;
    let count = |source: &mut dyn Read| io::copy(&mut source.take(expected + 1), &mut io::sink());
    let file = BufReader::new(file);
    let found = match layout.packing {
        Packing::Plain => Ok(stored),
        Packing::Blosc => {
            let mut head = Vec::new();
            file.take(BLOSC_HEAD_BYTES).read_to_end(&mut head).map_err(|error| error.to_string())?;
            let length = blosc_length(&head, stored);
            Ok(length.ok_or_else(|| format!("its {stored} bytes are not a whole Blosc chunk"))? as u64)
        }
        Packing::Zlib => count(&mut ZlibDecoder::new(file)),
        Packing::Gzip => count(&mut MultiGzDecoder::new(file)),
        Packing::Zstd => zstd::stream::read::Decoder::with_buffer(file).and_then(|mut source| count(&mut source)),
    };
    match found.map_err(|error| error.to_string())? {
        length if length == expected => Ok(()),
        length if length > expected => Err(format!("it unpacks to more than the {expected} bytes of a chunk")),
        length => Err(format!("it holds {length} bytes, its .zarray says {expected}")),
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

/// A whole array: `data` below a group, whose attributes name its axes. `None` if there is none. `unwatched` is the
/// store without a watch: missing chunks are looked for there.
pub(crate) fn read(
    store: &dyn Store,
    unwatched: &dyn Store,
    group: &Key,
    policy: MissingChunks,
) -> Result<Option<Array>, DatasetError> {
    let data = group.join(DATA)?;
    let Some(layout) = read_layout(store, &data)? else { return Ok(None) };
    let axes = axes(store, group, layout.shape.len())?;
    if layout.array_bytes() as u64 > UNSURVEYED_BYTES {
        missing_chunks::check_claim(unwatched, &data, &layout, policy)?;
    }
    let bytes = read_chunks(store, unwatched, &data, &layout, policy)?;
    Array::new(layout.dtype, layout.shape, axes, bytes)
        .map(Some)
        .map_err(|error| unreadable(store, &data, "an array", error.message()))
}

/// An array's `.zarray`; `None` if there is none.
pub(crate) fn read_layout(store: &dyn Store, data: &Key) -> Result<Option<Layout>, DatasetError> {
    let key = data.join(ARRAY)?;
    let Some(text) = store.get(&key, MAX_LAYOUT_BYTES)? else { return Ok(None) };
    Layout::parse(&text).map(Some).map_err(|found| unreadable(store, &key, "Zarr v2 array metadata", found))
}

/// The axes that a group's attributes name, or the defaults if they do not name one per dimension.
pub(crate) fn axes(store: &dyn Store, group: &Key, rank: usize) -> Result<Vec<String>, DatasetError> {
    let attributes = attributes::read(store, group)?;
    let named: Option<Vec<String>> = attributes
        .get("axes")
        .and_then(Json::as_array)
        .map(|axes| axes.iter().filter_map(Json::as_str).map(str::to_owned).collect());
    Ok(named.filter(|axes| axes.len() == rank).unwrap_or_else(|| Layout::default_axes(rank)))
}

fn read_chunks(
    store: &dyn Store,
    unwatched: &dyn Store,
    data: &Key,
    layout: &Layout,
    policy: MissingChunks,
) -> Result<Vec<u8>, DatasetError> {
    let broken = |found: String| unreadable(store, data, "an array", found);
    let codecs = guarded(|| layout.codecs()).map_err(broken)?;
    let mut array: Vec<u8> = Vec::new();
    // Too little memory is an error here; a failed allocation would end the process.
    array.try_reserve_exact(layout.array_bytes()).map_err(|error| broken(error.to_string()))?;
    fill(&mut array, codecs.array.fill_value().as_ne_bytes(), layout.array_bytes());

    let grid = layout.grid();
    if grid.contains(&0) {
        return Ok(array);
    }
    let chunk_bytes = layout.chunk_bytes();
    let mut may_miss = policy == MissingChunks::Filled;
    let mut index = vec![0usize; grid.len()];
    loop {
        let key = data.join(&layout.chunk_name(&index))?;
        let packed = store.get(&key, layout.packed_limit())?;
        if packed.is_none() && !may_miss {
            // Once for all of them.
            missing_chunks::check(unwatched, data, layout, policy)?;
            may_miss = true;
        }
        if let Some(packed) = packed {
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

/// Checks that an array can be read, in the memory of one chunk.
pub(crate) fn check(store: &dyn Store, data: &Key, layout: &Layout, policy: MissingChunks) -> Result<(), DatasetError> {
    missing_chunks::check(store, data, layout, policy)?;
    let codecs = guarded(|| layout.codecs()).map_err(|found| unreadable(store, data, "an array", found))?;
    let chunk_bytes = layout.chunk_bytes();
    layout.each_chunk(&mut |name| {
        let key = data.join(name)?;
        let checked = if chunk_bytes as u64 > MAX_CHECKED_BYTES {
            let Some(mut file) = store.open(&key)? else { return Ok(()) };
            guarded(|| check_long_chunk(layout, &mut *file))
        } else {
            let Some(packed) = store.get(&key, layout.packed_limit())? else { return Ok(()) };
            guarded(|| codecs.decode(layout.unpack(&packed)?, chunk_bytes).map(drop))
        };
        checked.map_err(|found| unreadable(store, &key, "a chunk", found))
    })
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

/// Removes an array's data, all at once: a reader sees the old array, none, or the new one. If it is a link, the link
/// goes, and what it leads to stays. (On a disk of its own the files go one by one, `.zarray` first by its name.)
pub(crate) fn remove(store: &dyn Store, data: &Key) -> Result<(), DatasetError> {
    store.delete_tree(data)?;
    Ok(())
}

/// Whether kymflow would take these as an image's pixels.
pub(crate) fn check_pixels(array: &Array) -> Result<(), String> {
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
pub(crate) fn encode(data: &Key, array: &Array, chunks: Option<&[usize]>) -> Result<Vec<(Key, Vec<u8>)>, String> {
    let layout = layout_of(array, chunks)?;
    guarded(|| encode_layout(data, &layout, array))
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

#[cfg(test)]
mod tests;
