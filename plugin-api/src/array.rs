//! Pixels and array artifacts as an indexer sees them.
//! Owns: dtype, shape, axes and bytes in native order. Never: reading them.

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
    /// `complex64`: real, imaginary as two `float32`
    Complex64 = 12,
    /// `complex128`: real, imaginary as two `float64`
    Complex128 = 13,
}

/// An N-dimensional array in C order and native byte order.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Array {
    /// The type of an element.
    pub dtype: DType,
    /// Lengths, slowest axis first.
    pub shape: Vec<usize>,
    /// A name for each axis, e.g. `["y", "x"]`. In a kymograph `y` is time (line scans), `x` space.
    pub axes: Vec<String>,
    /// The elements, C order, native byte order.
    pub bytes: Vec<u8>,
}
