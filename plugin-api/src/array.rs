//! Pixels and array artifacts as an indexer sees them: dtype, shape, axis names and elements.
//!
//! This file holds arrays in memory. It does not read them; the host does.
//!
//! ```
//! use kymhost_plugin_api::array::{Array, DType};
//!
//! // Two lines of three pixels.
//! let axes = vec!["y".to_owned(), "x".to_owned()];
//! let pixels = Array::from_elements(&[1_u16, 2, 3, 4, 5, 6], vec![2, 3], axes)?;
//! // With the kept type if it is known, otherwise as floats.
//! assert_eq!(pixels.to_vec::<u16>(), Some(vec![1, 2, 3, 4, 5, 6]));
//! assert_eq!(pixels.to_vec::<f32>(), None);
//! let last_line = pixels.to_f64_vec().map(|values| values[3..].iter().sum::<f64>());
//! assert_eq!(last_line, Some(15.0));
//! # Ok::<(), kymhost_plugin_api::Error>(())
//! ```

use crate::{Error, Result};
use std::fmt;

/// The type of an array's elements. The numbers are part of the binary contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum DType {
    /// `bool`, one byte, 0 or 1
    Bool = 0,
    /// `int8`
    Int8 = 1,
    /// `int16`
    Int16 = 2,
    /// `int32`
    Int32 = 3,
    /// `int64`
    Int64 = 4,
    /// `uint8`
    UInt8 = 5,
    /// `uint16`
    UInt16 = 6,
    /// `uint32`
    UInt32 = 7,
    /// `uint64`
    UInt64 = 8,
    /// `float16`
    Float16 = 9,
    /// `float32`
    Float32 = 10,
    /// `float64`
    Float64 = 11,
    /// `complex64`: real and imaginary part, each a `float32`
    Complex64 = 12,
    /// `complex128`: real and imaginary part, each a `float64`
    Complex128 = 13,
}

impl DType {
    /// All dtypes, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::UInt8,
        Self::UInt16,
        Self::UInt32,
        Self::UInt64,
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::Complex64,
        Self::Complex128,
    ];

    /// The dtype with this number in the binary contract.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number in the binary contract.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The dtype with this name in numpy.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dtype| dtype.name() == name)
    }

    /// Its name in numpy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
        }
    }

    /// The size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::UInt8 => 1,
            Self::Int16 | Self::UInt16 | Self::Float16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 => 4,
            Self::Int64 | Self::UInt64 | Self::Float64 | Self::Complex64 => 8,
            Self::Complex128 => 16,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An N-dimensional array in C order (last axis fastest) and native byte order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    dtype: DType,
    shape: Vec<usize>,
    axes: Vec<String>,
    bytes: Vec<u8>,
}

impl Array {
    /// An array of these bytes: the elements in C order and native byte order.
    ///
    /// # Errors
    /// If the number of bytes is not what dtype and shape need, or if the number of axis names is not that of the
    /// dimensions.
    pub fn new(dtype: DType, shape: Vec<usize>, axes: Vec<String>, bytes: Vec<u8>) -> Result<Self> {
        if axes.len() != shape.len() {
            return Err(Error::msg(format!(
                "an array of shape {shape:?} needs {} axis names, got {axes:?}",
                shape.len()
            )));
        }
        let expected = shape.iter().try_fold(dtype.size(), |product, &length| product.checked_mul(length));
        match expected {
            Some(expected) if expected == bytes.len() => Ok(Self { dtype, shape, axes, bytes }),
            Some(expected) => Err(Error::msg(format!(
                "an array of {dtype} and shape {shape:?} has {expected} bytes, got {}",
                bytes.len()
            ))),
            None => {
                Err(Error::msg(format!("an array of {dtype} and shape {shape:?} has more bytes than can be counted")))
            }
        }
    }

    /// An array of these elements, in C order.
    ///
    /// # Errors
    /// As [`Array::new`].
    pub fn from_elements<T: Element>(elements: &[T], shape: Vec<usize>, axes: Vec<String>) -> Result<Self> {
        let mut bytes = Vec::with_capacity(elements.len() * T::DTYPE.size());
        for element in elements {
            element.push(&mut bytes);
        }
        Self::new(T::DTYPE, shape, axes, bytes)
    }

