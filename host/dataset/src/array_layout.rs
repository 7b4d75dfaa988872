//! `.zarray` files: how an array is cut into chunks and packed.
//!
//! Every length that a `.zarray` claims is checked here, before anything is allocated for it.

use crate::dtype::{dtype_text, parse_dtype};
use crate::limits::{MAX_ARRAY_BYTES, MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_SMALL_VALUE_BYTES};
use kymhost_plugin_api::Json;
use kymhost_plugin_api::array::{Array, DType};
use kymhost_plugin_api::json::Object;

/// The most dimensions (numpy's bound).
const MAX_RANK: usize = 32;

/// A chunk's length along an axis by default; 1 along those of [`SINGLE`].
const DEFAULT_CHUNK: usize = 512;

/// Axes along which a chunk holds one plane.
const SINGLE: [&str; 3] = ["t", "z", "c"];

/// How chunks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Blosc,
    Zlib,
    Gzip,
    Zstd,
}

/// What a `.zarray` says, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    pub(crate) shape: Vec<usize>,
    pub(crate) chunks: Vec<usize>,
    pub(crate) dtype: DType,
    pub(crate) big_endian: bool,
    pub(crate) fortran: bool,
    pub(crate) packing: Packing,
    /// As zarrs takes it.
    pub(crate) fill: serde_json::Value,
    pub(crate) separator: char,
}

impl Layout {
    /// Reads a `.zarray`.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let json = Json::parse_within(text, MAX_SMALL_VALUE_BYTES).map_err(|error| error.to_string())?;
        let member = |name: &str| json.get(name).ok_or_else(|| format!("it has no '{name}'"));
        match member("zarr_format")?.as_i64() {
            Some(2) => {}
            _ => return Err(format!("its zarr_format is {}, expected 2", member("zarr_format")?)),
        }
        let dtype = member("dtype")?;
        let (dtype, big_endian) = dtype
            .as_str()
            .and_then(parse_dtype)
            .ok_or_else(|| format!("its dtype is {dtype}; kymhost reads bool, int, uint, float and complex numbers"))?;
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
                "its shape {:?} of {} is more than {MAX_ARRAY_BYTES} bytes, kymhost's limit",
                self.shape, self.dtype
            ));
        }
        if product(&self.chunks, size).is_none_or(|bytes| bytes > MAX_CHUNK_BYTES) {
            return Err(format!(
                "a chunk of {:?} {} is more than {MAX_CHUNK_BYTES} bytes, kymhost's limit",
                self.chunks, self.dtype
            ));
        }
        let chunks = self.grid().iter().try_fold(1u64, |product, &length| product.checked_mul(length as u64));
        if chunks.is_none_or(|chunks| chunks > MAX_CHUNKS) {
            return Err(format!("it has more than {MAX_CHUNKS} chunks, kymhost's limit"));
        }
        Ok(())
    }

    /// How many chunks there are along each axis.
    pub(crate) fn grid(&self) -> Vec<usize> {
        self.shape.iter().zip(&self.chunks).map(|(length, chunk)| length.div_ceil(*chunk)).collect()
    }

    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunks.iter().product::<usize>() * self.dtype.size()
    }

    pub(crate) fn array_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// How many chunks the array may have.
    pub(crate) fn chunk_count(&self) -> u64 {
        self.grid().iter().product::<usize>() as u64
    }

    /// The most that a chunk's file of this length can unpack to.
    pub(crate) fn most_unpacked(&self, packed: u64) -> u64 {
        // Deflate repeats at most 258 bytes with 2 bits. A ZSTD block makes at most 128 KiB of 4 bytes; Blosc packs
        // with ZSTD, or with codecs that pack less.
        let ratio = match self.packing {
            Packing::Plain => 1,
            Packing::Zlib | Packing::Gzip => 1032,
            Packing::Blosc | Packing::Zstd => 32 << 10,
        };
        packed.saturating_mul(ratio).min(self.chunk_bytes() as u64)
    }

    /// Calls `each` with the name of every chunk that the array may have, in the order in which they are read.
    pub(crate) fn each_chunk<E>(&self, each: &mut dyn FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        self.each_index(&mut |index| each(&self.chunk_name(index)))
    }

    /// Calls `each` with the index of every chunk that the array may have, in the order in which they are read.
    pub(crate) fn each_index<E>(&self, each: &mut dyn FnMut(&[usize]) -> Result<(), E>) -> Result<(), E> {
        let grid = self.grid();
        if grid.contains(&0) {
            return Ok(());
        }
        let mut index = vec![0usize; grid.len()];
        loop {
            each(&index)?;
            if !advance(&mut index, &grid) {
                return Ok(());
            }
        }
    }

    /// A chunk's name below its array.
    pub(crate) fn chunk_name(&self, index: &[usize]) -> String {
        name_with(self.separator, index)
    }

    /// The name that a chunk would have with the other separator.
    pub(crate) fn misnamed(&self, index: &[usize]) -> String {
        name_with(if self.separator == '.' { '/' } else { '.' }, index)
    }

    /// Whether a file below the array is one of its chunks.
    pub(crate) fn has_chunk(&self, name: &str) -> bool {
        let grid = self.grid();
        let parts: Vec<&str> = name.split(self.separator).collect();
        // Written as numbers are: `01` is not a chunk.
        let number = |part: &&str| part.parse::<usize>().ok().filter(|number| number.to_string() == **part);
        match parts.iter().map(number).collect::<Option<Vec<usize>>>() {
            Some(index) if grid.is_empty() => index == [0],
            Some(index) => index.len() == grid.len() && index.iter().zip(&grid).all(|(at, length)| at < length),
            None => false,
        }
    }

    /// What kymflow calls the axes of an array that does not say.
    pub(crate) fn default_axes(rank: usize) -> Vec<String> {
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

fn name_with(separator: char, index: &[usize]) -> String {
    if index.is_empty() {
        return "0".to_owned();
    }
    let mut name = String::new();
    for (at, part) in index.iter().enumerate() {
        if at > 0 {
            name.push(separator);
        }
        name.push_str(&part.to_string());
    }
    name
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
    let wrong = || format!("its fill_value {json} is not a {dtype}");
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
            // zarr writes this if an integer array got a float as its fill value.
            Json::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Ok((*value as i64).into()),
            _ => Err(wrong()),
        },
    }
}

/// Steps through an N-d index, last axis fastest; `false` after the last one.
pub(crate) fn advance(index: &mut [usize], lengths: &[usize]) -> bool {
    for (at, length) in index.iter_mut().zip(lengths).rev() {
        *at += 1;
        if *at < *length {
            return true;
        }
        *at = 0;
    }
    false
}

/// How an array is kept; an error if it cannot be.
pub(crate) fn layout_of(array: &Array, chunks: Option<&[usize]>) -> Result<Layout, String> {
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

/// kymflow's chunks: one plane along t, z and c, else at most 512.
fn default_chunks(shape: &[usize], axes: &[String]) -> Vec<usize> {
    shape
        .iter()
        .zip(axes)
        .map(|(&length, axis)| if SINGLE.contains(&axis.as_str()) { 1 } else { length.clamp(1, DEFAULT_CHUNK) })
        .collect()
}

/// The `.zarray` that kymflow's zarr writes for such an array.
pub(crate) fn layout_text(layout: &Layout) -> String {
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
