//! Tables of schemas, params and the words of each violation; properties over made-up schemas.

use super::*;
use proptest::prelude::*;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap()
}

fn messages(schema: &str, params: &str) -> Vec<String> {
    let schema = Schema::parse(schema).expect(schema).expect("not empty");
    schema.violations(&json(params))
}

#[test]
fn params_that_match_have_no_violations() {
    for (schema, params) in [
        ("{}", &["{}", "1", "null", "[]"][..]),
        (r#"{"type": "object"}"#, &["{}", r#"{"a": [1, {"b": null}]}"#]),
        (r#"{"type": "integer"}"#, &["1", "-3", "2.0", "1e3", "99999999999999999999999"]),
        (r#"{"type": "number"}"#, &["1", "0.5"]),
        (r#"{"type": ["integer", "null"], "minimum": 2}"#, &["2", "null"]),
        (r#"{"enum": ["a", 1, null, [1, {"x": 2}]]}"#, &["\"a\"", "1.0", "null", r#"[1.0, {"x": 2.0}]"#]),
        (r#"{"const": {"a": 1, "b": 2}}"#, &[r#"{"b": 2.0, "a": 1}"#]),
        (r#"{"minimum": 1, "maximum": 3}"#, &["1", "3", "2.5", "\"text\"", "null"]),
        (r#"{"exclusiveMinimum": 1, "exclusiveMaximum": 3}"#, &["2", "1.0001", "2.9999"]),
        (r#"{"minimum": 9007199254740993}"#, &["9007199254740993", "18446744073709551615"]),
        (r#"{"multipleOf": 0.1}"#, &["0.3", "7", "0", "1.1"]),
        (r#"{"multipleOf": 4}"#, &["16", "8.0", "-4"]),
        // Characters, not bytes.
        (r#"{"minLength": 2, "maxLength": 2}"#, &["\"ab\"", "\"äö\"", "7"]),
        (r#"{"items": {"type": "string"}, "minItems": 1, "maxItems": 2.0}"#, &[r#"["a"]"#, r#"["a", "b"]"#, "7"]),
        (r#"{"required": ["a"], "properties": {"a": true}}"#, &[r#"{"a": 1}"#, r#"{"a": null, "b": 2}"#, "[]"]),
        (
            r#"{"additionalProperties": {"type": "number"}, "properties": {"a": {"type": "string"}}}"#,
            &[r#"{"a": "x", "b": 2}"#],
        ),
    ] {
        for params in params {
            assert_eq!(messages(schema, params), [""; 0], "{schema} {params}");
        }
    }
}

#[test]
fn violations_name_place_value_and_expectation() {
    for (schema, params, expected) in [
        (r#"{"type": "object"}"#, "[]", &["[], expected an object"][..]),
        (r#"{"type": "integer"}"#, "1.5", &["1.5, expected an integer"]),
        (r#"{"type": ["integer", "null"]}"#, "\"3\"", &["\"3\", expected null or an integer"]),
        // A value of another type is reported once, whatever else is demanded of it.
        (r#"{"type": "integer", "enum": [1, 2]}"#, "true", &["true, expected an integer"]),
        (r#"{"enum": ["up", "down", 3]}"#, "\"top\"", &["\"top\", expected \"up\", \"down\" or 3"]),
        (r#"{"enum": []}"#, "1", &["1, expected no value"]),
        (r#"{"const": 1}"#, "true", &["true, expected 1"]),
        (r#"{"minimum": 1}"#, "0", &["0, expected at least 1"]),
        (r#"{"maximum": 0.5}"#, "0.75", &["0.75, expected at most 0.5"]),
        (r#"{"exclusiveMinimum": 0}"#, "0", &["0, expected more than 0"]),
        (r#"{"exclusiveMaximum": 1}"#, "1.0", &["1.0, expected less than 1"]),
        // Floats could not tell these two apart.
        (
            r#"{"minimum": 9007199254740993}"#,
            "9007199254740992",
            &["9007199254740992, expected at least 9007199254740993"],
        ),
        (r#"{"multipleOf": 4}"#, "6", &["6, expected a multiple of 4"]),
        (r#"{"multipleOf": 0.1}"#, "0.35", &["0.35, expected a multiple of 0.1"]),
        (r#"{"minLength": 1}"#, "\"\"", &["\"\", expected at least 1 character"]),
        (r#"{"maxLength": 2}"#, "\"abc\"", &["\"abc\", expected at most 2 characters"]),
        (r#"{"minItems": 2}"#, "[1]", &["[1], expected at least 2 items"]),
        (r#"{"items": false}"#, "[1]", &["[0]: 1, expected no value"]),
        ("{}", r#"{"a": [NaN]}"#, &["a[0]: NaN, expected a number other than NaN and Infinity"]),
        (
            r#"{"additionalProperties": false, "properties": {"n": {"type": "number"}}}"#,
            r#"{"n": -Infinity}"#,
            &["n: -Infinity, expected a number other than NaN and Infinity"],
        ),
        (
            r#"{"properties": {"n": {"type": "number"}}}"#,
            r#"{"n": Infinity}"#,
            &["n: Infinity, expected a number other than NaN and Infinity"],
        ),
        (r#"{"required": ["a", "b.c"]}"#, "{}", &["'a' is missing", "'\"b.c\"' is missing"]),
        (
            r#"{"properties": {"in": {"required": ["x"], "properties": {"y": {"items": {"type": "number"}}}}}}"#,
            r#"{"in": {"y": [1, "2", null]}}"#,
            &["'in.x' is missing", "in.y[1]: \"2\", expected a number", "in.y[2]: null, expected a number"],
        ),
        (r#"{"properties": {"a": false}}"#, r#"{"a": 1}"#, &["a: 1, expected no value"]),
        (r#"{"additionalProperties": {"type": "string"}}"#, r#"{"a": 1}"#, &["a: 1, expected a text"]),
    ] {
        assert_eq!(messages(schema, params), expected, "{schema} {params}");
    }
    let long = messages(r#"{"maxLength": 2}"#, &format!("\"{}\"", "ä".repeat(500)));
    assert!(long[0].len() < 120 && long[0].contains("..."), "{long:?}");
}

#[test]
fn unknown_parameters_get_a_suggestion() {
    let schema = r#"{"additionalProperties": false, "properties": {
        "window_lines": {}, "side": {},
        "baseline_drop": {"additionalProperties": false, "properties": {"mad_k": {}, "a.b": {}}},
        "nothing": {"additionalProperties": false}}}"#;
    for (params, expected) in [
        (r#"{"window_line": 1}"#, "no parameter 'window_line'; did you mean 'window_lines'?"),
        (r#"{"Side": 1}"#, "no parameter 'Side'; did you mean 'side'?"),
        (r#"{"mad_k": 1}"#, "no parameter 'mad_k'; did you mean 'baseline_drop.mad_k'?"),
        (
            r#"{"baseline_drop": {"mad_n": 1}}"#,
            "no parameter 'baseline_drop.mad_n'; did you mean 'baseline_drop.mad_k'?",
        ),
        (r#"{"baseline_drop": {"side": 1}}"#, "no parameter 'baseline_drop.side'; did you mean 'side'?"),
        (r#"{"baseline_drop": {"x.y.z": 1}}"#, "no parameter 'baseline_drop.\"x.y.z\"'; expected 'mad_k' or '\"a.b\"'"),
        (r#"{"zzz": 1}"#, "no parameter 'zzz'; expected 'window_lines', 'side', 'baseline_drop' or 'nothing'"),
        (r#"{"nothing": {"qqqqqq": 1}}"#, "no parameter 'nothing.qqqqqq'; there is none here"),
    ] {
        assert_eq!(messages(schema, params), [expected], "{params}");
    }
}

#[test]
fn texts_that_are_not_schemas_are_rejected() {
    assert!(Schema::parse("").unwrap().is_none());
    for (text, expected) in [
        ("{", "it is not JSON: "),
        ("1", "it is 1, expected a JSON object"),
        ("true", "it is true, expected a JSON object"),
        (r#"{"type": 7}"#, "type is 7, expected null, boolean, integer, number, string, array or object"),
        (r#"{"type": []}"#, "type is [], expected a type or a list of types"),
        (r#"{"properties": {"x": {"type": "real"}}}"#, "properties.x.type is \"real\", expected null, "),
        (r#"{"type": ["number", "real"]}"#, "type is \"real\", expected "),
        (r#"{"properties": {"x": 1}}"#, "properties.x is 1, expected a schema: an object, true or false"),
        (r#"{"properties": []}"#, "properties is [], expected an object"),
        (r#"{"enum": 1}"#, "enum is 1, expected a list"),
        (r#"{"minimum": "1"}"#, "minimum is \"1\", expected a number"),
        (r#"{"minimum": NaN}"#, "minimum is NaN, expected a number"),
        (r#"{"exclusiveMinimum": true}"#, "exclusiveMinimum is true, expected a number"),
        (r#"{"multipleOf": 0}"#, "multipleOf is 0, expected a number above 0"),
        (r#"{"minLength": -1}"#, "minLength is -1, expected a whole number from 0"),
        (r#"{"maxItems": 1.5}"#, "maxItems is 1.5, expected a whole number from 0"),
        (r#"{"required": "a"}"#, "required is \"a\", expected a list of texts"),
        (r#"{"required": [1]}"#, "required is [1], expected a list of texts"),
        (r#"{"items": 1}"#, "items is 1, expected a schema"),
        (r#"{"additionalProperties": {"minimum": null}}"#, "additionalProperties.minimum is null, expected a number"),
    ] {
        let Err(SchemaError::Bad(why)) = Schema::parse(text) else { panic!("{text} is a schema") };
        assert!(why.starts_with(expected), "{text}: {why}");
    }
}

#[test]
fn keywords_outside_the_subset_are_named_and_demand_nothing() {
    for (schema, unchecked, params) in [
        (r#"{"title": "t", "$schema": "s", "default": 1, "examples": [], "format": "email"}"#, &[][..], "{}"),
        (r#"{"properties": {"side": {"pattern": "^l"}}}"#, &["properties.side.pattern"], r#"{"side": "x"}"#),
        (r#"{"oneOf": [{"type": "null"}], "not": {}}"#, &["oneOf", "not"], "{}"),
        (r#"{"minimun": 3}"#, &["minimun"], "1"),
        // What these widen is not checked either.
        (
            r#"{"patternProperties": {"^x": {}}, "additionalProperties": false}"#,
            &["patternProperties", "additionalProperties"],
            r#"{"x1": 2}"#,
        ),
        (r#"{"prefixItems": [true], "items": false}"#, &["prefixItems", "items"], "[1]"),
        (r#"{"items": [{"type": "string"}]}"#, &["items"], "[1]"),
        (r##"{"$ref": "#/$defs/x", "type": "string", "$defs": {"x": {}}}"##, &["$ref"], "1"),
        (r#"{"items": {"uniqueItems": true}}"#, &["items.uniqueItems"], "[[1, 1]]"),
    ] {
        let parsed = Schema::parse(schema).expect(schema).expect("not empty");
        assert_eq!(parsed.unchecked(), unchecked, "{schema}");
        assert_eq!(messages(schema, params), [""; 0], "{schema}");
    }
}

#[test]
fn keys_are_quoted_as_params_set_takes_them() {
    let keys = |keys: &[&str]| keys_shown(&keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>());
    assert_eq!(keys(&["a", "b c"]), "a.b c");
    assert_eq!(keys(&["a.b", "", " c", "d=\"e\""]), r#""a.b".""." c"."d=\"e\"""#);
}

/// Any JSON, with many keywords of schemas among its keys.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-3..6_i64).prop_map(Json::from),
        prop::sample::select(vec![0.5, 2.0, -1.5, f64::NAN, f64::INFINITY]).prop_map(Json::from),
        prop::sample::select(vec!["a", "b", "ab", "", "number", "integer", "object", "array"]).prop_map(Json::from),
    ];
    let keys = [
        "a",
        "b",
        "type",
        "enum",
        "const",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "items",
        "minItems",
        "maxItems",
        "required",
        "properties",
        "additionalProperties",
        "pattern",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::vec((prop::sample::select(keys.to_vec()), inner), 0..5).prop_map(Json::object),
        ]
    })
}

/// A value, and a schema that describes just what it is.
fn described() -> impl Strategy<Value = (Json, Json)> {
    let leaf = prop_oneof![
        (-50..50_i64).prop_map(|n| {
            let bounds = [("type", "integer".into()), ("minimum", n.into()), ("exclusiveMaximum", (n + 1).into())];
            (Json::from(n), Json::object(bounds))
        }),
        (-50..50_i64).prop_map(|n| {
            let half = n as f64 / 2.0;
            (
                Json::from(half),
                Json::object([("type", "number".into()), ("multipleOf", 0.5.into()), ("const", half.into())]),
            )
        }),
        "[a-zä]{0,4}".prop_map(|text| {
            let length = Json::from(text.chars().count() as i64);
            let schema = [("type", "string".into()), ("minLength", length.clone()), ("maxLength", length)];
            (Json::from(text.as_str()), Json::object(schema))
        }),
        any::<bool>().prop_map(|flag| (flag.into(), Json::object([("enum", Json::from(vec![flag]))]))),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            (inner.clone(), 1..4_usize).prop_map(|((value, schema), count)| {
                let length = Json::from(count as i64);
                let list = [("items", schema), ("minItems", length.clone()), ("maxItems", length)];
                (Json::Array(vec![value; count]), Json::object(list))
            }),
            prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|members| {
                let required = Json::Array(members.keys().map(|key| Json::from(key.as_str())).collect());
                let value = Json::object(members.iter().map(|(key, (value, _))| (key.clone(), value.clone())));
                let properties = Json::object(members.into_iter().map(|(key, (_, schema))| (key, schema)));
                let all = [("required", required), ("properties", properties), ("additionalProperties", false.into())];
                (value, Json::object(all))
            }),
        ]
    })
}

/// The value with one leaf replaced by what is of no type that [`described`] has; the last leaf that there is.
fn damaged(value: &Json) -> Json {
    match value {
        Json::Array(items) => {
            let mut items = items.clone();
            if let Some(last) = items.last_mut() {
                *last = damaged(last);
            }
            Json::Array(items)
        }
        Json::Object(members) if members.is_empty() => Json::object([("new", Json::Null)]),
        Json::Object(members) => {
            let mut members = members.clone();
            if let Some((_, last)) = members.last_mut() {
                *last = damaged(last);
            }
            Json::Object(members)
        }
        _ => Json::Null,
    }
}

proptest! {
    #[test]
    fn any_text_is_judged_without_a_panic(schema in any_json(), params in any_json()) {
        if let Ok(schema) = Schema::of(&schema) {
            let _ = schema.violations(&params);
        }
    }

    #[test]
    fn described_values_pass_and_damaged_ones_fail((value, schema) in described()) {
        let parsed = Schema::of(&schema).unwrap();
        prop_assert_eq!(parsed.violations(&value), Vec::<String>::new());
        prop_assert_eq!(parsed.unchecked().len(), 0);
        let found = parsed.violations(&damaged(&value));
        prop_assert_eq!(found.len(), 1, "{} {:?}", damaged(&value), found);
    }
}
