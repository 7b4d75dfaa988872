//! Types of elements as text, for `.zarray` and `.npy` files: `<u2` and its like.

use kymhost_plugin_api::array::DType;

/// The type that a text such as `<u2` names, and whether its bytes are big-endian.
pub fn parse_dtype(text: &str) -> Option<(DType, bool)> {
    let (order, code) = text.split_at_checked(1)?;
    let dtype = DType::ALL.iter().copied().find(|&dtype| dtype_code(dtype) == code)?;
    match order {
        "<" => Some((dtype, false)),
        ">" => Some((dtype, true)),
        "|" if dtype.size() == 1 => Some((dtype, false)),
        _ => None,
    }
}

/// As [`parse_dtype`] reads it.
pub fn dtype_text(dtype: DType, big_endian: bool) -> String {
    let order = match (dtype.size(), big_endian) {
        (1, _) => '|',
        (_, true) => '>',
        (_, false) => '<',
    };
    format!("{order}{}", dtype_code(dtype))
}

fn dtype_code(dtype: DType) -> String {
    let letter = match dtype {
        DType::Bool => 'b',
        DType::Int8 | DType::Int16 | DType::Int32 | DType::Int64 => 'i',
        DType::UInt8 | DType::UInt16 | DType::UInt32 | DType::UInt64 => 'u',
        DType::Complex64 | DType::Complex128 => 'c',
        _ => 'f',
    };
    format!("{letter}{}", dtype.size())
}
