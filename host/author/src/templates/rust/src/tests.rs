//! Tests on made-up records; they need neither a dataset nor kymhost.

use super::*;
use kymhost_plugin_api::testing::{TestHost, TestRecord};

/// Four lines of three pixels, to be cut into this many parts.
fn record(parts: impl Into<Json>) -> TestRecord {
    let pixels: [u16; 12] = [1, 1, 1, 3, 3, 3, 5, 5, 5, 7, 7, 7];
    let params = Json::object([("parts", parts.into())]);
    TestRecord::new().pixels(&pixels, [4, 3]).json("{{name}}/params", params)
}

#[test]
fn each_part_has_its_mean() {
    let outcome = TestHost::new({{Type}}).extract(&record(2));
    assert_eq!(outcome.rows().i64("part"), [Some(0), Some(1)]);
    assert_eq!(outcome.rows().f64("mean"), [Some(2.0), Some(6.0)]);
}

#[test]
fn params_have_a_default_and_are_checked() {
    let without = record(2).without("{{name}}/params");
    let outcome = TestHost::new({{Type}}).extract(&without);
    assert_eq!(outcome.rows().len(), 6, "ten parts of twelve pixels: two each");
    for parts in [Json::from(0), Json::from(-1), Json::from("two"), Json::Null] {
        let outcome = TestHost::new({{Type}}).extract(&record(parts));
        assert!(outcome.error().message().contains("'parts'"));
    }
}

#[test]
fn an_image_without_pixels_has_no_rows() {
    let outcome = TestHost::new({{Type}}).extract(&record(2).without_pixels());
    assert!(outcome.rows().is_empty());
    assert_eq!(outcome.rows().columns(), ["part", "mean"]);
}

#[test]
fn the_same_inputs_give_the_same_rows() {
    TestHost::new({{Type}}).assert_deterministic(&record(2));
    TestHost::new({{Type}}).assert_params_hash_changes(&record(2), &record(3));
}