    /// The type of an element.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The length of each dimension, slowest first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// A name for each dimension, e.g. `["y", "x"]`. In a kymograph `y` is time (one line scan each), `x` is space.
    pub fn axes(&self) -> &[String] {
        &self.axes
    }

    /// The elements in C order and native byte order. The slice need not be aligned for their type.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements in C order and native byte order.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length along the axis of this name. `None` if there is no such axis.
    pub fn axis_len(&self, axis: &str) -> Option<usize> {
        let place = self.axes.iter().position(|name| name == axis)?;
        self.shape.get(place).copied()
    }

    /// The elements, if they are of type `T`: `array.to_vec::<u16>()`. `None` if they are of another type.
    pub fn to_vec<T: Element>(&self) -> Option<Vec<T>> {
        (self.dtype == T::DTYPE).then(|| T::pull_all(&self.bytes))
    }

    /// The elements as `f64`; 64-bit integers are rounded. `None` if they are complex.
    pub fn to_f64_vec(&self) -> Option<Vec<f64>> {
        let bytes = self.bytes.as_slice();
        Some(match self.dtype {
            DType::Bool => elements(bytes, |[byte]: [u8; 1]| f64::from(u8::from(byte != 0))),
            DType::Int8 => elements(bytes, |element| f64::from(i8::from_ne_bytes(element))),
            DType::Int16 => elements(bytes, |element| f64::from(i16::from_ne_bytes(element))),
            DType::Int32 => elements(bytes, |element| f64::from(i32::from_ne_bytes(element))),
            DType::Int64 => elements(bytes, |element| i64::from_ne_bytes(element) as f64),
            DType::UInt8 => elements(bytes, |element| f64::from(u8::from_ne_bytes(element))),
            DType::UInt16 => elements(bytes, |element| f64::from(u16::from_ne_bytes(element))),
            DType::UInt32 => elements(bytes, |element| f64::from(u32::from_ne_bytes(element))),
            DType::UInt64 => elements(bytes, |element| u64::from_ne_bytes(element) as f64),
            DType::Float16 => elements(bytes, |element| half_to_f64(u16::from_ne_bytes(element))),
            DType::Float32 => elements(bytes, |element| f64::from(f32::from_ne_bytes(element))),
            DType::Float64 => elements(bytes, f64::from_ne_bytes),
            DType::Complex64 | DType::Complex128 => return None,
        })
    }
}

fn elements<T, const SIZE: usize>(bytes: &[u8], pull: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    bytes.as_chunks::<SIZE>().0.iter().map(|element| pull(*element)).collect()
}

/// The value of an IEEE 754 half: 1 sign, 5 exponent, 10 fraction bits.
fn half_to_f64(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * f64::powi(2.0, -24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        exponent => (1024.0 + fraction) * f64::powi(2.0, exponent - 25),
    };
    if bits >> 15 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// A Rust type of array elements. Only this crate implements it.
pub trait Element: sealed::Element {}

mod sealed {
    pub trait Element: Copy {
        const DTYPE: super::DType;
        fn push(self, bytes: &mut Vec<u8>);
        fn pull_all(bytes: &[u8]) -> Vec<Self>;
    }
}

macro_rules! element {
    ($($type:ty => $dtype:ident,)+) => {$(
        impl Element for $type {}
        impl sealed::Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn push(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_ne_bytes());
            }
            fn pull_all(bytes: &[u8]) -> Vec<Self> {
                elements(bytes, Self::from_ne_bytes)
            }
        }
    )+};
}

element! {
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    u8 => UInt8, u16 => UInt16, u32 => UInt32, u64 => UInt64,
    f32 => Float32, f64 => Float64,
}

