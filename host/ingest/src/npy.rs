//! NPY files, numpy's own form of one array: versions 1 to 3, C and Fortran order, either byte order.

use kymhost_dataset::limits::MAX_ARRAY_BYTES;
use kymhost_dataset::{dtype_text, parse_dtype};
use kymhost_plugin_api::array::{Array, DType};

const MAGIC: &[u8] = b"\x93NUMPY";
/// The most bytes of a header; numpy itself refuses longer ones.
const MAX_HEADER: usize = 10_000;
/// The most dimensions (numpy's bound).
const MAX_RANK: usize = 32;

/// An array without names for its axes.
#[derive(Debug, PartialEq)]
pub struct Npy {
    /// The type of an element.
    pub dtype: DType,
    /// Lengths, slowest axis first.
    pub shape: Vec<usize>,
    /// The elements in C order and native byte order.
    pub bytes: Vec<u8>,
}

/// What a header says.
#[derive(Debug)]
struct NpyHeader {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

/// Reads a file's bytes.
pub fn parse(file: &[u8]) -> Result<Npy, String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it does not begin as an NPY file does")?;
    let (&[major, _], rest) = rest.split_first_chunk::<2>().ok_or("it ends within its magic and version")?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_le_bytes(*length)), rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length) as usize, rest)),
        other => return Err(format!("its version is {other}; kymhost reads 1 to 3")),
    }
    .ok_or("it ends within its magic and version")?;
    if length > MAX_HEADER {
        return Err(format!("its header has {length} bytes, more than {MAX_HEADER}"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or("it ends within its header")?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is not text")?;
    let described = describe(header)?;
    let expected = described
        .shape
        .iter()
        .try_fold(described.dtype.size(), |product, &length| product.checked_mul(length))
        .filter(|&bytes| bytes as u64 <= MAX_ARRAY_BYTES)
        .ok_or_else(|| format!("its shape {:?} of {} is more than kymhost takes", described.shape, described.dtype))?;
    if data.len() != expected {
        return Err(format!("it holds {} bytes, its header says {expected}", data.len()));
    }
    let mut bytes = if described.fortran { transposed(data, &described)? } else { copied(data)? };
    if described.big_endian {
        swap(&mut bytes, described.dtype);
    }
    if described.dtype == DType::Bool {
        bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok(Npy { dtype: described.dtype, shape: described.shape, bytes })
}

fn copied(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(data.len()).map_err(|error| error.to_string())?;
    bytes.extend_from_slice(data);
    Ok(bytes)
}

/// The header: a Python dictionary with `descr`, `fortran_order` and `shape`.
fn describe(header: &str) -> Result<NpyHeader, String> {
    let mut reader = Reader { rest: header };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    reader.expect('{')?;
    while !reader.take('}') {
        let key = reader.text()?;
        reader.expect(':')?;
        match key.as_str() {
            "descr" if reader.peek() == Some('[') => {
                return Err("it holds records of several fields; kymhost reads plain arrays".to_owned());
            }
            "descr" => descr = Some(reader.text()?),
            "fortran_order" => fortran = Some(reader.word()?),
            "shape" => shape = Some(reader.lengths()?),
            other => return Err(format!("its header has an unknown key '{other}'")),
        }
        if !reader.take(',') {
            reader.expect('}')?;
            break;
        }
    }
    let descr = descr.ok_or("its header has no 'descr'")?;
    let fortran = match fortran.ok_or("its header has no 'fortran_order'")?.as_str() {
        "True" => true,
        "False" => false,
        other => return Err(format!("its fortran_order is {other}")),
    };
    let (dtype, big_endian) = dtype(&descr).ok_or_else(|| {
        format!("its elements are '{descr}'; kymhost reads bool, int, uint, float and complex numbers")
    })?;
    Ok(NpyHeader { dtype, big_endian, fortran, shape: shape.ok_or("its header has no 'shape'")? })
}

/// The few forms of Python that a header is made of.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = self.rest.get(wanted.len_utf8()..).unwrap_or_default();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.take(wanted) { Ok(()) } else { Err(format!("its header lacks an expected '{wanted}'")) }
    }

    fn text(&mut self) -> Result<String, String> {
        let quote = self.peek().filter(|c| matches!(c, '\'' | '"')).ok_or("its header lacks a text")?;
        self.take(quote);
        let (text, rest) = self.rest.split_once(quote).ok_or("its header has a text without an end")?;
        self.rest = rest;
        Ok(text.to_owned())
    }

    fn word(&mut self) -> Result<String, String> {
        self.peek();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() { Err("its header lacks a word".to_owned()) } else { Ok(word.to_owned()) }
    }

    fn lengths(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut lengths = Vec::new();
        while !self.take(')') {
            let word = self.word()?;
            // Python 2 wrote long numbers as `3L`.
            let digits = word.strip_suffix('L').unwrap_or(&word);
            lengths.push(digits.parse().map_err(|_| format!("its shape has '{word}'"))?);
            if lengths.len() > MAX_RANK {
                return Err(format!("it has more than {MAX_RANK} dimensions"));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(lengths)
    }
}

/// As `.zarray` files name it; numpy also writes `=` for the order of its own machine.
fn dtype(descr: &str) -> Option<(DType, bool)> {
    match descr.strip_prefix('=') {
        Some(code) => parse_dtype(&format!("<{code}")).map(|(dtype, _)| (dtype, cfg!(target_endian = "big"))),
        None => parse_dtype(descr),
    }
}

/// From the first axis fastest to the last axis fastest.
fn transposed(data: &[u8], described: &NpyHeader) -> Result<Vec<u8>, String> {
    let size = described.dtype.size();
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(data.len()).map_err(|error| error.to_string())?;
    if data.is_empty() {
        return Ok(bytes);
    }
    let shape = &described.shape;
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1usize;
    for length in shape {
        strides.push(stride);
        stride *= length;
    }
    let mut index = vec![0usize; shape.len()];
    loop {
        let at = index.iter().zip(&strides).map(|(index, stride)| index * stride).sum::<usize>() * size;
        bytes.extend_from_slice(data.get(at..at + size).unwrap_or_default());
        let stepped = index.iter_mut().zip(shape).rev().any(|(at, length)| {
            *at += 1;
            let within = *at < *length;
            if !within {
                *at = 0;
            }
            within
        });
        if !stepped {
            return Ok(bytes);
        }
    }
}

/// Turns the bytes of each number round.
fn swap(bytes: &mut [u8], dtype: DType) {
    let part = match dtype {
        DType::Complex64 | DType::Complex128 => dtype.size() / 2,
        _ => dtype.size(),
    };
    bytes.chunks_exact_mut(part).for_each(<[u8]>::reverse);
}

/// An array as a file of version 1, C order.
pub fn write(array: &Array) -> Vec<u8> {
    let lengths: Vec<String> = array.shape().iter().map(usize::to_string).collect();
    let shape = match lengths.as_slice() {
        [one] => format!("({one},)"),
        several => format!("({})", several.join(", ")),
    };
    let mut header = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}",
        dtype_text(array.dtype(), cfg!(target_endian = "big"))
    );
    // The data begin at a multiple of 64.
    let head = MAGIC.len() + 4;
    let padding = (64 - (head + header.len() + 1) % 64) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut file = Vec::with_capacity(head + header.len() + array.bytes().len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    // At most 32 lengths of 20 digits: far below 65,536.
    file.extend_from_slice(&u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(array.bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&[version, 0]);
        match version {
            1 => file.extend_from_slice(&(header.len() as u16).to_le_bytes()),
            _ => file.extend_from_slice(&(header.len() as u32).to_le_bytes()),
        }
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(data);
        file
    }

    #[test]
    fn npy_files_of_numpy_are_read() {
        let data: Vec<u8> = (0u16..6).flat_map(u16::to_le_bytes).collect();
        let swapped: Vec<u8> = (0u16..6).flat_map(u16::to_be_bytes).collect();
        // numpy: np.arange(6, dtype='<u2').reshape(2, 3), and the same in Fortran order.
        let fortran: Vec<u8> = [0u16, 3, 1, 4, 2, 5].iter().flat_map(|value| value.to_le_bytes()).collect();
        let head = |descr: &str, fortran: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': (2, 3), }}          \n")
        };
        for (name, file) in [
            ("version 1", file(1, &head("<u2", "False"), &data)),
            ("version 2", file(2, &head("<u2", "False"), &data)),
            ("version 3", file(3, &head("<u2", "False"), &data)),
            ("big endian", file(1, &head(">u2", "False"), &swapped)),
            ("fortran", file(1, &head("<u2", "True"), &fortran)),
            ("other order", file(1, "{\"shape\":(2,3),'fortran_order':False,'descr':'<u2'}", &data)),
        ] {
            let npy = parse(&file).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(npy, Npy { dtype: DType::UInt16, shape: vec![2, 3], bytes: data.clone() }, "{name}");
        }
        let one = parse(&file(1, "{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", &[7, 0])).unwrap();
        assert_eq!((one.shape.as_slice(), one.bytes.as_slice()), (&[2][..], &[1, 0][..]));
        let none = parse(&file(1, "{'descr': '<f8', 'fortran_order': True, 'shape': ()}", &1.5f64.to_le_bytes()));
        assert_eq!(none.unwrap().bytes, 1.5f64.to_le_bytes());
        let empty = parse(&file(1, "{'descr': '<f8', 'fortran_order': True, 'shape': (0, 3)}", &[])).unwrap();
        assert_eq!(empty.shape, [0, 3]);
    }

    #[test]
    fn npy_refuses_broken_files() {
        for (header, data, says) in [
            ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", 8, "several fields"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, "'|O'"),
            ("{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}", 16, "'<U4'"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}", 8, "holds 8 bytes"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", 9, "holds 9 bytes"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999)}", 8, "more than"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296,)}", 8, "more than"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", 8, "lacks a word"),
            ("{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}", 8, "fortran_order is 0"),
            ("{'descr': '<f8', 'shape': (1,)}", 8, "no 'fortran_order'"),
            ("{'descr': '<f8'", 8, "lacks an expected"),
            ("", 8, "lacks an expected"),
        ] {
            let why = parse(&file(1, header, &vec![0; data])).unwrap_err();
            assert!(why.contains(says), "{header}: {why}");
        }
        assert!(parse(b"").is_err() && parse(b"\x93NUMPY\x01\x00\xff\xff{").is_err());
        assert!(parse(b"\x93NUMPY\x04\x00\x00\x00\x00\x00").unwrap_err().contains("version is 4"));
    }

    proptest! {
        #[test]
        fn npy_round_trips(lengths in proptest::collection::vec(0usize..4, 0..4), dtype in 0u8..14) {
            let dtype = DType::from_number(dtype).unwrap();
            let bytes: Vec<u8> = (0..lengths.iter().product::<usize>() * dtype.size()).map(|at| at as u8 & 1).collect();
            let axes = (0..lengths.len()).map(|at| format!("a{at}")).collect();
            let array = Array::new(dtype, lengths.clone(), axes, bytes.clone()).unwrap();
            let file = write(&array);
            prop_assert_eq!((file.len() - bytes.len()) % 64, 0);
            prop_assert_eq!(parse(&file).unwrap(), Npy { dtype, shape: lengths, bytes });
        }

        #[test]
        fn npy_of_any_bytes_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..200), header in "[{}()':,a-zA-Z0-9<>|= ]{0,80}") {
            let _ = parse(&tail);
            let _ = parse(&[MAGIC, &tail].concat());
            let _ = parse(&file(1, &header, &tail));
            let _ = parse(&file(1, &format!("{{'descr': '<u2', 'fortran_order': True, 'shape': {header}}}"), &tail));
        }
    }
}
