//! Medians, deviations and rounding.
//!
//! This file does not know what the values are.

/// The mean and the population standard deviation; both are NaN without values.
pub fn mean_std(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (count, sum) = values.clone().fold((0_u64, 0.0), |(count, sum), value| (count + 1, sum + value));
    let mean = sum / count as f64;
    let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / count as f64).sqrt())
}

/// The median of values that are not NaN; NaN without values. With an even number of values it is the mean of the
/// middle two. The values are reordered.
pub fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let half = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    if !is_even {
        return *upper;
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(*upper);
    middle(lower, *upper)
}

/// The mean of two values.
pub fn middle(lower: f64, upper: f64) -> f64 {
    (lower + upper) / 2.0
}

/// The median absolute deviation, the median of |value − median|, of values that are not NaN; NaN without values. The
/// values are overwritten.
pub fn mad(values: &mut [f64]) -> f64 {
    let middle = median(values);
    values.iter_mut().for_each(|value| *value = (*value - middle).abs());
    median(values)
}

/// Rounds half to even, to a count; 0 for negative values and NaN.
pub fn round(value: f64) -> usize {
    // The cast saturates, and turns NaN into 0.
    value.round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Medians of few values, with ties and signed zeros.
    #[test]
    fn median_of_few_values() {
        let cases: &[(&[f64], f64)] = &[
            (&[], f64::NAN),
            (&[3.0], 3.0),
            (&[4.0, 1.0], 2.5),
            (&[9.0, 1.0, 2.0], 2.0),
            (&[1.0, 9.0, 1.0, 9.0], 5.0),
            (&[-0.0, 0.0, 1.0], 0.0),
            (&[2.0, 2.0, 2.0, -7.0], 2.0),
        ];
        for (values, expected) in cases {
            let found = median(&mut values.to_vec());
            assert!(found == *expected || found.is_nan() && expected.is_nan(), "{values:?}: {found}");
        }
        assert_eq!(mad(&mut [1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), 1.0);
        assert!(mad(&mut []).is_nan());
    }

    /// Halves are rounded to even; negative values and NaN give 0.
    #[test]
    fn round_is_half_to_even() {
        for (value, expected) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (2.500001, 3), (-3.0, 0), (f64::NAN, 0), (1e300, usize::MAX)]
        {
            assert_eq!(round(value), expected, "{value}");
        }
    }

    /// The standard deviation is that of the population.
    #[test]
    fn mean_std_is_of_population() {
        assert_eq!(mean_std([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter()), (5.0, 2.0));
        assert!(mean_std(std::iter::empty()).0.is_nan());
    }
}