impl Element for bool {}
impl sealed::Element for bool {
    const DTYPE: DType = DType::Bool;
    fn push(self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self));
    }
    fn pull_all(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&byte| byte != 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    /// The numbers are part of the binary contract; names and sizes are those of numpy.
    #[test]
    fn dtype_numbers_names_sizes_are_fixed() {
        for (number, &dtype) in DType::ALL.iter().enumerate() {
            assert_eq!(usize::from(dtype.number()), number);
            assert_eq!(DType::from_number(dtype.number()), Some(dtype));
            assert_eq!(DType::from_name(&dtype.to_string()), Some(dtype));
            // numpy names a dtype by its bits.
            let bits: String = dtype.name().chars().filter(char::is_ascii_digit).collect();
            assert_eq!(dtype.size(), bits.parse::<usize>().unwrap_or(8) / 8, "{dtype}");
        }
        assert_eq!(DType::from_number(14), None);
        assert_eq!(DType::from_name("float128"), None);
    }

    /// The number of bytes and of axis names must match dtype and shape, and a huge shape does not overflow.
    #[test]
    fn array_wrong_length_is_refused() {
        let huge = usize::MAX / 2;
        // Shape, number of axis names, number of bytes.
        let cases: &[(DType, &[usize], usize, usize, bool)] = &[
            (DType::UInt16, &[2, 3], 2, 12, true),
            (DType::UInt16, &[2, 3], 2, 11, false),
            (DType::UInt16, &[2, 3], 2, 13, false),
            (DType::UInt16, &[2, 3], 1, 12, false),
            (DType::Complex128, &[], 0, 16, true),
            (DType::Float64, &[0, 3], 2, 0, true),
            (DType::UInt8, &[huge, 4], 2, 0, false),
            (DType::Float64, &[huge], 1, 0, false),
        ];
        for (dtype, shape, names, bytes, valid) in cases {
            let array = Array::new(*dtype, shape.to_vec(), vec!["a".to_owned(); *names], vec![0; *bytes]);
            assert_eq!(array.is_ok(), *valid, "{array:?}");
        }
    }

    /// Elements of every type are read back as they were given, and as floats.
    #[test]
    fn array_roundtrip_keeps_elements() {
        macro_rules! check {
            ($($type:ty: $values:expr;)+) => {$(
                let values: &[$type] = &$values;
                let array = Array::from_elements(values, vec![values.len()], axes(&["x"])).unwrap();
                assert_eq!(array.to_vec::<$type>().as_deref(), Some(values));
                let floats: Vec<f64> = values.iter().map(|&value| value as f64).collect();
                assert_eq!(array.to_f64_vec(), Some(floats));
                assert_eq!((array.len(), array.axis_len("x"), array.axis_len("y")), (values.len(), Some(values.len()), None));
                assert_eq!(array.to_vec::<bool>(), None);
            )+};
        }
        check! {
            i8: [i8::MIN, 0, i8::MAX];
            i16: [i16::MIN, 1];
            i32: [i32::MIN, 1];
            i64: [-1, 1 << 40];
            u8: [0, u8::MAX];
            u16: [0, u16::MAX];
            u32: [0, u32::MAX];
            u64: [0, 1 << 40];
            f32: [-1.5, f32::INFINITY];
            f64: [0.1, f64::MIN];
        }
        let array = Array::from_elements(&[true, false], vec![2], axes(&["x"])).unwrap();
        assert_eq!(array.to_vec(), Some(vec![true, false]));
        assert_eq!(array.to_f64_vec(), Some(vec![1.0, 0.0]));
        let complex = Array::new(DType::Complex64, vec![1], axes(&["x"]), vec![0; 8]).unwrap();
        assert_eq!(complex.to_f64_vec(), None);
    }

    /// Normal, subnormal and special halves become the same value as `f64`.
    #[test]
    fn float16_converts_exactly() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, f64::powi(2.0, -14)),
            (0x0001, f64::powi(2.0, -24)),
            (0x3555, 0.333251953125),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half_to_f64(bits), value, "{bits:#x}");
        }
        assert!(half_to_f64(0x7e00).is_nan());
        assert!(half_to_f64(0x8000).is_sign_negative());
    }
}
