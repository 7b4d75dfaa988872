//! Random JSON values for property tests. This file decides their shape, not what they must satisfy.

use super::{Int, Json};
use proptest::prelude::*;

/// Any value, including `NaN` and integers of any size.
pub(crate) fn json() -> impl Strategy<Value = Json> {
    values(any::<f64>().boxed(), "-?[1-9][0-9]{0,60}".prop_map(|text| Int::from_checked_text(&text)).boxed())
}

/// Values that every JSON library reads alike: no `NaN`, and no integer beyond 64 bits.
pub(crate) fn plain_json() -> impl Strategy<Value = Json> {
    let finite = any::<f64>().prop_filter("finite", |value| value.is_finite());
    values(finite.boxed(), prop_oneof![any::<i64>().prop_map(Int::from), any::<u64>().prop_map(Int::from)].boxed())
}

fn values(floats: BoxedStrategy<f64>, ints: BoxedStrategy<Int>) -> impl Strategy<Value = Json> {
    let text = prop_oneof!["[a-c]{0,2}", ".{0,6}", "[\"\\\\/\u{0}-\u{20}\u{7f}\u{e9}\u{ffff}\u{1f600}]{0,6}"];
    let decimals = (-1_000_000_000i64..1_000_000_000, -25i32..25)
        .prop_map(|(digits, power)| format!("{digits}e{power}").parse::<f64>().unwrap());
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        ints.prop_map(Json::Int),
        floats.prop_map(Json::Float),
        decimals.prop_map(Json::Float),
        text.clone().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((text.clone(), inner), 0..6).prop_map(Json::object),
        ]
    })
}
