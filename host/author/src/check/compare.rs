//! The rules of the suite over values: how tables differ, which values are other ones, whether memory is steady.
//!
//! Pure functions: no I/O, no calls of a plugin.

use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::array_value_to_string;
use kymhost_plugin_api::Json;

/// No more leaves of one document are tried one by one.
const MAX_LEAVES: usize = 32;
/// Extractions for the memory check.
pub(crate) const CALLS: u64 = 10_000;
/// If memory grows by more over [`CALLS`] extractions, the plugin keeps it: about 105 bytes per call.
const LEAK_BYTES: u64 = 1 << 20;
/// Growth must also exceed this to prove it: an allocator takes memory from the system in pieces of 128 KiB.
const LEAK_SEEN_BYTES: u64 = 256 << 10;
/// If memory grows by more, somebody should look at it: about 26 bytes per call, one small allocation each.
const DRIFT_BYTES: u64 = 256 << 10;
/// Growth must also exceed this for that.
const DRIFT_SEEN_BYTES: u64 = 64 << 10;

/// The first difference between two tables; `None` if they are the same. `NaN` equals itself.
pub(crate) fn difference(first: &RecordBatch, second: &RecordBatch) -> Option<String> {
    if let Some(why) = schema_difference(&first.schema(), &second.schema()) {
        return Some(why);
    }
    if first.num_rows() != second.num_rows() {
        return Some(format!("{} rows, then {}", first.num_rows(), second.num_rows()));
    }
    for (field, (one, two)) in first.schema().fields().iter().zip(first.columns().iter().zip(second.columns())) {
        if one.to_data() == two.to_data() {
            continue;
        }
        let text = |column, row| array_value_to_string(column, row).unwrap_or_else(|_| "?".to_owned());
        let row = (0..one.len()).find(|&row| one.slice(row, 1).to_data() != two.slice(row, 1).to_data());
        let row = row.unwrap_or_default();
        return Some(format!("row {row} of column '{}': {}, then {}", field.name(), text(one, row), text(two, row)));
    }
    None
}

/// The first difference between two schemas. The order of columns counts, whether cells may be null does not.
fn schema_difference(first: &Schema, second: &Schema) -> Option<String> {
    let names = |schema: &Schema| -> Vec<String> { schema.fields().iter().map(|field| field.name().clone()).collect() };
    let (one, two) = (names(first), names(second));
    if one != two {
        return Some(format!("columns [{}], then [{}]", one.join(", "), two.join(", ")));
    }
    let mut pairs = first.fields().iter().zip(second.fields());
    pairs
        .find(|(one, two)| one.data_type() != two.data_type())
        .map(|(one, two)| format!("column '{}' is {}, then {}", one.name(), one.data_type(), two.data_type()))
}

/// Why two images' columns cannot be those of one table. A column without a type of its own (all null) fits any.
///
/// `may_lack`: the second schema may lack columns, because they may be those of a table artifact that is missing.
pub(crate) fn schema_conflict(first: &Schema, second: &Schema, may_lack: bool) -> Option<String> {
    for field in second.fields() {
        let Some((_, known)) = first.column_with_name(field.name()) else {
            return Some(format!("there is a column '{}', which other images do not have", field.name()));
        };
        let has_none = [known, field].iter().any(|field| *field.data_type() == DataType::Null);
        if !has_none && family(known.data_type()) != family(field.data_type()) {
            return Some(format!(
                "column '{}' is {}, but {} in other images",
                field.name(),
                field.data_type(),
                known.data_type()
            ));
        }
    }
    if may_lack {
        return None;
    }
    let lacks = first.fields().iter().find(|field| second.column_with_name(field.name()).is_none());
    lacks.map(|field| format!("there is no column '{}', which other images have", field.name()))
}

