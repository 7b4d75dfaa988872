//! Where two JSON values differ: a pure function over values.

use kymhost_plugin_api::{Json, canonical_json};
use std::collections::BTreeSet;

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A key, or a JSON pointer.
    pub at: String,
    /// What was; `None`: nothing.
    pub before: Option<String>,
    /// What is; `None`: nothing.
    pub after: Option<String>,
}

/// Where two values differ, as JSON pointers in the order of the document (members by name), with the canonical texts
/// of before and after. Values are the same if their canonical texts are.
pub fn diff_json(before: &Json, after: &Json) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(&mut String::new(), Some(before), Some(after), &mut found);
    found
}

fn differ(at: &mut String, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<Difference>) {
    let length = at.len();
    match (before, after) {
        (Some(Json::Object(old)), Some(Json::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                at.push('/');
                at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                differ(at, old.get(name), new.get(name), found);
                at.truncate(length);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) => {
            for place in 0..old.len().max(new.len()) {
                at.push_str(&format!("/{place}"));
                differ(at, old.get(place), new.get(place), found);
                at.truncate(length);
            }
        }
        _ => {
            let (before, after) = (before.map(canonical_json), after.map(canonical_json));
            if before != after {
                found.push(Difference { at: at.clone(), before, after });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn differences(before: &str, after: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let found = diff_json(&Json::parse(before.as_bytes()).unwrap(), &Json::parse(after.as_bytes()).unwrap());
        found.into_iter().map(|difference| (difference.at, difference.before, difference.after)).collect()
    }

    #[test]
    fn json_diff_compares_canonical_texts() {
        type Case = (&'static str, &'static str, &'static [(&'static str, Option<&'static str>, Option<&'static str>)]);
        let cases: &[Case] = &[
            ("{}", "{}", &[]),
            ("{\"a\":1,\"b\":[2]}", "{\"b\":[2],\"a\":1}", &[]),
            ("NaN", "NaN", &[]),
            ("1", "1.0", &[("", Some("1"), Some("1.0"))]),
            ("0.0", "-0.0", &[("", Some("0.0"), Some("-0.0"))]),
            ("{}", "[]", &[("", Some("{}"), Some("[]"))]),
            ("{\"a\":{}}", "{\"a\":[]}", &[("/a", Some("{}"), Some("[]"))]),
            ("{\"a\":1}", "{\"b\":1}", &[("/a", Some("1"), None), ("/b", None, Some("1"))]),
            ("{\"a\":null}", "{}", &[("/a", Some("null"), None)]),
            ("[1,2]", "[1,3,4]", &[("/1", Some("2"), Some("3")), ("/2", None, Some("4"))]),
            ("{\"a/b\":{\"~\":1}}", "{\"a/b\":{\"~\":2}}", &[("/a~1b/~0", Some("1"), Some("2"))]),
            ("{\"~1\":1}", "{\"~1\":2}", &[("/~01", Some("1"), Some("2"))]),
            ("{\"\":1}", "{\"\":2}", &[("/", Some("1"), Some("2"))]),
            ("{\"é\":\"x\\u0000\"}", "{\"é\":{\"k\":[]}}", &[("/é", Some("\"x\\u0000\""), Some("{\"k\":[]}"))]),
            ("{\"a\":[{\"b\":1}]}", "{\"a\":[{\"b\":2}]}", &[("/a/0/b", Some("1"), Some("2"))]),
        ];
        for (before, after, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(at, before, after)| ((*at).to_owned(), before.map(str::to_owned), after.map(str::to_owned)))
                .collect();
            assert_eq!(differences(before, after), expected, "{before} {after}");
        }
    }

    #[test]
    fn json_diff_of_deep_values() {
        let deep = |leaf: &str| "[".repeat(899) + leaf + &"]".repeat(899);
        let found = differences(&deep("1"), &deep("2"));
        assert_eq!(found, [("/0".repeat(899), Some("1".to_owned()), Some("2".to_owned()))]);
    }

    /// Any small value, of few names so that two of them have some in common.
    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            (-2i64..3).prop_map(Json::from),
            prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(1.0)].prop_map(Json::Float),
            "[a~/]{0,2}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
                prop::collection::vec(("[a~/]{0,2}", inner), 0..4).prop_map(Json::object),
            ]
        })
    }

    /// The value that a pointer leads to.
    fn at<'a>(value: &'a Json, pointer: &str) -> Option<&'a Json> {
        pointer.split('/').skip(1).try_fold(value, |value, token| match value {
            Json::Array(items) => items.get(token.parse::<usize>().ok()?),
            other => other.get(&token.replace("~1", "/").replace("~0", "~")),
        })
    }

    proptest! {
        #[test]
        fn json_diff_empty_only_for_equal_values(before in json(), after in json()) {
            let found = diff_json(&before, &after);
            prop_assert_eq!(found.is_empty(), canonical_json(&before) == canonical_json(&after));
            prop_assert_eq!(diff_json(&before, &before), []);
            for difference in found {
                prop_assert_eq!(at(&before, &difference.at).map(canonical_json), difference.before.clone());
                prop_assert_eq!(at(&after, &difference.at).map(canonical_json), difference.after.clone());
                prop_assert_ne!(difference.before, difference.after);
            }
        }
    }
}
