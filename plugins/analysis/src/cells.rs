//! Numbers as the tables of the plugins have them.

/// `None` for NaN, because an unknown value is a missing cell in tables.
pub fn known(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

/// A count as a signed integer, which is what pandas has.
pub fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