/// One type for all that tables store in the same way.
fn family(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// The document with another value of the same type in every leaf.
pub(crate) fn all_changed(value: &Json) -> Json {
    match value {
        Json::Array(items) if !items.is_empty() => Json::Array(items.iter().map(all_changed).collect()),
        Json::Object(members) if !members.is_empty() => {
            Json::object(members.iter().map(|(key, value)| (key.clone(), all_changed(value))))
        }
        leaf => other_leaf(leaf),
    }
}

/// Another value of the same type.
fn other_leaf(leaf: &Json) -> Json {
    match leaf {
        Json::Null => 1_i64.into(),
        Json::Bool(value) => (!value).into(),
        Json::Int(value) => value.as_i64().map_or(0, |value| value.wrapping_add(1)).into(),
        Json::Float(value) if value.is_finite() => (value * 1.25 + 0.125).into(),
        Json::Float(_) => 0.5.into(),
        Json::String(text) => format!("{text} changed").into(),
        Json::Array(_) => Json::Array(vec![1_i64.into()]),
        Json::Object(_) => Json::object([("changed", Json::from(1_i64))]),
    }
}

/// For each leaf: its path, and the document with only this leaf changed.
pub(crate) fn one_changed(value: &Json) -> Vec<(String, Json)> {
    let mut all = Vec::new();
    each_leaf(value, &mut String::new(), &|changed| changed, &mut all);
    all
}

fn each_leaf(value: &Json, path: &mut String, whole: &dyn Fn(Json) -> Json, all: &mut Vec<(String, Json)>) {
    if all.len() >= MAX_LEAVES {
        return;
    }
    let before = path.len();
    match value {
        Json::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                let inner = |changed: Json| {
                    let mut items = items.clone();
                    if let Some(item) = items.get_mut(index) {
                        *item = changed;
                    }
                    whole(Json::Array(items))
                };
                each_leaf(item, path, &inner, all);
                path.truncate(before);
            }
        }
        Json::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                if before > 0 {
                    path.push('.');
                }
                path.push_str(key);
                let inner = |changed: Json| {
                    let mut members = members.clone();
                    members.insert(key.clone(), changed);
                    whole(Json::Object(members))
                };
                each_leaf(member, path, &inner, all);
                path.truncate(before);
            }
        }
        leaf => all.push((path.clone(), whole(other_leaf(leaf)))),
    }
}

/// How memory grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    /// The growth that was measured, over a third of the calls.
    pub seen_bytes: u64,
    /// The same for [`CALLS`] calls.
    pub of_all_bytes: u64,
}

/// What growing memory says about a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It does not grow more than an allocator explains.
    Steady,
    /// It grows a little: because of an allocator, or of a leak of a few bytes.
    Drifts,
    /// The plugin keeps memory from each extraction.
    Leaks,
}

impl Growth {
    /// The verdict.
    pub(crate) fn verdict(self) -> Memory {
        let is_beyond = |of_all, seen| self.of_all_bytes > of_all && self.seen_bytes > seen;
        if is_beyond(LEAK_BYTES, LEAK_SEEN_BYTES) {
            Memory::Leaks
        } else if is_beyond(DRIFT_BYTES, DRIFT_SEEN_BYTES) {
            Memory::Drifts
        } else {
            Memory::Steady
        }
    }
}

/// How memory grows: the median of the last third of the measurements minus that of the second third. What is allocated in
/// the first third does not count.
pub(crate) fn growth(measured: &[u64], calls: u64) -> Option<Growth> {
    let third = measured.len() / 3;
    if third == 0 || calls == 0 {
        return None;
    }
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or_default()
    };
    let middle = median(measured.get(third..2 * third)?);
    let last = median(measured.get(measured.len() - third..)?);
    // Between the two medians lies a third of the calls.
    let seen_bytes = last.saturating_sub(middle);
    let of_all = u128::from(seen_bytes) * u128::from(3 * CALLS) / u128::from(calls);
    Some(Growth { seen_bytes, of_all_bytes: u64::try_from(of_all).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, NullArray};
    use arrow::datatypes::Field;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        let fields: Vec<Field> =
            columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.iter().map(|(_, values)| values.clone()).collect())
            .unwrap()
    }

    fn floats(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn ints(values: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn difference_gives_the_first() {
        let base = batch(&[("a", floats(&[1.0, f64::NAN])), ("b", ints(&[1, 2]))]);
        let cases = [
            (batch(&[("a", floats(&[1.0, f64::NAN])), ("b", ints(&[1, 2]))]), None),
            (batch(&[("a", floats(&[1.0, 2.0])), ("b", ints(&[1, 3]))]), Some("row 1 of column 'a': NaN, then 2.0")),
            (batch(&[("a", floats(&[1.0, f64::NAN])), ("b", ints(&[1, 3]))]), Some("row 1 of column 'b': 2, then 3")),
            (batch(&[("a", floats(&[1.0])), ("b", ints(&[1]))]), Some("2 rows, then 1")),
            (batch(&[("a", ints(&[1, 2])), ("b", ints(&[1, 2]))]), Some("column 'a' is Float64, then Int64")),
            (batch(&[("b", ints(&[1, 2])), ("a", ints(&[1, 2]))]), Some("columns [a, b], then [b, a]")),
        ];
        for (other, expected) in cases {
            assert_eq!(difference(&base, &other).as_deref(), expected);
        }
    }

    #[test]
    fn schema_conflict_allows_nulls_and_missing_tables() {
        let full = batch(&[("a", floats(&[1.0])), ("b", ints(&[1]))]).schema();
        let null: ArrayRef = Arc::new(NullArray::new(1));
        let cases = [
            (batch(&[("a", floats(&[])), ("b", ints(&[]))]), false, true),
            (batch(&[("a", null.clone()), ("b", ints(&[1]))]), false, true),
            (batch(&[("a", floats(&[]))]), false, false),
            (batch(&[("a", floats(&[]))]), true, true),
            (batch(&[("a", ints(&[])), ("b", ints(&[]))]), true, false),
            (batch(&[("a", floats(&[1.0])), ("b", ints(&[1])), ("c", ints(&[1]))]), true, false),
        ];
        for (other, may_lack, fits) in cases {
            let conflict = schema_conflict(&full, &other.schema(), may_lack);
            assert_eq!(conflict.is_none(), fits, "{:?} {may_lack}: {conflict:?}", other.schema());
        }
    }

    #[test]
    fn one_changed_changes_every_leaf_once() {
        let value = Json::parse(br#"{"a": 1, "b": {"c": [true, "x"], "d": {}}, "e": 0.5, "f": null}"#).unwrap();
        let changed = one_changed(&value);
        let paths: Vec<&str> = changed.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["a", "b.c[0]", "b.c[1]", "b.d", "e", "f"]);
        for (path, other) in &changed {
            assert_ne!(*other, value, "{path}");
        }
        assert_eq!(
            all_changed(&value).to_string(),
            r#"{"a":2,"b":{"c":[false,"x changed"],"d":{"changed":1}},"e":0.75,"f":1}"#
        );
    }

    #[test]
    fn growth_ignores_early_allocations() {
        let line = |each: u64| -> Vec<u64> { (0..30).map(|step| (50 << 20) + step * each).collect() };
        // 30 measurements over 10,000 calls: one leaks 1,000 bytes a call.
        let leak = growth(&line(1000 * 10_000 / 30), 10_000).unwrap().of_all_bytes;
        assert!((9_000_000..11_000_000).contains(&leak), "{leak}");
        // The same leak in a tenth of the calls is the same growth.
        let fewer = growth(&line(1000 * 1_000 / 30), 1_000).unwrap().of_all_bytes;
        assert!((9_000_000..11_000_000).contains(&fewer), "{fewer}");
        // A large allocation at the beginning is not growth.
        let mut warm = vec![10 << 20; 5];
        warm.extend(vec![200 << 20; 25]);
        assert_eq!(growth(&warm, 10_000), Some(Growth { seen_bytes: 0, of_all_bytes: 0 }));
        assert_eq!(growth(&[1, 2], 10_000), None);
    }

    #[test]
    fn verdict_tells_leaks_from_drift() {
        for (bytes_a_call, calls, expected) in [
            (4096, 10_000, Memory::Leaks),
            (300, 10_000, Memory::Leaks),
            (112, 10_000, Memory::Leaks),
            (90, 10_000, Memory::Drifts),
            (32, 10_000, Memory::Drifts),
            (16, 10_000, Memory::Steady),
            (0, 10_000, Memory::Steady),
            // Few calls show less.
            (4096, 300, Memory::Leaks),
            (300, 1_000, Memory::Drifts),
            (300, 300, Memory::Steady),
        ] {
            let measured: Vec<u64> = (0..calls).map(|call| (50 << 20) + call * bytes_a_call).collect();
            let found = growth(&measured, calls).unwrap();
            assert_eq!(found.verdict(), expected, "{bytes_a_call} bytes, {calls} calls: {found:?}");
        }
        // One that begins late.
        let late: Vec<u64> = (0..10_000_u64).map(|call| (50 << 20) + call.saturating_sub(3_000) * 4096).collect();
        assert_eq!(growth(&late, 10_000).unwrap().verdict(), Memory::Leaks);
    }

    proptest! {
        #[test]
        fn growth_is_zero_if_memory_shrinks(mut measured in prop::collection::vec(any::<u32>(), 3..60), calls in 1..20_000u64) {
            measured.sort_unstable_by(|a, b| b.cmp(a));
            let measured: Vec<u64> = measured.into_iter().map(u64::from).collect();
            prop_assert_eq!(growth(&measured, calls).map(|growth| growth.of_all_bytes), Some(0));
        }
    }
}
